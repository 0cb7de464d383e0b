//! The log as raft reads it: in memory, the same as on disk.
//!
//! Entries begin after a base; what is before it a follower can only get as a snapshot, which raft
//! is offered here without its state: the state travels on a stream of its own.
//!
//! Floor: core.

use std::cell::Cell;
use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError, util};

use super::log::{Base, Recovered, SnapshotMeta, Vote, Voters};
use super::mirror;

pub(super) struct Store {
    base: Base,
    entries: VecDeque<Entry>,
    hard: HardState,
    conf: ConfState,
    /// A snapshot of which the driver holds the outcomes.
    offer: Option<SnapshotMeta>,
    /// Raft asked for a snapshot that is not there.
    wanted: Cell<bool>,
}

impl Store {
    pub fn new(recovered: Recovered) -> Self {
        let Recovered { snapshot, base, vote, entries } = recovered;
        // The commit mark may lag behind a snapshot: it need not be durable by itself.
        let commit = vote.commit.max(snapshot.meta.index);
        Self {
            base,
            entries: entries.into_iter().map(mirror::entry_to_raft).collect(),
            hard: mirror::vote_to_raft(Vote { commit, ..vote }),
            conf: mirror::voters_to_raft(&snapshot.meta.voters),
            offer: None,
            wanted: Cell::new(false),
        }
    }

    pub fn base(&self) -> Base {
        self.base
    }

    pub fn last(&self) -> u64 {
        self.base.index + self.entries.len() as u64
    }

    pub fn conf(&self) -> &ConfState {
        &self.conf
    }

    pub fn set_conf(&mut self, conf: ConfState) {
        self.conf = conf;
    }

    pub fn set_hard(&mut self, hard: HardState) {
        self.hard = hard;
    }

    pub fn commit_to(&mut self, commit: u64) {
        self.hard.commit = self.hard.commit.max(commit);
    }

    pub fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.base.index, "a committed entry never changes");
        assert!(first.index <= self.last() + 1, "the log has no gap");
        self.entries.truncate((first.index - self.base.index - 1) as usize);
        self.entries.extend(entries.iter().cloned());
    }

    /// A snapshot from the leader takes the place of everything.
    pub fn restore(&mut self, meta: &SnapshotMeta) {
        self.base = Base { index: meta.index, term: meta.term };
        self.entries.clear();
        self.conf = mirror::voters_to_raft(&meta.voters);
        self.hard.commit = self.hard.commit.max(meta.index);
        self.offer = None;
    }

    /// Forgets entries up to `base`.
    pub fn compact(&mut self, base: Base) {
        assert!(self.base.index <= base.index && base.index <= self.last(), "only what is there");
        self.entries.drain(..(base.index - self.base.index) as usize);
        self.base = base;
    }

    /// The index below which at most `entries_max` entries of `bytes_max` bytes stay before `index`.
    pub fn margin(&self, index: u64, entries_max: u64, bytes_max: usize) -> u64 {
        let upto = index.saturating_sub(self.base.index) as usize;
        let mut bytes = 0;
        let kept = self.entries.iter().take(upto).rev().take(entries_max as usize);
        let kept = kept.take_while(|entry| {
            bytes += entry.data.len() + ENTRY_BYTES;
            bytes <= bytes_max
        });
        index - kept.count() as u64
    }

    pub fn offer(&mut self, meta: SnapshotMeta) {
        self.wanted.set(false);
        self.offer = Some(meta);
    }

    pub fn withdraw(&mut self) {
        self.offer = None;
    }

    pub fn offered(&self) -> Option<&SnapshotMeta> {
        self.offer.as_ref()
    }

    pub fn is_wanted(&self) -> bool {
        self.wanted.get()
    }
}

impl Storage for Store {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState { hard_state: self.hard.clone(), conf_state: self.conf.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base.index {
            return Err(StorageError::Compacted.into());
        }
        assert!(high <= self.last() + 1, "raft reads what the log has");
        let range = (low - self.base.index - 1) as usize..(high - self.base.index - 1) as usize;
        let max_size = max_size.into();
        // Copies no more than it hands out: a log may be long and a message is short.
        let mut size = 0;
        let mut entries = Vec::new();
        for entry in self.entries.range(range) {
            size += (entry.data.len() + entry.context.len()) as u64;
            if max_size.is_some_and(|max| size > max) && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        util::limit_size(&mut entries, max_size);
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.index {
            return Ok(self.base.term);
        }
        if index < self.base.index {
            return Err(StorageError::Compacted.into());
        }
        let entry = self.entries.get((index - self.base.index - 1) as usize);
        entry.map(|entry| entry.term).ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let knows = |meta: &&SnapshotMeta| {
            let Voters { voters, learners } = &meta.voters;
            voters.contains(&to) || learners.contains(&to)
        };
        let good = |meta: &&SnapshotMeta| {
            meta.index >= request_index && meta.index >= self.base.index && knows(meta)
        };
        match self.offer.as_ref().filter(good) {
            Some(meta) => Ok(mirror::meta_to_raft(meta)),
            None => {
                self.wanted.set(true);
                Err(StorageError::SnapshotTemporarilyUnavailable.into())
            }
        }
    }
}

/// What an entry takes beside its data, about.
const ENTRY_BYTES: usize = 64;
