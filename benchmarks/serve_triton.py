"""Sentence embeddings by ONNX Runtime in int8 behind Triton (nvidia-pytriton), for serve.py:

    serve_triton.py export MODEL OUT        the graph of a BERT directory, quantized as ONNX Runtime does by default
    serve_triton.py serve OUT PORT THREADS  the model embedder: text BYTES [n, 1] to output-0 FP32 [n, width]
"""

import os
import shutil
import sys

import numpy as np


def export(model, out):
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModel

    os.makedirs(out)
    shutil.copy(os.path.join(model, "tokenizer.json"), out)
    bert = AutoModel.from_pretrained(model, attn_implementation="eager").eval()

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = bert

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state

    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = tuple(torch.ones(2, 8, dtype=torch.int64) for _ in names)
    plain = os.path.join(out, "plain.onnx")
    torch.onnx.export(Hidden(), example, plain, input_names=names, output_names=["hidden"], dynamo=False,
                      dynamic_axes={name: {0: "n", 1: "s"} for name in [*names, "hidden"]}, opset_version=17)
    quantize_dynamic(plain, os.path.join(out, "model.onnx"), weight_type=QuantType.QInt8)


def serve(folder, port, threads):
    import onnxruntime
    from pytriton.decorators import batch
    from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(256)

    @batch
    def embed(text):
        encoded = tokenizer.encode_batch([t.decode() for t in text[:, 0]])
        ids = np.array([e.ids for e in encoded], dtype=np.int64)
        mask = np.array([e.attention_mask for e in encoded], dtype=np.int64)
        hidden = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})[0]
        summed = (hidden * mask[:, :, None]).sum(axis=1)
        return {"output-0": (summed / np.linalg.norm(summed, axis=1, keepdims=True)).astype(np.float32)}

    width = embed_width(session)
    config = TritonConfig(http_port=port, grpc_port=port + 1, metrics_port=port + 2, log_verbose=0)
    with Triton(config=config) as triton:
        triton.bind("embedder", embed, [Tensor(name="text", dtype=bytes, shape=(1,))], [Tensor(name="output-0", dtype=np.float32, shape=(width,))],
                    config=ModelConfig(max_batch_size=32, batcher=DynamicBatcher(max_queue_delay_microseconds=0)))
        triton.serve()


def embed_width(session):
    one = np.ones((1, 3), dtype=np.int64)
    return session.run(None, {"input_ids": one, "attention_mask": one, "token_type_ids": one})[0].shape[-1]


if __name__ == "__main__":
    if sys.argv[1] == "export":
        export(*sys.argv[2:])
    else:
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
