//! One coordinator without its I/O: the replica, the replicated state, and the leader's soft state.
//!
//! Inputs are stepped with the time they arrived at; what must be durable comes from
//! [`Node::ready`], and only after [`Node::persisted`] is anything applied or anybody answered. So
//! an outcome is acknowledged only after it is committed. Absent: clocks, sockets, files, randomness.
//!
//! Floor: core.

mod agents;
mod asks;
mod borrowed;
mod buying;
mod choosing;
pub mod counts;
mod explain;
mod grants;
mod health;
mod io;
mod labels;
mod logged;
mod logs;
mod members;
pub mod numbers;
mod peers;
mod promoting;
mod reads;
mod repeats;
mod searching;
mod soft;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use common::id::{LeaseId, ReplicaId, StudyId, TrialIndex};
use common::time::Timestamp;
use common::trial::Attempt;
use common::wire::codec::CodecError;
use common::wire::message::Response;
use common::wire::message::peer::{Leadership, SnapshotMeta};
use thiserror::Error;

use crate::planted::{Planted, planted};
use crate::replica::log::{Persist, SnapshotRecord};
use crate::replica::{Committed, Margin, Proposal, Replica, ReplicaError, Timing};
use crate::scheduler::command::{Command, Entry, EntryError, LEVEL, Origin};
use crate::scheduler::lease::Lease;
use crate::scheduler::state::{Reply, State};
use crate::scheduler::{Applied, Ended, reply};

pub use io::{Enrolment, Input, Join, Now, Output, RequestId, Room, SessionId};
pub use peers::OwnFacts;

use agents::Session;
use counts::Counting;
use peers::Peers;
use reads::Reads;
use soft::Soft;

/// The pure core of one coordinator process.
pub struct Node {
    replica: Replica,
    state: State,
    /// Bytes of the entries applied since the last snapshot.
    log_bytes: usize,
    /// The last entry that a snapshot of this life covers.
    snapshot_index: u64,
    settings: Settings,
    /// This process's run; proposals of an earlier run answer nobody.
    run: u64,
    next_proposal: u64,
    waiting: BTreeMap<u64, Asker>,
    sessions: BTreeMap<SessionId, Session>,
    soft: Soft,
    peers: Peers,
    reads: Reads,
    room: Room,
    outputs: Vec<Output>,
    last_tick: Option<Timestamp>,
    counting: Counting,
}

/// What a cluster may choose.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub lease_ms: u64,
    /// A new leader grants nothing for so long, while agents say what they run; longer, up to a
    /// lease, while they still come.
    pub grace_ms: u64,
    /// Log entries after which a snapshot is taken.
    pub snapshot_entries: u64,
    /// What of the log stays before a snapshot, for followers that lag.
    pub margin: Margin,
    /// Entries between two comparisons of the replicas' states.
    pub digest_entries: u64,
    pub timing: Timing,
    /// Kinds of log entries that this program knows.
    pub level: u16,
    pub planted: Planted,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease_ms: 15_000,
            grace_ms: 2_000,
            snapshot_entries: 20_000,
            margin: Margin { entries: 5_000, bytes: 16 << 20 },
            digest_entries: 1_000,
            timing: Timing::default(),
            level: LEVEL,
            planted: Planted::default(),
        }
    }
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
    #[error("the snapshot that the leader sent is no state of this program's; install its version")]
    Installed,
    #[error(
        "this replica's state after entry {index} is not that of the others: it may be a fault of \
         its memory or disk, or of the program; start it anew in an empty folder, and report this"
    )]
    Diverged { index: u64 },
}

/// Who waits for a proposal.
enum Asker {
    Request(RequestId),
    Join(RequestId, [u8; 32]),
    Reports(SessionId, Vec<Attempt>),
    /// Attempts whose lease ran out.
    Lost(Vec<Attempt>),
    Enrol(RequestId, ReplicaId),
    /// The leader itself, which asks again when nothing comes of it.
    Nobody,
}

impl Node {
    /// `state` is that of the replica's snapshot.
    pub fn new(replica: Replica, state: State, settings: Settings, run: u64) -> Self {
        let snapshot_index = state.applied;
        Self {
            replica,
            state,
            log_bytes: 0,
            snapshot_index,
            settings,
            run,
            next_proposal: 0,
            waiting: BTreeMap::new(),
            sessions: BTreeMap::new(),
            soft: Soft::default(),
            peers: Peers::default(),
            reads: Reads::default(),
            room: Room::Plenty,
            outputs: Vec::new(),
            last_tick: None,
            counting: Counting::default(),
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    pub fn is_leader(&self) -> bool {
        self.soft.leading
    }

    /// The leases of this leader, and when it last looked at them; for those who check them.
    pub fn leases(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.soft.leases.all()
    }

    pub fn last_tick(&self) -> Timestamp {
        self.last_tick.unwrap_or_default()
    }

    /// Who leads, for those who want to know.
    pub fn leadership(&self) -> Leadership {
        Leadership {
            term: self.replica.term(),
            leader: self.leader_address(),
            addresses: self.state.addresses(),
        }
    }

    fn leader_address(&self) -> Option<String> {
        self.state.address_of(self.replica.leader()?)
    }

    /// Takes one input. Follow with [`Node::ready`] until it has nothing more.
    pub fn step(&mut self, input: Input, now: Now) {
        self.counting.is_now(now);
        match input {
            Input::Tick => self.tick(now),
            Input::AgentArrived { session, member, address } => {
                self.agent_arrived(session, member, address, now);
            }
            Input::AgentSaid { session, message } => self.agent_said(session, message, now),
            Input::AgentGone { session } => self.agent_gone(session),
            Input::Asked { id, who, ask } => self.asked(id, who, ask, now),
            Input::Adopt { study, rows } => self.adopt_outcomes(study, rows),
            Input::Join { id, token_id, secret_hash, public_key } => {
                self.join(id, token_id, secret_hash, public_key, now);
            }
            Input::Enrol { id, replica, address, level } => {
                self.enrol(id, replica, address, level);
            }
            Input::PeerSaid { from, message } => self.peer_said(from, message, now),
            Input::SnapshotArrived { message, state } => self.snapshot_arrived(*message, state),
            Input::SnapshotSent { to, number, arrived } => {
                self.snapshot_sent(to, number, arrived);
            }
            Input::Unreachable { to } => self.replica.unreachable(to),
            Input::Parked { member, attempt, digest } => self.parked(member, attempt, digest),
            Input::Room(room) => self.room_is(room),
            Input::HandOver => self.hand_over(),
        }
    }

    /// What must be on disk before [`Node::persisted`]. Outputs that are there already need not wait.
    pub fn ready(&mut self) -> Result<Option<Persist>, NodeError> {
        let persist = match self.replica.ready() {
            Some(persist) => Some(persist),
            None => self.snapshot_due()?,
        };
        self.send_raft();
        Ok(persist)
    }

    /// A snapshot when the log is long, or when a follower needs one.
    fn snapshot_due(&mut self) -> Result<Option<Persist>, NodeError> {
        let wanted = self.replica.wants_snapshot() && !self.peers.is_sending();
        // A large state is written the more rarely.
        let entries_max = self.settings.snapshot_entries.max(self.state.planned() / 10);
        let entries = self.state.applied - self.snapshot_index;
        let long = entries >= entries_max || self.log_bytes >= LOG_BYTES_MAX;
        if !wanted && !long {
            return Ok(None);
        }
        self.log_bytes = 0;
        self.snapshot_index = self.state.applied;
        let bytes = self.state.encode().map_err(|source| NodeError::Snapshot { source })?;
        if wanted {
            self.peers.offers(self.last_tick.unwrap_or_default());
        }
        let margin = self.settings.margin;
        Ok(Some(self.replica.snapshot(self.state.applied, bytes, margin, wanted)?))
    }

    /// The last [`Node::ready`] is durable: applies what is committed and answers.
    pub fn persisted(&mut self, now: Now) -> Result<(), NodeError> {
        let progress = self.replica.persisted()?;
        self.send_raft();
        if let Some(record) = progress.installed {
            self.install(record)?;
        }
        for entry in progress.committed {
            self.apply(entry, now)?;
        }
        if progress.kept {
            self.outputs.push(Output::MembersChanged);
        }
        self.follow_leadership(now);
        self.answer_reads(now);
        Ok(())
    }

    /// Grants what may be granted. Called once after a group of inputs.
    pub fn settle(&mut self, now: Now) {
        self.counting.is_now(now);
        let room = self.room == Room::Plenty || planted!(self.settings.planted, Full);
        self.choose_what_is_ready(false);
        self.propose_tries(false);
        self.buy_what_is_due(false, now);
        if self.soft.leading && now.mono >= self.soft.grants_from && room {
            self.grant_repeats(now);
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
        if stall {
            // This process slept: nobody could renew, so nobody is late, and another may lead.
            self.soft.leases.restart(now.mono.plus_ms(self.settings.lease_ms));
            if self.replica.voters().voters.len() > 1 {
                self.replica.step_down();
            }
        }
        self.ask_reads_again(now);
        self.tick_peers(now);
        if self.soft.leading {
            self.expire_leases(now);
            self.answer_late_logs(now);
            self.tend_repeats(now);
            self.tend_members(now);
            self.choose_again(now);
            self.tend_buying(now);
        }
    }

    fn propose(&mut self, command: Command, asker: Asker) {
        self.propose_for(None, command, asker);
    }

    fn propose_for(&mut self, origin: Option<Origin>, command: Command, asker: Asker) {
        let number = self.next_proposal;
        self.next_proposal += 1;
        let allowed = self.within_level(&command);
        let entry = Entry { origin, command };
        let encoded = allowed.and_then(|()| entry.encode().map_err(|error| error.to_string()));
        let proposed = encoded.and_then(|bytes| {
            if bytes.len() > ENTRY_BYTES_MAX {
                return Err(format!("this is longer than the log takes, {ENTRY_BYTES_MAX} bytes"));
            }
            let proposal = Proposal { run: self.run, number };
            Ok(self.replica.propose(proposal, bytes))
        });
        match proposed {
            Ok(Ok(())) => {
                self.counting.proposed(number);
                self.waiting.insert(number, asker);
            }
            Ok(Err(_)) => self.not_proposed(asker),
            Err(why) => match asker {
                Asker::Request(id) => self.refuse(id, why),
                asker => self.not_proposed(asker),
            },
        }
    }

    /// It will not be in the log: whoever asked must ask again, perhaps elsewhere.
    fn not_proposed(&mut self, asker: Asker) {
        match asker {
            Asker::Request(id) => self.elsewhere(id),
            Asker::Join(id, public_key) => {
                let join = Join::Elsewhere(self.leadership());
                self.outputs.push(Output::Admission { id, public_key, join });
            }
            // The agent keeps them in its spool, and sends them again when it has connected anew.
            Asker::Reports(session, attempts) => {
                for attempt in attempts {
                    self.soft.proposed.remove(&(attempt.study, attempt.trial));
                }
                if !planted!(self.settings.planted, Dropped) {
                    self.let_go(session);
                }
            }
            Asker::Lost(attempts) => {
                if !planted!(self.settings.planted, Forgotten) {
                    attempts.iter().for_each(|attempt| self.trial_again(attempt, false));
                }
            }
            Asker::Enrol(id, _) => self.enrol_elsewhere(id),
            Asker::Nobody => {}
        }
    }

    fn refuse(&mut self, id: RequestId, why: impl Into<String>) {
        self.answer(id, Response::Refused { why: why.into() });
    }

    fn elsewhere(&mut self, id: RequestId) {
        let leader = self.leader_address();
        self.answer(id, Response::Elsewhere { leader });
    }

    fn apply(&mut self, entry: Committed, now: Now) -> Result<(), NodeError> {
        self.log_bytes += entry.data.len();
        if entry.data.is_empty() {
            self.state.pass(entry.index);
            if entry.change.is_some() {
                self.outputs.push(Output::MembersChanged);
            }
        } else {
            let mut command = Entry::decode(&entry.data)?;
            if planted!(self.settings.planted, Twice) {
                command.origin = None;
            }
            let level = command.command.level();
            if level > self.settings.level {
                return Err(EntryError::Level { level, known: self.settings.level }.into());
            }
            let ours = entry.proposal.filter(|proposal| proposal.run == self.run);
            let number = ours.map(|proposal| proposal.number);
            let asker = number.and_then(|number| self.waiting.remove(&number));
            #[cfg(feature = "planted")]
            self.overwrite(&command.command);
            let applied = self.state.apply(entry.index, command);
            self.counting.applied(number, &applied, self.soft.leading, now);
            self.applied_softly(&applied, now);
            self.acted(asker.unwrap_or(Asker::Nobody), &applied);
            self.keep(applied)?;
        }
        self.note_digest(now);
        Ok(())
    }

    /// The planted fault that lets a second outcome take the place of the first.
    #[cfg(feature = "planted")]
    fn overwrite(&mut self, command: &Command) {
        use crate::scheduler::command::Item;
        use common::wire::message::{OutcomeRow, RowEnd};
        let Command::Reports { agent, at, items } = command else { return };
        if !planted!(self.settings.planted, Fence) {
            return;
        }
        for item in items {
            if let Item::Complete { attempt, outcome } = item {
                let (trial, end) = (attempt.trial, RowEnd::Complete((**outcome).clone()));
                let row = Box::new(OutcomeRow { trial, ended: *at, agent: *agent, end });
                self.outputs.push(Output::Keep { study: attempt.study, row });
            }
        }
    }

    /// What of an applied entry belongs on the disk, and what it says about this replica.
    fn keep(&mut self, applied: Applied) -> Result<(), NodeError> {
        match applied {
            Applied::Reported(ended) => {
                for ended in ended {
                    if let Ended::Trial { attempt, row, .. } = ended {
                        self.outputs.push(Output::Keep { study: attempt.study, row });
                    }
                }
            }
            Applied::Retried { study, trials } => {
                let drop = |trial: TrialIndex| Output::Drop { study, trial };
                self.outputs.extend(trials.into_iter().map(drop));
            }
            Applied::Digests { index, of } => self.compare_digests(index, &of)?,
            Applied::LevelRaised if self.state.level > self.settings.level => {
                let (level, known) = (self.state.level, self.settings.level);
                return Err(EntryError::Level { level, known }.into());
            }
            _ => {}
        }
        Ok(())
    }

    /// The leader's snapshot takes the place of this replica's state.
    fn install(&mut self, record: SnapshotRecord) -> Result<(), NodeError> {
        let SnapshotRecord { meta: SnapshotMeta { index, .. }, state } = record;
        let state = State::decode(&state).ok_or(NodeError::Installed)?;
        if state.applied != index {
            return Err(NodeError::Installed);
        }
        if state.level > self.settings.level {
            let (level, known) = (state.level, self.settings.level);
            return Err(EntryError::Level { level, known }.into());
        }
        self.state = state;
        self.snapshot_index = index;
        self.log_bytes = 0;
        self.peers.digests.clear();
        self.outputs.push(Output::Installed);
        self.outputs.push(Output::MembersChanged);
        Ok(())
    }

    /// Brings the leader's soft state in line with what was applied.
    fn applied_softly(&mut self, applied: &Applied, now: Now) {
        match applied {
            Applied::Submitted { study, .. } => self.open_queue(*study),
            Applied::Resumed { study } => self.open_queue(*study),
            Applied::Cancelled { study } => {
                self.study_stopped(*study);
                self.stop_repeats(*study);
            }
            Applied::Retried { study, trials } => self.trials_wait_again(*study, trials),
            Applied::Extended { study, .. } => self.study_grew(*study),
            Applied::Chosen { study, chosen } => self.chose(*study, chosen),
            Applied::Decided { study, over: true, .. } => self.study_stopped(*study),
            Applied::Decided { study, opened, .. } => self.trials_wait_again(*study, opened),
            Applied::Proposed { study, proposed } => self.tries_decided(*study, proposed),
            Applied::Promoted { study, promoted, opened } => {
                self.promoted(*study, promoted, opened);
            }
            Applied::Reported(ended) => ended.iter().for_each(|ended| self.ended(ended, now)),
            Applied::MemberRemoved { member } => {
                for lease in self.soft.leases.of_agent(*member) {
                    self.give_back(lease);
                }
                self.outputs.push(Output::MemberRemoved { member: *member });
                self.outputs.push(Output::MembersChanged);
            }
            Applied::Admission { admitted: Some(_) } => self.outputs.push(Output::MembersChanged),
            Applied::ReplicaPlaced { .. } | Applied::ReplicaRemoved { .. } => {
                self.outputs.push(Output::MembersChanged);
                self.replicas_changed();
            }
            _ => {}
        }
    }

    /// An entry that somebody waited for is applied.
    fn acted(&mut self, asker: Asker, applied: &Applied) {
        match asker {
            Asker::Request(id) => {
                let response = match reply(applied) {
                    Reply::Done => Response::Done,
                    Reply::Submitted { study, known } => Response::Submitted { study, known },
                    Reply::Retried { count } => {
                        let trials = match applied {
                            Applied::Retried { trials, .. } => asks::first_of(trials),
                            _ => Vec::new(),
                        };
                        Response::Retried { trials, count }
                    }
                    Reply::Extended { gained } => Response::Extended { gained },
                    Reply::Looked { number } => Response::Looked { number: Some(number) },
                    Reply::Refused { why } => Response::Refused { why },
                };
                self.answer(id, response);
            }
            Asker::Join(id, public_key) => {
                let join = match applied {
                    Applied::Admission { admitted: Some(admitted) } => {
                        Join::Admitted(admitted.clone())
                    }
                    _ => Join::Refused,
                };
                self.outputs.push(Output::Admission { id, public_key, join });
            }
            Asker::Reports(session, attempts) => self.reported(session, &attempts, applied),
            Asker::Enrol(id, replica) => self.enrolled(id, replica, applied),
            Asker::Lost(_) | Asker::Nobody => {}
        }
    }

    /// Soft state begins with leadership and ends with it.
    fn follow_leadership(&mut self, now: Now) {
        let leading = self.replica.is_leader() && self.own_term_begun();
        if leading == self.soft.leading {
            return;
        }
        self.drop_log_asks();
        self.unpark_every();
        self.soft = Soft { leading, began: now.mono, ..Soft::default() };
        if !leading {
            self.counting.forget_proposals();
            let waiting = std::mem::take(&mut self.waiting);
            waiting.into_values().for_each(|asker| self.not_proposed(asker));
            let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
            sessions.into_iter().for_each(|session| self.let_go(session));
            return;
        }
        self.peers.found.clear();
        let agents =
            self.state.members.values().any(|m| m.role == common::wire::message::Role::Agent);
        let grace_ms = if agents { self.settings.grace_ms } else { 0 };
        self.soft.grants_from = now.mono.plus_ms(grace_ms);
        let studies: Vec<StudyId> = self.state.studies.keys().copied().collect();
        studies.into_iter().for_each(|study| self.open_queue(study));
    }

    /// Whether this leader has applied an entry of its own term, and so knows all that was acknowledged.
    fn own_term_begun(&self) -> bool {
        self.replica.applied_term(self.state.applied) == self.replica.term()
    }
}

/// Bytes of entries kept in memory and in the log before a snapshot is taken, whatever their number.
const LOG_BYTES_MAX: usize = 64 << 20;

/// An entry must fit a frame between replicas, with what is around it.
const ENTRY_BYTES_MAX: usize = common::wire::frame::FRAME_MAX - (4 << 10);

/// A gap between two ticks after which this process must have been asleep.
const STALL_MS: u64 = 5_000;
