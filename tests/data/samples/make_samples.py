"""Writes arrays.npz as numpy writes it: every order and width that is read, and text.

    python -m venv venv && venv/bin/pip install numpy && venv/bin/python make_samples.py
"""

from pathlib import Path

import numpy as np

x = (np.arange(4 * 3 * 2) / 2).reshape(4, 3, 2)
np.savez_compressed(
    Path(__file__).parent / "arrays.npz",
    x=x.astype("<f8"),
    fortran=np.asfortranarray(x.astype("<f2")),
    big=x.astype(">i4"),
    y=np.array(["b", "a", "b", "a"]),
    groups=np.array([7, 7, -1, 300], "<i2"),
)
