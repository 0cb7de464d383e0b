//! Distribution functions beyond Student's and the normal, for tests of spread and of ranks.
//!
//! Upper tails are computed as such, never as one minus the rest, so that small chances keep their
//! digits. Integrals over the normal density use the trapezoid rule: for functions as smooth as
//! these its error falls faster than any power of the step. Deliberately absent: sampling.
//!
//! Floor: common.

use statrs::distribution::{ChiSquared, Continuous, ContinuousCDF, Gamma, Normal};
use statrs::function::beta::beta_reg;

use super::summary::normal_cdf;

/// Chance that a chi-square variable with `df` > 0 degrees of freedom is above `x`.
pub fn chi_square_upper(x: f64, df: f64) -> f64 {
    if x <= 0.0 { 1.0 } else { chi_square(df).sf(x) }
}

/// Quantile of the chi-square distribution, `df` > 0, `probability` in (0, 1).
pub fn chi_square_quantile(probability: f64, df: f64) -> f64 {
    assert!(probability > 0.0 && probability < 1.0, "a probability lies between 0 and 1");
    assert!(df > 0.0 && df.is_finite(), "degrees of freedom are positive");
    let distribution = Gamma::new(0.5 * df, 0.5).unwrap_or_else(|_| unreachable!("both positive"));
    // The library's inverse stops at a fixed distance, which is far for a quantile near zero;
    // Newton's steps in log x keep it positive and bring the digits.
    let mut x = distribution.inverse_cdf(probability).max(f64::MIN_POSITIVE);
    for _ in 0..CHI_SQUARE_STEPS {
        let step = (distribution.cdf(x) - probability) / (distribution.pdf(x) * x);
        if !step.is_finite() {
            break;
        }
        x *= (-step.clamp(-1.0, 1.0)).exp();
        if step.abs() < 1e-14 {
            break;
        }
    }
    x
}

/// Chance that an F variable with `(df_1, df_2)` > 0 degrees of freedom is above `x`.
pub fn f_upper(x: f64, df: (f64, f64)) -> f64 {
    assert!(df.0 > 0.0 && df.1 > 0.0, "degrees of freedom are positive");
    match () {
        () if x <= 0.0 => 1.0,
        () if x.is_infinite() => 0.0,
        () => beta_reg(df.1 / 2.0, df.0 / 2.0, df.1 / (df.1 + df.0 * x)),
    }
}

/// Chance that the range of `count` ≥ 2 independent standard normals is at most `q`.
///
/// This is the studentized range with infinite degrees of freedom:
/// `count ∫ φ(z) [Φ(z) − Φ(z − q)]^(count − 1) dz`.
pub fn normal_range_cdf(q: f64, count: u32) -> f64 {
    assert!(count >= 2, "a range needs two values");
    let inside = |z: f64| (normal_cdf(z) - normal_cdf(z - q)).max(0.0);
    let below = over_normal(|z| inside(z).powi(count as i32 - 1));
    (f64::from(count) * below).clamp(0.0, 1.0)
}

/// Quantile of the range of `count` ≥ 2 independent standard normals, `probability` in (0, 1).
///
/// Equals `scipy.stats.studentized_range.ppf(probability, count, inf)`.
pub fn normal_range_quantile(probability: f64, count: u32) -> f64 {
    assert!(probability > 0.0 && probability < 1.0, "a probability lies between 0 and 1");
    let (mut low, mut high) = (0.0, 2.0 * WIDTH);
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return middle;
        }
        if normal_range_cdf(middle, count) < probability { low = middle } else { high = middle }
    }
}

/// Mean of the largest of `count` independent standard normal numbers; 0 for one or none.
///
/// The integral of `x count phi(x) Phi(x)^(count - 1)`. 5: 1.163, 10: 1.539, 50: 2.249.
pub fn expected_max(count: u64) -> f64 {
    if count < 2 {
        return 0.0;
    }
    let (count, normal) = (count as f64, Normal::standard());
    let points = (LARGEST_HIGH - LARGEST_LOW) / LARGEST_STEP;
    (0..=points as u32)
        .map(|point| LARGEST_LOW + LARGEST_STEP * f64::from(point))
        .map(|x| {
            let others = (count - 1.0) * (-normal_upper(x)).ln_1p();
            x * count * normal.pdf(x) * others.exp() * LARGEST_STEP
        })
        .sum()
}

/// Chance that a standard normal is above `x`.
pub fn normal_upper(x: f64) -> f64 {
    normal_cdf(-x)
}

/// Mean of `function` over the standard normal distribution, by the trapezoid rule.
fn over_normal(function: impl Fn(f64) -> f64) -> f64 {
    let normal = Normal::standard();
    let steps = (WIDTH / STEP) as i32;
    let sum: f64 = (-steps..=steps)
        .map(|step| f64::from(step) * STEP)
        .map(|z| normal.pdf(z) * function(z))
        .sum();
    sum * STEP
}

fn chi_square(df: f64) -> ChiSquared {
    assert!(df > 0.0 && df.is_finite(), "degrees of freedom are positive");
    ChiSquared::new(df).unwrap_or_else(|_| unreachable!("positive degrees of freedom are valid"))
}

/// No more than 1e-18 of a normal lies further out.
const WIDTH: f64 = 9.0;
const STEP: f64 = 1.0 / 64.0;
const CHI_SQUARE_STEPS: u32 = 30;
/// Beyond 40 no count of 64 bits has a maximum; below -12 none of two or more.
const LARGEST_LOW: f64 = -12.0;
const LARGEST_HIGH: f64 = 40.0;
const LARGEST_STEP: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_few_normals_has_its_closed_form() {
        let pi = std::f64::consts::PI;
        let closed = [0.0, 0.0, 1.0 / pi.sqrt(), 1.5 / pi.sqrt()];
        for (count, expected) in closed.into_iter().enumerate() {
            let apart = (expected_max(count as u64) - expected).abs();
            assert!(apart < 1e-10, "{count}: {apart:e}");
        }
        for (count, published) in [(5, 1.163), (10, 1.539), (50, 2.249)] {
            assert!((expected_max(count) - published).abs() < 5e-4);
        }
    }

    #[test]
    fn range_of_two_is_a_normal_difference() {
        for q in [0.1, 1.0, 2.772, 5.0] {
            let expected = 2.0 * normal_cdf(q / 2f64.sqrt()) - 1.0;
            assert!((normal_range_cdf(q, 2) - expected).abs() < 1e-10, "{q}");
        }
        assert_eq!(normal_range_cdf(0.0, 3), 0.0);
    }

    #[test]
    fn tails_have_their_ends() {
        assert_eq!((f_upper(0.0, (2.0, 3.0)), f_upper(f64::INFINITY, (2.0, 3.0))), (1.0, 0.0));
        assert_eq!((chi_square_upper(0.0, 2.0), chi_square_upper(-1.0, 2.0)), (1.0, 1.0));
    }
}
