"""Compares pruning to a latency with pruning by equal ratios that runs at the same measured speed.

    python3 benchmarks/prune.py --teacher DIR --task sst2 --train train.tsv.gz --dev dev.tsv -o OUT [--steps N | --epochs N] [--seeds 1,2,3]

The teacher is a fine-tuned Hugging Face directory of one class whose layers are all alike. For each --removed share:

- equal: skive prune --heads N --ffn N, importance exact;
- its speed-up over the teacher is measured (skive bench, batch 1, the development set's mean length, median calls,
  taking turns on an otherwise idle machine);
- targeted: skive prune --target-speedup that, under costs measured in the same number format.

Without training, each once as selected and once rearranged and tuned (Kwon et al., arXiv 2204.09656); then the first of the equal
ones and the last of the targeted ones recovered by distillation from the teacher, with the same settings and with each seed. All are
run in --dtype on the whole development set. A line of the table has the speed-ups, the task's metric of both, and what the targeted
model has more, with the paired 95 % interval of skive eval --against. Models and figures in OUT are not made again, so that a
broken-off run can be continued. Standard library alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys


class Runner:
    def __init__(self, o):
        self.o = o
        self.skive = os.path.join(o.output, "skive")
        os.makedirs(o.output, exist_ok=True)
        subprocess.run(["go", "build", "-o", self.skive, "./cmd/skive"], check=True,
                       cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        self.dev = self.path("dev.jsonl")
        self.run("data", "convert", o.dev, "--task", o.task, "-o", self.dev, "--overwrite")
        self.task = ["--task", o.task, "--train", o.train, "--dev", o.dev]
        self.bench = ["bench", "--batch", "1", "--dtype", o.dtype, "--threads", str(o.threads), "--json", "-q"]
        self.seq = o.seq or round(json.loads(self.run(*self.bench, "--model", o.teacher, "--data", self.dev, "--duration", "1s"))["seq"])

    def path(self, name):
        return os.path.join(self.o.output, name)

    def run(self, *args):
        done = subprocess.run([self.skive, *args], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"skive {' '.join(args)}: exit code {done.returncode}")
        return done.stdout

    def kept(self, name, figures):
        """What figures returns, of an earlier run if there was one."""
        path = self.path(name + ".json")
        if not os.path.exists(path):
            with open(path + ".tmp", "w") as f:
                json.dump(figures(), f, indent=1)
            os.replace(path + ".tmp", path)
        with open(path) as f:
            return json.load(f)

    def made(self, name, *args):
        """The path of a model that a command makes, unless it is there."""
        if not os.path.exists(os.path.join(self.path(name), "done")):
            self.run(*args, "-o", self.path(name))
            open(os.path.join(self.path(name), "done"), "w").close()
        return self.path(name)

    def prune(self, name, *args):
        return self.made(name, "prune", "--model", self.o.teacher, *self.task, "--importance-examples", str(self.o.examples), "--overwrite", *args)

    def recover(self, student, seed):
        length = ["--steps", str(self.o.steps)] if self.o.steps else ["--epochs", str(self.o.epochs)]
        return self.made(f"{os.path.basename(student)}-recovered-{seed}", "distill", "--teacher", self.o.teacher, "--student", student, *self.task,
                         *length, "--batch-size", "32", "--lr", str(self.o.lr), "--temperature", "2", "--hard", "0.2", "--hidden-loss", "0",
                         "--relations", "0", "--dropout", "0", "--seed", str(seed), "--cache", self.path("cache"), "--resume")

    def speedups(self, *models):
        """How many times faster than the teacher each is: the median over rounds in which all take turns."""
        rounds = []
        for _ in range(self.o.rounds):
            times = [json.loads(self.run(*self.bench, "--model", m, "--seq", str(self.seq), "--duration", self.o.duration))["latency_ms"]["p50"]
                     for m in (self.o.teacher, *models)]
            rounds.append([times[0] / t for t in times[1:]])
        return [statistics.median(r[i] for r in rounds) for i in range(len(models))]

    def evaluate(self, targeted, equal):
        """The metric of both, what the first has more, and the interval of that, in percent."""
        name = f"{os.path.basename(targeted)}-against-{os.path.basename(equal)}"
        e = self.kept(name, lambda: json.loads(self.run("eval", "--model", targeted, "--against", equal, "--task", self.o.task,
                                                        "--data", self.o.dev, "--dtype", self.o.dtype, "--json")))
        metric, more = next(iter(e["against"]["differences"].items()))
        return metric, [100 * x for x in (e["against"]["metrics"][metric], e["metrics"][metric], more, *e["against"]["intervals"][metric])]


def compare(r, removed):
    with open(os.path.join(r.o.teacher, "config.json")) as f:
        config = json.load(f)
    keep = lambda n: str(max(1, round(n * (1 - removed / 100))))
    sizes = ["--heads", keep(config["num_attention_heads"]), "--ffn", keep(config["intermediate_size"])]
    plain, tuned = ["--rearrange=false", "--tune=false"], ["--rearrange", "--tune"]
    equal = r.prune(f"equal-{removed}", *sizes, *plain)
    equal_tuned = r.prune(f"equal-{removed}-tuned", *sizes, *tuned)
    target = r.kept(f"speed-{removed}", lambda: r.speedups(equal))[0]
    latency = ["--target-speedup", f"{target:.4f}", "--dtype", r.o.dtype, "--threads", str(r.o.threads), "--seq", str(r.seq), "--costs", r.path("costs")]
    targeted = r.prune(f"targeted-{removed}", *latency, *plain)
    targeted_tuned = r.prune(f"targeted-{removed}-tuned", *latency, *tuned)
    e, t, tt = r.kept(f"speeds-{removed}", lambda: r.speedups(equal, targeted, targeted_tuned))
    yield "selected", e, t, r.evaluate(targeted, equal)
    yield "rearranged, tuned", e, tt, r.evaluate(targeted_tuned, equal_tuned)
    for seed in r.o.seeds.split(","):
        yield f"recovered, seed {seed}", e, tt, r.evaluate(r.recover(targeted_tuned, seed), r.recover(equal, seed))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("teacher", "task", "train", "dev"):
        p.add_argument("--" + name, required=True)
    p.add_argument("-o", "--output", required=True, help="directory for models and figures")
    p.add_argument("--removed", default="25,50,75", help="percentages that the equal ratios remove")
    p.add_argument("--dtype", default="int8", help="number format that is measured")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--seq", type=int, default=0, help="tokens of a call (default the development set's mean)")
    p.add_argument("--examples", type=int, default=2048, help="training examples that importance is measured on")
    p.add_argument("--epochs", type=int, default=1, help="of each recovery")
    p.add_argument("--steps", type=int, default=0, help="of each recovery, in place of --epochs")
    p.add_argument("--lr", type=float, default=1e-4)
    p.add_argument("--seeds", default="1")
    p.add_argument("--rounds", type=int, default=5, help="turns of a speed measurement")
    p.add_argument("--duration", default="1s", help="of a model's turn")
    o = p.parse_args()
    o.output = os.path.abspath(o.output)
    r = Runner(o)
    print(f"{o.task}, {o.dtype}, {o.threads} thread(s), {r.seq} tokens, against {o.teacher}\n")
    print("| removed | | equal, speed-up | targeted, speed-up | metric | equal % | targeted % | difference | 95 % interval |")
    print("|---:|---|---:|---:|---|---:|---:|---:|---:|", flush=True)
    for removed in map(int, o.removed.split(",")):
        for name, e, t, (metric, (equal, targeted, more, low, high)) in compare(r, removed):
            print(f"| {removed} % | {name} | {e:.2f} × | {t:.2f} × | {metric} | {equal:.1f} | {targeted:.1f} | {more:+.1f} | {low:+.1f} to {high:+.1f} |",
                  flush=True)


if __name__ == "__main__":
    main()
