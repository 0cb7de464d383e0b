//! The distribution of the largest |t| of several dependent t statistics.
//!
//! `T_i = Y_i / S`, Y normal with a given correlation and `df S^2` chi-square: the probability that
//! all lie within [-t, t] is an integral over the unit cube, taken over a shifted lattice. The
//! points depend on the correlation, df and seed alone, so it rises with t without noise.
//! Deliberately absent: one-sided limits.
//!
//! Source: Genz & Bretz (2002), J. Comput. Graph. Stat. 11(4). Checked by `tests/inference.rs`.
//!
//! Floor: common.

use statrs::distribution::{ChiSquared, ContinuousCDF, Normal};

use super::contrast::student;
use super::interval::crossing;
use super::simulate::{Use, stream};

pub(super) struct LargestT {
    df: f64,
    /// Lower Cholesky factor of the correlation, by rows; a row that others determine ends in 0.
    factor: Vec<Vec<f64>>,
    /// S at each point, then the coordinates that draw Y: [points, count].
    points: Vec<Vec<f64>>,
}

impl LargestT {
    pub fn of(correlation: &[Vec<f64>], df: f64, seed: u64) -> Self {
        let count = correlation.len();
        let steps: Vec<f64> = primes(count).iter().map(|&prime| f64::from(prime).sqrt()).collect();
        let chi = ChiSquared::new(df).unwrap_or_else(|_| unreachable!("df is positive"));
        let mut points = Vec::with_capacity((SHIFTS * LATTICE) as usize);
        for shift in 0..SHIFTS {
            let mut rng = stream(Use::Shift, seed, shift);
            let begin: Vec<f64> = steps.iter().map(|_| rng.unit_f64()).collect();
            for index in 1..=LATTICE {
                let mut point: Vec<f64> = (steps.iter().zip(&begin))
                    .map(|(step, begin)| {
                        let at = (index as f64 * step + begin).fract();
                        // Folded, the integrand is periodic and the lattice converges faster.
                        (2.0 * at - 1.0).abs().clamp(EDGE, 1.0 - EDGE)
                    })
                    .collect();
                point[0] = (chi.inverse_cdf(point[0]) / df).sqrt();
                points.push(point);
            }
        }
        Self { df, factor: factor(correlation), points }
    }

    /// `P(max |T_i| > t)`, between the tail of one and that of all if none overlapped.
    pub fn tail(&self, t: f64) -> f64 {
        let alone = 2.0 * student(self.df).sf(t);
        let count = self.factor.len() as f64;
        (1.0 - self.inside(t)).clamp(alone, (count * alone).min(1.0))
    }

    /// The t that the largest |T_i| stays below with probability `level`.
    pub fn quantile(&self, level: f64) -> f64 {
        let count = self.factor.len() as f64;
        let low = student(self.df).inverse_cdf(0.5 + 0.5 * level);
        let high = student(self.df).inverse_cdf(1.0 - 0.5 * (1.0 - level) / count);
        let gap = |t: f64| 1.0 - self.tail(t) - level;
        let known = |t: f64| Some(gap(t));
        crossing(known, [low, gap(low)], [high, gap(high)], CLOSE).unwrap_or(high)
    }

    fn inside(&self, t: f64) -> f64 {
        let normal = Normal::standard();
        let mut drawn = vec![0.0; self.factor.len()];
        let mut sum = 0.0;
        for point in &self.points {
            let limit = t * point[0];
            let mut product = 1.0;
            for (i, row) in self.factor.iter().enumerate() {
                let mean: f64 = row[..i].iter().zip(&drawn).map(|(l, y)| l * y).sum();
                if row[i] == 0.0 {
                    product *= f64::from(u8::from(mean.abs() <= limit));
                    drawn[i] = 0.0;
                    continue;
                }
                let below = normal.cdf((-limit - mean) / row[i]);
                let within = normal.cdf((limit - mean) / row[i]) - below;
                product *= within;
                // The last one is not conditioned on.
                if i + 1 < self.factor.len() {
                    let at = below + point[i + 1] * within;
                    drawn[i] = normal.inverse_cdf(at.clamp(EDGE, 1.0 - EDGE));
                }
                if product == 0.0 {
                    break;
                }
            }
            sum += product;
        }
        sum / self.points.len() as f64
    }
}

/// Lower Cholesky factor; a pivot that is rounding is 0, and so is its column.
fn factor(correlation: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let count = correlation.len();
    let mut factor = vec![vec![0.0; count]; count];
    for i in 0..count {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| factor[i][k] * factor[j][k]).sum();
            let left = correlation[i][j] - known;
            factor[i][j] = match i == j {
                true if left > DEPENDENT => left.sqrt(),
                false if factor[j][j] > 0.0 => left / factor[j][j],
                _ => 0.0,
            };
        }
    }
    factor
}

/// The first primes.
fn primes(count: usize) -> Vec<u32> {
    let mut primes: Vec<u32> = Vec::with_capacity(count);
    let mut next = 2;
    while primes.len() < count {
        if primes.iter().all(|prime| next % prime != 0) {
            primes.push(next);
        }
        next += 1;
    }
    primes
}

const SHIFTS: u64 = 8;
const LATTICE: u64 = 8_000;
const EDGE: f64 = 1e-15;
const DEPENDENT: f64 = 1e-9;
/// Of a quantile.
const CLOSE: f64 = 1e-6;
