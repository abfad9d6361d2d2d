"""Writes calibration.json: the limits that calibration is to choose.

    python quantize/testdata/goldens.py

The values are quantiles of distributions, so that the Go test can compute them as well. The percentile and the mean squared
error are taken over the values themselves, without a histogram. The entropy method is that of NVIDIA's pytorch-quantization
(calib/histogram.py, _compute_amax_entropy), after Migacz, GTC 2017. Needs numpy and scipy.
"""
import collections
import json
import pathlib

import numpy as np
from scipy.stats import entropy

N = 20000


def distributions():
    u = (np.arange(N) + 0.5) / N
    laplace = -np.log(1 - u)
    outliers = laplace.copy()
    outliers[-40:] *= 5
    half = np.where(u < 0.5, 0.0, laplace)  # as after ReLU
    return {"exponential": laplace, "outliers": outliers, "half zeros": half}


def mse(x):
    best = None
    for limit in x.max() * (np.arange(512) + 1) / 512:
        scale = limit / 127
        error = np.mean((x - scale * np.minimum(np.round(x / scale), 127)) ** 2)
        if best is None or error < best[0]:
            best = (error, limit)
    return best[1]


def divergence(x):
    top = 2.0 ** np.frexp(x.max())[1]
    bins, edges = np.histogram(x, bins=2048, range=(0, top))
    bins = bins.astype(float)
    bins[0] = bins[1]
    used = np.nonzero(bins)[0][-1] + 1
    found = []
    for i in range(128, used + 1):
        space = np.linspace(0, i, num=129)
        step = np.digitize(range(i), space) - 1
        step[bins[:i] == 0] = -1
        counts = np.zeros(128)
        for at, s in enumerate(step):
            if s != -1:
                counts[s] += bins[at]
        for s, n in collections.Counter(step).items():
            if s != -1:
                counts[s] /= n
        new = np.where(step != -1, counts[step], 0)
        reference = bins[:i].copy()
        reference[-1] += bins[i:].sum()
        found.append(entropy(reference, new))
    last = len(found) - 1 - np.argmin(found[::-1])
    return edges[last + 128]


out = {}
for name, x in distributions().items():
    out[name] = {
        "minmax": x.max(),
        "percentile": np.percentile(x, 99.99, method="inverted_cdf"),
        "entropy": divergence(x),
        "mse": mse(x),
    }
path = pathlib.Path(__file__).with_name("calibration.json")
path.write_text(json.dumps(out, indent=1) + "\n")
