"""Makes expected.json: what other people's programs say of the comparisons in common/src/stats.

Needs: numpy, scipy, statsmodels, baycomp, rliable. Run in this folder: python make_reference.py
Where a number is of random draws, enough are made that its own error is far below the tolerance of
the test. Crossed blocks and clusters, which no library draws, are drawn here in plain numpy.
"""
import json
import warnings

import baycomp
import numpy as np
import rliable.library
import rliable.metrics
import scipy
import statsmodels
from scipy import integrate, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

DRAWS = 200_000
TEN = [0.012, -0.003, 0.007, 0.021, 0.004, -0.009, 0.015, 0.008, 0.002, 0.011]


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def listed(values):
    return np.asarray(values, dtype=float).tolist()


def correlated_t():
    repeated = np.round(0.01 + 0.02 * noise(1, 100), 6)
    rows = []
    for name, differences, runs in [("ten folds", TEN, 1), ("ten times ten folds", repeated, 10),
                                    ("clear", np.add(TEN, 0.2), 1), ("two", [0.1, 0.5], 1)]:
        differences = np.asarray(differences, dtype=float)
        folds = len(differences) / runs
        for rope in (0.0, 0.01):
            posterior = baycomp.CorrelatedTTest(np.zeros_like(differences), differences, rope, runs)
            probabilities = posterior.probs()
            if rope == 0.0:
                probabilities = (probabilities[0], 0.0, probabilities[1])
            law = stats.t(posterior.df, posterior.mean, np.sqrt(posterior.var))
            # As baycomp plots it.
            x = np.linspace(min(law.ppf(0.005), -1.05 * rope), max(law.ppf(0.995), 1.05 * rope), 100)
            rows.append({"name": name, "differences": listed(differences), "rope": rope,
                         "test_over_train": 1 / (folds - 1), "correlation": 1 / folds,
                         "mean": posterior.mean, "scale": np.sqrt(posterior.var),
                         "df": posterior.df, "areas": listed(probabilities),
                         "density": [listed(x[[0, 37, 99]]), listed(law.pdf(x[[0, 37, 99]]))]})
    return rows


def bayesian_signed_rank():
    rows = []
    for seed, count, move in [(2, 12, 0.004), (3, 30, 0.002), (4, 5, -0.01)]:
        differences = np.round(move + 0.01 * noise(seed, count), 4)
        for rope in (0.0, 0.005):
            test = baycomp.SignedRankTest(np.zeros(count), differences, rope, nsamples=DRAWS,
                                          random_state=seed)
            probabilities = test.probs(rope > 0)
            if rope == 0.0:
                probabilities = (probabilities[0], 0.0, probabilities[1])
            rows.append({"differences": listed(differences), "rope": rope,
                         "areas": listed(probabilities)})
    return rows


def ranks_of(differences):
    """scipy's test in the mode that the product chooses."""
    d = np.asarray(differences, dtype=float)
    nonzero = np.abs(d[d != 0])
    if len(nonzero) == 0:
        return {"mode": "none", "plus": 0.0, "minus": 0.0, "p": 1.0}
    exact = len(nonzero) <= 25 and len(np.unique(nonzero)) == len(nonzero)
    test = stats.wilcoxon(d, zero_method="wilcox", correction=True,
                          method="exact" if exact else "asymptotic")
    ranks = stats.rankdata(nonzero)
    signs = d[d != 0] > 0
    return {"mode": "exact" if exact else "normal", "plus": ranks[signs].sum(),
            "minus": ranks[~signs].sum(), "p": test.pvalue}


def wilcoxon():
    cases = {"ten": TEN, "exact 25": np.round(0.3 + noise(5, 25), 4),
             "normal 26": np.round(0.3 + noise(6, 26), 4),
             "ties": [0.1, 0.1, -0.1, 0.2, 0.3, -0.2, 0.2, 0.5], "zeros": [0.0, 0.3, -0.1, 0.0, 0.4],
             "many ties": np.round(0.05 + 0.3 * noise(7, 1000), 1), "clear": 0.5 + 0.1 * noise(8, 400),
             "nothing": [0.0, 0.0], "one": [0.4]}
    return [{"name": name, "differences": listed(d), **ranks_of(d)} for name, d in cases.items()]


def lottery():
    rows = []
    for seed, larger in [(9, True), (10, False)]:
        ease = noise(seed, 60)
        scores = np.round(0.8 + 0.05 * ease + 0.012 * noise(seed + 50, 8, 1)
                          + 0.03 * noise(seed + 100, 8, 60), 3)
        means = scores.mean(axis=1)
        best = int(np.argmax(means) if larger else np.argmin(means))
        sign = 1 if larger else -1
        against, all_t, all_rank = [], [], []
        for one in range(8):
            for other in range(one + 1, 8):
                all_t.append(stats.ttest_rel(scores[one], scores[other]).pvalue)
                all_rank.append(ranks_of(scores[one] - scores[other])["p"])
        for other in range(8):
            if other != best:
                ranks = ranks_of(scores[best] - scores[other])
                against.append({"other": other, "difference": means[best] - means[other],
                                "p_t": stats.ttest_rel(scores[best], scores[other]).pvalue,
                                "p_rank": ranks["p"],
                                "agree": sign * (ranks["plus"] - ranks["minus"]) > 0})
        rows.append({"scores": listed(scores), "larger_is_better": larger, "best": best,
                     "against": against,
                     "beats_t": np.mean([row["p_t"] < 0.05 for row in against]),
                     "beats_rank": np.mean([row["p_rank"] < 0.05 and row["agree"] for row in against]),
                     "all_pairs_t": np.mean(np.array(all_t) < 0.05),
                     "all_pairs_rank": np.mean(np.array(all_rank) < 0.05)})
    return rows


def friedman():
    rows = []
    for seed, studies, arms, digits in [(11, 10, 4, 3), (12, 6, 3, 1), (13, 30, 6, 2)]:
        scores = np.round(0.8 + 0.1 * noise(seed, studies, arms) + 0.05 * np.arange(arms), digits)
        chi_square, p = stats.friedmanchisquare(*scores.T)
        f = (studies - 1) * chi_square / (studies * (arms - 1) - chi_square)
        df = (arms - 1, (arms - 1) * (studies - 1))
        q = stats.studentized_range.ppf(0.95, arms, np.inf) / np.sqrt(2)
        rows.append({"scores": listed(scores), "ranks": listed(stats.rankdata(-scores, axis=1).mean(axis=0)),
                     "chi_square": chi_square, "p_chi_square": p, "f": f, "df": df,
                     "p_f": stats.f.sf(f, *df),
                     "critical_difference": q * np.sqrt(arms * (arms + 1) / (6 * studies))})
    return rows


def largest(count):
    def slope(z):
        return z * count * stats.norm.pdf(z) * np.exp((count - 1) * stats.norm.logcdf(z))
    return integrate.quad(slope, -10, 10, epsabs=1e-13, epsrel=1e-13, limit=500, points=[0, 2, 4, 5])[0]


def rliable_of():
    def interval(scores, statistic, reps=50_000):
        np.random.seed(1)
        _, found = rliable.library.get_interval_estimates({"a": scores}, statistic, reps=reps)
        return listed(found["a"][:, 0])

    rows = []
    for seed, runs, studies in [(14, 5, 8), (15, 10, 3), (16, 7, 5)]:
        one = np.round(0.7 + 0.15 * noise(seed, runs, studies), 3)
        other = np.round(0.65 + 0.15 * noise(seed + 100, runs + 1, studies), 2)
        iqm, gap = rliable.metrics.aggregate_iqm, rliable.metrics.aggregate_optimality_gap
        better = rliable.metrics.probability_of_improvement
        thresholds = np.round(np.linspace(0.4, 1.0, 7), 3)
        np.random.seed(2)
        profile, band = rliable.library.create_performance_profile({"a": one}, thresholds, reps=50_000)
        # Fewer draws: each asks scipy for a Mann-Whitney test a study.
        improvement = interval([one, other], lambda x, y: np.array([better(x, y)]), 4_000)
        rows.append({"one": listed(one.T), "other": listed(other.T),
                     "iqm": iqm(one), "iqm_interval": interval(one, lambda x: np.array([iqm(x)])),
                     "target": 0.9, "gap": gap(one, 0.9),
                     "gap_interval": interval(one, lambda x: np.array([gap(x, 0.9)])),
                     "improvement": better(one, other), "improvement_interval": improvement,
                     "thresholds": listed(thresholds), "profile": listed(profile["a"]),
                     "band": listed(band["a"])})
    return rows


def cases():
    rows = []
    for name, differences in [("normal", 0.02 + 0.1 * noise(17, 80)),
                              ("skewed", np.random.default_rng(18).exponential(size=40) - 0.7)]:
        differences = np.round(differences, 5)
        found = {method: stats.bootstrap((differences,), np.mean, n_resamples=DRAWS, method=method,
                                         rng=np.random.default_rng(19))
                 for method in ("percentile", "BCa")}
        rows.append({"name": name, "differences": listed(differences), "clusters": None,
                     "se": found["percentile"].standard_error,
                     "percentile": listed(found["percentile"].confidence_interval),
                     "bca": listed(found["BCa"].confidence_interval)})
    sizes = [1, 4, 2, 7, 3, 3, 5, 1, 2, 6, 4, 8, 2, 3, 1, 5, 2, 2, 6, 3]
    names = np.repeat(np.arange(len(sizes)), sizes)
    differences = np.round(0.05 + 0.1 * noise(20, len(sizes))[names] + 0.05 * noise(21, len(names)), 5)
    # scipy resamples the clusters as pairs of a sum and a size.
    sums = np.bincount(names, weights=differences)

    def ratio(sum_, size, axis=-1):
        return sum_.sum(axis=axis) / size.sum(axis=axis)
    found = {method: stats.bootstrap((sums, np.asarray(sizes, float)), ratio, paired=True,
                                     n_resamples=DRAWS, method=method, rng=np.random.default_rng(22))
             for method in ("percentile", "BCa")}
    rows.append({"name": "clusters", "differences": listed(differences), "clusters": names.tolist(),
                 "se": found["percentile"].standard_error,
                 "percentile": listed(found["percentile"].confidence_interval),
                 "bca": listed(found["BCa"].confidence_interval)})
    return rows


def paired_share():
    folds, seeds = 12, 9
    draw = np.random.default_rng(23)
    differences = np.round(0.6 + noise(24, folds, 1) + 0.5 * noise(25, 1, seeds) + noise(26, folds, seeds), 1)
    won = (differences > 0) + 0.5 * (differences == 0)
    every_fold = np.ones((DRAWS, folds))
    every_seed = np.ones((DRAWS, seeds))
    some_folds = draw.multinomial(folds, np.full(folds, 1 / folds), DRAWS)
    some_seeds = draw.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS)

    def interval(of_fold, of_seed):
        shares = np.einsum("df,ds,fs->d", of_fold, of_seed, won, optimize=True) / (folds * seeds)
        return listed(np.quantile(shares, [0.025, 0.975]))
    return {"differences": listed(differences), "share": won.mean(),
            "folds": interval(some_folds, every_seed), "seeds": interval(every_fold, some_seeds),
            "both": interval(some_folds, some_seeds),
            "models": [[delta, a, b, c, stats.norm.cdf(delta / np.sqrt(2 * (a + b + c)))]
                       for delta, a, b, c in [(0.01, 1e-4, 2e-4, 4e-4), (-0.3, 0.01, 0.0, 0.02)]]}


def rank_chances():
    """Of three arms the chance to be first and last, as integrals of the normal distribution."""
    means = np.array([0.30, 0.32, 0.25])
    covariance = np.array([[9e-4, 3e-4, 1e-4], [3e-4, 4e-4, 2e-4], [1e-4, 2e-4, 1.6e-3]])
    first, last = [], []
    for arm in range(3):
        contrast = np.array([np.eye(3)[other] - np.eye(3)[arm] for other in range(3) if other != arm])
        law = (contrast @ means, contrast @ covariance @ contrast.T)
        first.append(stats.multivariate_normal.cdf([0, 0], *law, abseps=1e-9, releps=1e-9))
        last.append(stats.multivariate_normal.cdf([0, 0], -law[0], law[1], abseps=1e-9, releps=1e-9))
    return {"means": listed(means), "covariance": listed(covariance),
            "first": listed(first), "last": listed(last)}


def spreads():
    groups = [np.round(0.8 + sd * noise(27 + count, count), 4).tolist()
              for sd, count in [(0.01, 5), (0.05, 8), (0.01, 7), (0.02, 10)]]
    f, p = stats.levene(*groups, center="median")
    return {"groups": groups, "f": f, "p": p,
            "factors": [[df, level, np.sqrt(df / stats.chi2.ppf(0.5 + level / 2, df)),
                         np.sqrt(df / stats.chi2.ppf(0.5 - level / 2, df)),
                         np.sqrt(df / stats.chi2.ppf(1 - level, df))]
                        for df in (1, 2, 4, 9, 49, 300) for level in (0.8, 0.95)]}


warnings.simplefilter("ignore")
p_values = [0.04, 0.001, 0.2, 0.03, 0.03, 0.9, 0.0]
expected = {
    "correlated_t": correlated_t(),
    "bayesian_signed_rank": bayesian_signed_rank(),
    "wilcoxon": wilcoxon(),
    "lottery": lottery(),
    "holm": {"p": p_values, "adjusted": listed(multipletests(p_values, method="holm")[1])},
    "friedman": friedman(),
    "normal_range": [[p, k, stats.studentized_range.ppf(p, k, np.inf)]
                     for k in range(2, 21) for p in (0.9, 0.95, 0.99)],
    "chi_square_upper": [[x, df, stats.chi2.sf(x, df)] for x, df in
                         [(0.01, 1), (3.84, 1), (12.0, 3), (60.0, 5), (30.0, 40)]],
    "f_upper": [[x, a, b, stats.f.sf(x, a, b)] for x, a, b in
                [(0.2, 1, 4), (4.0, 3, 27), (60.0, 5, 145), (1.0, 40, 3), (2.0, 1000, 900)]],
    "expected_max": [[count, largest(count)] for count in (2, 5, 10, 50, 1000, 1_000_000)],
    "rliable": rliable_of(),
    "cases": cases(),
    "paired_share": paired_share(),
    "rank_chances": rank_chances(),
    "spreads": spreads(),
    "shares": [[k, n, level, *proportion_confint(k, n, 2 * (1 - level), method="wilson")]
               for k, n, level in [(0, 30, 0.95), (3, 40, 0.95), (17, 20, 0.9), (5, 5, 0.99)]],
    "made_with": {"numpy": np.__version__, "scipy": scipy.__version__,
                  "statsmodels": statsmodels.__version__, "baycomp": "1.0.3", "rliable": "1.2.0"},
}
with open("expected.json", "w", encoding="utf-8") as file:
    json.dump(expected, file, indent=1, default=lambda value: value.item())
    file.write("\n")
