//! What the likelihood says about one variance: its profile interval and its test against zero.
//!
//! The interval holds the standard deviations whose profiled criterion is within a chi-square
//! quantile of the best. All from the fit's cross-products. Deliberately absent: intervals of
//! ratios, which need simulation.
//!
//! Floor: common.

use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::fit::{Fit, Method, tolerance};
use super::objective::{Point, freedom};
use super::optimise::{self, BOUND, Inverse, Surface};
use super::terms::Terms;

/// A source of spread in a fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Index into [`Fit::components`].
    Component(usize),
    Residual,
}

/// Likelihood-ratio test of one variance against zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ZeroTest {
    /// Rise of the criterion when the variance is zero.
    pub statistic: f64,
    /// The chi-square tail at 1 degree of freedom, which takes the boundary for a point like any
    /// other: twice too large.
    pub naive_p: f64,
    /// Half of it, since a variance cannot be negative; 1 for no rise. Exact only
    /// with many levels and the other variances away from zero.
    pub p: f64,
}

/// Profile likelihood interval of the standard deviation of `part`, in units of the response.
///
/// The criterion is the one that was fitted (restricted or full), profiled over every other
/// parameter; the cut is the chi-square quantile of `level` at 1 degree of freedom (3.8415 for
/// 0.95). The lower end is 0 where the profile never rises to the cut, the upper end infinite.
///
/// Panics when `part` is not in the fit or `level` is not between 0 and 1.
pub fn profile_interval(fit: &Fit, part: Part, level: f64) -> (f64, f64) {
    assert!(level > 0.0 && level < 1.0, "a level lies between 0 and 1");
    let estimate = match part {
        Part::Component(index) => fit.components[index].sd,
        Part::Residual => fit.residual.sd,
    };
    let mut profile = SdProfile::of(fit, part);
    let cut = chi_square(1.0).inverse_cdf(level);
    let unit = fit.terms.y_scale;
    let estimate = estimate / unit;
    let lower = profile.end(estimate, cut, false);
    let upper = profile.end(estimate, cut, true);
    (lower * unit, upper * unit)
}

/// Tests whether the variance of component `index` is zero.
///
/// Source: Self & Liang (1987), J. Am. Stat. Assoc. 82, case 5: an even mixture of chi-squares at
/// 0 and 1 degrees of freedom.
pub fn zero_test(fit: &Fit, index: usize) -> ZeroTest {
    if fit.components[index].at_boundary {
        return ZeroTest { statistic: 0.0, naive_p: 1.0, p: 1.0 };
    }
    let mut profile = SdProfile::of(fit, Part::Component(index));
    let statistic = profile.rise(0.0).map_or(f64::INFINITY, |rise| rise.max(0.0));
    let naive_p = chi_square(1.0).sf(statistic);
    let p = if statistic == 0.0 { 1.0 } else { 0.5 * naive_p };
    ZeroTest { statistic, naive_p, p }
}

/// The criterion profiled at one standard deviation after another; each search starts where the
/// last one ended. Standard deviations here are in units of the scaled response.
struct SdProfile<'a> {
    fit: &'a Fit,
    /// Block whose spread is held; `None` for the residual.
    held: Option<usize>,
    /// log sigma unless held, then theta of the blocks that are not.
    last: Vec<f64>,
    inverse: Option<Inverse>,
    best: Vec<f64>,
}

impl<'a> SdProfile<'a> {
    fn of(fit: &'a Fit, part: Part) -> Self {
        let held = match part {
            Part::Component(index) => fit.terms.blocks.iter().position(|b| b.place == index),
            Part::Residual => None,
        };
        let mut best: Vec<f64> = (fit.block_theta.iter().enumerate())
            .filter(|(block, _)| Some(*block) != held)
            .map(|(_, &theta)| theta)
            .collect();
        if held.is_some() {
            best.insert(0, (fit.residual.sd / fit.terms.y_scale).ln());
        }
        Self { fit, held, last: best.clone(), inverse: None, best }
    }

    /// Rise of the profiled criterion above the fit's, at standard deviation `sd`.
    fn rise(&mut self, sd: f64) -> Option<f64> {
        let mut slice = Slice { fit: self.fit, held: self.held, sd };
        // The criterion errs by the square of the gradient that is left, so less will do here.
        let tolerance = LOOSER * tolerance(&self.fit.terms);
        let from_best = self.best.clone();
        let end = optimise::minimise(&mut slice, &self.last, self.inverse.take(), tolerance)
            .or_else(|| optimise::minimise(&mut slice, &from_best, None, tolerance))?;
        self.last = end.x;
        self.inverse = end.inverse;
        Some(end.value - self.fit.criterion)
    }

    /// Root of the rise less that of the cut: close to linear in log sd, and below 0 inside.
    fn gap(&mut self, sd: f64, cut: f64) -> f64 {
        self.rise(sd).map_or(f64::INFINITY, |rise| rise.max(0.0).sqrt()) - cut.sqrt()
    }

    /// Where the profile crosses the cut on one side of the estimate.
    fn end(&mut self, estimate: f64, cut: f64, above: bool) -> f64 {
        let sigma = self.fit.residual.sd / self.fit.terms.y_scale;
        if !above && self.held.is_some() && (estimate == 0.0 || self.gap(0.0, cut) < 0.0) {
            return 0.0;
        }
        (self.last, self.inverse) = (self.best.clone(), None);
        // The half-width if the effects themselves had been seen, at most an octave.
        let freedom = match self.held {
            Some(block) => (self.fit.terms.blocks[block].levels.len() - 1) as f64,
            None => freedom(&self.fit.terms, self.fit.method),
        };
        let mut stride = (cut / (2.0 * freedom)).sqrt().min(0.7);
        if !above {
            stride = -stride;
        }
        let mut inside = estimate.max(SMALLEST * sigma).ln();
        let mut at_inside = -cut.sqrt();
        loop {
            let outside = inside + stride;
            if outside.exp() > BOUND * sigma {
                return f64::INFINITY;
            }
            let at_outside = self.gap(outside.exp(), cut);
            if at_outside.abs() < CLOSE {
                return outside.exp();
            }
            if at_outside > 0.0 {
                let gap = |log_sd: f64| self.gap(log_sd.exp(), cut);
                return crossing(gap, [inside, at_inside], [outside, at_outside], CLOSE).exp();
            }
            // On along the chord, and a little further, so that the next point brackets the end.
            let chord = -at_outside * stride / (at_outside - at_inside).max(1e-3);
            let doubled = 2.0 * stride.abs();
            stride = (1.2 * chord.abs()).clamp(0.05 * stride.abs(), doubled).copysign(stride);
            (inside, at_inside) = (outside, at_outside);
        }
    }
}

/// Regula falsi (Illinois) between two points of opposite sign, each an argument and its value,
/// until the argument is known to `close`.
pub(super) fn crossing(
    mut gap: impl FnMut(f64) -> f64,
    inside: [f64; 2],
    outside: [f64; 2],
    close: f64,
) -> f64 {
    let ([mut a, mut at_a], [mut b, mut at_b]) = (inside, outside);
    for _ in 0..CROSSINGS_MAX {
        let middle = if at_a.is_finite() && at_b.is_finite() && at_a != at_b {
            (a * at_b - b * at_a) / (at_b - at_a)
        } else {
            0.5 * (a + b)
        };
        let at_middle = gap(middle);
        if at_middle.abs() < CLOSE || (b - a).abs() < close {
            return middle;
        }
        if (at_middle < 0.0) == (at_b < 0.0) {
            at_a *= 0.5;
        } else {
            (a, at_a) = (b, at_b);
        }
        (b, at_b) = (middle, at_middle);
    }
    b
}

/// The criterion with one standard deviation held.
struct Slice<'a> {
    fit: &'a Fit,
    held: Option<usize>,
    sd: f64,
}

struct SlicePoint<'a> {
    point: Point<'a>,
    sigma: f64,
}

impl<'a> Surface for Slice<'a> {
    type Point = SlicePoint<'a>;

    fn at(&mut self, x: &[f64]) -> Option<SlicePoint<'a>> {
        let (sigma, theta) = match self.held {
            None => (self.sd, x.to_vec()),
            Some(block) => {
                let sigma = x[0].exp();
                let mut theta = x[1..].to_vec();
                theta.insert(block, self.sd / sigma);
                (sigma, theta)
            }
        };
        let sound = sigma.is_finite() && sigma > 0.0 && theta.iter().all(|theta| *theta <= BOUND);
        let terms: &'a Terms = &self.fit.terms;
        if !sound {
            return None;
        }
        Some(SlicePoint { point: Point::at(terms, &theta)?, sigma })
    }

    fn value(&self, at: &SlicePoint<'a>) -> f64 {
        at.point.criterion_at(self.fit.method, at.sigma * at.sigma)
    }

    fn slopes(&self, at: &SlicePoint<'a>) -> Vec<f64> {
        let method: Method = self.fit.method;
        let variance = at.sigma * at.sigma;
        let mut slopes = at.point.slopes(method, variance);
        if let Some(block) = self.held {
            let by_square = slopes.remove(block);
            let theta = self.sd / at.sigma;
            // By log sigma, along which the held theta falls as sigma rises.
            let direct = 2.0 * (freedom(&self.fit.terms, method) - at.point.squares / variance);
            slopes.insert(0, direct - 2.0 * theta * theta * by_square);
        }
        slopes
    }

    fn bounded(&self, index: usize) -> bool {
        self.held.is_none() || index > 0
    }
}

pub(super) fn chi_square(freedom: f64) -> ChiSquared {
    ChiSquared::new(freedom).unwrap_or_else(|_| unreachable!("degrees of freedom are positive"))
}

const CROSSINGS_MAX: u32 = 60;
/// In the root of the criterion, and in log sd.
const CLOSE: f64 = 1e-7;
const LOOSER: f64 = 1e3;
/// A spread below this share of sigma is none.
const SMALLEST: f64 = 1e-3;
