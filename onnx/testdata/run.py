"""Runs ONNX files and tokenizers for the tests, and prints what comes out as JSON.

    run.py CASES.json

Of each case: "model" is checked, run on each of "batches" (inputs by name), with "operators" those are counted that ONNX
Runtime runs, and with "optimize" it is put through ONNX Runtime's transformer optimizer and run again; "tokenizer" encodes "texts", each a text or a pair.
Needs the packages of .ci/requirements.txt.
"""

import collections
import json
import logging
import sys

import numpy as np
import onnx
import onnxruntime
import tokenizers


def run(model, batches, optimized=None):
    options = onnxruntime.SessionOptions()
    if optimized:
        options.optimized_model_filepath = optimized
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    outputs = []
    for batch in batches:
        (y,) = session.run(None, {k: np.array(v, np.int64) for k, v in batch.items()})
        assert y.dtype == np.float32, y.dtype
        outputs.append({"shape": y.shape, "values": [float(v) for v in y.ravel()]})
    return session, outputs


def optimized(path):
    logging.disable(logging.WARNING)
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    fused = optimizer.optimize_model(path, "bert", num_heads=0, hidden_size=0, opt_level=0, optimization_options=FusionOptions("bert"))
    return fused, fused.get_fused_operator_statistics()


def case(c):
    result = {}
    if "model" in c:
        onnx.checker.check_model(c["model"], full_check=True)
        runs = c["model"] + ".run" if c.get("operators") else None
        session, result["outputs"] = run(c["model"], c["batches"], runs)
        if runs:
            result["operators"] = collections.Counter(n.op_type for n in onnx.load(runs).graph.node)
        result["inputs"] = [i.name for i in session.get_inputs()]
        result["output"] = session.get_outputs()[0].name
        meta = session.get_modelmeta()
        result["metadata"] = dict(meta.custom_metadata_map, producer=meta.producer_name)
        if c.get("optimize"):
            fused, result["fused"] = optimized(c["model"])
            path = c["model"] + ".fused"
            fused.save_model_to_file(path)
            result["fused_outputs"] = run(path, c["batches"])[1]
    if "tokenizer" in c:
        tokenizer = tokenizers.Tokenizer.from_file(c["tokenizer"])
        encoded = [tokenizer.encode(*t) for t in c["texts"]]
        result["ids"] = [e.ids for e in encoded]
        result["type_ids"] = [e.type_ids for e in encoded]
    return result


with open(sys.argv[1]) as f:
    print(json.dumps([case(c) for c in json.load(f)]))
