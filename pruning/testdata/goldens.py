"""Golden head and feed-forward importance of train/testdata/tiny over train/testdata/data.json, in PyTorch float64.

Run:      python pruning/testdata/goldens.py   (reads train/testdata)
Made by:  Python 3.11, torch 2.15.0, transformers 5.23.0.

Writes beside itself importance.json: for each of exact, predictions, fisher, fastformers and magnitude, "heads" [2][4]
and "ffn" [2][64], not normalised, and the definition of each; and tuning.json: the heads and units that Kwon et al.'s
rearrangement (github.com/WoosukKwon/retraining-free-pruning, prune/rearrange.py) keeps, and the logits of the
model that keeps them alone, before and after mask tuning.
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
    exact, predictions, fisher, fast = zeros(), zeros(), zeros(), zeros()
    grads = {kind: [[] for _ in layers] for kind in exact}
    for x, y in batches:
        reset(len(y))
        torch.nn.functional.cross_entropy(model(**x).logits, y, reduction="sum").backward()
        for kind in exact:
            for i, m in enumerate(masks[kind]):
                exact[kind][i] += m.grad.abs().sum(0)
                fisher[kind][i] += m.grad.square().sum(0)
                grads[kind][i].append(m.grad.clone())
        reset(len(y))
        logits = model(**x).logits
        torch.nn.functional.cross_entropy(logits, logits.argmax(1), reduction="sum").backward()
        for kind in exact:
            for i, m in enumerate(masks[kind]):
                predictions[kind][i] += m.grad.abs().sum(0)

    magnitude = zeros()
    for i, layer in enumerate(layers):
        rows = [layer.attention.self.query, layer.attention.self.key, layer.attention.self.value]
        heads_of = [m.weight for m in rows] + [layer.attention.output.dense.weight.T]
        units_of = [layer.intermediate.dense.weight, layer.output.dense.weight.T]
        for kind, n, parts in (("heads", heads, heads_of), ("ffn", units, units_of)):
            magnitude[kind][i] = sum(p.detach().reshape(n, -1).square().sum(1) for p in parts).sqrt()

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
        "exact": mask + "sum over examples of |g|", "predictions": "exact with the model's own predictions as labels",
        "magnitude": "L2 norm of the weights into and out of a head or unit", "fisher": mask + "sum over examples of g*g",
        "fastformers": "mean cross-entropy of consecutive batches of 8, gradients accumulated and never zeroed; after "
                       "each batch heads add |mask gradient|, units add |sum over inputs of weight*gradient + "
                       "bias*gradient| of intermediate.dense"}}
    for name, score in (("exact", exact), ("predictions", predictions), ("fisher", fisher), ("fastformers", fast),
                        ("magnitude", magnitude)):
        out[name] = {kind: score[kind].tolist() for kind in score}
    with open(os.path.join(HERE, "importance.json"), "w") as f:
        json.dump(out, f)
        f.write("\n")
    with torch.no_grad():
        out = tuning(model, masks, batches, grads)
    with open(os.path.join(HERE, "tuning.json"), "w") as f:
        json.dump(out, f)
        f.write("\n")


def rearrange(grads, kept):
    """Kwon et al.'s greedy search; grads [examples, n]."""
    grads = grads.T.contiguous()
    indices = grads.square().sum(1).sort(stable=True).indices.tolist()
    dropped = indices[:len(indices) - kept]
    for index in indices[len(indices) - kept:]:
        dropped.append(index)
        vectors = grads[dropped]
        del dropped[(vectors.sum(0) - vectors).square().sum(1).argmin()]
    return sorted(set(range(len(indices))) - set(dropped))


def tuning(model, masks, batches, grads):
    layers, n = model.bert.encoder.layer, {"heads": model.config.num_attention_heads, "ffn": model.config.intermediate_size}
    sizes = [{"heads": 3, "ffn": 17}, {"heads": 2, "ffn": 40}]
    kept = {kind: [rearrange(torch.cat(grads[kind][i]), sizes[i][kind]) for i in range(len(layers))] for kind in grads}
    seen = {}

    def watch(name, module):
        def hook(module, args, output):  # inner, output product and residual of the block
            seen[name] = (seen[name + ".inner"], seen[name + ".product"], args[1])
        module.dense.register_forward_hook(lambda m, args, out: seen.update({name + ".inner": args[0], name + ".product": out}))
        module.register_forward_hook(hook)

    for i, layer in enumerate(layers):
        watch(f"heads{i}", layer.attention.output)
        watch(f"ffn{i}", layer.output)

    def run(factors, name):
        """The block's inner values and its output with the residual, of every row that is computed."""
        inner, total, logits = [], [], []
        for x, _ in batches:
            for kind in factors:
                masks[kind] = [f[None] for f in factors[kind]]
            logits.append(model(**x).logits)
            if name:
                rows = x["attention_mask"].bool()
                if name.endswith(str(len(layers) - 1)):
                    rows = torch.zeros_like(rows)
                    rows[:, 0] = True
                h, product, residual = seen[name]
                inner.append(h[rows])
                total.append((product + residual)[rows])
        return (torch.cat(inner), torch.cat(total)) if name else torch.cat(logits)

    ones = {kind: [torch.ones(n[kind], dtype=torch.float64) for _ in layers] for kind in n}
    factors = {kind: [torch.zeros(n[kind], dtype=torch.float64).index_fill(0, torch.tensor(k), 1.0) for k in kept[kind]] for kind in n}
    before = run(factors, None)
    for i, layer in enumerate(layers):
        for kind, dense in (("heads", layer.attention.output.dense), ("ffn", layer.output.dense)):
            _, want = run(ones, f"{kind}{i}")
            inner, have = run(factors, f"{kind}{i}")
            width = inner.shape[1] // n[kind]
            columns = []  # the contribution of each head or unit to the block's output
            for g in kept[kind][i]:
                part = slice(g * width, (g + 1) * width)
                columns.append((inner[:, part] @ dense.weight[:, part].T).flatten())
            a, d = torch.stack(columns, 1), (want - have).flatten()
            left = a.T @ a
            left += 1e-2 * left.diagonal().mean() * torch.eye(len(left), dtype=torch.float64)
            factors[kind][i][kept[kind][i]] += torch.linalg.solve(left, a.T @ d)
    return {"definition": "least squares of each block's output with its residual, damped by 0.01 of the mean of the "
                          "diagonal; the last layer for the first tokens alone; logits of the first 20 examples",
            "heads": kept["heads"], "ffn": kept["ffn"], "before": before[:20].tolist(),
            "after": run(factors, None)[:20].tolist()}


if __name__ == "__main__":
    main()
