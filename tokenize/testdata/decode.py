"""Writes decode.json.gz: what decode of transformers makes of random token ids, for some of the
directories of directories.json.gz, unigram.json.gz and directories_gemma.json.gz, and what
the library makes of them with the decoders that a tokenizer.json may have.

    pip install transformers==5.23.0 protobuf && python decode.py
"""
import base64
import gzip
import json
import os
import random
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
from tokenizers import Tokenizer, decoders
from transformers import AutoTokenizer
from transformers.utils import sentencepiece_model_pb2_new as pb

here = os.path.dirname(os.path.abspath(__file__))


def read(name):
    return json.load(gzip.open(os.path.join(here, name + ".json.gz")))


MODELS = {n: gzip.open(os.path.join(here, f"spm_{n}.model.gz")).read() for n in ("nfkc", "lower", "plain")}


def write_files(files, path):
    for name, text in files.items():
        content = text.encode()
        if text.startswith("@"):
            content = MODELS[text[1:]]
        for model, file in MODELS.items():
            table = pb.ModelProto.FromString(file).normalizer_spec.precompiled_charsmap
            content = content.replace(b"{{" + model.encode() + b"}}", base64.b64encode(table))
        with open(os.path.join(path, name), "wb") as f:
            f.write(content)


def random_ids(rng, size):
    n = rng.choice([0, 1, 2, 5, 9, 20])
    return [rng.randrange(size + (2 if rng.random() < 0.05 else 0)) for _ in range(n)]


def main():
    rng = random.Random(23)
    out = []
    for name in ("directories", "unigram", "directories_gemma"):
        for number, d in enumerate(read(name)):
            if number % 5:
                continue
            with tempfile.TemporaryDirectory() as path:
                write_files(d["files"] if "files" in d else d["Files"], path)
                try:
                    t = AutoTokenizer.from_pretrained(path)
                except Exception:
                    continue
                entry = {"list": name, "number": number, "cases": []}
                for i in range(12):
                    ids = random_ids(rng, len(t))
                    if i < 4:
                        ids = t("The café wasn't new , the house 's ! 漢字 don't").input_ids
                        ids = ids[: len(ids) - i]
                    skip = i % 2 == 1
                    entry["cases"].append({"ids": ids, "skip": skip, "text": t.decode(ids, skip_special_tokens=skip)})
                out.append(entry)
    for name in ("goldens", "goldens_bpe"):
        for number, g in enumerate(read(name)):
            t = Tokenizer.from_str(g["tokenizer"])
            for decoder in (None, decoders.WordPiece(), decoders.WordPiece(prefix="#", cleanup=False), decoders.ByteLevel(), decoders.Metaspace(),
                            decoders.Metaspace(replacement="a", prepend_scheme="never"),
                            decoders.Sequence([decoders.Replace("e", "\u00e9"), decoders.ByteFallback(), decoders.Fuse()])):
                j = json.loads(g["tokenizer"])
                j["decoder"] = decoder and json.loads(decoder.__getstate__())
                t = Tokenizer.from_str(json.dumps(j))
                entry = {"list": name, "number": number, "decoder": j["decoder"], "cases": []}
                for i in range(6):
                    ids = random_ids(rng, t.get_vocab_size())
                    skip = i % 2 == 1
                    entry["cases"].append({"ids": ids, "skip": skip, "text": t.decode(ids, skip_special_tokens=skip)})
                out.append(entry)
    with open(os.path.join(here, "decode.json.gz"), "wb") as f:
        with gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
            z.write(json.dumps(out, ensure_ascii=False, separators=(",", ":")).encode())


main()
