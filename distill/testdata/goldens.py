"""Golden values and gradients of the distillation losses, in PyTorch float64, stored as float32.

Run:      python distill/testdata/goldens.py   (reads train/testdata)
Made by:  Python 3.11, torch 2.15.0, transformers 5.23.0, safetensors 0.8.0, numpy 2.4.6.

The student is train/testdata/tiny; the teacher has 4 layers, hidden size 48, other weights. The batch is the first 6
examples of train/testdata/data.json. Token tensors are packed without padding: [T, width], sequences at "offsets".

Writes beside itself losses.json (definitions and values) and losses.safetensors:
  teacher.logits, student.logits [6, 3]; teacher.hidden [T, 48], student.hidden [T, 32]: output of the last layer
  projection [48, 32]: projected = student.hidden @ projection.T
  teacher.{query,key,value} [T, 48], student.{query,key,value} [T, 32]: last layer, biases added, 4 heads
  grad.<loss>.<input>: gradient of the loss with respect to that input
"""

import json
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import BertForSequenceClassification

HERE = os.path.dirname(os.path.abspath(__file__))
TRAIN = os.path.join(HERE, "..", "..", "train", "testdata")
sys.path.insert(0, TRAIN)
sys.dont_write_bytecode = True
from goldens import build, collate  # noqa: E402

HEADS = 4


def capture(model, rows):
    """Logits, last hidden states and last-layer Q, K, V, packed over tokens."""
    kept, hooks = {}, []
    attention = model.bert.encoder.layer[-1].attention.self
    for name in ("query", "key", "value"):
        def keep(_, __, out, name=name):
            kept[name] = out
        hooks.append(getattr(attention, name).register_forward_hook(keep))
    x, _ = collate(rows)
    with torch.no_grad():
        out = model(**x, output_hidden_states=True)
    for h in hooks:
        h.remove()
    real = x["attention_mask"].bool()
    packed = {name: t[real] for name, t in kept.items()}
    packed["hidden"], packed["logits"] = out.hidden_states[-1][real], out.logits
    return packed


def relation(x):
    """log softmax(X Xᵀ / sqrt(d)) of each relation head: [heads, n, n]."""
    x = x.view(x.shape[0], HEADS, -1).transpose(0, 1)
    return torch.log_softmax(x @ x.transpose(1, 2) / x.shape[-1] ** 0.5, -1)


def relation_kl(teacher, student, offsets, per_sequence):
    total = 0.0
    for name in ("query", "key", "value"):
        sums = []
        for lo, hi in zip(offsets, offsets[1:]):
            t, s = relation(teacher[name][lo:hi]), relation(student[name][lo:hi])
            kl = (t.exp() * (t - s)).sum()
            sums.append(kl / (HEADS * (hi - lo)) / (len(offsets) - 1) if per_sequence else kl / (HEADS * offsets[-1]))
        total = total + sum(sums)
    return total


def main():
    torch.set_num_threads(1)
    with open(os.path.join(TRAIN, "data.json")) as f:
        rows = json.load(f)[:6]
    student_model = BertForSequenceClassification.from_pretrained(os.path.join(TRAIN, "tiny"), attn_implementation="eager")
    # Rounded to float32 first, so that the stored inputs are exactly those that the losses saw.
    teacher = {k: v.float().double() for k, v in capture(build(2, hidden=48, layers=4, ffn=96).eval(), rows).items()}
    student = {k: v.float().double() for k, v in capture(student_model.eval(), rows).items()}
    torch.manual_seed(3)
    student["projection"] = (0.3 * torch.randn(48, 32)).double()
    for t in student.values():
        t.requires_grad_()
    offsets = [0]
    for r in rows:
        offsets.append(offsets[-1] + len(r["ids"]))

    tensors = {"teacher." + k: v for k, v in teacher.items()}
    tensors.update({"student." + k: v for k, v in student.items() if k != "projection"})
    tensors["projection"] = student["projection"]
    losses = {}

    def record(name, definition, loss, inputs):
        losses[name] = {"definition": definition, "value": loss.item(), "inputs": inputs}
        for key, g in zip(inputs, torch.autograd.grad(loss, [student[k] for k in inputs], retain_graph=True)):
            tensors[f"grad.{name}.{key}"] = g

    for t in (1, 2, 4):
        p = torch.softmax(teacher["logits"] / t, -1)
        ce = -(p * torch.log_softmax(student["logits"] / t, -1)).sum(-1).mean()
        entropy = -(p * p.log()).sum(-1).mean()
        text = f"mean over examples of -sum_c p_c log q_c, p = softmax(teacher/{t}), q = softmax(student/{t})"
        record(f"soft_ce_t{t}", text + "; no factor", ce, ["logits"])
        record(f"soft_ce_t{t}_scaled", text + f"; times {t}*{t}", t * t * ce, ["logits"])
        losses[f"soft_ce_t{t}"]["kl"] = (ce - entropy).item()
    projected = student["hidden"] @ student["projection"].T
    record("mse", "mean over all T*48 elements of (projected - teacher.hidden)^2",
           torch.nn.functional.mse_loss(projected, teacher["hidden"]), ["hidden", "projection"])
    record("cosine", "mean over the T tokens of 1 - cos(projected, teacher.hidden)",
           (1 - torch.cosine_similarity(projected, teacher["hidden"], dim=-1)).mean(), ["hidden", "projection"])
    qkv = ["query", "key", "value"]
    text = ("sum over X = Q, K, V of KL(teacher || student) of the rows of softmax(X X^T / sqrt(d_r)), 4 relation heads, "
            "d_r = 12 (teacher), 8 (student); ")
    record("relation", text + "per sequence the mean over its rows and heads, then the mean over sequences",
           relation_kl(teacher, student, offsets, True), qkv)
    record("relation_tokens", text + "mean over all T rows of the batch and heads",
           relation_kl(teacher, student, offsets, False), qkv)

    save_file({k: v.detach().float().contiguous() for k, v in tensors.items()}, os.path.join(HERE, "losses.safetensors"))
    with open(os.path.join(HERE, "losses.json"), "w") as f:
        json.dump({"offsets": offsets, "relation_heads": HEADS, "losses": losses}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
