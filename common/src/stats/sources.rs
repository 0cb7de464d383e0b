//! Sources of spread between runs, and the error they leave in a design's means and differences.
//!
//! The balanced crossed model `y = arm + fold + arm:fold + seed(arm) + residual`, seeds crossed
//! with folds. Degrees of freedom are those of the planned design. No result is ever NaN.
//! Deliberately absent: how the components were estimated.
//!
//! # Degrees of freedom
//!
//! With a arms, s seeds of each and f folds, the mean squares are independent, each its expectation
//! times a chi-square over its degrees of freedom:
//!
//! | mean square | df | expectation |
//! | --- | --- | --- |
//! | arm:fold | (a - 1)(f - 1) | s2_E + s s2_CF |
//! | seed in arm | a (s - 1) | s2_E + f s2_S |
//! | residual | a (s - 1)(f - 1) | s2_E |
//!
//! A variance `u_CF s2_CF + u_S s2_S + u_E s2_E` is therefore the expectation of
//! `c_CF MS_CF + c_S MS_S + c_E MS_E` with `c_CF = u_CF / s`, `c_S = u_S / f` and
//! `c_E = u_E - c_CF - c_S`, and Satterthwaite's degrees of freedom are
//! `(sum c MS)^2 / sum (c MS)^2 / df`. For a difference of two arms over new folds u is
//! `2/f, 2/s, 2/(sf)` and c is `2/(sf)` times 1, 1, -1. A subtracted mean square can push the
//! formula below the degrees of freedom of every one that is added, which is too few (Gaylor &
//! Hopper 1969, Technometrics 11), so the smallest of those bounds it; by simulation the interval
//! then still covers 95 %. Without a seed's own effect, seeds are nested in cells and the residual
//! has a f (s - 1).
//!
//! Floor: common.

use thiserror::Error;

use super::summary::student_quantile;

/// Variances of the sources of one run's score. A variance at the boundary of its estimate is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Components {
    /// A seed's own effect, the same on every fold; `None` where the model has no such term.
    pub seed: Option<f64>,
    /// Seed by fold, and what never repeats.
    pub residual: f64,
    /// What makes one arm lean to one fold.
    pub arm_fold: f64,
    /// What all arms share on a fold. It cancels in differences.
    pub fold: f64,
}

/// A balanced design: every arm with as many seeds of its own, all on the same folds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Design {
    pub arms: u32,
    pub seeds: u32,
    /// Over all partitions.
    pub folds: u32,
}

/// What a result is to hold for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    /// New seeds on these very folds: T1 read strictly. Folds add nothing.
    Seeds,
    /// New seeds and new folds, as if folds were independent: T1's D-study.
    Folds,
    /// A new training sample of the same size, T2: folds drawn from the same rows overlap, so the
    /// variance over folds falls with `1/f + test_over_train` and not with `1/f`, a heuristic
    /// after Nadeau & Bengio (2003). `test_over_train` is 1/(k - 1) for k folds, whatever the
    /// number of partitions.
    Samples { test_over_train: f64 },
}

/// The standard error of an estimate in a design.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StandardError {
    pub se: f64,
    /// Satterthwaite's; `None` where the design itself cannot estimate the error, so that nothing
    /// but the components says how large it is.
    pub df: Option<f64>,
}

/// Shares of the variance of one run that two runs of the same seed, or fold, have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    pub seed: f64,
    pub fold: f64,
}

/// Where one more run is expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextRun {
    pub low: f64,
    pub high: f64,
    /// Of the next run about the estimated mean.
    pub sd: f64,
    pub df: f64,
}

/// Why a design has no precision.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SourceError {
    #[error("the variance of {source_name} is {variance}; it must be finite and not below 0")]
    Variance { source_name: &'static str, variance: f64 },
    #[error("a design needs {needed} or more {factor}; this one has {given}")]
    Design { factor: &'static str, needed: u32, given: u32 },
    #[error("test rows over training rows is {ratio}; it must be finite and not below 0")]
    Ratio { ratio: f64 },
    #[error("the level is {level}; it must lie between 0 and 1")]
    Level { level: f64 },
    #[error("the mean is not a finite number")]
    Mean,
    #[error("{seeds} seeds and {folds} folds cannot tell how far runs spread; repeat one of them")]
    NotEstimable { seeds: u32, folds: u32 },
}

impl Components {
    /// Refuses a variance that is negative or no number.
    pub fn check(&self) -> Result<(), SourceError> {
        let named = [
            ("the seed", self.seed.unwrap_or(0.0)),
            ("the residual", self.residual),
            ("the arm by fold", self.arm_fold),
            ("the fold", self.fold),
        ];
        match named.into_iter().find(|(_, variance)| !variance.is_finite() || *variance < 0.0) {
            Some((source_name, variance)) => Err(SourceError::Variance { source_name, variance }),
            None => Ok(()),
        }
    }

    /// Standard deviation of retrained runs on one fold: `sqrt(s2_S + s2_E)`.
    pub fn repeatability_sd(&self) -> f64 {
        (self.seed.unwrap_or(0.0) + self.residual).sqrt()
    }

    /// Standard deviation of one run of an arm minus one of another on the same new fold:
    /// `sqrt(2 (s2_CF + s2_S + s2_E))`.
    pub fn between_runs_sd(&self) -> f64 {
        (2.0 * (self.arm_fold + self.seed.unwrap_or(0.0) + self.residual)).sqrt()
    }

    /// Intraclass correlations of one arm's runs: `s2_k / sum s2`, the fold's with the arm's
    /// leaning to it. `None` where no source has any variance.
    pub fn agreement(&self) -> Option<Agreement> {
        let fold = self.fold + self.arm_fold;
        let seed = self.seed.unwrap_or(0.0);
        let total = fold + seed + self.residual;
        (total > 0.0).then(|| Agreement { seed: seed / total, fold: fold / total })
    }
}

/// Error of the difference of two arms' means.
///
/// `Var = 2 [s2_CF/f + s2_S/s + s2_E/(sf)]` for [`Reach::Folds`]; without its first term for
/// [`Reach::Seeds`]; with `s2_CF (1/f + test_over_train)` for [`Reach::Samples`]. With one seed of
/// no effect of its own the residual is part of the arm by fold, as in the corrected t test.
pub fn error_of_difference(
    components: &Components,
    design: Design,
    reach: Reach,
) -> Result<StandardError, SourceError> {
    check(components, design, reach, 2)?;
    let model = Model::of_arms(components, design);
    let mut wanted = mean_weights(design, reach);
    wanted.scale(2.0);
    Ok(model.error(wanted))
}

/// Error of one arm's mean from that arm's runs alone; `design.arms` is not read.
pub fn error_of_mean(
    components: &Components,
    design: Design,
    reach: Reach,
) -> Result<StandardError, SourceError> {
    check(components, Design { arms: 1, ..design }, reach, 1)?;
    Ok(Model::of_one_arm(components, design).error(mean_weights(design, reach)))
}

/// Range of one more run of an arm at `level`, with a new seed; on one of these folds for
/// [`Reach::Seeds`], on a new one otherwise.
///
/// `mean ± t sqrt(Var(mean) + s2_S + s2_E [+ s2_F + s2_CF])`, df by Satterthwaite over the sum.
pub fn next_run(
    mean: f64,
    components: &Components,
    design: Design,
    reach: Reach,
    level: f64,
) -> Result<NextRun, SourceError> {
    check(components, Design { arms: 1, ..design }, reach, 1)?;
    if !(level > 0.0 && level < 1.0) {
        return Err(SourceError::Level { level });
    }
    if !mean.is_finite() {
        return Err(SourceError::Mean);
    }
    let mut wanted = mean_weights(design, reach);
    wanted.seed += 1.0;
    wanted.residual += 1.0;
    wanted.fold += if reach == Reach::Seeds { 0.0 } else { 1.0 };
    let error = Model::of_one_arm(components, design).error(wanted);
    let Design { seeds, folds, .. } = design;
    let df = error.df.ok_or(SourceError::NotEstimable { seeds, folds })?;
    let half = student_quantile(0.5 + 0.5 * level, df) * error.se;
    Ok(NextRun { low: mean - half, high: mean + half, sd: error.se, df })
}

/// Expected mean squares and their degrees of freedom in a design of two or more arms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanSquares {
    pub arm_fold: MeanSquare,
    /// `None` where a seed has no effect of its own.
    pub seed: Option<MeanSquare>,
    pub residual: MeanSquare,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanSquare {
    pub expected: f64,
    /// 0 where the design has no such mean square.
    pub df: f64,
}

/// The table above, for `components` in `design`.
pub fn mean_squares(components: &Components, design: Design) -> Result<MeanSquares, SourceError> {
    check(components, design, Reach::Folds, 2)?;
    Ok(Model::of_arms(components, design).squares())
}

/// What multiplies each component in a wanted variance.
#[derive(Clone, Copy)]
struct Weights {
    fold: f64,
    seed: f64,
    residual: f64,
}

impl Weights {
    fn scale(&mut self, factor: f64) {
        self.fold *= factor;
        self.seed *= factor;
        self.residual *= factor;
    }
}

/// The variance of one arm's mean.
fn mean_weights(design: Design, reach: Reach) -> Weights {
    let (seeds, folds) = (f64::from(design.seeds), f64::from(design.folds));
    let fold = match reach {
        Reach::Seeds => 0.0,
        Reach::Folds => 1.0 / folds,
        Reach::Samples { test_over_train } => 1.0 / folds + test_over_train,
    };
    Weights { fold, seed: 1.0 / seeds, residual: 1.0 / (seeds * folds) }
}

/// Fold here is what varies over folds in the estimate: the arm by fold for a difference of arms,
/// both fold terms for one arm.
struct Model {
    fold: f64,
    seed: Option<f64>,
    residual: f64,
    seeds: f64,
    folds: f64,
    arms: f64,
    fold_df: f64,
}

impl Model {
    fn of_arms(components: &Components, design: Design) -> Self {
        let (arms, folds) = (f64::from(design.arms), f64::from(design.folds));
        Self {
            fold: components.arm_fold,
            seed: components.seed,
            residual: components.residual,
            seeds: f64::from(design.seeds),
            folds,
            arms,
            fold_df: (arms - 1.0) * (folds - 1.0),
        }
    }

    fn of_one_arm(components: &Components, design: Design) -> Self {
        let fold = components.fold + components.arm_fold;
        let folds = f64::from(design.folds);
        let model = Self::of_arms(components, Design { arms: 1, ..design });
        Self { fold, fold_df: folds - 1.0, ..model }
    }

    fn squares(&self) -> MeanSquares {
        let per_arm = self.arms * (self.seeds - 1.0);
        let residual_df = match self.seed {
            Some(_) => per_arm * (self.folds - 1.0),
            None => per_arm * self.folds,
        };
        MeanSquares {
            arm_fold: MeanSquare {
                expected: self.residual + self.seeds * self.fold,
                df: self.fold_df,
            },
            seed: self.seed.map(|seed| MeanSquare {
                expected: self.residual + self.folds * seed,
                df: per_arm,
            }),
            residual: MeanSquare { expected: self.residual, df: residual_df },
        }
    }

    fn error(&self, wanted: Weights) -> StandardError {
        let squares = self.squares();
        let seed = self.seed.unwrap_or(0.0);
        if self.seed.is_none() && self.seeds == 1.0 && wanted.fold > 0.0 {
            let variance = wanted.fold * squares.arm_fold.expected;
            let df = (squares.arm_fold.df > 0.0).then_some(squares.arm_fold.df);
            return StandardError { se: variance.sqrt(), df };
        }
        let variance =
            wanted.fold * self.fold + wanted.seed * seed + wanted.residual * self.residual;
        let of_fold = wanted.fold / self.seeds;
        let of_seed = squares.seed.map_or(0.0, |_| wanted.seed / self.folds);
        let of_residual = wanted.residual - of_fold - of_seed;
        let terms = [
            (of_fold, squares.arm_fold),
            (of_seed, squares.seed.unwrap_or(squares.residual)),
            (of_residual, squares.residual),
        ];
        StandardError { se: variance.sqrt(), df: satterthwaite(variance, &terms) }
    }
}

/// `None` when a mean square that counts is absent from the design.
fn satterthwaite(variance: f64, terms: &[(f64, MeanSquare)]) -> Option<f64> {
    let largest = terms.iter().map(|(weight, _)| weight.abs()).fold(0.0, f64::max);
    // Weights that cancel exactly leave rounding behind.
    let counted = || terms.iter().filter(|(weight, _)| weight.abs() > 1e-12 * largest);
    if counted().any(|(_, square)| square.df <= 0.0) {
        return None;
    }
    let added = counted().filter(|(weight, _)| *weight > 0.0);
    let fewest = added.map(|(_, square)| square.df).fold(f64::INFINITY, f64::min);
    let spread: f64 =
        counted().map(|(weight, square)| (weight * square.expected).powi(2) / square.df).sum();
    let df = variance * variance / spread;
    let known = fewest.is_finite();
    known.then_some(if df.is_finite() { df.max(fewest) } else { fewest })
}

/// Refuses components, designs of fewer than `arms` arms and ratios that cannot be.
pub(super) fn check(
    components: &Components,
    design: Design,
    reach: Reach,
    arms: u32,
) -> Result<(), SourceError> {
    components.check()?;
    let needs =
        [("arms", arms, design.arms), ("seeds", 1, design.seeds), ("folds", 1, design.folds)];
    if let Some((factor, needed, given)) = needs.into_iter().find(|(_, least, has)| has < least) {
        return Err(SourceError::Design { factor, needed, given });
    }
    match reach {
        Reach::Samples { test_over_train: ratio } if !ratio.is_finite() || ratio < 0.0 => {
            Err(SourceError::Ratio { ratio })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_is_not_repeated_leaves_no_degrees_of_freedom() {
        let one = Design { seeds: 1, ..DESIGN };
        let with = error_of_difference(&COMPONENTS, one, Reach::Folds).unwrap();
        let without =
            error_of_difference(&Components { seed: None, ..COMPONENTS }, one, Reach::Folds);

        assert_eq!(with.df, None);
        assert_eq!(without.unwrap().df, Some(4.0));
        assert_eq!(
            next_run(0.5, &COMPONENTS, one, Reach::Folds, 0.95),
            Err(SourceError::NotEstimable { seeds: 1, folds: 5 })
        );
    }

    #[test]
    fn one_fold_says_nothing_of_other_folds() {
        let one = Design { folds: 1, ..DESIGN };

        assert_eq!(error_of_difference(&COMPONENTS, one, Reach::Folds).unwrap().df, None);
        assert_eq!(error_of_difference(&COMPONENTS, one, Reach::Seeds).unwrap().df, Some(4.0));
    }

    #[test]
    fn zero_spread_has_zero_error_and_known_degrees_of_freedom() {
        let none = Components { seed: Some(0.0), residual: 0.0, arm_fold: 0.0, fold: 0.0 };
        let error = error_of_difference(&none, DESIGN, Reach::Folds).unwrap();

        assert_eq!((error.se, error.df), (0.0, Some(4.0)));
        assert_eq!(none.agreement(), None);
    }

    #[test]
    fn one_seed_without_effect_gives_the_corrected_t_test() {
        let plain = Components { seed: None, residual: 1.0, arm_fold: 0.5, fold: 0.0 };
        let design = Design { arms: 2, seeds: 1, folds: 10 };
        let reach = Reach::Samples { test_over_train: 1.0 / 9.0 };
        let error = error_of_difference(&plain, design, reach).unwrap();
        // The differences of one fold have variance 2 (s2_CF + s2_E).
        let expected = (3.0f64 * (0.1 + 1.0 / 9.0)).sqrt();

        assert!((error.se - expected).abs() < 1e-15);
        assert_eq!(error.df, Some(9.0));
    }

    #[test]
    fn what_is_no_design_is_refused() {
        let bad = Components { residual: f64::NAN, ..COMPONENTS };
        assert!(matches!(
            error_of_difference(&bad, DESIGN, Reach::Folds),
            Err(SourceError::Variance { source_name: "the residual", .. })
        ));
        assert_eq!(
            error_of_difference(&COMPONENTS, Design { arms: 1, ..DESIGN }, Reach::Folds),
            Err(SourceError::Design { factor: "arms", needed: 2, given: 1 })
        );
        assert_eq!(
            error_of_mean(&COMPONENTS, DESIGN, Reach::Samples { test_over_train: -1.0 }),
            Err(SourceError::Ratio { ratio: -1.0 })
        );
    }

    const COMPONENTS: Components =
        Components { seed: Some(1.0), residual: 1.0, arm_fold: 1.0, fold: 2.0 };
    const DESIGN: Design = Design { arms: 2, seeds: 3, folds: 5 };
}
