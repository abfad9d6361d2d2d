"""Makes quantize.json: a linear layer of operands rounded to int8, its output and its gradients by PyTorch in float64.

    python quantize.py      (torch)

The loss is the sum of the output times "coefficients". Matrices are flat, row after row. The learned scale follows the
pseudocode of LSQ (arXiv 1902.08153, appendix A), with -127 as the least level.
"""
import json
import os

import torch
import torch.nn.functional as F

torch.manual_seed(0)
TOP = 127


def grad_scale(x, scale):
    return (x - x * scale).detach() + x * scale


def round_pass(x):
    return (x.round() - x).detach() + x


def learned(v, s):
    s = grad_scale(s, 1 / (v.numel() * TOP) ** 0.5)
    return round_pass(torch.clamp(v / s, -TOP, TOP)) * s


def rows(v):
    s = v.detach().abs().amax(1, keepdim=True) / TOP
    return (torch.round(v / s) * s - v).detach() + v


def flat(t):
    # Seven significant digits, which float32 holds and the comparison needs.
    return [float(f"{v:.8g}") for v in t.detach().reshape(-1).tolist()]


def rounded(*shape):
    return torch.randn(*shape).double().requires_grad_()


def case(act, step):
    x, w, b = rounded(5, 18), rounded(19, 18), rounded(19)
    inputs, quantize = [x, w, b], rows
    if step:
        s = torch.tensor([step]).double().requires_grad_()
        inputs, quantize = inputs + [s], lambda v: learned(v, s)
    y = act(F.linear(quantize(x), rows(w), b))
    c = torch.randn(y.shape).double()
    (y * c).sum().backward()
    return {"inputs": [flat(v) for v in inputs], "output": flat(y), "coefficients": flat(c), "gradients": [flat(v.grad) for v in inputs]}


out = {
    "dynamic": case(lambda z: z, 0),
    "dynamic GELU": case(F.gelu, 0),
    "static": case(lambda z: z, 0.02),
    "static, much is cut": case(F.relu, 0.004),
    "static GELU": case(F.gelu, 0.015),
}
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "quantize.json"), "w") as f:
    json.dump(out, f, separators=(",", ":"))
    f.write("\n")
