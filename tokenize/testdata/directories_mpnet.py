"""Writes directories_mpnet.json.gz: directories of MPNet's tokenizer, as directories.py
does for those of BERT and RoBERTa.

    pip install transformers==5.23.0 && python directories_mpnet.py
"""
import json

import directories
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

MPNET = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "[UNK]", "sep_token": "</s>", "pad_token": "<pad>", "cls_token": "<s>", "mask_token": "<mask>"}
VOCAB = ["<s>", "<pad>", "</s>", "<unk>"] + directories.VOCAB[:1] + ["[UNK]"] + [t for t in directories.VOCAB[5:] if t not in MPNET.values() and t != "<unk>"] + ["<mask>"]


def named():
    text, j = "\n".join(VOCAB) + "\n", json.dumps
    config = {"config.json": j({"model_type": "mpnet"})}
    with_config = lambda **c: config | {"vocab.txt": text, "tokenizer_config.json": j({"tokenizer_class": "MPNetTokenizer"} | c)}

    def library(**norm):
        t = Tokenizer(models.WordPiece({v: i for i, v in enumerate(VOCAB)}, unk_token="[UNK]"))
        t.normalizer = normalizers.BertNormalizer(**norm)
        t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        t.add_special_tokens(["<s>", "<pad>", "</s>", AddedToken("<unk>", normalized=True), AddedToken("<mask>", lstrip=True)])
        t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
        return {"tokenizer.json": t.to_str()}

    token = directories.token
    return {
        "vocab.txt alone": config | {"vocab.txt": text},
        "vocab.txt, cased": with_config(do_lower_case=False),
        "mask as a string": with_config(mask_token="<mask>"),
        "mask as an object": with_config(mask_token={"__type": "AddedToken"} | token("<mask>")),
        "mask in the map": with_config() | {"special_tokens_map.json": j({"mask_token": "<mask>"})},
        "mask in the map as an object": with_config() | {"special_tokens_map.json": j({"mask_token": token("<mask>", normalized=True)})},
        "as all-mpnet-base-v2 has it": with_config(do_lower_case=True, strip_accents=None, tokenize_chinese_chars=True, added_tokens_decoder={
            "0": token("<s>"), "1": token("<pad>"), "2": token("</s>"), "3": token("<unk>", normalized=True), str(len(VOCAB) - 1): token("<mask>", lstrip=True)}) | library(),
        "tokenizer.json without a class": config | library(lowercase=False) | {"tokenizer_config.json": j({"do_lower_case": True})},
        "tokenizer.json as it is": config | library(lowercase=False) | {"tokenizer_config.json": j({"tokenizer_class": "PreTrainedTokenizerFast"})},
    }


def make(rng):
    while True:
        files, tokens = directories.directory(rng)
        if json.loads(files["config.json"])["model_type"] != "roberta":
            break
    for name in ("config.json", "tokenizer_config.json"):
        text = files.get(name, "{}")
        for kind in ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"):
            text = text.replace(f'"{kind}', '"MPNetTokenizer')
        if name in files:
            files[name] = text
    files["config.json"] = json.dumps(json.loads(files["config.json"]) | {"model_type": "mpnet"})
    return files, tokens


if __name__ == "__main__":
    directories.BERT = MPNET
    directories.goldens("directories_mpnet.json.gz", named, make, 23, 60)
