//! Tree-structured Parzen estimators: where good configs are dense and bad ones are not.
//!
//! Both densities are mixtures of products over all axes, one kernel a told config, so that axes
//! that matter together are chosen together. A kernel says nothing (it is even) about an axis that
//! its config lacks; so the density of any subset of axes is that with the others left out. Open
//! and failed proposals count among the bad: parallel asks do not crowd. A good config's kernel is as
//! heavy as its improvement. Deliberately absent: noise; a score is taken as it is.
//!
//! Sources: Bergstra et al. (2011), NeurIPS; Falkner et al. (2018), ICML, for the product kernels;
//! Song et al. (2022), ICML, for weights by improvement; Watanabe (2023), arXiv:2304.11127, for what
//! each part does. The crate `optimizer` 1.0.1 was looked at: it goes through hash-ordered maps, so
//! bits are not promised; not measured here.
//!
//! Floor: common.

use super::book::Book;
use super::cube::{Cube, Dimension, Point};
use crate::seed::StreamRng;
use crate::stats::summary::normal_cdf;

/// The candidate that is likeliest good; `None` while too few are told or no candidate is fresh.
pub(super) fn propose(book: &Book) -> Option<Point> {
    let mut scored: Vec<(usize, f64)> = book.losses().collect();
    if scored.len() < STARTUP {
        return None;
    }
    // Stable: of equal losses the one told first is the better.
    scored.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (good, bad) = scored.split_at(good_of(scored.len()));
    let bar = bad.first().map_or(f64::INFINITY, |(_, loss)| *loss);
    let gains: Vec<f64> = good.iter().map(|(_, loss)| bar - loss).collect();
    let mut bad: Vec<usize> = bad.iter().map(|(number, _)| *number).collect();
    bad.extend((0..book.points.len()).filter(|number| book.states[*number].loss().is_none()));
    bad.sort_unstable();
    let point = |number: usize| &book.points[number];
    let ranked = good.iter().zip(shares(&gains));
    let good: Vec<(&Point, f64)> = ranked.map(|((at, _), share)| (point(*at), share)).collect();
    let aged = bad.iter().enumerate();
    let bad: Vec<(&Point, f64)> =
        aged.map(|(age, number)| (point(*number), weight(bad.len(), age))).collect();
    let good = Mixture::of(&book.cube, &good);
    let bad = Mixture::of(&book.cube, &bad);
    let mut rng = book.rng();
    let mut best: Option<(f64, Point)> = None;
    for _ in 0..CANDIDATES {
        let candidate = good.drawn(&book.cube, &mut rng);
        if !book.is_fresh(&candidate) {
            continue;
        }
        let worth = good.log_density(&candidate) - bad.log_density(&candidate);
        if best.as_ref().is_none_or(|(most, _)| worth > *most) {
            best = Some((worth, candidate));
        }
    }
    best.map(|(_, point)| point)
}

/// How many of the told are good.
fn good_of(told: usize) -> usize {
    ((GOOD_SHARE * told as f64).ceil() as usize).clamp(1, GOOD_MAX)
}

/// How heavy each good one is, 1 in the mean: as much as it is better than the best bad one, so that
/// their density is that of the improvement to expect. Even where that says nothing.
fn shares(gains: &[f64]) -> Vec<f64> {
    let mean = gains.iter().sum::<f64>() / gains.len() as f64;
    let says = mean > 0.0 && mean.is_finite();
    gains.iter().map(|gain| if says { (gain / mean).max(SHARE_MIN) } else { 1.0 }).collect()
}

/// How heavy number `age` of `count` bad ones is: the last told say most of what is now compared.
fn weight(count: usize, age: usize) -> f64 {
    match count.checked_sub(RECENT) {
        Some(older) if age < older => {
            let least = 1.0 / count as f64;
            least + (1.0 - least) * age as f64 / older as f64
        }
        _ => 1.0,
    }
}

/// A mixture of kernels at some points, and an even one.
struct Mixture {
    kernels: Vec<Kernel>,
    dimensions: Vec<Dimension>,
    /// The logarithm of all weights together, the even kernel's 1 included.
    log_total: f64,
}

/// Each [axes]; 0 where the point lacks the axis, or its values are words.
struct Kernel {
    point: Point,
    /// Standard deviations.
    widths: Vec<f64>,
    /// What the axes' densities are divided by, as logarithms.
    log_mass: Vec<f64>,
    weight: f64,
}

impl Mixture {
    /// A kernel at each point, as heavy as told.
    fn of(cube: &Cube, points: &[(&Point, f64)]) -> Self {
        let mut widths = vec![vec![0.0; cube.axes()]; points.len()];
        for (axis, dimension) in cube.dimensions.iter().enumerate() {
            let there = points.iter().enumerate();
            let mut places: Vec<(f64, usize)> =
                there.filter_map(|(at, (point, _))| Some((point[axis]?, at))).collect();
            places.sort_by(|a, b| a.0.total_cmp(&b.0));
            for (place, (_, at)) in places.iter().enumerate() {
                widths[*at][axis] = width(*dimension, &places, place);
            }
        }
        let mut kernels = Vec::with_capacity(points.len());
        for ((point, weight), widths) in points.iter().zip(widths) {
            let axes = point.iter().zip(&widths).zip(&cube.dimensions);
            let mass = axes.map(|((place, width), dimension)| {
                place.filter(|_| dimension.ordered).map_or(0.0, |at| log_mass(at, *width))
            });
            let log_mass = mass.collect();
            kernels.push(Kernel { point: (*point).clone(), widths, log_mass, weight: *weight });
        }
        let total = 1.0 + points.iter().map(|(_, weight)| weight).sum::<f64>();
        Self { kernels, dimensions: cube.dimensions.clone(), log_total: total.ln() }
    }

    /// The density's logarithm over the axes that the point has; 0 is even.
    fn log_density(&self, point: &Point) -> f64 {
        let mut logs = Vec::with_capacity(self.kernels.len() + 1);
        logs.push(0.0);
        for kernel in &self.kernels {
            let mut sum = kernel.weight.ln();
            for (axis, dimension) in self.dimensions.iter().enumerate() {
                let (Some(x), Some(at)) = (point[axis], kernel.point[axis]) else { continue };
                sum += match dimension.ordered {
                    true => -0.5 * ((x - at) / kernel.widths[axis]).powi(2) - kernel.log_mass[axis],
                    false => self.log_word(*dimension, x == at),
                };
            }
            logs.push(sum);
        }
        let most = logs.iter().fold(f64::NEG_INFINITY, |most, log| most.max(*log));
        let sum: f64 = logs.iter().map(|log| (log - most).exp()).sum();
        most + sum.ln() - self.log_total
    }

    /// Of an unordered axis: how much likelier than even a value is.
    fn log_word(&self, dimension: Dimension, same: bool) -> f64 {
        let (cells, count) = (cells(dimension) as f64, self.kernels.len() as f64 + 1.0);
        (cells * if same { count + 1.0 } else { 1.0 } / (count + cells)).ln()
    }

    fn drawn(&self, cube: &Cube, rng: &mut StreamRng) -> Point {
        let mut left = rng.unit_f64() * self.log_total.exp();
        let mut kernels = self.kernels.iter();
        let kernel = kernels.find(|kernel| {
            left -= kernel.weight;
            left < 0.0
        });
        let axes = self.dimensions.iter().enumerate();
        let places: Vec<f64> = axes
            .map(|(axis, dimension)| match kernel.map(|kernel| (kernel.point[axis], kernel)) {
                None | Some((None, _)) => rng.unit_f64(),
                Some((Some(at), kernel)) if dimension.ordered => near(at, kernel.widths[axis], rng),
                Some((Some(at), _)) => {
                    let all = self.kernels.len() as u64 + 1 + cells(*dimension);
                    let other = rng.below(all);
                    let cell = if other < cells(*dimension) { other } else { dimension.cell(at) };
                    (cell as f64 + 0.5) / cells(*dimension) as f64
                }
            })
            .collect();
        cube.point(&places)
    }
}

fn cells(dimension: Dimension) -> u64 {
    dimension.cells.unwrap_or(1)
}

/// The standard deviation of the kernel at `places[own]`, of places in order: as far as the farther
/// of its neighbours, so that kernels narrow where points gather.
fn width(dimension: Dimension, places: &[(f64, usize)], own: usize) -> f64 {
    let count = places.len() as f64;
    let least = (1.0 / (count + 1.0)).max(WIDTH_MIN);
    let narrow = least.max(dimension.cells.map_or(0.0, |cells| 0.5 / cells as f64));
    let at = |place: usize| places[place].0;
    let before = own.checked_sub(1).map(|before| at(own) - at(before));
    let after = (own + 1 < places.len()).then(|| at(own + 1) - at(own));
    let wide = match (before, after) {
        (None, None) => at(own).max(1.0 - at(own)),
        (before, after) => before.unwrap_or(0.0).max(after.unwrap_or(0.0)),
    };
    wide.max(narrow).min(1.0)
}

/// The logarithm of `∫ exp(-(x - at)² / 2 width²) dx` over [0, 1].
fn log_mass(at: f64, width: f64) -> f64 {
    let inside = normal_cdf((1.0 - at) / width) - normal_cdf(-at / width);
    (inside * width).ln() + 0.5 * std::f64::consts::TAU.ln()
}

/// A normal draw around `at` that lies in [0, 1]: at least every third does.
fn near(at: f64, width: f64, rng: &mut StreamRng) -> f64 {
    for _ in 0..DRAWS_MAX {
        let place = at + width * rng.normal();
        if (0.0..=1.0).contains(&place) {
            return place;
        }
    }
    at
}

/// Told configs before the first estimate.
pub(super) const STARTUP: usize = 10;
const CANDIDATES: u32 = 48;
const GOOD_SHARE: f64 = 0.15;
const GOOD_MAX: usize = 25;
/// A kernel's weight has a logarithm.
const SHARE_MIN: f64 = 1e-9;
const RECENT: usize = 25;
const WIDTH_MIN: f64 = 0.01;
const DRAWS_MAX: u32 = 200;
