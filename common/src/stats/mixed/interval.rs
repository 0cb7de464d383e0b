//! What the likelihood says about one variance: its profile interval and its test against zero.
//!
//! The interval holds the standard deviations whose profiled criterion is within a chi-square
//! quantile of the best. All from the fit's cross-products. Deliberately absent: intervals of
//! ratios, which need simulation.
//!
//! Floor: common.

use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::fit::Fit;
use super::held::{Held, HeldCriterion};
use super::objective::freedom;
use super::optimise::{self, BOUND, Inverse};
use super::search::tolerance;

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
    /// The chi-square tail at the degrees of freedom of what is dropped, which takes the boundary
    /// for a point like any other: too large.
    pub naive_p: f64,
    /// An even mixture of two chi-square tails, since a variance cannot be negative; 1 for no rise.
    /// Exact only with many levels and the other variances away from zero.
    pub p: f64,
}

/// Profile likelihood interval of the standard deviation of `part`, in units of the response.
///
/// The criterion is the one that was fitted (restricted or full), profiled over every other
/// parameter, correlations included; the cut is the chi-square quantile of `level` at 1 degree of
/// freedom (3.8415 for 0.95). The lower end is 0 where the profile never rises to the cut, the
/// upper end infinite. `None` where a search on the way to an end does not converge.
///
/// Panics when `part` is not in the fit or `level` is not between 0 and 1.
pub fn profile_interval(fit: &Fit, part: Part, level: f64) -> Option<(f64, f64)> {
    assert!(level > 0.0 && level < 1.0, "a level lies between 0 and 1");
    let mut profile = SdProfile::of(fit, part);
    let estimate = match part {
        Part::Component(index) => fit.components[index].sd,
        Part::Residual => fit.residual.sd,
    };
    let cut = chi_square(1.0).inverse_cdf(level);
    let unit = profile.unit;
    let lower = profile.end(estimate / unit, cut, false)?;
    let upper = profile.end(estimate / unit, cut, true)?;
    Some((lower * unit, upper * unit))
}

/// The signed root of the profiled criterion's rise over the fit's, zeta, at `points` standard
/// deviations evenly over the interval of `level`: standard deviation in units of the response,
/// and zeta, ascending. Empty where the interval has no end.
///
/// A straight line says that the likelihood is as of a Normal estimate; zeta within a Normal
/// quantile of zero is the profile interval. As lme4's profile zeta plot.
pub fn profile_zeta(fit: &Fit, part: Part, level: f64, points: usize) -> Vec<(f64, f64)> {
    let ends = profile_interval(fit, part, level).filter(|(_, high)| high.is_finite());
    let Some((low, high)) = ends.filter(|_| points > 1) else { return Vec::new() };
    let mut profile = SdProfile::of(fit, part);
    let estimate = match part {
        Part::Component(index) => fit.components[index].sd,
        Part::Residual => fit.residual.sd,
    };
    let sd = |place: usize| low + (high - low) * place as f64 / (points - 1) as f64;
    (0..points)
        .filter_map(|place| {
            let rise = profile.rise(sd(place) / profile.unit)?.max(0.0);
            Some((sd(place), rise.sqrt().copysign(sd(place) - estimate)))
        })
        .collect()
}

/// Tests whether the variance of component `index` is zero, and with it its correlations.
///
/// Source: Self & Liang (1987), J. Am. Stat. Assoc. 82, case 5, and Stram & Lee (1994), Biometrics
/// 50: an even mixture of chi-squares at k - 1 and k degrees of freedom for one of k effects in a
/// term. `None` where the search without that variance does not converge.
pub fn zero_test(fit: &Fit, index: usize) -> Option<ZeroTest> {
    if fit.components[index].at_boundary {
        return Some(ZeroTest { statistic: 0.0, naive_p: 1.0, p: 1.0 });
    }
    let mut profile = SdProfile::of(fit, Part::Component(index));
    let statistic = profile.rise(0.0)?.max(0.0);
    let tail = |freedom: usize| match freedom {
        0 => 0.0,
        _ => chi_square(freedom as f64).sf(statistic),
    };
    let effects = profile.effects;
    let p = if statistic == 0.0 { 1.0 } else { 0.5 * (tail(effects - 1) + tail(effects)) };
    Some(ZeroTest { statistic, naive_p: tail(effects), p })
}

/// The criterion profiled at one standard deviation after another; each search starts where the
/// last one ended. Standard deviations here are in units of the scaled response and covariate.
struct SdProfile<'a> {
    fit: &'a Fit,
    held: Held,
    /// One of these units in those of the data.
    unit: f64,
    /// Effects in the term of the one that is held, and what its spread is told from.
    effects: usize,
    freedom: f64,
    /// Arguments of the criterion with it held.
    last: Vec<f64>,
    inverse: Option<Inverse>,
    best: Vec<f64>,
}

impl<'a> SdProfile<'a> {
    fn of(fit: &'a Fit, part: Part) -> Self {
        let terms = &fit.terms;
        let (mut held, mut unit, mut effects) = (Held::Residual, terms.y_scale, 1);
        let mut freedom = freedom(terms, fit.method);
        if let Part::Component(index) = part {
            let (place, column) = terms.effects()[index];
            let block = &terms.blocks[place];
            held = Held::of(fit, place, column);
            unit *= block.units[column * block.width + column];
            let term = block.terms.iter().find(|term| column < term.first + term.width);
            effects = term.map_or(1, |term| term.width);
            freedom = (block.levels.len() - 1) as f64;
        }
        let best = held.best(fit);
        Self { fit, held, unit, effects, freedom, last: best.clone(), inverse: None, best }
    }

    /// Rise of the profiled criterion above the fit's, at standard deviation `sd`; `None` where its
    /// search does not converge.
    fn rise(&mut self, sd: f64) -> Option<f64> {
        let mut criterion = HeldCriterion { fit: self.fit, held: &self.held, sd };
        // The criterion errs by the square of the gradient that is left, so less will do here.
        let tolerance = LOOSER * tolerance(&self.fit.terms);
        let inverse = self.inverse.take();
        let end = optimise::followed(&mut criterion, &self.last, &self.best, inverse, tolerance)?;
        self.last = end.x;
        self.inverse = end.inverse;
        Some(end.value - self.fit.criterion)
    }

    /// Root of the rise less that of the cut: close to linear in log sd, and below 0 inside.
    fn gap(&mut self, sd: f64, cut: f64) -> Option<f64> {
        Some(self.rise(sd)?.max(0.0).sqrt() - cut.sqrt())
    }

    /// Where the profile crosses the cut on one side of the estimate; `None` where it could not be
    /// followed there.
    fn end(&mut self, estimate: f64, cut: f64, above: bool) -> Option<f64> {
        let sigma = self.fit.residual.sd / self.fit.terms.y_scale;
        let residual = matches!(self.held, Held::Residual);
        if !above && !residual && (estimate == 0.0 || self.gap(0.0, cut)? < 0.0) {
            return Some(0.0);
        }
        (self.last, self.inverse) = (self.best.clone(), None);
        // The half-width if the effects themselves had been seen, at most an octave.
        let mut stride = (cut / (2.0 * self.freedom)).sqrt().min(0.7);
        if !above {
            stride = -stride;
        }
        let mut inside = estimate.max(SMALLEST * sigma).ln();
        let mut at_inside = -cut.sqrt();
        loop {
            let outside = inside + stride;
            if outside.exp() > BOUND * sigma {
                return Some(f64::INFINITY);
            }
            let at_outside = self.gap(outside.exp(), cut)?;
            // Where rounding in the criterion is larger than what is left, strides shrink to nothing.
            if at_outside.abs() < CLOSE || stride.abs() < CLOSE {
                return Some(outside.exp());
            }
            if at_outside > 0.0 {
                let gap = |log_sd: f64| self.gap(log_sd.exp(), cut);
                let ends = ([inside, at_inside], [outside, at_outside]);
                return crossing(gap, ends.0, ends.1, CLOSE).map(f64::exp);
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
/// until the argument is known to `close`; `None` where the function has no value on the way.
pub(super) fn crossing(
    mut gap: impl FnMut(f64) -> Option<f64>,
    inside: [f64; 2],
    outside: [f64; 2],
    close: f64,
) -> Option<f64> {
    let ([mut a, mut at_a], [mut b, mut at_b]) = (inside, outside);
    for _ in 0..CROSSINGS_MAX {
        let middle = if at_a.is_finite() && at_b.is_finite() && at_a != at_b {
            (a * at_b - b * at_a) / (at_b - at_a)
        } else {
            0.5 * (a + b)
        };
        let at_middle = gap(middle)?;
        if at_middle.abs() < CLOSE || (b - a).abs() < close {
            return Some(middle);
        }
        if (at_middle < 0.0) == (at_b < 0.0) {
            at_a *= 0.5;
        } else {
            (a, at_a) = (b, at_b);
        }
        (b, at_b) = (middle, at_middle);
    }
    Some(b)
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
