#!/bin/bash
# Sixteen shards of a corpus as an array job: sbatch slurm.sh MODEL INPUTS OUTPUT, for instance
#
#	sbatch slurm.sh reviews.skive 'corpus/*.jsonl.zst' /scratch/reviews
#
# A task that was preempted is queued again and goes on behind the parts that are in place.
#SBATCH --job-name=skive-score
#SBATCH --array=0-15
#SBATCH --cpus-per-task=8
#SBATCH --mem=2G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@30
set -eu
exec skive score --model "$1" --input "$2" --output "$3" \
	--shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --threads "$SLURM_CPUS_PER_TASK"
