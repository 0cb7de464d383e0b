"""Writes masks.json: masks and what numpy and scipy say of them.

    python -m venv venv && venv/bin/pip install numpy scipy && venv/bin/python make_masks.py

hausdorff95 is medpy.metric.binary.hd95 (0.5.2), its two functions written out below, except where a
mask is empty: medpy refuses that, and what is counted then is said in common/src/metric/masks.rs.
"""

import json
from pathlib import Path

import numpy as np
import scipy
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure

rng = np.random.default_rng(7)


def surface_distances(result, reference, spacing):
    footprint = generate_binary_structure(result.ndim, 1)
    result_border = result ^ binary_erosion(result, structure=footprint, iterations=1)
    reference_border = reference ^ binary_erosion(reference, structure=footprint, iterations=1)
    return distance_transform_edt(~reference_border, sampling=spacing)[result_border]


def both_ways(result, reference, spacing):
    if not result.any() and not reference.any():
        return []
    if not result.any() or not reference.any():
        some = result | reference
        border = some ^ binary_erosion(some, structure=generate_binary_structure(2, 1))
        return [np.hypot(*(np.array(some.shape) * spacing))] * int(border.sum())
    there = surface_distances(result, reference, spacing)
    back = surface_distances(reference, result, spacing)
    return np.hstack((there, back)).tolist()


def scores(predicted, truth, classes, cases, spacing):
    each = {"dice": [], "iou": [], "hausdorff95": []}
    for case in np.unique(cases):
        rows = np.flatnonzero(cases == case)
        dice, iou, far = [], [], []
        for c in range(1, classes):
            a, b = predicted[rows] == c, truth[rows] == c
            if a.sum() + b.sum() == 0:
                continue
            dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
            iou.append((a & b).sum() / (a | b).sum())
            distances = sum((list(both_ways(predicted[r] == c, truth[r] == c, spacing[r])) for r in rows), [])
            far.append(np.percentile(distances, 95))
        each["dice"].append(np.mean(dice) if dice else 1.0)
        each["iou"].append(np.mean(iou) if iou else 1.0)
        each["hausdorff95"].append(np.mean(far) if far else 0.0)
    return {name: float(np.mean(values)) for name, values in each.items()}


def blobs(rows, height, width, classes):
    """Discs of every class but the last, which is in half of the rows."""
    masks = np.zeros((rows, height, width), np.uint8)
    y, x = np.mgrid[:height, :width]
    for r in range(rows):
        for c in range(1, classes):
            if c == classes - 1 and r % 2 == 1:
                continue
            cy, cx, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(1.5, height / 3)
            masks[r][(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = c
    return masks


def moved(masks, noise):
    shifted = np.roll(masks, (1, -2), axis=(1, 2))
    wrong = rng.random(masks.shape) < noise
    return np.where(wrong, rng.integers(0, masks.max() + 1, masks.shape), shifted).astype(np.uint8)


def case(truth, predicted, classes, cases=None, spacing=None):
    rows, height, width = truth.shape
    numbers = np.arange(rows) if cases is None else np.array(cases)
    sides = np.ones((rows, 2)) if spacing is None else np.array(spacing, np.float32).astype(float)
    return {
        "predicted": predicted.ravel().tolist(),
        "truth": truth.ravel().tolist(),
        "shape": [height, width],
        "classes": classes,
        "cases": cases,
        "spacing": spacing,
        "expected": scores(predicted, truth, classes, numbers, sides),
    }


three = blobs(6, 14, 11, 4)
wide = blobs(4, 9, 20, 3)
absent = three.copy()
absent[:3] = 0
golden = {
    "scipy": scipy.__version__,
    "cases": {
        "shifted": case(three, moved(three, 0.0), 4),
        "noisy": case(three, moved(three, 0.1), 4),
        "patients": case(three, moved(three, 0.05), 4, cases=[5, 5, 5, 2, 2, 9]),
        "millimetres": case(wide, moved(wide, 0.02), 3, cases=[0, 0, 1, 1], spacing=[[1.25, 0.5]] * 2 + [[2.0, 2.0]] * 2),
        "nothing_there": case(absent, moved(three, 0.0), 4, cases=[0, 0, 0, 1, 1, 1]),
        "nothing_said": case(three, absent, 4),
        "two_classes": case((wide > 0).astype(np.uint8), (moved(wide, 0.1) > 0).astype(np.uint8), 2),
        "perfect": case(wide, wide, 3),
    },
}
out = Path(__file__).parent / "masks.json"
out.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
