"""Compares pruning to a latency with pruning by equal ratios that runs at the same measured speed.

    python3 benchmarks/prune.py --teacher DIR --task sst2 --train train.tsv.gz --dev dev.tsv -o OUT [--steps N | --epochs N] [--seeds 1,2,3]

The teacher is a fine-tuned Hugging Face directory of one class whose layers are all alike. For each --removed share:

- equal: skive prune --heads N --ffn N, importance exact;
- its speed-up over the teacher is measured (skive bench, batch 1, the development set's mean length, shortest calls,
  taking turns);
- targeted: skive prune --target-speedup that, under costs measured in the same number format.

Without training, each once as selected and once rearranged and tuned (Kwon et al., arXiv 2204.09656); then the first of the equal
ones and the last of the targeted ones recovered by distillation from the teacher, with the same settings and with each seed. All are
run in --dtype on the whole development set. A line of the table has the speed-ups, the accuracies, and the difference of the two
with its 95 % interval, a bootstrap of the examples, which both models share; with several seeds an example counts with the mean
over them. Models and answers in OUT are not made again, so that a broken-off run can be continued.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys

RESAMPLES = 2000


class Runner:
    def __init__(self, o):
        self.o = o
        self.skive = os.path.join(o.output, "skive")
        os.makedirs(o.output, exist_ok=True)
        subprocess.run(["go", "build", "-o", self.skive, "./cmd/skive"], check=True,
                       cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        self.dev = self.path("dev.jsonl")
        self.run("data", "convert", o.dev, "--task", o.task, "-o", self.dev)
        with open(self.dev) as f:
            self.lines = f.read()
        self.truth = [json.loads(line)["label"] for line in self.lines.splitlines()]
        self.task = ["--task", o.task, "--train", o.train, "--dev", o.dev]
        self.bench = ["bench", "--batch", "1", "--dtype", o.dtype, "--threads", str(o.threads), "--json", "-q"]
        self.seq = o.seq or round(json.loads(self.run(*self.bench, "--model", o.teacher, "--data", self.dev, "--duration", "1s"))["seq"])

    def path(self, name):
        return os.path.join(self.o.output, name)

    def run(self, *args, text=None):
        done = subprocess.run([self.skive, *args], input=text, stdout=subprocess.PIPE, stderr=None if text is None else subprocess.DEVNULL, text=True)
        if done.returncode:
            sys.exit(f"skive {' '.join(args)}: exit code {done.returncode}")
        return done.stdout

    def made(self, name, *args):
        """The path of a model that a command makes, unless it is there."""
        if not os.path.exists(os.path.join(self.path(name), "done")):
            self.run(*args, "-o", self.path(name))
            open(os.path.join(self.path(name), "done"), "w").close()
        return self.path(name)

    def prune(self, name, *args):
        return self.made(name, "prune", "--model", self.o.teacher, *self.task, "--importance-examples", str(self.o.examples), *args)

    def recover(self, student, seed):
        length = ["--steps", str(self.o.steps)] if self.o.steps else ["--epochs", str(self.o.epochs)]
        return self.made(f"{os.path.basename(student)}-recovered-{seed}", "distill", "--teacher", self.o.teacher, "--student", student, *self.task,
                         *length, "--batch-size", "32", "--lr", str(self.o.lr), "--temperature", "2", "--hard", "0.2", "--hidden-loss", "0",
                         "--relations", "0", "--dropout", "0", "--seed", str(seed), "--cache", self.path("cache"), "--resume")

    def speedups(self, *models):
        """How many times faster than the teacher each is: the median over rounds in which all take turns."""
        rounds = []
        for _ in range(self.o.rounds):
            times = [json.loads(self.run(*self.bench, "--model", m, "--seq", str(self.seq), "--duration", self.o.duration))["latency_ms"]["min"]
                     for m in (self.o.teacher, *models)]
            rounds.append([times[0] / t for t in times[1:]])
        return [statistics.median(r[i] for r in rounds) for i in range(len(models))]

    def right(self, models):
        """For each example the share of the models that answer it rightly."""
        shares = [0.0] * len(self.truth)
        for m in models:
            answers = os.path.join(m, f"answers-{self.o.dtype}.jsonl")
            if not os.path.exists(answers):
                out = self.run("predict", "--model", m, "--dtype", self.o.dtype, "--json", text=self.lines)
                with open(answers + ".tmp", "w") as f:
                    f.write(out)
                os.replace(answers + ".tmp", answers)
            with open(answers) as f:
                labels = [json.loads(line)["label"] for line in f]
            if len(labels) != len(self.truth):
                sys.exit(f"{answers}: {len(labels)} answers to {len(self.truth)} examples")
            for i, (got, want) in enumerate(zip(labels, self.truth)):
                shares[i] += (got == want) / len(models)
        return shares


def difference(a, b):
    """The mean of b - a over the examples and its 95 % interval by a bootstrap of them."""
    each = [y - x for x, y in zip(a, b)]
    r = random.Random(1)
    means = sorted(sum(r.choices(each, k=len(each))) / len(each) for _ in range(RESAMPLES))
    return sum(each) / len(each), means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]


def compare(r, removed):
    with open(os.path.join(r.o.teacher, "config.json")) as f:
        config = json.load(f)
    keep = lambda n: str(max(1, round(n * (1 - removed / 100))))
    sizes = ["--heads", keep(config["num_attention_heads"]), "--ffn", keep(config["intermediate_size"])]
    plain, tuned = ["--rearrange=false", "--tune=false"], ["--rearrange", "--tune"]
    equal = r.prune(f"equal-{removed}", *sizes, *plain)
    equal_tuned = r.prune(f"equal-{removed}-tuned", *sizes, *tuned)
    speed = r.path(f"speed-{removed}.json")
    if os.path.exists(speed):
        with open(speed) as f:
            target = json.load(f)
    else:
        target = r.speedups(equal)[0]
        with open(speed, "w") as f:
            json.dump(target, f)
    latency = ["--target-speedup", f"{target:.4f}", "--dtype", r.o.dtype, "--threads", str(r.o.threads), "--seq", str(r.seq), "--costs", r.path("costs")]
    targeted = r.prune(f"targeted-{removed}", *latency, *plain)
    targeted_tuned = r.prune(f"targeted-{removed}-tuned", *latency, *tuned)
    e, t, tt = r.speedups(equal, targeted, targeted_tuned)
    seeds = r.o.seeds.split(",")
    for name, a, b, speed in (
        ("selected", [equal], [targeted], t),
        ("rearranged, tuned", [equal_tuned], [targeted_tuned], tt),
        ("recovered", [r.recover(equal, s) for s in seeds], [r.recover(targeted_tuned, s) for s in seeds], tt),
    ):
        a, b = r.right(a), r.right(b)
        d, low, high = difference(a, b)
        mean = lambda x: 100 * sum(x) / len(x)
        yield {"removed": removed, "name": name, "equal_speedup": e, "targeted_speedup": speed, "equal": mean(a), "targeted": mean(b),
               "difference": 100 * d, "interval": [100 * low, 100 * high]}


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
    own = r.right([o.teacher])
    print(f"{o.task}, {len(own)} examples, {o.dtype}, {o.threads} thread(s), {r.seq} tokens; teacher {100 * sum(own) / len(own):.1f} %\n")
    print("| removed | | equal, speed-up | targeted, speed-up | equal % | targeted % | difference | 95 % interval |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|", flush=True)
    rows = []
    for removed in map(int, o.removed.split(",")):
        for row in compare(r, removed):
            rows.append(row)
            print(f"| {row['removed']} % | {row['name']} | {row['equal_speedup']:.2f} × | {row['targeted_speedup']:.2f} × | {row['equal']:.1f} | "
                  f"{row['targeted']:.1f} | {row['difference']:+.1f} | {row['interval'][0]:+.1f} to {row['interval'][1]:+.1f} |", flush=True)
            with open(r.path("figures.json.tmp"), "w") as f:
                json.dump(rows, f, indent=1)
            os.replace(r.path("figures.json.tmp"), r.path("figures.json"))


if __name__ == "__main__":
    main()
