"""The same requests of the Open Inference Protocol to a real Triton and to skive serve, over HTTP and gRPC: what differs.

    LD_LIBRARY_PATH=$(python3 -c "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))") \\
        python3 serve/testdata/triton.py SKIVE MODEL

needs nvidia-pytriton==0.7.0. SKIVE is the program, MODEL an encoder that embeds (served by the mean). Triton serves a model
of the same tensors that answers zeros: shapes, types, codes and forms of answers count, not numbers.
"""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import tritonclient.grpc as grpc_client
from tritonclient.grpc import service_pb2 as pb


def free_ports(n):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def shape_of(value):
    """The form of a document: names and types, with the lengths of lists of numbers."""
    if isinstance(value, dict):
        return {k: shape_of(v) for k, v in sorted(value.items())}
    if isinstance(value, list):
        if value and all(isinstance(v, (int, float)) for v in value):
            return f"{len(value)} numbers"
        return [shape_of(v) for v in value[:1]]
    return type(value).__name__ if not isinstance(value, (int, float)) or isinstance(value, bool) else "number"


def http(port, method, path, body=None, headers=None):
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, header, text = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as e:
        status, header, text = e.code, e.headers, e.read()
    length = header.get("Inference-Header-Content-Length")
    rest = ""
    if length:
        text, rest = text[: int(length)], f" and {len(text) - int(length)} bytes"
    with contextlib.suppress(ValueError):
        document = json.loads(text)
        names = {o["name"]: (o["datatype"], o["shape"]) for o in document.get("outputs", [])} if isinstance(document, dict) and "model_version" in document else ""
        return f"{status} {json.dumps(shape_of(document))}{rest} {names}"
    return f"{status} {'text' if text else 'empty'}{rest}"


def raw(texts):
    return b"".join(len(t).to_bytes(4, "little") + t for t in (t.encode() for t in texts))


def text_input(texts, **more):
    return {"name": "text", "datatype": "BYTES", "shape": [len(texts), 1], "data": texts, **more}


def http_cases():
    model = "/v2/models/embedder"
    yield "server metadata", ("GET", "/v2")
    yield "live", ("GET", "/v2/health/live")
    yield "ready", ("GET", "/v2/health/ready")
    yield "metadata", ("GET", model)
    yield "metadata of a version", ("GET", model + "/versions/1")
    yield "metadata of an unknown version", ("GET", model + "/versions/7")
    yield "metadata of an unknown model", ("GET", "/v2/models/nope")
    yield "model ready", ("GET", model + "/ready")
    yield "unknown model ready", ("GET", "/v2/models/nope/ready")
    yield "config", ("GET", model + "/config")
    yield "stats", ("GET", model + "/stats")
    yield "all stats", ("GET", "/v2/models/stats")
    yield "index", ("POST", "/v2/repository/index", b"{}")
    yield "infer", ("POST", model + "/infer", {"inputs": [text_input(["a", "b"])]})
    yield "infer with an id", ("POST", model + "/infer", {"id": "7", "inputs": [text_input(["a"])]})
    yield "infer one output", ("POST", model + "/infer", {"inputs": [text_input(["a"])], "outputs": [{"name": "output-0"}]})
    yield "infer nested data", ("POST", model + "/infer", {"inputs": [{**text_input(["a", "b"]), "data": [["a"], ["b"]]}]})
    yield "infer unknown parameters", ("POST", model + "/infer", {"parameters": {"mine": 1}, "inputs": [text_input(["a"])]})
    yield "infer of a version", ("POST", model + "/versions/1/infer", {"inputs": [text_input(["a"])]})
    yield "infer of an unknown version", ("POST", model + "/versions/7/infer", {"inputs": [text_input(["a"])]})
    yield "infer of an unknown model", ("POST", "/v2/models/nope/infer", {"inputs": [text_input(["a"])]})
    head = json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2, 1], "parameters": {"binary_data_size": len(raw(["a", "bc"]))}}],
                       "outputs": [{"name": "output-0", "parameters": {"binary_data": True}}]}).encode()
    binary = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    yield "infer in binary", ("POST", model + "/infer", head + raw(["a", "bc"]), binary)
    yield "infer in binary, too short", ("POST", model + "/infer", head + raw(["a"]), binary)
    yield "infer in binary, too long", ("POST", model + "/infer", head + raw(["a", "bc", "d"]), binary)
    yield "infer without inputs", ("POST", model + "/infer", {"inputs": []})
    yield "infer of another datatype", ("POST", model + "/infer", {"inputs": [{"name": "text", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]})
    yield "infer of an unknown datatype", ("POST", model + "/infer", {"inputs": [{"name": "text", "datatype": "NOPE", "shape": [1, 1], "data": [1.0]}]})
    yield "infer of another shape", ("POST", model + "/infer", {"inputs": [{**text_input(["a"]), "shape": [1, 1, 1, 1]}]})
    yield "infer of too few elements", ("POST", model + "/infer", {"inputs": [{**text_input(["a"]), "shape": [2, 1]}]})
    yield "infer of a negative shape", ("POST", model + "/infer", {"inputs": [{**text_input(["a"]), "shape": [-1, 1]}]})
    yield "infer of a number for a text", ("POST", model + "/infer", {"inputs": [{**text_input(["a"]), "data": [3]}]})
    yield "infer of an unknown output", ("POST", model + "/infer", {"inputs": [text_input(["a"])], "outputs": [{"name": "nope"}]})
    yield "infer of too many rows", ("POST", model + "/infer", {"inputs": [text_input(["a"] * 33)]})
    yield "infer of another name", ("POST", model + "/infer", {"inputs": [text_input(["a"], name="words")]})
    yield "infer of broken JSON", ("POST", model + "/infer", b"{")
    yield "infer of an empty body", ("POST", model + "/infer", b"")
    yield "GET infer", ("GET", model + "/infer")
    yield "POST metadata", ("POST", model, b"{}")
    yield "an unknown path", ("GET", "/v2/nope")


def grpc_cases():
    def request(texts, shape=None, datatype="BYTES", contents=True, name="text", model="embedder", version="", output=None, extra=0):
        r = pb.ModelInferRequest(model_name=model, model_version=version, id="7")
        i = r.inputs.add(name=name, datatype=datatype, shape=shape or [len(texts), 1])
        if contents is True:
            r.raw_input_contents.append(raw(texts))
        elif contents is None:
            i.contents.bytes_contents.extend(t.encode() for t in texts)
        for _ in range(extra):
            r.raw_input_contents.append(raw(texts))
        if output:
            r.outputs.add(name=output)
        return r

    yield "live", "ServerLive", pb.ServerLiveRequest()
    yield "ready", "ServerReady", pb.ServerReadyRequest()
    yield "server metadata", "ServerMetadata", pb.ServerMetadataRequest()
    yield "model ready", "ModelReady", pb.ModelReadyRequest(name="embedder")
    yield "unknown model ready", "ModelReady", pb.ModelReadyRequest(name="nope")
    yield "metadata", "ModelMetadata", pb.ModelMetadataRequest(name="embedder")
    yield "metadata of an unknown model", "ModelMetadata", pb.ModelMetadataRequest(name="nope")
    yield "metadata of an unknown version", "ModelMetadata", pb.ModelMetadataRequest(name="embedder", version="7")
    yield "config", "ModelConfig", pb.ModelConfigRequest(name="embedder")
    yield "stats", "ModelStatistics", pb.ModelStatisticsRequest(name="embedder")
    yield "all stats", "ModelStatistics", pb.ModelStatisticsRequest()
    yield "index", "RepositoryIndex", pb.RepositoryIndexRequest()
    yield "infer raw", "ModelInfer", request(["a", "bc"])
    yield "infer typed", "ModelInfer", request(["a", "bc"], contents=None)
    yield "infer one output", "ModelInfer", request(["a"], output="output-0")
    yield "infer raw and typed", "ModelInfer", request(["a"], contents=None, extra=1)
    yield "infer with more raw contents than inputs", "ModelInfer", request(["a"], extra=1)
    yield "infer without contents", "ModelInfer", request(["a"], contents=False)
    yield "infer of an unknown model", "ModelInfer", request(["a"], model="nope")
    yield "infer of an unknown version", "ModelInfer", request(["a"], version="7")
    yield "infer of an unknown output", "ModelInfer", request(["a"], output="nope")
    yield "infer of another datatype", "ModelInfer", request(["a"], datatype="FP32")
    yield "infer of another shape", "ModelInfer", request(["a"], shape=[1, 1, 1, 1])
    yield "infer of too few elements", "ModelInfer", request(["a"], shape=[2, 1])
    yield "infer of too many rows", "ModelInfer", request(["a"] * 33)
    yield "infer of another name", "ModelInfer", request(["a"], name="words")
    yield "infer without inputs", "ModelInfer", pb.ModelInferRequest(model_name="embedder")


def answer_of(client, method, request):
    try:
        answer = getattr(client._client_stub, method)(request, timeout=30)
    except Exception as e:  # an RpcError has code()
        return e.code().name
    if method == "ModelInfer":
        typed = [field.name for o in answer.outputs for field, _ in o.contents.ListFields()]
        return f"OK id {answer.id} {[(o.name, o.datatype, list(o.shape)) for o in answer.outputs]} raw {[len(b) for b in answer.raw_output_contents]} typed {typed}"
    if method in ("ServerLive", "ServerReady", "ModelReady"):
        return f"OK {str(answer).strip()}"
    if method == "ModelMetadata":
        return f"OK {[(t.name, t.datatype, list(t.shape)) for t in [*answer.inputs, *answer.outputs]]}"
    if method == "ModelConfig":
        return f"OK max_batch_size {answer.config.max_batch_size}"
    return f"OK {sorted(field.name for field, _ in answer.ListFields())}"


def serve_triton(width, ports):
    from pytriton.decorators import batch
    from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig

    @batch
    def zeros(text):
        return {"output-0": np.zeros((len(text), width), dtype=np.float32)}

    triton = Triton(config=TritonConfig(http_port=ports[0], grpc_port=ports[1], metrics_port=ports[2]))
    triton.bind("embedder", zeros, [Tensor(name="text", dtype=bytes, shape=(1,))], [Tensor(name="output-0", dtype=np.float32, shape=(width,))],
                config=ModelConfig(max_batch_size=32, batcher=DynamicBatcher()), strict=False)
    triton.run()
    return triton


def main():
    skive, model = sys.argv[1:]
    ports, theirs = free_ports(2), free_ports(3)
    process = subprocess.Popen([skive, "serve", "-q", "--listen", f"127.0.0.1:{ports[0]}", "--grpc-listen", f"127.0.0.1:{ports[1]}", "--embedding", "mean", f"embedder={model}"])
    triton = None
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/v2/health/ready").status == 200:
                    break
            time.sleep(0.1)
        metadata = json.load(urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/v2/models/embedder"))
        triton = serve_triton(metadata["outputs"][0]["shape"][1], theirs)
        different = 0
        for name, case in http_cases():
            ours, other = http(ports[0], *case), http(theirs[0], *case)
            if ours != other:
                different += 1
                print(f"HTTP, {name}:\n    skive  {ours}\n    triton {other}")
        clients = [grpc_client.InferenceServerClient(f"127.0.0.1:{port}") for port in (ports[1], theirs[1])]
        for name, method, request in grpc_cases():
            ours, other = (answer_of(client, method, request) for client in clients)
            if ours != other:
                different += 1
                print(f"gRPC, {name}:\n    skive  {ours}\n    triton {other}")
        print(f"{different} differences")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        if triton:
            triton.stop()


if __name__ == "__main__":
    main()
