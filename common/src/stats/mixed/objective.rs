//! The criterion of a mixed model at given relative covariances, and its slopes.
//!
//! `V = sigma^2 (I + Z G Z')` is never formed. With `G = Lambda Lambda'`, `A = Z Lambda` and
//! `Omega = A'A + I`, the largest block's part of Omega is block-diagonal (diagonal for random
//! intercepts); the Schur complement of it is dense and gets one Cholesky factor. Slopes are exact
//! and taken by G, since by Lambda they vanish at the boundary. Deliberately absent: the search
//! for the best theta.
//!
//! Source: Bates, Mächler, Bolker, Walker (2015), J. Stat. Softw. 67(1), sections 3.2 to 3.4.
//! Checked against lme4 by `tests/reference.rs`.
//!
//! Floor: common.

use std::f64::consts::PI;

use faer::linalg::solvers::{DenseSolveCore, Llt, Solve};
use faer::{Mat, Par, Side};

use super::fit::Method;
use super::largest::Largest;
use super::relative;
use super::terms::Terms;

/// Everything about one theta that the criterion, its slopes and the estimates share.
pub(super) struct Point<'a> {
    pub terms: &'a Terms,
    /// The relative covariance factor of each block's levels, [width, width] by rows.
    pub factors: Vec<Vec<f64>>,
    pub largest: Largest,
    /// `Zr' (I + Z_1 G_1 Z_1')^-1 Zr` of the other blocks, [qr, qr], lower half.
    reduced: Mat<f64>,
    /// Of the Schur complement `S = Lr' reduced Lr + I`, Lr the factors of the other blocks.
    pub schur: Llt<f64>,
    /// `Omega^-1 A' [Q y]`, [q, p + 1], which is `A' V0^-1 [Q y]`.
    pub solved: Mat<f64>,
    /// Lower factor of `[Q y]' V0^-1 [Q y]`, [p + 1, p + 1].
    corner: Mat<f64>,
    log_det_omega: f64,
    /// Coefficients of Q, [p].
    pub coefficients: Vec<f64>,
    /// Penalised residual sum of squares.
    pub squares: f64,
}

impl<'a> Point<'a> {
    /// `None` where rounding leaves a matrix not positive definite: theta is too large.
    pub fn at(terms: &'a Terms, theta: &[f64]) -> Option<Self> {
        Self::of_factors(terms, terms.factors(theta))
    }

    /// At any roots of the relative covariances, one a block.
    pub fn of_factors(terms: &'a Terms, factors: Vec<Vec<f64>>) -> Option<Self> {
        let largest = Largest::of(terms, factors.first().map_or(&[][..], Vec::as_slice))?;
        let reduced = largest.reduced(terms);
        let schur = schur_complement(terms, &factors, &reduced).llt(Side::Lower).ok()?;
        let mut right = largest.below(terms);
        for column in 0..=terms.p {
            apply(terms, &factors, right.col_as_slice_mut(column), true);
        }
        let rest = schur.solve(&right);
        let mut corner = terms.corner.clone();
        corner -= right.transpose() * &rest;
        largest.subtract_explained(terms, &mut corner);
        let corner = corner.llt(Side::Lower).ok()?.L().to_owned();
        let width = right.nrows();
        let log_det_omega =
            largest.log_det + 2.0 * (0..width).map(|i| schur.L()[(i, i)].ln()).sum::<f64>();
        let solved = largest.solved(terms, &factors, &rest);
        Some(Self {
            terms,
            factors,
            largest,
            reduced,
            schur,
            solved,
            coefficients: back_substituted(&corner),
            squares: corner[(terms.p, terms.p)].powi(2),
            corner,
            log_det_omega,
        })
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

    /// Slopes of [`Self::criterion_at`], one a parameter: by its square where only that enters, by
    /// itself elsewhere. With sigma at its best they are those of [`Self::criterion`] too.
    pub fn slopes(&self, method: Method, variance: f64) -> Vec<f64> {
        self.parameter_slopes(&self.covariance_slopes(method, variance))
    }

    /// The same, from the slopes by the covariances.
    pub fn parameter_slopes(&self, by_covariance: &[Vec<f64>]) -> Vec<f64> {
        let of = |parameter: &super::terms::Parameter| {
            let k = self.terms.blocks[parameter.block].width;
            let (slopes, factor) =
                (&by_covariance[parameter.block], &self.factors[parameter.block]);
            if parameter.square {
                return slopes[parameter.row * k + parameter.row];
            }
            let products =
                (0..k).map(|i| slopes[parameter.row * k + i] * factor[i * k + parameter.column]);
            2.0 * products.sum::<f64>()
        };
        self.terms.parameters.iter().map(of).collect()
    }

    /// Slopes of [`Self::criterion_at`] by the relative covariances G, [width, width] a block and
    /// symmetric: the criterion changes by `tr(slopes dG)`.
    pub fn covariance_slopes(&self, method: Method, variance: f64) -> Vec<Vec<f64>> {
        if self.terms.blocks.is_empty() {
            return Vec::new();
        }
        let inverse = self.schur.inverse();
        let scores = self.scores();
        let p = self.terms.p;
        // Columns of Z' V0^-1 Q, brought to unit covariance by the factor of Q' V0^-1 Q.
        let mut whitened = Mat::from_fn(p, scores.nrows(), |i, row| scores[(row, i)]);
        faer::linalg::triangular_solve::solve_lower_triangular_in_place(
            self.corner.submatrix(0, 0, p, p),
            whitened.as_mut(),
            Par::Seq,
        );
        let residual: Vec<f64> = (0..scores.nrows())
            .map(|row| {
                let fitted = (0..p).map(|j| scores[(row, j)] * self.coefficients[j]);
                scores[(row, p)] - fitted.sum::<f64>()
            })
            .collect();
        let first = self.largest.traces(self.terms, &self.factors, &inverse);
        (self.terms.blocks.iter().enumerate())
            .map(|(place, block)| {
                let k = block.width;
                let mut slopes =
                    if place == 0 { first.clone() } else { self.traces(place, &inverse) };
                for level in 0..block.levels.len() {
                    let at = block.at(level);
                    for (entry, slope) in slopes.iter_mut().enumerate() {
                        let (a, b) = (at + entry / k, at + entry % k);
                        *slope -= residual[a] * residual[b] / variance;
                        if method == Method::Reml {
                            let products = (0..p).map(|j| whitened[(j, a)] * whitened[(j, b)]);
                            *slope -= products.sum::<f64>();
                        }
                    }
                }
                slopes
            })
            .collect()
    }

    /// Spherical random effects u of every column, [q]; `b = Lambda u`.
    pub fn effects(&self) -> Vec<f64> {
        let p = self.terms.p;
        let fitted = |row: usize| -> f64 {
            (0..p).map(|j| self.solved[(row, j)] * self.coefficients[j]).sum()
        };
        (0..self.solved.nrows()).map(|row| self.solved[(row, p)] - fitted(row)).collect()
    }

    /// Each level's part of `Omega^-1`, one list a block: conditional covariances of u over
    /// sigma^2, [levels, width, width].
    pub fn conditional_covariances(&self) -> Vec<Vec<f64>> {
        let inverse = self.schur.inverse();
        let q1 = self.largest.columns();
        (self.terms.blocks.iter().enumerate())
            .map(|(place, block)| {
                if place == 0 {
                    return self.largest.conditional(self.terms, &self.factors, &inverse);
                }
                let k = block.width;
                let levels = (0..block.levels.len()).map(|level| block.at(level) - q1);
                levels
                    .flat_map(|at| (0..k * k).map(move |entry| (at + entry / k, at + entry % k)))
                    .map(|at| inverse[at])
                    .collect()
            })
            .collect()
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
        let rest = (0..self.reduced.nrows()).map(|i| self.schur.L()[(i, i)].powi(2));
        let (low, high) = rest
            .fold(self.largest.extremes, |(low, high), value| (low.min(value), high.max(value)));
        high / low
    }

    /// Sum over a block's levels of `Z_l' V0^-1 Z_l`, [width, width], in whichever form does not
    /// cancel. Not for the largest block.
    fn traces(&self, place: usize, inverse: &Mat<f64>) -> Vec<f64> {
        let block = &self.terms.blocks[place];
        let (k, q1) = (block.width, self.largest.columns());
        let begin = block.begin - q1;
        let mut sums = vec![0.0; k * k];
        if let Some(inverted) = well_inverted(&self.factors[place], k) {
            for level in 0..block.levels.len() {
                let at = begin + level * k;
                for (entry, sum) in sums.iter_mut().enumerate() {
                    let (i, j) = (entry / k, entry % k);
                    *sum += f64::from(u8::from(i == j)) - inverse[(at + i, at + j)];
                }
            }
            return relative::sandwiched(&inverted, &sums, k);
        }
        let width = self.reduced.nrows();
        let entry = |i: usize, j: usize| self.reduced[(i.max(j), i.min(j))];
        let mut columns = Mat::from_fn(width, block.range().len(), |i, j| entry(i, begin + j));
        for j in 0..columns.ncols() {
            apply(self.terms, &self.factors, columns.col_as_slice_mut(j), true);
        }
        let products = inverse * &columns;
        for level in 0..block.levels.len() {
            for (at, sum) in sums.iter_mut().enumerate() {
                let (a, b) = (level * k + at / k, level * k + at % k);
                let lost: f64 = (0..width).map(|i| columns[(i, a)] * products[(i, b)]).sum();
                *sum += entry(begin + a, begin + b) - lost;
            }
        }
        sums
    }

    /// `Z' V0^-1 [Q y]`, [q, p + 1], in whichever form does not cancel.
    pub fn scores(&self) -> Mat<f64> {
        let terms = self.terms;
        let q1 = self.largest.columns();
        let mut scores = Mat::zeros(terms.border.nrows(), terms.p + 1);
        let inverted: Vec<Option<Vec<f64>>> = (terms.blocks.iter().zip(&self.factors))
            .map(|(block, factor)| well_inverted(factor, block.width))
            .collect();
        for column in 0..=terms.p {
            let solved = self.solved.col_as_slice(column);
            let (mut own, mut rest) = (solved[..q1].to_vec(), solved[q1..].to_vec());
            self.largest.apply(&self.factors[0], &mut own);
            apply(terms, &self.factors, &mut rest, false);
            self.largest.scores(terms, &rest, column, &mut scores);
            let mut below: Vec<f64> =
                (0..rest.len()).map(|j| terms.border[(q1 + j, column)]).collect();
            for (row, own) in own.iter().enumerate() {
                terms.cells.row(row).for_each(|(j, n)| below[j] -= n * own);
            }
            for (block, inverted) in terms.blocks.iter().zip(&inverted).skip(1) {
                let k = block.width;
                for row in block.range() {
                    let within = (row - block.begin) % k;
                    scores[(row, column)] = match inverted {
                        // Lambda' times the score is what was solved.
                        Some(inverted) => (0..k)
                            .map(|i| inverted[i * k + within] * solved[row - within + i])
                            .sum(),
                        None => {
                            let j = row - q1;
                            let others = (0..rest.len()).map(|i| terms.gram[(i, j)] * rest[i]);
                            below[j] - others.sum::<f64>()
                        }
                    };
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

/// Multiplies what stands below the largest block, [qr], by the blocks' factors or by their
/// transposes.
pub(super) fn apply(terms: &Terms, factors: &[Vec<f64>], column: &mut [f64], transpose: bool) {
    let q1 = terms.blocks.first().map_or(0, |block| block.range().len());
    for (block, factor) in terms.blocks.iter().zip(factors).skip(1) {
        let k = block.width;
        let entries = &mut column[block.begin - q1..][..block.range().len()];
        if k == 1 {
            entries.iter_mut().for_each(|entry| *entry *= factor[0]);
            continue;
        }
        let mut old = vec![0.0; k];
        for level in entries.chunks_mut(k) {
            old.copy_from_slice(level);
            for (i, entry) in level.iter_mut().enumerate() {
                let of = |j: usize| if transpose { factor[j * k + i] } else { factor[i * k + j] };
                *entry = (0..k).map(|j| of(j) * old[j]).sum();
            }
        }
    }
}

/// `Lr' reduced Lr + I`, lower half.
fn schur_complement(terms: &Terms, factors: &[Vec<f64>], reduced: &Mat<f64>) -> Mat<f64> {
    let width = reduced.nrows();
    if terms.blocks.iter().skip(1).all(|block| block.width == 1) {
        let scale: Vec<f64> = (terms.blocks.iter().zip(factors).skip(1))
            .flat_map(|(block, factor)| block.range().map(move |_| factor[0]))
            .collect();
        return Mat::from_fn(width, width, |i, j| {
            let unit = if i == j { 1.0 } else { 0.0 };
            if i < j { 0.0 } else { scale[i] * reduced[(i, j)] * scale[j] + unit }
        });
    }
    let mut schur = Mat::from_fn(width, width, |i, j| reduced[(i.max(j), i.min(j))]);
    for _ in 0..2 {
        for j in 0..width {
            apply(terms, factors, schur.col_as_slice_mut(j), true);
        }
        schur = schur.transpose().to_owned();
    }
    (0..width).for_each(|i| schur[(i, i)] += 1.0);
    schur
}

/// The inverse of a factor none of whose directions is close to zero.
fn well_inverted(factor: &[f64], k: usize) -> Option<Vec<f64>> {
    let (inverse, _) = relative::inverse(factor, k)?;
    inverse.iter().all(|entry| entry.abs() < 1.0 / SMALL).then_some(inverse)
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
const SMALL: f64 = 1e-3;

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
