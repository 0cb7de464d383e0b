//! Which configs go on to the next rung, and what opens with it.
//!
//! A rung of halved configs is a number of epochs; of those that race it is a tuning seed, and what does not
//! go on is dropped. The leader compares scores and proposes; here a rung's trials are opened, once. What was
//! promoted is not written down beside them: a rung whose trials are no longer closed has been reached. Of
//! configs that do not wait for each other some may reach a rung that others are on.
//!
//! Floor: core.

use common::design::{Choice, Design};
use common::id::{StudyId, TrialIndex};
use serde::{Deserialize, Serialize};

use super::Applied;
use super::choices::Choices;
use super::state::{State, StudyRecord, TrialState};

/// Configs that go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promoted {
    pub arm: u32,
    /// As in [`Choice`].
    pub cell: u64,
    /// The rung that they reach, from 1 on; of a race the tuning seed, from the first that drops any on.
    pub rung: u32,
    /// Which of those that are halved, or race, ascending.
    pub configs: Vec<u32>,
}

impl Promoted {
    pub fn choice(&self) -> Choice {
        Choice { arm: self.arm, cell: self.cell }
    }
}

/// The trials that a config has on a rung.
fn on_rung(design: &Design, choice: Choice, rung: u32, config: u32) -> Vec<TrialIndex> {
    match design.halving(choice.arm) {
        Some(halving) => design.tries_of(choice, halving.config(rung, config)).concat(),
        None => design.try_with(choice, config, rung),
    }
}

/// Configs that are halved, or race.
fn alternatives(design: &Design, choice: Choice) -> u32 {
    let halving = design.halving(choice.arm);
    halving.map_or(design.configs_of(choice.arm), |halving| halving.configs)
}

/// Rungs that some configs may not reach.
fn later_rungs(design: &Design, choice: Choice) -> std::ops::Range<u32> {
    match (design.halving(choice.arm), design.raced(choice.arm)) {
        (Some(halving), _) => 1..halving.rungs,
        (None, Some(first)) => first..design.tuning_seeds(),
        (None, None) => 0..0,
    }
}

impl StudyRecord {
    /// Which of the halved configs, or of those that race, have reached a rung, ascending.
    pub fn reached(&self, design: &Design, choice: Choice, rung: u32) -> Vec<u32> {
        let all = 0..alternatives(design, choice);
        all.filter(|config| self.is_on_rung(design, choice, rung, *config)).collect()
    }

    fn is_on_rung(&self, design: &Design, choice: Choice, rung: u32, config: u32) -> bool {
        let trials = on_rung(design, choice, rung, config);
        trials.first().is_some_and(|first| self.trial(*first) != Some(TrialState::Unchosen))
    }

    /// The first rung that no config has reached; `None` when all were.
    pub fn next_rung(&self, design: &Design, choice: Choice) -> Option<u32> {
        let all = 0..alternatives(design, choice);
        let nobody =
            |rung: &u32| !all.clone().any(|config| self.is_on_rung(design, choice, *rung, config));
        later_rungs(design, choice).find(nobody)
    }

    /// The configs that reached the last rung that any did: of a race, those that are left.
    pub fn furthest(&self, design: &Design, choice: Choice) -> Vec<u32> {
        let end = later_rungs(design, choice).end;
        let next = self.next_rung(design, choice).unwrap_or(end);
        self.reached(design, choice, next.saturating_sub(1))
    }

    /// Trials of later rungs that are open, or have ended.
    pub(super) fn promoted(&self, design: &Design) -> u64 {
        let of_choice = |choice: Choice| -> u64 {
            let configs = || 0..alternatives(design, choice);
            let later = later_rungs(design, choice);
            let later = later.flat_map(|rung| configs().map(move |config| (rung, config)));
            let trials = later.flat_map(|(rung, config)| on_rung(design, choice, rung, config));
            trials.filter(|trial| self.trial(*trial) != Some(TrialState::Unchosen)).count() as u64
        };
        design.choices().map(of_choice).sum()
    }

    /// Trials that the design counts and that are not trained, less those that are and that it does not count.
    ///
    /// A race drops, of a choice that is made, all that are closed, else those of configs that are out. Where
    /// nobody waits, more may reach a rung than the design counts, and fewer where some fail.
    pub(super) fn spared(&self, design: &Design, choice: Choice, is_chosen: bool) -> i64 {
        let all = || 0..alternatives(design, choice);
        let is_closed = |trial: &TrialIndex| self.trial(*trial) == Some(TrialState::Unchosen);
        if let Some(halving) = design.halving(choice.arm).filter(|halving| halving.at_once) {
            let of_rung = |rung: u32| -> i64 {
                let trials = all().flat_map(|config| on_rung(design, choice, rung, config));
                let opened = trials.filter(|trial| !is_closed(trial)).count();
                let each = design.tries_of(choice, 0).concat().len();
                halving.kept(rung) as i64 * each as i64 - opened as i64
            };
            let fewer: i64 = later_rungs(design, choice).map(of_rung).sum();
            return if is_chosen { fewer } else { fewer.min(0) };
        }
        if design.raced(choice.arm).is_none() {
            return 0;
        }
        let left = if is_chosen { Vec::new() } else { self.furthest(design, choice) };
        let out = all().filter(|config| left.binary_search(config).is_err());
        let trials = out.flat_map(|config| design.tries_of(choice, config).concat());
        trials.filter(is_closed).count() as i64
    }

    /// What all choices have spared; of a record that was read.
    pub(super) fn count_spared(&mut self, choices: Option<&Choices>) {
        let design = Design::try_of(&self.study);
        let design = design.filter(|design| design.trials() == Some(self.planned()));
        let (Some(design), Some(known)) = (design, choices) else { return };
        let spared = |choice: Choice| self.spared(&design, choice, known.chosen(choice).is_some());
        self.spared = design.choices().map(spared).sum();
    }

    /// Takes out what does not go on; `false` where nothing is left.
    fn could_promote(&self, design: &Design, promoted: &mut Promoted) -> bool {
        let (choice, rung) = (promoted.choice(), promoted.rung);
        if !design.has(choice) || !later_rungs(design, choice).contains(&rung) {
            return false;
        }
        let ascending = promoted.configs.is_sorted_by(|a, b| a < b);
        let before = self.reached(design, choice, rung - 1);
        let known = promoted.configs.iter().all(|config| before.binary_search(config).is_ok());
        let halving = design.halving(choice.arm);
        if halving.is_some_and(|halving| halving.at_once) {
            let scored = |config: u32| {
                let trials = on_rung(design, choice, rung - 1, config);
                trials.iter().all(|trial| self.trial(*trial) == Some(TrialState::Complete))
            };
            // Who went on, and is told again with others, stays where it is.
            promoted.configs.retain(|config| {
                scored(*config) && !self.is_on_rung(design, choice, rung, *config)
            });
            return ascending && known && !promoted.configs.is_empty();
        }
        let many = match halving {
            Some(halving) => promoted.configs.len() as u32 == halving.kept(rung),
            // One that is left alone is chosen.
            None => promoted.configs.len() > 1,
        };
        ascending && known && many && self.next_rung(design, choice) == Some(rung)
    }
}

impl State {
    /// Opens rungs that no config has reached yet.
    pub(super) fn promote(&mut self, study: StudyId, promoted: Vec<Promoted>) -> Applied {
        let (Some(record), Some(choices)) =
            (self.studies.get_mut(&study), self.choices.get(&study))
        else {
            return Applied::Refused { why: "there is no such study" };
        };
        if !record.state.goes_on() {
            return Applied::Refused { why: "this study has ended; no config goes on" };
        }
        let design = Design::of(&record.study);
        let (mut done, mut opened) = (Vec::new(), Vec::new());
        for mut one in promoted {
            let choice = one.choice();
            if choices.chosen(choice).is_some() || !record.could_promote(&design, &mut one) {
                continue;
            }
            let trials = one.configs.iter();
            let trials = trials.flat_map(|config| on_rung(&design, choice, one.rung, *config));
            let trials: Vec<TrialIndex> = trials.collect();
            let before = record.spared(&design, choice, false);
            opened.extend(record.release(&trials));
            record.spared += record.spared(&design, choice, false) - before;
            done.push(one);
        }
        Applied::Promoted { study, promoted: done, opened }
    }
}
