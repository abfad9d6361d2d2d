"""Writes metrics.json: scikit-learn's metrics of random predictions, and
Wilson's interval by statsmodels' formula in exact steps.

    pip install scikit-learn && python goldens.py
"""
import json
import os
import random
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

rng = random.Random(3)
out = []
for classes, n, skill in [(2, 1, 0), (2, 10, 0.5), (2, 57, 0.9), (2, 400, 0.2), (3, 90, 0.6), (5, 300, 0.4), (2, 20, 1), (2, 20, 0)]:
    want = [rng.randrange(classes) for _ in range(n)]
    predicted = [w if rng.random() < skill else rng.randrange(classes) for w in want]
    out.append((predicted, want))
out += [([0] * 5, [0, 1, 0, 1, 1]), ([0, 1, 0, 1, 1], [1] * 5), ([0] * 4, [0] * 4), ([1] * 4, [1] * 4), ([1, 0], [0, 1])]


def wilson(p, n):
    from decimal import Decimal as D, getcontext
    getcontext().prec = 40
    z, p, n = D("1.959963984540054"), D(p), D(n)
    center, half = (p + z * z / (2 * n)) / (1 + z * z / n), z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)).sqrt()
    return [float(max(D(0), center - half)), float(min(D(1), center + half))]


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "metrics.json"), "w") as f:
    json.dump({
        "metrics": [{
            "predicted": p, "want": w, "accuracy": accuracy_score(w, p), "matthews": matthews_corrcoef(w, p),
            "f1": f1_score([x == 1 for x in w], [x == 1 for x in p], zero_division=0),
        } for p, w in out],
        "wilson": [{"share": s, "n": n, "interval": wilson(s, n)} for s, n in
                   [(0.5, 10), (0.0, 10), (1.0, 10), (0.9527, 872), (0.8, 3270), (1.0, 1), (0.25, 4)]],
    }, f)
