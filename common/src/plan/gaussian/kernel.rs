//! How alike two configs' scores are, and what a Gaussian process with that kernel predicts.
//!
//! Matérn's kernel with ν = 5/2 and one length an axis: `a (1 + √5 r + 5 r²/3) exp(-√5 r)`, where
//! `r² = Σ w_j d_j²`. On an ordered axis d is the distance; words that differ, and a place where the
//! other config has none, are 1 apart. Deliberately absent: how w, a and the noise are found (`fit`).
//!
//! Sources: Rasmussen & Williams (2006), chapters 2 and 4; Snoek et al. (2012), NeurIPS.
//!
//! Floor: common.

use super::super::cube::{Cube, Point};
use super::super::linear::{Factor, dot};

/// A point's places, [axes]; NaN for an axis that it lacks.
pub(super) type Dense = Vec<f64>;

pub(super) fn dense(point: &Point) -> Dense {
    point.iter().map(|place| place.unwrap_or(f64::NAN)).collect()
}

/// How places on each axis are compared.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    ordered: Vec<bool>,
    /// Whether each axis is ordered and always there: the usual space, and the quick one.
    plain: bool,
}

impl Shape {
    pub fn of(cube: &Cube) -> Self {
        let ordered: Vec<bool> = cube.dimensions.iter().map(|axis| axis.ordered).collect();
        let plain = cube.is_unconditional() && ordered.iter().all(|ordered| *ordered);
        Self { ordered, plain }
    }

    pub fn axes(&self) -> usize {
        self.ordered.len()
    }

    /// The difference on one axis; its sign is that of `a - b` where order has a meaning.
    pub fn apart(&self, axis: usize, a: f64, b: f64) -> f64 {
        match () {
            () if self.plain => a - b,
            () if a.is_nan() || b.is_nan() => f64::from(u8::from(a.is_nan() != b.is_nan())),
            () if self.ordered[axis] => a - b,
            () => f64::from(u8::from(a != b)),
        }
    }

    fn square(&self, weights: &[f64], a: &[f64], b: &[f64]) -> f64 {
        if self.plain {
            let terms = a.iter().zip(b).zip(weights).map(|((a, b), w)| w * (a - b) * (a - b));
            return terms.sum();
        }
        let terms = weights.iter().enumerate().map(|(axis, weight)| {
            let apart = self.apart(axis, a[axis], b[axis]);
            weight * apart * apart
        });
        terms.sum()
    }
}

/// The kernel's parameters, for scores whose standard deviation is 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kernel {
    /// By axis: one over the squared length.
    pub weights: Vec<f64>,
    pub scale: f64,
    /// Variance of a score whose error was not measured.
    pub noise: f64,
}

impl Kernel {
    /// The covariance, and its derivative by r².
    pub fn at(&self, shape: &Shape, a: &[f64], b: &[f64]) -> (f64, f64) {
        let square = shape.square(&self.weights, a, b);
        let far = (5.0 * square).sqrt();
        let fading = self.scale * (-far).exp();
        (fading * (1.0 + far + 5.0 / 3.0 * square), -5.0 / 6.0 * fading * (1.0 + far))
    }
}

/// A score at a point, and the variance of its error: `None` where that was not measured.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub x: Dense,
    pub y: f64,
    pub variance: Option<f64>,
}

/// A Gaussian process that has seen some rows. Scores are scaled to mean 0 and variance 1.
#[derive(Clone, Debug)]
pub(super) struct Process {
    shape: Shape,
    pub kernel: Kernel,
    rows: Vec<Row>,
    factor: Factor,
    /// `(K + Σ)⁻¹ y`.
    alpha: Vec<f64>,
}

impl Process {
    /// The process of `rows`, without those that the others tell all about. O(rows³).
    pub fn new(shape: Shape, kernel: Kernel, rows: Vec<Row>) -> Self {
        let mut process =
            Self { shape, kernel, rows: Vec::new(), factor: Factor::default(), alpha: Vec::new() };
        rows.into_iter().for_each(|row| process.push(row));
        process.weigh();
        process
    }

    pub fn size(&self) -> usize {
        self.rows.len()
    }

    /// One row more. O(rows²).
    pub fn grow(&mut self, row: Row) {
        self.push(row);
        self.weigh();
    }

    /// A row whose score is what the process expects there: its mean stays, its doubt shrinks.
    pub fn believe(&mut self, x: Dense) {
        let y = self.mean(&x);
        self.grow(Row { x, y, variance: None });
    }

    /// The least score told, its noise and all. A bar that luck has lowered keeps the search from
    /// digging on where it stands; the least mean was tried, and got stuck in local minima.
    pub fn least(&self) -> f64 {
        self.rows.iter().fold(f64::INFINITY, |least, row| least.min(row.y))
    }

    /// Mean and variance of the score, without noise, at `x`. O(rows²).
    pub fn predict(&self, x: &[f64]) -> (f64, f64) {
        let k: Vec<f64> = self.rows.iter().map(|row| self.covariance(x, row).0).collect();
        let mean = dot(&k, &self.alpha);
        let solved = self.factor.forward(k);
        (mean, (self.kernel.scale - dot(&solved, &solved)).max(VARIANCE_MIN))
    }

    /// Mean and variance at `x`, and how both change with each place, [axes] each. O(rows²).
    pub fn slopes(&self, x: &[f64]) -> (f64, f64, Vec<f64>, Vec<f64>) {
        let both: Vec<(f64, f64)> = self.rows.iter().map(|row| self.covariance(x, row)).collect();
        let k: Vec<f64> = both.iter().map(|(k, _)| *k).collect();
        let mean = dot(&k, &self.alpha);
        let solved = self.factor.forward(k);
        let variance = (self.kernel.scale - dot(&solved, &solved)).max(VARIANCE_MIN);
        let pulled = self.factor.backward(solved);
        let (mut of_mean, mut of_variance) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        for (at, row) in self.rows.iter().enumerate() {
            for (axis, weight) in self.kernel.weights.iter().enumerate() {
                let change =
                    2.0 * both[at].1 * weight * self.shape.apart(axis, x[axis], row.x[axis]);
                of_mean[axis] += self.alpha[at] * change;
                of_variance[axis] -= 2.0 * pulled[at] * change;
            }
        }
        (mean, variance, of_mean, of_variance)
    }

    fn mean(&self, x: &[f64]) -> f64 {
        let rows = self.rows.iter().zip(&self.alpha);
        rows.map(|(row, alpha)| alpha * self.covariance(x, row).0).sum()
    }

    fn covariance(&self, x: &[f64], row: &Row) -> (f64, f64) {
        self.kernel.at(&self.shape, x, &row.x)
    }

    fn error(&self, row: &Row) -> f64 {
        row.variance.unwrap_or(self.kernel.noise) + NOISE_MIN
    }

    fn push(&mut self, row: Row) {
        let line = self.rows.iter().map(|other| self.covariance(&row.x, other).0).collect();
        if self.factor.grow(line, self.kernel.scale + self.error(&row)) {
            self.rows.push(row);
        }
    }

    fn weigh(&mut self) {
        let y = self.rows.iter().map(|row| row.y).collect();
        self.alpha = self.factor.backward(self.factor.forward(y));
    }
}

/// A score's error is never less than this, so that near points can be told apart.
pub(super) const NOISE_MIN: f64 = 1e-6;
const VARIANCE_MIN: f64 = 1e-12;
