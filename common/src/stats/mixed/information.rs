//! How much the data say about the variances, and how the fixed effects' covariance follows them.
//!
//! The covariance of a level's effects is `s2 F F'`, F its factor at the estimate. Its directions
//! are the columns of F that are not zero, and everything is taken in `(phi, s2)`:
//! `V = s2 (I + sum_ab phi_ab (A_a A_b' + A_b A_a') / (1 + [a = b]))`, with `A_a` the columns of Z
//! along direction a, and phi the identity at the estimate. Both informations are tensors at the
//! optimum, so what is computed from them does not depend on that choice; it saves every product
//! with an identity of n rows, and `A' V0^-1 A = I - Omega^-1`. A direction in which the covariance
//! is zero is held there and has no place here. Deliberately absent: degrees of freedom.
//!
//! Source: Lindstrom & Bates (1988), J. Am. Stat. Assoc. 83; Kenward & Roger (1997), Biometrics 53.
//! Checked against lmerTest and pbkrtest by `tests/inference.rs`.
//!
//! Floor: common.

use faer::linalg::solvers::{DenseSolveCore, Llt, Solve};
use faer::{Mat, Side};

use super::fit::{Fit, Method};
use super::objective::Point;
use super::relative;
use super::terms::Terms;

/// Derivatives at a fit's estimate. Units: those of the scaled response and of Q.
#[derive(Clone, Debug)]
pub(super) struct Information {
    /// Block and column of its factor of every direction.
    pub directions: Vec<(usize, usize)>,
    /// The directions a and b of each phi, a no later than b.
    pub pairs: Vec<(usize, usize)>,
    pub variance: f64,
    /// `(Q' V0^-1 Q)^-1`, [p, p].
    pub phi: Mat<f64>,
    /// `Q' V0^-1 V_k V0^-1 Q`, V_k the derivative of V0 by phi_k; one a phi, each [p, p].
    pub middles: Vec<Mat<f64>>,
    /// Covariance of `(phi, s2)`, [g + 1, g + 1].
    pub covariance: Mat<f64>,
    /// `Q' V0^-1 V_k V0^-1 V_l V0^-1 Q` for `l <= k`, by `k (k + 1) / 2 + l`; filled for
    /// [`Kind::Expected`] alone.
    pub doubles: Vec<Mat<f64>>,
}

/// Which information the covariance of the variances comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Half the Hessian of the criterion that was fitted.
    Observed,
    /// Its expectation under the restricted likelihood.
    Expected,
}

impl Information {
    /// `None` when the likelihood is flat along some direction of the variances.
    ///
    /// Costs one dense [q, q] matrix up to [`LEVELS_MAX`] levels. Beyond, only the observed
    /// information is to be had, from differences of exact slopes; an expected one is `None`.
    pub fn of(fit: &Fit, kind: Kind) -> Option<Self> {
        Self::taken(fit, kind, fit.terms.border.nrows() <= LEVELS_MAX)
    }

    fn taken(fit: &Fit, kind: Kind, exact: bool) -> Option<Self> {
        let point = Point::at(&fit.terms, &fit.block_theta)?;
        if kind == Kind::Expected && !exact {
            return None;
        }
        let parts = Parts::of(fit, &point);
        let (hessian, doubles) = match (kind, exact) {
            (Kind::Expected, _) => parts.expected(),
            (Kind::Observed, true) => (parts.observed(), Vec::new()),
            (Kind::Observed, false) => (parts.observed_by_differences()?, Vec::new()),
        };
        let covariance = twice_inverse(&hessian)?;
        let middles = parts.pairs.iter().map(|&pair| parts.middle(pair)).collect();
        let Parts { directions, pairs, phi, variance, .. } = parts;
        Some(Self { directions, pairs, variance, phi, middles, covariance, doubles })
    }

    /// Gradient of `weights' s2 Phi weights` by `(phi, s2)`, weights on the coefficients of Q.
    pub fn gradient(&self, weights: &Mat<f64>) -> Vec<f64> {
        let moved = &self.phi * weights;
        let form = |middle: &Mat<f64>| (moved.transpose() * middle * &moved)[(0, 0)];
        let by_phi = self.middles.iter().map(|middle| self.variance * form(middle));
        by_phi.chain([(weights.transpose() * &moved)[(0, 0)]]).collect()
    }

    /// `gradient' covariance gradient`: the variance of an estimated variance.
    pub fn spread(&self, gradient: &[f64]) -> f64 {
        let size = gradient.len();
        (0..size)
            .flat_map(|i| (0..size).map(move |j| (i, j)))
            .map(|(i, j)| gradient[i] * self.covariance[(i, j)] * gradient[j])
            .sum()
    }
}

struct Parts<'a> {
    point: &'a Point<'a>,
    method: Method,
    directions: Vec<(usize, usize)>,
    pairs: Vec<(usize, usize)>,
    variance: f64,
    phi: Mat<f64>,
    /// `A_a' V0^-1 Q`, one a direction, [levels, p].
    with_q: Vec<Mat<f64>>,
    /// `A_a' P y`, one a direction, [levels].
    residual: Vec<Vec<f64>>,
}

/// `A_a' M A_b` for every two directions, by `a * directions + b`.
struct Products(Vec<Mat<f64>>, usize);

impl Products {
    fn at(&self, a: usize, b: usize) -> &Mat<f64> {
        &self.0[a * self.1 + b]
    }
}

impl<'a> Parts<'a> {
    fn of(fit: &Fit, point: &'a Point<'a>) -> Self {
        let terms: &Terms = point.terms;
        let mut directions: Vec<(usize, usize)> = Vec::new();
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for (place, block) in terms.blocks.iter().enumerate() {
            for term in &block.terms {
                let first = directions.len();
                let along = |column: &usize| {
                    (0..block.width).any(|i| point.factors[place][i * block.width + column] != 0.0)
                };
                let columns = (term.first..term.first + term.width).filter(along);
                directions.extend(columns.map(|column| (place, column)));
                let end = directions.len();
                pairs.extend((first..end).flat_map(|a| (a..end).map(move |b| (a, b))));
            }
        }
        let effects = point.effects();
        let rows = |&(place, column): &(usize, usize)| -> Vec<usize> {
            let block = &terms.blocks[place];
            (0..block.levels.len()).map(|level| block.at(level) + column).collect()
        };
        let with_q = (directions.iter().map(rows))
            .map(|rows| Mat::from_fn(rows.len(), terms.p, |i, j| point.solved[(rows[i], j)]))
            .collect();
        let residual = (directions.iter().map(rows))
            .map(|rows| rows.into_iter().map(|row| effects[row]).collect())
            .collect();
        let (variance, phi) = (point.variance(fit.method), point.fixed_covariance());
        Self { point, method: fit.method, directions, pairs, variance, phi, with_q, residual }
    }

    /// Second derivatives of the criterion by `(phi, s2)`.
    ///
    /// REML: `-tr(P V_k P V_l) + 2 y'P V_k P V_l P y / s2`, `y'P V_k P y / s2^2` and
    /// `(n - p) / s2^2`; ML has `V0^-1` for P in the trace, and n.
    fn observed(&self) -> Mat<f64> {
        let plain = self.products();
        let projected = self.projected(&plain);
        let traced = if self.method == Method::Reml { &projected } else { &plain };
        let mut hessian = self.with_variance();
        self.each_two(|k, l, one, other| {
            let form: f64 = orders(one)
                .flat_map(|left| orders(other).map(move |right| (left, right)))
                .map(|((a, b), (c, d))| {
                    quadratic(&self.residual[a], projected.at(b, c), &self.residual[d])
                })
                .sum();
            let value = 2.0 * form / self.variance - traces(traced, one, other);
            (hessian[(k, l)], hessian[(l, k)]) = (value, value);
        });
        hessian
    }

    /// The same with its first part from central differences of the exact slopes.
    fn observed_by_differences(&self) -> Option<Mat<f64>> {
        let mut hessian = self.with_variance();
        for (column, &pair) in self.pairs.iter().enumerate() {
            let (above, below) = (self.slopes(pair, DIFFERENCE)?, self.slopes(pair, -DIFFERENCE)?);
            for (row, (above, below)) in above.into_iter().zip(below).enumerate() {
                let value = (above - below) / (2.0 * DIFFERENCE);
                hessian[(row, column)] += 0.5 * value;
                hessian[(column, row)] += 0.5 * value;
            }
        }
        Some(hessian)
    }

    /// Slopes of the criterion by every phi, where one is `step` from its estimate.
    fn slopes(&self, (a, b): (usize, usize), step: f64) -> Option<Vec<f64>> {
        let terms = self.point.terms;
        let ((place, a), (_, b)) = (self.directions[a], self.directions[b]);
        let k = terms.blocks[place].width;
        // A root of the identity with one entry, or two that mirror each other, moved.
        let mut root: Vec<f64> =
            (0..k * k).map(|at| f64::from(u8::from(at / k == at % k))).collect();
        if a == b {
            root[a * k + a] = (1.0 + step).sqrt();
        } else {
            root[b * k + a] = step;
            root[b * k + b] = (1.0 - step * step).sqrt();
        }
        let mut factors = self.point.factors.clone();
        factors[place] = relative::times(&factors[place], &root, k);
        let moved = Point::of_factors(terms, factors)?;
        let by_covariance: Vec<Vec<f64>> =
            (moved.covariance_slopes(self.method, self.variance).into_iter().enumerate())
                .map(|(place, slopes)| {
                    let width = terms.blocks[place].width;
                    relative::sandwiched(&self.point.factors[place], &slopes, width)
                })
                .collect();
        let of = |&(a, b): &(usize, usize)| {
            let ((place, a), (_, b)) = (self.directions[a], self.directions[b]);
            let slope = by_covariance[place][a * terms.blocks[place].width + b];
            if a == b { slope } else { 2.0 * slope }
        };
        Some(self.pairs.iter().map(of).collect())
    }

    /// `tr(P V_i P V_j)` for the derivatives `V_i` of V by `(phi, s2)`, and the doubles.
    fn expected(&self) -> (Mat<f64>, Vec<Mat<f64>>) {
        let plain = self.products();
        let projected = self.projected(&plain);
        let size = self.pairs.len();
        let mut information = Mat::zeros(size + 1, size + 1);
        let mut doubles = Vec::new();
        self.each_two(|k, l, one, other| {
            let mut double = Mat::zeros(self.phi.nrows(), self.phi.nrows());
            for (a, b) in orders(one) {
                for (c, d) in orders(other) {
                    double += self.with_q[a].transpose() * plain.at(b, c) * &self.with_q[d];
                }
            }
            doubles.push(double);
            let value = traces(&projected, one, other);
            (information[(k, l)], information[(l, k)]) = (value, value);
        });
        for (k, &(a, b)) in self.pairs.iter().enumerate() {
            let own = projected.at(a, b);
            let trace: f64 = (0..own.nrows()).map(|i| own[(i, i)]).sum();
            let value = count((a, b)) * trace / self.variance;
            (information[(k, size)], information[(size, k)]) = (value, value);
        }
        information[(size, size)] = self.point.freedom(self.method) / self.variance.powi(2);
        (information, doubles)
    }

    /// Every phi with itself and those before it.
    fn each_two(&self, mut each: impl FnMut(usize, usize, (usize, usize), (usize, usize))) {
        for (k, &one) in self.pairs.iter().enumerate() {
            for (l, &other) in self.pairs[..=k].iter().enumerate() {
                each(k, l, one, other);
            }
        }
    }

    /// The row and column of s2; zeros elsewhere.
    fn with_variance(&self) -> Mat<f64> {
        let size = self.pairs.len();
        let mut hessian = Mat::zeros(size + 1, size + 1);
        for (k, &(a, b)) in self.pairs.iter().enumerate() {
            let products = self.residual[a].iter().zip(&self.residual[b]).map(|(a, b)| a * b);
            let value = count((a, b)) * products.sum::<f64>() / self.variance.powi(2);
            (hessian[(k, size)], hessian[(size, k)]) = (value, value);
        }
        hessian[(size, size)] = self.point.freedom(self.method) / self.variance.powi(2);
        hessian
    }

    fn middle(&self, pair: (usize, usize)) -> Mat<f64> {
        let mut middle = Mat::zeros(self.phi.nrows(), self.phi.nrows());
        for (a, b) in orders(pair) {
            middle += self.with_q[a].transpose() * &self.with_q[b];
        }
        middle
    }

    /// `A_a' V0^-1 A_b`: the identity less the inverse of Omega.
    fn products(&self) -> Products {
        let blocks = &self.point.terms.blocks;
        let inverse = self.point.omega_inverse();
        let all = self.directions.iter().flat_map(|a| self.directions.iter().map(move |b| (a, b)));
        let products = all.map(|(&(of_a, a), &(of_b, b))| {
            let (rows, columns) = (&blocks[of_a], &blocks[of_b]);
            Mat::from_fn(rows.levels.len(), columns.levels.len(), |i, j| {
                let (i, j) = (rows.at(i) + a, columns.at(j) + b);
                f64::from(u8::from(i == j)) - inverse[(i, j)]
            })
        });
        Products(products.collect(), self.directions.len())
    }

    /// `A_a' P A_b` from `A_a' V0^-1 A_b`.
    fn projected(&self, plain: &Products) -> Products {
        let count = self.directions.len();
        let all = (0..count).flat_map(|a| (0..count).map(move |b| (a, b)));
        let projected = all.map(|(a, b)| {
            plain.at(a, b) - &self.with_q[a] * &self.phi * self.with_q[b].transpose()
        });
        Products(projected.collect(), count)
    }
}

impl Point<'_> {
    /// `Omega^-1`, [q, q].
    ///
    /// With `X = Omega_11^-1 Omega_12` and S the Schur complement: `Omega_11^-1 + X S^-1 X'`,
    /// `-X S^-1` and `S^-1`.
    fn omega_inverse(&self) -> Mat<f64> {
        let schur = self.schur.inverse();
        let coupling = self.largest.coupling(self.terms, &self.factors);
        let (q1, width) = (coupling.nrows(), coupling.ncols());
        let beside = &coupling * &schur;
        let mut inverse = Mat::zeros(q1 + width, q1 + width);
        inverse.submatrix_mut(0, 0, q1, q1).copy_from(&beside * coupling.transpose());
        self.largest.add_inverse(&mut inverse);
        for j in 0..width {
            for level in 0..q1 {
                let value = -beside[(level, j)];
                (inverse[(level, q1 + j)], inverse[(q1 + j, level)]) = (value, value);
            }
            (0..width).for_each(|i| inverse[(q1 + i, q1 + j)] = schur[(i, j)]);
        }
        inverse
    }
}

/// Both orders of two directions; one of a direction with itself.
fn orders((a, b): (usize, usize)) -> impl Iterator<Item = (usize, usize)> + Clone {
    [(a, b), (b, a)].into_iter().take(if a == b { 1 } else { 2 })
}

fn count((a, b): (usize, usize)) -> f64 {
    if a == b { 1.0 } else { 2.0 }
}

/// `tr(V_k M V_l M)`.
fn traces(products: &Products, one: (usize, usize), other: (usize, usize)) -> f64 {
    orders(one)
        .flat_map(|left| orders(other).map(move |right| (left, right)))
        .map(|((a, b), (c, d))| {
            let pairs = products.at(b, c).col_iter().zip(products.at(a, d).col_iter());
            pairs.map(|(x, y)| x.iter().zip(y.iter()).map(|(x, y)| x * y).sum::<f64>()).sum::<f64>()
        })
        .sum()
}

/// `left' middle right`.
fn quadratic(left: &[f64], middle: &Mat<f64>, right: &[f64]) -> f64 {
    let columns = middle.col_iter().zip(right);
    columns.map(|(column, r)| r * column.iter().zip(left).map(|(m, l)| m * l).sum::<f64>()).sum()
}

/// `2 H^-1`, by way of unit diagonal, since phis and s2 differ by orders; `None` unless H curves up
/// in every direction.
fn twice_inverse(hessian: &Mat<f64>) -> Option<Mat<f64>> {
    let size = hessian.nrows();
    let root: Vec<f64> = (0..size).map(|i| hessian[(i, i)].sqrt()).collect();
    if !root.iter().all(|root| root.is_finite() && *root > 0.0) {
        return None;
    }
    let unit = Mat::from_fn(size, size, |i, j| hessian[(i, j)] / (root[i] * root[j]));
    let factor: Llt<f64> = unit.llt(Side::Lower).ok()?;
    if (0..size).any(|i| factor.L()[(i, i)].powi(2) < FLAT) {
        return None;
    }
    let inverse = factor.solve(&Mat::<f64>::identity(size, size));
    Some(Mat::from_fn(size, size, |i, j| 2.0 * inverse[(i, j)] / (root[i] * root[j])))
}

/// Levels over all factors up to which `Omega^-1` is formed: 200 MB.
pub(super) const LEVELS_MAX: usize = 5_000;
/// Of a phi, whose estimate is one or zero.
const DIFFERENCE: f64 = 1e-4;
/// A direction along which the likelihood curves less than this share of its size is flat.
const FLAT: f64 = 1e-10;

#[cfg(test)]
mod tests {
    use super::super::tests::{crossed, fitted, terms};
    use super::*;

    #[test]
    fn differences_of_slopes_equal_the_exact_hessian() {
        for formula in ["y ~ x + arm + (1|a) + (1|b)", "y ~ x + arm + (1 + x|a) + (1|b)"] {
            let fit = fitted(formula, &crossed());
            let exact = Information::taken(&fit, Kind::Observed, true).unwrap();
            let differences = Information::taken(&fit, Kind::Observed, false).unwrap();
            for i in 0..exact.covariance.nrows() {
                for j in 0..exact.covariance.nrows() {
                    let (exact, other) = (exact.covariance[(i, j)], differences.covariance[(i, j)]);
                    let close = (exact - other).abs() < 1e-5 * exact.abs().max(1e-4);
                    assert!(close, "{formula} {i} {j}: {exact} {other}");
                }
            }
        }
    }

    #[test]
    fn the_inverse_of_omega_equals_a_dense_one() {
        let terms = terms("y ~ x + arm + (1 + x|a) + (1|b) + (1|a:arm)", &crossed());
        let (q1, q) = (terms.blocks[0].range().len(), terms.border.nrows());
        let k = terms.blocks[0].width;
        let mut counts = Mat::<f64>::zeros(q, q);
        for row in 0..q1 {
            for other in 0..k {
                counts[(row, row - row % k + other)] = terms.counts[row * k + other];
            }
            for (j, n) in terms.cells.row(row) {
                (counts[(row, q1 + j)], counts[(q1 + j, row)]) = (n, n);
            }
        }
        for j in q1..q {
            (q1..q).for_each(|i| counts[(i, j)] = terms.gram[(i - q1, j - q1)]);
        }
        for size in [0.0, 1e-4, 0.7, 20.0] {
            let theta: Vec<f64> =
                (0..terms.parameters.len()).map(|at| size * (1.0 + at as f64)).collect();
            let point = Point::at(&terms, &theta).unwrap();
            let scale = Mat::from_fn(q, q, |i, j| {
                let place = terms.blocks.iter().position(|block| block.range().contains(&i));
                let block = &terms.blocks[place.unwrap()];
                let (k, i, j) = (block.width, i - block.begin, j.wrapping_sub(block.begin));
                if j / k == i / k { point.factors[place.unwrap()][i % k * k + j % k] } else { 0.0 }
            });
            let omega = scale.transpose() * &counts * &scale + Mat::<f64>::identity(q, q);
            let product = omega * point.omega_inverse();
            for j in 0..q {
                for i in 0..q {
                    let unit = f64::from(u8::from(i == j));
                    assert!((product[(i, j)] - unit).abs() < 1e-8, "{size} {i} {j}");
                }
            }
        }
    }
}
