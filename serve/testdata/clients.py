"""Unmodified clients of the field against a server: clients.py URL GRPC. Each asks as its users do, and all get the same."""
import sys

import numpy as np
import openai
import tei_client.clients.grpc_client as tei_grpc
import tei_client.clients.http_client as tei
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
from huggingface_hub import InferenceClient
from tritonclient.utils import InferenceServerException

url, address = sys.argv[1:]
texts = ["the room was clean", "rude", "The staff was never rude, but not kind!"]


def same(name, got, want):
    got, want = np.asarray(got, dtype=np.float32), np.asarray(want, dtype=np.float32)
    assert got.shape == want.shape and (got.view(np.uint32) == want.view(np.uint32)).all(), f"{name}: {got}, want {want}"
    print(name)


client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
answer = client.embeddings.create(model="embedder", input=texts)  # in base64
embeddings = np.array([d.embedding for d in answer.data], dtype=np.float32)
assert answer.usage.total_tokens > 0 and embeddings.shape == (3, 32)
same("openai, floats", [d.embedding for d in client.embeddings.create(model="embedder", input=texts, encoding_format="float").data], embeddings)
same("openai, token ids", client.embeddings.create(model="embedder", input=[[2, 12, 3]]).data[0].embedding, embeddings[1])
assert client.embeddings.create(model="embedder", input="rude", dimensions=8).data[0].embedding.__len__() == 8
assert "embedder" in [m.id for m in client.models.list()]
for wrong, status in (({"model": "nope", "input": "a"}, 404), ({"model": "embedder", "input": ""}, 400)):
    try:
        client.embeddings.create(**wrong)
        raise AssertionError(f"{wrong} was answered")
    except openai.APIStatusError as e:
        assert e.status_code == status and "Input validation" in e.message or "not served" in e.message, e

hub = InferenceClient(model=url)
same("huggingface_hub, features", hub.feature_extraction(texts[0])[0], embeddings[0])
assert abs(hub.sentence_similarity(texts[0], other_sentences=texts)[0] - 1) < 1e-5
topics = InferenceClient(model=url + "/models/topics").text_classification(texts[0])
assert {t.label for t in topics} == {"a", "b"} and topics[0].score >= topics[1].score
words = InferenceClient(model=url + "/models/words").token_classification("The staff")
assert [(w.word, w.start, w.end) for w in words] == [("The", 0, 3), ("staff", 4, 9)], words

embedder = tei.HttpClient(url + "/models/embedder")
assert embedder.health() and embedder.info().max_client_batch_size == 32
assert embedder.prompt_names() == ["query"]
same("tei-client, embed", embedder.embed(texts), embeddings)
assert embedder.tokenize("rude")[0].get_ids() == [2, 12, 3]
ranks = tei.HttpClient(url + "/models/ranker").rerank("clean", texts, return_text=True).ranks
assert [r.score for r in ranks] == sorted((r.score for r in ranks), reverse=True) and ranks[0].text in texts
scores = tei.HttpClient(url + "/models/topics").classify(texts)
assert len(scores) == 3 and len(scores[0].scores) == 2
service = tei_grpc.GrpcClient(address)
assert service.health() and service.info().max_client_batch_size == 32
assert service.prompt_names() == ["query"]
same("tei-client, gRPC, embed", service.embed(texts), embeddings)
assert service.tokenize("rude")[0].get_ids() == [2, 12, 3]
same("tei-client, tokens", service.embed_all(texts[1])[0], embedder.embed_all(texts[1])[0])
assert service.decode([2, 12, 3]) == "rude"

v2 = triton.InferenceServerClient(url.removeprefix("http://"))
assert v2.is_server_live() and v2.is_server_ready() and v2.is_model_ready("embedder") and not v2.is_model_ready("nope")
assert v2.get_server_metadata()["name"] == "skive"
assert v2.get_model_metadata("embedder")["outputs"][0]["name"] == "output-0"
assert v2.get_model_config("embedder")["max_batch_size"] == 32
for binary in (True, False):
    for compression in (None, "gzip", "deflate"):
        x = triton.InferInput("text", [3], "BYTES")
        x.set_data_from_numpy(np.array(texts, dtype=np.object_), binary_data=binary)
        outputs = [triton.InferRequestedOutput("output-0", binary_data=binary)]
        got = v2.infer("embedder", [x], outputs=outputs, request_id="7", request_compression_algorithm=compression, response_compression_algorithm=compression)
        assert got.get_response()["id"] == "7"
        same(f"tritonclient, binary {binary}, {compression}", got.as_numpy("output-0"), embeddings)
ids = np.array([[2, 12, 3, 0], [2, 12, 12, 3]], dtype=np.int64)
inputs = []
for name, value in (("input_ids", ids), ("attention_mask", np.array([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=np.int64))):
    inputs.append(triton.InferInput(name, [2, 4], "INT64"))
    inputs[-1].set_data_from_numpy(value)
same("tritonclient, token ids", v2.infer("embedder", inputs).as_numpy("output-0")[0], embeddings[1])
label = v2.infer("topics", [x], outputs=[triton.InferRequestedOutput("label")]).as_numpy("label")
assert label.shape == (3,) and label[0] in (b"a", b"b")
assert v2.get_inference_statistics("embedder")["model_stats"][0]["inference_count"] > 0
assert "embedder" in [m["name"] for m in v2.get_model_repository_index()]

remote = triton_grpc.InferenceServerClient(address)
assert remote.is_server_live() and remote.is_server_ready() and remote.is_model_ready("embedder") and not remote.is_model_ready("nope")
assert remote.get_server_metadata().name == "skive"
assert remote.get_model_metadata("embedder").outputs[0].name == "output-0"
assert remote.get_model_config("embedder").config.max_batch_size == 32
for compression in (None, "gzip"):
    y = triton_grpc.InferInput("text", [3], "BYTES")
    y.set_data_from_numpy(np.array(texts, dtype=np.object_))
    got = remote.infer("embedder", [y], outputs=[triton_grpc.InferRequestedOutput("output-0")], request_id="7", compression_algorithm=compression)
    assert got.get_response().id == "7"
    same(f"tritonclient, gRPC, {compression}", got.as_numpy("output-0"), embeddings)
inputs = []
for name, value in (("input_ids", ids), ("attention_mask", np.array([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=np.int64))):
    inputs.append(triton_grpc.InferInput(name, [2, 4], "INT64"))
    inputs[-1].set_data_from_numpy(value)
same("tritonclient, gRPC, token ids", remote.infer("embedder", inputs).as_numpy("output-0")[0], embeddings[1])
assert remote.infer("topics", [y]).as_numpy("label")[0] in (b"a", b"b")
assert remote.get_inference_statistics("embedder").model_stats[0].inference_count > 0
assert "embedder" in [m.name for m in remote.get_model_repository_index().models]
for client, tensor in ((v2, x), (remote, y)):
    try:
        client.infer("nope", [tensor])
        raise AssertionError("an unknown model answered")
    except InferenceServerException as e:
        assert "unknown model: 'nope' is not found" in str(e), e

print("all clients pass")
