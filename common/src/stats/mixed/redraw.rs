//! Replicates of a fit with random slopes: drawn as dense cross-products and fitted from scratch.
//!
//! As `simulate`, with one factor of all cross-products of `W = [Z Q]`; it serves designs of any
//! kind, at a cost that grows with the cube of the random effects. Deliberately absent: anything
//! clever; designs of intercepts alone have `arrow` and `refit`.
//!
//! Floor: common.

use faer::Mat;

use super::bootstrap::Replicate;
use super::df::InferenceError;
use super::estimates;
use super::fit::Fit;
use super::search;
use super::simulate::{Use, chi_square, pivoted_factor, stream};
use super::terms::Terms;

/// Draws and refits replicates of a fit.
pub(super) struct Redraw<'a> {
    fit: &'a Fit,
    /// Residual standard deviation, in units of the scaled response.
    sigma: f64,
    /// Relative covariance factors of the blocks.
    factors: Vec<Vec<f64>>,
    /// `W'W`, [q + p, q + p].
    products: Mat<f64>,
    /// L with `L L' = W'W`, [q + p, rank].
    factor: Mat<f64>,
}

impl<'a> Redraw<'a> {
    pub fn of(fit: &'a Fit) -> Result<Self, InferenceError> {
        let terms = &fit.terms;
        let levels = terms.border.nrows();
        if levels > EFFECTS_MAX {
            return Err(InferenceError::BootstrapEffects { levels, limit: EFFECTS_MAX });
        }
        let products = cross_products(terms);
        let own: Vec<f64> = (0..products.nrows()).map(|i| products[(i, i)]).collect();
        Ok(Self {
            fit,
            sigma: fit.residual.sd / terms.y_scale,
            factors: terms.factors(&fit.block_theta),
            factor: pivoted_factor(products.clone(), &own),
            products,
        })
    }

    /// The estimates of one draw, which depends on `seed` and `draw` alone; `None` where the search
    /// does not converge.
    pub fn refit(&self, seed: u64, draw: u64) -> Option<Replicate> {
        let terms = self.drawn(seed, draw);
        let (best, _) = search::best(&terms, None, self.fit.method).ok()?;
        if !best.converged {
            return None;
        }
        let variance = best.point.variance(self.fit.method);
        let (components, correlations, residual) = estimates::components(&best.point, variance);
        let shares = components.iter().chain([&residual]).map(|part| part.share).collect();
        let coefficients = &best.point.coefficients;
        let moved = (0..terms.p)
            .map(|i| (0..terms.p).map(|j| terms.back[(i, j)] * coefficients[j]).sum())
            .collect();
        Some(Replicate {
            relative: components.iter().map(|part| part.sd / residual.sd).collect(),
            shares,
            correlations: correlations.iter().map(|pair| pair.correlation).collect(),
            sigma: residual.sd,
            moved,
        })
    }

    /// The fit's cross-products with a new response: `W'y* = W'Z b + W'e`, with
    /// `W'e = sigma L z` and `e'e = sigma^2 (z'z + chi2(n - rank))`.
    fn drawn(&self, seed: u64, draw: u64) -> Terms {
        let mut rng = stream(Use::Bootstrap, seed, draw);
        let mut terms = self.fit.terms.clone();
        let (q, p) = (terms.border.nrows(), terms.p);
        let mut effects = Vec::with_capacity(q);
        for (block, factor) in terms.blocks.iter().zip(&self.factors) {
            let k = block.width;
            for _ in &block.levels {
                let z: Vec<f64> = (0..k).map(|_| self.sigma * rng.normal()).collect();
                let of = |i: usize| (0..k).map(|j| factor[i * k + j] * z[j]).sum::<f64>();
                effects.extend((0..k).map(of));
            }
        }
        let rank = self.factor.ncols();
        let z: Vec<f64> = (0..rank).map(|_| self.sigma * rng.normal()).collect();
        let rest = (terms.n - rank) as f64;
        let rest = if rest > 0.0 { chi_square(&mut rng, rest) } else { 0.0 };
        let noise = combined(&self.factor, &z);
        let moved = combined(&self.products.submatrix(0, 0, q + p, q).to_owned(), &effects);
        let along = |other: &[f64]| -> f64 { effects.iter().zip(other).map(|(b, w)| b * w).sum() };
        let squares = along(&moved)
            + 2.0 * along(&noise)
            + z.iter().map(|z| z * z).sum::<f64>()
            + self.sigma * self.sigma * rest;
        for (row, (noise, moved)) in noise.iter().zip(&moved).enumerate() {
            if row < q {
                terms.border[(row, p)] = noise + moved;
            } else {
                let j = row - q;
                (terms.corner[(j, p)], terms.corner[(p, j)]) = (noise + moved, noise + moved);
            }
        }
        terms.corner[(p, p)] = squares;
        terms
    }
}

/// Columns times their weights.
fn combined(columns: &Mat<f64>, weights: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; columns.nrows()];
    for (column, &weight) in weights.iter().enumerate() {
        let entries = columns.col_as_slice(column);
        sums.iter_mut().zip(entries).for_each(|(sum, entry)| *sum += weight * entry);
    }
    sums
}

/// `[Z Q]' [Z Q]`.
fn cross_products(terms: &Terms) -> Mat<f64> {
    let (q, p) = (terms.border.nrows(), terms.p);
    let q1 = terms.blocks.first().map_or(0, |block| block.range().len());
    let k = terms.blocks.first().map_or(1, |block| block.width);
    let mut products = Mat::zeros(q + p, q + p);
    for row in 0..q1 {
        for other in 0..k {
            products[(row, row - row % k + other)] = terms.counts[row * k + other];
        }
        for (j, value) in terms.cells.row(row) {
            (products[(row, q1 + j)], products[(q1 + j, row)]) = (value, value);
        }
    }
    for j in q1..q {
        (q1..q).for_each(|i| products[(i, j)] = terms.gram[(i - q1, j - q1)]);
    }
    for j in 0..p {
        for row in 0..q {
            let value = terms.border[(row, j)];
            (products[(row, q + j)], products[(q + j, row)]) = (value, value);
        }
        products[(q + j, q + j)] = 1.0;
    }
    products
}

const EFFECTS_MAX: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::super::bootstrap::bootstrap;
    use super::super::interval::Part;
    use super::super::tests::{crossed, fitted};
    use super::*;

    #[test]
    fn both_ways_to_draw_intercepts_agree() {
        let fit = fitted("y ~ x + (1|a) + (1|b)", &crossed());
        let quick = bootstrap(&fit, 2_000, 1).unwrap();
        let redraw = Redraw::of(&fit).unwrap();
        let dense: Vec<Replicate> = (0..2_000).filter_map(|draw| redraw.refit(9, draw)).collect();
        assert!(dense.len() > 1_980, "{}", dense.len());
        for part in [Part::Component(0), Part::Component(1), Part::Residual] {
            let mean = |all: &[Replicate]| {
                all.iter().map(|one| one.sd(part)).sum::<f64>() / all.len() as f64
            };
            let spread = |all: &[Replicate]| {
                let mean = mean(all);
                let squares = all.iter().map(|one| (one.sd(part) - mean).powi(2)).sum::<f64>();
                (squares / all.len() as f64).sqrt()
            };
            let (a, b) = (quick.replicates(), dense.as_slice());
            let error = spread(a) * (2.0f64 / 2_000.0).sqrt();
            assert!((mean(a) - mean(b)).abs() < 4.0 * error, "{part:?} {} {}", mean(a), mean(b));
            assert!((spread(a) / spread(b) - 1.0).abs() < 0.12, "{part:?}");
        }
    }
}
