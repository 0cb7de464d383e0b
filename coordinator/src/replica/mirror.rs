//! Raft's messages, entries and membership changes in our own form, and back.
//!
//! An entry that changes the membership carries our [`Change`] in its context; what raft keeps in
//! its data is made by raft itself from that change and never read from a disk or a network.
//!
//! Floor: core.

use std::num::NonZeroU64;

use common::id::ReplicaId;
use common::wire::codec;
use common::wire::message::peer::RaftKind;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, HardState,
    Message, MessageType, Snapshot,
};

use super::log::{Change, EntryKind, LogEntry, RaftMessage, SnapshotMeta, Standing, Vote, Voters};

pub(super) fn kind_of(entry: &Entry) -> EntryKind {
    match entry.get_entry_type() {
        EntryType::EntryNormal => EntryKind::Command,
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => EntryKind::Membership,
    }
}

pub(super) fn entry_of(entry: &Entry) -> LogEntry {
    let (index, term) = (entry.index, entry.term);
    let kind = kind_of(entry);
    let (context, data) = match kind {
        EntryKind::Command => (entry.context.to_vec(), entry.data.to_vec()),
        EntryKind::Membership => (Vec::new(), entry.context.to_vec()),
    };
    LogEntry { index, term, kind, context, data }
}

pub(super) fn entry_to_raft(entry: LogEntry) -> Entry {
    let LogEntry { index, term, kind, context, data } = entry;
    match kind {
        EntryKind::Command => Entry {
            index,
            term,
            entry_type: EntryType::EntryNormal,
            context: context.into(),
            data: data.into(),
            ..Entry::default()
        },
        EntryKind::Membership => Entry {
            index,
            term,
            entry_type: EntryType::EntryConfChangeV2,
            context: data.into(),
            ..Entry::default()
        },
    }
}

/// The change in an entry's context; `None` when it is not one.
pub(super) fn change_in(context: &[u8]) -> Option<Change> {
    codec::decode(context).ok()
}

pub(super) fn change_to_raft(change: Change) -> ConfChangeV2 {
    let node_id = change.replica.0.get();
    let mut single = ConfChangeSingle { node_id, ..ConfChangeSingle::default() };
    single.set_change_type(match change.to {
        Standing::Learner => ConfChangeType::AddLearnerNode,
        Standing::Voter => ConfChangeType::AddNode,
        Standing::Gone => ConfChangeType::RemoveNode,
    });
    let mut changes = ConfChangeV2::default();
    changes.set_changes(vec![single].into());
    changes
}

pub(super) fn vote_of(state: &HardState) -> Vote {
    Vote { term: state.term, vote: state.vote, commit: state.commit }
}

pub(super) fn vote_to_raft(vote: Vote) -> HardState {
    let Vote { term, vote, commit } = vote;
    HardState { term, vote, commit, ..HardState::default() }
}

pub(super) fn voters_of(state: &ConfState) -> Voters {
    Voters { voters: state.voters.clone(), learners: state.learners.clone() }
}

pub(super) fn voters_to_raft(voters: &Voters) -> ConfState {
    ConfState::from((voters.voters.clone(), voters.learners.clone()))
}

pub(super) fn meta_to_raft(meta: &SnapshotMeta) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let theirs = snapshot.mut_metadata();
    (theirs.index, theirs.term) = (meta.index, meta.term);
    theirs.set_conf_state(voters_to_raft(&meta.voters));
    snapshot
}

pub(super) fn meta_of(snapshot: &Snapshot) -> SnapshotMeta {
    let theirs = snapshot.get_metadata();
    let voters = voters_of(theirs.get_conf_state());
    SnapshotMeta { index: theirs.index, term: theirs.term, voters }
}

/// Our form of a message that raft wants sent; `None` for one that only this process may hear.
pub(super) fn message_of(message: &Message) -> Option<RaftMessage> {
    let kind = KINDS.iter().find(|(theirs, _)| *theirs == message.get_msg_type())?.1;
    let snapshot = (kind == RaftKind::Snapshot).then(|| meta_of(message.get_snapshot()));
    Some(RaftMessage {
        kind,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.get_entries().iter().map(entry_of).collect(),
        commit: message.commit,
        commit_term: message.commit_term,
        snapshot,
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context.to_vec(),
        priority: message.priority,
    })
}

/// Raft's form of a message from the network. `state`: what a snapshot holds.
pub(super) fn message_to_raft(message: RaftMessage, state: Vec<u8>) -> Message {
    let kind = KINDS.iter().find(|(_, ours)| *ours == message.kind);
    let mut theirs = Message {
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        commit: message.commit,
        commit_term: message.commit_term,
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context.into(),
        deprecated_priority: message.priority.max(0).unsigned_abs(),
        priority: message.priority,
        ..Message::default()
    };
    theirs.set_msg_type(kind.map_or(MessageType::MsgAppend, |(theirs, _)| *theirs));
    let entries: Vec<Entry> = message.entries.into_iter().map(entry_to_raft).collect();
    theirs.set_entries(entries.into());
    if let Some(meta) = &message.snapshot {
        let mut snapshot = meta_to_raft(meta);
        snapshot.data = state.into();
        theirs.set_snapshot(snapshot);
    }
    theirs
}

pub(super) fn replica(number: u64) -> Option<ReplicaId> {
    NonZeroU64::new(number).map(ReplicaId)
}

/// Every message that may cross the network.
const KINDS: [(MessageType, RaftKind); 12] = [
    (MessageType::MsgAppend, RaftKind::Append),
    (MessageType::MsgAppendResponse, RaftKind::AppendResponse),
    (MessageType::MsgRequestVote, RaftKind::RequestVote),
    (MessageType::MsgRequestVoteResponse, RaftKind::RequestVoteResponse),
    (MessageType::MsgRequestPreVote, RaftKind::RequestPreVote),
    (MessageType::MsgRequestPreVoteResponse, RaftKind::RequestPreVoteResponse),
    (MessageType::MsgSnapshot, RaftKind::Snapshot),
    (MessageType::MsgHeartbeat, RaftKind::Heartbeat),
    (MessageType::MsgHeartbeatResponse, RaftKind::HeartbeatResponse),
    (MessageType::MsgTimeoutNow, RaftKind::TimeoutNow),
    (MessageType::MsgReadIndex, RaftKind::ReadIndex),
    (MessageType::MsgReadIndexResp, RaftKind::ReadIndexResp),
];
