"""Makes the goldens of the families beside BERT with Hugging Face transformers: for each family and head a directory with a
small random model, as save_pretrained writes it, and golden.json with inputs and logits.

    python families.py [FAMILY...]

Made with torch 2.15.0 and transformers 5.23.0.
"""

import json
import os
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AlbertConfig, AlbertForMaskedLM, AlbertForMultipleChoice, AlbertForSequenceClassification, AlbertForTokenClassification, AlbertModel,
    CamembertConfig, CamembertForSequenceClassification, CamembertModel, DebertaV2Config, DebertaV2ForMaskedLM, DebertaV2ForMultipleChoice,
    DebertaV2ForSequenceClassification, DebertaV2ForTokenClassification, DebertaV2Model, DistilBertConfig, DistilBertForMaskedLM, DistilBertForMultipleChoice, DistilBertForSequenceClassification,
    DistilBertForTokenClassification, DistilBertModel, ElectraConfig, ElectraForMaskedLM, ElectraForMultipleChoice,
    ElectraForSequenceClassification, ElectraForTokenClassification, ElectraModel, GteConfig, GteForMaskedLM, GteForSequenceClassification,
    GteForTokenClassification, GteModel, ModernBertConfig, ModernBertForMaskedLM, ModernBertForMultipleChoice,
    ModernBertForSequenceClassification, ModernBertForTokenClassification, ModernBertModel, MPNetConfig, MPNetForMaskedLM,
    MPNetForMultipleChoice, MPNetForSequenceClassification, MPNetForTokenClassification, MPNetModel, NomicBertConfig, NomicBertForMaskedLM,
    NomicBertForSequenceClassification, NomicBertForTokenClassification, NomicBertModel, RobertaConfig, RobertaForMaskedLM,
    RobertaForMultipleChoice, RobertaForSequenceClassification, RobertaForTokenClassification, RobertaModel, XLMRobertaConfig,
    XLMRobertaForMaskedLM, XLMRobertaForMultipleChoice, XLMRobertaForSequenceClassification, XLMRobertaForTokenClassification, XLMRobertaModel)

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "families")
VOCAB, LONGEST = 40, 20


def config(family, layers, labels):
    named = {} if not labels else {"id2label": dict(enumerate(labels)), "label2id": {l: i for i, l in enumerate(labels)}}
    common = dict(vocab_size=VOCAB, initializer_range=0.3, attn_implementation="eager", **named)
    if family == "distilbert":
        return DistilBertConfig(max_position_embeddings=LONGEST, dim=24, n_layers=layers, n_heads=2, hidden_dim=30, **common)
    sizes = dict(hidden_size=24, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=30, **common)
    if family in ("roberta", "xlm-roberta", "camembert"):
        # Positions of RoBERTa begin at pad_token_id + 1.
        kind = {"roberta": RobertaConfig, "xlm-roberta": XLMRobertaConfig, "camembert": CamembertConfig}[family]
        return kind(max_position_embeddings=LONGEST + 2, type_vocab_size=1, layer_norm_eps=1e-5, **sizes)
    if family == "mpnet":
        return MPNetConfig(max_position_embeddings=LONGEST + 2, layer_norm_eps=1e-5, **sizes)
    if family == "albert":
        # Three steps of one group, or of two groups with two layers each.
        return AlbertConfig(
            max_position_embeddings=LONGEST, embedding_size=14, num_hidden_groups=layers, inner_group_num=layers,
            **sizes | {"num_hidden_layers": 3})
    if family == "albert_wide":
        return AlbertConfig(max_position_embeddings=LONGEST, embedding_size=24, **sizes)
    if family.startswith("modernbert"):
        # Windows of 4 tokens to either side, and bases that few positions tell apart.
        kinds = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
        sizes["num_hidden_layers"] = len(kinds)
        pooling = "mean" if family == "modernbert_mean" else "cls"
        rope = {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in zip(kinds, (900.0, 30.0))}
        return ModernBertConfig(max_position_embeddings=512, local_attention=8, layer_types=kinds, rope_parameters=rope, classifier_pooling=pooling,
                                pad_token_id=3, bos_token_id=0, cls_token_id=0, eos_token_id=1, sep_token_id=1, **sizes)
    if family.startswith("nomic_bert"):
        # A base that few positions tell apart, and rows of a vocabulary padded to a multiple.
        sizes["vocab_size"] = 48 if family == "nomic_bert_own" else VOCAB
        return NomicBertConfig(max_position_embeddings=512, hidden_act="gelu" if family == "nomic_bert_geglu" else "silu",
                               rope_parameters={"rope_type": "default", "rope_theta": 30.0}, **sizes)
    if family.startswith("gte"):
        rope = {"rope_type": "default", "rope_theta": 30.0}
        if family == "gte_own":  # the scaling of NTK by 8, for heads of width 12
            rope = {"rope_type": "linear", "rope_theta": 30.0 * 8, "factor": 8 ** (2 / 12)}
        return GteConfig(max_position_embeddings=512, type_vocab_size=0 if family == "gte_own" else 1, rope_parameters=rope, **sizes)
    if family.startswith("deberta-v2"):
        # Few buckets, so that most distances share one.
        return DebertaV2Config(max_position_embeddings=512, position_buckets=8, relative_attention=True, max_relative_positions=-1, pos_att_type="p2c|c2p", share_att_key=True,
                               norm_rel_ebd="layer_norm", position_biased_input=False, type_vocab_size=2 if family == "deberta-v2_types" else 0, cls_dropout=0.1,
                               legacy=family == "deberta-v2_legacy", **sizes)
    width = 24 if family == "electra_wide" else 14
    return ElectraConfig(max_position_embeddings=LONGEST, embedding_size=width, **sizes)


def own(family, path):
    """Rewrites a directory as the own code of Nomic or GTE has it."""
    tensors = load_file(os.path.join(path, "model.safetensors"))
    prefix = {"nomic_bert_own": ("nomic_bert.", "bert."), "gte_own": ("gte.", "new.")}[family]
    tensors = {name.replace(*prefix): t.contiguous() for name, t in tensors.items()}
    save_file(tensors, os.path.join(path, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(path, "config.json")) as f:
        c = json.load(f)
    labels = {k: c[k] for k in ("id2label", "label2id") if k in c}
    if family == "nomic_bert_own":
        c = {"model_type": "nomic_bert", "architectures": c["architectures"], "vocab_size": VOCAB, "pad_vocab_size_multiple": 16, "type_vocab_size": 2, "n_embd": 24, "n_head": 2,
             "n_layer": c["num_hidden_layers"], "n_inner": 30, "n_positions": 512, "activation_function": "swiglu", "layer_norm_epsilon": 1e-12, "rotary_emb_base": 30,
             "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "rotary_emb_scale_base": None, "rotary_scaling_factor": None, "max_trained_positions": 2048, "prenorm": False,
             "qkv_proj_bias": False, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "use_rms_norm": False, "causal": False, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0}
    else:
        c = {"model_type": "new", "architectures": [c["architectures"][0].replace("Gte", "New")], "vocab_size": VOCAB, "type_vocab_size": 0, "hidden_size": 24, "num_attention_heads": 2,
             "num_hidden_layers": c["num_hidden_layers"], "intermediate_size": 30, "max_position_embeddings": 512, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "layer_norm_type": "layer_norm",
             "position_embedding_type": "rope", "rope_theta": 30.0, "rope_scaling": {"type": "ntk", "factor": 8.0}, "pack_qkv": True, "logn_attention_scale": False, "pad_token_id": 0}
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(c | labels, f, indent=1)


def make(family, head, cls, labels=()):
    if sys.argv[1:] and family not in sys.argv[1:]:
        return
    torch.manual_seed(len(family) * 100 + len(head))
    rng = torch.Generator().manual_seed(len(family) * 100 + len(head))
    cfg = config(family, 2 if head == "single_label" else 1, labels)
    model = cls(cfg).eval()
    with torch.no_grad():
        # Fresh biases are zero and LayerNorms the identity, which would hide mistakes.
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=rng) * 0.2)
    path = os.path.join(HERE, f"{family}_{head}")
    model.save_pretrained(path)
    if family.endswith("_own"):
        own(family, path)
    model = model.double()
    encoder = model if head == "encoder" else getattr(model, model.base_model_prefix)
    cases = []
    far = family.startswith(("modernbert", "nomic_bert", "gte", "deberta-v2"))
    long = [97, 400] if far and head in ("single_label", "encoder") else []
    for n in [1, 2, 7, 16, LONGEST] + long:
        ids = torch.randint(0, VOCAB, (n,), generator=rng)
        if n == 7:
            ids[2] = ids[5] = cfg.pad_token_id  # which in RoBERTa has a position of its own
        cut = int(torch.randint(0, n + 1, (1,), generator=rng))
        types = (torch.arange(n) >= cut).long() * (1 if family.startswith(("electra", "albert", "nomic_bert", "deberta-v2_types")) else 0)
        x = {"input_ids": ids[None], "attention_mask": torch.ones(1, n, dtype=torch.long)}
        if family not in ("distilbert", "mpnet", "modernbert", "modernbert_mean"):
            x["token_type_ids"] = types[None]
        with torch.no_grad():
            hidden = encoder(**x).last_hidden_state
            mean, first = (torch.nn.functional.normalize(v, dim=-1)[0] for v in (hidden.mean(1), hidden[:, 0]))
            case = {"ids": ids.tolist(), "types": types.tolist()}
            if head == "encoder":
                case |= {"mean": mean.tolist(), "cls": first.tolist()}
            else:
                if head == "multiple_choice":
                    x = {k: v[None] for k, v in x.items()}
                case["logits"] = model(**x).logits.flatten().tolist()
        cases.append(case)
    short = [c for c in cases if len(c["ids"]) <= LONGEST]
    with open(os.path.join(path, "golden.json"), "w") as f:
        json.dump({"cases": short}, f)
    if long:
        with open(os.path.join(path, "long.json"), "w") as f:
            json.dump({"cases": cases[len(short):]}, f)


COLOURS = ["red", "green", "blue"]
make("roberta", "single_label", RobertaForSequenceClassification, COLOURS)
make("roberta", "token", RobertaForTokenClassification, COLOURS)
make("roberta", "multiple_choice", RobertaForMultipleChoice)
make("roberta", "masked_lm", RobertaForMaskedLM)
make("roberta", "encoder", RobertaModel)
make("xlm-roberta", "single_label", XLMRobertaForSequenceClassification, COLOURS)
make("xlm-roberta", "token", XLMRobertaForTokenClassification, COLOURS)
make("xlm-roberta", "multiple_choice", XLMRobertaForMultipleChoice)
make("xlm-roberta", "masked_lm", XLMRobertaForMaskedLM)
make("xlm-roberta", "encoder", XLMRobertaModel)
make("camembert", "single_label", CamembertForSequenceClassification, COLOURS)
make("camembert", "encoder", CamembertModel)
make("mpnet", "single_label", MPNetForSequenceClassification, COLOURS)
make("mpnet", "token", MPNetForTokenClassification, COLOURS)
make("mpnet", "multiple_choice", MPNetForMultipleChoice)
make("mpnet", "masked_lm", MPNetForMaskedLM)
make("mpnet", "encoder", MPNetModel)
make("modernbert", "single_label", ModernBertForSequenceClassification, COLOURS)
make("modernbert_mean", "single_label", ModernBertForSequenceClassification, COLOURS)
make("modernbert", "token", ModernBertForTokenClassification, COLOURS)
make("modernbert", "multiple_choice", ModernBertForMultipleChoice)
make("modernbert", "masked_lm", ModernBertForMaskedLM)
make("modernbert", "encoder", ModernBertModel)
make("nomic_bert", "single_label", NomicBertForSequenceClassification, COLOURS)
make("nomic_bert_geglu", "single_label", NomicBertForSequenceClassification, COLOURS)
make("nomic_bert_own", "single_label", NomicBertForSequenceClassification, COLOURS)
make("nomic_bert", "token", NomicBertForTokenClassification, COLOURS)
make("nomic_bert", "masked_lm", NomicBertForMaskedLM)
make("nomic_bert", "encoder", NomicBertModel)
make("nomic_bert_own", "encoder", NomicBertModel)
make("gte_types", "single_label", GteForSequenceClassification, COLOURS)
make("gte_own", "single_label", GteForSequenceClassification, COLOURS)
make("gte", "token", GteForTokenClassification, COLOURS)
make("gte", "masked_lm", GteForMaskedLM)
make("gte", "encoder", GteModel)
make("gte_own", "encoder", GteModel)
make("deberta-v2", "single_label", DebertaV2ForSequenceClassification, COLOURS)
make("deberta-v2_types", "single_label", DebertaV2ForSequenceClassification, COLOURS)
make("deberta-v2", "token", DebertaV2ForTokenClassification, COLOURS)
make("deberta-v2", "multiple_choice", DebertaV2ForMultipleChoice)
make("deberta-v2", "masked_lm", DebertaV2ForMaskedLM)
make("deberta-v2_legacy", "masked_lm", DebertaV2ForMaskedLM)
make("deberta-v2", "encoder", DebertaV2Model)
make("distilbert", "single_label", DistilBertForSequenceClassification, COLOURS)
make("distilbert", "token", DistilBertForTokenClassification, COLOURS)
make("distilbert", "multiple_choice", DistilBertForMultipleChoice)
make("distilbert", "masked_lm", DistilBertForMaskedLM)
make("distilbert", "encoder", DistilBertModel)
make("electra", "single_label", ElectraForSequenceClassification, COLOURS)
make("electra_wide", "single_label", ElectraForSequenceClassification, COLOURS)
make("electra", "token", ElectraForTokenClassification, COLOURS)
make("electra", "multiple_choice", ElectraForMultipleChoice)
make("electra", "masked_lm", ElectraForMaskedLM)
make("electra", "encoder", ElectraModel)
make("albert", "single_label", AlbertForSequenceClassification, COLOURS)
make("albert_wide", "single_label", AlbertForSequenceClassification, COLOURS)
make("albert", "token", AlbertForTokenClassification, COLOURS)
make("albert", "multiple_choice", AlbertForMultipleChoice)
make("albert", "masked_lm", AlbertForMaskedLM)
make("albert", "encoder", AlbertModel)
