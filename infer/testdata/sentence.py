"""Writes sentence/: a tiny encoder, dense layers, and the embeddings of several sentence-transformers directories.

    pip install numpy scipy safetensors tokenizers
    python sentence.py

The encoder and the modules are computed here in float64, as the source of sentence-transformers 6.2.0 has them.
Each case of goldens.json has the files that make a directory of the encoder, and the embeddings of TEXTS in it.
"""

import json
import pathlib

import numpy as np
from safetensors.numpy import save_file
from scipy.special import erf
from tokenizers import BertWordPieceTokenizer

OUT = pathlib.Path(__file__).with_name("sentence")
HIDDEN, HEADS, INNER, LAYERS, POSITIONS = 8, 2, 12, 2, 24
TEXTS = ["the red house", "a", "", "one two three four five six seven eight nine ten the red house a blue tree", "Blue tree: one, two!"]

words = "the a red blue house tree one two three four five six seven eight nine ten query passage : , !".split()
vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + words
rng = np.random.default_rng(7)


def normal(*shape, scale=0.5):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def encoder_weights():
    w = {"embeddings.word_embeddings.weight": normal(len(vocab), HIDDEN), "embeddings.position_embeddings.weight": normal(POSITIONS, HIDDEN),
         "embeddings.token_type_embeddings.weight": normal(2, HIDDEN)}
    norms = ["embeddings.LayerNorm"]
    for l in range(LAYERS):
        p = f"encoder.layer.{l}."
        for name, shape in {"attention.self.query": (HIDDEN, HIDDEN), "attention.self.key": (HIDDEN, HIDDEN), "attention.self.value": (HIDDEN, HIDDEN),
                            "attention.output.dense": (HIDDEN, HIDDEN), "intermediate.dense": (INNER, HIDDEN), "output.dense": (HIDDEN, INNER)}.items():
            w[p + name + ".weight"], w[p + name + ".bias"] = normal(*shape), normal(shape[0], scale=0.2)
        norms += [p + "attention.output.LayerNorm", p + "output.LayerNorm"]
    for n in norms:
        w[n + ".weight"], w[n + ".bias"] = 1 + normal(HIDDEN, scale=0.2), normal(HIDDEN, scale=0.2)
    return w


def hidden_states(w, ids):
    w = {k: v.astype(np.float64) for k, v in w.items()}

    def linear(name, x):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    def norm(name, x):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12) * w[name + ".weight"] + w[name + ".bias"]

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm("embeddings.LayerNorm", x)
    for l in range(LAYERS):
        p = f"encoder.layer.{l}."
        q, k, v = (linear(p + "attention.self." + n, x).reshape(len(ids), HEADS, -1).transpose(1, 0, 2) for n in ("query", "key", "value"))
        s = q @ k.transpose(0, 2, 1) / np.sqrt(HIDDEN / HEADS)
        a = np.exp(s - s.max(-1, keepdims=True))
        y = ((a / a.sum(-1, keepdims=True)) @ v).transpose(1, 0, 2).reshape(len(ids), HIDDEN)
        x = norm(p + "attention.output.LayerNorm", linear(p + "attention.output.dense", y) + x)
        y = linear(p + "intermediate.dense", x)
        y = y * 0.5 * (1 + erf(y / np.sqrt(2)))
        x = norm(p + "output.LayerNorm", linear(p + "output.dense", y) + x)
    return x


POOLING = {
    "mean": lambda x: x.mean(0),
    "cls": lambda x: x[0],
    "max": lambda x: x.max(0),
    "mean_sqrt_len_tokens": lambda x: x.sum(0) / np.sqrt(len(x)),
    "lasttoken": lambda x: x[-1],
}
ACTIVATION = {
    "torch.nn.modules.linear.Identity": lambda x: x,
    "torch.nn.modules.activation.Tanh": np.tanh,
    "torch.nn.modules.activation.ReLU": lambda x: np.maximum(x, 0),
    "torch.nn.modules.activation.GELU": lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))),
}
OLD, NEW = "sentence_transformers.models.", "sentence_transformers.sentence_transformer.modules.pooling."

OUT.mkdir(exist_ok=True)
(OUT / "encoder").mkdir(exist_ok=True)
weights = encoder_weights()
save_file(weights, OUT / "encoder" / "model.safetensors")
(OUT / "encoder" / "vocab.txt").write_text("\n".join(vocab) + "\n")
(OUT / "encoder" / "config.json").write_text(json.dumps({
    "model_type": "bert", "architectures": ["BertModel"], "vocab_size": len(vocab), "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "intermediate_size": INNER, "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "hidden_act": "gelu",
    "layer_norm_eps": 1e-12}, indent=1) + "\n")
tokenizer = BertWordPieceTokenizer({w: i for i, w in enumerate(vocab)}, lowercase=True)

dense = {"a": (normal(5, HIDDEN), normal(5)), "b": (normal(6, 5), None), "c": (normal(HIDDEN, HIDDEN), normal(HIDDEN))}
for name, (w, b) in dense.items():
    save_file({"linear.weight": w} | ({} if b is None else {"linear.bias": b}), OUT / f"dense_{name}.safetensors")


def case(name, pooling, layers=(), normalize=False, max_length=None, settings=None, prompts=None, default=None, prompt=None, root="", types=OLD, tokenizer_config=None):
    """layers are names of dense layers with activations; root is the directory of the encoder."""
    files, copies, modules = {}, {}, []

    def module(kind, path, type):
        modules.append({"idx": len(modules), "name": str(len(modules)), "path": path, "type": type})

    inside = root + "/" if root else ""
    module("Transformer", root, OLD + "Transformer" if types == OLD else "sentence_transformers.base.modules.transformer.Transformer")
    mode = pooling.pop("mode")
    module("Pooling", "1_Pooling", (types if types == NEW else OLD) + "Pooling")
    files["1_Pooling/config.json"] = pooling
    width = HIDDEN
    for i, (layer, activation) in enumerate(layers):
        w, b = dense[layer]
        module("Dense", f"{i + 2}_Dense", OLD + "Dense")
        c = {"in_features": width, "out_features": len(w), "bias": b is not None}
        if activation != "default":
            c["activation_function"] = activation
        files[f"{i + 2}_Dense/config.json"] = c
        copies[f"{i + 2}_Dense/model.safetensors"] = f"dense_{layer}.safetensors"
        width = len(w)
    if normalize:
        module("Normalize", f"{len(modules)}_Normalize", OLD + "Normalize")
    files["modules.json"] = modules
    if max_length is not None:
        files[inside + (settings or "sentence_bert_config.json")] = {"max_seq_length": max_length, "do_lower_case": False}
    if prompts is not None:
        files["config_sentence_transformers.json"] = {"__version__": {}, "prompts": prompts, "default_prompt_name": default}
    if tokenizer_config:
        files[inside + "tokenizer_config.json"] = tokenizer_config
    for f in ("config.json", "model.safetensors", "vocab.txt"):
        copies[inside + f] = "encoder/" + f
    limit = min(max_length or (tokenizer_config or {}).get("model_max_length", POSITIONS), POSITIONS)
    before = (prompts or {}).get(prompt or default) or ""
    embeddings = []
    for text in TEXTS:
        tokenizer.enable_truncation(limit)
        x = POOLING[mode](hidden_states(weights, tokenizer.encode(before + text).ids))
        for layer, activation in layers:
            w, b = dense[layer]
            x = w.astype(np.float64) @ x + (0 if b is None else b.astype(np.float64))
            x = ACTIVATION["torch.nn.modules.activation.Tanh" if activation == "default" else activation](x)
        if normalize:
            x = x / max(np.linalg.norm(x), 1e-12)
        embeddings.append([float(v) for v in x.round(7)])
    return {"name": name, "files": files, "copies": copies, "prompt": prompt or "", "embeddings": embeddings}


def legacy(*keys):
    keys = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "max": "pooling_mode_max_tokens", "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens", "none": ""}[keys[0]], *keys[1:]
    all = ["pooling_mode_cls_token", "pooling_mode_mean_tokens", "pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens"]
    return {"word_embedding_dimension": HIDDEN} | {k: k in keys for k in all}


TANH, GELU, RELU, IDENTITY = (f"torch.nn.modules.{n}" for n in ("activation.Tanh", "activation.GELU", "activation.ReLU", "linear.Identity"))
cases = [
    case("mean, unit length", {"mode": "mean"} | legacy("mean"), normalize=True, max_length=12),
    case("mean", {"mode": "mean"} | legacy("mean"), max_length=6),
    case("cls", {"mode": "cls"} | legacy("cls")),
    case("cls, unit length", {"mode": "cls", "embedding_dimension": HIDDEN, "pooling_mode": "cls", "include_prompt": True}, normalize=True, types=NEW),
    case("max", {"mode": "max"} | legacy("max"), max_length=9),
    case("max in the new form", {"mode": "max", "embedding_dimension": HIDDEN, "pooling_mode": ["max"]}, normalize=True, types=NEW),
    case("mean_sqrt", {"mode": "mean_sqrt_len_tokens"} | legacy("mean_sqrt_len_tokens")),
    case("no pooling named", {"mode": "mean", "word_embedding_dimension": HIDDEN}),
    case("dense", {"mode": "mean"} | legacy("mean"), layers=[("a", TANH)], max_length=12),
    case("dense, as LaBSE", {"mode": "cls"} | legacy("cls"), layers=[("c", TANH)], normalize=True),
    case("two dense", {"mode": "max"} | legacy("max"), layers=[("a", GELU), ("b", IDENTITY)], normalize=True),
    case("dense without activation", {"mode": "mean_sqrt_len_tokens"} | legacy("mean_sqrt_len_tokens"), layers=[("a", "default")]),
    case("three dense", {"mode": "cls"} | legacy("cls"), layers=[("c", RELU), ("a", RELU), ("b", GELU)]),
    case("a default prompt", {"mode": "mean"} | legacy("mean"), normalize=True, prompts={"query": "query: ", "passage": "passage: "}, default="query"),
    case("a prompt", {"mode": "mean"} | legacy("mean"), normalize=True, prompts={"query": "query: ", "passage": "passage: "}, default="query", prompt="passage"),
    case("a prompt without a default", {"mode": "mean"} | legacy("mean"), normalize=True, prompts={"query": "query: ", "document": ""}, prompt="query", max_length=8),
    case("a default prompt of nothing", {"mode": "mean"} | legacy("mean"), prompts={"query": None, "document": None}, default="document"),
    case("a directory of its own", {"mode": "mean"} | legacy("mean"), normalize=True, root="0_Transformer", max_length=7),
    case("roberta's name", {"mode": "mean"} | legacy("mean"), normalize=True, max_length=7, settings="sentence_roberta_config.json"),
    case("the tokenizer's length", {"mode": "mean"} | legacy("mean"), normalize=True, tokenizer_config={"model_max_length": 10, "do_lower_case": True}),
    case("more than positions", {"mode": "mean"} | legacy("mean"), normalize=True, max_length=512),
    case("the last token", {"mode": "lasttoken"} | legacy("none") | {"pooling_mode_lasttoken": True}, normalize=True, max_length=9),
    case("the last token in the new form", {"mode": "lasttoken", "embedding_dimension": HIDDEN, "pooling_mode": "lasttoken"}, layers=[("a", TANH)], types=NEW),
]
(OUT / "goldens.json").write_text(json.dumps({"texts": TEXTS, "cases": cases}, indent=1) + "\n")
