//! Searches that learn: when all tries of a choice so far are scored, the leader finds the next ones.
//!
//! What is tried is decided here, by arithmetic that no replica repeats, and goes into the log as points. It
//! depends on the study, its tries and their scores alone, all of which the state holds: a new leader goes on
//! as the last one would have, and tries that do not get into the log are found again.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::choosing::Scores;
use common::design::{Choice, Design};
use common::id::{StudyId, TrialIndex};
use common::searching::Searching;
use common::space::Config;
use common::study::{Proposed, Study};

use super::{Asker, Node};
use crate::scheduler::choices::Choices;
use crate::scheduler::command::Command;
use crate::scheduler::state::{StudyRecord, TrialState};

/// How far the searches of one study are.
#[derive(Debug, Default)]
pub(super) struct Searches {
    /// Trials that the next tries of a choice still wait for.
    left: BTreeMap<Choice, u64>,
    ready: BTreeSet<Choice>,
    /// In the log or on their way there.
    proposed: BTreeSet<Choice>,
    /// Kept only so that tries need not be told again.
    followed: BTreeMap<Choice, Searching>,
}

impl Node {
    /// Looks for searches that can go on: at first, and when a study was taken up again or has grown.
    pub(super) fn seek_tries(&mut self, study: StudyId) {
        let (Some(record), Some(known)) =
            (self.state.studies.get(&study), self.state.choices(study))
        else {
            return;
        };
        if !record.study.learns() {
            return;
        }
        let design = Design::of(&record.study);
        let mut searches = Searches::default();
        let learned =
            |choice: &Choice| design.is_learned(choice.arm) && known.chosen(*choice).is_none();
        design.choices().filter(learned).for_each(|choice| searches.note(record, &design, choice));
        self.soft.searches.insert(study, searches);
    }

    /// A trial has ended that may be one that a search waits for.
    pub(super) fn try_scored(&mut self, study: StudyId, choice: Choice) {
        let (Some(searches), Some(record)) =
            (self.soft.searches.get_mut(&study), self.state.studies.get(&study))
        else {
            return;
        };
        let left = searches.left.get_mut(&choice).map(|left| {
            *left = left.saturating_sub(1);
            *left
        });
        // Counted anew: one that failed may have been opened again.
        if left.is_none_or(|left| left == 0) {
            searches.note(record, &Design::of(&record.study), choice);
        }
    }

    /// Proposes the tries that can be found. `again`: also those that were proposed before.
    pub(super) fn propose_tries(&mut self, again: bool) {
        if !self.soft.leading || self.soft.searches.values().all(|s| s.ready.is_empty()) {
            return;
        }
        let studies: Vec<StudyId> = self.soft.searches.keys().copied().collect();
        for study in studies {
            let (Some(searches), Some(record), Some(known)) = (
                self.soft.searches.get_mut(&study),
                self.state.studies.get(&study),
                self.state.choices(study),
            ) else {
                continue;
            };
            let wanted = searches.ready.iter().filter(|c| again || !searches.proposed.contains(c));
            let wanted: Vec<Choice> = wanted.take(SEARCHES_AT_ONCE).copied().collect();
            let design = Design::of(&record.study);
            let mut proposed = Vec::new();
            for choice in wanted {
                searches.proposed.insert(choice);
                let next = searches.next(&record.study, known, &design, choice);
                let slots = tries(&record.study, choice)..;
                proposed.extend(slots.zip(next).map(|(slot, point)| {
                    let Choice { arm, cell } = choice;
                    Proposed { arm, cell, slot, point }
                }));
            }
            if !proposed.is_empty() {
                self.propose(Command::Propose { study, proposed }, Asker::Nobody);
            }
        }
    }

    /// Tries are in the log: their trials wait.
    pub(super) fn tries_decided(&mut self, study: StudyId, proposed: &[Proposed]) {
        let Some(record) = self.state.studies.get(&study) else { return };
        if let Some(queue) = self.soft.queues.get_mut(&study) {
            queue.propose(&record.study, proposed);
        }
        if let Some(searches) = self.soft.searches.get_mut(&study) {
            let design = Design::of(&record.study);
            let choices: BTreeSet<Choice> = proposed.iter().map(Proposed::choice).collect();
            for choice in choices {
                searches.ready.remove(&choice);
                searches.proposed.remove(&choice);
                searches.note(record, &design, choice);
            }
        }
    }
}

impl Searches {
    /// Counts what the next tries of a choice wait for. One that may try no more is forgotten.
    fn note(&mut self, record: &StudyRecord, design: &Design, choice: Choice) {
        let (study, tried) = (&record.study, tries(&record.study, choice));
        let trials = (0..tried).flat_map(|slot| design.tries_of(choice, slot).concat());
        let open = trials.filter(|trial| record.trial(*trial) == Some(TrialState::Open));
        self.left.remove(&choice);
        if tried as usize >= study.arms[choice.arm as usize].configs.len() {
            self.followed.remove(&choice);
            return;
        }
        match open.count() as u64 {
            0 => {
                self.ready.insert(choice);
            }
            left => {
                self.ready.remove(&choice);
                self.left.insert(choice, left);
            }
        }
    }

    fn next(
        &mut self,
        study: &Study,
        known: &Choices,
        design: &Design,
        choice: Choice,
    ) -> Vec<Config> {
        let score = |trial: &TrialIndex| known.score(*trial).unwrap_or(f64::NAN);
        let scores = |slot: u32| -> Scores {
            let trials = design.tries_of(choice, slot);
            trials.iter().map(|seed| seed.iter().map(score).collect()).collect()
        };
        let configs = study.configs_of(choice).into_iter();
        let tries: Vec<(Config, Scores)> = (0..tries(study, choice))
            .zip(configs)
            .map(|(slot, config)| (config.point.clone(), scores(slot)))
            .collect();
        if let Some(followed) = self.followed.get_mut(&choice) {
            return followed.next(&tries);
        }
        let Some(mut new) = Searching::new(study, design, choice) else { return Vec::new() };
        let points = new.next(&tries);
        self.followed.insert(choice, new);
        points
    }
}

/// How many tries of a choice are decided.
pub(super) fn tries(study: &Study, choice: Choice) -> u32 {
    let arm = study.arms.get(choice.arm as usize);
    arm.and_then(|arm| arm.learned.as_ref()).map_or(0, |learned| learned.tries(choice.cell))
}

/// Of one study before the node turns to other things: each takes some thousandths of a second.
const SEARCHES_AT_ONCE: usize = 8;
