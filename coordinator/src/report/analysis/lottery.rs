//! The best of an arm's seeds: how much of its lead is luck.
//!
//! Floor: core.

use common::stats::winner;
use common::study::Study;

use super::super::content::{CaseLottery, Gain, LotteryPart};
use super::super::table::Run;
use super::components::Decomposition;
use super::{arms, seed_label};

/// `None` for fewer than two seeds on one fold: there is no best one.
///
/// A seed's mean lies over all folds and configs of the arm.
pub fn of_arm(
    study: &Study,
    arm: usize,
    runs: &[Run],
    parts: &Decomposition,
    cases: Result<CaseLottery, String>,
) -> Option<LotteryPart> {
    let means = arms::seed_means(study, runs);
    let values: Vec<f64> = means.iter().map(|(_, mean)| *mean).collect();
    let larger = study.primary().larger_is_better();
    // Of variances nothing is needed to say which is best.
    let best = winner::best_of(&values, 0.0, 0.0, larger).ok()?.best;
    let (cases, cases_missing) = match cases {
        Ok(cases) => (Some(cases), None),
        Err(why) => (None, Some(why)),
    };
    Some(LotteryPart {
        arm: study.arms[arm].name.clone(),
        seeds: means.len() as u64,
        best_seed: seed_label(&means[best].0),
        gain: gain(study, &values, runs.len(), parts),
        cases,
        cases_missing,
    })
}

/// `None` for fewer than three seeds, several crossed seed factors, or a spread that was not divided.
///
/// A seed's noise is the residual over its runs. Source: `../stats/winner.rs`.
fn gain(study: &Study, means: &[f64], runs: usize, parts: &Decomposition) -> Option<Gain> {
    let [factor] = study.seeds.factors.as_slice() else { return None };
    let variance = |name: &str| {
        parts.components.iter().find(|part| part.factor == name).map(|part| part.variance)
    };
    if means.len() < SEEDS_MIN {
        return None;
    }
    let per_seed = runs as f64 / means.len() as f64;
    let larger = study.primary().larger_is_better();
    let (seed, residual) = (variance(&factor.name)?, variance("residual")?);
    let best = winner::best_seed(means, seed, residual, per_seed, larger).ok()?;
    Some(Gain {
        observed_gain: best.observed_gain,
        expected_gain: best.expected_gain,
        noise_gain: best.noise_gain,
        shrunken_gain: best.shrunken_gain,
        shrunken_best: best.shrunken,
    })
}

const SEEDS_MIN: usize = 3;
