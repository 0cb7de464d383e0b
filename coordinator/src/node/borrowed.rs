//! Agents that are there for a time: what still fits into it, what they gave back, where it stood.
//!
//! A cohort goes to an agent with an end only if it can end there, or reach a checkpoint, by how long
//! trainings of its arms took; while that is not known, if some time is left. A checkpoint lies
//! with the leader and is given to whoever is granted the trial next. All of it is soft state: after a
//! change of leaders agents say their ends anew, and trials begin anew, to the same bits.
//!
//! Floor: core.

use std::collections::{BTreeMap, VecDeque};

use common::id::{Digest, LeaseId, MemberId, StudyId, TrialIndex};
use common::study::{Arm, Model};
use common::time::Timestamp;
use common::trial::{Attempt, FailReason, Outcome};
use common::wire::message::{Response, Stay};

use super::agents::{ITEMS_AT_ONCE, Session};
use super::{Asker, Node, Now, Output, Room, SessionId};
use crate::scheduler::command::{BORROWED_LEVEL, Command, Item};
use crate::scheduler::lease::Lease;
use crate::scheduler::placement::ShapeQueue;
use crate::scheduler::state::StudyRecord;

/// For how long an agent is there that goes on from others' checkpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Staying {
    pub ends: Option<End>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub mono: Timestamp,
    pub wall: Timestamp,
}

impl Staying {
    pub fn for_ms(left_ms: Option<u64>, now: Now) -> Self {
        let end = |ms| End { mono: now.mono.plus_ms(ms), wall: now.wall.plus_ms(ms) };
        Self { ends: left_ms.map(end) }
    }
}

/// How long trainings of an arm took lately.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Of a cohort: an epoch, and the whole.
    lately: VecDeque<(u64, u64)>,
}

impl Pace {
    fn note(&mut self, epoch_us: u64, whole_us: u64) {
        if self.lately.len() == PACES_KEPT {
            self.lately.pop_front();
        }
        self.lately.push_back((epoch_us, whole_us));
    }

    /// What the slowest of them took until it could be left without a loss.
    fn need_us(&self, in_epochs: bool) -> Option<u64> {
        let of = |(epoch, whole): &(u64, u64)| if in_epochs { *epoch } else { *whole };
        self.lately.iter().map(of).max()
    }
}

/// By study and arm.
pub(super) type Paces = BTreeMap<(StudyId, u32), Pace>;

/// What can be begun on an agent that has an end.
pub(super) struct Reach<'n> {
    left_us: u64,
    study: StudyId,
    record: &'n StudyRecord,
    paces: &'n Paces,
}

impl<'n> Reach<'n> {
    /// `None`: the agent has no end.
    pub fn of(
        session: &Session,
        paces: &'n Paces,
        (study, record): (StudyId, &'n StudyRecord),
        now: Now,
    ) -> Option<Self> {
        let end = session.staying?.ends?;
        let left_us = end.mono.since_ms(now.mono).saturating_mul(1_000);
        Some(Self { left_us, study, record, paces })
    }

    pub fn has(&self, arm: u32) -> bool {
        let Some(written) = self.record.study.arms.get(arm as usize) else { return true };
        let program = self.record.study.model_of(written) == Model::Program;
        let pace = self.paces.get(&(self.study, arm));
        let need_us = match program && keeps_checkpoints(written) {
            // When it writes one only the program knows.
            true => None,
            false => pace.and_then(|pace| pace.need_us(!program)),
        };
        need_us.unwrap_or(UNKNOWN_US).saturating_add(SPARE_US) <= self.left_us
    }

    /// Whether all trials of a shape can be begun.
    pub fn has_shape(&self, shape: &ShapeQueue) -> bool {
        shape.arms().all(|arm| self.has(arm))
    }
}

/// Whether a program says in its arguments that it goes on from where it was stopped.
fn keeps_checkpoints(arm: &Arm) -> bool {
    let program = arm.configs.first().and_then(|config| config.hyper.program.as_ref());
    program.is_some_and(|program| {
        let values = program.env.iter().map(|(_, value)| value);
        program.command.iter().chain(values).any(|text| text.contains(CHECKPOINT_NAME))
    })
}

impl Node {
    /// An outcome tells how long its cohort took.
    pub(super) fn note_pace(&mut self, attempt: &Attempt, outcome: &Outcome) {
        let study = attempt.study;
        // One that went on from a checkpoint took less than all.
        if self.soft.parked.contains_key(&(study, attempt.trial)) {
            return;
        }
        let lanes = self.soft.leases.lease(attempt.lease).map_or(1, |lease| lease.granted);
        let design = self.soft.queues.get(&study).map(|queue| queue.design());
        let Some(key) = design.and_then(|design| design.key(attempt.trial)) else { return };
        let whole_us = outcome.duration_us.saturating_mul(u64::from(lanes));
        let epoch_us = whole_us / u64::from(outcome.epochs.max(1));
        self.soft.paces.entry((study, key.arm)).or_default().note(epoch_us, whole_us);
    }

    /// What an agent that leaves had in training: counted by the reason, against no trial.
    pub(super) fn interrupted(
        &mut self,
        session: SessionId,
        member: MemberId,
        leases: Vec<LeaseId>,
        why: FailReason,
        now: Now,
    ) {
        let why = if why.is_interruption() { why } else { FailReason::Preempted };
        let mut items = Vec::new();
        for id in leases {
            let held = self.soft.leases.lease(id).filter(|lease| lease.agent == member);
            let Some(lease) = held else { continue };
            if self.soft.leases.is_repetition(id) || self.state.level < BORROWED_LEVEL {
                self.give_back(id);
                continue;
            }
            items
                .extend(lease.trials.iter().map(|trial| self.interruption(id, lease, *trial, why)));
        }
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.interrupted += items.len() as u64;
        }
        while !items.is_empty() {
            let rest = items.split_off(items.len().min(ITEMS_AT_ONCE));
            let attempts = items.iter().map(Item::attempt).collect();
            let command = Command::Reports { agent: member, at: now.wall, items };
            self.propose(command, Asker::Lost(attempts));
            items = rest;
        }
    }

    fn interruption(&self, id: LeaseId, lease: &Lease, trial: TrialIndex, why: FailReason) -> Item {
        let (study, agent) = (lease.study, lease.agent);
        let left = match self.soft.parked.contains_key(&(study, trial)) {
            true => "it left a checkpoint",
            false => "it left no checkpoint",
        };
        let what = match why {
            FailReason::OutOfTime => format!("the time of agent {agent} was over"),
            _ => format!("agent {agent} was told to leave"),
        };
        Item::Failed {
            attempt: Attempt { study, trial, lease: id },
            reason: why,
            detail: format!("{what}; {left}"),
            alone: lease.granted == 1,
        }
    }

    /// Why the lease of a silent agent ran out: at its end it may not have had the time for a word.
    pub(super) fn silence(&self, lease: &Lease) -> FailReason {
        let session = self.sessions.values().rev().find(|session| session.member == lease.agent);
        let session = session.or_else(|| self.soft.gone.get(&lease.agent));
        let end = session.and_then(|session| session.staying?.ends);
        match end.is_some_and(|end| end.mono <= lease.deadline) {
            true if self.state.level >= BORROWED_LEVEL => FailReason::OutOfTime,
            _ => FailReason::AgentLost,
        }
    }

    /// Whether an agent may leave a checkpoint of this attempt here, or why not.
    pub fn may_park(&self, member: MemberId, attempt: &Attempt) -> Result<(), String> {
        let lease = self.soft.leases.lease(attempt.lease).filter(|lease| {
            lease.agent == member
                && lease.study == attempt.study
                && lease.trials.contains(&attempt.trial)
        });
        match (lease, &self.room) {
            (None, _) => Err("this agent does not hold the trial".to_string()),
            (Some(_), Room::OutcomesOnly { why } | Room::Nothing { why }) => Err(why.clone()),
            (Some(_), Room::Plenty) => Ok(()),
        }
    }

    /// A checkpoint is here whole.
    pub(super) fn parked(&mut self, member: MemberId, attempt: Attempt, digest: Digest) {
        let of = (attempt.study, attempt.trial);
        let before = match self.may_park(member, &attempt) {
            Ok(()) => self.soft.parked.insert(of, digest).filter(|before| *before != digest),
            // It was late: nobody will ask for it, unless it is another trial's too.
            Err(_) => Some(digest).filter(|new| self.soft.parked.values().all(|one| one != new)),
        };
        self.outputs.extend(before.map(|digest| Output::Unpark { digest }));
    }

    /// The trial needs no checkpoint any more.
    pub(super) fn unpark(&mut self, study: StudyId, trial: TrialIndex) {
        if let Some(digest) = self.soft.parked.remove(&(study, trial)) {
            self.outputs.push(Output::Unpark { digest });
        }
    }

    pub(super) fn unpark_all(&mut self, study: StudyId) {
        let all = (study, TrialIndex(0))..=(study, TrialIndex(u64::MAX));
        let trials: Vec<TrialIndex> = self.soft.parked.range(all).map(|((_, t), _)| *t).collect();
        trials.into_iter().for_each(|trial| self.unpark(study, trial));
    }

    /// Checkpoints take room from what cannot be had again, and nobody asks for those of one that led.
    pub(super) fn unpark_every(&mut self) {
        let parked = std::mem::take(&mut self.soft.parked);
        self.outputs.extend(parked.into_values().map(|digest| Output::Unpark { digest }));
    }

    pub(super) fn room_is(&mut self, room: Room) {
        if room != Room::Plenty {
            self.unpark_every();
        }
        self.room = room;
    }

    /// The checkpoints of these trials, for an agent that knows what to do with them.
    pub(super) fn checkpoints_of(
        &self,
        session: SessionId,
        study: StudyId,
        trials: &[TrialIndex],
    ) -> Vec<(TrialIndex, Digest)> {
        let knows = self.sessions.get(&session).is_some_and(|entry| entry.staying.is_some());
        let parked = |trial: &TrialIndex| Some((*trial, *self.soft.parked.get(&(study, *trial))?));
        trials.iter().filter(|_| knows).filter_map(parked).collect()
    }

    pub(super) fn stays(&self) -> Response {
        let stay = |session: &Session| {
            let ends = session.staying?.ends.map(|end| end.wall);
            Some(Stay { member: session.member, ends, interrupted: session.interrupted })
        };
        let all = self.sessions.values().chain(self.soft.gone.values());
        Response::Stays { stays: all.filter_map(stay).collect() }
    }
}

/// Outcomes of an arm that say how long the next one takes.
const PACES_KEPT: usize = 16;

/// What a cohort is taken to need before any of its arm has ended.
const UNKNOWN_US: u64 = 20_000_000;

/// For fetching what it needs, and for handing on what it reached.
const SPARE_US: u64 = 10_000_000;

/// How a program's arguments name the folder that outlives an attempt.
const CHECKPOINT_NAME: &str = "{checkpoint}";
