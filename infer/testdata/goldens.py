"""Makes the goldens of package infer with Hugging Face transformers: small BERT classifiers as directories, each with
golden.json holding inputs, logits and embeddings; and, when SKIVE_MINILM names the directory of all-MiniLM-L6-v2, minilm.json with
the pooled outputs and the embeddings of that model.

    SKIVE_MINILM=DIR python goldens.py

Made with torch 2.15.0 and transformers 5.23.0.
"""

import json
import os

import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel

HERE = os.path.dirname(os.path.abspath(__file__))


def inputs(rng, vocab, types, lengths):
    for n in lengths:
        ids = torch.randint(0, vocab, (n,), generator=rng)
        cut = int(torch.randint(0, n + 1, (1,), generator=rng))
        typ = (torch.arange(n) >= cut).long() * (types - 1)
        yield ids, typ


def classifier(name, seed, **sizes):
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    labels = ["negative", "neutral", "positive"]
    cfg = BertConfig(
        vocab_size=60, max_position_embeddings=48, num_labels=3, initializer_range=0.25,
        id2label=dict(enumerate(labels)), label2id={l: i for i, l in enumerate(labels)}, **sizes)
    model = BertForSequenceClassification(cfg).eval()
    with torch.no_grad():
        # Fresh biases are zero and LayerNorms the identity, which would hide mistakes.
        for n, p in model.named_parameters():
            if p.ndim == 1:
                p.add_(torch.randn(p.shape, generator=rng) * 0.2)
        cases = []
        for ids, typ in inputs(rng, cfg.vocab_size, cfg.type_vocab_size, [1, 2, 7, 16, 33, 48]):
            out = model(input_ids=ids[None], token_type_ids=typ[None])
            hidden = model.bert(input_ids=ids[None], token_type_ids=typ[None]).last_hidden_state
            mean, cls = (torch.nn.functional.normalize(x, dim=-1)[0] for x in (hidden.mean(1), hidden[:, 0]))
            cases.append({"ids": ids.tolist(), "types": typ.tolist(), "logits": out.logits[0].tolist(),
                          "mean": mean.tolist(), "cls": cls.tolist()})
    path = os.path.join(HERE, name)
    model.save_pretrained(path)
    with open(os.path.join(path, "golden.json"), "w") as f:
        json.dump(cases, f)


def minilm(source):
    rng = torch.Generator().manual_seed(5)
    model = BertModel.from_pretrained(source).eval()
    cases = []
    with torch.no_grad():
        for ids, typ in inputs(rng, model.config.vocab_size, 2, [5, 31, 128]):
            out = model(input_ids=ids[None], token_type_ids=typ[None])
            mean = torch.nn.functional.normalize(out.last_hidden_state.mean(1), dim=-1)[0]
            cases.append({"ids": ids.tolist(), "types": typ.tolist(), "logits": out.pooler_output[0].tolist(),
                          "mean": mean.tolist()})
    with open(os.path.join(HERE, "minilm.json"), "w") as f:
        json.dump(cases, f)


classifier("gelu", 1, hidden_size=36, num_hidden_layers=3, num_attention_heads=3, intermediate_size=50)
classifier("gelu_new", 2, hidden_size=52, num_hidden_layers=2, num_attention_heads=2, intermediate_size=80,
           hidden_act="gelu_new", type_vocab_size=1)
classifier("relu", 3, hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=33, hidden_act="relu",
           layer_norm_eps=1e-5)
if os.environ.get("SKIVE_MINILM"):
    minilm(os.environ["SKIVE_MINILM"])
