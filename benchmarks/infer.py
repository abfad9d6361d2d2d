"""Compares Skive's latency with ONNX Runtime's and OpenVINO's: the same weights, batch 1, taking turns in one run.

    benchmarks/setup.sh
    benchmarks/.venv/bin/python benchmarks/infer.py [--shapes 4L-312,...] [--lengths 16,...] [--threads 1,2] -o OUT.json

Each figure is the best of --rounds fresh processes, each of which reports its median, for every runtime alike: ONNX Runtime
at two threads now and then sticks in a slow state for the life of a process. ONNX Runtime runs the plain export and the
transformer optimizer's fused graph, and the faster counts. A ratio is our time divided by theirs, so less is better.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
VOCABULARY = 30522
# name: layers, hidden size, heads, head width, intermediate size
SHAPES = {
    "12L-768": (12, 768, 12, 64, 3072),
    "6L-384": (6, 384, 12, 32, 1536),
    "4L-312": (4, 312, 12, 26, 1200),
    "4L-312-9h-900": (4, 312, 9, 26, 900),
    "4L-312-8h-600": (4, 312, 8, 26, 600),
}
# group: our dtype, and the runtimes it is compared with, of which the fastest counts
GROUPS = {
    "int8 : ONNX Runtime": ("int8", ["ort-int8", "ort-fused-int8"]),
    "f32 : ONNX Runtime": ("f32", ["ort-f32", "ort-fused-f32"]),
    "int8 : OpenVINO": ("int8", ["openvino-int8"]),
    "f32 : OpenVINO": ("f32", ["openvino-f32"]),
    "bf16 : OpenVINO": ("bf16", ["openvino-bf16"]),  # by default where the CPU has AVX512_BF16
}


def has_bf16():
    with open("/proc/cpuinfo") as f:
        return "avx512_bf16" in f.read()


def make(shape, folder):
    """Writes the model of a shape as a directory that Skive reads and as the files of the other runtimes."""
    import numpy as np
    import onnx
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model
    from transformers import BertConfig, BertForSequenceClassification

    layers, hidden, heads, width, intermediate = SHAPES[shape]
    torch.manual_seed(1)
    config = BertConfig(vocab_size=VOCABULARY, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=hidden // width,
                        intermediate_size=intermediate, attn_implementation="eager", num_labels=2)
    model = BertForSequenceClassification(config).eval()
    for layer in model.bert.encoder.layer:
        attention, size = layer.attention.self, heads * width
        attention.num_attention_heads, attention.all_head_size = heads, size
        for name in ("query", "key", "value"):
            setattr(attention, name, torch.nn.Linear(hidden, size))
        layer.attention.output.dense = torch.nn.Linear(size, hidden)
    model.save_pretrained(folder)
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        config = json.load(f)
    config["skive_attention_heads"], config["skive_intermediate_sizes"] = [heads] * layers, [intermediate] * layers
    config["head_dim"] = width
    with open(path, "w") as f:
        json.dump(config, f)

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).logits

    file = lambda name: os.path.join(folder, name + ".onnx")
    example = (torch.ones(1, 16, dtype=torch.long),) * 3
    names = ["input_ids", "attention_mask", "token_type_ids"]
    torch.onnx.export(Logits(), example, file("ort-f32"), input_names=names, output_names=["logits"], opset_version=17, dynamo=False,
                      dynamic_axes={n: {0: "batch", 1: "sequence"} for n in names})
    fused = optimize_model(file("ort-f32"), model_type="bert", num_heads=0 if heads * width != hidden else heads,
                           hidden_size=0 if heads * width != hidden else hidden)
    fused.save_model_to_file(file("ort-fused-f32"))
    for name in ("ort", "ort-fused"):
        quantize_dynamic(file(name + "-f32"), file(name + "-int8"), per_channel=True, weight_type=QuantType.QInt8,
                         extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})

    import nncf
    import openvino

    random = np.random.default_rng(1)
    samples = [{"input_ids": random.integers(1000, 30000, (1, 128)), "attention_mask": np.ones((1, 128), np.int64),
                "token_type_ids": np.zeros((1, 128), np.int64)} for _ in range(8)]
    plain = openvino.convert_model(file("ort-f32"))
    openvino.save_model(plain, os.path.join(folder, "openvino-f32.xml"), compress_to_fp16=False)
    smooth = None if hidden == 768 else nncf.AdvancedQuantizationParameters(smooth_quant_alpha=-1)
    quantized = nncf.quantize(plain, nncf.Dataset(samples), model_type=nncf.ModelType.TRANSFORMER, advanced_parameters=smooth)
    openvino.save_model(quantized, os.path.join(folder, "openvino-int8.xml"), compress_to_fp16=False)


def infer_times(call, seconds):
    times, end = [], time.perf_counter() + seconds
    for _ in range(3):
        call()
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2] * 1e3


def worker(runtime, folder, length, threads, seconds):
    """Prints the median milliseconds of one of the other runtimes."""
    import numpy as np

    inputs = {"input_ids": np.random.default_rng(1).integers(1000, 30000, (1, length)),
              "attention_mask": np.ones((1, length), np.int64), "token_type_ids": np.zeros((1, length), np.int64)}
    if runtime.startswith("ort"):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = ort.InferenceSession(os.path.join(folder, runtime + ".onnx"), options, providers=["CPUExecutionProvider"])
        inputs = {i.name: inputs[i.name] for i in session.get_inputs()}
        print(infer_times(lambda: session.run(None, inputs), seconds))
        return
    import openvino

    hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1,
             "INFERENCE_PRECISION_HINT": "bf16" if runtime == "openvino-bf16" else "f32"}
    file = "openvino-int8.xml" if runtime == "openvino-int8" else "openvino-f32.xml"
    compiled = openvino.Core().compile_model(os.path.join(folder, file), "CPU", hints)
    request = compiled.create_infer_request()
    inputs = {i.any_name: inputs[i.any_name] for i in compiled.inputs}
    print(infer_times(lambda: request.infer(inputs), seconds))


def measure(runtime, folder, skive, length, threads, seconds):
    if runtime in ("f32", "bf16", "int8"):
        command = [skive, "bench", "--model", folder, "--dtype", runtime, "--seq", str(length), "--threads", str(threads),
                   "--duration", f"{seconds}s", "--json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["latency_ms"]["p50"]
    command = [sys.executable, __file__, "--worker", runtime, folder, str(length), str(threads), str(seconds)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shapes", default=",".join(SHAPES))
    p.add_argument("--lengths", default="16,32,64,128,256,512")
    p.add_argument("--threads", default="1,2")
    p.add_argument("--groups", default=",".join(g for g in GROUPS if has_bf16() or "bf16" not in g), help="comparisons to make")
    p.add_argument("--seconds", type=float, default=1.0, help="of each process")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("-o", "--output", help="JSON file for all figures")
    p.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.worker:
        runtime, folder, length, threads, seconds = o.worker
        worker(runtime, folder, int(length), int(threads), float(seconds))
        return

    groups = {g: GROUPS[g] for g in o.groups.split(",")}
    runtimes = list(dict.fromkeys(r for ours, theirs in groups.values() for r in [ours, *theirs]))
    figures, ratios = [], {g: [] for g in groups}
    with tempfile.TemporaryDirectory() as scratch:
        skive = os.path.join(scratch, "skive")
        subprocess.run(["go", "build", "-o", skive, "./cmd/skive"], cwd=os.path.dirname(HERE), check=True)
        print("| shape | threads | tokens | " + " | ".join(runtimes) + " | " + " | ".join(groups) + " |")
        print("|---" * (3 + len(runtimes) + len(groups)) + "|", flush=True)
        for shape in o.shapes.split(","):
            folder = os.path.join(scratch, shape)
            subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {HERE!r}); import infer; infer.make({shape!r}, {folder!r})"],
                           check=True, capture_output=True)
            for threads in map(int, o.threads.split(",")):
                for length in map(int, o.lengths.split(",")):
                    best = {r: math.inf for r in runtimes}
                    for _ in range(o.rounds):
                        for r in runtimes:
                            best[r] = min(best[r], measure(r, folder, skive, length, threads, o.seconds))
                    cells = []
                    for g, (ours, theirs) in groups.items():
                        ratio = best[ours] / min(best[r] for r in theirs)
                        ratios[g].append(ratio)
                        cells.append(f"{ratio:.2f}")
                    figures.append({"shape": shape, "threads": threads, "tokens": length, "ms": best})
                    print(f"| {shape} | {threads} | {length} | " + " | ".join(f"{best[r]:.2f}" for r in runtimes) + " | " +
                          " | ".join(cells) + " |", flush=True)
    print()
    for g, all in ratios.items():
        print(f"{g}: geometric mean {math.exp(sum(map(math.log, all)) / len(all)):.3f}, worst {max(all):.2f} of {len(all)} cells")
    if o.output:
        with open(o.output, "w") as f:
            json.dump({"figures": figures, "ratios": ratios}, f, indent=1)


if __name__ == "__main__":
    main()
