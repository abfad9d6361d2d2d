"""Golden values and gradients of whole objectives: a student of 2 layers, 4 heads, width 32, and a teacher of 3 layers, 6 heads, width 24.

Run:      python distill/testdata/objective.py   (reads train/testdata)
Made by:  Python 3.11, torch 2.15.0, transformers 5.23.0, safetensors 0.8.0.

The student is train/testdata/tiny, the batch the first 6 examples of train/testdata/data.json. Student layers 0 and 1 learn from
teacher layers 1 and 2. The teacher's states are rounded to half precision, its logits are not. Both projections are 0.3 * sin(i)
of their elements' numbers.

Writes beside itself teacher/ (Hugging Face) and objective.json: of each loss the value and some gradients of the student.
"""

import json
import os
import shutil
import sys

import torch
import torch.nn.functional as F
from transformers import BertForSequenceClassification

HERE = os.path.dirname(os.path.abspath(__file__))
TRAIN = os.path.join(HERE, "..", "..", "train", "testdata")
sys.path.insert(0, TRAIN)
sys.dont_write_bytecode = True
from goldens import collate, config  # noqa: E402

PAIRS = [(0, 1), (1, 2)]
GRADIENTS = ["bert.embeddings.LayerNorm.weight", "bert.encoder.layer.0.attention.self.query.bias",
             "bert.encoder.layer.0.output.dense.bias", "bert.encoder.layer.1.attention.self.value.bias", "classifier.bias"]


def make_teacher():
    torch.manual_seed(11)
    c = config(hidden=24, layers=3, ffn=32)
    c.num_attention_heads, c.initializer_range = 6, 0.3
    model = BertForSequenceClassification(c)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(0.05 * torch.randn_like(p))
    path = os.path.join(HERE, "teacher")
    model.save_pretrained(path)
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(os.path.join(TRAIN, "tiny", name), path)
    return model


def states(model, rows):
    """Logits, and of each example its hidden states and each layer's queries, keys and values."""
    x, labels = collate(rows)
    kept, hooks = {}, []
    for i, layer in enumerate(model.bert.encoder.layer):
        for name in ("query", "key", "value"):
            hooks.append(getattr(layer.attention.self, name).register_forward_hook(lambda _, __, out, k=(i, name): kept.__setitem__(k, out)))
    out = model(**x, output_hidden_states=True)
    for h in hooks:
        h.remove()
    heads = model.config.num_attention_heads
    examples = []
    for s, row in enumerate(rows):
        n = len(row["ids"])
        split = {k: v[s, :n].reshape(n, heads, -1).transpose(0, 1) for k, v in kept.items()}
        examples.append(([h[s, :n] for h in out.hidden_states], split))
    return out.logits, examples, labels


def main():
    torch.set_num_threads(1)
    with open(os.path.join(TRAIN, "data.json")) as f:
        rows = json.load(f)[:6]
    teacher = make_teacher().double().eval()
    student = BertForSequenceClassification.from_pretrained(os.path.join(TRAIN, "tiny"), attn_implementation="eager").double().eval()
    with torch.no_grad():
        t_logits, t, _ = states(teacher, rows)
        t = [([h.half().double() for h in hs], {k: v.half().double() for k, v in qkv.items()}) for hs, qkv in t]
    s_logits, s, labels = states(student, rows)
    projection = (0.3 * torch.sin(torch.arange(24 * 32).double())).float().double().reshape(24, 32)
    tokens = sum(len(r["ids"]) for r in rows)

    def hidden(distance, pairs):
        return sum(distance(torch.cat([e[0][i] for e in s]) @ projection.T, torch.cat([e[0][j] for e in t])) for i, j in pairs) / len(pairs)

    def pkd(pairs):
        total = 0
        for i, j in pairs:
            a, b = (torch.stack([e[0][k][0] for e in m]) for m, k in ((s, i), (t, j)))
            total = total + ((F.normalize(a @ projection.T) - F.normalize(b)) ** 2).sum(-1).mean()
        return total / len(pairs)

    def attention(distance):
        """The mean over tokens of the distance of the rows of the head means."""
        total = 0
        for i, j in PAIRS:
            for (_, a), (_, b) in zip(s, t):
                def mean(qkv, layer):
                    q, k = qkv[layer, "query"], qkv[layer, "key"]
                    x = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
                    return (x if distance == "mse" else x.softmax(-1)).mean(0)
                x, y = mean(a, i), mean(b, j)
                total = total + {"mse": lambda: ((x - y) ** 2).mean(-1), "cosine": lambda: 1 - F.cosine_similarity(x, y, dim=-1),
                                 "ce": lambda: -(y * x.log()).sum(-1)}[distance]().sum()
        return total / tokens / len(PAIRS)

    def relations(heads):
        total = 0
        for i, j in PAIRS:
            for (_, a), (_, b) in zip(s, t):
                for name in ("query", "key", "value"):
                    def relation(x):
                        x = x.transpose(0, 1).reshape(x.shape[1], heads, -1).transpose(0, 1)
                        return F.log_softmax(x @ x.transpose(1, 2) / x.shape[-1] ** 0.5, -1)
                    total = total + F.kl_div(relation(a[i, name]), relation(b[j, name]), log_target=True, reduction="sum")
        return total / tokens / heads / len(PAIRS)

    def cosine(x, y):
        return (1 - F.cosine_similarity(x, y, dim=-1)).mean()

    layers = [(i + 1, j + 1) for i, j in PAIRS]  # hidden_states begins with the embeddings
    losses = {
        "soft": 4 * F.cross_entropy(s_logits / 2, F.softmax(t_logits / 2, -1)),
        "logits-mse": F.mse_loss(s_logits, t_logits),
        "hard": F.cross_entropy(s_logits, labels),
        "embeddings": hidden(F.mse_loss, [(0, 0)]),
        "hidden mse": hidden(F.mse_loss, layers),
        "hidden cosine": hidden(cosine, layers),
        "hidden pkd skip": pkd([(1, 1)]),
        "attention mse": attention("mse"),
        "attention cosine": attention("cosine"),
        "attention ce": attention("ce"),
        "relations": relations(4),
    }
    out = {}
    named = dict(student.named_parameters())
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, [named[k] for k in GRADIENTS], retain_graph=True, allow_unused=True)
        out[name] = {"value": loss.item(), "gradients": {k: [float(f"{v:.7g}") for v in g.tolist()] for k, g in zip(GRADIENTS, gradients) if g is not None}}
    with open(os.path.join(HERE, "objective.json"), "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
