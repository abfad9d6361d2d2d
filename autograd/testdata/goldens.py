"""Makes ops.json: each operation's output and gradients by PyTorch in float64.

    python goldens.py      (torch)

The loss of an operation that is not a loss is the sum of its output times
"coefficients". Matrices are flat, row after row.
"""
import json
import os

import torch
import torch.nn.functional as F

torch.manual_seed(0)
OFFSETS = [0, 3, 4, 11]
SPANS = list(zip(OFFSETS, OFFSETS[1:]))


def attention(qkv, mask, heads, dim):
    out = []
    for s, (lo, hi) in enumerate(SPANS):
        q, k, v = (qkv[lo:hi, i * heads * dim : (i + 1) * heads * dim].reshape(hi - lo, heads, dim).transpose(0, 1) for i in range(3))
        context = F.scaled_dot_product_attention(q, k, v) * mask[s][:, None, None]
        out.append(context.transpose(0, 1).reshape(hi - lo, heads * dim))
    return torch.cat(out)


def first_attention(q, kv, mask, heads, dim):
    out = []
    for s, (lo, hi) in enumerate(SPANS):
        qs = q[s].reshape(heads, 1, dim)
        k, v = (kv[lo:hi, i * heads * dim : (i + 1) * heads * dim].reshape(hi - lo, heads, dim).transpose(0, 1) for i in range(2))
        out.append((F.scaled_dot_product_attention(qs, k, v) * mask[s][:, None, None]).reshape(1, heads * dim))
    return torch.cat(out)


def relation(x, target, heads, parts=range(3)):
    total = 0
    for which in parts:
        for lo, hi in SPANS:

            def log_relation(y):
                width = y.shape[1] // 3
                y = y[lo:hi, which * width : (which + 1) * width].reshape(hi - lo, heads, -1).transpose(0, 1)
                return F.log_softmax(y @ y.transpose(1, 2) / y.shape[2] ** 0.5, -1)

            total = total + F.kl_div(log_relation(x), log_relation(target), log_target=True, reduction="sum")
    return total / (OFFSETS[-1] * heads)


def attention_loss(x, target, heads, target_heads, distance, means=False):
    """The mean over heads and tokens of the distance of the rows of the attention."""
    total = 0
    for lo, hi in SPANS:

        def scores(y, heads):
            q, k = (y[lo:hi, i * y.shape[1] // 3 : (i + 1) * y.shape[1] // 3].reshape(hi - lo, heads, -1).transpose(0, 1) for i in range(2))
            a = q @ k.transpose(1, 2) / q.shape[2] ** 0.5
            if distance != "mse":
                a = torch.softmax(a, -1)
            return a.mean(0, keepdim=True) if means else a

        a, t = scores(x, heads), scores(target, target_heads)
        if distance == "mse":
            rows = ((a - t) ** 2).mean(-1)
        elif distance == "cosine":
            rows = 1 - F.cosine_similarity(a, t, dim=-1)
        elif distance == "ce":
            rows = -(t * a.log()).sum(-1)
        else:
            rows = F.kl_div(a.log(), t, reduction="none").sum(-1)
        total = total + rows.mean(0).sum()
    return total / OFFSETS[-1]


def windowed_attention(qkv, mask, heads, dim, window):
    out = []
    for s, (lo, hi) in enumerate(SPANS):
        q, k, v = (qkv[lo:hi, i * heads * dim : (i + 1) * heads * dim].reshape(hi - lo, heads, dim).transpose(0, 1) for i in range(3))
        at = torch.arange(hi - lo)
        near = (at[:, None] - at).abs() <= window
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=near) * mask[s][:, None, None]
        out.append(context.transpose(0, 1).reshape(hi - lo, heads * dim))
    return torch.cat(out)


def rotary(x, columns, width, base):
    """As transformers: x * cos + rotate_half(x) * sin."""
    frequencies = base ** -(torch.arange(0, width, 2).double() / width)
    angles = torch.cat([torch.outer(torch.tensor(PLACES).double(), frequencies)] * 2, -1)[:, None]
    heads = x[:, :columns].reshape(len(x), -1, width)
    half = torch.cat([-heads[..., width // 2 :], heads[..., : width // 2]], -1)
    return torch.cat([(heads * angles.cos() + half * angles.sin()).reshape(len(x), columns), x[:, columns:]], -1)


def gated(x):
    a, b = x.chunk(2, -1)
    return F.gelu(a) * b


def ffn_mask(x, mask):
    return torch.cat([x[lo:hi] * mask[s] for s, (lo, hi) in enumerate(SPANS)])


IDS, PLACES, TYPES = [2, 5, 3, 2, 2, 0, 1, 5, 6, 4, 3], [0, 1, 2, 0, 0, 1, 2, 3, 4, 5, 6], [0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1]
T, S = 11, 3
LABELS = torch.tensor([2, -100, 0])


def linear(act):
    return [(T, 6), (19, 6), (19,)], lambda x, w, b: act(F.linear(x, w, b))


def attention_case(*arguments):
    return [(T, 18), (T, 24)], lambda x, t: attention_loss(x, t.detach(), *arguments)


OPS = {
    "Embedding": ([(7, 5), (9, 5), (2, 5)], lambda w, p, t: w[IDS] + p[PLACES] + t[TYPES]),
    "Linear": linear(lambda z: z),
    "Linear GELU": linear(F.gelu),
    "Linear GELUTanh": linear(lambda z: F.gelu(z, approximate="tanh")),
    "Linear ReLU": linear(F.relu),
    "Linear Tanh": linear(torch.tanh),
    "LayerNorm": ([(T, 6), (6,), (6,)], lambda x, g, b: F.layer_norm(x, (6,), g, b, 1e-5)),
    "AddLayerNorm": ([(T, 20), (20,), (20,), (T, 20)], lambda x, g, b, r: F.layer_norm(x + r, (20,), g, b, 1e-5)),
    "SelfAttention with head mask": ([(T, 45), (S, 3)], lambda x, m: attention(x, m, 3, 5)),
    "FirstAttention": ([(S, 6), (T, 12), (S, 2)], lambda q, kv, m: first_attention(q, kv, m, 2, 3)),
    "FFNMask": ([(T, 5), (S, 5)], ffn_mask),
    "SelectFirst": ([(T, 5)], lambda x: x[OFFSETS[:-1]]),
    "CrossEntropy": ([(S, 4)], lambda x: F.cross_entropy(x, LABELS)),
    "CrossEntropy summed": ([(S, 4)], lambda x: F.cross_entropy(x, LABELS, reduction="sum")),
    "SoftCrossEntropy": ([(S, 4), (S, 4)], lambda x, t: 2.5**2 * F.cross_entropy(x / 2.5, F.softmax(t.detach() / 2.5, -1))),
    "MSE": ([(T, 6), (T, 6)], lambda x, t: F.mse_loss(x, t.detach())),
    "CosineLoss": ([(T, 6), (T, 6)], lambda x, t: (1 - F.cosine_similarity(x, t.detach())).mean()),
    "RelationKL": ([(T, 36), (T, 60)], lambda x, t: relation(x, t.detach(), 4)),
    "SelectRows": ([(T, 5)], lambda x: x[[10, 0, 3, 0]]),
    "BinaryCrossEntropy": ([(S, 4), (S, 4)], lambda x, t: F.binary_cross_entropy_with_logits(x, t.detach())),
    "ChoiceCrossEntropy": ([(T, 1)], lambda x: (F.cross_entropy(x[:3].T, torch.tensor([1])) + F.cross_entropy(x[4:].T, torch.tensor([6]))) / 2),
    "ValueRelationKL": ([(T, 18), (T, 24)], lambda x, t: relation(x, t.detach(), 2, [2])),
    "NormalizedMSE": ([(T, 6), (T, 6)], lambda x, t: ((F.normalize(x) - F.normalize(t.detach())) ** 2).sum(-1).mean()),
    "AttentionLoss of scores": attention_case(2, 2, "mse"),
    "AttentionLoss of maps by cosine": attention_case(2, 2, "cosine"),
    "AttentionLoss of maps by cross-entropy": attention_case(2, 2, "ce"),
    "AttentionLoss of maps by KL": attention_case(2, 2, "kl"),
    "AttentionLoss of scores, head means": attention_case(3, 4, "mse", True),
    "AttentionLoss of maps by cosine, head means": attention_case(2, 1, "cosine", True),
    "AttentionLoss of maps by cross-entropy, head means": attention_case(1, 4, "ce", True),
    "AttentionLoss of maps by KL, head means": attention_case(3, 4, "kl", True),
    "SelfAttention with windows": ([(T, 45), (S, 3)], lambda x, m: windowed_attention(x, m, 3, 5, 2)),
    "Rotary": ([(T, 18)], lambda x: rotary(x, 12, 6, 50)),
    "Gated GELU": ([(T, 38)], gated),
    "LayerNorm without beta": ([(T, 6), (6,)], lambda x, g: F.layer_norm(x, (6,), g, None, 1e-5)),
    "SequenceMeans": ([(T, 5)], lambda x: torch.stack([x[lo:hi].mean(0) for lo, hi in SPANS])),
}


def flat(t):
    # Seven significant digits, which float32 holds and the comparison needs.
    return [float(f"{v:.8g}") for v in t.detach().reshape(-1).tolist()]


out = {}
for name, (shapes, f) in OPS.items():
    x = [torch.randn(s).double().requires_grad_() for s in shapes]
    y = f(*x)
    golden = {"inputs": [flat(v) for v in x], "output": flat(y)}
    if y.dim() > 0:
        c = torch.randn(y.shape).double()
        golden["coefficients"] = flat(c)
        y = (y * c).sum()
    y.backward()
    golden["gradients"] = [None if v.grad is None else flat(v.grad) for v in x]
    out[name] = golden
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "ops.json"), "w") as f:
    json.dump(out, f, separators=(",", ":"))
    f.write("\n")
