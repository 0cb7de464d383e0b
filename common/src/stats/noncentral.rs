//! What planning needs of distributions and the library lacks: the noncentral t, powers, losses.
//!
//! Integrals are trapezoidal sums over the whole line, whose error falls exponentially for smooth
//! integrands (Trefethen & Weideman 2014, SIAM Review 56). No result is ever NaN. Deliberately
//! absent: what a probability means for a plan.
//!
//! Floor: common.

use statrs::distribution::{Continuous, Normal};
use statrs::function::gamma::gamma_ur;

use super::distribution::normal_upper;
use super::summary::{normal_cdf, normal_quantile, student_quantile, student_two_sided};

/// Density of the standard normal distribution.
pub fn normal_pdf(x: f64) -> f64 {
    Normal::standard().pdf(x)
}

/// The unit normal loss `phi(z) - z (1 - Phi(z))`: mean of max(0, Z - z) for a standard normal Z.
///
/// Never below 0, and 0 when `z` is infinite. Source: Raiffa & Schlaifer (1961), section 5.4.
pub fn normal_loss(z: f64) -> f64 {
    if z.is_infinite() {
        return if z > 0.0 { 0.0 } else { f64::INFINITY };
    }
    (normal_pdf(z) - z * normal_upper(z)).max(0.0)
}

/// Distribution function of the noncentral t: chance that `(Z + delta) / S <= t`.
///
/// Z is standard normal, S^2 is chi-square with `df` > 0 degrees of freedom over `df`, and an
/// infinite `df` means S = 1. Good to 1e-10 absolute, as the library's normal distribution is.
/// Panics when `df` is not positive or an argument is NaN. `P(T <= t)` is the mean of
/// `Phi(t S - delta)` over S, or for a large `delta`, where that is a step, the mean over Z of the
/// chance that S is beyond `(Z + delta) / t`. Checked against scipy.stats.nct by
/// `tests/planning.rs`.
pub fn noncentral_t_cdf(t: f64, df: f64, delta: f64) -> f64 {
    assert!(df > 0.0 && !t.is_nan() && !delta.is_nan(), "degrees of freedom are positive");
    if t.is_infinite() {
        return if t > 0.0 { 1.0 } else { 0.0 };
    }
    if t < 0.0 {
        return 1.0 - noncentral_t_cdf(-t, df, -delta);
    }
    if df.is_finite() && delta.abs() > STEP_FROM * (1.0 + df.sqrt()) {
        return (0..=STEP_POINTS)
            .map(|point| f64::from(point) * STEP_WIDTH - STEP_REACH)
            .map(|z| normal_pdf(z) * scale_sf((z + delta) / t, df) * STEP_WIDTH)
            .sum::<f64>()
            .min(1.0);
    }
    mean_over_scale(df, delta, |scale| normal_cdf(t * scale - delta)).clamp(0.0, 1.0)
}

/// Power of a two-sided t test at level `alpha` when the estimate lies `delta` standard errors
/// from zero.
pub fn two_sided_power(delta: f64, df: f64, alpha: f64) -> f64 {
    let critical = critical(df, alpha);
    let above = 1.0 - noncentral_t_cdf(critical, df, delta);
    (above + noncentral_t_cdf(-critical, df, delta)).clamp(0.0, 1.0)
}

/// The two-sided critical value: `t_{1 - alpha/2, df}`, normal for an infinite `df`.
pub fn critical(df: f64, alpha: f64) -> f64 {
    let probability = 1.0 - 0.5 * alpha;
    if df < NEARLY_NORMAL_FROM {
        return student_quantile(probability, df);
    }
    let z = normal_quantile(probability);
    // Fisher and Cornish's expansion: exact to all digits from here on.
    z + (z * z * z + z) / (4.0 * df)
}

/// Chance that Student's t is above `t` with `df` > 0 degrees of freedom, which may be infinite.
pub fn student_sf(t: f64, df: f64) -> f64 {
    if df >= NEARLY_NORMAL_FROM {
        return normal_upper(t * (1.0 - 0.25 / df) / (1.0 + 0.5 * t * (t / df)).sqrt());
    }
    if t == 0.0 {
        return 0.5;
    }
    let tail = 0.5 * student_two_sided(t, df);
    if t > 0.0 { tail } else { 1.0 - tail }
}

/// Standard errors from zero at which a two-sided t test at level `alpha` has this `power`.
///
/// 0 when `power` is not above `alpha`; `power` must be below 1. A little below
/// `t_{1 - alpha/2} + t_power`, its approximation by central quantiles. The root of
/// [`two_sided_power`] by false position with Illinois's halving.
pub fn detectable_noncentrality(df: f64, alpha: f64, power: f64) -> f64 {
    assert!(power < 1.0, "no effect is found always");
    if power <= alpha {
        return 0.0;
    }
    let lack = |delta: f64| two_sided_power(delta, df, alpha) - power;
    let (mut low, mut high) = ((0.0, alpha - power), critical(df, alpha));
    let mut over = lack(high);
    while over < 0.0 {
        (low, high) = ((high, over), 2.0 * high);
        over = lack(high);
    }
    let mut moved_high = None;
    for _ in 0..ROOT_STEPS {
        let next = high - over * (high - low.0) / (over - low.1);
        let value = lack(next);
        if value >= 0.0 {
            (high, over) = (next, value);
            low.1 *= if moved_high == Some(true) { 0.5 } else { 1.0 };
        } else {
            low = (next, value);
            over *= if moved_high == Some(false) { 0.5 } else { 1.0 };
        }
        moved_high = Some(value >= 0.0);
        if value.abs() < 1e-13 || high - low.0 <= 1e-12 * high {
            return next;
        }
    }
    high
}

/// Mean of `f(S)`, where S^2 is chi-square with `df` degrees of freedom over `df`.
///
/// The sum runs over log S, whose density is analytic with exponential tails for every `df`.
/// `steepness` bounds how fast `f` changes with log S. An infinite `df` gives `f(1)`.
pub fn mean_over_scale(df: f64, steepness: f64, f: impl Fn(f64) -> f64) -> f64 {
    if !df.is_finite() {
        return f(1.0);
    }
    let reach = (EXPONENT / df).sqrt();
    let (low, high) = (-reach - EXPONENT / df, reach);
    let step = (0.1f64).min(0.35 / df.sqrt()).min(0.4 / (1.0 + steepness.abs()));
    let points = ((high - low) / step).ceil();
    let step = (high - low) / points;
    let (mut sum, mut weights) = (0.0, 0.0);
    for point in 0..=points as u64 {
        let log_scale = low + step * point as f64;
        let weight = (df * (log_scale - 0.5 * (2.0 * log_scale).exp_m1())).exp();
        if weight > 0.0 {
            sum += weight * f(log_scale.exp());
            weights += weight;
        }
    }
    sum / weights
}

/// Chance that the scale S is above `scale`.
fn scale_sf(scale: f64, df: f64) -> f64 {
    let half = 0.5 * df * scale * scale.max(0.0);
    if half <= 0.0 {
        return 1.0;
    }
    if half.is_finite() { gamma_ur(0.5 * df, half) } else { 0.0 }
}

/// A density below exp(-EXPONENT) of its peak is left out.
const EXPONENT: f64 = 42.0;

/// Noncentrality over the scale's spread from which the mean is taken over Z.
const STEP_FROM: f64 = 60.0;
const STEP_REACH: f64 = 9.0;
const STEP_WIDTH: f64 = 0.125;
const STEP_POINTS: u32 = 144;

const ROOT_STEPS: u32 = 100;

/// Degrees of freedom from which the library's t takes long and an expansion is as good.
const NEARLY_NORMAL_FROM: f64 = 1e6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_noncentrality_it_is_students_t() {
        for df in [1.0, 2.5, 9.0, 300.0] {
            for p in [0.01, 0.3, 0.5, 0.9, 0.999] {
                let t = student_quantile(p, df);
                assert!((noncentral_t_cdf(t, df, 0.0) - p).abs() < 1e-10, "{df} {p}");
            }
        }
    }

    #[test]
    fn both_ways_to_the_noncentral_t_agree_where_they_meet() {
        for df in [1.0f64, 4.0, 30.0] {
            let edge = STEP_FROM * (1.0 + df.sqrt());
            for t in [0.5 * edge, edge, 1.1 * edge, 3.0 * edge] {
                let below = noncentral_t_cdf(t, df, edge * (1.0 - 1e-12));
                let above = noncentral_t_cdf(t, df, edge * (1.0 + 1e-12));
                assert!((below - above).abs() < 1e-9, "{df} {t}: {below} and {above}");
            }
        }
    }

    #[test]
    fn power_at_the_detectable_effect_is_the_power_asked_for() {
        for df in [1.0, 2.0, 4.0, 17.3, 1e4, f64::INFINITY] {
            let delta = detectable_noncentrality(df, 0.05, 0.8);
            assert!((two_sided_power(delta, df, 0.05) - 0.8).abs() < 1e-9, "{df}");
        }
        assert_eq!(detectable_noncentrality(5.0, 0.05, 0.05), 0.0);
    }

    #[test]
    fn extreme_arguments_give_probabilities() {
        for t in [0.0, 1e-300, 1e300, -1e300, f64::INFINITY, f64::NEG_INFINITY] {
            for df in [1e-2, 1.0, 1e9, f64::INFINITY] {
                for delta in [0.0, 1e-12, 1e6, -1e6, 1e300] {
                    let p = noncentral_t_cdf(t, df, delta);
                    assert!((0.0..=1.0).contains(&p), "{t} {df} {delta}: {p}");
                }
            }
        }
        assert_eq!(normal_loss(f64::INFINITY), 0.0);
        assert_eq!(normal_loss(60.0), 0.0);
    }
}
