"""Writes directories_gemma.json.gz: directories of the tokenizer of Gemma and mmBERT, byte-pair
encoding of characters with bytes for those that the vocabulary lacks, as directories.py
does for those of BERT and RoBERTa.

    pip install transformers==5.23.0 && python directories_gemma.py
"""
import json

import directories
from directories import flag
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>", "mask_token": "<mask>"}
WORDS = directories.WORDS + ["\u00e9t\u00e9", "na\u00efve", "\u4e2d\u6587", "\u0434\u043e\u043c", "    ", "\n\n", "\t"]


def vocabulary(rng, n, missing=(), merge_words=False):
    """A trained vocabulary and its merges, with bytes but for the missing ones."""
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.Replace(" ", "\u2581")
    if not merge_words:
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    t.train_from_iterator(directories.corpus(rng, WORDS, 60), trainers.BpeTrainer(vocab_size=n, initial_alphabet=["\u2581"], show_progress=False))
    model = json.loads(t.to_str())["model"]
    tokens = list(SPECIAL.values()) + [f"<0x{b:02X}>" for b in range(256) if b not in missing]
    tokens += [token for token, _ in sorted(model["vocab"].items(), key=lambda e: e[1]) if token not in tokens]
    return {token: i for i, token in enumerate(tokens)}, [tuple(m) for m in model["merges"]]


def gemma(rng, bos=True, eos=True, **kind):
    vocab, merges = vocabulary(rng, 260, **kind)
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Replace(" ", "\u2581")
    t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    t.add_special_tokens([AddedToken(s, lstrip=s == "<mask>", normalized=False) for s in SPECIAL.values()])
    frame(t, bos, eos)
    return t


def frame(t, bos, eos, typ=0):
    part = lambda text, typ: ["<bos>:%d" % typ] * bos + ["%s:%d" % (text, typ)] + ["<eos>:%d" % typ] * eos
    ids = [(name, t.token_to_id(name)) for name in ("<bos>", "<eos>")]
    t.post_processor = processors.TemplateProcessing(single=" ".join(part("$A", 0)), pair=" ".join(part("$A", 0) + part("$B", typ)), special_tokens=ids)


def named():
    rng = directories.random.Random(7)
    config, j = {"config.json": json.dumps({"model_type": "modernbert"})}, json.dumps
    bert = lambda d: d | {"config.json": json.dumps({"model_type": "bert"})}  # with ModernBERT the class does not count
    of = lambda t, **c: config | {"tokenizer.json": t.to_str()} | ({"tokenizer_config.json": j(c)} if c else {})
    old = json.loads(gemma(rng).to_str())  # merges as lines
    old["model"]["merges"] = [" ".join(m) for m in old["model"]["merges"]]
    return {
        "as mmBERT has it": of(gemma(rng), tokenizer_class="PreTrainedTokenizerFast", model_input_names=["input_ids", "attention_mask"],
                               clean_up_tokenization_spaces=False, model_max_length=8192, **SPECIAL),
        "as transformers 5 saves it": of(gemma(rng), tokenizer_class="TokenizersBackend", is_local=False, **SPECIAL),
        "Gemma's class and ModernBERT": of(gemma(rng, True, False), tokenizer_class="GemmaTokenizer", add_bos_token=True, add_eos_token=True, **SPECIAL),
        "Gemma's class": bert(of(gemma(rng, True, False), tokenizer_class="GemmaTokenizer", add_bos_token=True, add_eos_token=True, **SPECIAL)),
        "types": bert(of(gemma(rng), tokenizer_class="GemmaTokenizer", add_bos_token=True, add_eos_token=True, model_input_names=["input_ids", "token_type_ids"])),
        "Gemma's class, Fast": bert(of(gemma(rng), tokenizer_class="GemmaTokenizerFast", clean_up_tokenization_spaces=True, **SPECIAL)),
        "Gemma's class without names": bert(of(gemma(rng), tokenizer_class="GemmaTokenizer")),
        "Gemma's class, no end": bert(of(gemma(rng), tokenizer_class="GemmaTokenizer", add_bos_token=True, add_eos_token=False, **SPECIAL)),
        "merges as lines": config | {"tokenizer.json": j(old), "tokenizer_config.json": j({"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL})},
        "no tokenizer_config.json": of(gemma(rng)),
        "tokens across words": of(gemma(rng, merge_words=True), tokenizer_class="TokenizersBackend", **SPECIAL),
        "some bytes missing": of(gemma(rng, missing=range(0xe0, 0xf0)), tokenizer_class="TokenizersBackend", **SPECIAL),
    }


def make(rng):
    missing = rng.choice([(), (), range(256), range(0xc0, 0xd4), [0xe2, 0x9f]])
    vocab, merges = vocabulary(rng, rng.randrange(60, 300), missing, flag(rng, 0.3))
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=flag(rng, 0.7), byte_fallback=flag(rng, 0.8)))
    some = [normalizers.Replace(" ", "\u2581")] if flag(rng, 0.9) else []
    some = rng.choice([[], [], [normalizers.NFC()], [normalizers.NFKC()], [normalizers.Lowercase()]]) + some
    if some:
        t.normalizer = some[0] if len(some) == 1 else normalizers.Sequence(some)
    if flag(rng, 0.8):
        t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    markers = rng.sample(directories.MARKERS, rng.randrange(0, 5))
    t.add_special_tokens([AddedToken(s, lstrip=s == "<mask>", normalized=False) for s in SPECIAL.values()])
    for s in ("\n\n", "   ", "</b>"):
        if flag(rng, 0.4):
            t.add_tokens([AddedToken(s, normalized=flag(rng, 0.3), special=False)])
    if markers:
        t.add_special_tokens([AddedToken(m, lstrip=flag(rng), rstrip=flag(rng)) for m in markers])
    frame(t, flag(rng, 0.9), flag(rng, 0.9), int(flag(rng)))
    files = {"config.json": json.dumps({"model_type": rng.choice(["modernbert", "bert"])}), "tokenizer.json": t.to_str()}
    if flag(rng, 0.9):
        c = {"tokenizer_class": rng.choice(["PreTrainedTokenizerFast", "TokenizersBackend", "GemmaTokenizer", "GemmaTokenizerFast"])}
        if flag(rng, 0.8):
            c |= SPECIAL
        if flag(rng, 0.5):
            c |= {f"add_{s}_token": flag(rng, 0.8) for s in ("bos", "eos") if flag(rng, 0.5)}
        if flag(rng, 0.5):
            c["model_input_names"] = ["input_ids", "attention_mask"]
        files["tokenizer_config.json"] = json.dumps(c)
    texts = ["\u2581the\u2581room", "\u20ac 5", "\U0001f600\U0001f44d\u200d", "a  b   c", "\u0000x", "<0x41>", "caf\u00e9 \u4e2d\u6587", " lead", "trail ", "\n\n\n"]
    return files, markers + list(SPECIAL.values()) + texts


if __name__ == "__main__":
    directories.goldens("directories_gemma.json.gz", named, make, 31, 60)
