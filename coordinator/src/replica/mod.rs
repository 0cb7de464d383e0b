//! One Raft replica without its I/O: proposals and messages in, what to persist, send and apply out.
//!
//! The order of `Ready` is kept here and nowhere else: snapshot, entries and vote are durable in one
//! commit before any message that waits for them leaves, before anything is applied and before
//! anybody is answered. A change of the membership takes effect when it is applied. The entry of the next
//! change is durable together with a commit mark that covers this one, so that a restarted replica is
//! at most one change behind, and majorities of two such memberships meet. Absent: disk, sockets,
//! clocks (ticks are told), and Raft's types outside this folder.
//!
//! Floor: core.

mod filter;
pub mod incoming;
pub mod log;
mod mirror;
mod store;
#[cfg(test)]
mod tests;

use common::id::ReplicaId;
use common::seed::mix;
use common::wire::codec;
use common::wire::message::peer::RaftKind;
use raft::eraftpb::{Entry, Snapshot};
use raft::{Config, ProgressState, RawNode, SnapshotStatus, StateRole};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use slog::Logger;

use crate::planted::{Planted, planted};
use log::{
    Base, Change, EntryKind, LogEntry, Persist, RaftMessage, Recovered, Save, SnapshotMeta,
    SnapshotRecord, Source, Voters,
};
use store::Store;

pub use filter::Nonsense;

/// One replica. Drive it by [`Replica::ready`] until it has nothing more.
pub struct Replica {
    id: ReplicaId,
    raw: RawNode<Store>,
    in_flight: InFlight,
    outgoing: Vec<RaftMessage>,
    reads: Vec<ReadState>,
    timing: Timing,
    /// Who belongs to the cluster as far as the disk says that it is decided. Raft learns of a commit
    /// before the disk does, and after a crash it would need a replica again that was let go since.
    kept: Voters,
    /// The last change of the membership, while the disk has it as an entry that may yet be undone.
    unkept: Option<u64>,
    /// The commit mark on the disk.
    kept_commit: u64,
}

/// What is between the disk and [`Replica::persisted`].
enum InFlight {
    Nothing,
    /// With the commit mark that is written beside it, if one is.
    Ready(Box<raft::Ready>, Option<u64>),
    /// The commit mark alone.
    Mark(u64),
    /// A snapshot of this replica's own.
    Snapshot {
        meta: SnapshotMeta,
        base: Base,
        offered: bool,
    },
}

/// How long elections take, in ticks of [`TICK_MS`].
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub election_ticks: usize,
    pub heartbeat_ticks: usize,
    /// Draws election timeouts from this seed instead of the system's randomness.
    pub seed: Option<u64>,
    pub planted: Planted,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: HEARTBEAT_TICKS,
            seed: None,
            planted: Planted::default(),
        }
    }
}

/// Which proposal an entry was: its proposer's run and a number within it, so that after a restart
/// no entry answers a stranger's question.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Proposal {
    pub run: u64,
    pub number: u64,
}

/// A committed entry, to be applied in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    pub index: u64,
    pub term: u64,
    /// Empty for the entry with which a leader begins its term, and for changes of the membership.
    pub data: Vec<u8>,
    pub proposal: Option<Proposal>,
    pub change: Option<Change>,
}

/// What a durable `Ready` lets happen, in this order.
#[derive(Debug, Default)]
pub struct Progress {
    /// The leader's snapshot, which takes the place of the whole state.
    pub installed: Option<SnapshotRecord>,
    pub committed: Vec<Committed>,
    /// The disk has the membership as it is now: [`Replica::kept_voters`] changed.
    pub kept: bool,
}

/// A read that was asked for under `context` is from no past when `index` is applied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReadState {
    pub context: ReadContext,
    pub index: u64,
}

/// Names one read over all replicas and their lives.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ReadContext {
    pub run: u64,
    pub number: u64,
}

/// How far another replica is, as the leader knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Follower {
    pub matched: u64,
    pub is_active: bool,
    /// Whether it is being sent a snapshot.
    pub in_snapshot: bool,
}

/// Why a replica cannot go on.
#[derive(Debug, Error)]
pub enum ReplicaError {
    #[error("the replicated log refused: {source}")]
    Raft {
        #[from]
        source: raft::Error,
    },
    #[error("the log holds a change of the membership that cannot be read")]
    Change,
    #[error("no replica that keeps to the protocol sends this: {source}")]
    Nonsense {
        #[from]
        source: Nonsense,
    },
    #[error("there is no leader; try again")]
    NoLeader,
}

impl Replica {
    /// A replica as its disk remembers it.
    pub fn new(
        id: ReplicaId,
        recovered: Recovered,
        timing: Timing,
        logger: &Logger,
    ) -> Result<Self, ReplicaError> {
        let meta = recovered.snapshot.meta.clone();
        let kept_commit = recovered.vote.commit.max(meta.index);
        let config = Config {
            id: id.0.get(),
            election_tick: timing.election_ticks,
            heartbeat_tick: timing.heartbeat_ticks,
            applied: meta.index,
            max_size_per_msg: MESSAGE_BYTES,
            max_inflight_msgs: 256,
            check_quorum: true,
            pre_vote: true,
            ..Config::default()
        };
        let raw = RawNode::new(&config, Store::new(recovered), logger)?;
        let mut replica = Self {
            id,
            raw,
            in_flight: InFlight::Nothing,
            outgoing: Vec::new(),
            reads: Vec::new(),
            timing,
            kept: meta.voters.clone(),
            unkept: None,
            kept_commit,
        };
        if meta.voters.voters == [id.0.get()] {
            // Nobody else can vote, so there is nothing to wait for. Refused while the log has a
            // change of the membership that is committed and not applied.
            replica.raw.campaign()?;
        }
        replica.draw_timeout();
        Ok(replica)
    }

    pub fn id(&self) -> ReplicaId {
        self.id
    }

    pub fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    pub fn leader(&self) -> Option<ReplicaId> {
        mirror::replica(self.raw.raft.leader_id)
    }

    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    pub fn commit(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    pub fn last_index(&self) -> u64 {
        self.raw.raft.raft_log.last_index()
    }

    /// The term of an applied entry; 0 when the log no longer knows it.
    pub fn applied_term(&self, index: u64) -> u64 {
        self.raw.raft.raft_log.term(index).unwrap_or_default()
    }

    /// Entries in memory and on disk.
    pub fn log_length(&self) -> u64 {
        self.last_index().saturating_sub(self.raw.store().base().index)
    }

    /// Who votes and who learns, as of the last entry that was handed out.
    pub fn voters(&self) -> Voters {
        mirror::voters_of(self.raw.store().conf())
    }

    /// The same as far as no crash can undo it here.
    pub fn kept_voters(&self) -> &Voters {
        &self.kept
    }

    /// How far a follower is; `None` unless this replica leads and knows it.
    pub fn follower(&self, id: ReplicaId) -> Option<Follower> {
        if !self.is_leader() {
            return None;
        }
        let progress = self.raw.raft.prs().get(id.0.get())?;
        Some(Follower {
            matched: progress.matched,
            is_active: progress.recent_active,
            in_snapshot: progress.state == ProgressState::Snapshot,
        })
    }

    /// Time has passed: one Raft tick ([`TICK_MS`]).
    pub fn tick(&mut self) {
        let view = self.view();
        if !view.is_persisted && !view.leads && self.voters().voters == [view.own] {
            // It would elect itself at once, which raft allows only with all of the log on the disk.
            return;
        }
        self.raw.tick();
        self.draw_timeout();
    }

    /// Takes another replica's message. `state` is what came with a snapshot. After an error nothing
    /// has changed.
    pub fn step(&mut self, message: RaftMessage, state: Vec<u8>) -> Result<(), ReplicaError> {
        filter::check(&message, &self.view())?;
        if message.kind == RaftKind::ReadIndex && !self.is_leader() {
            // Raft would send it on in its sender's name. Who asks hears nothing, and asks again.
            return Ok(());
        }
        match self.raw.step(mirror::message_to_raft(message, state)) {
            // An answer from one that is no member any more, or not yet.
            Err(raft::Error::StepPeerNotFound) => {}
            result => result?,
        }
        self.draw_timeout();
        Ok(())
    }

    fn view(&self) -> filter::View {
        let last = self.last_index();
        filter::View {
            own: self.id.0.get(),
            term: self.term(),
            last,
            is_persisted: self.raw.raft.raft_log.persisted == last,
            leads: self.is_leader(),
        }
    }

    /// Asks for an entry. It may vanish around an election: whoever asked must ask again.
    pub fn propose(&mut self, proposal: Proposal, data: Vec<u8>) -> Result<(), ReplicaError> {
        if !self.is_leader() {
            return Err(ReplicaError::NoLeader);
        }
        let mut context = Vec::with_capacity(16);
        context.extend_from_slice(&proposal.run.to_be_bytes());
        context.extend_from_slice(&proposal.number.to_be_bytes());
        Ok(self.raw.propose(context, data)?)
    }

    /// Asks for a change of the membership; one at a time, what is asked beside it comes to nothing.
    pub fn propose_change(&mut self, change: Change) -> Result<(), ReplicaError> {
        let context = codec::encode(&change).map_err(|_| ReplicaError::Change)?;
        Ok(self.raw.propose_conf_change(context, mirror::change_to_raft(change))?)
    }

    /// Asks whether a read now would be from the past; see [`Replica::take_reads`]. The question may
    /// vanish around an election: ask again.
    pub fn ask_to_read(&mut self, context: ReadContext) {
        let mut bytes = context.run.to_be_bytes().to_vec();
        bytes.extend_from_slice(&context.number.to_be_bytes());
        self.raw.read_index(bytes);
    }

    pub fn take_reads(&mut self) -> Vec<ReadState> {
        std::mem::take(&mut self.reads)
    }

    /// Hands leadership to another voter, if it keeps up.
    pub fn hand_over(&mut self, to: ReplicaId) {
        self.raw.transfer_leader(to.0.get());
    }

    /// Leads no longer.
    pub fn step_down(&mut self) {
        if self.is_leader() {
            let term = self.term();
            self.raw.raft.become_follower(term, 0);
            self.draw_timeout();
        }
    }

    /// A message to `to` was not sent.
    pub fn unreachable(&mut self, to: ReplicaId) {
        self.raw.report_unreachable(to.0.get());
    }

    /// A snapshot for `to` has arrived there, or has not. Without it that follower waits for ever.
    pub fn snapshot_sent(&mut self, to: ReplicaId, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raw.report_snapshot(to.0.get(), status);
    }

    /// Messages that may leave now.
    pub fn take_messages(&mut self) -> Vec<RaftMessage> {
        std::mem::take(&mut self.outgoing)
    }

    /// What must be durable before [`Replica::persisted`] is called; `None` when there is nothing to do.
    /// Messages that need not wait for it are ready to be taken.
    pub fn ready(&mut self) -> Option<Persist> {
        assert!(
            matches!(self.in_flight, InFlight::Nothing),
            "a Ready is persisted before the next one is taken"
        );
        if !self.raw.has_ready() {
            let vote = mirror::vote_of(&self.raw.raft.hard_state());
            self.unkept?;
            self.in_flight = InFlight::Mark(vote.commit);
            return Some(Persist { entries: Vec::new(), vote: Some(vote), snapshot: None });
        }
        let mut ready = self.raw.ready();
        self.reads.extend(ready.take_read_states().iter().filter_map(read_state));
        let messages = ready.take_messages();
        self.send(&messages);
        let snapshot = (!ready.snapshot().is_empty())
            .then(|| Save { record: record_of(ready.snapshot()), source: Source::Leader });
        let entries: Vec<LogEntry> = ready.entries().iter().map(mirror::entry_of).collect();
        let anything = ready.hs().is_some() || snapshot.is_some() || !entries.is_empty();
        let mark = anything || self.unkept.is_some();
        let vote = mark.then(|| mirror::vote_of(&self.raw.raft.hard_state()));
        let commit = vote.as_ref().map(|vote| vote.commit);
        self.in_flight = InFlight::Ready(Box::new(ready), commit);
        Some(Persist { entries, vote, snapshot })
    }

    /// The last [`Replica::ready`] is on disk. Returns what may be applied now, in order.
    pub fn persisted(&mut self) -> Result<Progress, ReplicaError> {
        let mut progress = Progress::default();
        let mut committed = Vec::new();
        match std::mem::replace(&mut self.in_flight, InFlight::Nothing) {
            InFlight::Nothing => {}
            InFlight::Mark(commit) => self.kept_commit = self.kept_commit.max(commit),
            InFlight::Snapshot { meta, base, offered } => {
                self.kept_commit = self.kept_commit.max(meta.index);
                self.raw.mut_store().compact(base);
                if offered {
                    self.raw.mut_store().offer(meta);
                }
            }
            InFlight::Ready(ready, commit) => {
                self.kept_commit = self.kept_commit.max(commit.unwrap_or_default());
                progress.installed = self.advance(*ready, &mut committed);
            }
        }
        progress.committed = self.release(committed)?;
        let kept = self.unkept.is_some_and(|index| index <= self.kept_commit);
        if kept || progress.installed.is_some() {
            self.unkept = self.unkept.filter(|_| !kept);
            self.kept = self.voters();
            progress.kept = true;
        }
        Ok(progress)
    }

    fn advance(
        &mut self,
        mut ready: raft::Ready,
        committed: &mut Vec<Entry>,
    ) -> Option<SnapshotRecord> {
        let mut installed = None;
        let commit = self.raw.raft.hard_state().commit;
        if !ready.snapshot().is_empty() {
            let record = record_of(ready.snapshot());
            self.raw.mut_store().restore(&record.meta);
            installed = Some(record);
        }
        let wrote = ready.hs().is_some() || installed.is_some() || !ready.entries().is_empty();
        let entries = ready.take_entries();
        self.raw.mut_store().append(&entries);
        if let Some(state) = ready.hs() {
            self.raw.mut_store().set_hard(state.clone());
        }
        if wrote {
            self.raw.mut_store().commit_to(commit);
        }
        committed.extend(ready.take_committed_entries());
        let messages = ready.take_persisted_messages();
        self.send(&messages);
        let mut light = self.raw.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            self.raw.mut_store().commit_to(commit);
        }
        committed.extend(light.take_committed_entries());
        let messages = light.take_messages();
        self.send(&messages);
        if let Some(record) = &installed {
            self.raw.advance_apply_to(record.meta.index);
        }
        installed
    }

    /// What is committed, with changes of the membership in effect.
    fn release(&mut self, committed: Vec<Entry>) -> Result<Vec<Committed>, ReplicaError> {
        let mut released = Vec::with_capacity(committed.len());
        for entry in committed {
            let own = mirror::entry_of(&entry);
            let mut change = None;
            if own.kind == EntryKind::Membership {
                let asked = mirror::change_in(&own.data).ok_or(ReplicaError::Change)?;
                let conf = self.raw.apply_conf_change(&mirror::change_to_raft(asked))?;
                self.raw.mut_store().set_conf(conf);
                self.unkept = Some(own.index);
                change = Some(asked);
            }
            self.raw.advance_apply_to(own.index);
            released.push(Committed::of(own, change));
        }
        self.draw_timeout();
        Ok(released)
    }

    /// A snapshot of everything up to `index`, which is applied, with `state` as the machine's bytes;
    /// it must be durable before the next [`Replica::ready`]. The log before it is shortened, but for
    /// what a follower may still need. `offered`: it is made to be sent to one.
    pub fn snapshot(
        &mut self,
        index: u64,
        state: Vec<u8>,
        margin: Margin,
        offered: bool,
    ) -> Result<Persist, ReplicaError> {
        let term = self.raw.raft.raft_log.term(index)?;
        let base = self.base_for(index, margin);
        let base = Base { index: base, term: self.raw.raft.raft_log.term(base)? };
        let mut voters = self.voters();
        if planted!(self.timing.planted, OldVoters) {
            voters.voters.truncate(1);
        }
        let meta = SnapshotMeta { index, term, voters };
        self.in_flight = InFlight::Snapshot { meta: meta.clone(), base, offered };
        let save =
            Save { record: SnapshotRecord { meta, state }, source: Source::Own { base, offered } };
        Ok(Persist { snapshot: Some(save), ..Persist::default() })
    }

    /// How far the log may be shortened when everything up to `index` is in a snapshot.
    fn base_for(&self, index: u64, margin: Margin) -> u64 {
        let store = self.raw.store();
        let Voters { voters, learners } = self.voters();
        if voters.len() + learners.len() < 2 {
            return index;
        }
        let kept = store.margin(index, margin.entries, margin.bytes);
        let slow = voters.iter().chain(&learners).filter_map(|id| {
            let follower = self.follower(mirror::replica(*id)?)?;
            (follower.is_active && !follower.in_snapshot).then_some(follower.matched)
        });
        let slowest = slow.min().unwrap_or(kept);
        let farthest = store.margin(index, margin.entries * SLOW, margin.bytes * SLOW as usize);
        slowest.clamp(farthest, kept).max(store.base().index)
    }

    /// Whether a follower needs a snapshot that has to be made first.
    pub fn wants_snapshot(&self) -> bool {
        self.raw.store().is_wanted() && self.is_leader()
    }

    /// The snapshot that followers can be sent.
    pub fn offered(&self) -> Option<u64> {
        self.raw.store().offered().map(|meta| meta.index)
    }

    /// No follower is sent the offered snapshot any more.
    pub fn withdraw(&mut self) {
        self.raw.mut_store().withdraw();
    }

    fn send(&mut self, messages: &[raft::eraftpb::Message]) {
        self.outgoing.extend(messages.iter().filter_map(mirror::message_of));
    }

    /// Draws the election timeout anew where it is not left to chance: from seed, replica and term.
    fn draw_timeout(&mut self) {
        if let Some(seed) = self.timing.seed {
            let range = self.timing.election_ticks as u64;
            let drawn = mix(seed ^ mix(self.id.0.get()) ^ mix(self.term() << 16)) % range;
            let ticks = self.timing.election_ticks + drawn as usize;
            self.raw.raft.set_randomized_election_timeout(ticks);
        }
    }
}

/// What of the log stays when it is shortened.
#[derive(Clone, Copy, Debug)]
pub struct Margin {
    pub entries: u64,
    pub bytes: usize,
}

fn record_of(snapshot: &Snapshot) -> SnapshotRecord {
    SnapshotRecord { meta: mirror::meta_of(snapshot), state: snapshot.data.to_vec() }
}

fn read_state(state: &raft::ReadState) -> Option<ReadState> {
    let (run, number) = words(&state.request_ctx)?;
    Some(ReadState { context: ReadContext { run, number }, index: state.index })
}

fn words(bytes: &[u8]) -> Option<(u64, u64)> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    let both = u128::from_be_bytes(bytes);
    Some(((both >> 64) as u64, both as u64))
}

impl Committed {
    fn of(entry: LogEntry, change: Option<Change>) -> Self {
        let proposal = words(&entry.context).map(|(run, number)| Proposal { run, number });
        let data = if entry.kind == EntryKind::Command { entry.data } else { Vec::new() };
        Self { index: entry.index, term: entry.term, data, proposal, change }
    }
}

/// Milliseconds a tick.
pub const TICK_MS: u64 = 50;
/// 0.7 to 1.4 seconds without a word from the leader.
const ELECTION_TICKS: usize = 14;
const HEARTBEAT_TICKS: usize = 2;
/// Entries of one message, so that it fits a frame.
const MESSAGE_BYTES: u64 = 256 << 10;
/// A follower that is heard of and lags holds back so many times the margin.
const SLOW: u64 = 4;
