"""Clients that share no environment with those of clients.py against a server: frameworks.py URL GRPC.

KServe's has the protocol's messages of the same names as tritonclient's; the frameworks need an older huggingface_hub.
"""
import asyncio
import json
import sys
import urllib.request

import kserve
import numpy as np
from huggingface_hub import InferenceClient
from langchain_huggingface import HuggingFaceEndpointEmbeddings
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

url, address = sys.argv[1:]
texts = ["the room was clean", "rude", "The staff was never rude, but not kind!"]
request = urllib.request.Request(url + "/embed", json.dumps({"inputs": texts}).encode(), {"Content-Type": "application/json"})
with urllib.request.urlopen(request) as answer:
    embeddings = np.array(json.load(answer), dtype=np.float32)


def same(name, got, want):
    got = np.asarray(got, dtype=np.float32)
    assert got.shape == want.shape and (got.view(np.uint32) == want.view(np.uint32)).all(), f"{name}: {got}, want {want}"
    print(name)


langchain = HuggingFaceEndpointEmbeddings(model="embedder", huggingfacehub_api_token="none")
langchain.client = InferenceClient(model=url)  # as model it takes names of the hub alone
same("langchain-huggingface, documents", langchain.embed_documents(texts), embeddings)
same("langchain-huggingface, a query", langchain.embed_query(texts[1]), embeddings[1])
llama = TextEmbeddingsInference(model_name="embedder", base_url=url, timeout=60)
same("llama-index, texts", llama.get_text_embedding_batch(texts), embeddings)
same("llama-index, a query", llama.get_query_embedding(texts[1]), embeddings[1])


async def with_kserve():
    request = kserve.InferRequest("embedder", [kserve.InferInput("input-0", [3], "BYTES", data=texts)], request_id="7")
    rest = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
    assert await rest.is_server_live(url) and await rest.is_server_ready(url) and await rest.is_model_ready(url, "embedder")
    answer = await rest.infer(url, request, model_name="embedder")
    assert answer.id == "7" and answer.model_name == "embedder"
    same("kserve, REST", answer.outputs[0].as_numpy(), embeddings)
    async with kserve.InferenceGRPCClient(address) as client:
        assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready("embedder")
        answer = await client.infer(request)
        assert answer.id == "7" and answer.model_name == "embedder"
        same("kserve, gRPC", answer.outputs[0].as_numpy(), embeddings)
        inputs = []
        for name, value in (("input_ids", [[2, 12, 3, 0], [2, 12, 12, 3]]), ("attention_mask", [[1, 1, 1, 0], [1, 1, 1, 1]])):
            inputs.append(kserve.InferInput(name, [2, 4], "INT64"))
            inputs[-1].set_data_from_numpy(np.array(value, dtype=np.int64), binary_data=True)
        answer = await client.infer(kserve.InferRequest("embedder", inputs))
        same("kserve, gRPC, token ids", answer.outputs[0].as_numpy()[0], embeddings[1])


asyncio.run(with_kserve())
print("all frameworks pass")
