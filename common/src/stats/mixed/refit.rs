//! Fits a model again and again to new responses: the criterion and its slopes on an [`Arrow`].
//!
//! The same numbers as `objective` gives, for a design whose arithmetic is cut into components.
//! Henderson's equations are factored once at a theta; their inverse gives the traces and their
//! solution the rest of the slopes: `d criterion / d gamma_k = (q_k - tr C_kk) / gamma_k -
//! |u_k|^2 / (gamma_k sigma^2)`, with C the inverse, of the fixed effects too if REML. A theta of
//! zero is taken as one so small that it changes nothing; then the slope is still exact to eight
//! digits. Deliberately absent: the search.
//!
//! Source: Searle, Casella, McCulloch (1992), Variance Components, section 7.6.
//!
//! Floor: common.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::{Accum, Mat, MatRef, Par, Side};

use super::arrow::{Arrow, Member, Shape};
use super::fit::Method;
use super::objective::freedom;
use super::optimise::Surface;
use super::simulate::Replicate;

/// The criterion of one replicate.
pub(super) struct Refit<'a> {
    pub arrow: &'a Arrow<'a>,
    pub replicate: &'a Replicate,
    pub method: Method,
}

/// The criterion at one theta, and what a search and its end need of it.
pub(super) struct RefitPoint {
    pub criterion: f64,
    slopes: Vec<f64>,
    /// The best sigma^2, in squared units of the scaled response.
    pub variance: f64,
    /// Coefficients of Q, [p].
    pub coefficients: Vec<f64>,
    /// Their covariance over sigma^2, [p, p].
    pub fixed_covariance: Mat<f64>,
}

impl Surface for Refit<'_> {
    type Point = RefitPoint;

    fn at(&mut self, theta: &[f64]) -> Option<RefitPoint> {
        let smallest = |block: usize| SMALLEST / self.arrow.largest_count(block).sqrt();
        let theta: Vec<f64> =
            theta.iter().enumerate().map(|(block, theta)| theta.max(smallest(block))).collect();
        Border::at(self, &theta)?.solved(self)
    }

    fn value(&self, point: &RefitPoint) -> f64 {
        point.criterion
    }

    fn slopes(&self, point: &RefitPoint) -> Vec<f64> {
        point.slopes.clone()
    }

    fn bounded(&self, _index: usize) -> bool {
        true
    }
}

/// A shape at one theta. `D = theta_1^2 counts + 1` is scaled away: rows of the largest factor
/// are divided by its root.
struct Part<'a> {
    shape: &'a Shape,
    /// Root of D, [n1].
    root: Vec<f64>,
    theta_first: f64,
    /// theta of the others, [m].
    scale: Vec<f64>,
    /// `theta_1 B N' D^-1/2`, [m, n1].
    cells: Mat<f64>,
    /// Lower factor of `S = B (gram - theta_1^2 N' D^-1 N) B + I`, [m, m].
    factor: Mat<f64>,
    /// `L^-1` times the border's products, the largest factor taken out of them, [m, w].
    border: Mat<f64>,
    /// What the component takes from the border's cross-products, [w, w].
    taken: Mat<f64>,
    log_det: f64,
}

impl<'a> Part<'a> {
    fn at(shape: &'a Shape, theta: &[f64]) -> Option<Self> {
        let first = theta[0];
        let m = shape.gram.nrows();
        let root: Vec<f64> =
            shape.counts.iter().map(|count| (first * first * count + 1.0).sqrt()).collect();
        let scale: Vec<f64> = shape.block_of.iter().map(|&block| theta[block]).collect();
        let cells =
            Mat::from_fn(m, root.len(), |i, j| scale[i] * first * shape.cells[(i, j)] / root[j]);
        let mut schur = lower_product(cells.as_ref(), cells.transpose());
        let mut border = shape.rest.clone();
        for j in 0..m {
            for i in j..m {
                schur[(i, j)] = scale[i] * shape.gram[(i, j)] * scale[j] - schur[(i, j)];
            }
            schur[(j, j)] += 1.0;
        }
        let factor = schur.llt(Side::Lower).ok()?.L().to_owned();
        for column in 0..border.ncols() {
            let column = border.col_as_slice_mut(column);
            column.iter_mut().zip(&scale).for_each(|(value, scale)| *value *= scale);
        }
        for (level, touched) in shape.first.iter().enumerate() {
            let own = cells.col_as_slice(level);
            for &(j, value) in touched {
                let weight = first * value / root[level];
                let column = border.col_as_slice_mut(j);
                column.iter_mut().zip(own).for_each(|(sum, cell)| *sum -= weight * cell);
            }
        }
        solve_lower_triangular_in_place(factor.as_ref(), border.as_mut(), Par::Seq);
        let mut taken = lower_product(border.transpose(), border.as_ref());
        for (level, touched) in shape.first.iter().enumerate() {
            let weight = (first / root[level]).powi(2);
            for &(i, a) in touched {
                let below = touched.iter().filter(|(j, _)| *j <= i);
                below.for_each(|&(j, b)| taken[(i, j)] += weight * a * b);
            }
        }
        for j in 0..taken.ncols() {
            (0..j).for_each(|i| taken[(i, j)] = taken[(j, i)]);
        }
        let log_det = 2.0 * root.iter().map(|root| root.ln()).sum::<f64>()
            + 2.0 * (0..m).map(|i| factor[(i, i)].ln()).sum::<f64>();
        Some(Self { shape, root, theta_first: first, scale, cells, factor, border, taken, log_det })
    }

    /// Of one member's response: `theta_1 D^-1/2 Z_1'y`, and `L^-1 B` times the rest of `Z_r'y`.
    fn response(&self, member: &Member, replicate: &Replicate) -> (Vec<f64>, Mat<f64>) {
        let own: Vec<f64> = (member.first.iter().zip(&self.root))
            .map(|(&level, root)| self.theta_first * replicate.with_z[level] / root)
            .collect();
        let mut rest = Mat::from_fn(member.rest.len(), 1, |i, _| {
            self.scale[i] * replicate.with_z[member.rest[i]]
        });
        let column = rest.col_as_slice_mut(0);
        for (level, own) in own.iter().enumerate() {
            let cells = self.cells.col_as_slice(level);
            column.iter_mut().zip(cells).for_each(|(sum, cell)| *sum -= own * cell);
        }
        solve_lower_triangular_in_place(self.factor.as_ref(), rest.as_mut(), Par::Seq);
        (own, rest)
    }

    /// Sums of `u^2` over the levels of each inner block, added to `sums`, given the border's u
    /// and coefficients times theta, [w].
    fn add_effects(&self, own: &[f64], rest: &Mat<f64>, along: &Mat<f64>, sums: &mut [f64]) {
        let mut others = rest - &self.border * along;
        solve_upper_triangular_in_place(self.factor.transpose(), others.as_mut(), Par::Seq);
        for (i, &block) in self.shape.block_of.iter().enumerate() {
            sums[block] += others[(i, 0)].powi(2);
        }
        let others = others.col_as_slice(0);
        for (level, touched) in self.shape.first.iter().enumerate() {
            let weight = self.theta_first / self.root[level];
            let cells = self.cells.col_as_slice(level);
            let shared: f64 = cells.iter().zip(others).map(|(cell, u)| cell * u).sum();
            let joined: f64 = touched.iter().map(|&(j, value)| value * along[(j, 0)]).sum();
            let u = (own[level] - shared - weight * joined) / self.root[level];
            sums[0] += u * u;
        }
    }

    /// Sums of the inverse's diagonal over the levels of each inner block, added to `traces`, for
    /// `count` members whose border has inverses that sum to `inverse`, [w, w].
    fn add_traces(&self, count: f64, inverse: &Mat<f64>, traces: &mut [f64]) {
        let m = self.scale.len();
        let mut lower = Mat::<f64>::zeros(m, m);
        invert_lower_triangular(lower.as_mut(), self.factor.as_ref(), Par::Seq);
        let mut of_block: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (j, &block) in self.shape.block_of.iter().enumerate() {
            traces[block] += count * squared(lower.col_as_slice(j));
            of_block.entry(block).or_default().push(j);
        }
        let mut joined = self.border.clone();
        solve_upper_triangular_in_place(self.factor.transpose(), joined.as_mut(), Par::Seq);
        for (block, rows) in &of_block {
            traces[*block] += if rows.len() == m {
                weighted_squares(joined.as_ref(), inverse)
            } else {
                let own = Mat::from_fn(rows.len(), joined.ncols(), |i, j| joined[(rows[i], j)]);
                weighted_squares(own.as_ref(), inverse)
            };
        }
        let mut spread = self.cells.clone();
        solve_lower_triangular_in_place(self.factor.as_ref(), spread.as_mut(), Par::Seq);
        let mut first = -(self.cells.transpose() * &joined);
        for (level, touched) in self.shape.first.iter().enumerate() {
            let weight = self.theta_first / self.root[level];
            touched.iter().for_each(|&(j, value)| first[(level, j)] += weight * value);
        }
        for column in 0..first.ncols() {
            let column = first.col_as_slice_mut(column);
            column.iter_mut().zip(&self.root).for_each(|(value, root)| *value /= root);
        }
        traces[0] += weighted_squares(first.as_ref(), inverse);
        for (level, root) in self.root.iter().enumerate() {
            traces[0] += count * (1.0 + squared(spread.col_as_slice(level))) / (root * root);
        }
    }
}

/// `tr(rows inverse rows')`, of a symmetric inverse.
fn weighted_squares(rows: MatRef<f64>, inverse: &Mat<f64>) -> f64 {
    let product = lower_product(rows.transpose(), rows);
    let below = |j: usize| {
        let pairs = product.col_as_slice(j)[j + 1..].iter().zip(&inverse.col_as_slice(j)[j + 1..]);
        2.0 * pairs.map(|(a, b)| a * b).sum::<f64>()
    };
    (0..product.ncols()).map(|j| product[(j, j)] * inverse[(j, j)] + below(j)).sum()
}

fn squared(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

/// The lower half of a symmetric product; zeros above.
fn lower_product(left: MatRef<f64>, right: MatRef<f64>) -> Mat<f64> {
    let mut product = Mat::zeros(left.nrows(), left.nrows());
    triangular::matmul(
        product.as_mut(),
        BlockStructure::TriangularLower,
        Accum::Replace,
        left,
        BlockStructure::Rectangular,
        right,
        BlockStructure::Rectangular,
        1.0,
        Par::Seq,
    );
    product
}

/// `(factor factor')^-1` of a lower triangular factor.
fn inverse_of_lower(factor: MatRef<f64>) -> Mat<f64> {
    let size = factor.nrows();
    let mut half = Mat::<f64>::zeros(size, size);
    invert_lower_triangular(half.as_mut(), factor, Par::Seq);
    let mut inverse = Mat::zeros(size, size);
    triangular::matmul(
        inverse.as_mut(),
        BlockStructure::TriangularLower,
        Accum::Replace,
        half.transpose(),
        BlockStructure::TriangularUpper,
        half.as_ref(),
        BlockStructure::TriangularLower,
        1.0,
        Par::Seq,
    );
    for j in 0..size {
        (0..j).for_each(|i| inverse[(i, j)] = inverse[(j, i)]);
    }
    inverse
}

/// The border's equations, with all components taken out.
struct Border<'a> {
    theta: Vec<f64>,
    parts: Vec<Part<'a>>,
    /// Each member's response.
    responses: Vec<(Vec<f64>, Mat<f64>)>,
    /// Lower factor, of the border's levels, then of Q, [f + p, f + p].
    factor: Mat<f64>,
    /// `L^-1` times the right-hand side, [f + p].
    right: Mat<f64>,
    /// Penalised residual sum of squares.
    squares: f64,
}

impl<'a> Border<'a> {
    fn at(refit: &Refit<'a>, theta: &[f64]) -> Option<Self> {
        let (arrow, replicate) = (refit.arrow, refit.replicate);
        let (terms, width) = (arrow.terms, arrow.border_width());
        let f = width - terms.p;
        let parts: Option<Vec<Part>> =
            arrow.shapes.iter().map(|shape| Part::at(shape, theta)).collect();
        let parts = parts?;
        let (mut system, mut right) = arrow.whole(replicate);
        let mut squares = replicate.squares;
        let mut responses = Vec::with_capacity(arrow.members.len());
        for member in &arrow.members {
            let part = &parts[member.shape];
            let (own, rest) = part.response(member, replicate);
            squares -= squared(&own) + squared(rest.col_as_slice(0));
            let mut products = part.border.transpose() * &rest;
            for (level, touched) in part.shape.first.iter().enumerate() {
                let weight = part.theta_first / part.root[level] * own[level];
                touched.iter().for_each(|&(j, value)| products[(j, 0)] += weight * value);
            }
            member.scatter(&part.taken, &products, f, &mut system, &mut right);
            responses.push((own, rest));
        }
        let scale = arrow.border_scale(theta);
        for j in 0..width {
            right[(j, 0)] *= scale[j];
            for i in 0..width {
                system[(i, j)] *= scale[i] * scale[j];
            }
            system[(j, j)] += if j < f { 1.0 } else { 0.0 };
        }
        let factor = system.llt(Side::Lower).ok()?.L().to_owned();
        solve_lower_triangular_in_place(factor.as_ref(), right.as_mut(), Par::Seq);
        squares -= squared(right.col_as_slice(0));
        let theta = theta.to_vec();
        (squares > 0.0).then_some(Self { theta, parts, responses, factor, right, squares })
    }

    fn solved(self, refit: &Refit) -> Option<RefitPoint> {
        let (arrow, method) = (refit.arrow, refit.method);
        let (terms, width) = (arrow.terms, arrow.border_width());
        let f = width - terms.p;
        let mut effects = self.right.clone();
        solve_upper_triangular_in_place(self.factor.transpose(), effects.as_mut(), Par::Seq);
        let variance = self.squares / freedom(terms, method);
        let (sums, traces) = self.sums_and_traces(refit, &effects);
        let slopes = (terms.blocks.iter().enumerate())
            .map(|(block, levels)| {
                let lost = traces[block] + sums[block] / variance;
                (levels.range().len() as f64 - lost) / self.theta[block].powi(2)
            })
            .collect();
        let logs = |range: std::ops::Range<usize>| {
            2.0 * range.map(|i| self.factor[(i, i)].ln()).sum::<f64>()
        };
        let of_parts: f64 =
            self.parts.iter().zip(&arrow.count).map(|(part, count)| count * part.log_det).sum();
        let fixed = match method {
            Method::Reml => logs(f..width) + terms.log_det_x,
            Method::Ml => 0.0,
        };
        let unit = 2.0 * terms.y_scale.ln();
        let freedom = freedom(terms, method);
        let criterion =
            of_parts + logs(0..f) + fixed + freedom * (1.0 + (2.0 * PI * variance).ln() + unit);
        let coefficients = (f..width).map(|j| effects[(j, 0)]).collect();
        let fixed_covariance = inverse_of_lower(self.factor.submatrix(f, f, terms.p, terms.p));
        let point = RefitPoint { criterion, slopes, variance, coefficients, fixed_covariance };
        point.criterion.is_finite().then_some(point)
    }

    /// `|u_k|^2` and `tr C_kk` of every block.
    fn sums_and_traces(&self, refit: &Refit, effects: &Mat<f64>) -> (Vec<f64>, Vec<f64>) {
        let arrow = refit.arrow;
        let (terms, width) = (arrow.terms, arrow.border_width());
        let f = width - terms.p;
        let scale = arrow.border_scale(&self.theta);
        // Under ML the fixed effects count as known.
        let size = if refit.method == Method::Reml { width } else { f };
        let inverse = inverse_of_lower(self.factor.submatrix(0, 0, size, size));
        let (mut sums, mut traces) = (vec![0.0; terms.blocks.len()], vec![0.0; terms.blocks.len()]);
        for (block, levels) in terms.blocks.iter().enumerate().skip(arrow.inner) {
            for level in levels.range() {
                let j = level - arrow.border_begin;
                sums[block] += effects[(j, 0)].powi(2);
                traces[block] += inverse[(j, j)];
            }
        }
        let scaled = Mat::from_fn(width, width, |i, j| {
            if i < size && j < size { scale[i] * inverse[(i, j)] * scale[j] } else { 0.0 }
        });
        let moved = Mat::from_fn(width, 1, |j, _| scale[j] * effects[(j, 0)]);
        let mut inverses: Vec<Mat<f64>> = (self.parts.iter())
            .map(|part| Mat::zeros(part.border.ncols(), part.border.ncols()))
            .collect();
        for (member, (own, rest)) in arrow.members.iter().zip(&self.responses) {
            let part = &self.parts[member.shape];
            part.add_effects(own, rest, &member.gathered(&moved, f), &mut sums);
            member.gather_both(&scaled, f, &mut inverses[member.shape]);
        }
        for ((part, inverse), &count) in self.parts.iter().zip(&inverses).zip(&arrow.count) {
            part.add_traces(count, inverse, &mut traces);
        }
        (sums, traces)
    }
}

impl Arrow<'_> {
    /// The border's cross-products with itself and with a response, nothing taken out.
    fn whole(&self, replicate: &Replicate) -> (Mat<f64>, Mat<f64>) {
        let terms = self.terms;
        let (q1, begin, width) = (terms.counts.len(), self.border_begin, self.border_width());
        let f = width - terms.p;
        let system = Mat::from_fn(width, width, |i, j| match (i < f, j < f) {
            (true, true) => terms.gram[(begin - q1 + i, begin - q1 + j)],
            (true, false) => terms.border[(begin + i, j - f)],
            (false, true) => terms.border[(begin + j, i - f)],
            (false, false) => terms.corner[(i - f, j - f)],
        });
        let right = Mat::from_fn(width, 1, |i, _| {
            if i < f { replicate.with_z[begin + i] } else { replicate.with_q[i - f] }
        });
        (system, right)
    }

    /// theta of the border's levels, and 1 for Q.
    fn border_scale(&self, theta: &[f64]) -> Vec<f64> {
        let blocks = self.terms.blocks.iter().zip(theta).skip(self.inner);
        let levels = blocks.flat_map(|(block, &theta)| block.range().map(move |_| theta));
        levels.chain((0..self.terms.p).map(|_| 1.0)).collect()
    }

    fn largest_count(&self, block: usize) -> f64 {
        let q1 = self.terms.counts.len();
        let count = |level: usize| {
            if level < q1 {
                self.terms.counts[level]
            } else {
                self.terms.gram[(level - q1, level - q1)]
            }
        };
        self.terms.blocks[block].range().map(count).fold(1.0, f64::max)
    }
}

impl Member {
    /// Takes a component's [w, w] and [w, 1] out of the border's.
    fn scatter(
        &self,
        taken: &Mat<f64>,
        products: &Mat<f64>,
        f: usize,
        system: &mut Mat<f64>,
        right: &mut Mat<f64>,
    ) {
        let (c, p) = (self.border.len(), self.expand.ncols());
        let rank = self.expand.nrows();
        for (j, &column) in self.border.iter().enumerate() {
            let own = taken.col_as_slice(j);
            let target = system.col_as_slice_mut(column);
            self.border.iter().zip(own).for_each(|(&i, value)| target[i] -= value);
            right[(column, 0)] -= products[(j, 0)];
        }
        let fixed = self.expand.transpose() * taken.submatrix(c, 0, rank, c + rank);
        for (j, &column) in self.border.iter().enumerate() {
            for i in 0..p {
                system[(f + i, column)] -= fixed[(i, j)];
            }
        }
        let both = fixed.submatrix(0, c, p, rank) * &self.expand;
        let products = self.expand.transpose() * products.submatrix(c, 0, rank, 1);
        for j in 0..p {
            right[(f + j, 0)] -= products[(j, 0)];
            (0..p).for_each(|i| system[(f + i, f + j)] -= both[(i, j)]);
        }
    }

    /// A vector over the border, as the component's columns see it, [w, 1].
    fn gathered(&self, whole: &Mat<f64>, f: usize) -> Mat<f64> {
        let c = self.border.len();
        let fixed = &self.expand * whole.submatrix(f, 0, self.expand.ncols(), 1);
        Mat::from_fn(c + fixed.nrows(), 1, |i, _| {
            if i < c { whole[(self.border[i], 0)] } else { fixed[(i - c, 0)] }
        })
    }

    /// A symmetric matrix over the border, as the component's columns see it, added to `sum`, [w, w].
    fn gather_both(&self, whole: &Mat<f64>, f: usize, sum: &mut Mat<f64>) {
        let (c, p, width) = (self.border.len(), self.expand.ncols(), whole.nrows());
        let along = &self.expand * whole.submatrix(f, 0, p, width);
        let fixed = along.submatrix(0, f, along.nrows(), p) * self.expand.transpose();
        for j in 0..c + fixed.ncols() {
            let (above, below) = sum.col_as_slice_mut(j).split_at_mut(c);
            if j < c {
                let own = whole.col_as_slice(self.border[j]);
                above.iter_mut().zip(&self.border).for_each(|(sum, &i)| *sum += own[i]);
                let own = along.col_as_slice(self.border[j]);
                below.iter_mut().zip(own).for_each(|(sum, value)| *sum += value);
            } else {
                let row = |&i: &usize| along[(j - c, i)];
                above.iter_mut().zip(&self.border).for_each(|(sum, i)| *sum += row(i));
                let own = fixed.col_as_slice(j - c);
                below.iter_mut().zip(own).for_each(|(sum, value)| *sum += value);
            }
        }
    }
}

/// Of theta times the root of the largest count, taken for zero.
const SMALLEST: f64 = 1e-4;

#[cfg(test)]
mod tests {
    use super::super::Column;
    use super::super::objective::Point;
    use super::super::tests::{Noise, Table, crossed, levels, table, terms};
    use super::*;

    #[test]
    fn every_cut_gives_the_same_criterion_and_slopes() {
        let columns = crossed();
        for formula in [
            "y ~ x + arm + (1|a) + (1|b) + (1|a:arm)",
            "y ~ 1 + (1|a) + (1|b)",
            "y ~ arm + (1|a/arm)",
            "y ~ x + (1|b)",
        ] {
            let terms = terms(formula, &columns);
            for inner in 1..=terms.blocks.len() {
                compare(&Arrow::cut(&terms, inner));
            }
        }
    }

    #[test]
    fn components_of_a_complete_design_share_a_shape() {
        let complete = terms(USUAL, &study(|_| true));
        let arrow = Arrow::of(&complete);
        assert_eq!((arrow.shapes.len(), arrow.members.len(), arrow.inner), (1, 6, 2));
        compare(&arrow);

        let missing = terms(USUAL, &study(|row| row % 7 != 3));
        let arrow = Arrow::of(&missing);
        assert_eq!((arrow.members.len(), arrow.inner), (6, 2));
        compare(&arrow);
    }

    fn compare(arrow: &Arrow) {
        let terms = arrow.terms;
        let replicate = Replicate::of(terms);
        for theta in [[1.0, 0.4, 2.5], [0.02, 3.0, 0.5], [4.0, 0.01, 0.0]] {
            let theta = &theta[..terms.blocks.len()];
            for method in [Method::Reml, Method::Ml] {
                let expected = Point::at(terms, theta).unwrap();
                let mut refit = Refit { arrow, replicate: &replicate, method };
                let actual = refit.at(theta).unwrap();
                // A theta of zero is taken as one close to it.
                near(actual.criterion, expected.criterion(method), 1e-5);
                let variance = expected.variance(method);
                near(actual.variance, variance, 1e-7 * variance);
                for (j, coefficient) in actual.coefficients.iter().enumerate() {
                    near(*coefficient, expected.coefficients[j], 1e-6);
                }
                let covariance = expected.fixed_covariance();
                for (i, j) in (0..terms.p).flat_map(|j| (0..terms.p).map(move |i| (i, j))) {
                    near(actual.fixed_covariance[(i, j)], covariance[(i, j)], 1e-6);
                }
                for (block, slope) in expected.slopes(method, variance).into_iter().enumerate() {
                    near(actual.slopes[block], slope, 1e-5 * slope.abs());
                }
            }
        }
    }

    /// 6 configs, 5 folds, 4 seeds a config.
    fn study(kept: impl Fn(usize) -> bool) -> Table {
        let mut noise = Noise(5);
        let of_fold: Vec<f64> = (0..5).map(|_| noise.next()).collect();
        let rows: Vec<usize> = (0..120).filter(|row| kept(*row)).collect();
        let y = rows.iter().map(|row| of_fold[row / 4 % 5] + noise.next()).collect();
        table([
            ("y", Column::Numbers(y)),
            ("config", levels(rows.iter().map(|row| row / 20))),
            ("fold", levels(rows.iter().map(|row| row / 4 % 5))),
            ("seed", levels(rows.iter().map(|row| row % 4))),
        ])
    }

    #[track_caller]
    fn near(actual: f64, expected: f64, tolerance: f64) {
        assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected}");
    }

    const USUAL: &str = "y ~ config + (1|fold) + (1|config:fold) + (1|config:seed)";
}
