"""Golden values and gradients of the distillation losses on the answers of every head.

Run:      python distill/testdata/heads.py   (reads train/testdata and distill/testdata/teacher)
Made by:  Python 3.11, torch 2.15.0, transformers 5.23.0.

Student and teacher are those of objective.py. Their heads are new: element i of a tensor is 0.3 * sin(i + 1) in the student and
0.3 * cos(i + 1) in the teacher, of a LayerNorm's weight 1 more. The texts are the first ones of the first 6 examples of
train/testdata/data.json; what they are asked is below, in truth().

Writes heads.json beside itself: of each head and loss the value and some gradients of the student.
"""

import json
import os
import sys

import torch
import torch.nn.functional as F
from transformers import BertForSequenceClassification

HERE = os.path.dirname(os.path.abspath(__file__))
TRAIN = os.path.join(HERE, "..", "..", "train", "testdata")
sys.path.insert(0, TRAIN)
sys.dont_write_bytecode = True
from goldens import collate  # noqa: E402

T = 2
GRADIENTS = ["embeddings.LayerNorm.weight", "encoder.layer.0.attention.self.query.bias", "encoder.layer.0.output.dense.bias",
             "encoder.layer.1.attention.self.value.bias"]
CHOICES = [[10], [20, 21], [30]]


def tensor(wave, *shape):
    n = torch.Size(shape).numel()
    return (0.3 * wave(torch.arange(n).double() + 1)).float().double().reshape(shape)


class Model:
    def __init__(self, path, wave):
        m = BertForSequenceClassification.from_pretrained(path, attn_implementation="eager").double().eval()
        self.bert, self.wave = m.bert, wave

    def encode(self, rows):
        x, _ = collate(rows)
        hidden = self.bert(**x).last_hidden_state
        return hidden, [len(r["ids"]) for r in rows]

    def sequences(self, rows, labels):
        hidden, _ = self.encode(rows)
        pooled = self.bert.pooler(hidden)
        return F.linear(pooled, tensor(self.wave, labels, pooled.shape[-1]), tensor(self.wave, labels))

    def tokens(self, rows, labels):
        hidden, lengths = self.encode(rows)
        x = torch.cat([h[:n] for h, n in zip(hidden, lengths)])
        return F.linear(x, tensor(self.wave, labels, x.shape[-1]), tensor(self.wave, labels))

    def masked(self, rows, chosen):
        hidden, lengths = self.encode(rows)
        x = torch.cat([h[:n] for h, n in zip(hidden, lengths)])[chosen]
        words = self.bert.embeddings.word_embeddings.weight
        h = x.shape[-1]
        x = F.gelu(F.linear(x, tensor(self.wave, h, h), tensor(self.wave, h)))
        x = F.layer_norm(x, (h,), 1 + tensor(self.wave, h), tensor(self.wave, h), 1e-12)
        return F.linear(x, words, tensor(self.wave, len(words)))


def single(ids):
    return {"ids": [2] + ids + [3], "types": [0] * (len(ids) + 2), "label": 0}


def pair(a, b):
    return {"ids": [2] + a + [3] + b + [3], "types": [0] * (len(a) + 2) + [1] * (len(b) + 1), "label": 0}


def cross_entropy(x, t):
    return T * T * F.cross_entropy(x / T, F.softmax(t / T, -1))


def main():
    torch.set_num_threads(1)
    with open(os.path.join(TRAIN, "data.json")) as f:
        texts = [r["ids"][1:r["ids"].index(3)] for r in json.load(f)[:6]]
    student, teacher = Model(os.path.join(TRAIN, "tiny"), torch.sin), Model(os.path.join(HERE, "teacher"), torch.cos)
    named = dict(student.bert.named_parameters())
    out = {}

    def record(head, losses):
        out[head] = {}
        for name, loss in losses.items():
            gradients = torch.autograd.grad(loss, [named[k] for k in GRADIENTS], retain_graph=True)
            out[head][name] = {"value": loss.item(), "gradients": {
                "bert." + k: [float(f"{v:.7g}") for v in g.tolist()] for k, g in zip(GRADIENTS, gradients)}}

    rows = [single(t) for t in texts]
    s, t = student.sequences(rows, 1), teacher.sequences(rows, 1).detach()
    truth = torch.tensor([[0.5 * i] for i in range(6)]).double()
    record("regression", {"soft": F.mse_loss(s, t), "logits-mse": F.mse_loss(s, t), "hard": F.mse_loss(s, truth)})

    s, t = student.sequences(rows, 3), teacher.sequences(rows, 3).detach()
    truth = torch.tensor([[float(i % (c + 2) == 0) for c in range(3)] for i in range(6)]).double()
    record("multi_label_classification", {
        "soft": T * T * F.binary_cross_entropy_with_logits(s / T, torch.sigmoid(t / T)),
        "logits-mse": F.mse_loss(s, t), "hard": F.binary_cross_entropy_with_logits(s, truth)})

    counts = [2 + i % 2 for i in range(6)]
    rows = [pair(text, c) for text, n in zip(texts, counts) for c in CHOICES[:n]]
    s, t = student.sequences(rows, 1), teacher.sequences(rows, 1).detach()
    questions = list(zip(s[:, 0].split(counts), t[:, 0].split(counts)))
    record("multiple_choice", {
        "soft": sum(cross_entropy(x[None], y[None]) for x, y in questions) / 6,
        "logits-mse": F.mse_loss(s, t),
        "hard": sum(F.cross_entropy(x[None], torch.tensor([i % 2])) for i, (x, _) in enumerate(questions)) / 6})

    rows = [single(t) for t in texts]
    s, t = student.tokens(rows, 3), teacher.tokens(rows, 3).detach()
    words = [i for i, id in enumerate(id for r in rows for id in r["ids"]) if id > 4]
    truth = torch.tensor([id % 3 for text in texts for id in text])
    record("token_classification", {
        "soft": cross_entropy(s[words], t[words]), "logits-mse": F.mse_loss(s[words], t[words]),
        "hard": F.cross_entropy(s[words], truth)})

    words = [id for text in texts for id in text]  # laid end to end, as many to a sequence as fit
    rows = [single(words[i:i + 62]) for i in range(0, len(words), 62)]
    ids = [id for r in rows for id in r["ids"]]
    chosen = [i for i, id in enumerate(ids) if id > 4 and id % 5 == 0]
    for r in rows:
        r["ids"] = [4 if id > 4 and id % 5 == 0 else id for id in r["ids"]]
    s, t = student.masked(rows, chosen), teacher.masked(rows, chosen).detach()
    record("masked_lm", {"soft": cross_entropy(s, t), "logits-mse": F.mse_loss(s, t),
                         "hard": F.cross_entropy(s, torch.tensor([ids[i] for i in chosen]))})

    with open(os.path.join(HERE, "heads.json"), "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
