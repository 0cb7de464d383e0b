"""Writes scores.csv, .tsv, .jsonl and .parquet, which hold one table, and wide.csv, its folds as columns.

    pip install pyarrow
    python tests/data/analyze/make_scores.py

Two models by four runs by five splits, with a run's and a split's own effect, and one score missing.
"""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

here = Path(__file__).parent
draw = random.Random(7)
runs = [draw.gauss(0, 0.01) for _ in range(4)]
splits = [draw.gauss(0, 0.02) for _ in range(5)]
rows = []
for place, model in enumerate(["unet", "swin"]):
    for run in range(4):
        for split in range(5):
            score = 0.8 + 0.03 * place + runs[run] + splits[split] + draw.gauss(0, 0.01)
            missing = (model, run, split) == ("unet", 3, 2)
            rows.append((model, run, f"split{split}", None if missing else score))

columns = ["model", "run", "split", "dice"]
for name, mark in [("scores.csv", ","), ("scores.tsv", "\t")]:
    lines = [mark.join(columns)]
    lines += [mark.join("" if cell is None else str(cell) for cell in row) for row in rows]
    (here / name).write_text("\n".join(lines) + "\n")
objects = [json.dumps(dict(zip(columns, row))) for row in rows]
(here / "scores.jsonl").write_text("\n".join(objects) + "\n")
table = pa.table({name: [row[place] for row in rows] for place, name in enumerate(columns)})
# Several row groups, so that a column comes in parts.
pq.write_table(table, here / "scores.parquet", row_group_size=16, compression="zstd")

lines = ["model,run," + ",".join(f"split{split}" for split in range(5))]
for start in range(0, len(rows), 5):
    model, run, _, _ = rows[start]
    cells = ["" if row[3] is None else str(row[3]) for row in rows[start : start + 5]]
    lines.append(f"{model},{run}," + ",".join(cells))
(here / "wide.csv").write_text("\n".join(lines) + "\n")
