//! Where a Gaussian process expects the most improvement.
//!
//! The logarithm of the expected improvement is climbed, which has a slope even where the
//! improvement itself is zero to the last digit. Starts are the best of many even points and of some
//! near the best known. Deliberately absent: noise in the score to come; what matters is the mean.
//!
//! Source: Ament et al. (2023), Unexpected improvements to expected improvement, NeurIPS.
//!
//! Floor: common.

use super::super::ascend::minimise;
use super::super::book::Book;
use super::super::cube::Point;
use super::kernel::{Process, dense};
use crate::seed::StreamRng;
use crate::stats::noncentral::normal_pdf;
use crate::stats::summary::normal_cdf;

/// The fresh point of the most expected improvement found; `None` where no candidate is fresh.
pub(super) fn choose(book: &Book, process: &Process) -> Option<Point> {
    let mut rng = book.rng();
    let hunt = Hunt { book, process, least: process.least() };
    let effort = Effort::of(process.size());
    let order = |a: &(f64, Vec<f64>), b: &(f64, Vec<f64>)| b.0.total_cmp(&a.0);
    let mut found: Vec<(f64, Vec<f64>)> = Vec::new();
    // As many climbs begin far as near: else all would end on the hill that is already known.
    for places in [even(book, &effort, &mut rng), near(book, &effort, &mut rng)] {
        let points = places.into_iter().map(|places| (book.cube.point(&places), places));
        let fresh = points.filter(|(point, _)| book.is_fresh(point));
        let mut looked: Vec<(f64, Vec<f64>)> =
            fresh.map(|(point, places)| (hunt.worth(&point), places)).collect();
        looked.sort_by(order);
        looked.truncate(effort.climbs);
        found.extend(looked.iter().map(|(_, places)| hunt.climb(places, effort.steps)));
        found.extend(looked);
    }
    found.sort_by(order);
    let mut points = found.iter().map(|(_, places)| book.cube.point(places));
    points.find(|point| book.is_fresh(point))
}

/// How much is looked at: less for a large process, whose every look costs its size squared.
struct Effort {
    even: u32,
    near: u32,
    climbs: usize,
    steps: u32,
}

impl Effort {
    fn of(rows: usize) -> Self {
        match rows {
            0..=LARGE => Self { even: 512, near: 128, climbs: 3, steps: 40 },
            _ => Self { even: 96, near: 64, climbs: 1, steps: 20 },
        }
    }
}

/// Places all over the cube.
fn even(book: &Book, effort: &Effort, rng: &mut StreamRng) -> Vec<Vec<f64>> {
    let sobol = book.sobol().scrambled(rng);
    (0..effort.even).map(|index| sobol.point(index)).collect()
}

/// Places around the best told configs.
fn near(book: &Book, effort: &Effort, rng: &mut StreamRng) -> Vec<Vec<f64>> {
    let mut all = Vec::with_capacity(effort.near as usize);
    let mut told: Vec<(usize, f64)> = book.losses().collect();
    told.sort_by(|a, b| a.1.total_cmp(&b.1));
    told.truncate(CENTRES);
    for draw in 0..effort.near as usize {
        let Some((number, _)) = told.get(draw % CENTRES.min(told.len().max(1))) else { break };
        let width = WIDTHS[draw / CENTRES % WIDTHS.len()];
        let places = book.points[*number].iter().zip(&book.cube.dimensions);
        all.push(
            places
                .map(|(place, dimension)| match place {
                    Some(place) if dimension.ordered => {
                        (place + width * rng.normal()).clamp(0.0, 1.0)
                    }
                    Some(place) if rng.unit_f64() > width => *place,
                    _ => rng.unit_f64(),
                })
                .collect(),
        );
    }
    all
}

struct Hunt<'a> {
    book: &'a Book,
    process: &'a Process,
    /// The score to improve on.
    least: f64,
}

impl Hunt<'_> {
    fn worth(&self, point: &Point) -> f64 {
        let (mean, variance) = self.process.predict(&dense(point));
        let sd = variance.sqrt();
        sd.ln() + log_improvement((self.least - mean) / sd).0
    }

    /// The best reached from `places`, on a cell's middle where the axis is finite.
    fn climb(&self, places: &[f64], steps: u32) -> (f64, Vec<f64>) {
        let cube = &self.book.cube;
        let start = dense(&cube.point(places));
        let moving: Vec<usize> = (0..places.len())
            .filter(|axis| cube.dimensions[*axis].ordered && !start[*axis].is_nan())
            .collect();
        let mut x = start.clone();
        let surface = |moved: &[f64], gradient: &mut [f64]| {
            moving.iter().zip(moved).for_each(|(axis, place)| x[*axis] = *place);
            let (mean, variance, of_mean, of_variance) = self.process.slopes(&x);
            let sd = variance.sqrt();
            let z = (self.least - mean) / sd;
            let (log, slope) = log_improvement(z);
            for (axis, gradient) in moving.iter().zip(gradient) {
                let of_sd = of_variance[*axis] / (2.0 * sd);
                *gradient = -(of_sd + slope * (-of_mean[*axis] - z * of_sd)) / sd;
            }
            -(sd.ln() + log)
        };
        let from: Vec<f64> = moving.iter().map(|axis| start[*axis]).collect();
        let (ended, _) = minimise(surface, &from, &vec![(0.0, 1.0); from.len()], steps);
        let mut places = places.to_vec();
        moving.iter().zip(ended).for_each(|(axis, place)| places[*axis] = place);
        self.step_by_cells(places)
    }

    /// Tries the neighbouring cells of each finite axis, and all values of words.
    fn step_by_cells(&self, mut places: Vec<f64>) -> (f64, Vec<f64>) {
        let cube = &self.book.cube;
        let worth = |places: &[f64]| {
            let point = cube.point(places);
            if self.book.is_fresh(&point) { self.worth(&point) } else { f64::NEG_INFINITY }
        };
        let mut best = worth(&places);
        for (axis, dimension) in cube.dimensions.iter().enumerate() {
            let Some(cells) = dimension.cells.filter(|cells| *cells > 1) else { continue };
            let own = dimension.cell(places[axis]);
            let others = match dimension.ordered {
                true => own.saturating_sub(1)..(own + 2).min(cells),
                false => 0..cells.min(WORDS_MAX),
            };
            for other in others.filter(|other| *other != own) {
                let before =
                    std::mem::replace(&mut places[axis], (other as f64 + 0.5) / cells as f64);
                let reached = worth(&places);
                if reached > best { best = reached } else { places[axis] = before }
            }
        }
        (best, places)
    }
}

/// `log(φ(z) + z Φ(z))` and its derivative, for any z.
fn log_improvement(z: f64) -> (f64, f64) {
    if z > -1.0 {
        let improvement = normal_pdf(z) + z * normal_cdf(z);
        return (improvement.ln(), normal_cdf(z) / improvement);
    }
    let log_pdf = -0.5 * z * z - 0.5 * std::f64::consts::TAU.ln();
    // Below, `Φ(z) / φ(z)` and `1 + z Φ(z) / φ(z)`, from the tail's series where it has converged.
    let (mills, rest) = if z > TAIL {
        let mills = normal_cdf(z) / normal_pdf(z);
        (mills, 1.0 + z * mills)
    } else {
        let u = 1.0 / (z * z);
        let rest = u * (1.0 - u * (3.0 - u * (15.0 - u * 105.0)));
        ((1.0 - rest) / -z, rest)
    };
    (log_pdf + rest.ln(), mills / rest)
}

/// Rows above which a look is dear.
const LARGE: usize = 128;
const CENTRES: usize = 4;
/// How far from a told config is looked, in turn.
const WIDTHS: [f64; 4] = [0.1, 0.03, 0.01, 0.003];
const WORDS_MAX: u64 = 32;
const TAIL: f64 = -20.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_of_the_improvement_is_smooth_into_the_tail() {
        for z in [3.0, 0.0, -0.99, -1.01, -5.0, -19.9, -20.1, -40.0, -1e4] {
            let (value, slope) = log_improvement(z);
            let step = 1e-5 * (1.0 + z.abs());
            let (up, down) = (log_improvement(z + step).0, log_improvement(z - step).0);
            assert!(value.is_finite(), "{z}");
            assert!(((up - down) / (2.0 * step) / slope - 1.0).abs() < 1e-4, "{z}: {slope}");
        }
    }
}
