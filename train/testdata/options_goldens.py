"""Golden values for the options of a run: AdamW steps of the tiny BERT in PyTorch.

Run:      python train/testdata/options_goldens.py    (after goldens.py, which makes tiny/ and data.json)
Made by:  Python 3.11, torch 2.15.0, transformers 5.23.0.

Writes options.json beside itself: learning rate, loss and gradient norm of each step, for several settings, over batches of 16
consecutive examples of data.json. Skive accumulates two batches of 8.
"""

import json
import math
import os
import re

import torch
from transformers import BertForSequenceClassification, get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup, \
    get_linear_schedule_with_warmup

from goldens import collate

HERE = os.path.dirname(os.path.abspath(__file__))
BATCH, STEPS, RATE, WARMUP = 16, 8, 1e-3, 2
SCHEDULES = {
    "linear": lambda o: get_linear_schedule_with_warmup(o, WARMUP, STEPS),
    "cosine": lambda o: get_cosine_schedule_with_warmup(o, WARMUP, STEPS),
    "constant": lambda o: get_constant_schedule_with_warmup(o, WARMUP),
}
RUNS = {
    "accumulate": {"schedule": "linear"},
    "cosine, weighted, smoothed": {"schedule": "cosine", "class_weights": [1.0, 2.5, 0.25], "label_smoothing": 0.1},
    "constant, layer decay, no clip": {"schedule": "constant", "layer_decay": 0.6, "max_grad_norm": 0.0, "weight_decay": 0.1},
}


def depth(name):
    found = re.search(r"\.layer\.(\d+)\.", name)
    return int(found[1]) + 1 if found else 0 if "embeddings" in name else 3


def run(data, schedule, class_weights=None, label_smoothing=0.0, layer_decay=1.0, max_grad_norm=1.0, weight_decay=0.01):
    model = BertForSequenceClassification.from_pretrained(os.path.join(HERE, "tiny"), attn_implementation="eager").train()
    groups = [{"params": [p], "lr": RATE * layer_decay ** (3 - depth(n)),
               "weight_decay": 0.0 if n.endswith("bias") or "LayerNorm" in n else weight_decay} for n, p in model.named_parameters()]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.999), eps=1e-8)
    scheduler = SCHEDULES[schedule](optimizer)
    criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor(class_weights) if class_weights else None, label_smoothing=label_smoothing)
    steps = []
    for step in range(STEPS):
        x, y = collate(data[step * BATCH:(step + 1) * BATCH])
        loss = criterion(model(**x).logits, y)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm or math.inf)
        steps.append({"lr": max(g["lr"] for g in optimizer.param_groups), "loss": loss.item(), "grad_norm": norm.item()})
        optimizer.step()
        scheduler.step()
    return {"class_weights": class_weights, "label_smoothing": label_smoothing, "layer_decay": layer_decay, "schedule": schedule,
            "max_grad_norm": max_grad_norm, "weight_decay": weight_decay, "steps": steps,
            "final_sums": {n: p.double().sum().item() for n, p in model.named_parameters()}}


def main():
    torch.set_num_threads(1)
    with open(os.path.join(HERE, "data.json")) as f:
        data = json.load(f)
    with open(os.path.join(HERE, "options.json"), "w") as f:
        json.dump({name: run(data, **settings) for name, settings in RUNS.items()}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
