"""Makes the goldens of package infer with Hugging Face transformers: small BERT classifiers as directories, each with
golden.json holding inputs, logits and embeddings; models with each of the other heads (heads/NAME), whose golden.json also
has labels, the mean loss of all cases by the loss function that transformers uses, and the norm of its gradient; and, when SKIVE_MINILM names the directory of all-MiniLM-L6-v2, minilm.json with
the pooled outputs and the embeddings of that model.

    SKIVE_MINILM=DIR python goldens.py

Made with torch 2.15.0 and transformers 5.23.0.
"""

import json
import os

import torch
from torch.nn import functional as F
from transformers import (BertConfig, BertForMaskedLM, BertForMultipleChoice, BertForSequenceClassification,
                          BertForTokenClassification, BertModel)

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


def head(name, seed, cls, problem=None, labels=()):
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    named = {} if not labels else {"id2label": dict(enumerate(labels)), "label2id": {l: i for i, l in enumerate(labels)}}
    cfg = BertConfig(
        vocab_size=60, max_position_embeddings=20, initializer_range=0.25, hidden_size=24, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=30, problem_type=problem, attn_implementation="eager", **named)
    model = cls(cfg).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(torch.randn(p.shape, generator=rng) * 0.2)
    path = os.path.join(HERE, "heads", name)
    model.save_pretrained(path)
    model = model.double()
    cases, logits, targets, n = [], [], [], len(labels)
    for i, (ids, typ) in enumerate(inputs(rng, 60, 2, [7, 16, 3, 20])):
        ids = ids.clamp(min=1)  # the padding token, which packed batches do not have, gets no gradient in PyTorch
        if name == "multiple_choice":  # the first two sequences are one question, the others another
            out = model(input_ids=ids[None, None], token_type_ids=typ[None, None]).logits[0]
            label = i % 3 == 1
        else:
            out = model(input_ids=ids[None], token_type_ids=typ[None]).logits[0]
            label = {
                "multi_label": lambda: [(i + j) % 2 for j in range(n)], "regression": lambda: i * 0.75 - 1,
                "token": lambda: [-100 if (t + i) % 3 == 0 else t % n for t in range(len(ids))],
                "masked_lm": lambda: [(7 * t) % 60 if (t + i) % 4 == 0 else -100 for t in range(len(ids))],
            }[name]()
        cases.append({"ids": ids.tolist(), "types": typ.tolist(), "logits": out.flatten().tolist(), "label": label})
        logits.append(out)
        targets.append(label)
    if name == "multi_label":
        loss = F.binary_cross_entropy_with_logits(torch.stack(logits), torch.tensor(targets).double())
    elif name == "regression":
        loss = F.mse_loss(torch.cat(logits), torch.tensor(targets).double())
    elif name == "multiple_choice":
        loss = F.cross_entropy(torch.cat(logits).view(2, 2), torch.tensor([1, 0]))
        assert targets == [False, True, False, False]
        cases[2]["label"] = True
    else:
        loss = F.cross_entropy(torch.cat(logits), torch.tensor(sum(targets, [])))
    loss.backward()
    norm = sum((p.grad ** 2).sum() for p in model.parameters() if p.grad is not None) ** 0.5
    with open(os.path.join(path, "golden.json"), "w") as f:
        json.dump({"cases": cases, "loss": loss.item(), "grad_norm": norm.item()}, f)


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
head("multi_label", 4, BertForSequenceClassification, "multi_label_classification", ["a", "b", "c"])
head("regression", 5, BertForSequenceClassification, "regression", ["LABEL_0"])
head("multiple_choice", 6, BertForMultipleChoice)
head("token", 7, BertForTokenClassification, None, ["O", "B-X", "I-X"])
head("masked_lm", 8, BertForMaskedLM)
if os.environ.get("SKIVE_MINILM"):
    minilm(os.environ["SKIVE_MINILM"])
