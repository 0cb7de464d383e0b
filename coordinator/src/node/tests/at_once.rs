//! Configs that are halved without waiting for each other: who goes on and when; on the same bench.
//!
//! Floor: core.

use std::collections::BTreeSet;

use common::design::{Design, TrialKey};
use common::study::Study;

use super::*;
use crate::scheduler::state::TrialState;

fn begin(bench: &mut Bench, study: &Study) -> StudyId {
    match bench.ask(Request::Submit { study: Box::new(study.clone()), text: "text".into() }) {
        Response::Submitted { study, .. } => study,
        other => panic!("{other:?}"),
    }
}

/// The larger a config's number the better, wherever it is trained.
fn report(design: &Design, attempt: Attempt, fails: &dyn Fn(&TrialKey) -> bool) -> Report {
    let key = design.key(attempt.trial).expect("a trial");
    if fails(&key) {
        let detail = "NaN".to_string();
        return Report { attempt, ending: Ending::Failed { reason: FailReason::Diverged, detail } };
    }
    let Ending::Complete(outcome) = done(attempt).ending else { unreachable!() };
    let metrics = vec![0.1 * f64::from(key.config % 9) + 0.001 * f64::from(key.inner.unwrap_or(9))];
    Report { attempt, ending: Ending::Complete(Outcome { metrics, ..outcome }) }
}

/// Trains what is granted, until so many trials are: these, in order.
fn train(
    bench: &mut Bench,
    study: &Study,
    fails: &dyn Fn(&TrialKey) -> bool,
    most: usize,
) -> Vec<TrialIndex> {
    let session = bench.arrive(AGENT, vec![], vec![]);
    let design = Design::of(study);
    let mut trained = Vec::new();
    while trained.len() < most
        && let Some(grant) = bench.offer(session, 1).pop()
    {
        trained.extend(grant.3.iter().copied());
        let reports =
            attempts(&grant).into_iter().map(|attempt| report(&design, attempt, fails)).collect();
        bench.say(session, FromAgent::Reports { reports });
    }
    bench.say(session, FromAgent::Offer { lanes: 0 });
    trained
}

/// Configs of the first choice on inner folds, each once, in the order of training.
fn order(study: &Study, trained: &[TrialIndex]) -> Vec<u32> {
    let design = Design::of(study);
    let first = design.choices().next().expect("a choice");
    let keys = trained.iter().filter_map(|trial| design.key(*trial));
    let of_first = keys.filter(|key| design.choice_of(key) == Some(first) && key.inner == Some(1));
    of_first.map(|key| key.config).collect()
}

fn never(_: &TrialKey) -> bool {
    false
}

#[test]
fn the_best_third_so_far_goes_on_before_the_others_are_scored() {
    let study = sample::halved_at_once(1, Some(1));
    let mut bench = Bench::new();
    let id = begin(&mut bench, &study);
    let trained = train(&mut bench, &study, &never, usize::MAX);
    // Two configs are trained at a time. After four the last is the best, and goes on; then each better one.
    let order = order(&study, &trained);
    assert_eq!(order[..6], [0, 1, 2, 3, 4, 9 + 3], "{order:?}");
    let rung = |rung: u32| order.iter().filter(|config| *config / 9 == rung).count();
    assert_eq!(rung(0), 9);
    // With each later one the best third is another one.
    assert!(rung(1) > 3 && rung(2) >= 1, "{order:?}");
    let status = bench.status(id);
    assert_eq!((status.state, status.waiting), (StudyState::Finished, 0));
    assert_eq!((status.complete, status.planned), (trained.len() as u64, trained.len() as u64));
    let design = Design::of(&study);
    let known = bench.node.state().choices(id).expect("nested");
    assert!(design.choices().all(|choice| known.chosen(choice) == Some(18 + 8)), "the best of all");
}

#[test]
fn what_is_decided_stands_under_a_new_leader_and_nothing_is_lost() {
    let study = sample::halved_at_once(1, None);
    let design = Design::of(&study);
    let opened = |bench: &Bench, id: StudyId| -> BTreeSet<TrialIndex> {
        let record = &bench.node.state().studies[&id];
        let all = (0..design.trials().expect("few")).map(TrialIndex);
        all.filter(|trial| record.trial(*trial) != Some(TrialState::Unchosen)).collect()
    };
    for interrupts in [&[7][..], &[8, 1, 1, 1], &[25, 14, 3]] {
        let mut bench = Bench::new();
        let id = begin(&mut bench, &study);
        let mut all = BTreeSet::new();
        let mut before = BTreeSet::new();
        for trials in interrupts {
            all.extend(train(&mut bench, &study, &never, *trials));
            let state = bench.node.state();
            let bytes = state.encode().expect("short");
            assert!(State::decode(&bytes).is_some_and(|back| back == *state));
            bench.restart();
            bench.pass(5_000);
            let now = opened(&bench, id);
            assert!(before.is_subset(&now), "{interrupts:?}");
            before = now;
        }
        all.extend(train(&mut bench, &study, &never, usize::MAX));
        let status = bench.status(id);
        assert_eq!((status.state, status.waiting), (StudyState::Finished, 0), "{interrupts:?}");
        assert_eq!(status.complete, status.planned);
        assert_eq!(opened(&bench, id), all, "what was opened was trained, and nothing else");
        assert!(before.is_subset(&all));
        let state = bench.node.state();
        assert!(State::decode(&state.encode().expect("short")).is_some_and(|back| back == *state));
    }
}

#[test]
fn where_all_fail_that_go_on_the_rung_before_chooses() {
    // All that are trained whole fail, or all for more than the first rung's epochs, or all.
    for (from, wanted) in [(18, 8), (9, 8), (0, 0)] {
        let fails = |key: &TrialKey| key.inner.is_some() && key.config >= from;
        let study = sample::halved_at_once(1, Some(1));
        let mut bench = Bench::new();
        let id = begin(&mut bench, &study);
        let trained = train(&mut bench, &study, &fails, usize::MAX);
        let status = bench.status(id);
        assert_eq!((status.state, status.waiting), (StudyState::Finished, 0));
        assert_eq!(status.complete + status.failed, status.planned);
        assert_eq!(trained.len() as u64, status.planned);
        let known = bench.node.state().choices(id).expect("nested");
        let design = Design::of(&study);
        assert!(design.choices().all(|choice| known.chosen(choice) == Some(18 + wanted)));
        let state = bench.node.state();
        assert!(State::decode(&state.encode().expect("short")).is_some_and(|back| back == *state));
    }
}

#[test]
fn where_the_best_fails_that_went_on_another_goes_on_and_is_chosen() {
    let study = sample::halved_at_once(1, Some(1));
    let mut bench = Bench::new();
    let id = begin(&mut bench, &study);
    // The three best for more than the first rung's epochs, and the next one when it is trained whole.
    let fails = |key: &TrialKey| {
        key.inner.is_some() && (key.config >= 9 && key.config % 9 > 5 || key.config == 18 + 5)
    };
    let trained = train(&mut bench, &study, &fails, usize::MAX);
    let known = bench.node.state().choices(id).expect("nested");
    let design = Design::of(&study);
    assert!(design.choices().all(|choice| known.chosen(choice) == Some(18 + 4)));
    assert!(order(&study, &trained).contains(&(18 + 4)));
    assert_eq!(bench.status(id).state, StudyState::Finished);
}

#[test]
fn a_failed_config_never_goes_on() {
    let study = sample::halved_at_once(1, Some(1));
    let mut bench = Bench::new();
    begin(&mut bench, &study);
    let fails = |key: &TrialKey| key.inner == Some(0) && key.config == 8;
    let order = order(&study, &train(&mut bench, &study, &fails, usize::MAX));
    assert!(!order.contains(&(9 + 8)) && order.contains(&(18 + 7)), "{order:?}");
}
