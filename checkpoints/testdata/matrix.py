"""Lets stock transformers load the directories that Skive exports, and save them again in every format that it or
PyTorch writes: matrix/MODEL/FORMAT, for TestMatrix, with the logits in matrix.json.

    python matrix.py [FAMILY...]         (with go on the path)
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file

HERE = pathlib.Path(__file__).parent
IDS = [2, 5, 7, 19, 11, 3]
ALL = {"f32", "f16", "bf16"}


def load(path):
    """The model as transformers loads it, every tensor with the bits of the file."""
    name = json.loads((path / "config.json").read_text())["architectures"][0]
    model, info = getattr(transformers, name).from_pretrained(path, dtype="auto", output_loading_info=True)
    assert not any(info.values()), (path.name, info)
    state, tensors = model.state_dict(), load_file(path / "model.safetensors")
    if not tensors.keys() <= state.keys():  # classes whose files have other names
        with tempfile.TemporaryDirectory() as again:
            model.save_pretrained(again)
            state = load_file(pathlib.Path(again) / "model.safetensors")
    for name, tensor in tensors.items():
        assert state[name].dtype == tensor.dtype and torch.equal(state[name], tensor), (path.name, name)
    return model.eval()


def logits(model):
    ids = torch.tensor([IDS])
    if "MultipleChoice" in type(model).__name__:
        ids = ids[None]
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.flatten().tolist()


def save(model, path, form):
    path.mkdir(parents=True)
    if form == "safetensors":
        model.save_pretrained(path)
    elif form == "sharded":
        model.save_pretrained(path, max_shard_size="2KB")
        assert (path / "model.safetensors.index.json").exists()
    else:
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(path)
        torch.save(model.state_dict(), path / "pytorch_model.bin", _use_new_zipfile_serialization=form == "zip")
    for extra in ("README.md", ".gitattributes", "generation_config.json"):
        (path / extra).unlink(missing_ok=True)


goldens = {}
if sys.argv[1:]:
    goldens = json.loads((HERE / "matrix.json").read_text())["models"]
else:
    shutil.rmtree(HERE / "matrix", ignore_errors=True)
with tempfile.TemporaryDirectory() as directory:
    subprocess.run(["go", "test", "-count=1", "-run", "^TestMatrix$", "."], cwd=HERE.parent, check=True, env=os.environ | {"SKIVE_MATRIX": directory})
    for path in sorted(pathlib.Path(directory).iterdir()):
        if sys.argv[1:] and path.name.rsplit("-", 1)[0] not in sys.argv[1:]:
            continue
        shutil.rmtree(HERE / "matrix" / path.name, ignore_errors=True)
        model = load(path)
        for form in ("safetensors", "sharded", "zip", "legacy") if path.name.rsplit("-", 1)[-1] in ALL else ("safetensors",):
            save(model, HERE / "matrix" / path.name / form, form)
        sums = [hashlib.sha256((path / f).read_bytes()).hexdigest() for f in ("config.json", "model.safetensors")]
        goldens[path.name] = {"sha256": sums, "logits": logits(model.float())}
        print(path.name, "loaded, saved again")
(HERE / "matrix.json").write_text(json.dumps({"transformers": transformers.__version__, "ids": IDS, "models": goldens}, indent=1) + "\n")
