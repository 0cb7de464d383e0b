"""Makes expected.json: paired comparisons, summaries and quantiles from scipy and plain numpy.

Needs: numpy, scipy. Run in this folder: python make_reference.py
The corrected t test is the formula of Nadeau & Bengio (2003), Inference for the Generalization
Error, Machine Learning 52, section 5: the variance of the mean is s^2 (1/J + n_test/n_train).
"""
import json

import numpy as np
import scipy
from scipy import stats

CASES = {
    "ten_folds": ([0.012, -0.003, 0.007, 0.021, 0.004, -0.009, 0.015, 0.008, 0.002, 0.011], 1 / 9),
    "five_folds": ([0.031, 0.012, -0.044, 0.057, 0.023], 1 / 4),
    "two_folds": ([0.5, 0.1], 1.0),
    "fifteen_repeats": ([float(x) for x in np.round(np.sin(np.arange(15.0)) * 0.02 + 0.013, 6)], 0.5),
    "large_and_apart": ([1e6 + x for x in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75)], 0.2),
    "clearly_negative": ([-3.1, -2.9, -3.0, -3.2, -2.8, -3.05], 1 / 5),
}


def paired(differences, factor):
    d = np.asarray(differences)
    count = len(d)
    mean = d.mean()
    se = np.sqrt(d.var(ddof=1) * factor)
    t = mean / se
    low, high = stats.t.interval(0.95, count - 1, loc=mean, scale=se)
    return {"mean": mean, "se": se, "df": count - 1, "t": t,
            "p": 2 * stats.t.sf(abs(t), count - 1), "ci": [low, high]}


def comparison(name, differences, ratio):
    naive = stats.ttest_1samp(differences, 0.0)
    row = {"name": name, "differences": differences, "test_over_train": ratio,
           "naive": paired(differences, 1 / len(differences)),
           "corrected": paired(differences, 1 / len(differences) + ratio)}
    # scipy's own test is the naive one.
    row["naive"]["t"], row["naive"]["p"] = naive.statistic, naive.pvalue
    low, high = naive.confidence_interval(0.95)
    row["naive"]["ci"] = [low, high]
    return row


def summary(name, values):
    v = np.asarray(values)
    low, high = stats.t.interval(0.9, len(v) - 1, loc=v.mean(), scale=stats.sem(v))
    probabilities = [0.0, 0.05, 0.25, 0.5, 0.9, 1.0]
    return {"name": name, "values": values, "mean": v.mean(), "sd": v.std(ddof=1),
            "median": np.median(v), "min": v.min(), "max": v.max(),
            "iqm": stats.trim_mean(v, 0.25), "ci90": [low, high],
            "quantiles": [[p, np.quantile(v, p)] for p in probabilities]}


def wilson(successes, trials, level):
    interval = stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
    return {"successes": successes, "trials": trials, "level": level,
            "interval": [interval.low, interval.high]}


expected = {
    "comparisons": [comparison(name, d, r) for name, (d, r) in CASES.items()],
    "summaries": [summary(name, d) for name, (d, _) in CASES.items()],
    "wilson": [wilson(k, n, c) for k, n, c in
               [(0, 10, 0.95), (10, 10, 0.95), (3, 40, 0.95), (17, 20, 0.99), (500, 1000, 0.8)]],
    "normal_quantiles": [[p, stats.norm.ppf(p)] for p in (1e-6, 0.025, 0.2, 0.5, 0.8, 0.975)],
    "student_quantiles": [[p, df, stats.t.ppf(p, df)] for p in (0.001, 0.025, 0.5, 0.8, 0.975)
                          for df in (1.0, 2.0, 4.5, 9.0, 100.0)],
    "made_with": {"scipy": scipy.__version__, "numpy": np.__version__},
}
with open("expected.json", "w", encoding="utf-8") as file:
    json.dump(expected, file, indent=1, default=float)
    file.write("\n")
