"""Writes labels.json: what transformers reads from the labels of a config.json.

    pip install transformers==5.23.0
    python labels.py

Each entry has the labels' keys of a config.json and either the names of the
classes in order, null for a class without one, or null where transformers
refuses to load it.
"""

import json
import logging
import pathlib

from transformers import BertConfig

logging.disable(logging.WARNING)

CASES = [
    {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}},
    {"id2label": {"0": 0, "1": 1, "2": 2}, "label2id": {"0": 0, "1": 1, "2": 2}},
    {"id2label": {"0": 1, "1": 2.5, "2": -3}},
    {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": "0", "b": "1", "c": "2"}},
    {"id2label": {"0": "a", "1": "b"}, "label2id": {"x": "q"}},
    {"id2label": {"0": "a", "1": "b"}, "label2id": ["a", "b"]},
    {"id2label": {"0": "a", "1": "b"}, "label2id": None},
    {"id2label": {"0": "a", "1": "a", "2": "b"}},
    {"id2label": {"0": "a", "2": "c"}},
    {"id2label": {"1": "1 star", "2": "2 stars", "3": "3 stars"}},
    {"id2label": {"-1": "none", "0": "a"}},
    {"id2label": {"0": None, "1": "b"}},
    {"id2label": {"0": True, "1": False}},
    {"id2label": {" 0": "a", "01": "b"}},
    {"id2label": {"1": "b", "0": "a"}},
    {"id2label": None, "label2id": None},
    {"id2label": None, "num_labels": 3},
    {"id2label": {}, "num_labels": 3},
    {"id2label": {"0": "a", "1": "b"}, "num_labels": 2},
    {"id2label": {"0": "a", "1": "b"}, "num_labels": 3},
    {"id2label": {"0": "a", "1": "b", "2": "c"}, "num_labels": 2},
    {"num_labels": 4},
    {"num_labels": 1},
    {"id2label": {"0": "zwölf", "1": "日本", "2": "a\tb"}},
    {"id2label": ["a", "b"]},
    {"id2label": "a"},
    {"id2label": {"LABEL_0": "a"}},
    {"id2label": {"0.0": "a"}},
    {"num_labels": "3"},
    {"num_labels": 1, "problem_type": "single_label_classification"},
    {"id2label": {"0": "a"}, "problem_type": "single_label_classification"},
]


def text(name):
    if name is None or isinstance(name, str):
        return name
    return json.dumps(name)


def labels(case):
    try:
        config = BertConfig.from_dict(case)
    except Exception:
        return None
    return [text(config.id2label.get(i)) for i in range(config.num_labels)]


path = pathlib.Path(__file__).with_name("labels.json")
out = [json.dumps({"config": c, "labels": labels(c)}, ensure_ascii=False) for c in CASES]
path.write_text("[\n" + ",\n".join(out) + "\n]\n", encoding="utf-8")
