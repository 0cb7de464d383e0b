//! Complete trials that are trained again; on the same bench.
//!
//! Floor: core.

use common::repeat::Again;
use common::wire::message::{RepeatState, Repeats};

use super::*;

/// What training gave at first, of some other trial.
fn otherwise(attempt: Attempt) -> Report {
    let other = Attempt { trial: TrialIndex(attempt.trial.0 + 1), ..attempt };
    Report { attempt, ending: done(other).ending }
}

/// A study with its outcomes, and the agent that made them.
fn finished(bench: &mut Bench) -> (StudyId, SessionId) {
    let study = bench.submit(1);
    let session = bench.arrive(AGENT, vec![], vec![]);
    while let Some(grant) = bench.offer(session, 4).pop() {
        let reports = attempts(&grant).into_iter().map(done).collect();
        bench.say(session, FromAgent::Reports { reports });
    }
    bench.say(session, FromAgent::Offer { lanes: 0 });
    assert_eq!(bench.status(study).state, StudyState::Finished);
    (study, session)
}

fn these(trials: impl IntoIterator<Item = u64>) -> Again {
    Again::These(trials.into_iter().map(TrialIndex).collect())
}

fn asked(bench: &mut Bench, study: StudyId, number: u64, trials: Again) -> Repeats {
    match bench.ask(Request::Repeat { study, number, trials }) {
        Response::Repeats(repeats) => *repeats,
        other => panic!("{other:?}"),
    }
}

fn states(bench: &mut Bench, study: StudyId, trials: Again) -> Vec<RepeatState> {
    asked(bench, study, 1, trials).trials.into_iter().map(|one| one.state).collect()
}

fn is_same(state: &RepeatState) -> bool {
    matches!(state, RepeatState::Done { difference: None, .. })
}

#[test]
fn complete_trials_are_trained_again_and_come_out_identical() {
    let mut bench = Bench::new();
    let (study, session) = finished(&mut bench);
    let (before, entries) = (bench.kept.clone(), bench.node.state().applied);
    let drawn = asked(&mut bench, study, 1, Again::Drawn { count: 3, seed: 5 });
    assert_eq!((drawn.trials.len(), drawn.agents, drawn.held), (3, 1, None));
    assert!(drawn.trials.iter().all(|one| one.state == RepeatState::Waiting));
    let trials: Vec<TrialIndex> = drawn.trials.iter().map(|one| one.trial).collect();

    let granted = bench.offer(session, 8);
    let again: Vec<TrialIndex> = granted.iter().flat_map(|grant| grant.3.clone()).collect();
    assert_eq!(again.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    let of = || Again::These(trials.clone());
    assert_eq!(states(&mut bench, study, of()), vec![RepeatState::Leased { agent: AGENT }; 3]);
    assert_eq!(bench.status(study).leased, 0, "none of it is the study's progress");
    for grant in &granted {
        let reports = attempts(grant).into_iter().map(done).collect();
        let sent = bench.say(session, FromAgent::Reports { reports });
        assert_eq!(acknowledged(&sent), attempts(grant));
    }

    assert!(states(&mut bench, study, of()).iter().all(is_same));
    assert!(bench.node.leases().next().is_none());
    assert_eq!((bench.kept.clone(), bench.node.state().applied), (before, entries));
    assert_eq!(bench.status(study).differing, 0);
    assert!(bench.offer(session, 8).is_empty(), "each is trained again once");
}

#[test]
fn another_digest_is_told_and_becomes_a_finding_while_the_first_outcome_stands() {
    let mut bench = Bench::new();
    let (study, session) = finished(&mut bench);
    let before = bench.kept.clone();
    asked(&mut bench, study, 1, these([2, 3]));
    for grant in bench.offer(session, 8) {
        let report = |attempt: Attempt| match attempt.trial.0 {
            2 => otherwise(attempt),
            _ => done(attempt),
        };
        let reports: Vec<Report> = attempts(&grant).into_iter().map(report).collect();
        bench.say(session, FromAgent::Reports { reports: reports.clone() });
        // Told twice, since an answer was lost.
        bench.say(session, FromAgent::Reports { reports });
    }

    let states = states(&mut bench, study, these([2, 3]));
    assert!(!is_same(&states[0]) && is_same(&states[1]), "{states:?}");
    let later = bench.node.repeated_outcome(study, 1, TrialIndex(2)).expect("kept to compare");
    assert_eq!(later.metrics, [0.03]);
    let same = bench.node.repeated_outcome(study, 1, TrialIndex(3)).expect("kept");
    assert!(same.metrics.is_empty(), "an identical one need not be kept");
    let record = &bench.node.state().studies[&study];
    assert_eq!((record.differing, record.violations[0].trial), (1, TrialIndex(2)));
    assert_eq!(bench.kept, before, "what stands is never changed");
}

#[test]
fn a_trial_whose_agent_vanished_is_granted_again_and_not_for_ever() {
    let mut bench = Bench::new();
    let (study, first) = finished(&mut bench);
    let entries = bench.node.state().applied;
    asked(&mut bench, study, 1, these([4]));
    assert_eq!(bench.offer(first, 4).len(), 1);
    bench.step(Input::AgentGone { session: first });
    let second = bench.arrive(OTHER, vec![], vec![]);
    assert!(bench.offer(second, 4).is_empty(), "the lease lives on");

    let sent = bench.pass(16_000);
    let granted = grants(&sent);
    assert_eq!(granted[0].3, [TrialIndex(4)], "{sent:?}");
    assert_eq!(bench.node.state().applied, entries, "no loss of it is in the log");
    assert!(bench.status(study).failures.is_empty());
    // What the vanished agent trained is as good a repetition as another's.
    for _ in 0..2 {
        bench.offer(second, 4);
        bench.pass(16_000);
        asked(&mut bench, study, 1, these([4]));
    }
    let states = states(&mut bench, study, these([4]));
    let RepeatState::Failed { reason, detail } = &states[0] else { panic!("{states:?}") };
    assert_eq!((reason.as_str(), detail.contains("3 agents were lost")), ("agent lost", true));
}

#[test]
fn an_agent_that_dies_with_it_or_gives_it_back_leaves_it_to_the_next() {
    let mut bench = Bench::new();
    let (study, session) = finished(&mut bench);
    asked(&mut bench, study, 1, these([4]));
    let died = bench.offer(session, 4).remove(0);
    let session = bench.arrive(AGENT, vec![], attempts(&died));
    let again = bench.offer(session, 4).remove(0);
    assert_eq!(again.3, [TrialIndex(4)]);
    let back = FromAgent::HandBack { leases: vec![again.1] };
    let third = grants(&bench.say(session, back));
    let third = if third.is_empty() { bench.offer(session, 4) } else { third };
    let reports = attempts(&third[0]).into_iter().map(done).collect();
    bench.say(session, FromAgent::Reports { reports });
    assert!(is_same(&states(&mut bench, study, these([4]))[0]));
}

#[test]
fn an_agent_that_connects_anew_goes_on_with_what_it_trains_again() {
    let mut bench = Bench::new();
    let (study, session) = finished(&mut bench);
    asked(&mut bench, study, 1, these([4]));
    let granted = bench.offer(session, 4).remove(0);
    bench.step(Input::AgentGone { session });
    let session = bench.arrive(AGENT, attempts(&granted), vec![]);
    assert!(bench.node.is_repetition(granted.1), "it was kept");
    let reports = attempts(&granted).into_iter().map(done).collect();
    bench.say(session, FromAgent::Reports { reports });
    assert!(is_same(&states(&mut bench, study, these([4]))[0]));
}

#[test]
fn a_new_leader_knows_nothing_of_it_and_begins_with_what_is_asked_for() {
    let mut bench = Bench::new();
    let (study, session) = finished(&mut bench);
    asked(&mut bench, study, 1, these([4, 5]));
    let granted = bench.offer(session, 4).remove(0);
    bench.restart();
    let session = bench.arrive(AGENT, attempts(&granted), vec![]);
    bench.pass(3_000);
    assert!(bench.node.leases().next().is_none(), "nobody waits for it here");
    // What the agent had ended is known already, and is no repetition here.
    let reports = attempts(&granted).into_iter().map(done).collect();
    let sent = bench.say(session, FromAgent::Reports { reports });
    assert_eq!(acknowledged(&sent), attempts(&granted));
    assert_eq!(states(&mut bench, study, these([5])), [RepeatState::Waiting]);
    let granted = bench.offer(session, 4).remove(0);
    assert_eq!(granted.3, [TrialIndex(5)]);
}

#[test]
fn only_complete_trials_of_a_study_that_goes_on_are_trained_again_beside_the_others() {
    let mut bench = Bench::new();
    let study = bench.submit(2);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let none = Request::Repeat { study, number: 1, trials: Again::Drawn { count: 9, seed: 0 } };
    let Response::Refused { why } = bench.ask(none) else { panic!("nothing is complete") };
    assert!(why.contains("no complete trial yet"), "{why}");
    let first = bench.offer(session, 4).remove(0);
    let reports = attempts(&first).into_iter().map(done).collect();
    bench.say(session, FromAgent::Reports { reports });
    let open = Request::Repeat { study, number: 1, trials: these([0, 15]) };
    let Response::Refused { why } = bench.ask(open) else { panic!("15 is open") };
    assert!(why.contains("trial 15 of sample is not complete"), "{why}");

    let drawn = asked(&mut bench, study, 1, Again::Drawn { count: 9, seed: 0 });
    let trials: Vec<TrialIndex> = drawn.trials.iter().map(|one| one.trial).collect();
    assert_eq!(trials, first.3, "all there are");
    let mut open = bench.offer(session, 400);
    while let Some(grant) = open.pop() {
        let reports = attempts(&grant).into_iter().map(done).collect();
        bench.say(session, FromAgent::Reports { reports });
        open.extend(bench.offer(session, 400));
    }
    assert!(states(&mut bench, study, Again::These(trials)).iter().all(is_same));
    let status = bench.status(study);
    assert_eq!((status.state, status.complete, status.differing), (StudyState::Finished, 16, 0));
}

#[test]
fn a_first_training_that_is_told_again_is_no_repetition() {
    let mut bench = Bench::new();
    let study = bench.submit(1);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let first = bench.offer(session, 400).remove(0);
    let reports: Vec<Report> = attempts(&first).into_iter().map(done).collect();
    bench.say(session, FromAgent::Reports { reports: reports.clone() });
    bench.say(session, FromAgent::Offer { lanes: 0 });
    let trial = first.3[0].0;
    asked(&mut bench, study, 1, these([trial]));

    bench.say(session, FromAgent::Reports { reports });

    assert_eq!(states(&mut bench, study, these([trial])), [RepeatState::Waiting]);
}

#[test]
fn a_cancelled_study_is_trained_again_no_more_unless_it_is_asked_for_anew() {
    let mut bench = Bench::new();
    let (study, session) = finished(&mut bench);
    asked(&mut bench, study, 1, these([4, 5]));
    let granted = bench.offer(session, 4).remove(0);
    bench.control(study, Control::Cancel);
    let states = states(&mut bench, study, these([4, 5]));
    let cancelled = |state: &RepeatState| matches!(state, RepeatState::Failed { reason, .. } if reason == "cancelled");
    assert!(states.iter().all(cancelled), "{states:?}");
    assert!(!bench.node.is_repetition(granted.1));
    asked(&mut bench, study, 2, these([4]));
    assert_eq!(bench.offer(session, 4).remove(0).3, [TrialIndex(4)]);
}

#[test]
fn nobody_trains_for_a_client_that_has_left_and_a_paused_study_says_why_it_waits() {
    let mut bench = Bench::new();
    let (study, session) = finished(&mut bench);
    asked(&mut bench, study, 1, these([4, 5]));
    bench.pass(61_000);
    assert!(bench.offer(session, 8).is_empty(), "it is forgotten");

    let active = bench.submit(2);
    let grant = bench.offer(session, 4).remove(0);
    let reports = attempts(&grant).into_iter().map(done).collect();
    bench.say(session, FromAgent::Reports { reports });
    bench.control(active, Control::Pause);
    let trial = grant.3[0].0;
    let held = asked(&mut bench, active, 1, these([trial])).held.expect("a reason");
    assert!(held.contains("paused"), "{held}");
    assert!(bench.offer(session, 4).is_empty());
    bench.control(active, Control::Resume);
    let state = &asked(&mut bench, active, 1, these([trial])).trials[0].state;
    assert_eq!(*state, RepeatState::Leased { agent: AGENT }, "before all that is open");
}

#[test]
fn two_clients_have_the_same_trial_trained_again_each_for_itself() {
    let mut bench = Bench::new();
    let (study, session) = finished(&mut bench);
    for number in [1, 2] {
        asked(&mut bench, study, number, these([4]));
    }
    for _ in 0..2 {
        // A trial is under one lease: the other one waits for its end.
        let [granted] = bench.offer(session, 4).try_into().expect("one grant");
        assert_eq!(bench.say(session, FromAgent::Renew { leases: vec![granted.1] }), []);
        let reports = attempts(&granted).into_iter().map(done).collect();
        bench.say(session, FromAgent::Reports { reports });
    }
    for number in [1, 2] {
        assert!(is_same(&asked(&mut bench, study, number, these([4])).trials[0].state));
    }
    let many = Request::Repeat { study, number: 1, trials: Again::Drawn { count: 2_000, seed: 0 } };
    assert!(matches!(bench.ask(many), Response::Repeats(_)), "it knows which are meant");
}
