"""Writes metrics.json: scikit-learn's, scipy's and seqeval's metrics of random
predictions, MultiRC's and ReCoRD's by the code of their official scorers, and
Wilson's interval by statsmodels' formula in exact steps.

    pip install scikit-learn scipy seqeval && python goldens.py

Made with scikit-learn 1.9.1, scipy 1.17.1, seqeval 1.2.2.
"""
import collections
import json
import os
import random
import re
import string
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import f1_score as entity_f1
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


rng2 = random.Random(5)
correlations = []
for n, steps in [(2, 100), (10, 4), (300, 25), (300, 10**6)]:
    x = [rng2.randrange(steps) / 8 for _ in range(n)]
    y = [v + rng2.gauss(0, steps / 16) for v in x] if steps > 30 else [rng2.randrange(steps) / 4 for _ in range(n)]
    y = [round(v * 64) / 64 for v in y]  # exact in float32
    correlations.append({"x": x, "y": y, "pearson": pearsonr(x, y)[0], "spearman": spearmanr(x, y)[0]})

several = []
for n, labels in [(1, 2), (40, 3), (200, 6)]:
    want = [[rng2.randrange(2) * (l < 5) for l in range(labels)] for _ in range(n)]
    predicted = [[v if rng2.random() < 0.8 else 1 - v for v in row] for row in want]
    several.append({
        "labels": labels, "predicted": sum(predicted, []), "want": sum(want, []), "accuracy": accuracy_score(want, predicted),
        "micro": f1_score(want, predicted, average="micro", zero_division=0),
        "macro": f1_score(want, predicted, average="macro", zero_division=0)})

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
entities = []
for skill in [0, 0.6, 0.9, 1]:
    want = [[rng2.randrange(5) for _ in range(rng2.randrange(1, 15))] for _ in range(30)]
    predicted = [[t if rng2.random() < skill else rng2.randrange(5) for t in row] for row in want]
    names = lambda rows: [[TAGS[t] for t in row] for row in rows]
    entities.append({"predicted": predicted, "want": want, "f1": entity_f1(names(want), names(predicted), zero_division=0),
                     "accuracy": accuracy_score(sum(want, []), sum(predicted, []))})


# MultiRC, as evaluate's super_glue computes it: F1 over all answers, exact match by question.
multirc = []
for skill in [0.2, 0.7]:
    sizes = [rng2.randrange(1, 6) for _ in range(40)]
    want = [[rng2.randrange(2) for _ in range(n)] for n in sizes]
    predicted = [[t if rng2.random() < skill else rng2.randrange(2) for t in row] for row in want]
    multirc.append({"predicted": predicted, "want": want, "f1a": f1_score(sum(want, []), sum(predicted, [])),
                    "em": sum(p == w for p, w in zip(predicted, want)) / len(want)})


# ReCoRD's official scorer (record_official_evaluation.py).
def normalize_answer(s):
    def remove_articles(text):
        return re.sub(r"\b(a|an|the)\b", " ", text)

    return " ".join(remove_articles("".join(c for c in s.lower() if c not in set(string.punctuation))).split())


def record_f1(prediction, truth):
    p, t = normalize_answer(prediction).split(), normalize_answer(truth).split()
    same = sum((collections.Counter(p) & collections.Counter(t)).values())
    if same == 0:
        return 0
    precision, recall = same / len(p), same / len(t)
    return 2 * precision * recall / (precision + recall)


record = []
for prediction, answers in [("the U.S.", ["U.S"]), ("New York", ["York City", "Boston"]), ("New York New", ["New York"]), ("A. Smith", ["smith"]),
                            ("Paris", ["London"]), ("Theo the Great", ["great theo"]), ("'t Hooft", ["t Hooft"])]:
    record.append({"prediction": prediction, "answers": answers, "f1": max(record_f1(prediction, a) for a in answers),
                   "em": max(normalize_answer(prediction) == normalize_answer(a) for a in answers)})

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "metrics.json"), "w") as f:
    json.dump({
        "metrics": [{
            "predicted": p, "want": w, "accuracy": accuracy_score(w, p), "matthews": matthews_corrcoef(w, p),
            "f1": f1_score([x == 1 for x in w], [x == 1 for x in p], zero_division=0),
            "f1macro": f1_score(w, p, average="macro", zero_division=0),
        } for p, w in out],
        "wilson": [{"share": s, "n": n, "interval": wilson(s, n)} for s, n in
                   [(0.5, 10), (0.0, 10), (1.0, 10), (0.9527, 872), (0.8, 3270), (1.0, 1), (0.25, 4)]],
        "correlations": correlations, "several": several, "entities": entities, "multirc": multirc, "record": record,
    }, f)
