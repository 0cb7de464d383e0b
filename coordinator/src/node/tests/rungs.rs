//! Configs that are halved: who goes on, whoever leads; on the same bench.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::design::Design;
use common::study::Study;

use super::*;

fn begin(bench: &mut Bench, study: &Study) -> StudyId {
    match bench.ask(Request::Submit { study: Box::new(study.clone()), text: "text".into() }) {
        Response::Submitted { study, .. } => study,
        other => panic!("{other:?}"),
    }
}

/// Trains what is granted, up to so many cohorts. A config scores the more the nearer its number is to 5;
/// `fails`: that one never does.
fn train(bench: &mut Bench, study: &Study, fails: Option<u32>, cohorts: usize) -> Vec<TrialIndex> {
    let session = bench.arrive(AGENT, vec![], vec![]);
    let design = Design::of(study);
    let mut trained = Vec::new();
    for _ in 0..cohorts {
        let Some(grant) = bench.offer(session, 4).pop() else { break };
        let report = |attempt: Attempt| {
            let key = design.key(attempt.trial).expect("a trial");
            let config = key.config % 9;
            if fails == Some(config) {
                let ending =
                    Ending::Failed { reason: FailReason::Diverged, detail: "NaN".to_string() };
                return Report { attempt, ending };
            }
            let Ending::Complete(outcome) = done(attempt).ending else { unreachable!() };
            let metrics = vec![1.0 - 0.1 * f64::from(config.abs_diff(5))];
            Report { attempt, ending: Ending::Complete(Outcome { metrics, ..outcome }) }
        };
        trained.extend(grant.3.iter().copied());
        let reports = attempts(&grant).into_iter().map(report).collect();
        bench.say(session, FromAgent::Reports { reports });
    }
    bench.say(session, FromAgent::Offer { lanes: 0 });
    trained
}

/// How many trials each config had on inner folds.
fn tried(study: &Study, trained: &[TrialIndex]) -> BTreeMap<u32, usize> {
    let design = Design::of(study);
    let mut counts = BTreeMap::new();
    let keys = trained.iter().filter_map(|trial| design.key(*trial));
    keys.filter(|key| key.inner.is_some())
        .for_each(|key| *counts.entry(key.config).or_default() += 1);
    counts
}

#[test]
fn the_best_third_goes_on_twice_and_the_last_is_trained_again() {
    let study = sample::halved(2, None);
    let mut bench = Bench::new();
    let id = begin(&mut bench, &study);
    let trained = train(&mut bench, &study, None, usize::MAX);
    let design = Design::of(&study);
    assert_eq!(trained.len() as u64, design.trained().expect("few"));
    // Four choices on two folds: nine, then 4, 5 and 6, then 5; and its refit.
    let each = |configs: &[u32]| configs.iter().map(|config| (*config, 8)).collect::<Vec<_>>();
    let all = [each(&[0, 1, 2, 3, 4, 5, 6, 7, 8]), each(&[9 + 4, 9 + 5, 9 + 6]), each(&[18 + 5])];
    assert_eq!(tried(&study, &trained), all.concat().into_iter().collect());
    let refits = trained.iter().filter_map(|trial| design.key(*trial));
    let refits = refits.filter(|key| key.inner.is_none()).map(|key| key.config);
    assert_eq!(refits.collect::<Vec<_>>(), [18 + 5; 4]);
    assert_eq!(bench.status(id).state, StudyState::Finished);
    let until = |config: usize| study.arms[0].configs[config].hyper.until;
    assert_eq!([until(0), until(9), until(18)], [Some(1), Some(3), None]);
}

#[test]
fn a_config_that_fails_goes_behind_those_that_do_not() {
    let study = sample::halved(1, Some(1));
    let mut bench = Bench::new();
    begin(&mut bench, &study);
    let trained = train(&mut bench, &study, Some(5), usize::MAX);
    let tried = tried(&study, &trained);
    assert!(!tried.contains_key(&(9 + 5)) && tried.contains_key(&(18 + 4)), "{tried:?}");
}

#[test]
fn a_new_leader_lets_the_same_ones_go_on() {
    let study = sample::halved(2, Some(2));
    let run = |interrupt: &[usize]| {
        let mut bench = Bench::new();
        let id = begin(&mut bench, &study);
        let mut all = Vec::new();
        for cohorts in interrupt {
            all.extend(train(&mut bench, &study, None, *cohorts));
            let state = bench.node.state();
            let bytes = state.encode().expect("short");
            assert!(State::decode(&bytes).is_some_and(|back| back == *state));
            bench.restart();
            bench.pass(5_000);
        }
        all.extend(train(&mut bench, &study, None, usize::MAX));
        all.sort_unstable();
        (all, bench.status(id).complete)
    };
    let whole = run(&[]);
    assert_eq!(whole.1, Design::of(&study).trained().expect("few"));
    for interrupt in [&[2][..], &[19, 1], &[23, 2, 2]] {
        assert_eq!(run(interrupt), whole, "{interrupt:?}");
    }
}
