//! The best of an arm's seeds: how much of its lead is luck.
//!
//! Floor: core.

use common::stats::winner;
use common::study::Study;

use super::super::content::LotteryPart;
use super::super::table::Run;
use super::components::Decomposition;
use super::{arms, seed_label};

/// `None` for fewer than three seeds, several crossed seed factors, or a spread that was not divided.
///
/// A seed's mean lies over all folds and configs of the arm; its noise is the residual over as many
/// runs. Source: `../stats/winner.rs`.
pub fn of_arm(
    study: &Study,
    arm: usize,
    runs: &[Run],
    parts: &Decomposition,
) -> Option<LotteryPart> {
    let [factor] = study.seeds.factors.as_slice() else { return None };
    let variance = |name: &str| {
        parts.components.iter().find(|part| part.factor == name).map(|part| part.variance)
    };
    let means = arms::seed_means(study, runs);
    if means.len() < SEEDS_MIN {
        return None;
    }
    let per_seed = runs.len() as f64 / means.len() as f64;
    let values: Vec<f64> = means.iter().map(|(_, mean)| *mean).collect();
    let larger = study.primary().larger_is_better();
    let (seed, residual) = (variance(&factor.name)?, variance("residual")?);
    let best = winner::best_seed(&values, seed, residual, per_seed, larger).ok()?;
    Some(LotteryPart {
        arm: study.arms[arm].name.clone(),
        seeds: means.len() as u64,
        best_seed: seed_label(&means[best.best].0),
        observed_gain: best.observed_gain,
        expected_gain: best.expected_gain,
        noise_gain: best.noise_gain,
        shrunken_gain: best.shrunken_gain,
    })
}

const SEEDS_MIN: usize = 3;
