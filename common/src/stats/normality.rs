//! Whether numbers may come from a normal distribution.
//!
//! Intervals of variances lean on the fourth moment: with heavy tails or skew they are far too
//! narrow, unlike those of means. Deliberately absent: what to do then.
//!
//! Floor: common.

use thiserror::Error;

/// D'Agostino and Pearson's omnibus test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normality {
    /// Skewness, as a standard normal deviate if the numbers are normal.
    pub skewness: f64,
    /// Kurtosis, likewise.
    pub kurtosis: f64,
    /// Chance of deviates this large from normal numbers, by chi-square at 2 degrees of freedom.
    pub p: f64,
}

/// Why there is no test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NormalityError {
    #[error("{given} numbers say nothing of a distribution's shape; {NUMBERS_MIN} are needed")]
    TooFew { given: usize },
    #[error("the numbers do not differ, or one of them is not finite")]
    NoSpread,
}

impl Normality {
    /// Of 20 numbers or more.
    ///
    /// Source: D'Agostino, Belanger, D'Agostino (1990), The American Statistician 44(4); Anscombe &
    /// Glynn (1983), Biometrika 70 for kurtosis. As `scipy.stats.normaltest`.
    pub fn of(values: &[f64]) -> Result<Self, NormalityError> {
        if values.len() < NUMBERS_MIN {
            return Err(NormalityError::TooFew { given: values.len() });
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let moment = |power: i32| values.iter().map(|x| (x - mean).powi(power)).sum::<f64>() / n;
        let variance = moment(2);
        // Rounding gives equal numbers a spread.
        let equal = values.iter().all(|value| *value == values[0]);
        if equal || !(variance > 0.0 && variance.is_finite()) {
            return Err(NormalityError::NoSpread);
        }
        let skewness = skewness(moment(3) / variance.powf(1.5), n);
        let kurtosis = kurtosis(moment(4) / variance.powi(2), n);
        let p = (-0.5 * (skewness * skewness + kurtosis * kurtosis)).exp();
        Ok(Self { skewness, kurtosis, p })
    }
}

fn skewness(value: f64, n: f64) -> f64 {
    let y = value * ((n + 1.0) * (n + 3.0) / (6.0 * (n - 2.0))).sqrt();
    let beta = 3.0 * (n * n + 27.0 * n - 70.0) * (n + 1.0) * (n + 3.0)
        / ((n - 2.0) * (n + 5.0) * (n + 7.0) * (n + 9.0));
    let w = (2.0 * (beta - 1.0)).sqrt() - 1.0;
    let delta = 1.0 / (0.5 * w.ln()).sqrt();
    delta * (y / (2.0 / (w - 1.0)).sqrt()).asinh()
}

fn kurtosis(value: f64, n: f64) -> f64 {
    let expected = 3.0 * (n - 1.0) / (n + 1.0);
    let variance = 24.0 * n * (n - 2.0) * (n - 3.0) / ((n + 1.0).powi(2) * (n + 3.0) * (n + 5.0));
    let x = (value - expected) / variance.sqrt();
    let root = 6.0 * (n * n - 5.0 * n + 2.0) / ((n + 7.0) * (n + 9.0))
        * (6.0 * (n + 3.0) * (n + 5.0) / (n * (n - 2.0) * (n - 3.0))).sqrt();
    let a = 6.0 + 8.0 / root * (2.0 / root + (1.0 + 4.0 / (root * root)).sqrt());
    let denominator = 1.0 + x * (2.0 / (a - 4.0)).sqrt();
    let cube = ((1.0 - 2.0 / a) / denominator.abs()).cbrt().copysign(denominator);
    (1.0 - 2.0 / (9.0 * a) - cube) / (2.0 / (9.0 * a)).sqrt()
}

/// Fewest numbers whose kurtosis has the distribution that is used.
pub const NUMBERS_MIN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected: `scipy.stats.skewtest`, `kurtosistest` and `normaltest` of scipy 1.17.1.
    #[test]
    fn it_agrees_with_scipy() {
        let squares: Vec<f64> = (0..20).map(|i| f64::from((i * i * 7) % 23)).collect();
        let cubes: Vec<f64> = (1..31).map(|i| f64::from(i).powi(3) / 100.0).collect();
        let tangents: Vec<f64> =
            (0..40).map(|i| ((f64::from(i) + 0.5) / 40.0 * 3.0 - 1.5).tan()).collect();
        for (values, skewness, kurtosis, p) in [
            (squares, -1.474_767_826_054_576_5, 0.193_916_790_824_734_43, 0.330_789_872_570_072_7),
            (cubes, 2.420_429_841_979_284, 0.291_467_893_812_206_95, 0.051_215_294_208_487_82),
            (tangents, 0.0, 3.187_777_948_327_779, 0.006_213_915_142_747_513),
        ] {
            let found = Normality::of(&values).unwrap();
            assert!((found.skewness - skewness).abs() < 1e-12, "{found:?}");
            assert!((found.kurtosis - kurtosis).abs() < 1e-12, "{found:?}");
            assert!((found.p - p).abs() < 1e-13, "{found:?}");
        }
    }

    #[test]
    fn what_cannot_be_tested_is_refused() {
        assert_eq!(Normality::of(&[1.0; 19]), Err(NormalityError::TooFew { given: 19 }));
        assert_eq!(Normality::of(&[0.1; 20]), Err(NormalityError::NoSpread));
    }
}
