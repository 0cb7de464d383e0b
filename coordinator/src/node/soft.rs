//! What only the leader knows, and a new leader learns anew: queues, leases, progress, health.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{Digest, LeaseId, MemberId, StudyId, TrialIndex};
use common::time::Timestamp;
use common::trial::Attempt;
use common::wire::message::{StudyState, ToAgent};

use super::agents::Session;
use super::borrowed::Paces;
use super::choosing::{self, Choosing};
use super::health::Health;
use super::logs::LogAsks;
use super::repeats::AllRepeats;
use super::searching::Searches;
use super::{Node, Now, logged};
use crate::scheduler::Ended;
use crate::scheduler::lease::Leases;
use crate::scheduler::placement::Queue;
use crate::scheduler::progress::Progress;

#[derive(Default)]
pub(super) struct Soft {
    pub leading: bool,
    /// Since when.
    pub began: Timestamp,
    pub grants_from: Timestamp,
    pub queues: BTreeMap<StudyId, Queue>,
    pub leases: Leases,
    pub progress: BTreeMap<StudyId, Progress>,
    /// Outcomes proposed and not yet applied.
    pub proposed: BTreeSet<(StudyId, TrialIndex)>,
    /// What agents that left had done, for `agents`.
    pub gone: BTreeMap<MemberId, Session>,
    pub health: BTreeMap<MemberId, Health>,
    /// Trials that agents completed under this leader.
    pub completed: BTreeMap<StudyId, u64>,
    /// Complete trials that are trained again.
    pub repeats: AllRepeats,
    /// A change of the membership was asked for; the next one waits until this entry is applied.
    pub change_until: u64,
    /// A level was asked for; likewise.
    pub level_until: u64,
    /// What running programs said last of how far they are.
    pub said: BTreeMap<LeaseId, String>,
    pub logs: LogAsks,
    /// How far the choices of each study are.
    pub choosing: BTreeMap<StudyId, Choosing>,
    /// How far the searches of each study that learns are.
    pub searches: BTreeMap<StudyId, Searches>,
    /// When choices and tries were last proposed again.
    pub chose: Timestamp,
    /// Decisions about buying more of a study that there were when the next one was proposed.
    pub bought: BTreeMap<StudyId, usize>,
    /// When what is due and spent was last looked at.
    pub tended: Timestamp,
    /// Milliseconds in which something of a study with limits was in training, and that are not in the log.
    pub training: BTreeMap<StudyId, u64>,
    /// How long trainings took lately.
    pub paces: Paces,
    /// Where trials stand that were given back in the middle of their training: their checkpoints.
    pub parked: BTreeMap<(StudyId, TrialIndex), Digest>,
}

impl Node {
    pub(super) fn open_queue(&mut self, study: StudyId) {
        if let Some(record) = self.state.studies.get(&study)
            && self.soft.leading
            && record.state.goes_on()
            && !self.soft.queues.contains_key(&study)
        {
            let mut queue = Queue::new(&record.study);
            let chosen = self.state.choices(study).into_iter().flat_map(|known| known.all());
            for trial in choosing::refits(record, chosen) {
                queue.put_back(trial, false);
            }
            self.soft.queues.insert(study, queue);
            self.seek_choices(study);
            self.seek_tries(study);
        }
    }

    pub(super) fn study_stopped(&mut self, study: StudyId) {
        self.soft.queues.remove(&study);
        self.soft.choosing.remove(&study);
        self.soft.training.remove(&study);
        self.soft.searches.remove(&study);
        self.soft.paces.retain(|(of, _), _| *of != study);
        self.unpark_all(study);
        // What is trained again goes on: that its study ends is no reason not to look.
        let open = |id: &LeaseId| !self.soft.leases.is_repetition(*id);
        let leases = self.soft.leases.of_study(study);
        for id in leases.into_iter().filter(open).collect::<Vec<_>>() {
            if let Some(lease) = self.soft.leases.end(id) {
                self.tell_member(lease.agent, ToAgent::Revoke { lease: id });
            }
        }
    }

    pub(super) fn trials_wait_again(&mut self, study: StudyId, trials: &[TrialIndex]) {
        match self.soft.queues.get_mut(&study) {
            Some(queue) => trials.iter().for_each(|trial| queue.put_back(*trial, false)),
            // It had ended: the new queue finds them by itself.
            None => self.open_queue(study),
        }
    }

    pub(super) fn study_grew(&mut self, study: StudyId) {
        let record = self.state.studies.get(&study);
        match (self.soft.queues.get_mut(&study), record) {
            (Some(queue), Some(record)) => {
                queue.grow(&record.study);
                let chosen = self.state.choices(study).into_iter().flat_map(|known| known.all());
                for trial in choosing::refits(record, chosen) {
                    queue.put_back(trial, false);
                }
                self.seek_tries(study);
            }
            _ => self.open_queue(study),
        }
    }

    /// One attempt is over.
    pub(super) fn ended(&mut self, ended: &Ended, now: Now) {
        if self.soft.leading {
            logged::ended(&self.state, ended);
        }
        self.judge(ended);
        match ended {
            Ended::Trial { attempt, .. } => {
                self.trial_ended(attempt);
                self.scored(attempt.study, attempt.trial);
                // What an earlier study knew says nothing about speed.
                if attempt.lease.term > 0 && self.soft.leading {
                    self.soft.progress.entry(attempt.study).or_default().ended(now.mono);
                }
                let state = self.state.studies.get(&attempt.study).map(|record| record.state);
                if !state.is_some_and(StudyState::goes_on) {
                    self.study_stopped(attempt.study);
                }
            }
            Ended::Again { attempt } => {
                let record = self.state.studies.get(&attempt.study);
                let tally = record.and_then(|record| record.tallies.get(&attempt.trial));
                let suspect = tally.is_some_and(|tally| tally.own + tally.losses > 1);
                self.trial_again(attempt, suspect);
            }
            // Its trial may be open: a failure told twice ends the lease it was told under.
            Ended::Late { attempt, .. } => self.trial_again(attempt, false),
            Ended::Unknown { attempt } => {
                self.soft.proposed.remove(&(attempt.study, attempt.trial));
            }
        }
    }

    /// A trial has ended, whoever trained it: no lease holds it any more.
    fn trial_ended(&mut self, attempt: &Attempt) {
        self.soft.proposed.remove(&(attempt.study, attempt.trial));
        self.unpark(attempt.study, attempt.trial);
        if let Some((lease, agent)) = self.soft.leases.release(attempt.study, attempt.trial) {
            let superfluous = lease != attempt.lease && self.soft.leases.lease(lease).is_none();
            if superfluous {
                self.tell_member(agent, ToAgent::Revoke { lease });
            }
        }
    }

    /// This attempt is over. The trial waits again, unless it has ended or another lease holds it.
    pub(super) fn trial_again(&mut self, attempt: &Attempt, suspect: bool) {
        self.soft.proposed.remove(&(attempt.study, attempt.trial));
        let holder = self.soft.leases.holder(attempt.study, attempt.trial);
        if holder.is_some_and(|holder| holder != attempt.lease) {
            return;
        }
        self.soft.leases.release(attempt.study, attempt.trial);
        if let Some(queue) = self.soft.queues.get_mut(&attempt.study) {
            // One that has ended is dropped when its turn comes.
            queue.put_back(attempt.trial, suspect);
        }
    }

    /// Ends a lease and lets its trials wait again, without counting anything.
    pub(super) fn give_back(&mut self, id: LeaseId) {
        let Some(lease) = self.soft.leases.end(id) else { return };
        self.repeat_given_back(id, lease.study, &lease.trials);
        if let Some(queue) = self.soft.queues.get_mut(&lease.study) {
            lease.trials.into_iter().for_each(|trial| queue.put_back(trial, false));
        }
    }
}
