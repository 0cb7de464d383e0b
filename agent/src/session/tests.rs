//! One claim a test; all effects of a step are compared, so that a stray one fails.
//!
//! Floor: core.

mod leaving;

use common::trial::Outcome;

use super::*;
use crate::sample;

const LIFE: u64 = 3;
const STUDY: StudyId = StudyId(7);

fn at(ms: u64) -> Timestamp {
    Timestamp(ms)
}

fn lease(counter: u64) -> LeaseId {
    LeaseId { term: 1, counter }
}

fn about() -> AgentAbout {
    AgentAbout {
        host: "host".into(),
        device: "cpu".into(),
        model: "model".into(),
        lanes: 8,
        cohort_lanes: 4,
        version: "0".into(),
    }
}

fn trials(first: u64) -> Vec<TrialIndex> {
    (first..first + 4).map(TrialIndex).collect()
}

fn attempts(counter: u64, first: u64) -> Vec<Attempt> {
    let attempt = |trial| Attempt { study: STUDY, trial, lease: lease(counter) };
    trials(first).into_iter().map(attempt).collect()
}

fn complete() -> Ending {
    Ending::Complete(Outcome {
        metrics: vec![0.9],
        rows: Vec::new(),
        epochs: 1,
        duration_us: 1,
        device: "cpu".into(),
        curve: None,
    })
}

fn reports(counter: u64, first: u64) -> Vec<Report> {
    let report = |attempt| Report { attempt, ending: complete() };
    attempts(counter, first).into_iter().map(report).collect()
}

fn study() -> Arc<Study> {
    Arc::new(sample::study(sample::ROWS))
}

fn assign(counter: u64, first: u64) -> Input {
    Input::Message(ToAgent::Assign {
        lease: lease(counter),
        study: STUDY,
        version: 0,
        trials: trials(first),
    })
}

fn registered(keep: Vec<LeaseId>) -> Input {
    Input::Message(ToAgent::Registered { lease_ms: 15_000, keep })
}

fn arrived() -> Input {
    Input::Message(ToAgent::Study {
        id: STUDY,
        version: 0,
        study: Box::new(study().as_ref().clone()),
    })
}

fn acknowledge(attempts: Vec<Attempt>) -> Input {
    Input::Message(ToAgent::Acknowledge { attempts })
}

fn ended(counter: u64) -> Input {
    Input::Ended { lease: lease(counter), endings: Some(vec![complete(); 4]) }
}

fn stopped(counter: u64) -> Input {
    Input::Ended { lease: lease(counter), endings: None }
}

fn leave(until_ms: u64) -> Input {
    Input::Leave { until: at(until_ms), why: FailReason::Preempted }
}

fn register(holding: Vec<Attempt>, crashed: Vec<Attempt>) -> Effect {
    Effect::Send(FromAgent::Register { about: about(), life: LIFE, holding, crashed })
}

fn offer(lanes: u32) -> Effect {
    Effect::Send(FromAgent::Offer { lanes })
}

fn renewal(leases: &[u64]) -> Effect {
    Effect::Send(FromAgent::Renew { leases: leases.iter().map(|&l| lease(l)).collect() })
}

fn send_reports(reports: Vec<Report>) -> Effect {
    Effect::Send(FromAgent::Reports { reports })
}

fn start(counter: u64, first: u64) -> [Effect; 2] {
    [
        Effect::MarkStarted { attempts: attempts(counter, first) },
        Effect::StartCohort {
            lease: lease(counter),
            id: STUDY,
            study: study(),
            trials: trials(first),
        },
    ]
}

/// Two threads of four lanes, registered at time zero.
fn new() -> Session {
    let mut session = Session::new(about(), LIFE, 2, Vec::new(), Vec::new());
    session.steps([Input::Connected, registered(Vec::new())], at(0));
    session
}

/// Cohorts under leases 1 to `count` assigned, the study and its rows here: two train.
fn training(count: u64) -> Session {
    let mut session = new();
    session.steps((1..=count).map(|counter| assign(counter, counter * 10)), at(0));
    session.step(arrived(), at(0));
    session.step(Input::DataReady { study: STUDY }, at(0));
    session
}

#[test]
fn a_connection_begins_with_a_registration_and_an_offer_of_two_cohorts_a_thread() {
    let mut session = Session::new(about(), LIFE, 2, Vec::new(), Vec::new());
    assert_eq!(session.step(Input::Connected, at(0)), [register(Vec::new(), Vec::new())]);
    assert_eq!(session.step(registered(Vec::new()), at(0)), [offer(16)]);
}

#[test]
fn a_granted_study_is_asked_for_once_then_its_rows_then_it_starts() {
    let mut session = new();
    let asked = session.step(assign(1, 10), at(0));
    assert_eq!(asked, [Effect::Send(FromAgent::NeedStudy { study: STUDY })]);
    assert_eq!(session.step(assign(2, 20), at(0)), []);
    assert_eq!(session.step(arrived(), at(0)), [Effect::FetchData { id: STUDY, study: study() }]);
    assert_eq!(session.step(Input::Tick, at(1)), []);
    let started = session.step(Input::DataReady { study: STUDY }, at(1));
    assert_eq!(started, [start(1, 10), start(2, 20)].concat());
}

#[test]
fn a_grant_lowers_the_offer_without_a_word() {
    let mut session = new();
    session.step(assign(1, 10), at(0));
    assert_eq!(session.step(assign(2, 20), at(0)), []);
    assert_eq!(session.lanes_free(), 8);
}

#[test]
fn the_next_cohort_starts_when_one_ends_and_the_outcomes_are_spooled_before_they_are_sent() {
    let mut session = training(3);
    let effects = session.step(ended(1), at(5));
    let [mark, start] = start(3, 30);
    assert_eq!(
        effects,
        [
            Effect::Spool { reports: reports(1, 10) },
            mark,
            start,
            send_reports(reports(1, 10)),
            offer(8)
        ]
    );
}

#[test]
fn cohorts_that_ended_together_share_a_message() {
    let mut session = training(2);
    let effects = session.steps([ended(1), ended(2)], at(5));
    assert_eq!(
        effects,
        [
            Effect::Spool { reports: reports(1, 10) },
            Effect::Spool { reports: reports(2, 20) },
            send_reports([reports(1, 10), reports(2, 20)].concat()),
            offer(16)
        ]
    );
}

#[test]
fn acknowledged_attempts_are_forgotten_once() {
    let mut session = training(1);
    session.step(ended(1), at(5));
    let acknowledged = session.step(acknowledge(attempts(1, 10)), at(6));
    assert_eq!(acknowledged, [Effect::Forget { attempts: attempts(1, 10) }]);
    assert_eq!(session.step(acknowledge(attempts(1, 10)), at(7)), []);
}

#[test]
fn leases_held_are_renewed_at_a_third_of_their_time_until_they_are_acknowledged() {
    let mut session = training(3);
    session.step(ended(1), at(5));
    assert_eq!(session.step(Input::Tick, at(4_999)), []);
    assert_eq!(session.step(Input::Tick, at(5_000)), [renewal(&[1, 2, 3])]);
    session.step(acknowledge(attempts(1, 10)), at(5_001));
    assert_eq!(session.step(Input::Tick, at(9_999)), []);
    assert_eq!(session.step(Input::Tick, at(10_000)), [renewal(&[2, 3])]);
}

#[test]
fn a_lost_connection_stops_nothing_and_what_ended_meanwhile_is_reported_after_it() {
    let mut session = training(3);
    session.step(ended(1), at(5));
    assert_eq!(session.step(Input::Disconnected, at(6)), []);
    assert_eq!(session.step(ended(2), at(7)), [Effect::Spool { reports: reports(2, 20) }]);

    let holding = [attempts(3, 30), attempts(1, 10), attempts(2, 20)].concat();
    assert_eq!(session.step(Input::Connected, at(8)), [register(holding, Vec::new())]);
    let effects = session.step(registered(vec![lease(3)]), at(9));
    let both = [reports(1, 10), reports(2, 20)].concat();
    assert_eq!(effects, [send_reports(both), offer(12)]);
}

#[test]
fn leases_that_are_not_kept_are_stopped_and_free_their_lanes() {
    let mut session = training(3);
    session.step(Input::Disconnected, at(5));
    session.step(Input::Connected, at(6));
    let effects = session.step(registered(vec![lease(2)]), at(7));
    assert_eq!(effects, [Effect::StopCohort { lease: lease(1) }, offer(8)]);
    let effects = session.step(stopped(1), at(8));
    assert_eq!(effects, [Effect::Forget { attempts: attempts(1, 10) }, offer(12)]);
}

#[test]
fn a_revoked_cohort_is_stopped_once_and_no_longer_renewed() {
    let mut session = training(2);
    let revoke = || Input::Message(ToAgent::Revoke { lease: lease(1) });
    assert_eq!(session.step(revoke(), at(1)), [Effect::StopCohort { lease: lease(1) }]);
    assert_eq!(session.step(revoke(), at(2)), []);
    let renewed = session.step(Input::Tick, at(5_000));
    assert_eq!(renewed, [Effect::Send(FromAgent::Renew { leases: vec![lease(2)] })]);
}

#[test]
fn a_cohort_that_ends_while_it_is_being_stopped_is_reported() {
    let mut session = training(1);
    session.step(Input::Message(ToAgent::Revoke { lease: lease(1) }), at(1));
    let effects = session.step(ended(1), at(2));
    let spooled = Effect::Spool { reports: reports(1, 10) };
    assert_eq!(effects, [spooled, send_reports(reports(1, 10)), offer(16)]);
}

#[test]
fn revoking_what_has_ended_does_nothing() {
    let mut session = training(1);
    session.step(ended(1), at(1));
    let revoke = Input::Message(ToAgent::Revoke { lease: lease(1) });
    assert_eq!(session.step(revoke, at(2)), []);
}

#[test]
fn a_waiting_cohort_that_is_revoked_never_starts() {
    let mut session = training(3);
    let revoke = Input::Message(ToAgent::Revoke { lease: lease(3) });
    assert_eq!(session.step(revoke, at(1)), [offer(8)]);
    assert_eq!(session.load().waiting_trials, 0);
}

#[test]
fn an_assignment_that_comes_twice_is_held_once() {
    let mut session = training(3);
    session.step(assign(3, 30), at(1));
    assert_eq!(session.load().waiting_trials, 4);
}

#[test]
fn crashed_attempts_are_registered_until_they_are_acknowledged() {
    let crashed = attempts(1, 10);
    let mut session = Session::new(about(), LIFE, 2, crashed.clone(), reports(2, 20));
    let first = session.step(Input::Connected, at(0));
    assert_eq!(first, [register(attempts(2, 20), crashed.clone())]);
    session.step(registered(Vec::new()), at(0));
    let acknowledged = session.step(acknowledge(crashed.clone()), at(1));
    assert_eq!(acknowledged, [Effect::Forget { attempts: crashed }]);
    session.step(Input::Disconnected, at(2));
    assert_eq!(session.step(Input::Connected, at(3)), [register(attempts(2, 20), Vec::new())]);
}

#[test]
fn an_agent_whose_outcomes_are_not_acknowledged_takes_no_more() {
    let report = |trial| {
        let attempt = Attempt { study: STUDY, trial: TrialIndex(trial), lease: lease(9) };
        Report { attempt, ending: complete() }
    };
    let left: Vec<Report> = (0..UNACKNOWLEDGED_MAX as u64).map(report).collect();
    let mut session = Session::new(about(), LIFE, 2, Vec::new(), left.clone());
    session.step(Input::Connected, at(0));
    let effects = session.step(registered(Vec::new()), at(0));
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Send(FromAgent::Reports { .. }))));
    let attempts = vec![left[0].attempt];
    let effects = session.step(acknowledge(attempts.clone()), at(1));
    assert_eq!(effects, [Effect::Forget { attempts }, offer(16)]);
}

#[test]
fn refused_data_fails_the_waiting_trials_with_the_reason() {
    let mut session = new();
    session.step(assign(1, 10), at(0));
    session.step(arrived(), at(0));
    let refused = Input::DataRefused { study: STUDY, why: "other bytes".to_string() };
    let effects = session.step(refused, at(1));
    let detail = "no data: other bytes".to_string();
    let ending = Ending::Failed { reason: FailReason::Error, detail };
    let report = |attempt| Report { attempt, ending: ending.clone() };
    let reports: Vec<Report> = attempts(1, 10).into_iter().map(report).collect();
    let spooled = Effect::Spool { reports: reports.clone() };
    assert_eq!(effects, [spooled, send_reports(reports), offer(16)]);
}

#[test]
fn data_that_could_not_be_had_is_asked_for_again_after_a_while() {
    let mut session = new();
    session.step(assign(1, 10), at(0));
    session.step(arrived(), at(0));
    assert_eq!(session.step(Input::DataUnreachable { study: STUDY }, at(100)), []);
    assert_eq!(session.step(Input::Tick, at(2_099)), []);
    let again = session.step(Input::Tick, at(2_100));
    assert_eq!(again, [Effect::FetchData { id: STUDY, study: study() }]);
}

#[test]
fn a_study_asked_for_over_a_lost_connection_is_asked_for_again() {
    let mut session = new();
    session.step(assign(1, 10), at(0));
    session.steps([Input::Disconnected, Input::Connected], at(1));
    let effects = session.step(registered(vec![lease(1)]), at(2));
    assert_eq!(effects, [Effect::Send(FromAgent::NeedStudy { study: STUDY }), offer(12)]);
}

#[test]
fn an_agent_says_how_long_it_stays_whenever_it_connects() {
    let session = Session::new(about(), LIFE, 2, Vec::new(), Vec::new());
    let mut session = session.with_end(Some(at(60_000)));
    session.hears(Hears::all_or_little(true));
    let stay = |left_ms| Effect::Send(FromAgent::Stay { left_ms: Some(left_ms) });
    let said = session.step(Input::Connected, at(100));
    assert_eq!(said[1..], [stay(59_900)]);
    session.step(Input::Disconnected, at(200));
    assert_eq!(session.step(Input::Connected, at(40_000))[1..], [stay(20_000)]);
    session.hears(Hears::all_or_little(false));
    assert_eq!(session.step(Input::Connected, at(40_001)).len(), 1, "of before that was known");
}

#[test]
fn a_cohort_that_others_began_waits_for_their_checkpoints() {
    let mut session = training(1);
    let checkpoints = vec![(TrialIndex(20), Digest::of(b"reached"))];
    let assign = |counter, first| ToAgent::AssignFrom {
        lease: lease(counter),
        study: STUDY,
        version: 0,
        trials: trials(first),
        checkpoints: checkpoints.clone(),
    };
    let effects = session.step(Input::Message(assign(2, 20)), at(1));
    let (of, checkpoints) = (lease(2), checkpoints.clone());
    let fetch = Effect::FetchCheckpoints { lease: of, study: study(), checkpoints };
    assert_eq!(effects, [fetch]);
    assert_eq!(session.step(Input::Tick, at(2)), []);
    let begun = session.step(Input::CheckpointsHere { lease: of }, at(3));
    assert_eq!(begun, start(2, 20));
}

#[test]
fn rows_of_studies_long_unused_are_dropped() {
    let mut session = new();
    let id = |number: u64| StudyId(100 + number);
    for number in 0..5 {
        let trials = vec![TrialIndex(0)];
        let lease = lease(number);
        let inputs = [
            Input::Message(ToAgent::Assign { lease, study: id(number), version: 0, trials }),
            Input::Message(ToAgent::Study {
                id: id(number),
                version: 0,
                study: Box::new((*study()).clone()),
            }),
            Input::DataReady { study: id(number) },
        ];
        session.steps(inputs, at(0));
        let ended = Input::Ended { lease, endings: Some(vec![complete()]) };
        let dropped = session.step(ended, at(1)).contains(&Effect::DropData { id: id(0) });
        assert!(!dropped);
    }
    let assign = ToAgent::Assign { lease: lease(9), study: id(1), version: 0, trials: trials(0) };
    session.step(Input::Message(assign), at(2));
    assert_eq!(session.studies.len(), STUDIES_KEPT);
    assert!(!session.studies.contains_key(&id(0)) && session.studies.contains_key(&id(1)));
}

#[test]
fn a_long_detail_is_cut_at_a_whole_character() {
    let detail = "é".repeat(DETAIL_BYTES_MAX);
    let ending = shortened(Ending::Failed { reason: FailReason::Error, detail });
    let Ending::Failed { detail, .. } = ending else { panic!("failed") };
    assert!(detail.len() <= DETAIL_BYTES_MAX + "…".len() && detail.ends_with('…'));
}

#[test]
fn a_study_that_grows_while_its_rows_are_fetched_loses_no_cohort() {
    let mut session = new();
    session.steps([assign(1, 10), arrived()], at(0));
    let study = Box::new(study().as_ref().clone());
    let grown = ToAgent::Assign { lease: lease(2), study: STUDY, version: 1, trials: trials(20) };
    session.step(Input::Message(grown), at(1));
    session.step(Input::DataReady { study: STUDY }, at(2));
    // Its rows are those that are here.
    let arrived = Input::Message(ToAgent::Study { id: STUDY, version: 1, study });
    let effects = session.step(arrived, at(3));
    let begun = |effect: &Effect| match effect {
        Effect::StartCohort { lease, .. } => Some(*lease),
        _ => None,
    };
    let begun: Vec<LeaseId> = effects.iter().filter_map(begun).collect();
    assert_eq!(begun, [lease(1), lease(2)]);
}
