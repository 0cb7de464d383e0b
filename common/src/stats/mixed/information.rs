//! How much the data say about the variances, and how the fixed effects' covariance follows them.
//!
//! Everything is taken in `(gamma, s2)`: `gamma_k = theta_k^2` and `s2 = sigma^2`, with
//! `V = s2 V0` and `V0 = I + sum_k gamma_k Z_k Z_k'`. Both informations are tensors at the
//! optimum, so what is computed from them does not depend on that choice; what it saves is every
//! product with an identity of n rows. A variance at zero is held there and has no place here.
//! Deliberately absent: degrees of freedom.
//!
//! Source: Lindstrom & Bates (1988), J. Am. Stat. Assoc. 83; Kenward & Roger (1997), Biometrics 53.
//! Checked against lmerTest and pbkrtest by `tests/inference.rs`.
//!
//! Floor: common.

use faer::linalg::solvers::{DenseSolveCore, Llt, Solve};
use faer::{Mat, Side};

use super::fit::{Fit, Method};
use super::objective::{Point, SMALL};
use super::terms::Terms;

/// Derivatives at a fit's estimate. Units: those of the scaled response and of Q.
#[derive(Clone, Debug)]
pub(super) struct Information {
    /// Blocks whose variance is not zero, in the order of the blocks: the gammas below.
    pub free: Vec<usize>,
    pub variance: f64,
    /// `(Q' V0^-1 Q)^-1`, [p, p].
    pub phi: Mat<f64>,
    /// `Q' V0^-1 G_k V0^-1 Q`, one a gamma, each [p, p].
    pub middles: Vec<Mat<f64>>,
    /// Covariance of `(gamma, s2)`, [g + 1, g + 1].
    pub covariance: Mat<f64>,
    /// `Q' V0^-1 G_k V0^-1 G_l V0^-1 Q` for `l <= k`, by `k (k + 1) / 2 + l`; filled for
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
        let free: Vec<usize> =
            (0..point.theta.len()).filter(|&block| point.theta[block] > 0.0).collect();
        let variance = point.variance(fit.method);
        let phi = point.fixed_covariance();
        let scores = if free.is_empty() { Mat::zeros(0, fit.terms.p + 1) } else { point.scores() };
        let with_q: Vec<Mat<f64>> = (free.iter())
            .map(|&block| {
                let range = fit.terms.blocks[block].range();
                Mat::from_fn(range.len(), fit.terms.p, |i, j| scores[(range.start + i, j)])
            })
            .collect();
        let mut parts = Parts { fit, point: &point, free: &free, phi: &phi, with_q: &with_q };
        let (hessian, doubles) = match (kind, exact) {
            (Kind::Expected, _) => parts.expected(),
            (Kind::Observed, true) => (parts.observed(&scores), Vec::new()),
            (Kind::Observed, false) => (parts.observed_by_differences(&scores)?, Vec::new()),
        };
        let middles = with_q.iter().map(|s| s.transpose() * s).collect();
        let covariance = twice_inverse(&hessian)?;
        Some(Self { free, variance, phi, middles, covariance, doubles })
    }

    /// Gradient of `weights' s2 Phi weights` by `(gamma, s2)`, weights on the coefficients of Q.
    pub fn gradient(&self, weights: &Mat<f64>) -> Vec<f64> {
        let moved = &self.phi * weights;
        let form = |middle: &Mat<f64>| (moved.transpose() * middle * &moved)[(0, 0)];
        let by_gamma = self.middles.iter().map(|middle| self.variance * form(middle));
        by_gamma.chain([(weights.transpose() * &moved)[(0, 0)]]).collect()
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
    fit: &'a Fit,
    point: &'a Point<'a>,
    free: &'a [usize],
    phi: &'a Mat<f64>,
    /// `Z_k' V0^-1 Q` of the free blocks.
    with_q: &'a [Mat<f64>],
}

impl Parts<'_> {
    /// Second derivatives of the criterion by `(gamma, s2)`.
    ///
    /// REML: `-tr(P G_k P G_l) + 2 y'P G_k P G_l P y / s2`, `|Z_k' P y|^2 / s2^2` and
    /// `(n - p) / s2^2`; ML has `V0^-1` for P in the trace, and n.
    fn observed(&mut self, scores: &Mat<f64>) -> Mat<f64> {
        let (residual, variance) =
            (self.residual_scores(scores), self.point.variance(self.method()));
        let products = self.point.products();
        let size = self.free.len();
        let mut hessian = self.with_variance(&residual, variance);
        for k in 0..size {
            for l in 0..=k {
                let plain = self.block(&products, k, l);
                let projected = self.projected(&plain, k, l);
                let traced = if self.method() == Method::Reml { &projected } else { &plain };
                let form = residual[k].transpose() * &projected * &residual[l];
                let value = 2.0 * form[(0, 0)] / variance - squared_norm(traced);
                (hessian[(k, l)], hessian[(l, k)]) = (value, value);
            }
        }
        hessian
    }

    /// The same with its first part from central differences of the exact slopes.
    fn observed_by_differences(&mut self, scores: &Mat<f64>) -> Option<Mat<f64>> {
        let (residual, variance) =
            (self.residual_scores(scores), self.point.variance(self.method()));
        let mut hessian = self.with_variance(&residual, variance);
        for (column, &block) in self.free.iter().enumerate() {
            let gamma = self.point.theta[block].powi(2);
            let slopes = |gamma: f64| {
                let mut theta = self.point.theta.clone();
                theta[block] = gamma.sqrt();
                Some(Point::at(self.point.terms, &theta)?.slopes(self.method(), variance))
            };
            let step = DIFFERENCE * gamma;
            let (above, below) = (slopes(gamma + step)?, slopes(gamma - step)?);
            for (row, &other) in self.free.iter().enumerate() {
                let value = (above[other] - below[other]) / (2.0 * step);
                hessian[(row, column)] += 0.5 * value;
                hessian[(column, row)] += 0.5 * value;
            }
        }
        Some(hessian)
    }

    /// `tr(P V_i P V_j)` for the derivatives `V_i` of V by `(gamma, s2)`, and the doubles.
    fn expected(&mut self) -> (Mat<f64>, Vec<Mat<f64>>) {
        let variance = self.point.variance(self.method());
        let products = self.point.products();
        let size = self.free.len();
        let mut information = Mat::zeros(size + 1, size + 1);
        let mut doubles = Vec::new();
        for k in 0..size {
            for l in 0..=k {
                let plain = self.block(&products, k, l);
                doubles.push(self.with_q[k].transpose() * &plain * &self.with_q[l]);
                let projected = self.projected(&plain, k, l);
                let value = squared_norm(&projected);
                (information[(k, l)], information[(l, k)]) = (value, value);
                if k == l {
                    let trace = (0..plain.nrows()).map(|i| projected[(i, i)]).sum::<f64>();
                    let value = trace / variance;
                    (information[(k, size)], information[(size, k)]) = (value, value);
                }
            }
        }
        information[(size, size)] = self.point.freedom(self.method()) / variance.powi(2);
        (information, doubles)
    }

    /// The row and column of s2; zeros elsewhere.
    fn with_variance(&self, residual: &[Mat<f64>], variance: f64) -> Mat<f64> {
        let size = self.free.len();
        let mut hessian = Mat::zeros(size + 1, size + 1);
        for (k, residual) in residual.iter().enumerate() {
            let value = squared_norm(residual) / variance.powi(2);
            (hessian[(k, size)], hessian[(size, k)]) = (value, value);
        }
        hessian[(size, size)] = self.point.freedom(self.method()) / variance.powi(2);
        hessian
    }

    /// `Z_k' P y` of the free blocks.
    fn residual_scores(&self, scores: &Mat<f64>) -> Vec<Mat<f64>> {
        let p = self.point.terms.p;
        let blocks = self.free.iter().zip(self.with_q);
        blocks
            .map(|(&block, with_q)| {
                let range = self.point.terms.blocks[block].range();
                let fitted = |i: usize| -> f64 {
                    (0..p).map(|j| with_q[(i, j)] * self.point.coefficients[j]).sum()
                };
                Mat::from_fn(range.len(), 1, |i, _| scores[(range.start + i, p)] - fitted(i))
            })
            .collect()
    }

    fn block(&self, products: &Mat<f64>, k: usize, l: usize) -> Mat<f64> {
        let blocks = &self.point.terms.blocks;
        let (rows, columns) = (blocks[self.free[k]].range(), blocks[self.free[l]].range());
        products.submatrix(rows.start, columns.start, rows.len(), columns.len()).to_owned()
    }

    /// `Z_k' P Z_l` from `Z_k' V0^-1 Z_l`.
    fn projected(&self, plain: &Mat<f64>, k: usize, l: usize) -> Mat<f64> {
        plain - &self.with_q[k] * self.phi * self.with_q[l].transpose()
    }

    fn method(&self) -> Method {
        self.fit.method
    }
}

impl Point<'_> {
    /// `Z' V0^-1 Z`, [q, q], in whichever form does not cancel.
    ///
    /// With `R` the others' part after the largest factor, `B` their theta, `S = B R B + I` and
    /// `E = I - B S^-1 B R`: the blocks are `R E`, `D^-1 N E` and
    /// `D^-1 (diag(counts) - N B S^-1 B N' D^-1)`.
    fn products(&self) -> Mat<f64> {
        let terms: &Terms = self.terms;
        let (q1, width) = (self.diagonal.len(), self.scale.len());
        let schur = self.schur.inverse();
        let reduced = Mat::from_fn(width, width, |i, j| self.reduced[(i.max(j), i.min(j))]);
        let remaining = self.remaining(&schur, &reduced);
        let mut products = Mat::zeros(q1 + width, q1 + width);
        let direct = &reduced * &remaining;
        for j in 0..width {
            for i in 0..=j {
                let theta = self.scale[i] * self.scale[j];
                let value = if self.scale[i] > SMALL && self.scale[j] > SMALL {
                    (if i == j { 1.0 } else { 0.0 } - schur[(i, j)]) / theta
                } else if self.scale[j] > SMALL {
                    direct[(i, j)]
                } else {
                    direct[(j, i)]
                };
                products[(q1 + i, q1 + j)] = value;
                products[(q1 + j, q1 + i)] = value;
            }
        }
        // Rows of a dense matrix weighted by the cells: `D^-1 N` times it.
        let spread = |level: usize, dense: &Mat<f64>, column: usize| -> f64 {
            let cells = terms.cells.row(level);
            cells.map(|(j, n)| n * dense[(j, column)]).sum::<f64>() / self.diagonal[level]
        };
        for j in 0..width {
            for level in 0..q1 {
                let value = spread(level, &remaining, j);
                (products[(level, q1 + j)], products[(q1 + j, level)]) = (value, value);
            }
        }
        let scaled =
            Mat::from_fn(width, width, |i, j| self.scale[i] * schur[(i, j)] * self.scale[j]);
        let left = Mat::from_fn(width, q1, |j, level| spread(level, &scaled, j));
        for level in 0..q1 {
            for other in 0..=level {
                let value = -spread(level, &left, other);
                (products[(level, other)], products[(other, level)]) = (value, value);
            }
            products[(level, level)] += terms.counts[level] / self.diagonal[level];
        }
        products
    }

    /// E: `B S^-1 B^-1` in the columns where theta is not small.
    fn remaining(&self, schur: &Mat<f64>, reduced: &Mat<f64>) -> Mat<f64> {
        let width = self.scale.len();
        let small: Vec<usize> = (0..width).filter(|&j| self.scale[j] <= SMALL).collect();
        let picked =
            Mat::from_fn(width, small.len(), |i, j| self.scale[i] * reduced[(i, small[j])]);
        let explained = schur * &picked;
        let mut remaining =
            Mat::from_fn(width, width, |i, j| self.scale[i] * schur[(i, j)] / self.scale[j]);
        for (at, &j) in small.iter().enumerate() {
            for i in 0..width {
                let unit = if i == j { 1.0 } else { 0.0 };
                remaining[(i, j)] = unit - self.scale[i] * explained[(i, at)];
            }
        }
        remaining
    }
}

/// `2 H^-1`, by way of unit diagonal, since gammas differ by orders; `None` unless H curves up
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

fn squared_norm(matrix: &Mat<f64>) -> f64 {
    matrix.col_iter().map(|column| column.iter().map(|value| value * value).sum::<f64>()).sum()
}

/// Levels over all factors up to which `Z' V0^-1 Z` is formed: 200 MB.
pub(super) const LEVELS_MAX: usize = 5_000;
/// Of a gamma.
const DIFFERENCE: f64 = 1e-4;
/// A direction along which the likelihood curves less than this share of its size is flat.
const FLAT: f64 = 1e-10;

#[cfg(test)]
mod tests {
    use super::super::tests::{crossed, fitted, terms};
    use super::*;

    #[test]
    fn differences_of_slopes_equal_the_exact_hessian() {
        let fit = fitted("y ~ x + arm + (1|a) + (1|b)", &crossed());
        let exact = Information::taken(&fit, Kind::Observed, true).unwrap();
        let differences = Information::taken(&fit, Kind::Observed, false).unwrap();
        for i in 0..3 {
            for j in 0..3 {
                let (exact, other) = (exact.covariance[(i, j)], differences.covariance[(i, j)]);
                assert!((exact - other).abs() < 1e-5 * exact.abs(), "{i} {j}: {exact} {other}");
            }
        }
    }

    #[test]
    fn products_equal_dense_ones_at_any_theta() {
        let terms = terms("y ~ x + arm + (1|a) + (1|b) + (1|a:arm)", &crossed());
        let (q1, q) = (terms.counts.len(), terms.border.nrows());
        let mut counts = Mat::<f64>::zeros(q, q);
        for level in 0..q1 {
            counts[(level, level)] = terms.counts[level];
            for (j, n) in terms.cells.row(level) {
                (counts[(level, q1 + j)], counts[(q1 + j, level)]) = (n, n);
            }
        }
        for j in q1..q {
            (q1..q).for_each(|i| counts[(i, j)] = terms.gram[(i - q1, j - q1)]);
        }
        for theta in [[0.8, 1.3, 0.6], [0.0, 0.5, 0.0], [1e-4, 5e-4, 30.0], [20.0, 1e-4, 0.0]] {
            let scale = Mat::from_fn(q, q, |i, j| {
                let block = terms.blocks.iter().position(|block| block.range().contains(&i));
                if i == j { theta[block.unwrap()] } else { 0.0 }
            });
            let omega = &scale * &counts * &scale + Mat::<f64>::identity(q, q);
            let inner = &scale * omega.llt(Side::Lower).unwrap().solve(&scale);
            let expected = &counts - &counts * inner * &counts;
            let actual = Point::at(&terms, &theta).unwrap().products();
            for j in 0..q {
                for i in 0..q {
                    let (actual, expected) = (actual[(i, j)], expected[(i, j)]);
                    let apart = (actual - expected).abs();
                    assert!(apart < 1e-8, "{theta:?} {i} {j}: {actual} is not {expected}");
                }
            }
        }
    }
}
