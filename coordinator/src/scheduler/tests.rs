//! What entries of the log do to the state, and the state to what waits.
//!
//! Floor: core.

use common::id::{LeaseId, TrialIndex};
use common::wire::message::Role;

use super::*;
use crate::sample::study;

const AGENT: MemberId = MemberId(20);

fn at(ms: u64) -> Timestamp {
    Timestamp(ms)
}

fn with_study() -> (State, StudyId) {
    let mut state = State::new(common::id::ClusterId([1; 16]));
    let study = study(4);
    let id = study.id();
    let applied =
        state.apply(Command::Submit { study: Box::new(study), text: "…".into(), at: at(1) });
    assert_eq!(applied, Applied::Submitted { study: id, known: false });
    (state, id)
}

fn attempt(study: StudyId, trial: u64, counter: u64) -> Attempt {
    Attempt { study, trial: TrialIndex(trial), lease: LeaseId { term: 1, counter } }
}

fn outcome(value: f64) -> Box<Outcome> {
    let device = "cpu".to_string();
    Box::new(Outcome { metrics: vec![value], rows: vec![], epochs: 1, duration_us: 5, device })
}

fn report(state: &mut State, attempt: Attempt, value: f64) -> Applied {
    state.apply(Command::Outcome { attempt, agent: AGENT, outcome: outcome(value), at: at(2) })
}

fn fail(state: &mut State, attempt: Attempt, reason: FailReason, alone: bool) -> Applied {
    let detail = "why".to_string();
    state.apply(Command::AttemptFailed { attempt, agent: AGENT, reason, detail, alone, at: at(3) })
}

#[test]
fn the_first_outcome_stands_and_a_second_changes_nothing() {
    let (mut state, study) = with_study();
    assert!(matches!(report(&mut state, attempt(study, 0, 1), 0.5), Applied::Ended { .. }));
    let before = state.clone();

    let same = report(&mut state, attempt(study, 0, 2), 0.5);

    assert_eq!(same, Applied::Late { attempt: attempt(study, 0, 2), differs: false });
    assert_eq!(state, before);
}

#[test]
fn a_second_outcome_with_another_digest_is_a_finding() {
    let (mut state, study) = with_study();
    report(&mut state, attempt(study, 0, 1), 0.5);
    let other = report(&mut state, attempt(study, 0, 2), 0.6);
    assert_eq!(other, Applied::Late { attempt: attempt(study, 0, 2), differs: true });
    assert_eq!((state.studies[&study].differing, state.studies[&study].complete), (1, 1));
}

#[test]
fn a_failure_told_twice_counts_once() {
    let (mut state, study) = with_study();
    for _ in 0..5 {
        fail(&mut state, attempt(study, 0, 1), FailReason::Error, true);
    }
    assert_eq!(state.studies[&study].tallies[&TrialIndex(0)].own, 1);
    assert_eq!(state.studies[&study].trial(TrialIndex(0)), Some(TrialState::Open));
}

#[test]
fn a_trial_that_fails_as_often_as_the_budget_allows_is_failed() {
    let (mut state, study) = with_study();
    let again = |applied| matches!(applied, Applied::Again { .. });
    assert!(again(fail(&mut state, attempt(study, 0, 1), FailReason::Error, false)));
    assert!(again(fail(&mut state, attempt(study, 0, 2), FailReason::AgentCrashed, true)));
    let last = fail(&mut state, attempt(study, 0, 3), FailReason::Error, false);
    assert!(matches!(last, Applied::Ended { .. }));
    assert_eq!(state.studies[&study].failed, 1);
}

#[test]
fn a_crash_in_company_blames_nobody_until_it_happens_six_times() {
    let (mut state, study) = with_study();
    for counter in 1..LOSSES_MAX.into() {
        let applied = fail(&mut state, attempt(study, 0, counter), FailReason::AgentCrashed, false);
        assert!(matches!(applied, Applied::Again { .. }), "loss {counter}");
    }
    let sixth = attempt(study, 0, LOSSES_MAX.into());
    let last = fail(&mut state, sixth, FailReason::AgentLost, false);
    assert!(matches!(last, Applied::Ended { .. }));
}

#[test]
fn a_diverged_trial_is_failed_at_once() {
    let (mut state, study) = with_study();
    let applied = fail(&mut state, attempt(study, 0, 1), FailReason::Diverged, false);
    assert!(matches!(applied, Applied::Ended { .. }));
}

#[test]
fn a_study_is_over_with_its_last_trial() {
    let (mut state, study) = with_study();
    let trials = state.studies[&study].planned();
    for trial in 0..trials {
        let applied = report(&mut state, attempt(study, trial, trial), 0.5);
        let Applied::Ended { study_over, .. } = applied else { panic!("{applied:?}") };
        assert_eq!(study_over, trial + 1 == trials);
    }
    assert_eq!(state.studies[&study].state, StudyState::Finished);
}

#[test]
fn a_cancelled_study_takes_no_outcome_and_goes_on_when_submitted_again() {
    let (mut state, id) = with_study();
    report(&mut state, attempt(id, 0, 1), 0.5);
    state.apply(Command::Cancel { study: id, at: at(5) });
    let late = report(&mut state, attempt(id, 1, 1), 0.5);
    assert_eq!(late, Applied::Late { attempt: attempt(id, 1, 1), differs: false });
    assert_eq!(state.studies[&id].open(), 0);

    let text = "…".to_string();
    let again = state.apply(Command::Submit { study: Box::new(study(4)), text, at: at(9) });

    assert_eq!(again, Applied::Submitted { study: id, known: true });
    let record = &state.studies[&id];
    assert_eq!((record.complete, record.open()), (1, record.planned() - 1));
}

fn token(uses: Option<u32>, expires: u64) -> Command {
    let role = Role::Agent;
    let (id, secret_hash, expires) = ([9; 6], [7; 32], at(expires));
    Command::CreateToken(NewToken { id, secret_hash, role, uses, expires, label: String::new() })
}

fn join(state: &mut State, secret: u8, key: u8, ms: u64) -> Option<MemberId> {
    let admission = Admission {
        token_id: [9; 6],
        secret_hash: [secret; 32],
        public_key: [key; 32],
        at: at(ms),
    };
    match state.apply(Command::Admit(admission)) {
        Applied::Admission { member } => member.map(|(id, _)| id),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_join_repeated_with_its_key_is_the_same_member_and_spends_no_use() {
    let (mut state, _) = with_study();
    state.apply(token(Some(1), 100));
    let first = join(&mut state, 7, 1, 10);
    assert!(first.is_some());
    assert_eq!(join(&mut state, 7, 1, 11), first);
    assert_eq!(join(&mut state, 7, 2, 12), None, "its one use is spent");
}

#[test]
fn a_wrong_secret_an_expired_token_and_no_token_admit_nobody() {
    let (mut state, _) = with_study();
    assert_eq!(join(&mut state, 7, 1, 10), None);
    state.apply(token(None, 100));
    assert_eq!(join(&mut state, 8, 1, 10), None);
    assert_eq!(join(&mut state, 7, 1, 100), None);
    assert!(join(&mut state, 7, 1, 99).is_some());
    state.apply(Command::RevokeToken { id: [9; 6] });
    assert_eq!(join(&mut state, 7, 2, 99), None);
}

#[test]
fn an_entry_of_a_newer_format_is_refused() {
    let mut bytes = Command::RevokeToken { id: [0; 6] }.encode().expect("encodes");
    assert!(Command::decode(&bytes).is_ok());
    bytes[0] = 2;
    let refused = Command::decode(&bytes);
    assert!(matches!(refused, Err(command::EntryError::Format { format: 2, .. })));
}

#[test]
fn a_snapshot_gives_the_same_state() {
    let (mut state, study) = with_study();
    state.apply(token(None, 100));
    join(&mut state, 7, 1, 10);
    report(&mut state, attempt(study, 3, 1), 0.5);
    fail(&mut state, attempt(study, 4, 1), FailReason::AgentLost, false);
    let bytes = common::wire::codec::encode(&state).expect("encodes");
    let back: State = common::wire::codec::decode(&bytes).expect("decodes");
    assert_eq!(back, state);
}
