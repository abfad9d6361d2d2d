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
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, IOE1, IOE2
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

# Entities in every scheme: spans written by it, and labels at random; with types, without, and with the mark last.
rng3 = random.Random(9)


def write(scheme, spans, n):
    """The labels of n words with spans (start, end, type), written by a scheme, as (mark, type)."""
    out = [("O", "")] * n
    for at, (start, end, kind) in enumerate(spans):
        marks = ["I"] * (end - start)
        after = at > 0 and spans[at - 1][1:] == (start, kind)
        before = at + 1 < len(spans) and spans[at + 1][0] == end and spans[at + 1][2] == kind
        if scheme is IOB2 or scheme is IOB1 and after:
            marks[0] = "B"
        if scheme is IOE2 or scheme is IOE1 and before:
            marks[-1] = "E"
        if scheme in (IOBES, BILOU):
            first, last, one = ("B", "E", "S") if scheme is IOBES else ("B", "L", "U")
            marks[0], marks[-1] = first, last
            if end - start == 1:
                marks[0] = one
        out[start:end] = [(m, kind) for m in marks]
    return out


def spans(n, kinds):
    out, at = [], 0
    while at < n:
        end = min(n, at + rng3.randrange(1, 4))
        if rng3.random() < 0.6:
            out.append((at, end, rng3.choice(kinds)))
        at = end
    return out


MARKS = {IOB1: "BI", IOB2: "BI", IOE1: "IE", IOE2: "IE", IOBES: "BIES", BILOU: "BILU"}
numbers = lambda labels, rows: [[labels.index(t) for t in row] for row in rows]
schemes = []
for scheme, marks in MARKS.items():
    for form in ["prefix", "suffix", "bare"]:
        join = {"prefix": lambda m, k: m + "-" + k, "suffix": lambda m, k: k + "-" + m, "bare": lambda m, k: m}[form]
        kinds = ["PER", "LOC-X"] if form != "bare" else [""]
        labels = ["O"] + sorted({join(m, k) for m in marks for k in kinds})
        name = lambda t: "O" if t[0] == "O" else join(*t)
        for skill in [0, 0.5, 0.9, None]:  # None: truth at random, too
            sizes = [rng3.randrange(1, 12) for _ in range(25)]
            want = [[name(t) for t in write(scheme, spans(n, kinds), n)] for n in sizes]
            if skill is None:
                if scheme in (IOB1, IOE1):
                    continue  # what is no scheme's is taken for IOB2 and IOE2
                want = [[rng3.choice(labels) for _ in range(n)] for n in sizes]
            predicted = [[t if rng3.random() < (skill or 0.5) else rng3.choice(labels) for t in row] for row in want]
            f1 = lambda **o: float(entity_f1(want, predicted, suffix=form == "suffix", zero_division=0, **o))
            schemes.append({"scheme": scheme.__name__ + (", marks last" if form == "suffix" else ""), "labels": labels,
                            "predicted": numbers(labels, predicted), "want": numbers(labels, want), "f1": f1(), "strict": f1(mode="strict", scheme=scheme)})
for labels in [["O", "B-X", "M-X", "E-X", "S-X"], ["B", "M", "E", "S"], ["O", "B-X", "I-X", "X", "[PAD]", "."], ["O", "B-X", "I-X", "L-X", "S-X"]]:
    want = [[rng3.choice(labels) for _ in range(rng3.randrange(1, 12))] for _ in range(25)]
    predicted = [[t if rng3.random() < 0.6 else rng3.choice(labels) for t in row] for row in want]
    schemes.append({"scheme": "other", "labels": labels, "predicted": numbers(labels, predicted), "want": numbers(labels, want),
                    "f1": float(entity_f1(want, predicted, zero_division=0)), "strict": None})


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
        "correlations": correlations, "several": several, "entities": entities, "schemes": schemes, "multirc": multirc, "record": record,
    }, f)
