//! Configs that race: who is dropped, and that nothing of it is trained, whoever leads; on the same bench.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::design::{Design, TrialKey};
use common::study::Study;

use super::*;

fn begin(bench: &mut Bench, study: &Study) -> StudyId {
    match bench.ask(Request::Submit { study: Box::new(study.clone()), text: "text".into() }) {
        Response::Submitted { study, .. } => study,
        other => panic!("{other:?}"),
    }
}

/// Config 5 is the best, 4 and 6 are nearly as good and sometimes better; the others are far behind.
fn score(key: &TrialKey) -> f64 {
    let behind = [0.0, 0.001, 0.3, 0.4, 0.5, 0.6][key.config.abs_diff(5) as usize];
    let drawn = mix(u64::from(key.seeds[0]) << 32 | u64::from(key.config) << 8 | 7) % 1_000;
    0.9 - behind + 0.02 * (drawn as f64 / 1_000.0 - 0.5) - 0.1 * f64::from(key.inner.unwrap_or(0))
}

fn mix(number: u64) -> u64 {
    common::seed::mix(number)
}

/// Trains what is granted, up to so many cohorts, and reports each cohort backwards where `backwards`.
fn train(
    bench: &mut Bench,
    study: &Study,
    fails: &dyn Fn(u32) -> bool,
    (cohorts, backwards): (usize, bool),
) -> Vec<TrialIndex> {
    let session = bench.arrive(AGENT, vec![], vec![]);
    let design = Design::of(study);
    let mut trained = Vec::new();
    for _ in 0..cohorts {
        let Some(grant) = bench.offer(session, 4).pop() else { break };
        let report = |attempt: Attempt| {
            let key = design.key(attempt.trial).expect("a trial");
            if key.inner.is_some() && fails(key.config) {
                let ending =
                    Ending::Failed { reason: FailReason::Diverged, detail: "NaN".to_string() };
                return Report { attempt, ending };
            }
            let Ending::Complete(outcome) = done(attempt).ending else { unreachable!() };
            let metrics = vec![score(&key)];
            Report { attempt, ending: Ending::Complete(Outcome { metrics, ..outcome }) }
        };
        trained.extend(grant.3.iter().copied());
        let mut reports: Vec<Report> = attempts(&grant).into_iter().map(report).collect();
        if backwards {
            reports.reverse();
        }
        for report in reports {
            bench.say(session, FromAgent::Reports { reports: vec![report] });
        }
    }
    bench.say(session, FromAgent::Offer { lanes: 0 });
    trained
}

/// With how many tuning seeds each config of the first choice was trained.
fn seeds(study: &Study, trained: &[TrialIndex]) -> BTreeMap<u32, usize> {
    let design = Design::of(study);
    let first = design.choices().next().expect("a choice");
    let keys = trained.iter().filter_map(|trial| design.key(*trial));
    let of_first = keys.filter(|key| key.inner == Some(0) && design.choice_of(key) == Some(first));
    let mut counts = BTreeMap::new();
    of_first.for_each(|key| *counts.entry(key.config).or_default() += 1);
    counts
}

#[test]
fn what_cannot_be_the_best_is_trained_no_further() {
    let study = sample::raced(2);
    let mut bench = Bench::new();
    let id = begin(&mut bench, &study);
    let trained = train(&mut bench, &study, &|_| false, (usize::MAX, false));
    let seeds = seeds(&study, &trained);
    assert!(seeds.values().all(|seeds| *seeds >= 3), "{seeds:?}");
    assert!([4, 5, 6].iter().all(|config| seeds[config] == 8), "{seeds:?}");
    assert!([0, 1, 8].iter().all(|config| seeds[config] < 8), "{seeds:?}");
    let status = bench.status(id);
    let design = Design::of(&study);
    assert_eq!(status.state, StudyState::Finished);
    assert_eq!((status.complete, status.planned), (trained.len() as u64, trained.len() as u64));
    assert!(status.planned < design.trained().expect("few"));
    // Two choices, each with a refit a seed, of one that was left.
    let refits = trained.iter().filter_map(|trial| design.key(*trial));
    let refits: Vec<u32> = refits.filter(|key| key.inner.is_none()).map(|key| key.config).collect();
    assert!(refits.len() == 4 && refits.iter().all(|config| (4..=6).contains(config)));
}

#[test]
fn a_config_that_fails_where_others_do_not_is_dropped_at_the_first_look() {
    let study = sample::raced(1);
    let mut bench = Bench::new();
    begin(&mut bench, &study);
    let seeds =
        seeds(&study, &train(&mut bench, &study, &|config| config == 5, (usize::MAX, false)));
    assert_eq!((seeds[&5], seeds[&4]), (3, 8), "{seeds:?}");
}

#[test]
fn a_new_leader_drops_the_same_ones_in_whatever_order_scores_come() {
    let study = sample::raced(1);
    let run = |interrupt: &[usize], backwards: bool| {
        let mut bench = Bench::new();
        let id = begin(&mut bench, &study);
        let mut all = Vec::new();
        for cohorts in interrupt {
            all.extend(train(&mut bench, &study, &|_| false, (*cohorts, backwards)));
            let state = bench.node.state();
            let bytes = state.encode().expect("short");
            assert!(State::decode(&bytes).is_some_and(|back| back == *state));
            bench.restart();
            bench.pass(5_000);
        }
        all.extend(train(&mut bench, &study, &|_| false, (usize::MAX, backwards)));
        all.sort_unstable();
        let state = bench.node.state();
        assert!(State::decode(&state.encode().expect("short")).is_some_and(|back| back == *state));
        let status = bench.status(id);
        assert_eq!((status.state, status.waiting), (StudyState::Finished, 0));
        (all, status.complete)
    };
    let whole = run(&[], false);
    for interrupt in [&[2][..], &[27, 1], &[29, 2, 2]] {
        assert_eq!(run(interrupt, false), whole, "{interrupt:?}");
    }
    assert_eq!(run(&[5, 25], true), whole, "backwards");
}

#[test]
fn one_that_is_left_alone_is_chosen_at_once() {
    let study = sample::raced(1);
    let mut bench = Bench::new();
    let id = begin(&mut bench, &study);
    let design = Design::of(&study);
    let trained = train(&mut bench, &study, &|config| config != 7, (usize::MAX, false));
    let known = bench.node.state().choices(id).expect("nested");
    assert!(design.choices().all(|choice| known.chosen(choice) == Some(7)));
    // Two choices by nine configs on two folds with three seeds, and two refits.
    assert_eq!(trained.len(), 2 * 9 * 2 * 3 + 2);
    assert_eq!(bench.status(id).state, StudyState::Finished);
    let choice = design.choices().next().expect("a choice");
    let mut why = |config: u32| {
        let trial = design.try_with(choice, config, 7)[0];
        match bench.ask(Request::Explain { study: id, trial }) {
            Response::Explained(why) => why.reasons.concat(),
            other => panic!("{other:?}"),
        }
    };
    assert!(why(0).contains("dropped from the race"), "{}", why(0));
    assert!(why(7).contains("the one that its choice's race left"), "{}", why(7));
}
