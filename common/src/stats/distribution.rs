//! Distribution functions beyond Student's and the normal, for tests of spread and of ranks.
//!
//! Upper tails are computed as such, never as one minus the rest, so that small chances keep their
//! digits. Integrals over the normal density use the trapezoid rule: for functions as smooth as
//! these its error falls faster than any power of the step. Deliberately absent: sampling.
//!
//! Floor: common.

use statrs::distribution::{ChiSquared, Continuous, ContinuousCDF, Normal};
use statrs::function::beta::beta_reg;

use super::summary::normal_cdf;

/// Chance that a chi-square variable with `df` > 0 degrees of freedom is above `x`.
pub fn chi_square_upper(x: f64, df: f64) -> f64 {
    if x <= 0.0 { 1.0 } else { chi_square(df).sf(x) }
}

/// Quantile of chi-square with `df` > 0 degrees of freedom, `probability` in (0, 1).
pub fn chi_square_quantile(probability: f64, df: f64) -> f64 {
    assert!(probability > 0.0 && probability < 1.0, "a probability lies between 0 and 1");
    let law = chi_square(df);
    // The library's inverse brings the first digits, Newton steps the rest.
    let mut x = law.inverse_cdf(probability);
    for _ in 0..4 {
        let apart = if probability > 0.5 {
            1.0 - probability - law.sf(x)
        } else {
            law.cdf(x) - probability
        };
        let next = x - apart / law.pdf(x);
        if next.is_finite() && next > 0.0 {
            x = next;
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

/// Expected value of the largest of `count` independent standard normals; 0 for at most one.
///
/// `∫ z count φ(z) Φ(z)^(count − 1) dz`: 1.163 for 5, 1.539 for 10, 2.249 for 50.
pub fn expected_max(count: u32) -> f64 {
    if count < 2 {
        return 0.0;
    }
    let others = f64::from(count - 1);
    // The logarithm from the upper tail, since the power of a number near 1 has lost its digits.
    f64::from(count) * over_normal(|z| z * (others * (-normal_upper(z)).ln_1p()).exp())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_few_normals_has_its_closed_form() {
        let pi = std::f64::consts::PI;
        let closed = [0.0, 0.0, 1.0 / pi.sqrt(), 1.5 / pi.sqrt()];
        for (count, expected) in closed.into_iter().enumerate() {
            let apart = (expected_max(count as u32) - expected).abs();
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
