"""Writes directories.json.gz: tokenizer directories of every kind, one by one with a name
and some hundreds with random vocabularies, files and settings, nasty texts and pairs of texts, and what AutoTokenizer of transformers makes of
them. A case has a checksum of its ids and type ids, and one of its offsets; the first
cases of a directory have the ids and type ids themselves.

    pip install transformers==5.23.0 && python directories.py

With the argument "exports" it reads from standard input pairs of directories, JSON of
[{"name", "given", "exported"}, ...], and compares what AutoTokenizer makes of a few texts
in both, and what the tokenizer.json of the exported one gives by itself.
"""
import contextlib
import gzip
import json
import os
import random
import sys
import tempfile
import zlib

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

here = os.path.dirname(os.path.abspath(__file__))
DIRECTORIES, CASES, SHOWN = 340, 60, 4

WORDS = ["the", "new", "york", "newyork", "un", "aff", "able", "cafe", "café", "naive", "straße", "don", "run", "ning", "house", "e1", "ab", "cd"]
CHARS = list("abcdefghijklmnopqrstuvwxyzABENY0129.,!?'-#<>[]/_$é") + ["漢", "字", "й", "ß", "가", "ᄀ", "ᅡ", "İ", "i̇"]
MARKERS = ["<e1>", "</e1>", "<E2>", "[ENT]", "[ent]", "@@", "##new", "New York", "NewYork", "newyork", "NEWYORK", "café", "CAFÉ", "漢字", "É", " lead", "trail ",
           "the", "ing", "a", "<|x|>", "C++", "C#", "é", "Straße", "new", "york", "İx", "<s", "[MASK]ed", "_u_", "don't", "x\u0301", "\u00a0nb", "a b"]
PIECES = [" ", "  ", " ", " ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\u0085", "\x00", "\x1c", "\u200b", "\u200d", "\ufeff", "\ufffd", "\u00ad", "\x0b",
          "the", "The", "THE", "new", "New", "york", "YORK", "cafe", "café", "CAFÉ", "cafe\u0301", "Straße", "STRASSE", "unaffable", "running", "don't", "I'm", "'s",
          "é", "É", "e\u0301", "\u0301", "İ", "ı", "Σ", "ΑΣ", "ǅ", "ﬁ", "Å", "ậ", "ё", "й", "Й", "漢", "字", "漢字", "豈", "가", "각", "日本", "が", "ก", "हि",
          "👨‍👩‍👧", "👍🏽", "🏳️‍🌈", "🇩🇪", "😀", "\u0378", "\ue000", "\U0001fbff", "1", "2", "12", "½", "²", "Ⅳ", "٣", ".", ",", "!", "?", "-", "_", "#", "##", "@", "«", "।", "—", "…",
          "a", "b", "x", "y", "ab", "abc", "<", ">", "[", "]", "</", "y" * 60, "x" * 101]
NAMES = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]
BERT = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
ROBERTA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>", "pad_token": "<pad>", "cls_token": "<s>", "mask_token": "<mask>"}


def flag(rng, p=0.5):
    return rng.random() < p


def corpus(rng, tokens, n):
    out = ["", " "]
    while len(out) < n:
        s = ""
        for _ in range(rng.choice([1, 2, 4, 7, 12])):
            if tokens and flag(rng, 0.3):
                t = rng.choice(tokens)
                s += rng.choice([t, t, t, t.lower(), t.upper(), t.title(), " " + t + " ", "  " + t, t + "  ", t + t, t[:-1], t[1:]])
            else:
                s += rng.choice(PIECES)
            s += rng.choice(["", "", " "])
        out.append(s)
    return out


def added(rng, content, special=None):
    special = flag(rng, 0.4) if special is None else special
    return {"content": content, "single_word": flag(rng, 0.25), "lstrip": flag(rng, 0.25), "rstrip": flag(rng, 0.25),
            "normalized": flag(rng, 0.3 if special else 0.7), "special": special}


def word_pieces(rng, special):
    vocab = [t for t in dict.fromkeys(special.values()) if t in (special["unk_token"], special["cls_token"], special["sep_token"]) or flag(rng, 0.85)]
    words = [w for w in WORDS if flag(rng, 0.7)] + [c for c in CHARS if flag(rng, 0.8)]
    words += ["##" + w for w in WORDS + CHARS if flag(rng, 0.6)] + [m for m in MARKERS if flag(rng, 0.15) and m.strip() == m]
    rng.shuffle(words)
    words = list(dict.fromkeys(words))
    if flag(rng, 0.3):
        k = rng.randrange(5)
        return words[:k] + vocab + words[k:]
    return vocab + words


def vocab_txt(rng, vocab):
    lines = list(vocab)
    if flag(rng, 0.08):
        lines.insert(rng.randrange(5, len(lines)), rng.choice(["", " ", "\u3000"]))
    if flag(rng, 0.06):
        lines.insert(rng.randrange(5, len(lines)), rng.choice(lines[5:]))
    if flag(rng, 0.06):
        lines[rng.randrange(5, len(lines))] += rng.choice([" ", "\t", "\u00a0"])
    text = rng.choice(["\n", "\n", "\n", "\r\n"]).join(lines) + rng.choice(["\n", "\n", "", "\r\n"])
    return ("\ufeff" if flag(rng, 0.04) else "") + text


def post_processor(rng, special, ids):
    cls, sep = special["cls_token"], special["sep_token"]
    kind = rng.choice(["bert", "template", "roberta", "flat"])
    if kind == "bert":
        return processors.BertProcessing((sep, ids[sep]), (cls, ids[cls]))
    if kind == "roberta":
        return processors.RobertaProcessing((sep, ids[sep]), (cls, ids[cls]), trim_offsets=flag(rng), add_prefix_space=flag(rng))
    pair = f"{cls} $A {sep} $B:1 {sep}:1" if kind == "template" else f"{cls} $A {sep} {sep} $B:0 {sep}:0"
    return processors.TemplateProcessing(single=f"{cls} $A {sep}", pair=pair, special_tokens=[(cls, ids[cls]), (sep, ids[sep])])


def library_file(rng, t, special, markers):
    """Finishes a tokenizer of the library: added tokens, frame, and what is left aside."""
    ids = t.get_vocab()
    for name, token in special.items():
        if token in ids and flag(rng, 0.9):
            a = added(rng, token, True) if flag(rng, 0.2) else {"content": token, "normalized": False, "special": True}
            if name == "mask_token" and flag(rng):
                a["lstrip"] = True
            t.add_tokens([AddedToken(**a)])
    for m in markers:
        if flag(rng, 0.5):
            t.add_tokens([AddedToken(**added(rng, m))])
    t.post_processor = post_processor(rng, special, ids)
    if flag(rng, 0.15):
        t.enable_truncation(rng.randrange(8, 64), direction=rng.choice(["left", "right"]))
    if flag(rng, 0.15):
        t.enable_padding(pad_token=special["pad_token"], pad_id=0)
    return t.to_str()


def token_value(rng, token, typed):
    """A special token as a configuration has it."""
    if flag(rng, 0.7):
        return token
    v = added(rng, token, True)
    if flag(rng, 0.3):
        del v["normalized"]
    if typed:
        v["__type"] = "AddedToken"
    else:
        del v["special"]
    return v


def configuration(rng, special, markers, vocab_size, bert, backend):
    c = {}
    if flag(rng, 0.7):
        c["tokenizer_class"] = backend
    for key, values in (("do_lower_case", [True, False]), ("strip_accents", [True, False, None]), ("tokenize_chinese_chars", [True, False]),
                        ("add_prefix_space", [True, False]), ("trim_offsets", [True, False])):
        if flag(rng, 0.4):
            c[key] = rng.choice(values)
    for name, token in special.items():
        if flag(rng, 0.5) or token != (BERT if bert else ROBERTA).get(name):
            c[name] = token_value(rng, token, True)
    if "mask_token" in c and flag(rng, 0.04):
        c["mask_token"] = None
    some = [m for m in markers if flag(rng, 0.4)]
    if flag(rng, 0.3):
        c["additional_special_tokens"] = rng.choice([some, some, []])
    if flag(rng, 0.25):
        c["extra_special_tokens"] = rng.choice([some, {f"x{i}_token": m for i, m in enumerate(some)}, None, [], {}])
    if flag(rng, 0.1):
        c["image_token"] = rng.choice(MARKERS)
    if flag(rng, 0.1):
        c["video_token"] = rng.choice(MARKERS)
    if flag(rng, 0.25):
        d = {}
        for m in markers:
            if flag(rng, 0.7):
                d[str(vocab_size + len(d) + rng.choice([0, 0, 3]))] = added(rng, m)
        for i, token in enumerate(dict.fromkeys(special.values())):
            if flag(rng, 0.6):
                d.setdefault(str(i), added(rng, token, flag(rng, 0.9)))
        c["added_tokens_decoder"] = d
    for key, values, p in (("model_input_names", [["input_ids", "attention_mask"], ["input_ids", "token_type_ids", "attention_mask"]], 0.25),
                           ("truncation_side", ["left", "right"], 0.15), ("padding_side", ["left", "right"], 0.1), ("split_special_tokens", [True, False], 0.08),
                           ("do_basic_tokenize", [True, False], 0.15), ("never_split", [None, ["the"]], 0.1), ("model_max_length", [8, 512], 0.3),
                           ("clean_up_tokenization_spaces", [True, False], 0.2), ("add_bos_token", [True, False], 0.05), ("unknown", [3, {"a": [1]}], 0.1)):
        if flag(rng, p):
            c[key] = rng.choice(values)
    items = list(c.items())
    rng.shuffle(items)
    return dict(items)


def directory(rng):
    """Random files, and the tokens that texts may hold."""
    bert = flag(rng, 0.62)
    special = dict(BERT if bert else ROBERTA)
    if flag(rng, 0.2):
        special = {k: rng.choice([v, f"<{k[:3]}>", f"{{{k}}}"]) for k, v in special.items()}
    markers = rng.sample(MARKERS, rng.randrange(0, 9))
    files = {}
    form = rng.choice(["json", "json", "vocabulary", "vocabulary", "both"])
    if bert:
        vocab = word_pieces(rng, special)
        if form != "json":
            files["vocab.txt"] = vocab_txt(rng, vocab)
        if form != "vocabulary":
            t = Tokenizer(models.WordPiece({v: i for i, v in enumerate(vocab)}, unk_token=special["unk_token"], max_input_chars_per_word=rng.choice([100, 100, 6])))
            t.normalizer = normalizers.BertNormalizer(clean_text=flag(rng, 0.9), handle_chinese_chars=flag(rng, 0.7), strip_accents=rng.choice([None, None, True, False]), lowercase=flag(rng))
            t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            files["tokenizer.json"] = library_file(rng, t, special, markers)
        size = len(vocab)
    else:
        names = [t for t in dict.fromkeys(special.values()) if t in (special["cls_token"], special["sep_token"]) or flag(rng, 0.9)]
        t = Tokenizer(models.BPE(unk_token=special["unk_token"] if special["unk_token"] in names and flag(rng, 0.3) else None))
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=flag(rng))
        t.train_from_iterator(corpus(rng, WORDS, 60), trainers.BpeTrainer(
            vocab_size=rng.randrange(270, 380), special_tokens=names, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
        j = json.loads(t.to_str())
        j["added_tokens"] = []
        t = Tokenizer.from_str(json.dumps(j))
        if form != "json":
            files["vocab.json"] = json.dumps(j["model"]["vocab"], ensure_ascii=flag(rng))
            files["merges.txt"] = rng.choice(["#version: 0.2\n", ""]) + "".join(" ".join(m) + "\n" for m in j["model"]["merges"])
        if form != "vocabulary":
            files["tokenizer.json"] = library_file(rng, t, special, markers)
        size = len(j["model"]["vocab"])
    backend = rng.choice(["BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "ElectraTokenizerFast"] if bert else ["RobertaTokenizer", "RobertaTokenizerFast", "LongformerTokenizer"])
    if form != "vocabulary" and flag(rng, 0.3):
        backend = rng.choice(["PreTrainedTokenizerFast", "TokenizersBackend"])
    odd = special != (BERT if bert else ROBERTA)
    if flag(rng, 0.75) or odd and flag(rng, 0.7):
        files["tokenizer_config.json"] = json.dumps(configuration(rng, special, markers, size, bert, backend), ensure_ascii=flag(rng))
    if flag(rng, 0.35) or odd:
        m = {name: token_value(rng, token, False) for name, token in special.items() if flag(rng, 0.6) or odd}
        if flag(rng):
            m["additional_special_tokens"] = [x for x in markers if flag(rng, 0.4)]
        if flag(rng, 0.15):
            m["extra_special_tokens"] = rng.choice([[x if flag(rng) else added(rng, x, True) for x in markers[:3]], {"y_token": rng.choice(MARKERS)}])
            for x in m["extra_special_tokens"]:
                if isinstance(x, dict):
                    del x["special"]
        if flag(rng, 0.1):
            m["audio_token"] = token_value(rng, rng.choice(MARKERS), False)
        files["special_tokens_map.json"] = json.dumps(m)
    if flag(rng, 0.3):
        some = [m for m in markers if flag(rng, 0.7)] + [t for t in special.values() if flag(rng, 0.1)]
        files["added_tokens.json"] = json.dumps({m: size + i + rng.choice([0, 0, 2]) for i, m in enumerate(some)})
    config = {"model_type": rng.choice(["bert", "bert", "distilbert", "electra"]) if bert else "roberta"}
    if flag(rng, 0.05):
        config["tokenizer_class"] = backend
    files["config.json"] = json.dumps(config)
    return files, markers + list(special.values())


@contextlib.contextmanager
def written(files):
    with tempfile.TemporaryDirectory() as path:
        for name, text in files.items():
            with open(os.path.join(path, name), "wb") as f:
                f.write(text if isinstance(text, bytes) else text.encode())
        yield path


def load(files):
    with written(files) as path:
        return AutoTokenizer.from_pretrained(path)


def resaved(files):
    """What transformers writes of a directory."""
    with written(files) as path, tempfile.TemporaryDirectory() as out:
        AutoTokenizer.from_pretrained(path).save_pretrained(out)
        saved = {}
        for name in sorted(os.listdir(out)):
            with open(os.path.join(out, name), "rb") as f:
                saved[name] = f.read() if name.endswith(".model") else f.read().decode()
    return saved | {"config.json": files["config.json"]}


def encode(t, a, b, length):
    e = t([a], None if b is None else [b], return_offsets_mapping=True, **(dict(truncation=True, max_length=length) if length else {}))
    ids = e["input_ids"][0]
    types = e["token_type_ids"][0] if "token_type_ids" in e else [0] * len(ids)  # what the models make of none
    return ids, types, [x for o in e["offset_mapping"][0] for x in o]


def chance(t):
    """Whether two added tokens are the same in normalized text: which is found differs from run to run."""
    normalizer = t.backend_tokenizer.normalizer
    forms = [normalizer.normalize_str(str(a)) if normalizer and a.normalized else str(a) for a in t.added_tokens_decoder.values() if a.normalized]
    return len(set(forms)) < len(forms)


def checksum(*lists):
    return zlib.crc32(";".join(",".join(map(str, l)) for l in lists).encode())


VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + """the a film was good new york newyork NewYork New York cafe café caf ##e ##é ##s ##x cov ##19 1 9 < > e / e1
    [ ] mask # ## c + å 漢 字 漢字 漢漢 ##字 <s> </s> <unk> <pad> <mask> , . - ' ##ing ing i""".split()
NAMED_TEXTS = [
    "the cov19x film", "a <e1> film </e1> was good", "New York newyork NEWYORK NewYork", "newyorks xnewyork new york", "Café cafe\u0301 CAFÉ", "漢字 the漢字x",
    "  <e1>   the", "C++ c++ C#c", "[MASK] [mask] [PAD]x", "<s> <mask> </s>", "the\u00a0new\u3000york\r\n", "", "x", "Newyork, (NewYork) NewYork_ é",
]


def token(content, **on):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} | on


def named_directories():
    """Directories of one kind each, with the files that differ from BERT's vocab.txt."""
    txt = "\n".join(VOCAB) + "\n"
    j = json.dumps
    n = len(VOCAB)
    conf = lambda **c: {"vocab.txt": txt, "tokenizer_config.json": j(c)}
    chars = {c: i for i, c in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>"] + sorted(pre_tokenizers.ByteLevel.alphabet()) + ["th", "the", "Ġt", "Ġthe", "ne", "new"])}
    merges = [("t", "h"), ("th", "e"), ("Ġ", "t"), ("n", "e"), ("ne", "w")]
    bpe = {"vocab.json": j(chars), "merges.txt": "#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in merges)}
    bconf = lambda **c: bpe | {"tokenizer_config.json": j(c)}

    def library(lowercase=True, added=(), bert=True, **norm):
        if bert:
            t = Tokenizer(models.WordPiece({v: i for i, v in enumerate(VOCAB)}, unk_token="[UNK]"))
            t.normalizer = normalizers.BertNormalizer(**(dict(lowercase=lowercase) | norm))
            t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            t.add_special_tokens(VOCAB[:5])
            t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        else:
            t = Tokenizer(models.BPE(chars, merges))
            t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=norm.get("prefix", False))
            t.add_special_tokens([AddedToken("<mask>", lstrip=True), "<s>", "</s>", "<pad>", "<unk>"])
            t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        t.add_tokens([AddedToken(**a) for a in added])
        return {"tokenizer.json": t.to_str()}

    bert, roberta = {"config.json": j({"model_type": "bert"})}, {"config.json": j({"model_type": "roberta"})}
    wordpiece = {
        "added_tokens.json/beyond the vocabulary": {"vocab.txt": txt, "added_tokens.json": j({"cov19x": n, "foobarx": n + 1})},
        "added_tokens.json/ids with gaps": {"vocab.txt": txt, "added_tokens.json": j({"foo": n + 9, "cov19x": n + 4})},
        "added_tokens.json/repeats the vocabulary": {"vocab.txt": txt, "added_tokens.json": j({"newyork": 11, "film": 7})},
        "added_tokens.json/special by tokenizer_config.json": conf(additional_special_tokens=["<e1>"]) | {"added_tokens.json": j({"<e1>": n, "</e1>": n + 1})},
        "added_tokens.json/special in the map alone": {"vocab.txt": txt, "special_tokens_map.json": j({"additional_special_tokens": ["<e1>"]}), "added_tokens.json": j({"<e1>": n})},
        "added_tokens.json/no lower case": conf(do_lower_case=False) | {"added_tokens.json": j({"NEWYORK": n})},
        "added_tokens_decoder/beyond the vocabulary": conf(added_tokens_decoder={str(n): token("cov19x", special=False, normalized=True)}),
        "added_tokens_decoder/wins over added_tokens.json": conf(added_tokens_decoder={str(n): token("<e1>")}) | {"added_tokens.json": j({"cov19x": n})},
        "added_tokens_decoder/empty": conf(added_tokens_decoder={}) | {"added_tokens.json": j({"cov19x": n})},
        "added_tokens_decoder/ids out of order": conf(added_tokens_decoder={str(n + 5): token("<e1>"), str(n + 1): token("</e1>")}),
        "added_tokens_decoder/another mask": conf(added_tokens_decoder={"4": token("[MASK]", lstrip=True, rstrip=True)}),
        "added_tokens_decoder/hides the special tokens map": conf(added_tokens_decoder={str(n): token("<e1>")}) | {"special_tokens_map.json": j({"cls_token": "<s>"})},
        "special_tokens_map.json/other names": {"vocab.txt": txt, "special_tokens_map.json": j({"cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"})},
        "special_tokens_map.json/objects": {"vocab.txt": txt, "special_tokens_map.json": j({"cls_token": token("<s>"), "mask_token": token("<mask>", lstrip=True)})},
        "special_tokens_map.json/wins over tokenizer_config.json": conf(cls_token="<mask>") | {"special_tokens_map.json": j({"cls_token": "<s>"})},
        "special_tokens_map.json/markers": {"vocab.txt": txt, "special_tokens_map.json": j({"additional_special_tokens": ["<e1>", "</e1>"]})},
        "special_tokens_map.json/markers against an empty list": conf(additional_special_tokens=[]) | {"special_tokens_map.json": j({"additional_special_tokens": ["<e1>"]})},
        "special_tokens_map.json/extra": {"vocab.txt": txt, "special_tokens_map.json": j({"extra_special_tokens": ["<e1>", {"content": "</e1>", "lstrip": True, "normalized": False}]})},
        "special_tokens_map.json/a name of its own": {"vocab.txt": txt, "special_tokens_map.json": j({"entity_token": "<e1>"})},
        "extra special tokens/a list": conf(extra_special_tokens=["<e1>", "</e1>"]),
        "extra special tokens/with names": conf(extra_special_tokens={"end_token": "</e1>", "start_token": "<e1>"}),
        "extra special tokens/null beside additional ones": conf(extra_special_tokens=None, additional_special_tokens=["<e1>"]),
        "extra special tokens/both lists": conf(extra_special_tokens=["<e1>"], additional_special_tokens=["</e1>"]),
        "extra special tokens/objects": conf(extra_special_tokens=[token("<e1>", rstrip=True) | {"__type": "AddedToken"}]),
        "extra special tokens/a key that ends in _token": conf(entity_token="<e1>", other_token="</e1>"),
        "conflict/lower case off": conf(do_lower_case=False) | library(True),
        "conflict/lower case by default": conf(tokenizer_class="BertTokenizer") | library(False),
        "conflict/accents": conf(strip_accents=False) | library(True, strip_accents=True),
        "conflict/Chinese characters": conf(tokenize_chinese_chars=False) | library(True),
        "conflict/text not cleaned": library(True, clean_text=False),
        "conflict/special tokens": conf(cls_token="<s>", sep_token="</s>") | library(),
        "conflict/PreTrainedTokenizerFast takes tokenizer.json": conf(tokenizer_class="PreTrainedTokenizerFast", do_lower_case=True) | library(False),
        "conflict/vocab.txt differs from tokenizer.json": {"vocab.txt": txt.replace("the\n", "foo\nthe\n")} | library(),
        "added/normalized": library(added=[dict(content="NewYork", normalized=True), dict(content="Café", normalized=True)]),
        "added/single word": library(added=[dict(content="newyork", single_word=True), dict(content="c++", single_word=True)]),
        "added/white space": library(added=[dict(content="<e1>", lstrip=True, rstrip=True), dict(content="was", rstrip=True)]),
        "added/special and normalized": library(added=[dict(content="NewYork", special=True, normalized=True)]),
        "added/raw before normalized": library(added=[dict(content="New York", normalized=True), dict(content="York", normalized=False)]),
        "added/the longest": library(added=[dict(content="new", normalized=True), dict(content="newyork", normalized=True), dict(content="newyorks", normalized=False)]),
        "added/Chinese": library(added=[dict(content="漢字", normalized=True), dict(content="the漢", normalized=True)]),
        "added/begins with white space": library(added=[dict(content=" the", normalized=False), dict(content="<e1>", rstrip=True, normalized=False)]),
        "class/none": library(False),
        "class/Fast": conf(tokenizer_class="BertTokenizerFast", do_lower_case=False) | library(),
        "class/DistilBERT has no type ids": conf(tokenizer_class="DistilBertTokenizer"),
        "class/ELECTRA": conf(tokenizer_class="ElectraTokenizer"),
        "class/in config.json": library(False) | {"config.json": j({"model_type": "bert", "tokenizer_class": "PreTrainedTokenizerFast"})},
        "class/input names": conf(model_input_names=["input_ids", "attention_mask"]),
        "class/basic tokenization off": conf(do_basic_tokenize=False, never_split=["NewYork"]),
        "class/special tokens split": conf(split_special_tokens=True),
        "vocab.txt/byte-order mark": {"vocab.txt": "\ufeff" + txt},
        "vocab.txt/CRLF": {"vocab.txt": txt.replace("\n", "\r\n")},
        "vocab.txt/no line break at the end": {"vocab.txt": txt[:-1]},
        "vocab.txt/empty lines": {"vocab.txt": txt.replace("film\n", "film\n\n"), "added_tokens.json": j({"cov19x": n + 1})},
        "vocab.txt/white space after tokens": {"vocab.txt": txt.replace("film\n", "film \t\n")},
        "vocab.txt/equal tokens": {"vocab.txt": txt + "film\n"},
        "vocab.txt/no mask": {"vocab.txt": txt.replace("[MASK]\n", "")},
        "vocab.txt/a mask beyond it": conf(mask_token="<m>"),
    }
    pairs = {
        "byte pairs/bare": bpe,
        "byte pairs/prefix space": bconf(add_prefix_space=True),
        "byte pairs/prefix space against tokenizer.json": bconf(add_prefix_space=False) | library(bert=False, prefix=True),
        "byte pairs/tokenizer.json": library(bert=False),
        "byte pairs/mask with lstrip": bconf(mask_token=token("<mask>", lstrip=True) | {"__type": "AddedToken"}),
        "byte pairs/added tokens": bpe | {"added_tokens.json": j({"newyork": len(chars), "<e1>": len(chars) + 1})},
        "byte pairs/normalized and not": bconf(added_tokens_decoder={str(len(chars)): token("new", normalized=True, special=False), str(len(chars) + 1): token("newyork", normalized=False)}),
        "byte pairs/a vocab.txt beside them": bpe | {"vocab.txt": txt},
    }
    return {k: bert | v for k, v in wordpiece.items()} | {k: roberta | v for k, v in pairs.items()}


def goldens(target="directories.json.gz", named=named_directories, make=directory, seed=17, count=DIRECTORIES, packed=lambda files: files):
    rng = random.Random(seed)
    out = []
    for name, files in named().items():
        t = load(files)
        cases = []
        for i, a in enumerate(NAMED_TEXTS):
            b = NAMED_TEXTS[i - 1] if i % 5 == 4 else None
            ids, types, offsets = encode(t, a, b, 0)
            cases.append({"a": a, "sum": checksum(ids, types), "off": checksum(offsets), "ids": ids, "types": types} | ({"b": b} if b else {}))
        out.append({"name": name, "files": packed(files), "cases": cases})
    while sum(len(d["cases"]) == CASES for d in out) < count:
        files, tokens = make(rng)
        try:
            if flag(rng, 0.12):
                files = resaved(files)
            t = load(files)
        except Exception:  # transformers refuses it
            continue
        if chance(t):
            if sum(not d["cases"] for d in out) < 5:
                out.append({"files": packed(files), "cases": []})
            continue
        cases = []
        tokens = [x for x in tokens if x]
        texts = corpus(rng, tokens, CASES + 20)
        for a in texts:
            b = rng.choice(texts) if flag(rng, 0.3) else None
            length = rng.choice([0, 0, 0, 0, 6, 9, 15])
            try:
                ids, types, offsets = encode(t, a, b, length)
            except Exception as e:  # the vocabulary lacks the unknown token
                assert "Missing" in str(e), e
                continue
            case = {"a": a, "sum": checksum(ids, types), "off": checksum(offsets)}
            case |= ({"b": b} if b is not None else {}) | ({"max": length} if length else {})
            if len(cases) < SHOWN:
                case |= {"ids": ids, "types": types}
            cases.append(case)
            if len(cases) == CASES:
                break
        if len(cases) == CASES:
            out.append({"files": packed(files), "cases": cases})
    data = json.dumps(out, ensure_ascii=False, separators=(",", ":")).encode()
    with open(os.path.join(here, target), "wb") as f:
        with gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
            z.write(data)


def exports():
    rng = random.Random(5)
    wrong = 0
    for pair in json.load(sys.stdin):
        given, exported = (AutoTokenizer.from_pretrained(pair[k]) for k in ("given", "exported"))
        alone = Tokenizer.from_file(os.path.join(pair["exported"], "tokenizer.json"))
        alone.no_truncation()
        alone.no_padding()
        size = max(alone.get_vocab().values()) + 1
        for a in corpus(rng, list(given.get_added_vocab()), 40):
            b = rng.choice(PIECES)
            want, got = encode(given, a, b, 0), encode(exported, a, b, 0)
            e = alone.encode(a, b)
            # A token that the vocabulary lacks is none in tokenizer.json.
            if want != got or max(want[0]) < size and not given.split_special_tokens and list(want[:2]) != [e.ids, e.type_ids]:
                wrong += 1
                print(f"{pair['name']}: {a!r}, {b!r}\n given    {want[:2]}\n exported {got[:2]}\n alone    {e.ids, e.type_ids}")
                break
    sys.exit(wrong > 0)


if __name__ == "__main__":
    exports() if sys.argv[1:] == ["exports"] else goldens()
