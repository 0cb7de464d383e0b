//! CMA-ES: a normal distribution that moves toward good points and takes their shape.
//!
//! It learns when as many proposals are told as a generation has, in the order of telling and
//! whichever generation drew them; a point from far outside the present distribution is taken
//! nearer first, as injected points are. Failed ones are worse than any score. Deliberately absent:
//! restarts, since a budget here is hundreds of trials; words and conditional axes, which have no
//! covariance.
//!
//! Sources: Hansen (2016), The CMA evolution strategy: a tutorial, arXiv:1604.00772, with its
//! negative weights; Hansen (2011), Injecting external solutions into CMA-ES, arXiv:1110.4181.
//! Symbols are the tutorial's. Looked at: `cmaes` 0.2.2 calls the function itself, reads the clock
//! and needs nalgebra and an older rand; `argmin` 0.11.0 has no CMA-ES; `optimizer` 1.0.1 asks and
//! tells, but keeps a generator between trials, so a replay would have to draw all of them again.
//!
//! Floor: common.

use super::book::Book;
use super::cube::Point;
use super::linear::{dot, eigen};
use crate::seed::StreamRng;

#[derive(Clone, Debug)]
pub(super) struct CmaEs {
    fixed: Fixed,
    mean: Vec<f64>,
    sigma: f64,
    covariance: Vec<Vec<f64>>,
    /// Square roots of the covariance's eigenvalues, and its eigenvectors as columns.
    d: Vec<f64>,
    b: Vec<Vec<f64>>,
    path_c: Vec<f64>,
    path_sigma: Vec<f64>,
    generation: u32,
    /// Told since the last step, by number.
    told: Vec<(usize, f64)>,
}

/// The tutorial's table 1, for `n` axes.
#[derive(Clone, Debug)]
struct Fixed {
    n: f64,
    lambda: usize,
    mu: usize,
    weights: Vec<f64>,
    mu_eff: f64,
    c_sigma: f64,
    d_sigma: f64,
    c_c: f64,
    c_1: f64,
    c_mu: f64,
    /// `E‖N(0, I)‖`.
    chi: f64,
}

impl Fixed {
    fn new(axes: usize) -> Self {
        let n = axes.max(1) as f64;
        let lambda = 4 + (3.0 * n.ln()).floor() as usize;
        let mu = lambda / 2;
        let raw: Vec<f64> =
            (1..=lambda).map(|i| ((lambda as f64 + 1.0) / 2.0).ln() - (i as f64).ln()).collect();
        let effective = |part: &[f64]| {
            part.iter().sum::<f64>().powi(2) / part.iter().map(|w| w * w).sum::<f64>()
        };
        let (mu_eff, mu_eff_minus) = (effective(&raw[..mu]), effective(&raw[mu..]));
        let c_1 = 2.0 / ((n + 1.3).powi(2) + mu_eff);
        let c_mu = (2.0 * (0.25 + mu_eff + 1.0 / mu_eff - 2.0) / ((n + 2.0).powi(2) + mu_eff))
            .min(1.0 - c_1);
        let alpha = (1.0 + c_1 / c_mu)
            .min(1.0 + 2.0 * mu_eff_minus / (mu_eff + 2.0))
            .min((1.0 - c_1 - c_mu) / (n * c_mu));
        let positive: f64 = raw.iter().filter(|w| **w > 0.0).sum();
        let negative: f64 = -raw.iter().filter(|w| **w < 0.0).sum::<f64>();
        let scaled = |w: &f64| if *w >= 0.0 { w / positive } else { w * alpha / negative };
        let c_sigma = (mu_eff + 2.0) / (n + mu_eff + 5.0);
        let excess = (((mu_eff - 1.0) / (n + 1.0)).sqrt() - 1.0).max(0.0);
        Self {
            n,
            lambda,
            mu,
            weights: raw.iter().map(scaled).collect(),
            mu_eff,
            c_sigma,
            d_sigma: 1.0 + 2.0 * excess + c_sigma,
            c_c: (4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n),
            c_1,
            c_mu,
            chi: n.sqrt() * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n)),
        }
    }
}

impl CmaEs {
    pub fn new(axes: usize) -> Self {
        let identity = |row, column| f64::from(u8::from(row == column));
        let identity: Vec<Vec<f64>> =
            (0..axes).map(|row| (0..axes).map(|column| identity(row, column)).collect()).collect();
        Self {
            fixed: Fixed::new(axes),
            mean: vec![0.5; axes],
            sigma: SIGMA_FIRST,
            covariance: identity.clone(),
            d: vec![1.0; axes],
            b: identity,
            path_c: vec![0.0; axes],
            path_sigma: vec![0.0; axes],
            generation: 0,
            told: Vec::new(),
        }
    }

    /// How many are told before it learns.
    pub fn generation(&self) -> usize {
        self.fixed.lambda
    }

    /// A fresh point of the distribution within the cube; `None` where chance finds none.
    pub fn propose(&self, book: &Book) -> Option<Point> {
        let mut rng = book.rng();
        let mut last = None;
        for _ in 0..DRAWS_MAX {
            let places = self.drawn(&mut rng);
            if places.iter().all(|place| (0.0..=1.0).contains(place)) {
                let point = book.cube.point(&places);
                if book.is_fresh(&point) {
                    return Some(point);
                }
            }
            last = Some(places);
        }
        let clipped: Vec<f64> = last?.iter().map(|place| place.clamp(0.0, 1.0)).collect();
        Some(book.cube.point(&clipped)).filter(|point| book.is_fresh(point))
    }

    /// Takes note of the last told proposal, and steps when a generation is complete.
    pub fn told(&mut self, book: &Book) {
        let Some(number) = book.told.last() else { return };
        let loss = book.states[*number].loss().unwrap_or(f64::INFINITY);
        self.told.push((*number, loss));
        if self.told.len() == self.fixed.lambda {
            let mut told = std::mem::take(&mut self.told);
            told.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
            let point = |number: usize| -> Vec<f64> {
                book.points[number].iter().map(|place| place.unwrap_or(0.5)).collect()
            };
            let points: Vec<Vec<f64>> = told.iter().map(|(number, _)| point(*number)).collect();
            self.step(&points);
        }
    }

    fn drawn(&self, rng: &mut StreamRng) -> Vec<f64> {
        let z: Vec<f64> = self.d.iter().map(|d| d * rng.normal()).collect();
        let moved = self.mean.iter().zip(&self.b);
        moved.map(|(mean, row)| mean + self.sigma * dot(row, &z)).collect()
    }

    /// `C^(-1/2) y`.
    fn whitened(&self, y: &[f64]) -> Vec<f64> {
        let axes = y.len();
        let turned = |at: usize| (0..axes).map(|row| self.b[row][at] * y[row]).sum::<f64>();
        let shrunk: Vec<f64> = (0..axes).map(|at| turned(at) / self.d[at]).collect();
        self.b.iter().map(|row| dot(row, &shrunk)).collect()
    }

    /// One generation, its points [lambda, n] from best to worst.
    fn step(&mut self, points: &[Vec<f64>]) {
        let Fixed { n, mu, mu_eff, c_sigma, c_c, c_1, chi, .. } = self.fixed;
        let ys = self.steps(points);
        let axes = self.mean.len();
        let weighted = |at: usize| {
            let best = ys.iter().zip(&self.fixed.weights).take(mu);
            best.map(|((y, _), weight)| weight * y[at]).sum::<f64>()
        };
        let y: Vec<f64> = (0..axes).map(weighted).collect();
        self.mean.iter_mut().zip(&y).for_each(|(m, y)| *m = (*m + self.sigma * y).clamp(0.0, 1.0));
        let white = self.whitened(&y);
        let pull = (c_sigma * (2.0 - c_sigma) * mu_eff).sqrt();
        let paths = self.path_sigma.iter_mut().zip(&white);
        paths.for_each(|(path, white)| *path = (1.0 - c_sigma) * *path + pull * white);
        self.generation += 1;
        let length = dot(&self.path_sigma, &self.path_sigma).sqrt();
        let settled = (1.0 - (1.0 - c_sigma).powi(2 * self.generation as i32)).sqrt();
        let moves = length / settled < (1.4 + 2.0 / (n + 1.0)) * chi;
        let pull = if moves { (c_c * (2.0 - c_c) * mu_eff).sqrt() } else { 0.0 };
        let paths = self.path_c.iter_mut().zip(&y);
        paths.for_each(|(path, y)| *path = (1.0 - c_c) * *path + pull * y);
        let stalled = if moves { 0.0 } else { c_1 * c_c * (2.0 - c_c) };
        self.reshape(&ys, stalled);
        let change = (c_sigma / self.fixed.d_sigma) * (length / chi - 1.0);
        self.sigma = (self.sigma * change.min(1.0).exp()).min(SIGMA_MAX);
        self.decompose();
    }

    /// Each point's step from the mean in units of sigma, no longer than a drawn one would be, and
    /// its length by the present covariance.
    fn steps(&self, points: &[Vec<f64>]) -> Vec<(Vec<f64>, f64)> {
        let n = self.fixed.n;
        let longest = n.sqrt() + 2.0 * n / (n + 2.0);
        let step = |point: &Vec<f64>| {
            let away = point.iter().zip(&self.mean).map(|(x, m)| (x - m) / self.sigma);
            let away: Vec<f64> = away.collect();
            let white = self.whitened(&away);
            let length = dot(&white, &white).sqrt();
            let nearer = (longest / length.max(f64::MIN_POSITIVE)).min(1.0);
            (away.iter().map(|y| y * nearer).collect(), length * nearer)
        };
        points.iter().map(step).collect()
    }

    /// The covariance after a generation: by its path, and by its steps from best to worst.
    fn reshape(&mut self, ys: &[(Vec<f64>, f64)], stalled: f64) {
        let Fixed { n, c_1, c_mu, .. } = self.fixed;
        let total: f64 = self.fixed.weights.iter().sum();
        // A bad step's weight is that of one of the usual length in its direction.
        let fair = |(weight, (_, length)): (&f64, &(Vec<f64>, f64))| match *weight >= 0.0 {
            true => *weight,
            false => weight * n / (length * length + 1e-8),
        };
        let weights: Vec<f64> = self.fixed.weights.iter().zip(ys).map(fair).collect();
        for row in 0..self.mean.len() {
            for column in 0..=row {
                let steps = ys.iter().zip(&weights);
                let rank_mu = steps.map(|((y, _), weight)| weight * y[row] * y[column]);
                let entry = (1.0 + stalled - c_1 - c_mu * total) * self.covariance[row][column]
                    + c_1 * self.path_c[row] * self.path_c[column]
                    + c_mu * rank_mu.sum::<f64>();
                (self.covariance[row][column], self.covariance[column][row]) = (entry, entry);
            }
        }
    }

    fn decompose(&mut self) {
        let (values, vectors) = eigen(self.covariance.clone());
        let largest = values.iter().fold(f64::MIN_POSITIVE, |most, value| most.max(*value));
        self.d = values.iter().map(|value| value.max(largest * 1e-14).sqrt()).collect();
        self.b = vectors;
    }
}

/// In units of the cube's edge.
const SIGMA_FIRST: f64 = 1.0 / 6.0;
const SIGMA_MAX: f64 = 1.0;
const DRAWS_MAX: u32 = 100;
