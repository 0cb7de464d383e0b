"""Writes coordinator/demo/wdbc/breast-cancer.csv from the copy that scikit-learn ships.

    pip install scikit-learn
    python tests/data/demo/make_wdbc.py

The numbers are copied as text, never parsed: they stay exactly as shipped. The shipped file has one
header line (rows, features, class names), then 30 features and the class, 0 = malignant, 1 = benign.
"""

import csv
from importlib import resources
from pathlib import Path

MEASURES = ["radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity",
            "concave_points", "symmetry", "fractal_dimension"]
FORMS = ["mean_{}", "{}_error", "worst_{}"]
NAMES = [form.format(measure) for form in FORMS for measure in MEASURES]
OUT = Path(__file__).parents[3] / "coordinator" / "demo" / "wdbc" / "breast-cancer.csv"


def main():
    shipped = resources.files("sklearn.datasets.data") / "breast_cancer.csv"
    header, *rows = csv.reader(shipped.read_text().splitlines())
    rows_count, features_count, *classes = header
    assert len(rows) == int(rows_count) == 569 and int(features_count) == len(NAMES)
    with OUT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*NAMES, "diagnosis"])
        for *features, label in rows:
            writer.writerow([*features, classes[int(label)]])


if __name__ == "__main__":
    main()
