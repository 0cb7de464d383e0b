"""A random forest of scikit-learn, as an arm of a study. Nothing of seedsweep is imported.

The study says how this is started; $SEEDSWEEP_TRIAL names a JSON file with everything else.
"""

import argparse
import json
import os

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, roc_auc_score

arguments = argparse.ArgumentParser()
arguments.add_argument("--trees", type=int, required=True)
arguments.add_argument("--depth", type=int, required=True)
arguments.add_argument("--seed", type=int, required=True)
args = arguments.parse_args()

with open(os.environ["SEEDSWEEP_TRIAL"]) as file:
    trial = json.load(file)

table = np.genfromtxt(trial["data"], delimiter=",", names=True, dtype=None, encoding="utf-8")
unused = {trial["target"], trial["group"], *trial["drop"]}
features = np.column_stack([table[name] for name in table.dtype.names if name not in unused])
labels = np.array([str(label) for label in table[trial["target"]]])
positive = trial["classes"][-1]

train = np.loadtxt(trial["rows"]["train"], dtype=int)
test = np.loadtxt(trial["rows"]["test"], dtype=int)

model = RandomForestClassifier(args.trees, max_depth=args.depth, random_state=args.seed)
model.fit(features[train], labels[train])
probabilities = model.predict_proba(features[test])
of_positive = probabilities[:, list(model.classes_).index(positive)]
truth = labels[test]

with open(os.environ["SEEDSWEEP_OUT"], "a") as out:
    line = {
        "step": args.trees,
        "auroc": roc_auc_score(truth == positive, of_positive),
        "accuracy": accuracy_score(truth, model.classes_[probabilities.argmax(axis=1)]),
    }
    out.write(json.dumps(line) + "\n")

# One score a test row, the probability of its true class, for what a report tells of single rows.
np.savetxt(trial["scores"], np.where(truth == positive, of_positive, 1 - of_positive), fmt="%.6f")
