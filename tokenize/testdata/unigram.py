"""Writes unigram.json.gz: directories of tokenizers that are unigram language models, as
XLM-RoBERTa, CamemBERT, ALBERT and DeBERTa-v2 have them, with what AutoTokenizer of
transformers makes of texts, in the form of directories.py; and the SentencePiece models
spm_*.model.gz that they are made of, which it trains itself.

    pip install transformers==5.23.0 sentencepiece==0.2.3 protobuf && python unigram.py

In the files of a directory "@NAME" is the file of that model, and "{{NAME}}" the table of
characters in it, in base64.
"""
import base64
import gzip
import io
import json
import os
import random

import directories
import sentencepiece
from directories import CHARS, WORDS, added, flag, token
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

here = os.path.dirname(os.path.abspath(__file__))
XLMR = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>", "pad_token": "<pad>", "cls_token": "<s>", "mask_token": "<mask>"}
ALBERT = {"bos_token": "[CLS]", "eos_token": "[SEP]", "unk_token": "<unk>", "sep_token": "[SEP]", "pad_token": "<pad>", "cls_token": "[CLS]", "mask_token": "[MASK]"}
DEBERTA = ALBERT | {"unk_token": "[UNK]", "pad_token": "[PAD]"}
CLASSES = {"XLMRobertaTokenizer": ("xlm-roberta", XLMR), "CamembertTokenizer": ("camembert", XLMR), "AlbertTokenizer": ("albert", ALBERT), "DebertaV2Tokenizer": ("deberta-v2", DEBERTA)}
TRAINING = {
    "nfkc": dict(normalization_rule_name="nmt_nfkc", vocab_size=400),
    "lower": dict(normalization_rule_name="nmt_nfkc_cf", vocab_size=640, byte_fallback=True, pad_id=0, unk_id=1, bos_id=-1, eos_id=-1,
                  control_symbols=["[CLS]", "[SEP]"], user_defined_symbols=["[MASK]", "(", "newyork"]),
    "plain": dict(normalization_rule_name="identity", vocab_size=300, character_coverage=0.98, pad_id=0, bos_id=1, eos_id=2, unk_id=3,
                  pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]"),
}


def train():
    """The models, their files by name."""
    rng = random.Random(3)
    text = "\n".join(" ".join(rng.choice(WORDS + CHARS + ["newyork", "New York", "running", "cafés", "日本", "हिन्दी", "한국어", "ä", "ﬁn"]) for _ in range(12)) for _ in range(400))
    files = {}
    for name, options in TRAINING.items():
        out = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text.split("\n")), model_writer=out, hard_vocab_limit=False, num_threads=1, minloglevel=2, **options)
        files[name] = out.getvalue()
    return files


MODELS = train()
PROTOS = {name: pb.ModelProto.FromString(file) for name, file in MODELS.items()}
TABLES = {name: p.normalizer_spec.precompiled_charsmap for name, p in PROTOS.items() if p.normalizer_spec.precompiled_charsmap}


def packed(files):
    """Files with the names of models and tables in the place of them."""
    out = {}
    for name, text in files.items():
        if isinstance(text, bytes):
            text = "@" + next(k for k, file in MODELS.items() if file == text)
        for key, table in TABLES.items():
            text = text.replace(base64.b64encode(table).decode(), "{{" + key + "}}")
        out[name] = text
    return out


def pieces(rng, model, special):
    list_ = [(p.piece, p.score) for p in PROTOS[model].pieces]
    first = [(t, 0.0) for t in dict.fromkeys(special.values())]
    rest = [(t, s) for t, s in list_ if t not in special.values() and (flag(rng, 0.85) or "<0x" in t)]
    if flag(rng, 0.15):
        rest.insert(rng.randrange(len(rest)), (rng.choice(rest)[0], -2.5))
    return first[:4] + rest + first[4:]


def normalizer(rng, table):
    kinds = [lambda: normalizers.Replace("``", '"'), lambda: normalizers.Replace(Regex(" {2,}"), " "), lambda: normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
             normalizers.NFKD, normalizers.NFC, normalizers.NFKC, normalizers.NFD, normalizers.StripAccents, normalizers.Lowercase,
             lambda: normalizers.Strip(left=flag(rng), right=flag(rng)), lambda: normalizers.Replace("the", rng.choice(["", "d\u00e9", "ab ab"]))]
    some = [rng.choice(kinds)() for _ in range(rng.choice([0, 1, 2, 3]))]
    if table and flag(rng, 0.8):
        some.insert(rng.randrange(len(some) + 1), normalizers.Precompiled(table))
    return rng.choice(some) if len(some) == 1 and flag(rng) else normalizers.Sequence(some) if some else None


def library_file(rng, model, special, markers):
    vocab = pieces(rng, model, special)
    ids = {t: i for i, (t, _) in enumerate(vocab)}
    t = Tokenizer(models.Unigram(vocab, unk_id=ids[special["unk_token"]], byte_fallback=flag(rng, 0.3)))
    table = TABLES.get(model)
    if (n := normalizer(rng, table)) is not None:
        t.normalizer = n
    space = pre_tokenizers.Metaspace(prepend_scheme=rng.choice(["always", "always", "first", "never"]), split=flag(rng, 0.9))
    t.pre_tokenizer = rng.choice([space, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space])])
    return directories.library_file(rng, t, special, markers), len(vocab)


def directory(rng):
    kind = rng.choice(list(CLASSES))
    model_type, special = CLASSES[kind]
    if flag(rng, 0.15):
        special = {k: rng.choice([v, v, f"<{k[:3]}>"]) for k, v in special.items()}
    markers = rng.sample(directories.MARKERS, rng.randrange(0, 7))
    model = rng.choice(list(MODELS))
    file = {"albert": "spiece.model", "deberta-v2": "spm.model"}.get(model_type, "sentencepiece.bpe.model")
    files = {"config.json": json.dumps({"model_type": rng.choice([model_type, model_type, "bert"])})}
    form = rng.choice(["json", "json", "json", "model", "both"])
    size = len(PROTOS[model].pieces)
    if form != "json":
        files[file] = MODELS[model]
    if form != "model":
        files["tokenizer.json"], size = library_file(rng, model, special, markers)
    backend = kind + rng.choice(["", "Fast"])
    if form == "json" and flag(rng, 0.35):
        backend = rng.choice(["PreTrainedTokenizerFast", "TokenizersBackend"])
    c = directories.configuration(rng, special, markers, size, False, backend) | {"tokenizer_class": backend}
    for key in ("keep_accents", "do_lower_case"):
        c.pop(key, None)
        if flag(rng, 0.4):
            c[key] = flag(rng)
    for key in ("add_bos_token", "split_special_tokens"):  # the first is refused; in the second it counts how a token came to be what it is
        c.pop(key, None)
    files["tokenizer_config.json"] = json.dumps(c, ensure_ascii=False)
    if flag(rng, 0.3):
        m = {name: directories.token_value(rng, t, False) for name, t in special.items() if flag(rng, 0.6)}
        if flag(rng):
            m["additional_special_tokens"] = [x for x in markers if flag(rng, 0.4)]
        files["special_tokens_map.json"] = json.dumps(m)
    if flag(rng, 0.2):
        files["added_tokens.json"] = json.dumps({m: size + i + rng.choice([0, 0, 2]) for i, m in enumerate(markers)})
    return files, markers + list(special.values()) + ["▁", "▁▁", "``", "''", "１", "ﬁ", "①\u0301", "\u1100\u1161\u11a8"]


def named():
    j = json.dumps

    def of(kind, model, **c):
        model_type, special = CLASSES[kind]
        file = {"albert": "spiece.model", "deberta-v2": "spm.model"}.get(model_type, "sentencepiece.bpe.model")
        return {"config.json": j({"model_type": model_type}), file: MODELS[model], "tokenizer_config.json": j({"tokenizer_class": kind} | c)}

    e5 = Tokenizer(models.Unigram([(t, 0.0) for t in ("<s>", "<pad>", "</s>", "<unk>")] + [(p.piece, p.score) for p in PROTOS["nfkc"].pieces[3:]] + [("<mask>", 0.0)], unk_id=3))
    e5.normalizer = normalizers.Sequence([normalizers.Precompiled(TABLES["nfkc"]), normalizers.Replace(Regex(" {2,}"), " ")])
    e5.pre_tokenizer = pre_tokenizers.Metaspace()
    e5.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    e5.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    file = {"tokenizer.json": e5.to_str()}
    old = json.loads(e5.to_str())
    old["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}
    return {
        "XLM-RoBERTa/sentencepiece.bpe.model": of("XLMRobertaTokenizer", "nfkc"),
        "XLM-RoBERTa/no prefix space": of("XLMRobertaTokenizer", "nfkc", add_prefix_space=False),
        "XLM-RoBERTa/mask that takes white space": of("XLMRobertaTokenizer", "nfkc", mask_token=token("<mask>", lstrip=True) | {"__type": "AddedToken"}),
        "XLM-RoBERTa/tokenizer.json": file | of("XLMRobertaTokenizer", "nfkc"),
        "XLM-RoBERTa/tokenizer.json as it is": {"config.json": j({"model_type": "bert"}), "tokenizer_config.json": j({"tokenizer_class": "PreTrainedTokenizerFast"})} | file,
        "XLM-RoBERTa/an old tokenizer.json as it is": {"config.json": j({"model_type": "bert"}), "tokenizer_config.json": j({"tokenizer_class": "PreTrainedTokenizerFast"}), "tokenizer.json": j(old)},
        "XLM-RoBERTa/tokenizer.json on a BERT": {"config.json": j({"model_type": "bert"}), "tokenizer_config.json": j({"tokenizer_class": "XLMRobertaTokenizer"})} | file,
        "CamemBERT/sentencepiece.bpe.model": of("CamembertTokenizer", "nfkc"),
        "CamemBERT/extra tokens": of("CamembertTokenizer", "nfkc", extra_special_tokens=["<e1>"]),
        "CamemBERT/additional tokens": of("CamembertTokenizer", "nfkc", additional_special_tokens=["<e1>"]),
        "ALBERT/spiece.model": of("AlbertTokenizer", "lower"),
        "ALBERT/case and accents": of("AlbertTokenizer", "lower", do_lower_case=False, keep_accents=True),
        "DeBERTa/spm.model": of("DebertaV2Tokenizer", "plain"),
        "DeBERTa/lower case": of("DebertaV2Tokenizer", "plain", do_lower_case=True),
        "DeBERTa/no prefix space": of("DebertaV2Tokenizer", "plain", add_prefix_space=False),
    }


if __name__ == "__main__":
    for name, file in MODELS.items():
        with open(os.path.join(here, f"spm_{name}.model.gz"), "wb") as f:
            with gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
                z.write(file)
    directories.goldens("unigram.json.gz", named, directory, 29, 260, packed)
