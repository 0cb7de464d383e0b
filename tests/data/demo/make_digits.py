"""Writes coordinator/demo/digits/digits.npz from scikit-learn's copy of the digits.

    python -m venv venv && venv/bin/pip install scikit-learn && venv/bin/python make_digits.py
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
x = digits.images.astype(np.uint8)[..., None]  # [1797, 8, 8, 1]
out = Path(__file__).parents[3] / "coordinator" / "demo" / "digits" / "digits.npz"
np.savez_compressed(out, x=x, y=digits.target.astype(np.uint8))
