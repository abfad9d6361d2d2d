"""Makes the goldens of package layers: small BERT, MPNet, ModernBERT and DeBERTa models with random
weights, their outputs and the gradients of a mean cross-entropy, computed in
float64 by Hugging Face transformers.

    python goldens.py [deberta]      (torch, transformers, safetensors)

Each directory is a model in Skive's layout of a Hugging Face directory;
goldens.safetensors beside it holds logits, the hidden states of the real tokens
and the gradients. "uneven" has a head width that is not the hidden size divided
by the number of heads, and layers of different sizes.
"""
import json
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import (
    BertConfig, BertForSequenceClassification, DebertaV2Config, DebertaV2ForMaskedLM, DebertaV2ForSequenceClassification, ModernBertConfig, ModernBertForMaskedLM, ModernBertForSequenceClassification, ModernBertForTokenClassification, MPNetConfig,
    MPNetForSequenceClassification)

HERE = os.path.dirname(os.path.abspath(__file__))
LENGTHS = [5, 1, 9, 3]
LABELS = [2, 0, 1, 1]

MODELS = {
    "even": dict(hidden=32, heads=[4, 4], head_dim=8, ffn=[64, 64], act="gelu"),
    "gelu_new": dict(hidden=24, heads=[3], head_dim=8, ffn=[40], act="gelu_new"),
    "uneven": dict(hidden=32, heads=[3, 1, 2], head_dim=5, ffn=[40, 7, 33], act="relu"),
}


def make(name, m, seed):
    torch.manual_seed(seed)
    n, h = len(m["heads"]), m["hidden"]
    config = BertConfig(
        vocab_size=50, hidden_size=h, num_hidden_layers=n, num_attention_heads=h // 8, intermediate_size=m["ffn"][0],
        hidden_act=m["act"], max_position_embeddings=16, type_vocab_size=2, num_labels=3, attn_implementation="eager",
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )
    model = BertForSequenceClassification(config).eval()
    for layer, heads, ffn in zip(model.bert.encoder.layer, m["heads"], m["ffn"]):
        a, d = layer.attention.self, m["head_dim"]
        a.num_attention_heads, a.attention_head_size, a.all_head_size = heads, d, heads * d
        a.scaling = d**-0.5
        for part in ("query", "key", "value"):
            setattr(a, part, torch.nn.Linear(h, heads * d))
        layer.attention.output.dense = torch.nn.Linear(heads * d, h)
        layer.intermediate.dense = torch.nn.Linear(h, ffn)
        layer.output.dense = torch.nn.Linear(ffn, h)
    with torch.no_grad():
        for key, p in model.named_parameters():
            # Weights large enough for attention to be far from uniform.
            p.copy_(torch.randn_like(p) * (0.25 if p.dim() == 2 else 0.1) + (1.0 if "LayerNorm.weight" in key else 0.0))
    weights = {k: p.detach().clone().contiguous() for k, p in model.named_parameters()}
    out = os.path.join(HERE, name)
    os.makedirs(out, exist_ok=True)
    save_file(weights, os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
    c = dict(
        architectures=["BertForSequenceClassification"], model_type="bert", vocab_size=50, hidden_size=h,
        num_hidden_layers=n, num_attention_heads=max(m["heads"]), intermediate_size=max(m["ffn"]), hidden_act=m["act"],
        max_position_embeddings=16, type_vocab_size=2, layer_norm_eps=1e-12, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, initializer_range=0.02, pad_token_id=0,
        id2label={"0": "red", "1": "green", "2": "blue"}, label2id={"red": 0, "green": 1, "blue": 2},
    )
    if name == "uneven":
        c.update(head_dim=m["head_dim"], skive_attention_heads=m["heads"], skive_intermediate_sizes=m["ffn"])
    with open(os.path.join(out, "config.json"), "w") as f:
        json.dump(c, f, indent=2, sort_keys=True)
        f.write("\n")

    golden(name, model, LENGTHS, 0, types=True)


def own_name(key):
    """Skive's name of a parameter: BERT's."""
    for theirs, ours in (("mpnet.", "bert."), ("deberta.", "bert."), ("_proj.", "."), ("lm_predictions.lm_head.bias", "cls.predictions.bias"), ("lm_predictions.lm_head.", "cls.predictions.transform."), ("attn.q.", "self.query."), ("attn.k.", "self.key."), ("attn.v.", "self.value."), ("attn.o.", "output.dense."),
                         ("attention.LayerNorm.", "attention.output.LayerNorm."), ("classifier.dense.", "bert.pooler.dense."), ("classifier.out_proj.", "classifier.")):
        key = key.replace(theirs, ours)
    return "bert." + key if key.startswith("pooler.") else key


def own_gradients(model):
    """The gradients under Skive's names, those of ModernBERT's fused layers apart."""
    out = {}
    for key, p in model.named_parameters():
        if not key.startswith(("model.", "head.", "decoder.")):
            out[own_name(key)] = p.grad
            continue
        for theirs, ours in (
                ("model.embeddings.tok_embeddings.", "bert.embeddings.word_embeddings."), ("model.embeddings.norm.", "bert.embeddings.LayerNorm."),
                ("model.layers.", "bert.encoder.layer."), ("attn.Wo.", "attention.output.dense."), ("attn_norm.", "attention.output.LayerNorm."),
                ("mlp.Wo.", "output.dense."), ("mlp_norm.", "output.LayerNorm."), ("model.final_norm.", "bert.final_norm."),
                ("head.dense.", "bert.pooler.dense."), ("head.norm.", "bert.pooler.LayerNorm."), ("decoder.", "cls.predictions.")):
            key = key.replace(theirs, ours)
        parts = {"attn.Wqkv.": ["attention.self.query.", "attention.self.key.", "attention.self.value."], "mlp.Wi.": ["intermediate.gate.", "intermediate.dense."]}
        for fused, names in parts.items():
            if fused in key:
                out.update({key.replace(fused, n): g for n, g in zip(names, p.grad.chunk(len(names)))})
                break
        else:
            out[key] = p.grad
    return out


def golden(name, model, lengths, pad, types, per_token=False):
    """Sequences are computed one by one: in windows, padding that no key is left for is NaN."""
    model = model.double()
    ids = [torch.randint(pad + 1, 50, (length,)) for length in lengths]
    type_ids = [(torch.arange(length) > length // 2).long() for length in lengths]
    logits, hidden = [], []
    for i, t in zip(ids, type_ids):
        x = {"token_type_ids": t[None]} if types else {}
        r = model(input_ids=i[None], output_hidden_states=True, **x)
        logits.append(r.logits[0] if per_token else r.logits)
        hidden.append(r.hidden_states)
    logits, all_ids = torch.cat(logits), torch.cat(ids)
    labels = torch.tensor(LABELS)
    if per_token:  # every third token has a label
        labels = torch.where(torch.arange(len(all_ids)) % 3 == 0, all_ids % logits.shape[1], -100)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    golden = {"grad." + k: g for k, g in own_gradients(model).items()}
    golden["logits"], golden["loss"] = logits.detach(), loss.detach().reshape(1)
    for i, h in enumerate(zip(*hidden)):
        golden[f"hidden.{i}"] = torch.cat([v[0] for v in h]).detach()
    golden = {k: v.float().contiguous() for k, v in golden.items()}
    golden["ids"], golden["types"] = all_ids.int(), torch.cat(type_ids).int()
    if per_token:
        golden["labels"] = labels.int()
    save_file(golden, os.path.join(HERE, name + ".safetensors"))


def mpnet():
    """Lengths beyond every bucket of the biases' distances."""
    torch.manual_seed(11)
    config = MPNetConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=134,
        layer_norm_eps=1e-5, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager",
        id2label={0: "red", 1: "green", 2: "blue"}, label2id={"red": 0, "green": 1, "blue": 2},
    )
    model = MPNetForSequenceClassification(config).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * (0.25 if p.dim() == 2 else 0.1) + (1.0 if "LayerNorm.weight" in key else 0.0))
        model.mpnet.encoder.relative_attention_bias.weight.mul_(4)
    model.save_pretrained(os.path.join(HERE, "mpnet"))
    golden("mpnet", model, [5, 1, 130, 40], 1, types=False)


def modernbert(name, build, kinds, lengths, per_token=False, **settings):
    """Lengths beyond the windows of 3 tokens to either side, and beyond a band of queries."""
    torch.manual_seed(12)
    rope = {"full_attention": {"rope_type": "default", "rope_theta": 1000.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}
    config = ModernBertConfig(
        vocab_size=50, hidden_size=24, num_hidden_layers=len(kinds), num_attention_heads=3, intermediate_size=20, max_position_embeddings=512, local_attention=6,
        layer_types=[k + "_attention" for k in kinds], rope_parameters=rope, pad_token_id=0, bos_token_id=1, cls_token_id=1, eos_token_id=2, sep_token_id=2,
        id2label={0: "red", 1: "green", 2: "blue"}, label2id={"red": 0, "green": 1, "blue": 2}, attn_implementation="eager", **settings)
    model = build(config).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * (0.25 if p.dim() == 2 else 0.1) + (1.0 if "norm.weight" in key else 0.0))
    model.save_pretrained(os.path.join(HERE, name))
    golden(name, model, lengths, 0, types=False, per_token=per_token)


def deberta(name, build, lengths, per_token=False):
    """Lengths beyond every bucket of distances."""
    torch.manual_seed(13)
    config = DebertaV2Config(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, max_position_embeddings=134, position_buckets=12, relative_attention=True,
        max_relative_positions=-1, pos_att_type=["p2c", "c2p"], share_att_key=True, norm_rel_ebd="layer_norm", position_biased_input=False, type_vocab_size=2, legacy=False,
        id2label={0: "red", 1: "green", 2: "blue"}, label2id={"red": 0, "green": 1, "blue": 2}, attn_implementation="eager")
    model = build(config).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * (0.25 if p.dim() == 2 else 0.1) + (1.0 if "LayerNorm.weight" in key else 0.0))
    model.save_pretrained(os.path.join(HERE, name))
    golden(name, model, lengths, 0, types=True, per_token=per_token)


deberta("deberta", DebertaV2ForSequenceClassification, [5, 1, 130, 40])
deberta("deberta_lm", DebertaV2ForMaskedLM, [5, 1, 9, 3], per_token=True)
if "deberta" in sys.argv:
    sys.exit()
for seed, (name, m) in enumerate(MODELS.items()):
    make(name, m, seed)
mpnet()
modernbert("modernbert", ModernBertForSequenceClassification, ["full", "sliding", "sliding", "full"], [5, 1, 130, 40])
modernbert("modernbert_local", ModernBertForSequenceClassification, ["sliding", "full", "sliding"], [5, 1, 130, 40], hidden_activation="relu", classifier_activation="relu")
modernbert("modernbert_mean", ModernBertForSequenceClassification, ["sliding"], [5, 1, 9, 3], classifier_pooling="mean")
modernbert("modernbert_token", ModernBertForTokenClassification, ["full", "sliding"], [5, 1, 9, 3], per_token=True)
modernbert("modernbert_lm", ModernBertForMaskedLM, ["full", "sliding"], [5, 1, 9, 3], per_token=True)


def minilm(path):
    """The outputs of the real sentence-transformers/all-MiniLM-L6-v2, in float64."""
    from transformers import BertModel

    torch.manual_seed(9)
    model = BertModel.from_pretrained(path, attn_implementation="eager").double().eval()
    lengths = [12, 3, 25]
    golden, rows, first, pooled = {}, [], [], []
    for length in lengths:
        ids = torch.randint(1000, 30000, (1, length))
        ids[0, 0], ids[0, -1] = 101, 102
        r = model(input_ids=ids)
        rows.append(ids[0].int())
        first.append(r.last_hidden_state[0, 0].detach().float())
        pooled.append(r.pooler_output[0].detach().float())
    golden["ids"] = torch.cat(rows)
    golden["lengths"] = torch.tensor(lengths, dtype=torch.int32)
    golden["first"], golden["pooled"] = torch.stack(first), torch.stack(pooled)
    save_file(golden, os.path.join(HERE, "minilm.safetensors"))


if "SKIVE_MINILM" in os.environ:
    minilm(os.environ["SKIVE_MINILM"])
