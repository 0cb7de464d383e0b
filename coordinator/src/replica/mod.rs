//! One Raft replica without its I/O: proposals in, what to persist, send and apply out.
//!
//! The order of `Ready` is kept here and nowhere else: entries and vote are durable in one commit
//! before any message that waits for them leaves, before anything is applied and before anybody is
//! answered. Absent: disk, sockets, clocks (ticks are told), and Raft's types outside this folder.
//!
//! Floor: core.

pub mod log;

use std::num::NonZeroU64;

use common::id::ReplicaId;
use raft::eraftpb::{Entry, Snapshot};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};
use serde::{Deserialize, Serialize};
use slog::Logger;
use thiserror::Error;

use log::{EntryKind, LogEntry, Persist, Recovered, SnapshotRecord, Vote, Voters};

/// One replica. Drive it by [`Replica::ready`] until it has nothing more.
pub struct Replica {
    id: ReplicaId,
    raw: RawNode<MemStorage>,
    /// Entries between the disk and [`Replica::persisted`].
    in_flight: Option<raft::Ready>,
    compacted: u64,
    voters: Voters,
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
    /// Empty for the entry with which a leader begins its term.
    pub data: Vec<u8>,
    pub proposal: Option<Proposal>,
}

/// Why a replica cannot go on.
#[derive(Debug, Error)]
pub enum ReplicaError {
    #[error("the replicated log refused: {source}")]
    Raft {
        #[from]
        source: raft::Error,
    },
    #[error("there is no leader; try again")]
    NoLeader,
}

impl Replica {
    /// A replica as its disk remembers it.
    pub fn new(id: ReplicaId, recovered: Recovered) -> Result<Self, ReplicaError> {
        let Recovered { snapshot, vote, entries } = recovered;
        let storage = MemStorage::new();
        {
            let mut core = storage.wl();
            let mut base = Snapshot::default();
            base.mut_metadata().index = snapshot.index;
            base.mut_metadata().term = snapshot.term;
            *base.mut_metadata().mut_conf_state() = snapshot.voters.to_raft();
            if snapshot.index > 0 {
                core.apply_snapshot(base)?;
            }
            core.set_conf_state(snapshot.voters.to_raft());
            let entries: Vec<Entry> = entries.iter().map(LogEntry::to_raft).collect();
            core.append(&entries)?;
            // The vote's commit mark may lag behind a snapshot: it need not be durable by itself.
            let commit = vote.commit.max(snapshot.index);
            core.set_hardstate(Vote { commit, ..vote }.to_raft());
        }
        let config = Config {
            id: id.0.get(),
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: snapshot.index,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            check_quorum: true,
            pre_vote: true,
            ..Config::default()
        };
        let logger = Logger::root(slog::Discard, slog::o!());
        let mut raw = RawNode::new(&config, storage, &logger)?;
        if snapshot.voters.voters == [id.0.get()] {
            // Nobody else can vote, so there is nothing to wait for.
            raw.campaign()?;
        }
        Ok(Self { id, raw, in_flight: None, compacted: snapshot.index, voters: snapshot.voters })
    }

    pub fn id(&self) -> ReplicaId {
        self.id
    }

    pub fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    pub fn leader(&self) -> Option<ReplicaId> {
        NonZeroU64::new(self.raw.raft.leader_id).map(ReplicaId)
    }

    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    /// The term of an applied entry; 0 when the log no longer knows it.
    pub fn applied_term(&self, index: u64) -> u64 {
        self.raw.raft.raft_log.term(index).unwrap_or_default()
    }

    /// Entries in memory and on disk beyond the last snapshot.
    pub fn log_length(&self) -> u64 {
        self.raw.raft.raft_log.last_index().saturating_sub(self.compacted)
    }

    /// Time has passed: one Raft tick ([`TICK_MS`]).
    pub fn tick(&mut self) {
        self.raw.tick();
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

    /// What must be durable before [`Replica::persisted`] is called; `None` when there is nothing to do.
    pub fn ready(&mut self) -> Option<Persist> {
        assert!(self.in_flight.is_none(), "a Ready is persisted before the next one is taken");
        if !self.raw.has_ready() {
            return None;
        }
        let ready = self.raw.ready();
        let persist = Persist {
            entries: ready.entries().iter().map(LogEntry::of).collect(),
            vote: ready.hs().map(Vote::of),
            snapshot: None,
        };
        self.in_flight = Some(ready);
        Some(persist)
    }

    /// The last [`Replica::ready`] is on disk. Returns what may be applied now, in order.
    pub fn persisted(&mut self) -> Result<Vec<Committed>, ReplicaError> {
        let Some(mut ready) = self.in_flight.take() else { return Ok(Vec::new()) };
        let mut committed = ready.take_committed_entries();
        {
            let mut core = self.raw.store().wl();
            core.append(ready.entries())?;
            if let Some(state) = ready.hs() {
                core.set_hardstate(state.clone());
            }
        }
        let mut light = self.raw.advance(ready);
        if let Some(commit) = light.commit_index() {
            self.raw.store().wl().mut_hard_state().commit = commit;
        }
        committed.extend(light.take_committed_entries());
        self.raw.advance_apply();
        Ok(committed.iter().map(Committed::of).collect())
    }

    /// A snapshot of everything up to `index`, which is applied, with `state` as the machine's bytes.
    /// The caller makes it durable; the log before it is forgotten here.
    pub fn snapshot(&mut self, index: u64, state: Vec<u8>) -> Result<SnapshotRecord, ReplicaError> {
        let term = self.raw.raft.raft_log.term(index)?;
        // One entry stays, so that the log still knows the term at the snapshot's end.
        self.raw.store().wl().compact(index)?;
        self.compacted = index;
        Ok(SnapshotRecord { index, term, voters: self.voters.clone(), state })
    }
}

impl Committed {
    fn of(entry: &Entry) -> Self {
        let own = LogEntry::of(entry);
        let words: Option<[u8; 16]> = own.context.as_slice().try_into().ok();
        let proposal = words.map(|words| {
            let (run, number) = words.split_at(8);
            let word = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, b| (sum << 8) | u64::from(*b));
            Proposal { run: word(run), number: word(number) }
        });
        let data = if own.kind == EntryKind::Command { own.data } else { Vec::new() };
        Self { index: own.index, term: own.term, data, proposal }
    }
}

/// Milliseconds a tick.
pub const TICK_MS: u64 = 100;
const ELECTION_TICKS: usize = 10;
const HEARTBEAT_TICKS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(entries: Vec<LogEntry>, vote: Vote) -> Replica {
        let snapshot = SnapshotRecord {
            index: 0,
            term: 0,
            voters: Voters { voters: vec![1], learners: vec![] },
            state: vec![],
        };
        let id = ReplicaId(NonZeroU64::MIN);
        Replica::new(id, Recovered { snapshot, vote, entries }).expect("starts")
    }

    /// Drives the replica to rest; returns what was persisted and what was committed.
    fn settle(replica: &mut Replica) -> (Vec<LogEntry>, Vote, Vec<Committed>) {
        let (mut entries, mut vote, mut committed) = (Vec::new(), Vote::default(), Vec::new());
        while let Some(persist) = replica.ready() {
            entries.extend(persist.entries);
            vote = persist.vote.unwrap_or(vote);
            committed.extend(replica.persisted().expect("advances"));
        }
        (entries, vote, committed)
    }

    #[test]
    fn one_replica_leads_at_once_and_commits_what_is_proposed() {
        let mut replica = alone(vec![], Vote::default());
        settle(&mut replica);
        assert!(replica.is_leader());

        let proposal = Proposal { run: 3, number: 4 };
        replica.propose(proposal, b"seven".to_vec()).expect("leads");
        let (entries, _, committed) = settle(&mut replica);

        assert_eq!(entries.len(), 1);
        assert_eq!(committed.len(), 1);
        assert_eq!(
            (committed[0].proposal, &committed[0].data[..]),
            (Some(proposal), &b"seven"[..])
        );
    }

    #[test]
    fn nothing_is_committed_before_it_is_persisted() {
        let mut replica = alone(vec![], Vote::default());
        settle(&mut replica);
        replica.propose(Proposal { run: 1, number: 1 }, b"x".to_vec()).expect("leads");
        let persist = replica.ready().expect("has entries");
        assert_eq!(persist.entries.len(), 1);
        assert!(replica.raw.raft.raft_log.committed < persist.entries[0].index);
    }

    #[test]
    fn a_replica_that_restarts_commits_its_log_again() {
        let mut replica = alone(vec![], Vote::default());
        let (mut log, mut vote, _) = settle(&mut replica);
        replica.propose(Proposal { run: 1, number: 1 }, b"kept".to_vec()).expect("leads");
        let (entries, later, _) = settle(&mut replica);
        log.extend(entries);
        vote = if later == Vote::default() { vote } else { later };

        let mut again = alone(log, vote);
        let (_, _, committed) = settle(&mut again);

        assert!(again.is_leader() && again.term() > replica.term());
        assert!(committed.iter().any(|entry| entry.data == b"kept"));
    }

    #[test]
    fn a_snapshot_shortens_the_log_and_a_restart_begins_at_it() {
        let mut replica = alone(vec![], Vote::default());
        settle(&mut replica);
        for number in 0..10 {
            replica.propose(Proposal { run: 1, number }, vec![number as u8]).expect("leads");
        }
        let (_, vote, committed) = settle(&mut replica);
        let index = committed.last().expect("ten").index;
        let snapshot = replica.snapshot(index, b"state".to_vec()).expect("applied");
        assert_eq!(replica.log_length(), 0);

        let recovered =
            Recovered { snapshot, vote: Vote { commit: index, ..vote }, entries: vec![] };
        let mut again = Replica::new(replica.id(), recovered).expect("starts");
        let (_, _, committed) = settle(&mut again);
        assert!(committed.iter().all(|entry| entry.index > index));
        again.propose(Proposal { run: 2, number: 0 }, b"new".to_vec()).expect("leads");
        assert!(settle(&mut again).2.iter().any(|entry| entry.data == b"new"));
    }
}
