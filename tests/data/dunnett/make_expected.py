"""Makes expected.json: Dunnett's many-to-one comparisons of arms with different numbers of rows.

Run in this folder: python make_expected.py (Python 3, numpy, scipy >= 1.11). The distribution of the
largest |t| is integrated over the common factor and the residual spread, which the product structure
of the correlations allows (Dunnett 1955); scipy.stats.dunnett, which draws at random, must agree.
"""
import json

import numpy as np
from scipy import integrate, optimize, stats


def inside(t, lam, df):
    """P(max |T_i| <= t) for correlations lam_i lam_j."""
    root = np.sqrt(1 - lam**2)
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    weight = weight / weight.sum()

    def given(s):
        up = (t * s - np.outer(z, lam)) / root
        down = (-t * s - np.outer(z, lam)) / root
        return weight @ np.prod(stats.norm.cdf(up) - stats.norm.cdf(down), axis=1)

    density = lambda s: 2 * df * s * stats.chi2.pdf(df * s * s, df)
    return integrate.quad(lambda s: given(s) * density(s), 0, 6, epsabs=1e-11, limit=400)[0]


def case(name, sizes, shifts, seed):
    rng = np.random.default_rng(seed)
    groups = [np.round(shift + rng.normal(size=size), 4) for size, shift in zip(sizes, shifts)]
    n = np.array(sizes)
    df = int(n.sum() - len(n))
    s = np.sqrt(sum(((g - g.mean()) ** 2).sum() for g in groups) / df)
    lam = np.sqrt(n[1:] / (n[0] + n[1:]))
    se = s * np.sqrt(1 / n[0] + 1 / n[1:])
    difference = np.array([g.mean() - groups[0].mean() for g in groups[1:]])
    t = difference / se
    p = [1 - inside(abs(x), lam, df) for x in t]
    critical = optimize.brentq(lambda c: inside(c, lam, df) - 0.95, 1.5, 8, xtol=1e-9)
    drawn = stats.dunnett(*groups[1:], control=groups[0], random_state=1)
    assert np.allclose(drawn.statistic, t) and np.allclose(drawn.pvalue, p, atol=2e-3), (drawn, t, p)
    return {"name": name, "groups": [g.tolist() for g in groups], "df": df, "t": t.tolist(),
            "p": p, "critical_95": critical, "difference": difference.tolist(), "se": se.tolist()}


# Dunnett's own table: 5 %, two-sided, 3 comparisons, 20 degrees of freedom.
assert abs(inside(2.54, np.full(3, np.sqrt(0.5)), 20) - 0.95) < 1e-3
cases = [case("balanced", [6, 6, 6, 6], [0, 0.2, 1.2, 2.0], 1),
         case("unbalanced", [12, 5, 9, 4, 7], [0, 0.9, -0.7, 0.1, 1.3], 2),
         case("few rows", [3, 2, 3], [0, 3.5, 1.0], 3),
         case("many arms", [5] * 20, [0] + [0.1 * i for i in range(19)], 4)]
with open("expected.json", "w") as file:
    json.dump({"cases": cases}, file, indent=1)
    file.write("\n")
