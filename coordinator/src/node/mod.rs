//! One coordinator without its I/O: the replica, the replicated state, and the leader's soft state.
//!
//! Inputs are stepped with the time they arrived at; what must be durable comes from
//! [`Node::ready`], and only after [`Node::persisted`] is anything applied or anybody answered. So
//! an outcome is acknowledged only after it is committed. Absent: clocks, sockets, files, randomness.
//!
//! Floor: core.

mod agents;
mod requests;

use std::collections::{BTreeMap, BTreeSet};

use common::id::{LeaseId, MemberId, StudyId, TrialIndex};
use common::time::Timestamp;
use common::trial::Attempt;
use common::wire::codec::{self, CodecError};
use common::wire::message::{
    AgentAbout, FromAgent, OutcomeRow, Request, Response, StudyState, ToAgent,
};
use thiserror::Error;

use crate::replica::log::{Persist, SnapshotRecord};
use crate::replica::{Committed, Proposal, Replica, ReplicaError};
use crate::scheduler::Applied;
use crate::scheduler::command::{Admission, Command, EntryError, NewToken};
use crate::scheduler::lease::Leases;
use crate::scheduler::placement::Queue;
use crate::scheduler::progress::Progress;
use crate::scheduler::state::{Member, State};

/// The pure core of one coordinator process.
pub struct Node {
    replica: Replica,
    state: State,
    applied: u64,
    /// Bytes of the entries applied since the last snapshot.
    log_bytes: usize,
    settings: Settings,
    /// This process's run; proposals of an earlier run answer nobody.
    run: u64,
    next_proposal: u64,
    waiting: BTreeMap<u64, Asker>,
    sessions: BTreeMap<SessionId, Session>,
    soft: Soft,
    outputs: Vec<Output>,
    last_tick: Option<Timestamp>,
}

/// Times that a cluster may choose.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub lease_ms: u64,
    /// A new leader grants nothing for so long, while agents say what they run.
    pub grace_ms: u64,
    /// Log entries after which a snapshot is taken.
    pub snapshot_entries: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lease_ms: 15_000, grace_ms: 2_000, snapshot_entries: 20_000 }
    }
}

/// The two clocks at the moment of an input.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic: leases, rates.
    pub mono: Timestamp,
    /// Unix time: stamps for people.
    pub wall: Timestamp,
}

/// One connection of an agent, numbered by the driver and never again.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SessionId(pub u64);

/// One question that waits for its answer, numbered by the driver.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u64);

/// What reaches a coordinator.
#[derive(Debug)]
pub enum Input {
    /// [`crate::replica::TICK_MS`] have passed.
    Tick,
    AgentArrived {
        session: SessionId,
        member: MemberId,
        address: String,
    },
    AgentSaid {
        session: SessionId,
        message: FromAgent,
    },
    AgentGone {
        session: SessionId,
    },
    Asked {
        id: RequestId,
        request: Request,
    },
    /// Outcomes of the same trainings in an earlier study, under this study's indices.
    Adopt {
        study: StudyId,
        rows: Vec<OutcomeRow>,
    },
    /// The driver drew the token; `text` is shown once and never kept.
    TokenMinted {
        id: RequestId,
        token: NewToken,
        text: String,
    },
    Join {
        id: RequestId,
        token_id: [u8; 6],
        secret_hash: [u8; 32],
        public_key: [u8; 32],
    },
}

/// What the driver must do.
#[derive(Debug, PartialEq)]
pub enum Output {
    ToAgent {
        session: SessionId,
        message: ToAgent,
    },
    CloseAgent {
        session: SessionId,
        why: String,
    },
    Answer {
        id: RequestId,
        response: Response,
    },
    /// Sign this key, or refuse it.
    Admission {
        id: RequestId,
        public_key: [u8; 32],
        member: Option<(MemberId, Member)>,
    },
    /// To be on disk at the latest with the next snapshot; the log can tell it again until then.
    Keep {
        study: StudyId,
        row: Box<OutcomeRow>,
    },
    MemberRemoved {
        member: MemberId,
    },
    MembersChanged,
}

/// Why this process must stop.
#[derive(Debug, Error)]
pub enum NodeError {
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error("the snapshot of the state cannot be written")]
    Snapshot { source: CodecError },
}

/// Who waits for a proposal.
enum Asker {
    Request(RequestId),
    Token(RequestId, String),
    Join(RequestId, [u8; 32]),
    Report(SessionId, Attempt),
    /// The leader itself.
    Nobody,
}

struct Session {
    member: MemberId,
    address: String,
    about: Option<AgentAbout>,
    offered: u32,
    /// Trials it ended, on this and earlier connections.
    complete: u64,
    failed: u64,
    heard: Timestamp,
}

/// What only the leader knows, and a new leader learns anew.
#[derive(Default)]
struct Soft {
    leading: bool,
    grants_from: Timestamp,
    queues: BTreeMap<StudyId, Queue>,
    leases: Leases,
    progress: BTreeMap<StudyId, Progress>,
    /// Outcomes proposed and not yet applied.
    proposed: BTreeSet<(StudyId, TrialIndex)>,
    /// What agents that left had done, for `agents`.
    gone: BTreeMap<MemberId, Session>,
}

impl Node {
    pub fn new(replica: Replica, state: State, applied: u64, settings: Settings, run: u64) -> Self {
        Self {
            replica,
            state,
            applied,
            log_bytes: 0,
            settings,
            run,
            next_proposal: 0,
            waiting: BTreeMap::new(),
            sessions: BTreeMap::new(),
            soft: Soft::default(),
            outputs: Vec::new(),
            last_tick: None,
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn is_leader(&self) -> bool {
        self.soft.leading
    }

    /// Takes one input. Follow with [`Node::ready`] until it has nothing more.
    pub fn step(&mut self, input: Input, now: Now) {
        match input {
            Input::Tick => self.tick(now),
            Input::AgentArrived { session, member, address } => {
                self.agent_arrived(session, member, address, now);
            }
            Input::AgentSaid { session, message } => self.agent_said(session, message, now),
            Input::AgentGone { session } => self.agent_gone(session),
            Input::Asked { id, request } => self.asked(id, request, now),
            Input::Adopt { study, rows } => self.adopt_outcomes(study, rows),
            Input::TokenMinted { id, token, text } => {
                self.propose(Command::CreateToken(token), Asker::Token(id, text));
            }
            Input::Join { id, token_id, secret_hash, public_key } => {
                let at = now.wall;
                let admission = Admission { token_id, secret_hash, public_key, at };
                self.propose(Command::Admit(admission), Asker::Join(id, public_key));
            }
        }
    }

    /// What must be on disk before [`Node::persisted`].
    pub fn ready(&mut self) -> Result<Option<Persist>, NodeError> {
        if let Some(persist) = self.replica.ready() {
            return Ok(Some(persist));
        }
        // A large state is written the more rarely.
        let trials: u64 = self.state.studies.values().map(|record| record.planned()).sum();
        let entries_max = self.settings.snapshot_entries.max(trials / 10);
        let long = self.replica.log_length() >= entries_max;
        if !long && self.log_bytes < LOG_BYTES_MAX {
            return Ok(None);
        }
        self.log_bytes = 0;
        let bytes = codec::encode(&self.state).map_err(|source| NodeError::Snapshot { source })?;
        let record: SnapshotRecord = self.replica.snapshot(self.applied, bytes)?;
        Ok(Some(Persist { snapshot: Some(record), ..Persist::default() }))
    }

    /// The last [`Node::ready`] is durable: applies what is committed and answers.
    pub fn persisted(&mut self, now: Now) -> Result<(), NodeError> {
        for entry in self.replica.persisted()? {
            self.apply(entry, now)?;
        }
        self.follow_leadership(now);
        Ok(())
    }

    /// Grants what may be granted. Called once after a group of inputs.
    pub fn settle(&mut self, now: Now) {
        if self.soft.leading && now.mono >= self.soft.grants_from {
            self.grant(now);
        }
    }

    /// What is to be done, in order.
    pub fn outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    fn tick(&mut self, now: Now) {
        self.replica.tick();
        let stall = self.last_tick.is_some_and(|last| now.mono.since_ms(last) > STALL_MS);
        self.last_tick = Some(now.mono);
        if !self.soft.leading {
            return;
        }
        if stall {
            // This process slept: nobody could renew, so nobody is late.
            self.soft.leases.restart(now.mono.plus_ms(self.settings.lease_ms));
        }
        self.expire_leases(now);
    }

    fn propose(&mut self, command: Command, asker: Asker) {
        let number = self.next_proposal;
        self.next_proposal += 1;
        let proposed = command.encode().map_err(|error| error.to_string()).and_then(|bytes| {
            let proposal = Proposal { run: self.run, number };
            self.replica.propose(proposal, bytes).map_err(|error| error.to_string())
        });
        match proposed {
            Ok(()) => {
                self.waiting.insert(number, asker);
            }
            Err(why) => self.not_proposed(asker, why),
        }
    }

    fn not_proposed(&mut self, asker: Asker, why: String) {
        match asker {
            Asker::Request(id) | Asker::Token(id, _) => self.refuse(id, why),
            Asker::Join(id, public_key) => {
                self.outputs.push(Output::Admission { id, public_key, member: None });
            }
            // The agent keeps it in its spool and sends it again.
            Asker::Report(_, attempt) => {
                self.soft.proposed.remove(&(attempt.study, attempt.trial));
            }
            Asker::Nobody => {}
        }
    }

    fn refuse(&mut self, id: RequestId, why: impl Into<String>) {
        let response = Response::Refused { why: why.into() };
        self.outputs.push(Output::Answer { id, response });
    }

    fn apply(&mut self, entry: Committed, now: Now) -> Result<(), NodeError> {
        assert_eq!(entry.index, self.applied + 1, "entries are applied in order");
        self.applied = entry.index;
        self.log_bytes += entry.data.len();
        if entry.data.is_empty() {
            return Ok(());
        }
        let command = Command::decode(&entry.data)?;
        let ours = entry.proposal.filter(|proposal| proposal.run == self.run);
        let asker = ours.and_then(|proposal| self.waiting.remove(&proposal.number));
        let applied = self.state.apply(command);
        self.applied_softly(&applied, now);
        self.answer(asker.unwrap_or(Asker::Nobody), &applied);
        if let Applied::Ended { attempt, row, .. } = applied {
            self.outputs.push(Output::Keep { study: attempt.study, row });
        }
        Ok(())
    }

    /// Brings the leader's soft state in line with what was applied.
    fn applied_softly(&mut self, applied: &Applied, now: Now) {
        match applied {
            Applied::Submitted { study, .. } => self.open_queue(*study),
            Applied::Cancelled { study } => self.study_stopped(*study),
            Applied::Ended { attempt, .. } => {
                self.trial_ended(attempt);
                // What an earlier study knew says nothing about speed.
                if attempt.lease.term > 0 {
                    self.soft.progress.entry(attempt.study).or_default().ended(now.mono);
                }
                let state = self.state.studies.get(&attempt.study).map(|record| record.state);
                if state != Some(StudyState::Active) {
                    self.study_stopped(attempt.study);
                }
            }
            Applied::Again { attempt } => {
                let tally = self
                    .state
                    .studies
                    .get(&attempt.study)
                    .and_then(|record| record.tallies.get(&attempt.trial));
                let suspect = tally.is_some_and(|tally| tally.own + tally.losses > 1);
                self.trial_again(attempt, suspect);
            }
            // Its trial may be open: a failure told twice ends the lease it was told under.
            Applied::Late { attempt, .. } => self.trial_again(attempt, false),
            Applied::MemberRemoved { member } => {
                for lease in self.soft.leases.of_agent(*member) {
                    self.give_back(lease);
                }
                self.outputs.push(Output::MemberRemoved { member: *member });
                self.outputs.push(Output::MembersChanged);
            }
            Applied::Admission { member: Some(_) } => self.outputs.push(Output::MembersChanged),
            Applied::Admission { member: None }
            | Applied::TokenChanged
            | Applied::Nothing
            | Applied::Refused { .. } => {}
        }
    }

    fn answer(&mut self, asker: Asker, applied: &Applied) {
        let refused = match applied {
            Applied::Refused { why } => Some(*why),
            _ => None,
        };
        match asker {
            Asker::Request(id) => {
                let response = match (refused, applied) {
                    (Some(why), _) => Response::Refused { why: why.to_string() },
                    (None, Applied::Submitted { study, known }) => {
                        Response::Submitted { study: *study, known: *known }
                    }
                    (None, _) => Response::Done,
                };
                self.outputs.push(Output::Answer { id, response });
            }
            Asker::Token(id, token) => {
                self.outputs.push(Output::Answer { id, response: Response::Token { token } });
            }
            Asker::Join(id, public_key) => {
                let member = match applied {
                    Applied::Admission { member } => member.clone(),
                    _ => None,
                };
                self.outputs.push(Output::Admission { id, public_key, member });
            }
            Asker::Report(session, attempt) => self.acknowledge(session, attempt, applied),
            Asker::Nobody => {}
        }
    }

    /// Soft state begins with leadership and ends with it.
    fn follow_leadership(&mut self, now: Now) {
        let leading = self.replica.is_leader() && self.own_term_begun();
        if leading == self.soft.leading {
            return;
        }
        self.soft = Soft { leading, ..Soft::default() };
        if !leading {
            let waiting = std::mem::take(&mut self.waiting);
            for asker in waiting.into_values() {
                self.not_proposed(asker, "the leader changed; try again".to_string());
            }
            return;
        }
        let agents =
            self.state.members.values().any(|m| m.role == common::wire::message::Role::Agent);
        let grace_ms = if agents { self.settings.grace_ms } else { 0 };
        self.soft.grants_from = now.mono.plus_ms(grace_ms);
        let studies: Vec<StudyId> = self.state.studies.keys().copied().collect();
        studies.into_iter().for_each(|study| self.open_queue(study));
    }

    /// Whether this leader has applied an entry of its own term, and so knows all that was acknowledged.
    fn own_term_begun(&self) -> bool {
        self.replica.applied_term(self.applied) == self.replica.term()
    }

    fn open_queue(&mut self, study: StudyId) {
        if let Some(record) = self.state.studies.get(&study)
            && record.state == StudyState::Active
            && !self.soft.queues.contains_key(&study)
        {
            self.soft.queues.insert(study, Queue::new(&record.study));
        }
    }

    fn study_stopped(&mut self, study: StudyId) {
        self.soft.queues.remove(&study);
        for id in self.soft.leases.of_study(study) {
            if let Some(lease) = self.soft.leases.end(id) {
                self.tell_member(lease.agent, ToAgent::Revoke { lease: id });
            }
        }
    }

    /// A trial has ended, whoever trained it: no lease holds it any more.
    fn trial_ended(&mut self, attempt: &Attempt) {
        self.soft.proposed.remove(&(attempt.study, attempt.trial));
        if let Some((lease, agent)) = self.soft.leases.release(attempt.study, attempt.trial) {
            let superfluous = lease != attempt.lease && self.soft.leases.lease(lease).is_none();
            if superfluous {
                self.tell_member(agent, ToAgent::Revoke { lease });
            }
        }
    }

    /// This attempt is over. The trial waits again, unless it has ended or another lease holds it.
    fn trial_again(&mut self, attempt: &Attempt, suspect: bool) {
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
    fn give_back(&mut self, id: LeaseId) {
        let Some(lease) = self.soft.leases.end(id) else { return };
        if let Some(queue) = self.soft.queues.get_mut(&lease.study) {
            lease.trials.into_iter().for_each(|trial| queue.put_back(trial, false));
        }
    }

    fn tell(&mut self, session: SessionId, message: ToAgent) {
        self.outputs.push(Output::ToAgent { session, message });
    }

    fn tell_member(&mut self, member: MemberId, message: ToAgent) {
        let session =
            self.sessions.iter().rev().find(|(_, s)| s.member == member).map(|(id, _)| *id);
        if let Some(session) = session {
            self.tell(session, message);
        }
    }
}

/// Bytes of entries kept in memory and in the log before a snapshot is taken, whatever their number.
const LOG_BYTES_MAX: usize = 64 << 20;

/// A gap between two ticks after which this process must have been asleep.
const STALL_MS: u64 = 5_000;

#[cfg(test)]
mod tests;
