"""Writes the small BERT directories of this folder with PyTorch and
transformers, and goldens.json: the SHA-256 of every tensor's float32 values.

    python goldens.py
"""

import hashlib
import io
import json
import os
import pathlib
import shutil
import warnings

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel

HERE = pathlib.Path(__file__).parent
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "##s", "."]


def config(**extra):
    return BertConfig(
        vocab_size=len(VOCAB), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=16, type_vocab_size=2,
        id2label={0: "negative", 1: "neutral", 2: "positive"},
        label2id={"negative": 0, "neutral": 1, "positive": 2}, **extra)


def spread(model):
    """Biases and LayerNorms start as constants: make every tensor tell."""
    gen = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=gen) * 0.05)
    return model.eval()


def checksums(state):
    return {k: hashlib.sha256(v.detach().float().contiguous().numpy().tobytes()).hexdigest()
            for k, v in sorted(state.items()) if v.is_floating_point()}


def fresh(name):
    d = HERE / name
    shutil.rmtree(d, ignore_errors=True)
    d.mkdir()
    (d / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    (d / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "tokenizer_class": "BertTokenizer"}))
    return d


def weightless(d, model):
    """config.json as save_pretrained writes it, without weights."""
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(d)


warnings.simplefilter("ignore")
torch.manual_seed(1)
model = spread(BertForSequenceClassification(config()))
ids = torch.tensor([[2, 5, 7, 8, 9, 3]])
sums = {}
state = {k: v.detach().clone() for k, v in model.state_dict().items()}
plain = {k: v for k, v in state.items() if not k.endswith("position_ids")}

d = fresh("safetensors")
model.save_pretrained(d)
sums["safetensors"] = checksums(plain)

d = fresh("sharded")
model.save_pretrained(d, max_shard_size="40KB")
assert (d / "model.safetensors.index.json").exists()
sums["sharded"] = checksums(plain)

d = fresh("zip")
weightless(d, model)
# Parameters instead of tensors, and a transposed view, as some scripts save.
odd = dict(state)
name = "bert.encoder.layer.0.attention.self.query.weight"
odd[name] = torch.nn.Parameter(state[name])
name = "bert.encoder.layer.1.intermediate.dense.weight"
odd[name] = state[name].t().contiguous().t()
odd["bert.embeddings.position_ids"] = torch.arange(16).expand((1, -1))
odd["cls.predictions.bias"] = torch.zeros(len(VOCAB))
torch.save(odd, d / "pytorch_model.bin")
sums["zip"] = checksums(plain)

d = fresh("legacy")
weightless(d, model)
torch.save(model.state_dict(), d / "pytorch_model.bin", _use_new_zipfile_serialization=False)
sums["legacy"] = checksums(plain)

# One storage for queries, keys and values, and a decoder tied to the embeddings.
for name, options in (("shared", {"pickle_protocol": 4}), ("shared-legacy", {"_use_new_zipfile_serialization": False})):
    d = fresh(name)
    weightless(d, model)
    tied = dict(plain)
    tied["cls.predictions.decoder.weight"] = tied["bert.embeddings.word_embeddings.weight"]
    for layer in range(2):
        parts = [f"bert.encoder.layer.{layer}.attention.self.{n}.weight" for n in ("query", "key", "value")]
        for part, view in zip(parts, torch.cat([plain[p] for p in parts]).chunk(3)):
            tied[part] = view
    torch.save(tied, d / "pytorch_model.bin", **options)
    sums[name] = checksums(plain)

# Shards of torch.save without the head that config.json promises, under the
# prefix of a wrapper.
d = fresh("sharded-bin")
weightless(d, model)
body = {"base_model." + k: v for k, v in plain.items() if "pooler" not in k and "classifier" not in k}
body["base_model.bert.extra.weight"] = torch.zeros(3)
weight_map = {}
for i, part in enumerate((sorted(body)[:20], sorted(body)[20:])):
    shard = f"pytorch_model-0000{i + 1}-of-00002.bin"
    torch.save({k: body[k] for k in part}, d / shard)
    weight_map.update({k: shard for k in part})
(d / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1) + "\n")
sums["sharded-bin"] = checksums({k: v for k, v in body.items() if "extra" not in k})

for name, dtype in (("f16", torch.float16), ("bf16", torch.bfloat16)):
    d = fresh(name)
    half = {k: v.to(dtype) for k, v in plain.items()}
    weightless(d, model)
    save_file(half, d / "model.safetensors", metadata={"format": "pt"})
    sums[name] = checksums(half)
    d = fresh(name + "-zip")
    weightless(d, model)
    torch.save(half, d / "pytorch_model.bin")
    sums[name + "-zip"] = checksums(half)

# An encoder alone, without the prefix; gamma and beta as TensorFlow had them.
base = spread(BertModel(config()))
d = fresh("encoder")
base.save_pretrained(d)
sums["encoder"] = checksums({k: v for k, v in base.state_dict().items() if not k.endswith("position_ids")})

lm = spread(BertForMaskedLM(config()))
d = fresh("pretraining")
weightless(d, lm)
old = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v.clone().contiguous()
       for k, v in lm.state_dict().items()}
save_file({k: v for k, v in old.items() if v.data_ptr()}, d / "model.safetensors", metadata={"format": "pt"})
sums["pretraining"] = checksums({k: v for k, v in lm.state_dict().items()
                                 if k.startswith("bert.") and not k.endswith("position_ids")})

# Small files for FuzzPyTorch: a tensor, one that shares its storage, a strided one.
for name, options in (("zip", {}), ("protocol4", {"pickle_protocol": 4}), ("legacy", {"_use_new_zipfile_serialization": False})):
    small = torch.arange(6, dtype=torch.float16).reshape(2, 3)
    buffer = io.BytesIO()
    torch.save({"a": small, "b": small[1], "c": torch.nn.Parameter(small.t())}, buffer, **options)
    text = "".join(f"\\x{b:02x}" for b in buffer.getvalue())
    (HERE / "fuzz" / "FuzzPyTorch" / name).write_text(f'go test fuzz v1\n[]byte("{text}")\n')

with torch.no_grad():
    logits = model(input_ids=ids).logits[0].tolist()
(HERE / "goldens.json").write_text(json.dumps({"sums": sums, "ids": ids[0].tolist(), "logits": logits}, indent=1) + "\n")
for root, _, files in os.walk(HERE):
    for f in files:
        if f in (".gitattributes", "README.md"):
            os.remove(os.path.join(root, f))
