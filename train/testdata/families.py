"""Golden values for fine-tuning the families beside BERT: 20 AdamW steps of tiny models in PyTorch.

Run:      python train/testdata/families.py [FAMILY...]      (after goldens.py, whose data.json it reads)
Made by:  Python 3.11, torch 2.15.0, transformers 5.23.0, safetensors 0.8.0.

Writes beside itself, for each family, a Hugging Face directory with the weights before training, and in it train.json:
learning rate, loss and gradient norm of each step, and the sum of each tensor's weights after the last.
"""

import json
import os
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import (
    AlbertConfig, AlbertForSequenceClassification, DebertaV2Config, DebertaV2ForSequenceClassification, DistilBertConfig, DistilBertForSequenceClassification, ElectraConfig, ElectraForSequenceClassification, GteConfig, GteForSequenceClassification,
    ModernBertConfig, ModernBertForSequenceClassification, MPNetConfig, MPNetForSequenceClassification, NomicBertConfig, NomicBertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification, get_linear_schedule_with_warmup)

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB, BATCH, STEPS, PAD = 100, 8, 20, 1
LABELS = {"red": 0, "green": 1, "blue": 2}
COMMON = dict(
    vocab_size=VOCAB, max_position_embeddings=64, initializer_range=0.1, pad_token_id=PAD, label2id=LABELS,
    id2label={i: l for l, i in LABELS.items()}, attn_implementation="eager")
BERT = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, type_vocab_size=2,
    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0)
MODELS = {
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(layer_norm_eps=1e-5, **COMMON, **BERT)),
    "mpnet": lambda: MPNetForSequenceClassification(MPNetConfig(layer_norm_eps=1e-5, **COMMON, **{k: v for k, v in BERT.items() if k not in ("type_vocab_size", "classifier_dropout")})),
    "distilbert": lambda: DistilBertForSequenceClassification(DistilBertConfig(
        dim=16, n_layers=2, n_heads=2, hidden_dim=32, dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0, **COMMON)),
    "electra": lambda: ElectraForSequenceClassification(ElectraConfig(embedding_size=12, **COMMON, **BERT)),
    # Skive trains layers that share their weights as layers of their own: here they are.
    "albert": lambda: AlbertForSequenceClassification(AlbertConfig(
        embedding_size=12, num_hidden_groups=2, classifier_dropout_prob=0.0, **COMMON, **{k: v for k, v in BERT.items() if k != "classifier_dropout"})),
    # Windows of 2 tokens to either side in the layer between.
    "modernbert": lambda: ModernBertForSequenceClassification(ModernBertConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24, local_attention=4,
        layer_types=["full_attention", "sliding_attention", "full_attention"], bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3,
        rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 1000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}, **COMMON)),
    "nomic_bert": lambda: NomicBertForSequenceClassification(NomicBertConfig(
        hidden_act="silu", layer_norm_eps=1e-12, rope_parameters={"rope_type": "default", "rope_theta": 50.0}, **COMMON, **BERT)),
    "gte": lambda: GteForSequenceClassification(GteConfig(
        layer_norm_eps=1e-12, rope_parameters={"rope_type": "linear", "rope_theta": 50.0, "factor": 2.0}, **COMMON, **BERT | {"type_vocab_size": 0})),
    "deberta-v2": lambda: DebertaV2ForSequenceClassification(DebertaV2Config(
        position_buckets=6, relative_attention=True, max_relative_positions=-1, pos_att_type="p2c|c2p", share_att_key=True, norm_rel_ebd="layer_norm", position_biased_input=False, cls_dropout=0.0,
        legacy=False, **COMMON, **{k: v for k, v in BERT.items() if k not in ("type_vocab_size", "classifier_dropout")})),
}


def collate(rows, types):
    n = max(len(r["ids"]) for r in rows)

    def pad(values, fill):
        return torch.tensor([v + [fill] * (n - len(v)) for v in values])

    x = {"input_ids": pad([r["ids"] for r in rows], PAD), "attention_mask": pad([[1] * len(r["ids"]) for r in rows], 0)}
    if types:
        x["token_type_ids"] = pad([r["types"] for r in rows], 0)
    return x, torch.tensor([r["label"] for r in rows])


def train(name, build, data):
    torch.manual_seed(3)
    model = build()
    with torch.no_grad():
        # Fresh biases are zero and LayerNorms the identity, which would hide mistakes.
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(0.05 * torch.randn_like(p))
    out = os.path.join(HERE, name)
    model.save_pretrained(out)
    for file in ("vocab.txt", "tokenizer_config.json"):
        with open(os.path.join(HERE, "tiny", file)) as f, open(os.path.join(out, file), "w") as g:
            g.write(f.read())

    model.train()
    plain, decayed = [], []
    for n, p in model.named_parameters():
        (plain if "bias" in n or "norm" in n.lower() else decayed).append(p)
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
        lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    schedule = get_linear_schedule_with_warmup(optimizer, int(0.1 * STEPS), STEPS)
    steps = []
    for step in range(STEPS):
        x, y = collate(data[step * BATCH:(step + 1) * BATCH], name not in ("distilbert", "mpnet", "modernbert", "gte", "deberta-v2"))
        loss = torch.nn.functional.cross_entropy(model(**x).logits, y)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        steps.append({"step": step + 1, "lr": optimizer.param_groups[0]["lr"], "loss": loss.item(), "grad_norm": norm.item()})
        optimizer.step()
        schedule.step()
    final = dict(model.named_parameters())
    if name in ("nomic_bert", "gte"):  # whose files have other names than their modules
        with tempfile.TemporaryDirectory() as trained:
            model.save_pretrained(trained)
            final = load_file(os.path.join(trained, "model.safetensors"))
    with open(os.path.join(out, "train.json"), "w") as f:
        json.dump({"steps": steps, "final_sums": {n: p.double().sum().item() for n, p in final.items()}}, f, indent=1)
        f.write("\n")


def main():
    torch.set_num_threads(1)
    with open(os.path.join(HERE, "data.json")) as f:
        data = json.load(f)
    for name in sys.argv[1:] or MODELS:
        train(name, MODELS[name], data)


if __name__ == "__main__":
    main()
