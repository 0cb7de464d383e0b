//! Seeds bought one by one, and what ends that; on the same bench.
//!
//! Floor: core.

use common::design::{Design, TrialKey};
use common::study::Study;
use common::wire::message::{Decided, Why};

use super::*;
use crate::scheduler::command::BORROWED_LEVEL;

/// What a trial of an arm and seed scores on a fold.
type Score = fn(&TrialKey) -> f64;

/// Arm 1 is better by a tenth, give or take what seed and fold add.
fn apart(key: &TrialKey) -> f64 {
    0.1 * f64::from(key.arm) + noise(key)
}

/// The arms differ by chance alone.
fn alike(key: &TrialKey) -> f64 {
    noise(key)
}

/// The third arm is far behind the two others.
fn one_behind(key: &TrialKey) -> f64 {
    noise(key) - if key.arm == 2 { 0.5 } else { 0.0 }
}

/// A function of the key that looks like chance, of standard deviation 0.03.
fn noise(key: &TrialKey) -> f64 {
    let bits = common::seed::mix(
        u64::from(key.arm) << 40 | u64::from(key.seeds[0]) << 20 | u64::from(key.fold) << 8 | 5,
    );
    0.1 * (bits as f64 / u64::MAX as f64 - 0.5)
}

fn begin(bench: &mut Bench, study: &Study) -> StudyId {
    match bench.ask(Request::Submit { study: Box::new(study.clone()), text: "text".into() }) {
        Response::Submitted { study, .. } => study,
        other => panic!("{other:?}"),
    }
}

/// Trains what is granted, up to so many cohorts, each a second long: the trials in order.
fn train(bench: &mut Bench, study: &Study, score: Score, cohorts: usize) -> Vec<TrialIndex> {
    let session = bench.arrive(AGENT, vec![], vec![]);
    let design = Design::of(study);
    let mut trained = Vec::new();
    for _ in 0..cohorts {
        let Some(grant) = bench.offer(session, 4).pop() else { break };
        bench.pass(1_000);
        let report = |attempt: Attempt| {
            let Ending::Complete(outcome) = done(attempt).ending else { unreachable!() };
            let key = design.key(attempt.trial).expect("a trial");
            let outcome = Outcome { metrics: vec![score(&key)], duration_us: 1_000_000, ..outcome };
            Report { attempt, ending: Ending::Complete(outcome) }
        };
        trained.extend(grant.3.iter().copied());
        let reports = attempts(&grant).into_iter().map(report).collect();
        bench.say(session, FromAgent::Reports { reports });
    }
    bench.say(session, FromAgent::Offer { lanes: 0 });
    trained
}

fn decided(bench: &mut Bench, study: StudyId) -> (Vec<Decided>, Vec<u32>) {
    match bench.ask(Request::Decided { study }) {
        Response::Decided { decided, seeds } => (decided, seeds),
        other => panic!("{other:?}"),
    }
}

const MANY: usize = 10_000;

#[test]
fn a_study_ends_when_its_answer_is_known_and_the_rest_is_never_trained() {
    let study = sample::limited(2, 40, "[stop]\nfirst = 4");
    let mut bench = Bench::new();
    let id = begin(&mut bench, &study);
    let trained = train(&mut bench, &study, apart, MANY);
    let status = bench.status(id);
    let (decisions, seeds) = decided(&mut bench, id);
    assert_eq!(status.state, StudyState::Finished);
    let last = decisions.last().expect("a decision");
    assert!(
        last.stops() && last.why == Why::Rule && last.words.contains("they differ"),
        "{last:?}"
    );
    assert!((4..20).contains(&seeds[0]) && seeds[0] == seeds[1], "{seeds:?}");
    // Five folds of two arms and their permuted controls' two seeds, and a constant's one.
    assert_eq!(trained.len() as u32, 10 * seeds[0] + 20 + 5);
    assert_eq!(status.planned, trained.len() as u64);
    let design = Design::of(&study);
    let key = |trial: &TrialIndex| design.key(*trial).expect("a trial");
    assert!(trained.iter().all(|trial| key(trial).seeds[0] < seeds[0]));
}

#[test]
fn a_further_seed_costs_its_own_trainings_and_not_the_choices_and_controls_of_all() {
    // Each training takes a second; of inner folds half the rows are seen.
    let of = |study: &Study, score: Score| {
        let mut bench = Bench::new();
        let id = begin(&mut bench, study);
        train(&mut bench, study, score, MANY);
        let state = bench.node.state();
        let buying = state.buying(id).expect("limited");
        let hours = super::super::buying::hours_per_block(&state.studies[&id], buying);
        (hours * 3_600.0, buying.seeds(0).expect("bought"))
    };
    let (seconds, _) = of(&sample::limited(2, 9, "[stop]\nfirst = 3\nrope = 0.0001"), alike);
    assert!((seconds - 5.0).abs() < 1e-9, "five folds: {seconds}");
    // Of both arms four configs with two seeds on two inner folds of five outer ones: a second each as well.
    let (seconds, seeds) = of(&sample::tuned_and_limited(), alike);
    // And a constant with one seed.
    let refits = 5.0 * 2.0 * f64::from(seeds);
    let wanted = 5.0 * (160.0 + refits + 5.0) / (0.5 * 160.0 + refits + 5.0);
    assert!((seconds - wanted).abs() < 1e-9, "{seconds}, not {wanted}");
}

#[test]
fn a_seed_is_bought_when_those_before_it_have_ended_and_not_sooner() {
    let study = sample::limited(2, 9, "[stop]\nfirst = 3\nrope = 0.0001\ndifference = false");
    let mut bench = Bench::new();
    let id = begin(&mut bench, &study);
    let design = Design::of(&study);
    let mut before = 2;
    for trial in train(&mut bench, &study, alike, MANY) {
        let key = design.key(trial).expect("a trial");
        assert!(key.seeds[0] <= before + 1, "{key:?}");
        before = before.max(key.seeds[0]);
    }
    // Nothing that ended it: all were bought, and the last look had nothing to decide.
    let (decisions, seeds) = decided(&mut bench, id);
    assert_eq!((seeds[0], decisions.len()), (9, 6));
    assert_eq!(bench.status(id).state, StudyState::Finished);
    assert!(decisions.iter().all(|decided| !decided.stops() && decided.words.is_empty()));
}

#[test]
fn a_new_leader_decides_the_same() {
    let study = sample::limited(3, 30, "[stop]\nfirst = 4");
    let run = |interrupt: &[usize]| {
        let mut bench = Bench::new();
        let id = begin(&mut bench, &study);
        for cohorts in interrupt {
            train(&mut bench, &study, one_behind, *cohorts);
            let state = bench.node.state();
            let bytes = state.encode().expect("short");
            assert!(State::decode(&bytes).is_some_and(|back| back == *state));
            bench.restart();
            bench.pass(5_000);
        }
        train(&mut bench, &study, one_behind, MANY);
        let (decisions, seeds) = decided(&mut bench, id);
        let told =
            |decided: &Decided| (decided.seeds, decided.go_on.clone(), decided.words.clone());
        (decisions.iter().map(told).collect::<Vec<_>>(), seeds, bench.status(id).complete)
    };
    let whole = run(&[]);
    assert!(whole.1[2] < whole.1[0], "the third arm was dropped: {:?}", whole.1);
    for interrupt in [&[3][..], &[21, 1], &[24, 3, 5]] {
        assert_eq!(run(interrupt), whole, "{interrupt:?}");
    }
}

#[test]
fn a_dropped_arm_gets_no_more_seeds_and_the_others_go_on() {
    let study = sample::limited(3, 12, "[stop]\nfirst = 4");
    let mut bench = Bench::new();
    let id = begin(&mut bench, &study);
    train(&mut bench, &study, one_behind, MANY);
    let (decisions, seeds) = decided(&mut bench, id);
    let dropped = decisions.iter().find(|decided| decided.go_on == [0, 1]).expect("a decision");
    assert!(dropped.words.contains("a2") && seeds[2] < 12, "{dropped:?}");
    assert_eq!(seeds[..2], [12, 12]);
    assert_eq!(bench.status(id).state, StudyState::Finished);
}

#[test]
fn after_the_rule_has_ended_more_seeds_may_be_asked_for() {
    let study = sample::limited(2, 40, "[stop]\nfirst = 4");
    let mut bench = Bench::new();
    let id = begin(&mut bench, &study);
    train(&mut bench, &study, apart, MANY);
    let (_, before) = decided(&mut bench, id);
    let extend = |seeds| Control::Extend { seeds, text: "text".into() };
    let same = bench.control(id, extend(before[0]));
    assert!(matches!(same, Response::Extended { gained: 0 }), "{same:?}");
    let more = bench.control(id, extend(before[0] + 2));
    assert!(matches!(more, Response::Extended { gained: 20 }), "{more:?}");
    assert_eq!(train(&mut bench, &study, apart, MANY).len(), 20);
    let (decisions, after) = decided(&mut bench, id);
    assert_eq!(after[0], before[0] + 2);
    assert_eq!(decisions.last().map(|last| last.why), Some(Why::Asked));
    assert_eq!(bench.status(id).state, StudyState::Finished);
    let state = bench.node.state();
    assert!(State::decode(&state.encode().expect("short")).is_some_and(|back| back == *state));
}

#[test]
fn a_seed_in_which_a_trial_failed_counts_for_no_arm() {
    let study = sample::limited(2, 7, "[stop]\nfirst = 3");
    let mut bench = Bench::new();
    let id = begin(&mut bench, &study);
    let fails: Score = |key| if key.seeds[0] == 1 && key.arm == 1 { f64::NAN } else { apart(key) };
    train(&mut bench, &study, fails, MANY);
    let (decisions, _) = decided(&mut bench, id);
    let last = decisions.last().expect("a decision");
    assert!(last.stops() && last.words.contains(&format!("after {} seeds", last.seeds - 1)));
}

#[test]
fn what_is_left_when_the_hours_are_spent_is_cancelled_and_taken_up_again_with_as_many_more() {
    // Ten cohorts of a second.
    let study = sample::limited(2, 40, "[budget]\nhours = 0.00277");
    let mut bench = Bench::new();
    let id = begin(&mut bench, &study);
    train(&mut bench, &study, apart, MANY);
    bench.pass(3_000);
    let first = bench.status(id);
    assert_eq!(first.state, StudyState::Cancelled);
    assert!((32..=48).contains(&first.complete), "{first:?}");
    let (decisions, seeds) = decided(&mut bench, id);
    assert!(seeds.is_empty() && decisions.len() == 1 && decisions[0].why == Why::Spent);
    assert_eq!(begin(&mut bench, &study), id);
    train(&mut bench, &study, apart, MANY);
    bench.pass(3_000);
    let second = bench.status(id);
    assert!((64..=96).contains(&second.complete), "{second:?}");
    assert_eq!(second.state, StudyState::Cancelled);
}

#[test]
fn a_budget_of_which_nothing_is_used_is_not_spent_and_older_entries_are_applied_as_ever() {
    for (level, ends) in [(BORROWED_LEVEL - 1, true), (BORROWED_LEVEL, false)] {
        let mut bench = Bench::with(Settings { level, ..Settings::default() });
        let study = begin(&mut bench, &sample::limited(2, 4, "[budget]\nhours = 1"));
        let mut state = bench.node.state().clone();
        let (at, words, why) = (Timestamp(1), String::new(), Why::Spent);
        let decided = Decided { at, seeds: 0, go_on: Vec::new(), why, words };
        let command = Command::Decide { study, decided };
        let applied = state.apply(state.applied + 1, Entry { origin: None, command });
        assert_eq!(applied == Applied::Cancelled { study }, ends, "{applied:?}");
    }
}
