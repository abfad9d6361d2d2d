"""Writes goldens.json.gz (small WordPiece vocabularies, settings of every kind),
goldens_bert.json.gz (the vocabularies of bert-base-uncased and -cased),
goldens_bpe.json.gz (small byte-level BPE vocabularies) and
goldens_roberta.json.gz (that of roberta-base): token ids, type ids and character
offsets of Hugging Face's tokenizers over a corpus of nasty texts.

    pip install tokenizers && python goldens.py DIRECTORY-OF-VOCABULARIES

The directory holds bert-base-uncased/vocab.txt, bert-base-cased/vocab.txt and
roberta-base/tokenizer.json.gz.
"""
import gzip
import json
import os
import random
import sys
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

here = os.path.dirname(os.path.abspath(__file__))
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

TEXTS = [
    "", " ", "\n", "a", "A", "Hello, World!", "unaffable", "The quick brown fox.", "don't stop-me now...",
    "Déjà vu à l'Élysée, naïve café", "e\u0301 e\u0301\u0323 a\u030a", "\u0301 \u0301a", "Ångström ﬁ ﬀ ǅ ẞ ß İ ı i̇",
    "ΑΣΟΣ ὈΔΥΣΣΕΎΣ ς", "ЁЖИК ёжик й Й", "हिन्दी में", "ภาษาไทย กำ", "한국어 텍스트 각", "日本語のテキストカタカナ が", "漢字kanji漢字",
    "𠀀𪜀𫝀𫠠𬺰豈", "a\u00a0b\u3000c\u2003d\u2028e\u2029f\u1680g\u202fh\u205fi", "line\r\nbreak\rand\ttab\x0bvt\x0cff\x85nel",
    "zero\u200bwidth\u200djoin\u200cer\ufeffbom\u2060wj\u00adshy", "nul\x00in\x00side", "\x00", "\x01\x02\x7f\x80\x9f",
    "👨‍👩‍👧‍👦 family 🏳️‍🌈 👍🏽 🤣 🇩🇪", "\ufffd replaced \ufffd", "\ue000 private \U000f0000", "\u0378 unassigned \U0001fbff",
    "x" * 100, "x" * 101, "é" * 100, "é" * 101, "the" + "y" * 300 + " end", "a\u0301" * 100, "a\u0301" * 101, "가" * 40,
    "[CLS]", "[SEP] a [MASK] b", "x[MASK]y", "[mask] [Cls] [UNK][PAD]", "[[SEP]]", "[CLS", "é[SEP]é [MASK]", "  [MASK]  [MASK] ",
    "##ing", "a##b # #", "price: $5.99 (50% off) ~ `x` ^ | <y> = + @", "¿qué? ¡sí! «oui» „ja“ ‚nein‘ – — … ‽ ⁇ ※ ॥ 。、・", "½ ² ³ ① Ⅳ 五 ٣",
    "x²+y³≠∞ √2 ∑ ← → ★ ♥ € £ ¥ ©", "A\u0328\u0301 \u1eac ậ Ậ", "\u1fef \u212b \u2126 \u037e \u0387", "\U0001d165 \u302e \U00016ff0 a\u302eb",
    "ＦＵＬＬｗｉｄｔｈ ！？", "\u180e \u061c \u2066x\u2069", "mixed\u00e9\u0000\u200b\u0301case", "'s 're 'LL", "tail \u0301", "i\u0307 I\u0307",
    "\u0600\u06dd \u070f \u08e2 \U000110bd", "\u166d \u1735 \u2e52 \U0001144b", "\u00b4 \u0384 \u1fc1 \u3099 か\u3099", "ᾳ ᾼ ﷺ ㎏ ﬃ", "\u1e9b\u0323",
]
POOL = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789     .,!?'\"-#[]()") + [
    "é", "È", "ñ", "Ü", "ß", "İ", "ǰ", "\u0301", "\u0323", "\u030a", "漢", "字", "日", "豈", "가", "각", "\u00a0", "\u3000", "\u2028", "\r\n",
    "\t", "\x00", "\u200b", "\u200d", "\ufeff", "\ufffd", "😀", "👍🏽", "🇩🇪", "Σ", "ς", "Ж", "й", "ा", "ก", "ำ", "—", "…", "«", "।", "\u0378", "\ue000",
    "[SEP]", "[MASK]", "[CLS]", "[UNK]", "the", "ing", " was ", "not ", "##", "un", "\x85", "\x0b", "²", "½", "Å", "ﬁ", "ậ", "\u302e",
]


def corpus(rng, n):
    out = list(TEXTS)
    for _ in range(n):
        out.append("".join(rng.choice(POOL) for _ in range(rng.choice([1, 3, 8, 20, 40]))))
    for _ in range(n // 4):  # any code point at all
        cs = [rng.randrange(0x20, rng.choice([0x250, 0x3000, 0x11000, 0x20000, 0x110000])) for _ in range(12)]
        out.append("".join(chr(c) for c in cs if not 0xD800 <= c < 0xE000))
    return out


def small_vocab(texts, lower, rng):
    norm = normalizers.BertNormalizer(strip_accents=lower, lowercase=lower)
    pre = pre_tokenizers.BertPreTokenizer()
    words, chars = {}, {}
    for t in texts:
        for w, _ in pre.pre_tokenize_str(norm.normalize_str(t)):
            if len(w) <= 100:
                words[w] = 1
                for i, c in enumerate(w):
                    chars[("##" if i else "") + c] = 1
    pieces = {w[i:j] if i == 0 else "##" + w[i:j]: 1 for w in words for i in (0, 1, 3) for j in (i + 2, i + 3) if len(w) >= j}
    keep = [t for t in chars if rng.random() < 0.8] + rng.sample(sorted(pieces), min(len(pieces), 700))
    keep += ["the", "##ing", "not", "was", "hello", "world", "un", "##aff", "##able"]
    return SPECIAL + sorted(set(keep))


def build(vocab, normalizer, post, added=()):
    ids = {t: i for i, t in enumerate(vocab)}
    t = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    t.add_special_tokens(SPECIAL)
    for a in added:
        t.add_special_tokens([a])
    t.normalizer = normalizers.BertNormalizer(**normalizer)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    cls, sep = ids["[CLS]"], ids["[SEP]"]
    if post == "bert":
        t.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    elif post == "roberta-like":
        t.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP] $B:0 [SEP]:0", special_tokens=[("[CLS]", cls), ("[SEP]", sep)])
    else:
        t.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)])
    return t


def cases(t, texts, rng, pairs):
    out = []

    def one(a, b, n):
        t.no_truncation()
        if n:
            t.enable_truncation(n, strategy="longest_first")
        e = t.encode(a) if b is None else t.encode(a, b)
        out.append({"a": a, "b": b, "max": n, "ids": e.ids, "types": e.type_ids,
                    "offsets": [x for o in e.offsets for x in o]})

    for a in texts:
        one(a, None, rng.choice([0, 0, 3, 5, 8, 16]))
    for _ in range(pairs):
        one(rng.choice(texts), rng.choice(texts), rng.choice([0, 4, 5, 6, 7, 8, 9, 12, 16, 25]))
    # Every split of a short maximum over texts of unlike lengths.
    for la in range(0, 9, 2):
        for lb in range(0, 9):
            for n in range(4, 16, 3):
                one(" ".join("abcdefgh"[:la]), " ".join("hgfedcba"[:lb]), n)
    return out


def write(name, value):
    with open(os.path.join(here, name), "wb") as f:
        with gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
            z.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def main():
    rng = random.Random(7)
    texts = corpus(rng, 160)
    uncased, cased = small_vocab(texts, True, rng), small_vocab(texts, False, rng)
    bert = dict(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
    kinds = [
        ("uncased", uncased, bert, "template", ()),
        ("cased", cased, bert | dict(lowercase=False), "bert", ()),
        ("lowercase, accents kept", cased, bert | dict(strip_accents=False), "template", ()),
        ("cased, accents stripped", cased, bert | dict(strip_accents=True, lowercase=False), "template", ()),
        ("text not cleaned", uncased, bert | dict(clean_text=False), "template", ()),
        ("Chinese not split", uncased, bert | dict(handle_chinese_chars=False), "template", ()),
        ("type ids all 0", uncased, bert, "roberta-like", ()),
        ("added tokens", uncased, bert, "template",
         (AddedToken("<left>", lstrip=True), AddedToken("<right>", rstrip=True), AddedToken("[MASK]ed", lstrip=True, rstrip=True))),
    ]
    extra = ["a <left> b  <left><right>  c<right>", " <right> <left> ", "[MASK]ed x [MASK] ed  [MASK]ed  y", "<left", "é <left>\u00a0<right>\u3000z"]
    out = []
    for name, vocab, norm, post, added in kinds:
        t = build(vocab, norm, post, added)
        some = texts + extra if added else texts
        c = cases(t, some, rng, 120)
        t.no_truncation()
        out.append({"name": name, "tokenizer": t.to_str(), "cases": c})
    write("goldens.json.gz", out)

    out = []
    for name, lower in ("bert-base-uncased", True), ("bert-base-cased", False):
        vocab = open(os.path.join(sys.argv[1], name, "vocab.txt"), encoding="utf-8").read().split("\n")[:-1]
        t = build(vocab, bert | dict(lowercase=lower), "bert")
        out.append({"name": name, "tokenizer": "", "cases": cases(t, corpus(rng, 800), rng, 500)})
    write("goldens_bert.json.gz", out)

    byte_pair()


BPE_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
BPE_TEXTS = [
    "I'm you're he's we'll I'd they've can't IT'S 'S 's's 't", "a  b   c \n d\n\ne\t\tf  ", "   ", " \n ", "\n", "  x", "x  ", "1a2b33c ½² Ⅳ٣४ a1",
    "<mask>", "a <mask> b", "a  <mask>  b<mask>", "<s>x</s> y<pad><unk>", "<Mask> <mask", "don''t", "''", "' s", "!'s ?'re _'ve", "\u00a0\u00a0a", "a\u3000 b",
    "ha" * 30, "aaaaaaaa" * 30, "1234567890" * 9, "!?" * 50, "x" * 41, "x" * 40, "e" * 31, "the " * 8, "漢字" * 30, "\u0301a \u0301", "\x1c\x1d\x1e\x1f \x85\x85x", "\u180e\u200b\ufeff",
]
BPE_POOL = POOL + ["'s", "'ll", " '", "  ", "\n", " \n ", "<mask>", " <mask> ", "</s>", "<s>", "12", "3", "ing", " the", "\u0967", "ª"]


def bpe_corpus(rng, n):
    out = BPE_TEXTS + corpus(rng, n // 2)
    for _ in range(n):
        out.append("".join(rng.choice(BPE_POOL) for _ in range(rng.choice([1, 3, 8, 20, 40]))))
    return out


def byte_pair():
    rng = random.Random(11)
    texts = bpe_corpus(rng, 120)
    out = []
    for name, prefix, trim, post, drop, added in [
        ("byte pairs", False, True, "roberta", "", ()),
        ("a space in front", True, True, "roberta", "", ()),
        ("a space in front, offsets not trimmed", True, False, "roberta", "", ()),
        ("offsets not trimmed", False, False, "roberta", "", ()),
        ("unknown bytes", False, True, "roberta", "qé漢", ()),
        ("template", True, True, "template", "", ()),
        ("added tokens", False, True, "roberta", "", (AddedToken("<left>", lstrip=True), AddedToken("<right>", rstrip=True), AddedToken(" <in> ", normalized=True))),
    ]:
        t = Tokenizer(models.BPE())
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        t.train_from_iterator(texts, trainers.BpeTrainer(
            vocab_size=700, special_tokens=BPE_SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
        if drop:
            j = json.loads(t.to_str())
            gone = set("".join(piece for piece, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(drop)))
            vocab = [v for v in j["model"]["vocab"] if v in BPE_SPECIAL or not gone & set(v)]
            j["model"]["vocab"] = {v: i for i, v in enumerate(vocab)}
            j["model"]["merges"] = [m for m in j["model"]["merges"] if not gone & set("".join(m))]
            j["model"]["unk_token"] = "<unk>"
            t = Tokenizer.from_str(json.dumps(j))
        t.add_special_tokens([AddedToken("<mask>", lstrip=True)])
        for a in added:
            t.add_tokens([a])
        if post == "roberta":
            t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=trim, add_prefix_space=prefix)
        else:
            t.post_processor = processors.TemplateProcessing(
                single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)])
        extra = ["a <left> b  <left><right>  c<right>", " <right> <left> ", "x <in> y", " <in>  <in> "]
        c = cases(t, texts + extra if added else texts, rng, 60)
        t.no_truncation()
        out.append({"name": name, "tokenizer": t.to_str(), "cases": c})
    write("goldens_bpe.json.gz", out)

    text = gzip.open(os.path.join(sys.argv[1], "roberta-base", "tokenizer.json.gz")).read().decode()
    t = Tokenizer.from_str(text)
    t.no_padding()
    write("goldens_roberta.json.gz", [{"name": "roberta-base", "tokenizer": "", "cases": cases(t, bpe_corpus(rng, 500), rng, 300)}])


main()
