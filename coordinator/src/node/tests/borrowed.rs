//! Agents that are there for a time: what they are given, what they give back, and who goes on with it.
//!
//! Floor: core.

use common::id::Digest;
use common::wire::message::peer::{PeerMessage, RaftKind, RaftMessage};

use super::*;
use crate::scheduler::command::{BORROWED_LEVEL, LEARN_LEVEL};

/// An agent that says how long it stays.
fn arrives(bench: &mut Bench, member: MemberId, left_ms: Option<u64>) -> SessionId {
    let session = bench.arrive(member, vec![], vec![]);
    bench.say(session, FromAgent::Stay { left_ms });
    session
}

fn interrupt(bench: &mut Bench, grant: &Grant, why: FailReason) -> Vec<Output> {
    bench.say(grant.0, FromAgent::Interrupted { leases: vec![grant.1], why })
}

type Continued = (Vec<TrialIndex>, Vec<(TrialIndex, Digest)>);

/// What it is granted that others had begun: the trials, and the checkpoints of some.
fn continued(sent: &[Output]) -> Vec<Continued> {
    let of = |output: &Output| match output {
        Output::ToAgent { message: ToAgent::AssignFrom { trials, checkpoints, .. }, .. } => {
            Some((trials.clone(), checkpoints.clone()))
        }
        _ => None,
    };
    sent.iter().filter_map(of).collect()
}

fn explained(bench: &mut Bench, study: StudyId, trial: TrialIndex) -> (u32, u32, String) {
    match bench.ask(Request::Explain { study, trial }) {
        Response::Explained(said) => (said.own_failures, said.losses, said.reasons.join("\n")),
        other => panic!("{other:?}"),
    }
}

/// As [`done`], after a training that took its lane so many seconds.
fn took(attempt: Attempt, seconds: u64) -> Report {
    let mut report = done(attempt);
    if let Ending::Complete(outcome) = &mut report.ending {
        outcome.duration_us = seconds * 1_000_000;
    }
    report
}

#[test]
fn what_a_leaving_agent_gives_back_is_counted_against_no_trial_and_gone_on_with() {
    let mut bench = Bench::new();
    let study = bench.submit(1);
    let first = arrives(&mut bench, AGENT, None);
    let grant = bench.offer(first, 4).remove(0);
    let attempt = attempts(&grant)[1];
    let digest = Digest::of(b"reached");
    bench.step(Input::Parked { member: AGENT, attempt, digest });
    interrupt(&mut bench, &grant, FailReason::Preempted);
    assert_eq!(bench.status(study).failures, [("preempted".to_string(), 4)]);
    let (own, losses, why) = explained(&mut bench, study, attempt.trial);
    assert_eq!((own, losses), (0, 0));
    assert!(why.contains("gave back: 1 preempted; none counts against it"), "{why}");

    let second = arrives(&mut bench, OTHER, None);
    let sent = bench.say(second, FromAgent::Offer { lanes: 4 });
    // As many as are due to one of two agents.
    let [(trials, checkpoints)] = &continued(&sent)[..] else { panic!("{sent:?}") };
    assert_eq!(checkpoints[..], [(attempt.trial, digest)]);
    let lease = bench.node.soft.leases.holder(study, attempt.trial).expect("leased");
    let reports = trials.iter().map(|trial| done(Attempt { study, trial: *trial, lease }));
    let sent = bench.say(second, FromAgent::Reports { reports: reports.collect() });
    let unparked = |output: &&Output| **output == Output::Unpark { digest };
    assert_eq!(sent.iter().filter(unparked).count(), 1, "{sent:?}");
    let Response::Stays { stays } = bench.ask(Request::Stays) else { panic!("no stays") };
    let interrupted: Vec<_> = stays.iter().map(|stay| (stay.member, stay.interrupted)).collect();
    assert_eq!(interrupted, [(AGENT, 4), (OTHER, 0)]);
}

#[test]
fn no_number_of_agents_that_leave_ends_a_trial_and_the_same_agent_may_have_it_again() {
    let mut bench = Bench::new();
    let study = bench.submit(1);
    let others = [arrives(&mut bench, AGENT, None), arrives(&mut bench, OTHER, None)];
    let mut given_back = 0;
    for turn in 0..40 {
        let grant = bench.offer(others[0], 4).remove(0);
        assert_eq!(grant.3[0], TrialIndex(0), "turn {turn}");
        given_back += grant.3.len() as u64;
        interrupt(&mut bench, &grant, FailReason::OutOfTime);
        bench.say(others[0], FromAgent::Offer { lanes: 0 });
    }
    let status = bench.status(study);
    assert_eq!(
        (status.failed, status.failures),
        (0, vec![("out of time".to_string(), given_back)])
    );
    let grant = bench.offer(others[1], 4).remove(0);
    let reports = attempts(&grant).into_iter().map(done).collect();
    bench.say(others[1], FromAgent::Reports { reports });
    assert_eq!(bench.status(study).complete, grant.3.len() as u64);
}

#[test]
fn before_anything_is_known_an_agent_gets_nothing_when_little_time_is_left() {
    let mut bench = Bench::new();
    let study = bench.submit(1);
    let session = arrives(&mut bench, AGENT, Some(29_000));
    assert_eq!(bench.offer(session, 4), []);
    let (.., why) = explained(&mut bench, study, TrialIndex(0));
    assert!(why.contains("agents with free lanes end too soon"), "{why}");
    bench.say(session, FromAgent::Stay { left_ms: Some(31_000) });
    assert_eq!(bench.offer(session, 4).len(), 1);
}

#[test]
fn a_cohort_goes_where_one_of_its_epochs_fits_by_how_long_others_took() {
    let mut bench = Bench::new();
    bench.submit(2);
    let slow = arrives(&mut bench, AGENT, None);
    let grant = bench.offer(slow, 4).remove(0);
    // Four lanes and two epochs: 60 s an epoch.
    let reports = attempts(&grant).into_iter().map(|attempt| took(attempt, 30)).collect();
    bench.say(slow, FromAgent::Offer { lanes: 0 });
    bench.say(slow, FromAgent::Reports { reports });
    let session = arrives(&mut bench, OTHER, Some(69_000));
    assert_eq!(bench.offer(session, 4), []);
    bench.say(session, FromAgent::Stay { left_ms: Some(71_000) });
    assert_eq!(bench.offer(session, 4).len(), 1, "all of it would take 120 s");
}

#[test]
fn an_agent_that_falls_silent_at_its_end_was_out_of_time_and_one_before_it_is_lost() {
    for (left_ms, reason) in [(40_000, "out of time"), (400_000, "agent lost")] {
        let mut bench = Bench::new();
        let study = bench.submit(1);
        let session = arrives(&mut bench, AGENT, Some(left_ms));
        let grant = bench.offer(session, 4).remove(0);
        bench.pass(14_000);
        bench.say(session, FromAgent::Renew { leases: vec![grant.1] });
        bench.pass(14_000);
        bench.say(session, FromAgent::Renew { leases: vec![grant.1] });
        bench.step(Input::AgentGone { session });
        bench.pass(16_000);
        assert_eq!(bench.status(study).failures, [(reason.to_string(), 4)]);
        let losses = u32::from(reason == "agent lost");
        assert_eq!(explained(&mut bench, study, grant.3[0]).1, losses);
    }
}

#[test]
fn only_who_holds_a_trial_may_leave_a_checkpoint_of_it() {
    let mut bench = Bench::new();
    bench.submit(1);
    let session = arrives(&mut bench, AGENT, None);
    let grant = bench.offer(session, 4).remove(0);
    let attempt = attempts(&grant)[0];
    assert_eq!(bench.node.may_park(AGENT, &attempt), Ok(()));
    assert!(bench.node.may_park(OTHER, &attempt).is_err(), "another one's");
    let other = Attempt { trial: TrialIndex(7), ..attempt };
    assert!(bench.node.may_park(AGENT, &other).is_err(), "of another cohort");
    let digest = Digest::of(b"late");
    interrupt(&mut bench, &grant, FailReason::Preempted);
    let sent = bench.step(Input::Parked { member: AGENT, attempt, digest });
    assert_eq!(sent, [Output::Unpark { digest }], "it was given back before");
}

#[test]
fn a_checkpoint_takes_the_place_of_an_older_one_and_goes_with_its_study() {
    let mut bench = Bench::new();
    let study = bench.submit(1);
    let session = arrives(&mut bench, AGENT, None);
    let grant = bench.offer(session, 4).remove(0);
    let attempt = attempts(&grant)[0];
    let [old, new] = [b"old", b"new"].map(|bytes| Digest::of(bytes));
    let mut park = |digest| bench.step(Input::Parked { member: AGENT, attempt, digest });
    assert_eq!(park(old), []);
    assert_eq!(park(old), [], "told twice");
    assert_eq!(park(new), [Output::Unpark { digest: old }]);
    bench.control(study, Control::Cancel);
    assert!(bench.node.soft.parked.is_empty());
}

#[test]
fn while_a_replica_is_of_before_that_was_counted_it_is_given_back_without_a_word() {
    let mut bench = Bench::with(Settings { level: LEARN_LEVEL, ..Settings::default() });
    let study = bench.submit(1);
    let session = arrives(&mut bench, AGENT, None);
    let grant = bench.offer(session, 4).remove(0);
    let sent = interrupt(&mut bench, &grant, FailReason::Preempted);
    assert_eq!(grants(&sent).len(), 0, "it offers nothing");
    let status = bench.status(study);
    assert_eq!((status.leased, status.failures), (0, vec![]));
}

#[test]
fn a_report_that_its_agent_left_is_a_loss_at_every_level() {
    for level in [LEARN_LEVEL, BORROWED_LEVEL] {
        let mut bench = Bench::with(Settings { level, ..Settings::default() });
        let study = bench.submit(1);
        let session = arrives(&mut bench, AGENT, None);
        let grant = bench.offer(session, 4).remove(0);
        let reasons = [FailReason::Preempted, FailReason::OutOfTime].into_iter().cycle();
        let report = |(attempt, reason)| {
            let ending = Ending::Failed { reason, detail: "so it says".to_string() };
            Report { attempt, ending }
        };
        let reports = attempts(&grant).into_iter().zip(reasons).map(report).collect();
        let sent = bench.say(session, FromAgent::Reports { reports });
        assert_eq!(acknowledged(&sent), attempts(&grant));
        bench.restart();
        assert_eq!(bench.status(study).failures, [("agent lost".to_string(), 4)]);
        assert_eq!(explained(&mut bench, study, grant.3[0]).1, 1);
    }
}

/// Leaves a checkpoint of a trial that is in training.
fn park(bench: &mut Bench, digest: Digest) {
    let session = arrives(bench, AGENT, None);
    let attempt = attempts(&bench.offer(session, 4).remove(0))[0];
    assert_eq!(bench.step(Input::Parked { member: AGENT, attempt, digest }), []);
    assert!(!bench.node.soft.parked.is_empty());
}

#[test]
fn where_room_is_scarce_checkpoints_go() {
    let mut bench = Bench::new();
    bench.submit(1);
    let digest = Digest::of(b"reached");
    park(&mut bench, digest);
    assert_eq!(bench.step(Input::Room(Room::Plenty)), []);
    let scarce = Room::OutcomesOnly { why: "little is free".to_string() };
    assert_eq!(bench.step(Input::Room(scarce)), [Output::Unpark { digest }]);
    assert!(bench.node.soft.parked.is_empty());
}

#[test]
fn who_leads_no_more_keeps_no_checkpoints() {
    let mut bench = Bench::new();
    bench.submit(1);
    bench.admit(Role::Peer, 9);
    let digest = Digest::of(b"reached");
    park(&mut bench, digest);
    let of = RaftMessage::default();
    let later = RaftMessage { kind: RaftKind::Heartbeat, from: 2, to: 1, term: 1 << 40, ..of };
    let from = ReplicaId(NonZeroU64::new(2).expect("not zero"));
    let message = PeerMessage::Raft(Box::new(later));
    let sent = bench.step(Input::PeerSaid { from, message });
    assert!(!bench.node.is_leader() && sent.contains(&Output::Unpark { digest }), "{sent:?}");
}

#[test]
fn how_long_trainings_took_is_forgotten_with_their_study() {
    let mut bench = Bench::new();
    let study = bench.submit(1);
    let session = arrives(&mut bench, AGENT, None);
    let grant = bench.offer(session, 4).remove(0);
    let reports = attempts(&grant).into_iter().map(|attempt| took(attempt, 30)).collect();
    bench.say(session, FromAgent::Reports { reports });
    assert!(!bench.node.soft.paces.is_empty());
    bench.control(study, Control::Cancel);
    assert!(bench.node.soft.paces.is_empty());
}
