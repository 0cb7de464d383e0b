//! Choices of configs: when all scores of one are there, the leader compares them and proposes.
//!
//! What the log holds are configs; scores are compared here and nowhere else. A new leader finds again
//! which choices can be made, and comes to the same ones from the same scores. A choice that does not
//! get into the log is proposed again.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::design::{Choice, Design};
use common::id::{StudyId, TrialIndex};

use super::promoting::{Judged, Judging};
use super::{Asker, Node, Now};
use crate::scheduler::choices::Chosen;
use crate::scheduler::command::Command;
use crate::scheduler::rungs::Promoted;
use crate::scheduler::state::{StudyRecord, TrialState};

/// How far the choices of one study are.
#[derive(Debug, Default)]
pub(super) struct Choosing {
    /// Trials that a choice still waits for, once it was asked about.
    left: BTreeMap<Choice, u64>,
    ready: BTreeSet<Choice>,
    /// Whose configs can be judged on their rung.
    judged: BTreeSet<Choice>,
    /// In the log or on their way there.
    proposed: BTreeSet<Choice>,
}

/// The refits of choices that wait to be trained.
pub(super) fn refits(
    record: &StudyRecord,
    chosen: impl Iterator<Item = Chosen>,
) -> Vec<TrialIndex> {
    let design = Design::of(&record.study);
    let opened = chosen.flat_map(|chosen| design.refits(chosen.choice(), chosen.config));
    opened.filter(|trial| record.trial(*trial) == Some(TrialState::Open)).collect()
}

impl Node {
    /// Looks for choices whose scores are all there: at first, and when a study was taken up again.
    pub(super) fn seek_choices(&mut self, study: StudyId) {
        let (Some(record), Some(known)) =
            (self.state.studies.get(&study), self.state.choices(study))
        else {
            return;
        };
        let design = Design::of(&record.study);
        let mut choosing = Choosing::default();
        for choice in design.choices().filter(|choice| known.chosen(*choice).is_none()) {
            choosing.note(record, &design, choice);
        }
        self.soft.choosing.insert(study, choosing);
    }

    /// A trial has ended that may be one that a choice waits for.
    pub(super) fn scored(&mut self, study: StudyId, trial: TrialIndex) {
        let Some(record) = self.state.studies.get(&study) else { return };
        let design = Design::of(&record.study);
        let key = design.key(trial).filter(|key| key.inner.is_some());
        let Some(choice) = key.as_ref().and_then(|key| design.choice_of(key)) else { return };
        // One that failed, and was opened again after its choice was made.
        if self.state.choices(study).is_some_and(|known| known.chosen(choice).is_some()) {
            return;
        }
        if design.is_learned(choice.arm) {
            self.try_scored(study, choice);
        }
        let Some(choosing) = self.soft.choosing.get_mut(&study) else { return };
        let Some(record) = self.state.studies.get(&study) else { return };
        if let (Some(key), true) = (&key, design.halves_at_once(choice.arm)) {
            let trials = design.tries_of(choice, key.config).concat();
            if trials.iter().all(|trial| record.trial(*trial) != Some(TrialState::Open)) {
                choosing.judged.insert(choice);
            }
            return;
        }
        match choosing.left.get_mut(&choice) {
            Some(left) => {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    // Counted anew: one that failed may have been opened again.
                    choosing.left.remove(&choice);
                    choosing.note(record, &design, choice);
                }
            }
            None => choosing.note(record, &design, choice),
        }
    }

    /// Proposes the choices that can be made. `again`: also those that were proposed before.
    pub(super) fn choose_what_is_ready(&mut self, again: bool) {
        let idle = |choosing: &Choosing| choosing.ready.is_empty() && choosing.judged.is_empty();
        if !self.soft.leading || self.soft.choosing.values().all(idle) {
            return;
        }
        let studies: Vec<StudyId> = self.soft.choosing.keys().copied().collect();
        for study in studies {
            let (Some(choosing), Some(record), Some(known)) = (
                self.soft.choosing.get_mut(&study),
                self.state.studies.get(&study),
                self.state.choices(study),
            ) else {
                continue;
            };
            choosing.ready.retain(|choice| known.chosen(*choice).is_none());
            choosing.judged.retain(|choice| known.chosen(*choice).is_none());
            let design = &Design::of(&record.study);
            let judging = |choice: Choice| Judging { record, known, design, choice };
            let wanted = choosing.ready.iter().filter(|c| again || !choosing.proposed.contains(c));
            let wanted: Vec<Choice> = wanted.take(CHOICES_AT_ONCE).copied().collect();
            let made = wanted.iter().map(|choice| judging(*choice).chosen());
            let mut chosen: Vec<Chosen> = made.collect();
            choosing.proposed.extend(wanted);
            let wanted = choosing.judged.iter().filter(|c| again || !choosing.proposed.contains(c));
            let wanted: Vec<Choice> = wanted.take(CHOICES_AT_ONCE).copied().collect();
            let mut promoted: Vec<Promoted> = Vec::new();
            for choice in wanted {
                choosing.proposed.insert(choice);
                match judging(choice).next() {
                    Some(Judged::GoOn(configs)) => promoted.extend(configs),
                    Some(Judged::Chosen(config)) => chosen.push(config),
                    // Asked again when more is scored.
                    None => {
                        choosing.judged.remove(&choice);
                        choosing.proposed.remove(&choice);
                    }
                }
            }
            if !chosen.is_empty() {
                self.propose(Command::Choose { study, chosen }, Asker::Nobody);
            }
            if !promoted.is_empty() {
                self.propose(Command::Promote { study, promoted }, Asker::Nobody);
            }
        }
    }

    /// Configs have reached their rungs: its trials wait.
    pub(super) fn promoted(
        &mut self,
        study: StudyId,
        promoted: &[Promoted],
        opened: &[TrialIndex],
    ) {
        let (Some(choosing), Some(record)) =
            (self.soft.choosing.get_mut(&study), self.state.studies.get(&study))
        else {
            return;
        };
        let design = Design::of(&record.study);
        for choice in promoted.iter().map(Promoted::choice) {
            choosing.judged.remove(&choice);
            choosing.proposed.remove(&choice);
            choosing.note(record, &design, choice);
        }
        self.trials_wait_again(study, opened);
    }

    /// Proposes again what was proposed a while ago and did not get into the log.
    pub(super) fn choose_again(&mut self, now: Now) {
        if now.mono.since_ms(self.soft.chose) >= CHOSEN_AGAIN_MS {
            self.soft.chose = now.mono;
            self.choose_what_is_ready(true);
            self.propose_tries(true);
        }
    }

    /// Choices are in the log: their refits wait.
    pub(super) fn chose(&mut self, study: StudyId, chosen: &[Chosen]) {
        if let Some(choosing) = self.soft.choosing.get_mut(&study) {
            for chosen in chosen {
                choosing.ready.remove(&chosen.choice());
                choosing.judged.remove(&chosen.choice());
                choosing.proposed.remove(&chosen.choice());
                choosing.left.remove(&chosen.choice());
            }
        }
        let Some(record) = self.state.studies.get(&study) else { return };
        if let Some(queue) = self.soft.queues.get_mut(&study) {
            for trial in refits(record, chosen.iter().copied()) {
                queue.put_back(trial, false);
            }
        }
    }
}

impl Choosing {
    /// Counts what a choice waits for.
    fn note(&mut self, record: &StudyRecord, design: &Design, choice: Choice) {
        let trials = design.scores_of(choice).into_iter().flatten().flatten();
        // Those whose config a search has not proposed yet are still to come; of halved ones most rungs
        // are reached by few, and of a race most tuning seeds.
        let waits = match (design.halving(choice.arm), design.raced(choice.arm)) {
            (None, None) => &[Some(TrialState::Open), Some(TrialState::Unchosen)][..],
            _ => &[Some(TrialState::Open)],
        };
        let open = trials.filter(|trial| waits.contains(&record.trial(*trial)));
        match open.count() as u64 {
            // Whatever is open, some may go on.
            _ if design.halves_at_once(choice.arm) => {
                self.judged.insert(choice);
            }
            0 if record.next_rung(design, choice).is_some() => {
                self.judged.insert(choice);
            }
            0 => {
                self.ready.insert(choice);
            }
            left => {
                self.left.insert(choice, left);
            }
        }
    }
}

/// Between two proposals of the same choices.
const CHOSEN_AGAIN_MS: u64 = 1_000;

/// Of one study in one entry of the log.
const CHOICES_AT_ONCE: usize = 10_000;
