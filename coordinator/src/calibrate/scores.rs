//! Studies whose scores are drawn from the mixed model that the report assumes.
//!
//! Floor: core.

use common::design::{Design, TrialKey};
use common::id::{MemberId, TrialIndex};
use common::time::Timestamp;
use common::trial::{FailReason, Outcome};
use common::wire::message::{OutcomeRow, RowEnd};

use super::settings::{Scores, Setting, Spread};
use super::{Made, Truth};

/// What was drawn once for all runs.
struct Drawn {
    fold: Vec<f64>,
    /// By arm.
    arm_fold: [Vec<f64>; 2],
    seed: Vec<f64>,
    arm_seed: [Vec<f64>; 2],
}

/// Makes study number `number`.
pub fn make(setting: &Setting, model: &Scores, number: u64) -> Made {
    let Scores { spread, difference, noise, missing } = *model;
    let study = setting.study();
    let design = Design::of(&study);
    let mut rng = setting.rng(number, 0);
    let (seeds, folds) = (setting.seeds, setting.folds);
    let mut draws = |count: u32, sd: f64| -> Vec<f64> {
        (0..count).map(|_| sd * noise.draw(&mut rng)).collect()
    };
    let drawn = Drawn {
        fold: draws(folds, spread.fold),
        arm_fold: [draws(folds, spread.arm_fold), draws(folds, spread.arm_fold)],
        seed: draws(seeds, spread.seed),
        arm_seed: [draws(seeds, spread.arm_seed), draws(seeds, spread.arm_seed)],
    };
    let next = draws(1, spread.fold)[0]
        + draws(1, spread.arm_fold)[0]
        + draws(1, spread.seed)[0]
        + draws(1, spread.arm_seed)[0]
        + draws(1, spread.residual)[0];
    let means = [MEAN + difference, MEAN];
    let mut rows = Vec::new();
    for index in 0..design.trials().unwrap_or(0) {
        let Some(key) = design.key(TrialIndex(index)) else { break };
        let (lost, residual) = (rng.unit_f64() < missing, spread.residual * noise.draw(&mut rng));
        let score = means[key.arm as usize] + effects(&drawn, &key) + residual;
        rows.push(row(index, (!lost).then_some(score)));
    }
    let leaning = |arm: usize| mean(&drawn.arm_fold[arm]);
    let on_folds = means[0] + mean(&drawn.fold) + leaning(0);
    let truth = Truth {
        difference,
        difference_on_folds: Some(difference + leaning(0) - leaning(1)),
        mean: means[0],
        mean_on_folds: Some(on_folds),
        next_run: Some(means[0] + next),
        spread: spreads(&spread),
    };
    Made { study, rows, truth }
}

fn effects(drawn: &Drawn, key: &TrialKey) -> f64 {
    let (arm, seed, fold) = (key.arm as usize, key.seeds[0] as usize, key.fold as usize);
    drawn.fold[fold] + drawn.arm_fold[arm][fold] + drawn.seed[seed] + drawn.arm_seed[arm][seed]
}

/// Within one arm, what is its own cannot be told from what all arms share.
fn spreads(spread: &Spread) -> Vec<(&'static str, &'static str, f64)> {
    let of_arm = [
        ("fold", spread.fold.hypot(spread.arm_fold)),
        ("seed", spread.seed.hypot(spread.arm_seed)),
        ("residual", spread.residual),
    ];
    let jointly = [
        ("fold", spread.fold),
        ("arm:fold", spread.arm_fold),
        ("seed", spread.seed),
        ("arm:seed", spread.arm_seed),
        ("residual", spread.residual),
    ];
    let of_arm = of_arm.into_iter().map(|(factor, sd)| ("a", factor, sd));
    of_arm.chain(jointly.into_iter().map(|(factor, sd)| ("all arms", factor, sd))).collect()
}

/// An outcome with this score, or a run that failed.
pub fn row(index: u64, score: Option<f64>) -> OutcomeRow {
    let end = match score {
        Some(score) => RowEnd::Complete(Outcome {
            metrics: vec![score],
            rows: Vec::new(),
            epochs: 1,
            duration_us: 1,
            device: String::new(),
            curve: None,
        }),
        None => RowEnd::Failed {
            reason: FailReason::AgentCrashed.name().to_string(),
            detail: String::new(),
        },
    };
    OutcomeRow { trial: TrialIndex(index), ended: Timestamp(index), agent: MemberId(1), end }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Far enough from zero that no interval is cut where the metric ends.
const MEAN: f64 = 1.0;
