"""Makes expected.json: the planning statistics from scipy, statsmodels, matrices and quadrature.

Needs: numpy, scipy, statsmodels. Run in this folder: python make_reference.py
Nothing here uses the formulas of the code it checks where another way exists: standard errors and
degrees of freedom come from the full covariance matrix of a design's runs and from quadratic forms
in its projections, designs from trying all of them, losses and replications from quadrature.
"""
import itertools
import json

import numpy as np
import scipy
import statsmodels
from scipy import integrate, optimize, special, stats
from statsmodels.stats.power import TTestPower

ALPHA, POWER = 0.05, 0.8


def noncentral():
    rows = [[t, df, delta] for t in (-3.0, 0.0, 0.7, 2.2, 5.0, 14.0)
            for df in (1.0, 2.0, 4.7, 29.0, 400.0) for delta in (-1.5, 0.0, 0.4, 2.8, 9.0)]
    rows += [[60.0, 3.0, 50.0], [1100.0, 5.0, 1000.0], [900.0, 2.0, 1000.0], [200.0, 1.0, 150.0]]
    return [[*row, by_quadrature(*row)] for row in rows]


def by_quadrature(t, df, delta):
    """The defining integral over the scale; scipy's nct agrees with it wherever it has an answer."""
    def over_scale(x):
        scale = np.exp(x)
        return (stats.norm.cdf(t * scale - delta)
                * stats.chi2.pdf(df * scale ** 2, df) * 2 * df * scale ** 2)
    middle = [np.log(delta / t)] if t * delta > 0 else []
    cuts = sorted({-40 / df - 1, -1.0, -0.3, -0.1, 0.0, 0.1, 0.3, 1.0, 2.5, *middle})
    value = sum(integrate.quad(over_scale, low, high, epsabs=1e-14, epsrel=1e-13, limit=1000)[0]
                for low, high in zip(cuts, cuts[1:]))
    theirs = stats.nct.cdf(t, df, delta)
    assert np.isnan(theirs) or abs(theirs - value) < 1e-9, (t, df, delta, theirs, value)
    return value


def two_sided_power(delta, df, alpha):
    critical = stats.t.ppf(1 - alpha / 2, df)
    # scipy answers NaN in a tail of next to nothing.
    return stats.nct.sf(critical, df, delta) + np.nan_to_num(stats.nct.cdf(-critical, df, delta))


def detectable(df, alpha, power):
    high = 2 * stats.t.ppf(1 - alpha / 2, df) + 2
    return optimize.brentq(lambda d: two_sided_power(d, df, alpha) - power, 1e-9, high, xtol=1e-13)


def powers():
    """statsmodels' power of a one-sample t test, with df + 1 observations."""
    rows = []
    for df, delta, alpha in itertools.product((2, 4, 9, 58), (0.5, 2.0, 3.5), (0.05, 0.01)):
        power = TTestPower().power(delta / np.sqrt(df + 1), df + 1, alpha, df=df)
        rows.append({"df": df, "delta": delta, "alpha": alpha, "power": power})
    return rows


def centre(n):
    return np.full((n, n), 1 / n)


def kron(*parts):
    out = np.eye(1)
    for part in parts:
        out = np.kron(out, part)
    return out


def by_matrices(parts, arms, seeds, folds, reach, ratio, weights):
    """Variance wanted, and its Satterthwaite df, from projections of the runs' space.

    `weights` gives the wanted variance as multiples of (fold term, seed, residual)."""
    ones = lambda n: np.ones((n, n))
    eye = np.eye
    fold_part = parts["arm_fold"] if arms > 1 else parts["arm_fold"] + parts["fold"]
    own = parts["fold"] if arms > 1 else 0.0
    cov = (own * kron(ones(arms), ones(seeds), eye(folds))
           + fold_part * kron(eye(arms), ones(seeds), eye(folds))
           + (parts["seed"] or 0.0) * kron(eye(arms), eye(seeds), ones(folds))
           + parts["residual"] * eye(arms * seeds * folds))
    ca, cs, cf = centre(arms), centre(seeds), centre(folds)
    arm = eye(arms) - ca if arms > 1 else eye(1)
    squares = {"fold": kron(arm, cs, eye(folds) - cf)}
    if parts["seed"] is None:
        squares["residual"] = kron(eye(arms), eye(seeds) - cs, eye(folds))
    else:
        squares["seed"] = kron(eye(arms), eye(seeds) - cs, cf)
        squares["residual"] = kron(eye(arms), eye(seeds) - cs, eye(folds) - cf)
    degrees = {name: round(np.trace(p)) for name, p in squares.items()}
    forms = {name: p / degrees[name] for name, p in squares.items() if degrees[name]}
    # Expectation of each mean square in the components, from unit covariances.
    unit = {"fold": kron(eye(arms), ones(seeds), eye(folds)),
            "seed": kron(eye(arms), eye(seeds), ones(folds)),
            "residual": eye(arms * seeds * folds)}
    names = [n for n in ("fold", "seed", "residual") if n in forms]
    expects = np.array([[np.trace(forms[m] @ unit[c]) for m in names] for c in names])
    combination = np.linalg.solve(expects, [weights[c] for c in names])
    q = sum(c * forms[n] for c, n in zip(combination, names))
    mean = np.trace(q @ cov)
    df = mean ** 2 / np.trace(q @ cov @ q @ cov)
    added = [degrees[n] for c, n in zip(combination, names) if c > 1e-12]
    return mean, max(df, min(added)), cov


def wanted(seeds, folds, reach, ratio):
    fold = {"seeds": 0.0, "folds": 1 / folds, "samples": 1 / folds + ratio}[reach]
    return {"fold": fold, "seed": 1 / seeds, "residual": 1 / (seeds * folds)}


COMPONENTS = {
    "even": {"seed": 1.0, "residual": 1.0, "arm_fold": 1.0, "fold": 2.0},
    "small": {"seed": 4e-6, "residual": 2.5e-5, "arm_fold": 9e-6, "fold": 1e-4},
    "no_arm_fold": {"seed": 0.3, "residual": 2.0, "arm_fold": 0.0, "fold": 0.5},
    "no_seed_effect": {"seed": None, "residual": 2.0, "arm_fold": 0.7, "fold": 0.5},
    "residual_alone": {"seed": 0.0, "residual": 1.0, "arm_fold": 0.0, "fold": 0.0},
}
DESIGNS = [(2, 3, 5), (2, 10, 10), (3, 2, 4), (5, 3, 2), (2, 2, 12)]


def differences():
    rows = []
    for name, (arms, seeds, folds), reach in itertools.product(
            COMPONENTS, DESIGNS, ("seeds", "folds", "samples")):
        parts, ratio = COMPONENTS[name], 0.25
        if parts["seed"] is None and reach == "seeds":
            weights = {"fold": 0.0, "seed": 0.0, "residual": 2 / (seeds * folds)}
        else:
            weights = {k: 2 * v for k, v in wanted(seeds, folds, reach, ratio).items()}
        variance, df, cov = by_matrices(parts, arms, seeds, folds, reach, ratio, weights)
        if reach == "folds":
            contrast = np.zeros(arms)
            contrast[:2] = 1, -1
            contrast = np.kron(contrast, np.full(seeds * folds, 1 / (seeds * folds)))
            assert abs(contrast @ cov @ contrast / variance - 1) < 1e-10
        se = np.sqrt(variance)
        row = {"components": name, "arms": arms, "seeds": seeds, "folds": folds, "reach": reach,
               "ratio": ratio, "se": se, "df": df,
               "half_width": stats.t.ppf(0.975, df) * se,
               "detectable": detectable(df, ALPHA, POWER) * se,
               "effect": 2 * se, "power": two_sided_power(2.0, df, ALPHA)}
        rows.append(row)
    return rows


def one_arm():
    rows = []
    for name, (seeds, folds), reach in itertools.product(
            COMPONENTS, ((3, 5), (10, 10), (2, 4)), ("seeds", "folds", "samples")):
        parts, ratio = COMPONENTS[name], 0.25
        weights = wanted(seeds, folds, reach, ratio)
        variance, df, _ = by_matrices(parts, 1, seeds, folds, reach, ratio, weights)
        next_weights = {"fold": weights["fold"] + (reach != "seeds"),
                        "seed": weights["seed"] + 1, "residual": weights["residual"] + 1}
        spread, next_df, _ = by_matrices(parts, 1, seeds, folds, reach, ratio, next_weights)
        half = stats.t.ppf(0.975, next_df) * np.sqrt(spread)
        rows.append({"components": name, "seeds": seeds, "folds": folds, "reach": reach,
                     "ratio": ratio, "se": np.sqrt(variance), "df": df,
                     "next_sd": np.sqrt(spread), "next_df": next_df,
                     "next_run": [0.8 - half, 0.8 + half]})
    return rows


def half_width(parts, seeds, folds, ratio):
    """Closed form for 2 arms and a seed with an effect, for the search; checked above."""
    if seeds < 2 or folds < 2:
        return np.inf, np.nan, np.nan
    c, s, e = parts["arm_fold"], parts["seed"], parts["residual"]
    w = 1 + folds * ratio
    squares = [(w, e + seeds * c, folds - 1), (1.0, e + folds * s, 2 * (seeds - 1)),
               (-w, e, 2 * (seeds - 1) * (folds - 1))]
    total = sum(k * m for k, m, _ in squares)
    df = total ** 2 / sum((k * m) ** 2 / d for k, m, d in squares)
    df = max(df, min(folds - 1, 2 * (seeds - 1)))
    se = np.sqrt(2 / (seeds * folds) * total)
    return stats.t.ppf(0.975, df) * se, se, df


def searches():
    rows = []
    for name, ratio, kind, goal, prices in (
            ("even", 0.0, "half_width", 1.0, (1.0, 5.0, 0.0)),
            ("even", 0.0, "effect", 1.5, (1.0, 0.0, 2.0)),
            ("small", 0.0, "half_width", 0.004, (1.0, 30.0, 1.0)),
            ("no_arm_fold", 0.1, "effect", 1.2, (2.0, 1.0, 0.0)),
            ("even", 0.05, "half_width", 1.1, (1.0, 1.0, 0.0)),
            ("even", 0.25, "half_width", 1.0, (1.0, 1.0, 0.0))):
        best = None
        for folds, seeds in itertools.product(range(1, 41), range(1, 61)):
            half, se, df = half_width(COMPONENTS[name], seeds, folds, ratio)
            if not np.isfinite(half):
                continue
            reached = half <= goal if kind == "half_width" else (
                se * 2.7 <= goal and two_sided_power(goal / se, df, ALPHA) >= POWER)
            cost = seeds * folds * prices[0] + folds * prices[1] + seeds * prices[2]
            if reached and (best is None or cost < best["cost"]):
                best = {"cost": cost, "seeds": seeds, "folds": folds}
        rows.append({"components": name, "ratio": ratio, "goal": kind, "size": goal,
                     "prices": prices, "limits": [60, 40], "best": best})
    return rows


def coefficients():
    rows = []
    for name, (_, seeds, folds) in itertools.product(COMPONENTS, DESIGNS):
        parts = COMPONENTS[name]
        configs = 0.5 * parts["residual"]
        relative = (parts["arm_fold"] / folds + (parts["seed"] or 0) / seeds
                    + parts["residual"] / seeds / folds)
        rows.append({"components": name, "seeds": seeds, "folds": folds, "configs": configs,
                     "relative": configs / (configs + relative),
                     "absolute": configs / (configs + relative + parts["fold"] / folds)})
    return rows


def losses():
    rows = []
    for difference, now, after in ((0.005, 0.01, 0.006), (0.0, 0.02, 0.019), (-0.03, 0.01, 0.002),
                                   (0.001, 0.05, 0.01)):
        gap = abs(difference)
        loss = lambda mean, sd: integrate.quad(
            lambda x: -x * stats.norm.pdf(x, mean, sd), mean - 12 * sd, 0.0,
            epsabs=0, epsrel=1e-12)[0] if mean < 12 * sd else 0.0
        moved = np.sqrt(now ** 2 - after ** 2)
        # Whoever leads after the block is chosen, and the loss is of that choice.
        later = integrate.quad(
            lambda m: stats.norm.pdf(m, gap, moved) * loss(abs(m), after),
            gap - 10 * moved, gap + 10 * moved, points=[0.0], epsabs=1e-15, epsrel=1e-9,
            limit=400)[0]
        rows.append({"difference": difference, "now": now, "after": after,
                     "loss_now": loss(gap, now), "loss_after": later})
    return rows


def replications():
    rows = []
    rng = np.random.default_rng(3)
    for difference, se, df, again, again_df in ((2.0, 1.0, 4.0, 1.0, 4.0), (3.0, 1.0, 9.0, 0.5, 20.0),
                                                (-0.5, 1.0, 2.0, 1.0, 2.0), (2.5, 1.0, 30.0, 2.0, 3.0)):
        spread = np.hypot(se, again)
        distance, bar = abs(difference) / spread, stats.t.ppf(0.975, again_df) * again / spread
        density = lambda s: 2 * df * s * stats.chi2.pdf(df * s * s, df)
        significant = integrate.quad(
            lambda s: density(s) * stats.nct.sf(bar, again_df, distance * s), 0, 8,
            epsabs=1e-11, limit=400)[0]
        # The same by drawing scale, truth, replication and its own error one after another.
        n = 4_000_000
        sigma = 1 / np.sqrt(rng.chisquare(df, n) / df)
        truth = abs(difference) + se * sigma * rng.normal(size=n)
        found = truth + again * sigma * rng.normal(size=n)
        own = again * sigma * np.sqrt(rng.chisquare(again_df, n) / again_df)
        drawn = np.mean(found > stats.t.ppf(0.975, again_df) * own)
        assert abs(drawn - significant) < 2e-3, (drawn, significant)
        rows.append({"difference": difference, "se": se, "df": df, "again": again,
                     "again_df": again_df, "significant": significant,
                     "same_sign": stats.t.cdf(distance, df)})
    return rows


def retrodesigns():
    rows = []
    # The last two are the published examples: power .05, .06; type S .46, .24; type M 77, 9.6.
    for effect, se, spread, df in ((0.01, 0.004, 0.004, None), (0.01, 0.004, 0.012, None),
                                   (1.0, 0.8, 1.1, 5.0), (2.0, 1.0, 1.0, 2.0),
                                   (0.1, 3.28, 3.28, None), (2.0, 8.1, 8.1, None)):
        law = stats.norm if df is None else stats.t(df)
        bar = law.ppf(0.975) * se
        density = lambda x: law.pdf((x - effect) / spread) / spread
        right, wrong = law.sf((bar - effect) / spread), law.cdf((-bar - effect) / spread)
        size = sum(integrate.quad(lambda x: abs(x) * density(x), *ends, epsabs=0, epsrel=1e-10,
                                  limit=500)[0] for ends in ((bar, np.inf), (-np.inf, -bar)))
        rows.append({"effect": effect, "se": se, "spread": spread, "df": df,
                     "significant": right + wrong, "wrong": wrong,
                     "wrong_share": wrong / (right + wrong),
                     "exaggeration": size / (right + wrong) / effect})
    return rows


def monitor():
    rhos = [{"alpha": a, "blocks": b,
             "rho_squared": (-special.lambertw(-a * a / np.e, -1).real - 1) / b}
            for a in (0.05, 0.1, 0.01) for b in (1, 10, 50)]
    asymptotic = []
    for row in rhos:
        r2, a = row["rho_squared"], row["alpha"]
        for t in (1, 5, 30, 1000):
            margin = np.sqrt(2 * (t * r2 + 1) / (t * t * r2) * np.log(np.sqrt(t * r2 + 1) / a))
            asymptotic.append({"blocks": t, "rho_squared": r2, "alpha": a,
                               "multiple": margin * np.sqrt(t)})
    student = [student_bound(t, r2, a) for t, r2, a in
               ((8, 1.0, 0.05), (12, 0.3, 0.1), (40, 0.2, 0.05), (100, 0.05, 0.05))]
    looks = [[1, 2], [2, 4, 6], [1, 2, 3, 4, 5], [3, 5, 6, 12, 40]]
    spending = [{"looks": l, "alpha": a, "spent": [spent(l[:k], a) for k in range(1, len(l) + 1)]}
                for l in looks for a in (0.05, 0.1)]
    return {"rho_squared": rhos, "asymptotic": asymptotic, "student": student, "spent": spending}


def student_bound(n, g, alpha):
    """Where the Bayes factor of the t test, by its integral over the standardised mean, is 1/alpha."""
    def log_factor(t):
        height = lambda d: stats.nct.pdf(t, n - 1, np.sqrt(n) * d) * stats.norm.pdf(d, 0, g ** 0.5)
        top = t / np.sqrt(n)
        integral = integrate.quad(height, -8 * g ** 0.5, 8 * g ** 0.5, points=[0, min(top, 3)],
                                  epsabs=0, epsrel=1e-10, limit=400)[0]
        return np.log(integral / stats.t.pdf(t, n - 1)) + np.log(alpha)
    return {"blocks": n, "rho_squared": g, "alpha": alpha,
            "multiple": optimize.brentq(log_factor, 0.5, 40, xtol=1e-9)}


def spent(looks, alpha):
    z = stats.norm.ppf(1 - alpha / 2)
    t = np.array(looks, dtype=float)
    if len(t) == 1:
        return alpha
    corr = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    law = stats.multivariate_normal(np.zeros(len(t)), corr, allow_singular=True, seed=5,
                                    maxpts=20_000_000, abseps=1e-7, releps=1e-7)
    return 1 - law.cdf(np.full(len(t), z), lower_limit=np.full(len(t), -z))


def largest():
    rows = []
    for k in (2, 5, 10, 50, 1000, 1_000_000):
        value = integrate.quad(lambda x: x * k * stats.norm.pdf(x) * np.exp(
            (k - 1) * stats.norm.logcdf(x)), -9, 12, epsabs=1e-13, limit=500, points=[0, 2, 4, 5])[0]
        rows.append([k, value])
    return rows


expected = {
    "noncentral_t": noncentral(),
    "powers": powers(),
    "detectable": [[df, a, p, detectable(df, a, p)] for df in (1.0, 3.0, 7.5, 100.0)
                   for a, p in ((0.05, 0.8), (0.01, 0.9))],
    "chi_square": [[p, df, stats.chi2.ppf(p, df)] for p in (1e-6, 0.025, 0.5, 0.975, 0.9999)
                   for df in (1.0, 2.0, 4.5, 300.0)],
    "components": COMPONENTS,
    "differences": differences(),
    "one_arm": one_arm(),
    "searches": searches(),
    "coefficients": coefficients(),
    "losses": losses(),
    "replications": replications(),
    "retrodesigns": retrodesigns(),
    "monitor": monitor(),
    "largest": largest(),
    "made_with": {"scipy": scipy.__version__, "numpy": np.__version__,
                  "statsmodels": statsmodels.__version__},
}
with open("expected.json", "w", encoding="utf-8") as file:
    json.dump(expected, file, indent=1, default=float)
    file.write("\n")
