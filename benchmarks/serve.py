"""Compares skive serve with Triton and infinity: the same model and texts, one text a request, taking turns.

    python3 benchmarks/serve.py --model MINILM --texts TEXTS -o OUT.json \\
        [--triton PYTHON --onnx DIR] [--infinity PYTHON] [--seconds 8] [--rounds 3] [--threads 2] \\
        [--only skive]

MINILM is all-MiniLM-L6-v2 as a Hugging Face directory, and TEXTS has a sentence a line. The interpreters have the peers:

    triton      nvidia-pytriton==0.7.0 onnxruntime==1.32.0 tokenizers; DIR is what serve_triton.py export MINILM DIR
                makes, which needs onnx, onnxruntime, torch==2.15.0 and transformers==5.23.0
    infinity    infinity-emb[server]==0.0.78 torch transformers==4.49 sentence-transformers==3.4 optimum==1.24
                huggingface_hub==0.36

A peer without an interpreter is left out. Load comes from vegeta, which the script builds: a closed loop of 32 clients
for the top rate and the processor time that a request takes (of the server's processes); for Skive an open loop at 60 %
of its top rate for latencies, and one at ten times the top rate, where what is not answered is refused.
internal/poolbench is the same work in process.

The bars: requests/s at least 8 times each peer's, at most 0.2 of its processor time, p99 at most 5 times p50 at 60 %, at
most 15 % more processor time than in process; under overload at least 90 % of the top rate is answered, and a refusal
takes at most 50 ms. A ratio counts, not a rate. The load is made on the same cores: what it takes under overload is not
the server's to give, so that share is also stated by the server's processor time.
"""

import argparse
import base64
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
CLIENTS = 32
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def descendants(pid):
    """The process and all that it has started."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/stat") as f:
                parents[int(entry)] = int(f.read().rsplit(")", 1)[1].split()[1])
    found = {pid}
    while True:
        more = {p for p, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def processor_time(pid):
    """Seconds of the process and its descendants."""
    total = 0
    for p in descendants(pid):
        with contextlib.suppress(OSError):
            with open(f"/proc/{p}/stat") as f:
                total += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
    return total / TICK


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024


class Server:
    def __init__(self, name, command, ready, path, body, log, environment=None):
        self.name, self.command, self.ready, self.path, self.body, self.log = name, command, ready, path, body, log
        self.environment = environment

    @contextlib.contextmanager
    def running(self, texts):
        port = free_port()
        command = [c.replace("PORT", str(port)) for c in self.command]
        with open(self.log, "w") as log:
            environment = {**os.environ, **(self.environment or {})}
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            base = f"http://127.0.0.1:{port}"
            for _ in range(1200):
                if process.poll() is not None:
                    sys.exit(f"{self.name} has ended: see {self.log}")
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(base + self.ready, timeout=5)
                    break
                time.sleep(0.1)
            else:
                sys.exit(f"{self.name} is not ready: see {self.log}")
            targets = self.log + ".targets"
            with open(targets, "w") as f:
                for text in texts:
                    body = base64.b64encode(json.dumps(self.body(text)).encode()).decode()
                    target = {"method": "POST", "url": base + self.path, "body": body, "header": {"Content-Type": ["application/json"]}}
                    f.write(json.dumps(target) + "\n")
            yield process, targets
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def attack(vegeta, targets, seconds, **load):
    flags = [f"-{name.replace('_', '-')}={value}" for name, value in load.items()]
    command = [vegeta, "attack", "-format=json", f"-targets={targets}", f"-duration={seconds}s", "-timeout=60s", *flags]
    results = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    report = subprocess.run([vegeta, "report", "-type=json"], input=results, check=True, stdout=subprocess.PIPE).stdout
    return json.loads(report), results


def closed(vegeta, process, targets, seconds):
    attack(vegeta, targets, 1, rate=0, max_workers=CLIENTS, workers=CLIENTS)
    before = processor_time(process.pid)
    report, _ = attack(vegeta, targets, seconds, rate=0, max_workers=CLIENTS, workers=CLIENTS)
    used = processor_time(process.pid) - before
    if report["success"] != 1:
        sys.exit(f"{report['status_codes']} {report['errors'][:3]}")
    ms = {q: report["latencies"][q] / 1e6 for q in ("50th", "99th")}
    return {"rate": report["throughput"], "cpu_ms": 1000 * used / report["requests"], "p50_ms": ms["50th"], "p99_ms": ms["99th"]}


def opened(vegeta, targets, seconds, rate):
    report, _ = attack(vegeta, targets, seconds, rate=f"{int(rate)}/1s", max_workers=2000)
    ms = {q: report["latencies"][q] / 1e6 for q in ("50th", "99th")}
    return {"offered": rate, "p50_ms": ms["50th"], "p99_ms": ms["99th"], "success": report["success"]}


def overload(vegeta, process, targets, seconds, rate):
    before, used = resident(process.pid), processor_time(process.pid)
    report, results = attack(vegeta, targets, seconds, rate=f"{int(rate)}/1s", max_workers=2000)
    used = processor_time(process.pid) - used
    lines = subprocess.run([vegeta, "encode", "-to=json"], input=results, check=True, stdout=subprocess.PIPE).stdout.splitlines()
    refused = sorted(r["latency"] / 1e6 for r in map(json.loads, lines) if r["code"] == 429)
    return {
        "offered": rate, "answered_rate": report["throughput"], "codes": report["status_codes"],
        "cpu_ms": 1000 * used / report["status_codes"]["200"],
        "refused_p99_ms": refused[int(0.99 * len(refused))] if refused else None, "resident_mb": [before, resident(process.pid)],
    }


def servers(args, folder):
    skive = os.path.join(folder, "skive")
    run("go", "build", "-o", skive, "./cmd/skive", cwd=ROOT)
    int8 = os.path.join(folder, "minilm.skive")
    run(skive, "quantize", "-q", "--model", args.model, "-o", int8, cwd=ROOT)
    infer = lambda text: {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [text]}]}
    log = lambda name: os.path.join(folder, name + ".log")
    threads = str(args.threads)
    own = [skive, "serve", "--log", "none", "--threads", threads, "--listen", "127.0.0.1:PORT", f"embedder={int8}"]
    if args.mean:
        own += ["--embedding", "mean"]
    all = [Server("skive", own, "/health", "/v2/models/embedder/infer", infer, log("skive"))]
    if args.triton:
        libraries = run(args.triton, "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))").strip()
        all.append(Server(
            "triton", [args.triton, os.path.join(HERE, "serve_triton.py"), "serve", args.onnx, "PORT", threads],
            "/v2/models/embedder/ready", "/v2/models/embedder/infer", infer, log("triton"), {"LD_LIBRARY_PATH": libraries}))
    if args.infinity:
        command = [os.path.join(os.path.dirname(args.infinity), "infinity_emb"), "v2", "--engine", "torch", "--device", "cpu", "--no-bettertransformer",
                   "--model-id", args.model, "--served-model-name", "embedder", "--host", "127.0.0.1", "--port", "PORT"]
        all.append(Server(
            "infinity", command, "/health", "/embeddings", lambda text: {"model": "embedder", "input": [text]}, log("infinity"),
            {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}))
    return [s for s in all if not args.only or s.name in args.only.split(",")], int8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--triton")
    parser.add_argument("--onnx", help="what serve_triton.py export made")
    parser.add_argument("--infinity")
    parser.add_argument("--mean", action="store_true", help="the directory has no modules.json; pool by the mean")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="names of servers, with commas between them")
    parser.add_argument("-o", "--out", required=True)
    args = parser.parse_args()
    with open(args.texts) as f:
        texts = [line.strip() for line in f if line.strip()][:1000]
    with tempfile.TemporaryDirectory() as folder:
        few = os.path.join(folder, "texts")
        with open(few, "w") as f:
            f.write("\n".join(texts))
        run("go", "install", "github.com/tsenart/vegeta/v12@v12.13.0", env={**os.environ, "GOBIN": folder})
        vegeta = os.path.join(folder, "vegeta")
        all, int8 = servers(args, folder)
        poolbench = os.path.join(folder, "poolbench")
        run("go", "build", "-o", poolbench, "./internal/poolbench", cwd=ROOT)
        rounds = []
        for _ in range(args.rounds):
            measured = {}
            for s in all:
                with s.running(texts) as (process, targets):
                    measured[s.name] = closed(vegeta, process, targets, args.seconds)
                    if s.name == "skive":
                        top = measured[s.name]["rate"]
                        measured["60%"] = opened(vegeta, targets, args.seconds, 0.6 * top)
                        measured["overload"] = overload(vegeta, process, targets, args.seconds, 10 * top)
            measured["pool"] = json.loads(run(
                poolbench, "-clients", str(CLIENTS), "-seconds", str(args.seconds), "-threads", str(args.threads),
                "-embedding", "mean" if args.mean else "model", int8, few))
            rounds.append(measured)
            print(json.dumps(measured, indent=1), flush=True)
    median = lambda of: statistics.median(map(of, rounds))
    bars = {}
    if "skive" in rounds[0]:
        bars["cpu over the pool's"] = median(lambda m: m["skive"]["cpu_ms"] / m["pool"]["cpu_ms"])
        bars["p99 over p50 at 60 %"] = median(lambda m: m["60%"]["p99_ms"] / m["60%"]["p50_ms"])
        bars["answered under overload, of the top rate"] = median(lambda m: m["overload"]["answered_rate"] / m["skive"]["rate"])
        bars["the same, by processor time"] = median(lambda m: m["skive"]["cpu_ms"] / m["overload"]["cpu_ms"])
        for peer in (s.name for s in all if s.name != "skive"):
            bars[f"rate over {peer}'s"] = median(lambda m: m["skive"]["rate"] / m[peer]["rate"])
            bars[f"cpu over {peer}'s"] = median(lambda m: m["skive"]["cpu_ms"] / m[peer]["cpu_ms"])
    with open(args.out, "w") as f:
        json.dump({"rounds": rounds, "bars": bars}, f, indent=1)
    print(json.dumps(bars, indent=1))


if __name__ == "__main__":
    main()
