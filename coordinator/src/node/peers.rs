//! What replicas tell each other beside the log: how they are, what only the leader knows, and the
//! digests of their states.
//!
//! A message that is not from whom its connection says, or not for this replica, stops nothing here:
//! the driver closes such connections before.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::id::{ReplicaId, StudyId};
use common::time::Timestamp;
use common::wire::message::StudyState;
use common::wire::message::peer::{
    Announcement, PeerMessage, RaftKind, RaftMessage, StudyProgress,
};

use super::{Asker, Node, NodeError, Now, Output};
use crate::planted::planted;
use crate::scheduler::command::Command;
use crate::scheduler::state::{State, StudyRecord};

#[derive(Default)]
pub(super) struct Peers {
    pub heard: BTreeMap<ReplicaId, Heard>,
    announced: Option<Timestamp>,
    /// What the leader last said of studies, and when.
    told: Option<(u64, Timestamp, BTreeMap<StudyId, StudyProgress>)>,
    /// Digests of this replica's own state, by entry.
    pub digests: BTreeMap<u64, [u8; 32]>,
    /// What replicas found, while this one leads: by entry, since when.
    pub found: BTreeMap<u64, (Timestamp, BTreeMap<ReplicaId, [u8; 32]>)>,
    /// Snapshots under way: to whom, under which number, since when.
    sending: BTreeMap<ReplicaId, (u64, Timestamp)>,
    /// Snapshots sent so far.
    sends: u64,
    offer_used: Timestamp,
    /// This replica's own announcement, but for what changes by itself.
    pub own: OwnFacts,
}

/// What the driver knows of this replica.
#[derive(Clone, Debug, Default)]
pub struct OwnFacts {
    pub version: String,
    pub address: String,
    pub disk_free: Option<u64>,
}

/// What another replica last said of itself.
pub(super) struct Heard {
    pub said: Announcement,
    pub at: Timestamp,
}

impl Peers {
    /// A snapshot is made to be sent.
    pub fn offers(&mut self, now: Timestamp) {
        self.offer_used = now;
    }

    pub fn is_sending(&self) -> bool {
        !self.sending.is_empty()
    }
}

impl Node {
    /// What the driver knows of this replica, for the others.
    pub fn know_yourself(&mut self, facts: OwnFacts) {
        self.peers.own = facts;
    }

    pub(super) fn peer_said(&mut self, from: ReplicaId, message: PeerMessage, now: Now) {
        // Before its first snapshot a replica knows nobody, and hears everybody.
        if self.state.level > 0 && !self.knows_replica(from) {
            return;
        }
        match message {
            PeerMessage::Raft(message) => {
                // Raft hears only what is between these two; the state of a snapshot comes apart.
                let meant = message.from == from.0.get()
                    && message.to == self.replica.id().0.get()
                    && message.kind != RaftKind::Snapshot;
                if meant {
                    self.hear(*message, Vec::new());
                }
            }
            PeerMessage::Announce(said) => {
                let before = self.peers.heard.insert(from, Heard { said, at: now.mono });
                if before.is_none() && self.is_newer(from) {
                    self.outputs.push(Output::MembersChanged);
                }
            }
            PeerMessage::Progress { term, studies } => {
                let studies = studies.into_iter().map(|one| (one.study, one)).collect();
                self.peers.told = Some((term, now.mono, studies));
            }
            PeerMessage::Digest { index, digest } => self.found(from, index, digest, now),
        }
    }

    /// A snapshot is believed only when its state is one: once it is on the disk, there is no way back.
    pub(super) fn snapshot_arrived(&mut self, message: RaftMessage, state: Vec<u8>) {
        let index = message.snapshot.as_ref().map(|meta| meta.index);
        let is_whole = State::decode(&state).is_some_and(|state| Some(state.applied) == index)
            || planted!(self.settings.planted, Unchecked);
        if message.kind == RaftKind::Snapshot && is_whole {
            self.hear(message, state);
        } else {
            tracing::error!("a snapshot was refused: its state is not one that this program knows");
        }
    }

    /// One message of raft's; one that raft refuses changes nothing.
    pub(super) fn hear(&mut self, message: RaftMessage, state: Vec<u8>) {
        if let Err(error) = self.replica.step(message, state) {
            tracing::warn!(%error, "a message of another replica was refused");
        }
    }

    /// Hands Raft's messages to the driver.
    pub(super) fn send_raft(&mut self) {
        for message in self.replica.take_messages() {
            let Some(to) = std::num::NonZeroU64::new(message.to).map(ReplicaId) else { continue };
            let message = Box::new(message);
            if message.kind == RaftKind::Snapshot {
                let began = self.last_tick.unwrap_or_default();
                let number = self.peers.sends;
                self.peers.sends += 1;
                self.peers.sending.insert(to, (number, began));
                self.outputs.push(Output::SendSnapshot { to, number, message });
            } else {
                self.outputs.push(Output::ToPeer { to, message: PeerMessage::Raft(message) });
            }
        }
    }

    /// How a sending ended. One in whose place another was begun says nothing about that one: were it
    /// believed, each would be begun anew because of the last one's end, and none would ever arrive.
    pub(super) fn snapshot_sent(&mut self, to: ReplicaId, number: u64, arrived: bool) {
        if self.peers.sending.get(&to).map(|(number, _)| *number) != Some(number) {
            return;
        }
        self.peers.sending.remove(&to);
        self.peers.offer_used = self.last_tick.unwrap_or_default();
        if arrived || !planted!(self.settings.planted, SnapshotLost) {
            self.replica.snapshot_sent(to, arrived);
        }
    }

    pub(super) fn tick_peers(&mut self, now: Now) {
        self.watch_snapshots(now);
        let due = self.peers.announced.is_none_or(|at| now.mono.since_ms(at) >= ANNOUNCE_MS);
        if !due {
            return;
        }
        self.peers.announced = Some(now.mono);
        let mut messages = vec![PeerMessage::Announce(self.announcement(now))];
        if self.soft.leading {
            let studies = self.state.studies.iter();
            let active = studies.filter(|(_, record)| record.state == StudyState::Active);
            let progress = active.map(|(id, record)| self.study_progress(*id, record, now));
            let studies = progress.take(PROGRESS_STUDIES_MAX).collect();
            messages.push(PeerMessage::Progress { term: self.replica.term(), studies });
        }
        for to in self.others() {
            for message in &messages {
                self.outputs.push(Output::ToPeer { to, message: message.clone() });
            }
        }
    }

    /// Every other replica, whether it votes or only is to come.
    pub(super) fn others(&self) -> Vec<ReplicaId> {
        let own = self.replica.id();
        let voters = self.replica.voters();
        let numbers = voters.voters.iter().chain(&voters.learners);
        let mut all: Vec<ReplicaId> =
            numbers.filter_map(|n| std::num::NonZeroU64::new(*n).map(ReplicaId)).collect();
        all.extend(self.state.replicas.keys());
        all.sort_unstable();
        all.dedup();
        all.retain(|id| *id != own);
        all
    }

    pub(super) fn announcement(&self, now: Now) -> Announcement {
        let OwnFacts { version, address, disk_free } = self.peers.own.clone();
        Announcement {
            level: self.settings.level,
            version,
            address,
            term: self.replica.term(),
            commit: self.replica.commit(),
            disk_free,
            clock: now.wall,
        }
    }

    /// A snapshot of which nothing is heard for long is counted as lost; one that nobody needs is
    /// let go.
    fn watch_snapshots(&mut self, now: Now) {
        let late = |since: &Timestamp| now.mono.since_ms(*since) >= SNAPSHOT_LATE_MS;
        let lost = self.peers.sending.iter().filter(|(_, (_, at))| late(at));
        let lost: Vec<(ReplicaId, u64)> = lost.map(|(to, (number, _))| (*to, *number)).collect();
        lost.into_iter().for_each(|(to, number)| self.snapshot_sent(to, number, false));
        let idle = now.mono.since_ms(self.peers.offer_used) >= OFFER_KEPT_MS;
        if self.replica.offered().is_some() && !self.peers.is_sending() && idle {
            self.replica.withdraw();
            self.outputs.push(Output::Withdraw);
        }
    }

    /// How a study goes: what this leader knows, or what the leader said lately.
    pub(super) fn study_progress(
        &self,
        study: StudyId,
        record: &StudyRecord,
        now: Now,
    ) -> StudyProgress {
        if !self.soft.leading {
            let unknown = StudyProgress { study, leased: 0, rate: 0.0, seconds_left: None };
            let told = self.peers.told.as_ref().filter(|(term, at, _)| {
                *term == self.replica.term() && now.mono.since_ms(*at) < TOLD_GOOD_MS
            });
            let said = told.and_then(|(_, _, studies)| studies.get(&study));
            return said.copied().unwrap_or(unknown);
        }
        let progress = self.soft.progress.get(&study);
        StudyProgress {
            study,
            leased: self.soft.leases.leased(study),
            rate: progress.map_or(0.0, |progress| progress.rate(now.mono)),
            seconds_left: progress
                .and_then(|progress| progress.seconds_left(record.open(), now.mono)),
        }
    }

    /// Every so many entries: what the state's digest is now.
    pub(super) fn note_digest(&mut self, now: Now) {
        let index = self.state.applied;
        if !index.is_multiple_of(self.settings.digest_entries) {
            return;
        }
        let digest = self.state.digest();
        self.peers.digests.insert(index, digest);
        if self.peers.digests.len() > DIGESTS_KEPT {
            self.peers.digests.pop_first();
        }
        if self.soft.leading {
            let own = self.replica.id();
            self.found(own, index, digest, now);
        } else if let Some(to) = self.replica.leader() {
            self.outputs
                .push(Output::ToPeer { to, message: PeerMessage::Digest { index, digest } });
        }
    }

    fn found(&mut self, from: ReplicaId, index: u64, digest: [u8; 32], now: Now) {
        if self.soft.leading {
            let entry = self.peers.found.entry(index).or_insert((now.mono, BTreeMap::new()));
            entry.1.insert(from, digest);
            if self.peers.found.len() > DIGESTS_KEPT {
                self.peers.found.pop_first();
            }
        }
    }

    /// Writes into the log what replicas found, when all voters have said it or had time to.
    pub(super) fn tell_digests(&mut self, now: Now) {
        let own = self.replica.id();
        let voters = self.replica.voters().voters;
        let complete =
            |(_, (since, found)): (&u64, &(Timestamp, BTreeMap<ReplicaId, [u8; 32]>))| {
                let said =
                    voters.iter().filter(|voter| found.keys().any(|id| id.0.get() == **voter));
                let said = said.count();
                let waited = now.mono.since_ms(*since) >= DIGESTS_WAIT_MS;
                let enough = said == voters.len() || (waited && 2 * said > voters.len());
                found.contains_key(&own) && enough
            };
        let found = self.peers.found.iter();
        let due: Vec<u64> = found.filter(|entry| complete(*entry)).map(|(at, _)| *at).collect();
        for index in due {
            if let Some((_, found)) = self.peers.found.remove(&index) {
                let of = found.into_iter().collect();
                self.propose(Command::Digests { index, of }, Asker::Nobody);
            }
        }
    }

    /// Stops this replica when its state is not what most found.
    pub(super) fn compare_digests(
        &self,
        index: u64,
        of: &[(ReplicaId, [u8; 32])],
    ) -> Result<(), NodeError> {
        let Some(own) = self.peers.digests.get(&index) else { return Ok(()) };
        let agree = |digest: &[u8; 32]| of.iter().filter(|(_, found)| found == digest).count();
        let most = of.iter().map(|(_, found)| agree(found)).max().unwrap_or_default();
        // Where no majority says who is right, nobody may go on.
        if agree(own) < most || 2 * agree(own) <= of.len() {
            return Err(NodeError::Diverged { index });
        }
        Ok(())
    }
}

const ANNOUNCE_MS: u64 = 1_000;
/// What the leader said of studies is believed so long.
const TOLD_GOOD_MS: u64 = 3_000;
const PROGRESS_STUDIES_MAX: usize = 1_000;
const SNAPSHOT_LATE_MS: u64 = 60_000;
/// A snapshot is held so long for another follower.
const OFFER_KEPT_MS: u64 = 10_000;
const DIGESTS_KEPT: usize = 8;
const DIGESTS_WAIT_MS: u64 = 2_000;
