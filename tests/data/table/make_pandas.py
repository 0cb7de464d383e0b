"""Writes pandas.parquet: a table as pandas and pyarrow write it, for common/src/table/parquet.rs.

    pip install pandas pyarrow
    python tests/data/table/make_pandas.py
"""

from pathlib import Path

import pandas as pd

frame = pd.DataFrame({
    "age": pd.array([61, None, 47, 52], dtype="Int64"),
    "dose": [0.5, float("nan"), 1e-3, 2.0],
    "smoker": pd.array([True, False, None, True], dtype="boolean"),
    "stage": pd.Categorical(["II", None, "I", "II"]),
    "note": ["é", "", "b", "a"],
    "seen": pd.to_datetime(["2020-02-29", "2021-01-01", None, "2022-12-31"]).as_unit("ns"),
})
frame.to_parquet(Path(__file__).with_name("pandas.parquet"), compression="zstd", index=False)
