"""Golden head and feed-forward importance of train/testdata/tiny over train/testdata/data.json, in PyTorch float64.

Run:      python pruning/testdata/goldens.py   (reads train/testdata)
Made by:  Python 3.11, torch 2.15.0, transformers 5.23.0.

Writes importance.json beside itself: for each of exact, fisher and fastformers, "heads" [2][4] and "ffn" [2][64],
not normalised, and the definition of each.
"""

import json
import os
import sys

import torch
from transformers import BertForSequenceClassification

HERE = os.path.dirname(os.path.abspath(__file__))
TRAIN = os.path.join(HERE, "..", "..", "train", "testdata")
sys.path.insert(0, TRAIN)
sys.dont_write_bytecode = True
from goldens import BATCH, collate  # noqa: E402


def main():
    torch.set_num_threads(1)
    with open(os.path.join(TRAIN, "data.json")) as f:
        data = json.load(f)
    model = BertForSequenceClassification.from_pretrained(os.path.join(TRAIN, "tiny"), attn_implementation="eager")
    model = model.double().eval()
    layers = model.bert.encoder.layer
    heads, units = model.config.num_attention_heads, model.config.intermediate_size
    masks = {}

    def multiply(kind, i):
        def hook(_, args):
            x, m = args[0], masks[kind][i]  # m: [examples or 1, groups]
            return (x * m.repeat_interleave(x.shape[-1] // m.shape[-1], -1)[:, None, :],)
        return hook

    for i, layer in enumerate(layers):
        layer.attention.output.dense.register_forward_pre_hook(multiply("heads", i))
        layer.output.dense.register_forward_pre_hook(multiply("ffn", i))

    def reset(rows):
        for kind, n in (("heads", heads), ("ffn", units)):
            masks[kind] = [torch.ones(rows, n, dtype=torch.float64, requires_grad=True) for _ in layers]

    def zeros():
        return {"heads": torch.zeros(len(layers), heads, dtype=torch.float64),
                "ffn": torch.zeros(len(layers), units, dtype=torch.float64)}

    batches = [collate(data[i:i + BATCH]) for i in range(0, len(data), BATCH)]
    exact, fisher, fast = zeros(), zeros(), zeros()
    for x, y in batches:
        reset(len(y))
        torch.nn.functional.cross_entropy(model(**x).logits, y, reduction="sum").backward()
        for kind in exact:
            for i, m in enumerate(masks[kind]):
                exact[kind][i] += m.grad.abs().sum(0)
                fisher[kind][i] += m.grad.square().sum(0)

    reset(1)
    model.zero_grad()
    for x, y in batches:  # gradients are never zeroed: each batch adds the absolute value of a prefix sum
        torch.nn.functional.cross_entropy(model(**x).logits, y).backward()
        for i, layer in enumerate(layers):
            dense = layer.intermediate.dense
            fast["heads"][i] += masks["heads"][i].grad[0].abs()
            fast["ffn"][i] += ((dense.weight * dense.weight.grad).sum(1) + dense.bias * dense.bias.grad).abs().detach()

    mask = ("masks of 1 multiply each head's context and each unit's activation; g is the gradient of one example's "
            "cross-entropy with respect to a mask; ")
    out = {"examples": len(data), "batch_size": BATCH, "definition": {
        "exact": mask + "sum over examples of |g|", "fisher": mask + "sum over examples of g*g",
        "fastformers": "mean cross-entropy of consecutive batches of 8, gradients accumulated and never zeroed; after "
                       "each batch heads add |mask gradient|, units add |sum over inputs of weight*gradient + "
                       "bias*gradient| of intermediate.dense"}}
    for name, score in (("exact", exact), ("fisher", fisher), ("fastformers", fast)):
        out[name] = {kind: score[kind].tolist() for kind in score}
    with open(os.path.join(HERE, "importance.json"), "w") as f:
        json.dump(out, f)
        f.write("\n")


if __name__ == "__main__":
    main()
