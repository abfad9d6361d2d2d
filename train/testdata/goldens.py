"""Golden values for fine-tuning: 20 AdamW steps of a tiny BERT in PyTorch.

Run:      python train/testdata/goldens.py
Made by:  Python 3.11, torch 2.15.0, transformers 5.23.0, safetensors 0.8.0, numpy 2.4.6.

Writes beside itself:
  tiny/                   Hugging Face directory, weights before training
  data.json               token ids, token types and label of each example
  train.json              learning rate, loss and gradient norm of each step
  gradients.safetensors   gradients of the first step, before clipping
  final.safetensors       weights after the last step
"""

import json
import os
import random

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification, get_linear_schedule_with_warmup

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB, BATCH, STEPS = 100, 8, 20


def config(hidden=32, layers=2, ffn=64):
    return BertConfig(
        vocab_size=VOCAB, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=ffn, max_position_embeddings=64, type_vocab_size=2, hidden_act="gelu",
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0,
        initializer_range=0.1, id2label={0: "red", 1: "green", 2: "blue"},
        label2id={"red": 0, "green": 1, "blue": 2}, attn_implementation="eager")


def build(seed, **sizes):
    """A model whose biases and LayerNorm weights are not at 0 and 1."""
    torch.manual_seed(seed)
    model = BertForSequenceClassification(config(**sizes))
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(0.05 * torch.randn_like(p))
    return model


def make_data(count, seed):
    """Learnable examples: the label follows from the first word."""
    r = random.Random(seed)
    data = []
    for i in range(count):
        a = [r.randrange(5, VOCAB) for _ in range(r.randint(1, 20))]
        ids, types = [2] + a + [3], [0] * (len(a) + 2)
        if i % 3 == 0:
            b = [r.randrange(5, VOCAB) for _ in range(r.randint(1, 18))]
            ids, types = ids + b + [3], types + [1] * (len(b) + 1)
        data.append({"ids": ids, "types": types, "label": a[0] % 3})
    return data


def collate(rows):
    n = max(len(r["ids"]) for r in rows)

    def pad(values, fill):
        return torch.tensor([v + [fill] * (n - len(v)) for v in values])

    return {"input_ids": pad([r["ids"] for r in rows], 0),
            "token_type_ids": pad([r["types"] for r in rows], 0),
            "attention_mask": pad([[1] * len(r["ids"]) for r in rows], 0)}, torch.tensor([r["label"] for r in rows])


def main():
    torch.set_num_threads(1)
    model = build(1)
    tiny = os.path.join(HERE, "tiny")
    model.save_pretrained(tiny)
    with open(os.path.join(tiny, "vocab.txt"), "w") as f:
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"w{i}" for i in range(5, VOCAB)]
        f.write("\n".join(words) + "\n")
    with open(os.path.join(tiny, "tokenizer_config.json"), "w") as f:
        json.dump({"do_lower_case": True, "model_max_length": 64, "tokenizer_class": "BertTokenizer"}, f)
    data = make_data(BATCH * STEPS, 7)
    with open(os.path.join(HERE, "data.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(d) for d in data) + "\n]\n")

    model.eval()
    with torch.no_grad():
        logits = model(**collate(data[:BATCH])[0]).logits.tolist()

    model.train()
    plain = [p for n, p in model.named_parameters() if n.endswith("bias") or "LayerNorm" in n]
    decayed = [p for n, p in model.named_parameters() if not (n.endswith("bias") or "LayerNorm" in n)]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
        lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    warmup = int(0.1 * STEPS)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, STEPS)
    steps = []
    for step in range(STEPS):
        x, y = collate(data[step * BATCH:(step + 1) * BATCH])
        loss = torch.nn.functional.cross_entropy(model(**x).logits, y)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            save_file({n: p.grad.clone().contiguous() for n, p in model.named_parameters()},
                      os.path.join(HERE, "gradients.safetensors"))
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        steps.append({"step": step + 1, "lr": optimizer.param_groups[0]["lr"],
                      "loss": loss.item(), "grad_norm": norm.item()})
        optimizer.step()
        schedule.step()
    final = {n: p.detach().clone().contiguous() for n, p in model.named_parameters()}
    save_file(final, os.path.join(HERE, "final.safetensors"))
    with open(os.path.join(HERE, "train.json"), "w") as f:
        json.dump({
            "definition": {
                "loss": "mean cross-entropy over the batch", "batch_size": BATCH, "steps": STEPS,
                "order": "consecutive examples of data.json", "betas": [0.9, 0.999], "eps": 1e-8,
                "peak_lr": 1e-3, "weight_decay": "0.01, decoupled; 0 on biases and LayerNorm",
                "schedule": "linear, warm-up of %d steps; lr is the one that the step used, so the first is 0" % warmup,
                "max_grad_norm": 1.0, "grad_norm": "before clipping; factor min(1, 1/(norm+1e-6))"},
            "initial_logits": logits, "steps": steps,
            "final_sums": {n: p.double().sum().item() for n, p in final.items()},
            "final_sums_of_squares": {n: p.double().square().sum().item() for n, p in final.items()},
        }, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
