"""Writes golden.json: predictions and what scikit-learn says about them.

    python -m venv venv && venv/bin/pip install scikit-learn && venv/bin/python make_golden.py

Every probability is rounded to 32 bits first and handed over as 64 bits, so that scikit-learn sums
in 64 bits too. Its clipping in log_loss follows the type it is given; 32-bit clipping is therefore
done here, after checking that 32-bit predictions are clipped in the same way.
"""

import json
import re
from pathlib import Path

import numpy as np
import sklearn
from sklearn import metrics


def log_loss(truth, probabilities, labels):
    eps = np.finfo(np.float32).eps
    clipped = np.clip(probabilities.astype(np.float32), eps, np.float32(1) - eps)
    picked = clipped[np.arange(len(truth)), truth].astype(np.float64)
    value = float(-np.log(picked).mean())
    direct = metrics.log_loss(truth, probabilities.astype(np.float32), labels=labels)
    assert abs(value - direct) < 1e-5 * max(1.0, value), (value, direct)
    return value


def binary(truth, positive):
    positive = positive.astype(np.float32)
    both = np.stack([np.float32(1) - positive, positive], axis=1)
    wide = both.astype(np.float64)
    said = wide.argmax(axis=1)
    return {
        "classes": 2,
        "probabilities": wide.ravel().tolist(),
        "truth": truth.tolist(),
        "expected": {
            "auroc": metrics.roc_auc_score(truth, wide[:, 1]),
            "auprc": metrics.average_precision_score(truth, wide[:, 1]),
            "accuracy": metrics.accuracy_score(truth, said),
            "balanced_accuracy": metrics.balanced_accuracy_score(truth, said),
            "f1": metrics.f1_score(truth, said),
            "log_loss": log_loss(truth, both, [0, 1]),
            "brier": metrics.brier_score_loss(truth, wide[:, 1]),
        },
    }


def multiclass(truth, logits):
    classes = logits.shape[1]
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    narrow = (exp / exp.sum(axis=1, keepdims=True)).astype(np.float32)
    wide = narrow.astype(np.float64)
    said = wide.argmax(axis=1)
    hot = np.eye(classes)[truth]
    expected = {
        "accuracy": metrics.accuracy_score(truth, said),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, said),
        "f1": metrics.f1_score(truth, said, average="macro"),
        "log_loss": log_loss(truth, narrow, list(range(classes))),
        "brier": metrics.brier_score_loss(truth, wide, labels=list(range(classes))),
    }
    if hot.any(axis=0).all():
        # One column against the rest, averaged: what roc_auc_score(multi_class="ovr",
        # average="macro") does, which refuses 32-bit rows that do not sum to 1 in 64 bits.
        expected["auroc"] = metrics.roc_auc_score(hot, wide, average="macro")
        expected["auprc"] = metrics.average_precision_score(truth, wide, average="macro")
    return {
        "classes": classes,
        "probabilities": wide.ravel().tolist(),
        "truth": truth.tolist(),
        "expected": expected,
    }


def regression(truth, predicted):
    truth, predicted = (a.astype(np.float32).astype(np.float64) for a in (truth, predicted))
    return {
        "truth": truth.tolist(),
        "predicted": predicted.tolist(),
        "expected": {
            "rmse": metrics.root_mean_squared_error(truth, predicted),
            "mae": metrics.mean_absolute_error(truth, predicted),
            "r2": metrics.r2_score(truth, predicted),
        },
    }


def text(golden):
    """One line a list, so that a difference can be read."""
    lines = json.dumps(golden, indent=1)
    return re.sub(r"\[[^\]]*\]", lambda m: " ".join(m.group().split()), lines) + "\n"


def main():
    rng = np.random.default_rng(20)
    truth = (rng.random(120) < 0.35).astype(int)
    smooth = 1 / (1 + np.exp(-(1.5 * truth - 0.6 + rng.normal(size=120))))
    tied = np.round(smooth, 1)
    classes = rng.integers(0, 4, 150)
    logits = rng.normal(size=(150, 4)) + 1.2 * np.eye(4)[classes]
    # Every second row is given one of a few scores only, so that classes' scores tie too.
    logits[::2] = np.round(logits[::2])
    # Class 3 of the last case is never true nor predicted: the macro f1 leaves it out.
    rare = rng.integers(0, 3, 60)
    rare_logits = rng.normal(size=(60, 4)) + 1.2 * np.eye(4)[rare] - np.array([0, 0, 0, 50])
    values = rng.normal(size=90) * 40 + 300
    golden = {
        "sklearn": sklearn.__version__,
        "cases": {
            "binary": binary(truth, smooth),
            "binary_with_ties_and_certainties": binary(truth, tied),
            "four_classes": multiclass(classes, logits),
            "four_classes_one_absent": multiclass(rare, rare_logits),
            "regression": regression(values, values + rng.normal(size=90) * 15),
            "regression_worse_than_the_mean": regression(values, values[::-1]),
        },
    }
    Path(__file__).with_name("golden.json").write_text(text(golden))


if __name__ == "__main__":
    main()
