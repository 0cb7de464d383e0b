//! The outcomes as runs: trial indices opened into arm, config, seeds, partition and fold.
//!
//! Runs lie in the order of their trial index, whatever order the outcomes came in, so that every
//! sum below is taken in one order and gives the same bytes. Only runs with a finite primary score
//! are runs here; all others are counted by reason. Deliberately absent: any statistic.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::design::Design;
use common::id::TrialIndex;
use common::study::{Diverged, Study};
use common::trial::{FailReason, POISON};
use common::wire::message::{OutcomeRow, RowEnd};

use super::Material;

/// One trial's primary score in its cell of the design.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub config: u32,
    /// One a seed factor.
    pub seeds: Vec<u32>,
    pub partition: u32,
    /// Within the partition.
    pub fold: u32,
    pub score: f64,
    /// The other metrics in the study's order; empty for a diverged run counted as the worst.
    pub also: Vec<f64>,
}

/// The runs of each arm, and what did not become a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// One an arm of the study, in its order; runs in trial order.
    pub arms: Vec<Vec<Run>>,
    pub planned: u64,
    pub complete: u64,
    /// Diverged ones included.
    pub failed: u64,
    /// Of judged arms: what a study declares of these it does not declare of controls.
    pub diverged: u64,
    /// Complete, but the primary metric is not a finite number.
    pub undefined: u64,
    /// Trials that are not runs, by arm, config and reason.
    pub missing: BTreeMap<(u32, u32, String), u64>,
    /// Those that killed whoever trained them, by arm and config.
    pub poison: BTreeMap<(u32, u32), Vec<TrialIndex>>,
    /// Summed in trial order.
    pub agent_seconds: f64,
    /// Of these, on graphics cards.
    pub gpu_seconds: f64,
    /// Unix milliseconds at which complete trials ended, ascending.
    pub ended: Vec<u64>,
    /// Of the judged arms alone: trials that are complete, and their seconds.
    pub judged_complete: u64,
    pub judged_seconds: f64,
    /// Complete trials of each arm and config, and their seconds.
    pub spent: BTreeMap<(u32, u32), (u64, f64)>,
}

impl Run {
    /// Number of the outer fold over all partitions.
    pub fn block(&self, study: &Study) -> u32 {
        self.partition * study.outer.folds + self.fold
    }
}

impl Table {
    /// The runs of each judged arm, which are all that comparisons and models of the spread see.
    pub fn judged(&self, study: &Study) -> &[Vec<Run>] {
        &self.arms[..study.judged().len()]
    }

    pub fn open(material: &Material<'_>) -> Self {
        let study = material.study;
        let design = Design::of(study);
        let mut table = Self {
            arms: vec![Vec::new(); study.arms.len()],
            planned: design.trials().unwrap_or(u64::MAX),
            complete: 0,
            failed: 0,
            diverged: 0,
            undefined: 0,
            missing: BTreeMap::new(),
            poison: BTreeMap::new(),
            agent_seconds: 0.0,
            gpu_seconds: 0.0,
            ended: Vec::new(),
            judged_complete: 0,
            judged_seconds: 0.0,
            spent: BTreeMap::new(),
        };
        let rows = in_trial_order(material.rows, &design);
        let worst = worst_score(study, &design, &rows);
        let mut ended: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        for row in rows {
            if let Some((arm, config)) = table.take(study, &design, row, worst) {
                *ended.entry((arm, config)).or_default() += 1;
            }
        }
        table.ended.sort_unstable();
        table.count_unended(material, &design, &ended);
        table
    }

    /// Adds one row; returns its arm and config.
    fn take(
        &mut self,
        study: &Study,
        design: &Design,
        row: &OutcomeRow,
        worst: Option<f64>,
    ) -> Option<(u32, u32)> {
        let key = design.key(row.trial)?;
        let (arm, config) = (key.arm, key.config);
        let judged = key.arm(study).control().is_none();
        let run = |score: f64, also: Vec<f64>| Run {
            config,
            seeds: key.seeds.clone(),
            partition: key.partition,
            fold: key.fold,
            score,
            also,
        };
        let mut lost = None;
        match &row.end {
            RowEnd::Complete(outcome) => {
                self.complete += 1;
                let seconds = outcome.duration_us as f64 / 1e6;
                self.agent_seconds += seconds;
                if outcome.device.starts_with(CUDA) {
                    self.gpu_seconds += seconds;
                }
                self.ended.push(row.ended.0);
                let spent = self.spent.entry((arm, config)).or_default();
                *spent = (spent.0 + 1, spent.1 + seconds);
                if judged {
                    self.judged_complete += 1;
                    self.judged_seconds += seconds;
                }
                match outcome.metrics.first() {
                    Some(&score) if score.is_finite() => self.arms[arm as usize]
                        .push(run(score, outcome.metrics.iter().skip(1).copied().collect())),
                    _ => {
                        self.undefined += 1;
                        lost = Some("score undefined".to_string());
                    }
                }
            }
            RowEnd::Failed { reason, .. } => {
                self.failed += 1;
                let diverged = judged && reason == FailReason::Diverged.name();
                self.diverged += u64::from(diverged);
                match worst {
                    Some(score) if diverged && study.budget.diverged == Diverged::Worst => {
                        self.arms[arm as usize].push(run(score, Vec::new()));
                    }
                    _ => {
                        if reason == POISON {
                            self.poison.entry((arm, config)).or_default().push(row.trial);
                        }
                        lost = Some(reason.clone());
                    }
                }
            }
        }
        if let Some(reason) = lost {
            *self.missing.entry((arm, config, reason)).or_default() += 1;
        }
        Some((arm, config))
    }

    /// Adds the trials that have not ended to `missing`.
    fn count_unended(
        &mut self,
        material: &Material<'_>,
        design: &Design,
        ended: &BTreeMap<(u32, u32), u64>,
    ) {
        let reason = if material.cancelled > 0 { "cancelled" } else { "not ended yet" };
        for (arm, written) in material.study.arms.iter().enumerate() {
            for config in 0..written.configs.len() as u32 {
                let key = (arm as u32, config);
                let unbought = material.bought.map_or(0, |known| known.unbought(design, key.0));
                let each = design.cells_of(key.0) - unbought;
                self.planned -= unbought;
                let open = each.saturating_sub(ended.get(&key).copied().unwrap_or(0));
                if open > 0 {
                    self.missing.insert((key.0, key.1, reason.to_string()), open);
                }
            }
        }
    }
}

/// Each trial once, by index. The first outcome of a trial stands, as in the log.
pub fn in_trial_order<'a>(rows: &'a [OutcomeRow], design: &Design) -> Vec<&'a OutcomeRow> {
    let trials = design.trials().unwrap_or(u64::MAX);
    let mut sorted: Vec<&OutcomeRow> =
        rows.iter().filter(|row| row.trial < TrialIndex(trials)).collect();
    sorted.sort_by_key(|row| (row.trial, row.ended, row.agent));
    sorted.dedup_by_key(|row| row.trial);
    sorted
}

/// The worst finite primary score that any run of the study had, controls left aside.
fn worst_score(study: &Study, design: &Design, rows: &[&OutcomeRow]) -> Option<f64> {
    let judged = |row: &&&OutcomeRow| {
        design.key(row.trial).is_some_and(|key| key.arm(study).control().is_none())
    };
    let larger = study.primary().larger_is_better();
    let scores = rows.iter().filter(judged).filter_map(|row| match &row.end {
        RowEnd::Complete(outcome) => outcome.metrics.first().copied().filter(|s| s.is_finite()),
        RowEnd::Failed { .. } => None,
    });
    scores.reduce(|a, b| if larger { a.min(b) } else { a.max(b) })
}

/// How the record of an outcome begins that was trained on a graphics card.
pub const CUDA: &str = "cuda";
