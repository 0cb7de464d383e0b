//! New responses from a fitted model, as cross-products.
//!
//! A replicate is `y* = Z b + e`, `b_k ~ N(0, sigma_k^2 I)`, `e ~ N(0, sigma^2 I)`, the fixed
//! effects left out since the variances do not depend on them. A refit reads only `Z'y*`, `Q'y*`
//! and `y*'y*`, so these are drawn, not the rows, and a draw costs the same for a million rows.
//!
//! Why the draw is exact. Let `W = [Z Q]` and let L be a factor of its cross-products:
//! `W'W = L L'`, L of full column rank r. Then `W = U L'` with U [n, r] orthonormal columns, so
//! `z = U'e / sigma` is r independent standard normals, and `W'e = sigma L z`. The rest of e is
//! orthogonal to U, so it is independent of z, and its squared length is sigma^2 times a
//! chi-square at n - r degrees of freedom. Hence `e'e = sigma^2 (z'z + chi2(n - r))`, and
//! `Z'y* = Z'Z b + Z'e`, `Q'y* = Q'Z b + Q'e`, `y*'y* = b'Z'Z b + 2 b'Z'e + e'e` have the joint
//! distribution they have for rows. Levels of the largest factor do not overlap, so its part of L
//! is a diagonal, and a dense factor is needed only of what is left of the others.
//!
//! Deliberately absent: refits.
//!
//! Floor: common.

use faer::Mat;

use super::fit::Fit;
use super::terms::Terms;
use crate::id::Digest;
use crate::seed::{Stream, StreamRng};

/// What a stream of draws is for; each use of a seed has its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    Bootstrap,
    Null,
    Shift,
}

/// The stream of one draw. It depends on nothing that was drawn before.
pub(super) fn stream(purpose: Use, seed: u64, draw: u64) -> StreamRng {
    let name: &[u8] = match purpose {
        Use::Bootstrap => b"mixed model bootstrap",
        Use::Null => b"null distribution of a variance",
        Use::Shift => b"shifts of a lattice",
    };
    StreamRng::new(&Digest::of(name), Stream::Report, seed, draw)
}

/// A draw of chi-square at `freedom` > 0.
///
/// Source: Marsaglia & Tsang (2000), ACM Trans. Math. Softw. 26(3).
pub(super) fn chi_square(rng: &mut StreamRng, freedom: f64) -> f64 {
    let shape = 0.5 * freedom;
    if shape < 1.0 {
        let power = (1.0 - rng.unit_f64()).powf(1.0 / shape);
        return chi_square(rng, freedom + 2.0) * power;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let z = rng.normal();
        let v = (1.0 + c * z).powi(3);
        if v > 0.0 && (1.0 - rng.unit_f64()).ln() < 0.5 * z * z + d - d * v + d * v.ln() {
            return 2.0 * d * v;
        }
    }
}

/// Draws replicates of a fit.
pub(super) struct Simulator<'a> {
    terms: &'a Terms,
    /// Residual standard deviation, in units of the scaled response.
    sigma: f64,
    /// Standard deviation of each level's effect, [q].
    spreads: Vec<f64>,
    /// Factor of the cross-products of the other factors and Q, less what the largest factor
    /// explains of them, [qr + p, rank].
    factor: Columns,
    /// `Zr'Zr`, [qr, qr].
    gram: Columns,
    /// n - q1 - rank.
    rest: f64,
}

/// The cross-products of one replicate, in units of the scaled response.
pub(super) struct Replicate {
    /// `Z'y*`, [q].
    pub with_z: Vec<f64>,
    /// `Q'y*`, [p].
    pub with_q: Vec<f64>,
    /// `y*'y*`.
    pub squares: f64,
}

impl Replicate {
    /// The model's own response.
    pub fn of(terms: &Terms) -> Self {
        let p = terms.p;
        Self {
            with_z: terms.border.col_as_slice(p).to_vec(),
            with_q: (0..p).map(|j| terms.corner[(j, p)]).collect(),
            squares: terms.corner[(p, p)],
        }
    }
}

impl<'a> Simulator<'a> {
    pub fn of(fit: &'a Fit) -> Self {
        let terms = &fit.terms;
        let sigma = fit.residual.sd / terms.y_scale;
        let spreads = (terms.blocks.iter().zip(&fit.block_theta))
            .flat_map(|(block, theta)| block.range().map(move |_| theta * sigma))
            .collect();
        let factor = Columns::of(&pivoted_factor(beside_largest(terms), &own_squares(terms)));
        let rest = terms.n as f64 - (terms.counts.len() + factor.count()) as f64;
        Self { terms, sigma, spreads, factor, gram: Columns::of(&terms.gram), rest }
    }

    pub fn draw(&self, seed: u64, draw: u64) -> Replicate {
        let mut rng = stream(Use::Bootstrap, seed, draw);
        let (terms, q1) = (self.terms, self.terms.counts.len());
        let effects: Vec<f64> = self.spreads.iter().map(|spread| spread * rng.normal()).collect();
        let (mut with_z, mut with_q, mut squares) = self.noise(&mut rng);
        let along: f64 = effects.iter().zip(&with_z).map(|(b, noise)| b * noise).sum();
        squares += 2.0 * along;
        let mut moved = vec![0.0; effects.len()];
        let (largest, others) = effects.split_at(q1);
        for (level, &b) in largest.iter().enumerate() {
            moved[level] += terms.counts[level] * b;
            for (j, n) in terms.cells.row(level) {
                moved[level] += n * others[j];
                moved[q1 + j] += n * b;
            }
        }
        for (j, &b) in others.iter().enumerate() {
            self.gram.add(j, b, &mut moved[q1..]);
        }
        squares += effects.iter().zip(&moved).map(|(b, moved)| b * moved).sum::<f64>();
        with_z.iter_mut().zip(&moved).for_each(|(sum, moved)| *sum += moved);
        for (j, sum) in with_q.iter_mut().enumerate() {
            *sum +=
                terms.border.col_as_slice(j).iter().zip(&effects).map(|(a, b)| a * b).sum::<f64>();
        }
        Replicate { with_z, with_q, squares }
    }

    /// `Z'e`, `Q'e` and `e'e`.
    fn noise(&self, rng: &mut StreamRng) -> (Vec<f64>, Vec<f64>, f64) {
        let (terms, q1) = (self.terms, self.terms.counts.len());
        let width = terms.gram.nrows();
        let mut products = vec![0.0; width + terms.p];
        let mut with_z = vec![0.0; q1 + width];
        let mut squares = 0.0;
        for (level, count) in terms.counts.iter().enumerate() {
            let z = rng.normal();
            squares += z * z;
            with_z[level] = count.sqrt() * z;
            let mean = z / count.sqrt();
            terms.cells.row(level).for_each(|(j, n)| products[j] += n * mean);
            (0..terms.p).for_each(|j| products[width + j] += terms.border[(level, j)] * mean);
        }
        for column in 0..self.factor.count() {
            let z = rng.normal();
            squares += z * z;
            self.factor.add(column, z, &mut products);
        }
        if self.rest > 0.0 {
            squares += chi_square(rng, self.rest);
        }
        with_z[q1..].copy_from_slice(&products[..width]);
        with_z.iter_mut().for_each(|value| *value *= self.sigma);
        let with_q = products[width..].iter().map(|value| value * self.sigma).collect();
        (with_z, with_q, squares * self.sigma * self.sigma)
    }
}

/// The entries of a matrix that are not zero, column by column.
struct Columns {
    /// [columns + 1]: where each begins in the lists below.
    starts: Vec<usize>,
    rows: Vec<u32>,
    values: Vec<f64>,
}

impl Columns {
    fn of(matrix: &Mat<f64>) -> Self {
        let mut columns = Self { starts: vec![0], rows: Vec::new(), values: Vec::new() };
        for column in 0..matrix.ncols() {
            for (row, &value) in matrix.col_as_slice(column).iter().enumerate() {
                if value != 0.0 {
                    columns.rows.push(row as u32);
                    columns.values.push(value);
                }
            }
            columns.starts.push(columns.rows.len());
        }
        columns
    }

    fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Adds `weight` times a column to `sums`.
    fn add(&self, column: usize, weight: f64, sums: &mut [f64]) {
        let range = self.starts[column]..self.starts[column + 1];
        let entries = self.rows[range.clone()].iter().zip(&self.values[range]);
        entries.for_each(|(&row, value)| sums[row as usize] += weight * value);
    }
}

/// Cross-products of the other factors and Q, less what the largest factor explains of them.
fn beside_largest(terms: &Terms) -> Mat<f64> {
    let (q1, width) = (terms.counts.len(), terms.gram.nrows());
    let size = width + terms.p;
    let mut left = Mat::from_fn(size, size, |i, j| match (i < width, j < width) {
        (true, true) => terms.gram[(i, j)],
        (true, false) => terms.border[(q1 + i, j - width)],
        (false, true) => terms.border[(q1 + j, i - width)],
        (false, false) => terms.corner[(i - width, j - width)],
    });
    for (level, count) in terms.counts.iter().enumerate() {
        let fixed = (0..terms.p).map(|j| (width + j, terms.border[(level, j)]));
        let row: Vec<(usize, f64)> = terms.cells.row(level).chain(fixed).collect();
        for &(j, value) in &row {
            let column = left.col_as_slice_mut(j);
            row.iter().for_each(|&(i, other)| column[i] -= other * value / count);
        }
    }
    left
}

/// Squared lengths of the columns of the other factors and of Q, [qr + p].
fn own_squares(terms: &Terms) -> Vec<f64> {
    let levels = (0..terms.gram.nrows()).map(|j| terms.gram[(j, j)]);
    levels.chain((0..terms.p).map(|_| 1.0)).collect()
}

/// L [size, rank] with `L L' = matrix`, which has no negative eigenvalue.
///
/// A step takes the first column of which a fair share of its `own` square is left, which keeps L
/// sparse, else the one with the largest share. The steps end when none is above rounding: the
/// rank is then their number.
/// Source: Higham (2002), Accuracy and Stability of Numerical Algorithms, section 10.3.
pub(super) fn pivoted_factor(matrix: Mat<f64>, own: &[f64]) -> Mat<f64> {
    let size = matrix.nrows();
    let mut left: Vec<f64> = (0..size).map(|i| matrix[(i, i)]).collect();
    let mut waiting: Vec<usize> = (0..size).collect();
    let mut factor = Mat::<f64>::zeros(size, size);
    let mut rank = 0;
    while !waiting.is_empty() {
        let share = |&at: &usize| left[waiting[at]] / own[waiting[at]];
        let fair = (0..waiting.len()).find(|at| share(at) > FAIR);
        let largest = || (0..waiting.len()).max_by(|a, b| share(a).total_cmp(&share(b)));
        let Some(at) = fair.or_else(largest).filter(|at| share(at) > DEPENDENT) else { break };
        let pivot = waiting.remove(at);
        let root = left[pivot].sqrt();
        let mut column = matrix.col_as_slice(pivot).to_vec();
        for earlier in 0..rank {
            let earlier = factor.col_as_slice(earlier);
            let weight = earlier[pivot];
            if weight != 0.0 {
                column.iter_mut().zip(earlier).for_each(|(value, e)| *value -= weight * e);
            }
        }
        factor[(pivot, rank)] = root;
        for &i in &waiting {
            // What is left of a column's square bounds its products; rounding alone is no entry.
            if column[i].abs() > ROUNDING * root * own[i].sqrt() {
                let entry = column[i] / root;
                factor[(i, rank)] = entry;
                left[i] -= entry * entry;
            }
        }
        rank += 1;
    }
    factor.submatrix(0, 0, size, rank).to_owned()
}

/// Of its own square, what is left of a column that others explain.
const DEPENDENT: f64 = 1e-9;
/// Share of its own square at which a column is a sound pivot.
const FAIR: f64 = 1e-3;
/// Of the largest value an entry could have.
const ROUNDING: f64 = 1e-14;

#[cfg(test)]
mod tests {
    use super::super::tests::{crossed, terms};
    use super::*;

    #[test]
    fn the_factor_has_the_rank_of_the_design() {
        // Levels and x and arm, less what they share: the mean; and a within a:arm.
        for (formula, rank) in [
            ("y ~ x + arm + (1|a) + (1|b)", 8 + 6 + 3 - 2),
            ("y ~ x + arm + (1|a) + (1|b) + (1|a:arm)", 16 + 6 + 1 - 1),
            ("y ~ x", 2),
        ] {
            let terms = terms(formula, &crossed());
            let matrix = beside_largest(&terms);
            let factor = pivoted_factor(matrix.clone(), &own_squares(&terms));
            assert_eq!(terms.counts.len() + factor.ncols(), rank, "{formula}");
            let apart = matrix - &factor * factor.transpose();
            assert!(apart.norm_max() < 1e-10, "{formula}: {}", apart.norm_max());
        }
    }

    #[test]
    fn chi_squares_have_their_mean_and_variance() {
        let mut rng = stream(Use::Null, 1, 0);
        for freedom in [1.0, 2.0, 7.5, 4_000.0] {
            let draws: Vec<f64> = (0..100_000).map(|_| chi_square(&mut rng, freedom)).collect();
            let mean = draws.iter().sum::<f64>() / 1e5;
            let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
            let error = (2.0 * freedom / 1e5).sqrt();
            assert!((mean - freedom).abs() < 4.0 * error, "{freedom}: mean {mean}");
            assert!((variance / (2.0 * freedom) - 1.0).abs() < 0.05, "{freedom}: {variance}");
        }
    }
}
