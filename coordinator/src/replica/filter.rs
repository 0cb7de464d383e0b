//! What raft may hear of another replica: messages that one which keeps to the protocol could send.
//!
//! raft trusts its peers. On some nonsense it ends the process, such as on a commit mark beyond the
//! log, entries with a gap or a snapshot that names a voter twice; a term of zero it takes for its
//! own word. None of that reaches it from here, so a broken replica stops no other one. Absent:
//! whether what could be true is true. Votes and entries of a replica are believed; that it is one,
//! its certificate says.
//!
//! Floor: core.

use std::collections::BTreeSet;

use common::wire::message::peer::{LogEntry, RaftKind, RaftMessage, SnapshotMeta};
use thiserror::Error;

use super::log::EntryKind;
use super::mirror;

/// What this replica is, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub own: u64,
    pub term: u64,
    pub last: u64,
    /// Whether all of its log is on its disk.
    pub is_persisted: bool,
    pub leads: bool,
}

/// Why a message could not come from a replica that keeps to the protocol.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Nonsense {
    #[error("it is not from another replica, or not for this one")]
    Ends,
    #[error("a number in it is higher than anybody can have counted")]
    Number,
    #[error("its term is not one that its kind can have")]
    Term,
    #[error("it has parts that its kind has not, or lacks one")]
    Parts,
    #[error("its entries are not a piece of a log")]
    Entries,
    #[error("it holds a change of the membership that cannot be read")]
    Change,
    #[error("it is about entries that this replica never had")]
    Beyond,
    #[error("its snapshot is of no log, or names no possible members")]
    Snapshot,
    #[error("it answers what was not asked yet, or asks too early")]
    Early,
}

/// Refuses what raft must not hear.
pub(super) fn check(message: &RaftMessage, view: &View) -> Result<(), Nonsense> {
    let ends = message.to == view.own && message.from != 0 && message.from != view.own;
    require(ends, Nonsense::Ends)?;
    check_numbers(message)?;
    check_parts(message)?;
    // What is of an earlier term is answered by its term alone.
    let counts = message.term >= view.term;
    match message.kind {
        RaftKind::Append => check_entries(message),
        RaftKind::Heartbeat => require(!counts || message.commit <= view.last, Nonsense::Beyond),
        RaftKind::AppendResponse => {
            let known = !view.leads || message.term != view.term || message.index <= view.last;
            require(known, Nonsense::Beyond)
        }
        RaftKind::Snapshot => match &message.snapshot {
            Some(meta) => check_snapshot(meta, message.term),
            None => Err(Nonsense::Parts),
        },
        // Who asks for votes has its whole log on its disk before the question leaves, and who is told
        // to take over has said before that it has everything.
        RaftKind::RequestVoteResponse | RaftKind::RequestPreVoteResponse | RaftKind::TimeoutNow => {
            let ignored = view.leads && message.term <= view.term;
            require(ignored || view.is_persisted, Nonsense::Early)
        }
        RaftKind::RequestVote
        | RaftKind::RequestPreVote
        | RaftKind::HeartbeatResponse
        | RaftKind::ReadIndex
        | RaftKind::ReadIndexResp => Ok(()),
    }
}

fn check_numbers(message: &RaftMessage) -> Result<(), Nonsense> {
    let own = [
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
    ];
    let entries = message.entries.iter().flat_map(|entry| [entry.index, entry.term]);
    let snapshot = message.snapshot.iter().flat_map(|meta| [meta.index, meta.term]);
    let mut all = own.into_iter().chain(entries).chain(snapshot);
    require(all.all(|number| number <= NUMBER_MAX), Nonsense::Number)
}

/// Every message has a term but the one that raft lets travel without.
fn check_parts(message: &RaftMessage) -> Result<(), Nonsense> {
    let asks = message.kind == RaftKind::ReadIndex;
    require(asks == (message.term == 0), Nonsense::Term)?;
    let entries = match message.kind {
        RaftKind::Append => true,
        RaftKind::ReadIndex | RaftKind::ReadIndexResp => message.entries.len() == 1,
        _ => message.entries.is_empty(),
    };
    let snapshot = message.snapshot.is_some() == (message.kind == RaftKind::Snapshot);
    // Nobody here asks for a snapshot, a follower that needs one is sent it; nor has a priority.
    let unused = message.request_snapshot == 0 && message.priority == 0;
    require(entries && snapshot && unused, Nonsense::Parts)
}

/// Consecutive, of terms that never fall, after an entry that somebody wrote.
fn check_entries(message: &RaftMessage) -> Result<(), Nonsense> {
    let after = message.index >= 1 && (1..=message.term).contains(&message.log_term);
    require(after, Nonsense::Entries)?;
    let mut last = (message.index, message.log_term);
    for LogEntry { index, term, kind, data, .. } in &message.entries {
        let follows = *index == last.0 + 1 && (last.1..=message.term).contains(term);
        require(follows, Nonsense::Entries)?;
        let readable = *kind == EntryKind::Command || mirror::change_in(data).is_some();
        require(readable, Nonsense::Change)?;
        last = (*index, *term);
    }
    Ok(())
}

fn check_snapshot(meta: &SnapshotMeta, term: u64) -> Result<(), Nonsense> {
    let members = meta.voters.voters.iter().chain(&meta.voters.learners);
    let count = meta.voters.voters.len() + meta.voters.learners.len();
    require(count <= MEMBERS_MAX && !meta.voters.voters.is_empty(), Nonsense::Snapshot)?;
    let distinct: BTreeSet<&u64> = members.collect();
    let possible = distinct.len() == count && !distinct.contains(&0);
    let of_a_log = meta.index >= 1 && (1..=term).contains(&meta.term);
    require(possible && of_a_log, Nonsense::Snapshot)
}

fn require(holds: bool, nonsense: Nonsense) -> Result<(), Nonsense> {
    if holds { Ok(()) } else { Err(nonsense) }
}

/// A thousand terms or entries a microsecond for two years; far from where counting would overflow.
const NUMBER_MAX: u64 = 1 << 56;

/// More than a cluster ever has, those that come and go included.
const MEMBERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use common::wire::message::peer::Voters;

    use super::*;

    const VIEW: View = View { own: 1, term: 4, last: 9, is_persisted: true, leads: false };

    fn of(kind: RaftKind) -> RaftMessage {
        RaftMessage { kind, to: 1, from: 2, term: 4, ..RaftMessage::default() }
    }

    fn entry(index: u64, term: u64) -> LogEntry {
        let kind = EntryKind::Command;
        LogEntry { index, term, kind, context: Vec::new(), data: Vec::new() }
    }

    fn append(entries: Vec<LogEntry>) -> RaftMessage {
        RaftMessage { index: 5, log_term: 3, commit: 99, entries, ..of(RaftKind::Append) }
    }

    fn snapshot(voters: Vec<u64>, learners: Vec<u64>) -> RaftMessage {
        let meta = SnapshotMeta { index: 7, term: 3, voters: Voters { voters, learners } };
        RaftMessage { snapshot: Some(meta), ..of(RaftKind::Snapshot) }
    }

    #[test]
    fn what_a_replica_may_send_passes() {
        let read = RaftMessage { term: 0, entries: vec![entry(0, 0)], ..of(RaftKind::ReadIndex) };
        for message in [
            append(vec![entry(6, 3), entry(7, 4)]),
            append(Vec::new()),
            RaftMessage { commit: 9, ..of(RaftKind::Heartbeat) },
            RaftMessage { term: 3, commit: 99, ..of(RaftKind::Heartbeat) },
            RaftMessage { index: 99, ..of(RaftKind::AppendResponse) },
            snapshot(vec![1, 2, 3], vec![4]),
            of(RaftKind::TimeoutNow),
            read,
        ] {
            assert_eq!(check(&message, &VIEW), Ok(()), "{message:?}");
        }
    }

    #[test]
    fn what_only_a_process_says_to_itself_has_no_form() {
        use common::wire::codec;
        let spelt = codec::encode(&of(RaftKind::ReadIndexResp)).expect("short");
        assert!(codec::decode::<RaftMessage>(&spelt).is_ok());
        for kind in spelt[0] + 1..=u8::MAX {
            let other = [&[kind], &spelt[1..]].concat();
            assert!(codec::decode::<RaftMessage>(&other).is_err(), "kind {kind}");
        }
    }

    #[test]
    fn what_is_not_between_these_two_is_refused() {
        for (to, from) in [(3, 2), (1, 1), (1, 0), (0, 2)] {
            let message = RaftMessage { to, from, ..of(RaftKind::Heartbeat) };
            assert_eq!(check(&message, &VIEW), Err(Nonsense::Ends));
        }
    }

    #[test]
    fn what_would_end_the_process_is_refused() {
        let mut membership = entry(6, 4);
        (membership.kind, membership.data) = (EntryKind::Membership, vec![9, 9]);
        let voters = |numbers: std::ops::Range<u64>| numbers.collect::<Vec<u64>>();
        for (message, nonsense) in [
            (RaftMessage { commit: 10, ..of(RaftKind::Heartbeat) }, Nonsense::Beyond),
            (RaftMessage { term: u64::MAX, ..of(RaftKind::RequestVote) }, Nonsense::Number),
            (RaftMessage { index: u64::MAX, ..append(Vec::new()) }, Nonsense::Number),
            (RaftMessage { term: 0, ..append(Vec::new()) }, Nonsense::Term),
            (RaftMessage { term: 0, ..of(RaftKind::ReadIndexResp) }, Nonsense::Term),
            (of(RaftKind::ReadIndex), Nonsense::Term),
            (RaftMessage { term: 0, ..of(RaftKind::ReadIndex) }, Nonsense::Parts),
            (of(RaftKind::ReadIndexResp), Nonsense::Parts),
            (of(RaftKind::Snapshot), Nonsense::Parts),
            (RaftMessage { request_snapshot: 1, ..of(RaftKind::AppendResponse) }, Nonsense::Parts),
            (RaftMessage { priority: -1, ..of(RaftKind::RequestPreVote) }, Nonsense::Parts),
            (RaftMessage { log_term: 0, ..append(Vec::new()) }, Nonsense::Entries),
            (RaftMessage { log_term: 5, ..append(Vec::new()) }, Nonsense::Entries),
            (append(vec![entry(7, 4)]), Nonsense::Entries),
            (append(vec![entry(6, 4), entry(8, 4)]), Nonsense::Entries),
            (append(vec![entry(6, 4), entry(7, 3)]), Nonsense::Entries),
            (append(vec![entry(6, 5)]), Nonsense::Entries),
            (append(vec![entry(6, 0)]), Nonsense::Entries),
            (append(vec![membership]), Nonsense::Change),
            (snapshot(Vec::new(), vec![1]), Nonsense::Snapshot),
            (snapshot(vec![1, 1], Vec::new()), Nonsense::Snapshot),
            (snapshot(vec![1], vec![1]), Nonsense::Snapshot),
            (snapshot(vec![0, 1], Vec::new()), Nonsense::Snapshot),
            (snapshot(voters(1..66), Vec::new()), Nonsense::Snapshot),
        ] {
            assert_eq!(check(&message, &VIEW), Err(nonsense), "{message:?}");
        }
        let leads = View { leads: true, ..VIEW };
        let beyond = RaftMessage { index: 10, ..of(RaftKind::AppendResponse) };
        assert_eq!(check(&beyond, &leads), Err(Nonsense::Beyond));
        let busy = View { is_persisted: false, ..VIEW };
        for kind in [RaftKind::RequestVoteResponse, RaftKind::TimeoutNow] {
            assert_eq!(check(&of(kind), &busy), Err(Nonsense::Early));
        }
    }
}
