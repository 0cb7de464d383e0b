//! What a node refuses of operators and replicas that do not keep to the rules.
//!
//! Floor: core.

use common::wire::message::peer::{PeerMessage, RaftKind, RaftMessage, SnapshotMeta, Voters};

use super::*;
use crate::scheduler::command::{Item, LEARN_LEVEL};

/// What a name must not be: a path, a device, something that looks like another or moves a cursor.
const BAD_NAMES: [&str; 12] = [
    "",
    "..",
    "../up",
    "/etc/passwd",
    ".hidden",
    "a\0b",
    "CON",
    "nul.txt",
    "s\u{1b}[2J",
    "\u{430}rm",
    "a\u{202e}b",
    "a*b",
];

fn refusal(response: Response) -> String {
    match response {
        Response::Refused { why } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_study_with_a_bad_name_is_refused_whoever_sends_it() {
    let mut bench = Bench::new();
    for bad in BAD_NAMES {
        let mut named = sample::study(1);
        named.name = bad.to_string();
        let mut armed = sample::study(1);
        armed.arms[0].name = bad.to_string();
        for study in [named, armed] {
            let ask = Request::Submit { study: Box::new(study), text: "text".into() };
            let why = refusal(bench.ask(ask));
            assert!(why.contains("have names of 1 to 64 letters"), "{bad:?}: {why}");
        }
    }
    for path in ["/etc/passwd", "../rows.csv", "a/../../rows.csv", "C:rows.csv", "a\0", "a\\b", ""]
    {
        let mut study = sample::study(1);
        study.data.path = path.to_string();
        let ask = Request::Submit { study: Box::new(study), text: "text".into() };
        assert!(refusal(bench.ask(ask)).contains("beneath its file"), "{path:?}");
    }
    assert!(bench.node.state().studies.is_empty());
    bench.submit(1);
}

#[test]
fn a_token_with_a_bad_label_is_refused_whoever_asks() {
    let mut bench = Bench::new();
    let long = "x".repeat(65);
    for bad in BAD_NAMES.into_iter().skip(1).chain([long.as_str()]) {
        let label = bad.to_string();
        let (id, secret_hash) = ([7; 6], [2; 32]);
        let token = NewToken { id, secret_hash, role: Role::Agent, ttl_ms: 9, uses: None, label };
        let why = refusal(bench.ask(Request::CreateToken(token)));
        assert!(why.contains("label has 1 to 64 letters"), "{bad:?}: {why}");
    }
    assert!(bench.node.state().tokens.is_empty());
}

#[test]
fn a_study_of_more_trials_than_fit_is_refused_before_anything_is_made_for_it() {
    let mut bench = Bench::new();
    let mut study = sample::study(1);
    study.seeds.factors[0].count = u32::MAX;
    study.outer.partitions = u32::MAX;
    let ask = Request::Submit { study: Box::new(study), text: "text".into() };
    assert!(refusal(bench.ask(ask)).contains("10000000 trials"));
}

fn from(number: u64) -> ReplicaId {
    ReplicaId(NonZeroU64::new(number).expect("not zero"))
}

fn raft(from: u64, to: u64, kind: RaftKind) -> RaftMessage {
    RaftMessage { kind, from, to, term: 1 << 40, ..RaftMessage::default() }
}

#[test]
fn raft_hears_nothing_that_is_not_between_sender_and_receiver() {
    let mut bench = Bench::new();
    bench.admit(Role::Peer, 9);
    let term = bench.node.replica().term();
    for (sender, says, to) in [(2, 3, 1), (2, 2, 3), (2, 1, 1)] {
        let message = PeerMessage::Raft(Box::new(raft(says, to, RaftKind::Heartbeat)));
        bench.step(Input::PeerSaid { from: from(sender), message });
        assert_eq!(bench.node.replica().term(), term, "{sender} {says} {to}");
    }
    let message = PeerMessage::Raft(Box::new(raft(2, 1, RaftKind::Heartbeat)));
    bench.step(Input::PeerSaid { from: from(2), message });
    assert_eq!(bench.node.replica().term(), 1 << 40, "what is, raft hears");
}

#[test]
fn a_replica_that_was_removed_is_not_heard() {
    let mut bench = Bench::new();
    // Numbers are given once: this one was, and nobody has it.
    bench.node.state.next_replica = 8;
    let term = bench.node.replica().term();
    let message = PeerMessage::Raft(Box::new(raft(7, 1, RaftKind::Heartbeat)));
    bench.step(Input::PeerSaid { from: from(7), message });
    assert_eq!(bench.node.replica().term(), term);
    let digest = PeerMessage::Digest { index: 1, digest: [1; 32] };
    bench.step(Input::PeerSaid { from: from(7), message: digest });
    assert!(bench.node.peers.found.is_empty());
}

#[test]
fn a_snapshot_whose_state_is_none_is_never_written() {
    let mut bench = Bench::new();
    bench.admit(Role::Peer, 9);
    let voters = Voters { voters: vec![1, 2], learners: Vec::new() };
    let meta = SnapshotMeta { index: 90, term: 7, voters };
    let message = RaftMessage { snapshot: Some(meta), ..raft(2, 1, RaftKind::Snapshot) };
    let of_another_entry = bench.node.state().encode().expect("encodes");
    for state in [Vec::new(), b"no state".to_vec(), of_another_entry] {
        let message = Box::new(message.clone());
        let sent = bench.step(Input::SnapshotArrived { message, state });
        assert!(!sent.contains(&Output::Installed));
        assert_ne!(bench.disk.snapshot.meta.index, 90);
    }
}

#[test]
fn what_some_replica_could_not_apply_is_not_proposed_whoever_wants_it() {
    let mut bench = Bench::with(Settings { level: LEARN_LEVEL, ..Settings::default() });
    let study = bench.submit(1);
    let applied = bench.node.state().applied;
    let lease = LeaseId { term: 1, counter: 1 };
    let attempt = Attempt { study, trial: TrialIndex(0), lease };
    let (reason, detail) = (FailReason::Preempted, "gone".to_string());
    let items = vec![Item::Failed { attempt, reason, detail, alone: true }];
    let command = Command::Reports { agent: AGENT, at: Timestamp(1), items };
    bench.node.propose(command.clone(), Asker::Nobody);
    bench.node.propose(command, Asker::Request(RequestId(7)));
    let sent = bench.drive();
    let [Output::Answer { answer, .. }] = &sent[..] else { panic!("{sent:?}") };
    assert!(refusal(answer.response.clone()).contains("upgrade"));
    assert_eq!(bench.node.state().applied, applied);
}
