"""Writes directories_modernbert.json.gz: directories of ModernBERT's tokenizer, byte-level
pairs with a normalizer before them, as directories.py does for those of BERT and RoBERTa.

    pip install transformers==5.23.0 && python directories_modernbert.py
"""
import json

import directories
from directories import flag
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = directories.BERT
SPACES = [" " * n for n in range(2, 9)]


def pairs(rng, n=330):
    """A trained model, whose special tokens come after its vocabulary."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(directories.corpus(rng, directories.WORDS, 60), trainers.BpeTrainer(
        vocab_size=n, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return t


def frame(t, pair):
    ids = {name: t.token_to_id(name) for name in ("[CLS]", "[SEP]")}
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair=pair, special_tokens=list(ids.items()))


def modernbert(rng, normalizer=normalizers.NFC()):
    """As answerdotai/ModernBERT-base has it, with a small vocabulary."""
    t = pairs(rng)
    t.normalizer = normalizer
    t.add_special_tokens(["|||IP_ADDRESS|||", "<|padding|>"])
    t.add_tokens([AddedToken(s, normalized=True, special=False) for s in SPACES])
    t.add_tokens([AddedToken("|||EMAIL_ADDRESS|||", normalized=True, special=False), AddedToken("|||PHONE_NUMBER|||", normalized=True, special=False)])
    t.add_special_tokens(["<|endoftext|>", "[UNK]", "[CLS]", "[SEP]", "[PAD]", AddedToken("[MASK]", lstrip=True, normalized=False, special=True)])
    t.add_tokens([AddedToken(f"[unused{i}]", normalized=True, special=False) for i in range(4)])
    frame(t, "[CLS] $A [SEP] $B:1 [SEP]:1")
    return t


def named():
    rng = directories.random.Random(5)
    config, j = {"config.json": json.dumps({"model_type": "modernbert"})}, json.dumps
    of = lambda t, **c: config | {"tokenizer.json": t.to_str()} | ({"tokenizer_config.json": j(c)} if c else {})
    decoder = {str(i): {"content": a.content, "single_word": a.single_word, "lstrip": a.lstrip, "rstrip": a.rstrip, "normalized": a.normalized, "special": a.special}
               for i, a in modernbert(rng).get_added_tokens_decoder().items()}
    rng = directories.random.Random(5)
    return {
        "as ModernBERT-base has it": of(modernbert(rng), tokenizer_class="PreTrainedTokenizerFast", model_input_names=["input_ids", "attention_mask"],
                                        added_tokens_decoder=decoder, clean_up_tokenization_spaces=True, model_max_length=8192, **SPECIAL),
        "as transformers 5 saves it": of(modernbert(rng), tokenizer_class="TokenizersBackend", is_local=False, **SPECIAL),
        "no tokenizer_config.json": of(modernbert(rng)),
        "without a class": of(modernbert(rng), **SPECIAL),
        "lower case": of(modernbert(rng, normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])), tokenizer_class="PreTrainedTokenizerFast", **SPECIAL),
        "NFKD and no accents": of(modernbert(rng, normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents()])), tokenizer_class="PreTrainedTokenizerFast", **SPECIAL),
    }


def make(rng):
    t = pairs(rng, rng.randrange(270, 380))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=flag(rng, 0.3))
    kinds = [normalizers.NFC, normalizers.NFC, normalizers.NFC, normalizers.NFKC, normalizers.NFKD, normalizers.NFD, normalizers.Lowercase, normalizers.StripAccents,
             lambda: normalizers.Strip(left=flag(rng), right=flag(rng)), lambda: normalizers.Replace("the", rng.choice(["d\u00e9", "ab ab"])),
             lambda: normalizers.Replace(Regex(" {2,}"), " ")]
    some = [rng.choice(kinds)() for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    t.normalizer = some[0] if len(some) == 1 and flag(rng) else normalizers.Sequence(some)
    markers = rng.sample(directories.MARKERS, rng.randrange(0, 7))
    for s in SPACES:
        if flag(rng):
            t.add_tokens([AddedToken(s, normalized=flag(rng, 0.7), special=False)])
    for token in SPECIAL.values():
        t.add_special_tokens([AddedToken(token, lstrip=token == "[MASK]")])
    directories.library_file(rng, t, SPECIAL, markers)
    files = {"config.json": json.dumps({"model_type": "modernbert"}), "tokenizer.json": t.to_str()}
    if flag(rng, 0.8):
        c = directories.configuration(rng, SPECIAL, markers, t.get_vocab_size(), True, rng.choice(["PreTrainedTokenizerFast", "TokenizersBackend"]))
        for key in ("add_bos_token", "split_special_tokens"):
            c.pop(key, None)
        files["tokenizer_config.json"] = json.dumps(c)
    return files, markers + list(SPECIAL.values()) + ["e\u0301", "A\u030a", "\u1100\u1161\u11a8", "\u0344", "\u212b", "   ", "     "]


if __name__ == "__main__":
    directories.goldens("directories_modernbert.json.gz", named, make, 29, 50)
