//! What replicas say to each other, and a snapshot on its way.
//!
//! Floor: wiring.

use common::id::StudyId;
use common::time::Timestamp;
use common::wire::codec;
use common::wire::message::peer::{
    Announcement, Change, EntryKind, LogEntry, PeerMessage, RaftKind, RaftMessage, SnapshotMeta,
    SnapshotPart, Standing, StudyProgress, Voters,
};
use coordinator::replica::incoming::Cutter;

use super::operators::rows;
use super::{Sample, named, replica, variants};

variants!(peer_message, PeerMessage: Raft Announce Progress Digest);
variants!(
    raft_kind,
    RaftKind: Append AppendResponse RequestVote RequestVoteResponse RequestPreVote
        RequestPreVoteResponse Snapshot Heartbeat HeartbeatResponse TimeoutNow ReadIndex ReadIndexResp
);
variants!(entry_kind, EntryKind: Command Membership);
variants!(standing, Standing: Learner Voter Gone);
variants!(part, SnapshotPart: Begin State Rows End);

pub fn peer_messages() -> Vec<Sample> {
    let study = StudyProgress { study: StudyId(5), leased: 3, rate: 1.5, seconds_left: Some(60) };
    let messages = vec![
        PeerMessage::Raft(Box::new(raft_messages().swap_remove(0))),
        PeerMessage::Announce(Announcement {
            level: 2,
            version: "0.1.0".to_string(),
            address: "10.0.0.6:7461".to_string(),
            term: 4,
            commit: 70_000,
            disk_free: Some(1 << 40),
            clock: Timestamp(1_700_000_000_000),
        }),
        PeerMessage::Progress { term: 4, studies: vec![study] },
        PeerMessage::Digest { index: 1_000, digest: [5; 32] },
    ];
    let mut all = named("PeerMessage", peer_message::ALL, peer_message, messages);
    let kinds = |message: &RaftMessage| raft_kind(&message.kind);
    all.extend(named("RaftMessage", raft_kind::ALL, kinds, raft_messages()));
    let entries = entries(2, 4);
    let kinds = |entry: &LogEntry| entry_kind(&entry.kind);
    all.extend(named("LogEntry", entry_kind::ALL, kinds, entries));
    let changes = [Standing::Learner, Standing::Voter, Standing::Gone]
        .map(|to| Change { replica: replica(3), to });
    let names = |change: &Change| standing(&change.to);
    all.extend(named("Change", standing::ALL, names, changes.to_vec()));
    all
}

/// From replica 2 to replica 1, as a cluster of three sends them; the first one in its place in the
/// log of a replica that has entry 1 of term 1.
pub fn raft_messages() -> Vec<RaftMessage> {
    let base = RaftMessage { to: 1, from: 2, term: 4, ..RaftMessage::default() };
    let of = |kind| RaftMessage { kind, ..base.clone() };
    let voters = Voters { voters: vec![1, 2, 3], learners: vec![4] };
    let read = LogEntry {
        index: 0,
        term: 0,
        kind: EntryKind::Command,
        context: Vec::new(),
        data: vec![7; 16],
    };
    vec![
        RaftMessage {
            index: 1,
            log_term: 1,
            commit: 3,
            entries: entries(2, 4),
            ..of(RaftKind::Append)
        },
        RaftMessage { index: 3, commit: 3, ..of(RaftKind::AppendResponse) },
        RaftMessage {
            index: 5,
            log_term: 3,
            commit: 4,
            commit_term: 3,
            ..of(RaftKind::RequestVote)
        },
        of(RaftKind::RequestVoteResponse),
        RaftMessage { index: 5, log_term: 3, ..of(RaftKind::RequestPreVote) },
        RaftMessage {
            reject: true,
            commit: 1,
            commit_term: 1,
            ..of(RaftKind::RequestPreVoteResponse)
        },
        RaftMessage {
            snapshot: Some(SnapshotMeta { index: 90, term: 3, voters }),
            ..of(RaftKind::Snapshot)
        },
        RaftMessage { commit: 1, context: vec![7; 16], ..of(RaftKind::Heartbeat) },
        RaftMessage { context: vec![7; 16], ..of(RaftKind::HeartbeatResponse) },
        of(RaftKind::TimeoutNow),
        RaftMessage { term: 0, entries: vec![read.clone()], ..of(RaftKind::ReadIndex) },
        RaftMessage { index: 3, entries: vec![read], ..of(RaftKind::ReadIndexResp) },
        RaftMessage {
            index: 3,
            log_term: 1,
            reject: true,
            reject_hint: 2,
            priority: -1,
            ..of(RaftKind::AppendResponse)
        },
    ]
}

/// A command, a change of the membership and the empty entry of a leader.
fn entries(first: u64, term: u64) -> Vec<LogEntry> {
    let change = Change { replica: replica(4), to: Standing::Learner };
    let change = codec::encode(&change).expect("short");
    let datas = [
        (EntryKind::Command, b"seven".to_vec()),
        (EntryKind::Membership, change),
        (EntryKind::Command, Vec::new()),
    ];
    let entry = |(index, (kind, data))| {
        let context = if kind == EntryKind::Command { vec![6; 16] } else { Vec::new() };
        LogEntry { index, term, kind, context, data }
    };
    (first..).zip(datas).map(entry).collect()
}

/// A whole snapshot in the order it travels.
pub fn parts() -> Vec<Sample> {
    let message = raft_messages().swap_remove(6);
    let (mut cutter, begin) = Cutter::begin(message, 0x0102_0304);
    let rows = rows().into_iter().map(|row| (StudyId(5), row)).collect();
    let parts = vec![begin, cutter.state(vec![1, 2, 3]), cutter.rows(rows), cutter.end()];
    named("SnapshotPart", part::ALL, part, parts)
}
