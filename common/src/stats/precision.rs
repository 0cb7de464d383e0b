//! What a design of so many seeds and folds can show: the D-study, one design at a time.
//!
//! Components are taken as known; `plan` shows what their uncertainty does. No result is ever NaN,
//! and what a design cannot estimate itself is absent, never infinite. Deliberately absent: prices
//! and the search for a design.
//!
//! Floor: common.

use thiserror::Error;

use super::noncentral::{critical, detectable_noncentrality, two_sided_power};
use super::sources::{
    Components, Design, Reach, SourceError, StandardError, check, error_of_difference,
};

/// The two-sided test that a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Test {
    /// Intervals hold with 1 - alpha.
    pub alpha: f64,
    /// Chance with which an effect worth finding is to be found.
    pub power: f64,
}

/// What a design shows of the difference of two arms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Precision {
    pub se: f64,
    /// `None` where the design cannot estimate its own error.
    pub shown: Option<Shown>,
    /// The standard error with endless seeds on as many folds.
    pub se_floor: f64,
}

/// With the design's own degrees of freedom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    pub df: f64,
    pub half_width: f64,
    /// Smallest difference found with the test's power.
    pub detectable: f64,
}

/// Generalizability coefficients of an arm's mean over seeds and folds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// `E rho^2`: how well arms keep their order, on the same folds.
    pub relative: f64,
    /// `Phi`: how well a mean stands for the arm's true one, folds' own level included.
    pub absolute: f64,
}

/// Why a plan has no precision.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PrecisionError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(
        "alpha is {alpha} and power {power}; alpha must be above 0, power above alpha and below 1"
    )]
    Test { alpha: f64, power: f64 },
    #[error("the effect is {effect}; it must be a finite number")]
    Effect { effect: f64 },
    #[error("the variance between configs is {variance}; it must be finite and not below 0")]
    Configs { variance: f64 },
}

impl Test {
    /// 95 % intervals and a power of 0.8.
    pub const USUAL: Self = Self { alpha: 0.05, power: 0.8 };

    /// Refuses a level or power that no test has.
    pub fn check(&self) -> Result<(), PrecisionError> {
        let Self { alpha, power } = *self;
        let good = alpha > 0.0 && alpha < power && power < 1.0;
        if good { Ok(()) } else { Err(PrecisionError::Test { alpha, power }) }
    }
}

/// Standard error, half-width and smallest detectable difference of a design.
///
/// Half-width `t_{1 - alpha/2, df} SE`; detectable is the difference at which the noncentral t has
/// the test's power. The floor is `sqrt(2 s2_CF/f)` for new folds, `sqrt(2 s2_CF (1/f + ratio))`
/// for new samples, where it stays above zero however many folds, and 0 for new seeds alone.
pub fn precision(
    components: &Components,
    design: Design,
    reach: Reach,
    test: Test,
) -> Result<Precision, PrecisionError> {
    test.check()?;
    let error = error_of_difference(components, design, reach)?;
    let shown = error.df.map(|df| Shown {
        df,
        half_width: critical(df, test.alpha) * error.se,
        detectable: detectable_noncentrality(df, test.alpha, test.power) * error.se,
    });
    Ok(Precision { se: error.se, shown, se_floor: se_floor(components, design.folds, reach) })
}

/// Power of the design's test at a true difference `effect`; `None` where it cannot estimate its
/// error. The power that `test` asks for is not read.
pub fn power(
    components: &Components,
    design: Design,
    reach: Reach,
    test: Test,
    effect: f64,
) -> Result<Option<f64>, PrecisionError> {
    test.check()?;
    if !effect.is_finite() {
        return Err(PrecisionError::Effect { effect });
    }
    let error = error_of_difference(components, design, reach)?;
    Ok(power_of(&error, test.alpha, effect))
}

/// The half-width of the interval of a difference.
pub fn half_width_of(error: &StandardError, alpha: f64) -> Option<f64> {
    error.df.map(|df| critical(df, alpha) * error.se)
}

/// Without any error every effect but zero is found.
pub fn power_of(error: &StandardError, alpha: f64, effect: f64) -> Option<f64> {
    let df = error.df?;
    Some(match (error.se > 0.0, effect == 0.0) {
        (_, true) => alpha,
        (false, false) => 1.0,
        (true, false) => two_sided_power((effect / error.se).abs(), df, alpha),
    })
}

/// The standard error of a difference with endless seeds on `folds` folds.
pub fn se_floor(components: &Components, folds: u32, reach: Reach) -> f64 {
    let share = 1.0 / f64::from(folds.max(1));
    let weight = match reach {
        Reach::Seeds => 0.0,
        Reach::Folds => share,
        Reach::Samples { test_over_train } => share + test_over_train,
    };
    (2.0 * components.arm_fold * weight).sqrt()
}

/// Coefficients for telling configs apart whose true means vary with `configs`, a variance.
///
/// `relative = s2_C / (s2_C + s2_CF/f + s2_S/s + s2_E/(sf))`; absolute adds `s2_F/f` below. `None`
/// where neither configs nor errors vary. Source: Brennan (2001), Generalizability Theory.
pub fn coefficients(
    configs: f64,
    components: &Components,
    design: Design,
) -> Result<Option<Coefficients>, PrecisionError> {
    if !configs.is_finite() || configs < 0.0 {
        return Err(PrecisionError::Configs { variance: configs });
    }
    check(components, Design { arms: 1, ..design }, Reach::Folds, 1)?;
    let (seeds, folds) = (f64::from(design.seeds), f64::from(design.folds));
    let relative = components.arm_fold / folds
        + components.seed.unwrap_or(0.0) / seeds
        + components.residual / (seeds * folds);
    let absolute = relative + components.fold / folds;
    let of = |error: f64| configs / (configs + error);
    Ok((configs + relative > 0.0)
        .then(|| Coefficients { relative: of(relative), absolute: of(absolute) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_folds_lower_the_floor_unless_samples_are_new() {
        let samples = Reach::Samples { test_over_train: 0.25 };
        let least = (2.0f64 * 0.25).sqrt();

        assert!(se_floor(&COMPONENTS, 1_000_000, Reach::Folds) < 0.002);
        assert!((se_floor(&COMPONENTS, 1_000_000, samples) - least).abs() < 1e-5);
        assert_eq!(se_floor(&COMPONENTS, 5, Reach::Seeds), 0.0);
    }

    #[test]
    fn endless_seeds_reach_the_floor() {
        for reach in [Reach::Seeds, Reach::Folds, Reach::Samples { test_over_train: 0.25 }] {
            let design = Design { arms: 2, seeds: 4_000_000_000, folds: 5 };
            let at = precision(&COMPONENTS, design, reach, Test::USUAL).unwrap();
            assert!(at.se >= at.se_floor && at.se - at.se_floor < 1e-4, "{at:?}");
        }
    }

    #[test]
    fn the_effect_detectable_has_the_power_asked_for() {
        let design = Design { arms: 2, seeds: 3, folds: 5 };
        let at = precision(&COMPONENTS, design, Reach::Folds, Test::USUAL).unwrap();
        let effect = at.shown.unwrap().detectable;
        let found = power(&COMPONENTS, design, Reach::Folds, Test::USUAL, effect).unwrap().unwrap();

        assert!((found - 0.8).abs() < 1e-9, "{found}");
        let mirrored = power(&COMPONENTS, design, Reach::Folds, Test::USUAL, -effect).unwrap();
        assert_eq!(mirrored, Some(found));
    }

    #[test]
    fn without_error_every_effect_is_found() {
        let none = Components { seed: Some(0.0), residual: 0.0, arm_fold: 0.0, fold: 0.0 };
        let design = Design { arms: 2, seeds: 3, folds: 5 };

        assert_eq!(power(&none, design, Reach::Folds, Test::USUAL, 1e-9).unwrap(), Some(1.0));
        assert_eq!(power(&none, design, Reach::Folds, Test::USUAL, 0.0).unwrap(), Some(0.05));
        assert_eq!(coefficients(0.0, &none, design).unwrap(), None);
    }

    #[test]
    fn a_test_that_cannot_be_is_refused() {
        let design = Design { arms: 2, seeds: 3, folds: 5 };
        let test = Test { alpha: 0.05, power: 1.0 };
        assert_eq!(
            precision(&COMPONENTS, design, Reach::Folds, test),
            Err(PrecisionError::Test { alpha: 0.05, power: 1.0 })
        );
        assert!(matches!(
            power(&COMPONENTS, design, Reach::Folds, Test::USUAL, f64::NAN),
            Err(PrecisionError::Effect { .. })
        ));
    }

    const COMPONENTS: Components =
        Components { seed: Some(0.5), residual: 2.0, arm_fold: 1.0, fold: 3.0 };
}
