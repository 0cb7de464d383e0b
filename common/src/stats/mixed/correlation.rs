//! Profile interval of the correlation of two effects in one term.
//!
//! With the correlation r held, `G = A S A'`, `S = [[a^2, r a b], [r a b, b^2]]` in units of the data
//! and a, b free; sigma is at its best. Ends are sought by Fisher's z, in which the profile is close
//! to a parabola. Deliberately absent: terms of three effects or more.
//!
//! Floor: common.

use statrs::distribution::ContinuousCDF;

use super::fit::Fit;
use super::interval::{chi_square, crossing};
use super::objective::Point;
use super::optimise::{self, BOUND, Surface};
use super::relative;
use super::search::tolerance;

/// Profile likelihood interval of the correlation at `index` of [`Fit::correlations`].
///
/// The criterion is the one that was fitted, the cut the chi-square quantile of `level` at 1 degree
/// of freedom; an end is -1 or 1 where the profile never rises to the cut. As lme4's `profile` of a
/// full fit. `None` for a term of three effects or more, for a perfect correlation, where a
/// variance is zero, and where the profile could not be followed.
///
/// Panics when `index` is not in the fit or `level` is not between 0 and 1.
pub fn profile_correlation(fit: &Fit, index: usize, level: f64) -> Option<(f64, f64)> {
    assert!(level > 0.0 && level < 1.0, "a level lies between 0 and 1");
    let pair = &fit.correlations[index];
    let estimate = pair.correlation.filter(|r| r.abs() < Z_MAX.tanh())?;
    let terms = &fit.terms;
    let (block, first) = terms.effects()[pair.components[0]];
    let known = &terms.blocks[block];
    let term = known.terms.iter().find(|term| term.first == first)?;
    if term.width != 2 {
        return None;
    }
    let units: Vec<f64> =
        (0..4).map(|at| known.units[(first + at / 2) * known.width + first + at % 2]).collect();
    let (map, _) = relative::inverse(&units, 2)?;
    let of_term =
        |at: &super::terms::Parameter| at.block == block && (first..first + 2).contains(&at.column);
    let others =
        (0..terms.parameters.len()).filter(|&at| !of_term(&terms.parameters[at])).collect();
    let mut held = Held { fit, block, first, map, others, correlation: estimate };
    let spreads = pair.components.map(|place| fit.components[place].sd / fit.residual.sd);
    let mut best: Vec<f64> = held.others.iter().map(|&at| fit.block_theta[at]).collect();
    best.extend(spreads);
    let cut = chi_square(1.0).inverse_cdf(level).sqrt();
    let loose = 1e3 * tolerance(terms);
    let mut end = |sign: f64| -> Option<f64> {
        let mut start = best.clone();
        let mut gap = |z: f64| {
            held.correlation = z.tanh();
            let found = optimise::followed(&mut held, &start, &best, None, loose)?;
            start = found.x;
            Some((found.value - fit.criterion).max(0.0).sqrt() - cut)
        };
        let (mut inside, mut at_inside) = (estimate.atanh(), -cut);
        loop {
            let outside = inside + sign * STRIDE;
            if sign * outside > Z_MAX {
                return Some(sign);
            }
            let at_outside = gap(outside)?;
            if at_outside >= 0.0 {
                let ends = ([inside, at_inside], [outside, at_outside]);
                return crossing(gap, ends.0, ends.1, CLOSE).map(f64::tanh);
            }
            (inside, at_inside) = (outside, at_outside);
        }
    };
    let low = end(-1.0)?;
    Some((low, end(1.0)?))
}

/// The criterion over the other parameters and the two relative deviations.
struct Held<'a> {
    fit: &'a Fit,
    block: usize,
    first: usize,
    /// A, [2, 2].
    map: Vec<f64>,
    /// Parameters of other terms.
    others: Vec<usize>,
    correlation: f64,
}

impl<'a> Surface for Held<'a> {
    type Point = (Point<'a>, [f64; 2]);

    fn at(&mut self, x: &[f64]) -> Option<Self::Point> {
        let fit: &'a Fit = self.fit;
        let terms = &fit.terms;
        let mut theta = vec![0.0; terms.parameters.len()];
        self.others.iter().zip(x).for_each(|(&at, value)| theta[at] = *value);
        let mut factors = terms.factors(&theta);
        let [a, b] = [x[self.others.len()], x[self.others.len() + 1]];
        let r = self.correlation;
        let root = relative::times(&self.map, &[a, 0.0, r * b, (1.0 - r * r).sqrt() * b], 2);
        let k = terms.blocks[self.block].width;
        for (at, value) in root.iter().enumerate() {
            factors[self.block][(self.first + at / 2) * k + self.first + at % 2] = *value;
        }
        let sound = factors.iter().flatten().all(|entry| entry.abs() <= BOUND);
        if !sound || a < 0.0 || b < 0.0 {
            return None;
        }
        Some((Point::of_factors(terms, factors)?, [a, b]))
    }

    fn value(&self, (point, _): &Self::Point) -> f64 {
        point.criterion(self.fit.method)
    }

    /// By a: `2 a s_00 + 2 r b s_01`, s the slopes by S; likewise by b.
    fn slopes(&self, (point, [a, b]): &Self::Point) -> Vec<f64> {
        let method = self.fit.method;
        let by_covariance = point.covariance_slopes(method, point.variance(method));
        let all = point.parameter_slopes(&by_covariance);
        let k = self.fit.terms.blocks[self.block].width;
        let own: Vec<f64> = (0..4)
            .map(|at| (self.first + at / 2) * k + self.first + at % 2)
            .map(|at| by_covariance[self.block][at])
            .collect();
        let own = relative::sandwiched(&self.map, &own, 2);
        let cross = 2.0 * self.correlation * own[1];
        let mut slopes: Vec<f64> = self.others.iter().map(|&at| all[at]).collect();
        slopes.extend([2.0 * a * own[0] + cross * b, 2.0 * b * own[3] + cross * a]);
        slopes
    }

    fn bounded(&self, index: usize) -> bool {
        self.others.get(index).is_some_and(|&at| self.fit.terms.parameters[at].square)
    }
}

/// In Fisher's z.
const STRIDE: f64 = 0.25;
const CLOSE: f64 = 1e-7;
/// Correlations closer to one are not told from it.
const Z_MAX: f64 = 8.0;
