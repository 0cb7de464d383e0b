//! The criterion of a mixed model at given relative standard deviations, and its slopes.
//!
//! `V = sigma^2 (I + sum_k theta_k^2 Z_k Z_k')` is never formed. With `A = Z Theta` (the stacked
//! indicators times their theta) and `Omega = A'A + I`, the largest factor's part of Omega is
//! diagonal; its Schur complement is dense and gets one Cholesky factor. Slopes are exact, taken
//! by `gamma = theta^2`, since by theta every one vanishes at the boundary. Deliberately absent:
//! the search for the best theta.
//!
//! Source: Bates, Mächler, Bolker, Walker (2015), J. Stat. Softw. 67(1), sections 3.2 to 3.4.
//! Checked against lme4 by `tests/reference.rs`.
//!
//! Floor: common.

use std::f64::consts::PI;

use faer::linalg::solvers::{DenseSolveCore, Llt, Solve};
use faer::{Mat, Par, Side};

use super::fit::Method;
use super::terms::Terms;

/// Everything about one theta that the criterion, its slopes and the estimates share.
pub(super) struct Point<'a> {
    pub terms: &'a Terms,
    /// One a block, in the order of the blocks.
    pub theta: Vec<f64>,
    /// Diagonal of Omega at the largest factor, [q1].
    pub diagonal: Vec<f64>,
    /// `Zr' (I + theta_1^2 Z_1 Z_1')^-1 Zr` of the other factors, [qr, qr], lower half.
    pub reduced: Mat<f64>,
    /// theta of each level of the other factors, [qr].
    pub scale: Vec<f64>,
    /// Of the Schur complement `S = B reduced B + I`, `B = diag(scale)`.
    pub schur: Llt<f64>,
    /// `Omega^-1 A' [Q y]`, [q, p + 1].
    solved: Mat<f64>,
    /// Lower factor of `[Q y]' V0^-1 [Q y]`, [p + 1, p + 1].
    corner: Mat<f64>,
    log_det_omega: f64,
    /// Coefficients of Q, [p].
    pub coefficients: Vec<f64>,
    /// Penalised residual sum of squares.
    pub squares: f64,
}

/// What only the slopes and the conditional spreads need.
pub(super) struct Inverse {
    /// `S^-1`, [qr, qr].
    schur: Mat<f64>,
    /// `(N B S^-1 B N')_jj` for the levels j of the largest factor, N its cells, [q1].
    quadratic: Vec<f64>,
}

impl<'a> Point<'a> {
    /// `None` where rounding leaves a matrix not positive definite: theta is too large.
    pub fn at(terms: &'a Terms, theta: &[f64]) -> Option<Self> {
        let q1 = terms.counts.len();
        let first = theta.first().copied().unwrap_or(0.0);
        let diagonal: Vec<f64> =
            terms.counts.iter().map(|count| first * first * count + 1.0).collect();
        let scale: Vec<f64> = (terms.blocks.iter().zip(theta).skip(1))
            .flat_map(|(block, &theta)| block.range().map(move |_| theta))
            .collect();
        let reduced = reduced(terms, first, &diagonal);
        let width = scale.len();
        let schur = Mat::from_fn(width, width, |i, j| {
            let unit = if i == j { 1.0 } else { 0.0 };
            if i < j { 0.0 } else { scale[i] * reduced[(i, j)] * scale[j] + unit }
        });
        let schur = schur.llt(Side::Lower).ok()?;
        let mut right = right_hand_side(terms, first, &diagonal, &scale);
        let mut corner = terms.corner.clone();
        let rest = schur.solve(&right);
        corner -= right.transpose() * &rest;
        right = rest;
        for (level, d) in diagonal.iter().enumerate() {
            let weight = first * first / d;
            for i in 0..=terms.p {
                for j in 0..=terms.p {
                    corner[(i, j)] -= weight * terms.border[(level, i)] * terms.border[(level, j)];
                }
            }
        }
        let corner = corner.llt(Side::Lower).ok()?.L().to_owned();
        let log_det_omega = diagonal.iter().map(|value| value.ln()).sum::<f64>()
            + 2.0 * (0..width).map(|i| schur.L()[(i, i)].ln()).sum::<f64>();
        let mut point = Self {
            terms,
            theta: theta.to_vec(),
            solved: Mat::zeros(q1 + width, terms.p + 1),
            coefficients: back_substituted(&corner),
            squares: corner[(terms.p, terms.p)].powi(2),
            diagonal,
            reduced,
            scale,
            schur,
            corner,
            log_det_omega,
        };
        point.fill_solved(&right);
        Some(point)
    }

    fn fill_solved(&mut self, rest: &Mat<f64>) {
        let q1 = self.diagonal.len();
        let first = self.theta.first().copied().unwrap_or(0.0);
        for column in 0..=self.terms.p {
            for level in 0..q1 {
                let cells = self.terms.cells.row(level);
                let shared: f64 = cells.map(|(j, n)| n * self.scale[j] * rest[(j, column)]).sum();
                self.solved[(level, column)] =
                    first / self.diagonal[level] * (self.terms.border[(level, column)] - shared);
            }
            for j in 0..self.scale.len() {
                self.solved[(q1 + j, column)] = rest[(j, column)];
            }
        }
    }

    /// Degrees of freedom of sigma.
    pub fn freedom(&self, method: Method) -> f64 {
        freedom(self.terms, method)
    }

    /// The best sigma^2 at this theta, in squared units of the scaled response.
    pub fn variance(&self, method: Method) -> f64 {
        self.squares / self.freedom(method)
    }

    /// The criterion with sigma at its best, in the response's own units.
    ///
    /// REML: `log|V0| + log|X' V0^-1 X| + (n - p) (1 + log(2 pi s^2))`, `V0 = V / sigma^2`. ML is
    /// without the second term and with n for n - p. Smaller is better.
    pub fn criterion(&self, method: Method) -> f64 {
        self.criterion_at(method, self.variance(method))
    }

    /// The same, at a given sigma^2.
    pub fn criterion_at(&self, method: Method, variance: f64) -> f64 {
        let fixed = match method {
            Method::Reml => {
                let diagonal = (0..self.terms.p).map(|i| self.corner[(i, i)].ln());
                2.0 * diagonal.sum::<f64>() + self.terms.log_det_x
            }
            Method::Ml => 0.0,
        };
        let unit = 2.0 * self.terms.y_scale.ln();
        self.log_det_omega
            + fixed
            + self.freedom(method) * ((2.0 * PI * variance).ln() + unit)
            + self.squares / variance
    }

    /// Slopes of [`Self::criterion_at`] by `theta_k^2`, one a block. With sigma at its best they
    /// are those of [`Self::criterion`] too.
    pub fn slopes(&self, method: Method, variance: f64) -> Vec<f64> {
        if self.terms.blocks.is_empty() {
            return Vec::new();
        }
        let inverse = self.inverse();
        let scores = self.scores();
        let p = self.terms.p;
        // Columns of Z' V0^-1 Q, brought to unit covariance by the factor of Q' V0^-1 Q.
        let mut whitened = Mat::from_fn(p, scores.nrows(), |i, level| scores[(level, i)]);
        faer::linalg::triangular_solve::solve_lower_triangular_in_place(
            self.corner.submatrix(0, 0, p, p),
            whitened.as_mut(),
            Par::Seq,
        );
        (0..self.terms.blocks.len())
            .map(|block| {
                let mut slope = self.trace(block, &inverse);
                for level in self.terms.blocks[block].range() {
                    let fitted: f64 =
                        (0..p).map(|j| scores[(level, j)] * self.coefficients[j]).sum();
                    slope -= (scores[(level, p)] - fitted).powi(2) / variance;
                    if method == Method::Reml {
                        slope -= (0..p).map(|j| whitened[(j, level)].powi(2)).sum::<f64>();
                    }
                }
                slope
            })
            .collect()
    }

    /// Spherical random effects u of every level, [q]; `b = theta u`.
    pub fn effects(&self) -> Vec<f64> {
        let p = self.terms.p;
        let fitted = |level: usize| -> f64 {
            (0..p).map(|j| self.solved[(level, j)] * self.coefficients[j]).sum()
        };
        (0..self.solved.nrows()).map(|level| self.solved[(level, p)] - fitted(level)).collect()
    }

    /// Diagonal of `Omega^-1`, [q]: conditional variances of u over sigma^2.
    pub fn conditional_variances(&self) -> Vec<f64> {
        let inverse = self.inverse();
        let first = self.theta.first().copied().unwrap_or(0.0);
        let largest = self.diagonal.iter().zip(&inverse.quadratic);
        let largest = largest.map(|(d, quadratic)| 1.0 / d + first * first * quadratic / (d * d));
        largest.chain((0..self.scale.len()).map(|j| inverse.schur[(j, j)])).collect()
    }

    /// `(Q' V0^-1 Q)^-1`, [p, p].
    pub fn fixed_covariance(&self) -> Mat<f64> {
        let p = self.terms.p;
        let mut inverse = Mat::<f64>::identity(p, p);
        faer::linalg::triangular_solve::solve_lower_triangular_in_place(
            self.corner.submatrix(0, 0, p, p),
            inverse.as_mut(),
            Par::Seq,
        );
        inverse.transpose() * &inverse
    }

    /// How far Omega is from singular: squared ratio of its factor's extreme diagonal entries.
    pub fn condition(&self) -> f64 {
        let rest = (0..self.scale.len()).map(|i| self.schur.L()[(i, i)].powi(2));
        let all = self.diagonal.iter().copied().chain(rest);
        let (low, high) =
            all.fold((1.0f64, 1.0f64), |(low, high), value| (low.min(value), high.max(value)));
        high / low
    }

    fn inverse(&self) -> Inverse {
        let schur = self.schur.inverse();
        let quadratic = (0..self.diagonal.len())
            .map(|level| {
                let cells = self.terms.cells.row(level).map(|(j, n)| (j, n * self.scale[j]));
                let mut sum = 0.0;
                for (j, a) in cells.clone() {
                    sum += a * cells.clone().map(|(i, b)| b * schur[(i, j)]).sum::<f64>();
                }
                sum
            })
            .collect();
        Inverse { schur, quadratic }
    }

    /// `tr(Z_k' V0^-1 Z_k)`, in whichever form does not cancel.
    fn trace(&self, block: usize, inverse: &Inverse) -> f64 {
        if block == 0 {
            let levels = self.terms.counts.iter().zip(&self.diagonal).zip(&inverse.quadratic);
            return levels.map(|((n, d), quadratic)| n / d - quadratic / (d * d)).sum();
        }
        let q1 = self.diagonal.len();
        let theta = self.theta[block];
        let range = self.terms.blocks[block].range();
        if theta > SMALL {
            let kept: f64 = range.map(|level| 1.0 - inverse.schur[(level - q1, level - q1)]).sum();
            return kept / (theta * theta);
        }
        let width = self.scale.len();
        let entry = |i: usize, j: usize| self.reduced[(i.max(j), i.min(j))];
        let columns =
            Mat::from_fn(width, range.len(), |i, j| self.scale[i] * entry(i, range.start - q1 + j));
        let products = &inverse.schur * &columns;
        let lost: f64 = (0..range.len())
            .map(|j| (0..width).map(|i| columns[(i, j)] * products[(i, j)]).sum::<f64>())
            .sum();
        range.map(|level| entry(level - q1, level - q1)).sum::<f64>() - lost
    }

    /// `Z' V0^-1 [Q y]`, [q, p + 1], in whichever form does not cancel.
    pub fn scores(&self) -> Mat<f64> {
        let terms = self.terms;
        let q1 = self.diagonal.len();
        let first = self.theta[0];
        let mut scores = Mat::zeros(terms.border.nrows(), terms.p + 1);
        for column in 0..=terms.p {
            let rest = |j: usize| self.scale[j] * self.solved[(q1 + j, column)];
            let mut below: Vec<f64> =
                (0..self.scale.len()).map(|j| terms.border[(q1 + j, column)]).collect();
            for level in 0..q1 {
                let own = first * self.solved[(level, column)];
                let shared: f64 = terms.cells.row(level).map(|(j, n)| n * rest(j)).sum();
                scores[(level, column)] =
                    terms.border[(level, column)] - terms.counts[level] * own - shared;
                terms.cells.row(level).for_each(|(j, n)| below[j] -= n * own);
            }
            for (block, &theta) in terms.blocks.iter().zip(&self.theta).skip(1) {
                for level in block.range() {
                    let j = level - q1;
                    scores[(level, column)] = if theta > SMALL {
                        self.solved[(level, column)] / theta
                    } else {
                        let others = (0..self.scale.len()).map(|i| terms.gram[(i, j)] * rest(i));
                        below[j] - others.sum::<f64>()
                    };
                }
            }
            if first > SMALL {
                for level in 0..q1 {
                    scores[(level, column)] = self.solved[(level, column)] / first;
                }
            }
        }
        scores
    }
}

/// n - p for the restricted likelihood, n for the full one.
pub(super) fn freedom(terms: &Terms, method: Method) -> f64 {
    match method {
        Method::Reml => (terms.n - terms.p) as f64,
        Method::Ml => terms.n as f64,
    }
}

/// `Zr'Zr` less what the largest factor explains of it, lower half.
fn reduced(terms: &Terms, first: f64, diagonal: &[f64]) -> Mat<f64> {
    let mut reduced = terms.gram.clone();
    if first == 0.0 {
        return reduced;
    }
    for (level, d) in diagonal.iter().enumerate() {
        let weight = first * first / d;
        let range = terms.cells.starts[level]..terms.cells.starts[level + 1];
        let (columns, values) = (&terms.cells.columns[range.clone()], &terms.cells.values[range]);
        for (at, &j) in columns.iter().enumerate() {
            let weighted = weight * values[at];
            let below = reduced.col_as_slice_mut(j as usize);
            for (&i, value) in columns[at..].iter().zip(&values[at..]) {
                below[i as usize] -= weighted * value;
            }
        }
    }
    reduced
}

/// `B Zr' (I + theta_1^2 Z_1 Z_1')^-1 [Q y]`, [qr, p + 1].
fn right_hand_side(terms: &Terms, first: f64, diagonal: &[f64], scale: &[f64]) -> Mat<f64> {
    let q1 = diagonal.len();
    let mut right = Mat::from_fn(scale.len(), terms.p + 1, |i, j| terms.border[(q1 + i, j)]);
    for column in 0..=terms.p {
        let below = right.col_as_slice_mut(column);
        for (level, d) in diagonal.iter().enumerate() {
            let own = first * first / d * terms.border[(level, column)];
            terms.cells.row(level).for_each(|(j, n)| below[j] -= n * own);
        }
        below.iter_mut().zip(scale).for_each(|(value, scale)| *value *= scale);
    }
    right
}

/// Coefficients from the factor of the bordered matrix: `L_x' beta = l_y`.
fn back_substituted(corner: &Mat<f64>) -> Vec<f64> {
    let p = corner.nrows() - 1;
    let mut coefficients = vec![0.0; p];
    for i in (0..p).rev() {
        let known: f64 = (i + 1..p).map(|j| corner[(j, i)] * coefficients[j]).sum();
        coefficients[i] = (corner[(p, i)] - known) / corner[(i, i)];
    }
    coefficients
}

/// Below this theta, dividing by it loses more digits than the direct form.
pub(super) const SMALL: f64 = 1e-3;

#[cfg(test)]
mod tests {
    use super::super::tests::{crossed, terms};
    use super::*;

    #[test]
    fn slopes_equal_differences_of_the_criterion() {
        let terms = terms("y ~ x + arm + (1|a) + (1|b) + (1|a:arm)", &crossed());
        for gamma in [[0.7, 2.0, 0.3], [40.0, 0.01, 5.0], [1e-8, 1e-8, 1e-8], [900.0, 1.0, 1e-7]] {
            for method in [Method::Reml, Method::Ml] {
                let criterion = |gamma: &[f64]| point(&terms, gamma).criterion(method);
                let here = point(&terms, &gamma);
                let slopes = here.slopes(method, here.variance(method));
                for block in 0..3 {
                    // One-sided where the central difference would leave the bound.
                    let step = (1e-4 * gamma[block]).max(1e-7);
                    let moved = |times: f64| {
                        let mut gamma = gamma;
                        gamma[block] += times * step;
                        criterion(&gamma)
                    };
                    let difference =
                        (-3.0 * moved(0.0) + 4.0 * moved(1.0) - moved(2.0)) / (2.0 * step);
                    let tolerance = 1e-4 * slopes[block].abs() + 1e-10 / step;
                    let apart = (slopes[block] - difference).abs();
                    assert!(apart < tolerance, "{gamma:?} {block}: {difference} {slopes:?}");
                }
            }
        }
    }

    #[test]
    fn slopes_at_zero_continue_those_beside_it() {
        let terms = terms("y ~ x + arm + (1|a) + (1|b)", &crossed());
        let slopes = |gamma: &[f64]| {
            let here = point(&terms, gamma);
            here.slopes(Method::Reml, here.variance(Method::Reml))
        };

        for (zero, beside) in [([0.0, 0.5], [1e-9, 0.5]), ([0.5, 0.0], [0.5, 1e-9])] {
            for (at, near) in slopes(&zero).iter().zip(slopes(&beside)) {
                assert!((at - near).abs() < 1e-4 * at.abs(), "{zero:?}: {at} {near}");
            }
        }
        // Both forms of a slope meet where one takes over from the other.
        let (below, above) = (slopes(&[0.999e-6, 0.999e-6]), slopes(&[1.001e-6, 1.001e-6]));
        for (below, above) in below.iter().zip(above) {
            assert!((below - above).abs() < 1e-5 * below.abs(), "{below} {above}");
        }
    }

    #[test]
    fn criterion_equals_the_dense_likelihood() {
        let columns = crossed();
        let terms = terms("y ~ 1 + (1|a) + (1|b)", &columns);
        let gamma = [0.6, 1.7];
        let (y, a, b) = super::super::tests::three(&columns);
        let n = y.len();
        let same = |codes: &[u32], i: usize, j: usize| f64::from(u8::from(codes[i] == codes[j]));
        let of = |place: usize| {
            gamma[terms.blocks.iter().position(|block| block.place == place).unwrap()]
        };
        let v = Mat::from_fn(n, n, |i, j| {
            let unit = if i == j { 1.0 } else { 0.0 };
            unit + of(0) * same(&a, i, j) + of(1) * same(&b, i, j)
        });
        let factor = v.llt(Side::Lower).unwrap();
        let (ones, y) = (Mat::from_fn(n, 1, |_, _| 1.0), Mat::from_fn(n, 1, |i, _| y[i]));
        let product = |a: &Mat<f64>, b: &Mat<f64>| (a.transpose() * factor.solve(b))[(0, 0)];
        let squares = product(&y, &y) - product(&ones, &y).powi(2) / product(&ones, &ones);
        let log_det: f64 = (0..n).map(|i| 2.0 * factor.L()[(i, i)].ln()).sum();
        let df = n as f64 - 1.0;
        let expected =
            log_det + product(&ones, &ones).ln() + df * (1.0 + (2.0 * PI * squares / df).ln());

        let actual = point(&terms, &gamma).criterion(Method::Reml);
        assert!((actual - expected).abs() < 1e-9 * expected.abs(), "{actual} is not {expected}");
    }

    fn point<'a>(terms: &'a Terms, gamma: &[f64]) -> Point<'a> {
        let theta: Vec<f64> = gamma.iter().map(|gamma| gamma.sqrt()).collect();
        Point::at(terms, &theta).unwrap()
    }
}
