//! Searches that learn, from their first tries to the refits; on the same bench.
//!
//! Floor: core.

use common::design::Design;
use common::space::Value;
use common::study::Study;
use common::trial::Outcome;

use super::*;

fn learned(bench: &mut Bench, study: Study) -> (StudyId, Design) {
    let design = Design::of(&study);
    match bench.ask(Request::Submit { study: Box::new(study), text: "text".into() }) {
        Response::Submitted { study, .. } => (study, design),
        other => panic!("{other:?}"),
    }
}

/// A score that is best at a rate of 0.2, by the config that the node says the trial has.
fn scored(bench: &Bench, attempt: Attempt, fails: &dyn Fn(TrialIndex) -> bool) -> Report {
    if fails(attempt.trial) {
        let detail = "NaN".to_string();
        let ending = Ending::Failed { reason: FailReason::Diverged, detail };
        return Report { attempt, ending };
    }
    let study = &bench.node.state().studies[&attempt.study].study;
    let key = Design::of(study).key(attempt.trial).expect("in it");
    assert!(key.is_proposed(study), "{key:?} is granted before its config is known");
    let lr = key.config(study).point.value("lr").and_then(Value::number).expect("a rate");
    let score = 1.0 - (lr / 0.2).log10().powi(2) - f64::from(key.inner.unwrap_or(0)) / 50.0;
    let device = "cpu".to_string();
    let metrics = vec![score];
    let outcome = Outcome { metrics, rows: vec![], epochs: 2, duration_us: 1, device, curve: None };
    Report { attempt, ending: Ending::Complete(outcome) }
}

/// Trains what is granted until nothing is, or so many trials: these, in order.
fn train(
    bench: &mut Bench,
    session: SessionId,
    most: usize,
    fails: &dyn Fn(TrialIndex) -> bool,
) -> Vec<TrialIndex> {
    let mut trained = Vec::new();
    while trained.len() < most
        && let Some(grant) = bench.offer(session, 4).pop()
    {
        let reports: Vec<Report> =
            attempts(&grant).into_iter().map(|attempt| scored(bench, attempt, fails)).collect();
        trained.extend(grant.3.iter().copied());
        bench.say(session, FromAgent::Reports { reports });
    }
    bench.say(session, FromAgent::Offer { lanes: 0 });
    trained
}

/// A try by the cell of its choice and its number.
type Tried = (u64, u32, String);

/// Every try, and every choice with its config.
fn found(bench: &Bench, study: StudyId) -> (Vec<Tried>, Vec<(u64, u32)>) {
    let state = bench.node.state();
    let searched = state.studies[&study].study.arms[0].learned.as_ref().expect("searched");
    let tries = searched.all().map(|(cell, slot, config)| (cell, slot, config.point.to_string()));
    let known = state.choices(study).expect("nested");
    (tries.collect(), known.all().map(|chosen| (chosen.cell, chosen.config)).collect())
}

#[test]
fn a_search_tries_all_it_may_and_its_best_try_is_trained_again() {
    let mut bench = Bench::new();
    let (study, design) = learned(&mut bench, sample::learned(2, None));
    let session = bench.arrive(AGENT, vec![], vec![]);
    let trained = train(&mut bench, session, usize::MAX, &|_| false);
    assert_eq!(trained.len() as u64, design.trained().expect("few"));
    assert_eq!(bench.status(study).state, StudyState::Finished);
    let (tries, choices) = found(&bench, study);
    assert_eq!((tries.len(), choices.len()), (8 * 16, 8));
    let rate = |point: &str| point.trim_start_matches("lr=").parse::<f64>().expect("a number");
    for (cell, config) in choices {
        let off = |slot: u32| {
            let tried = tries.iter().find(|(at, number, _)| (*at, *number) == (cell, slot));
            (rate(&tried.expect("tried").2) / 0.2).log10().abs()
        };
        assert!((0..16).all(|slot| off(config) <= off(slot)), "choice {cell}: {config}");
        let late = (12..16).map(off).sum::<f64>() / 4.0;
        let first = (0..10).map(off).sum::<f64>() / 10.0;
        assert!(late < first, "choice {cell} learned nothing: {late} after {first}");
    }
}

#[test]
fn a_leader_that_dies_in_the_middle_of_a_search_changes_no_try_and_no_choice() {
    for tune in [None, Some(2)] {
        let mut whole = Bench::new();
        let (study, _) = learned(&mut whole, sample::learned(2, tune));
        let session = whole.arrive(AGENT, vec![], vec![]);
        train(&mut whole, session, usize::MAX, &|_| false);
        let mut broken = Bench::new();
        learned(&mut broken, sample::learned(2, tune));
        for _ in 0..200 {
            let session = broken.arrive(AGENT, vec![], vec![]);
            if train(&mut broken, session, 23, &|_| false).is_empty() {
                break;
            }
            broken.restart();
            broken.pass(5_000);
        }
        assert_eq!(broken.status(study).state, StudyState::Finished);
        assert_eq!(found(&broken, study), found(&whole, study), "{tune:?}");
    }
}

#[test]
fn a_try_that_fails_counts_as_the_worst_and_holds_nothing_up() {
    let mut bench = Bench::new();
    let (study, design) = learned(&mut bench, sample::learned(1, None));
    let session = bench.arrive(AGENT, vec![], vec![]);
    let choice = design.choices().next().expect("a choice");
    let failing: Vec<TrialIndex> = design.tries_of(choice, 3).concat();
    train(&mut bench, session, usize::MAX, &|trial| failing.contains(&trial));
    assert_eq!((bench.status(study).failed, bench.status(study).state), (2, StudyState::Finished));
    assert!(found(&bench, study).1.iter().all(|(cell, config)| *cell > 0 || *config != 3));
    let retried = bench.control(study, Control::Retry { trials: Which::Failed });
    assert!(matches!(retried, Response::Retried { count: 2, .. }), "{retried:?}");
    let before = found(&bench, study);
    assert_eq!(train(&mut bench, session, usize::MAX, &|_| false), failing);
    assert_eq!(found(&bench, study), before, "a choice that is made asks for nothing more");
}

#[test]
fn a_trial_whose_config_is_not_proposed_says_how_far_its_search_is() {
    let mut bench = Bench::new();
    let (study, design) = learned(&mut bench, sample::learned(1, None));
    let choice = design.choices().next().expect("a choice");
    let trial = design.tries_of(choice, 12)[0][1];
    let explained = |bench: &mut Bench| match bench.ask(Request::Explain { study, trial }) {
        Response::Explained(explained) => explained,
        other => panic!("{other:?}"),
    };
    let said = explained(&mut bench);
    assert!(said.reasons[0].contains("not proposed yet: 0 of 16 tries"), "{:?}", said.reasons);
    assert!(said.cell.contains("try=13"), "{}", said.cell);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let first: Vec<TrialIndex> = train(&mut bench, session, 8, &|_| false);
    assert_eq!(first.len(), 8);
    let said = explained(&mut bench);
    assert!(said.reasons[0].contains("4 of 16 tries of its choice"), "{:?}", said.reasons);
}

#[test]
fn seeds_that_a_study_gains_search_for_themselves() {
    let mut bench = Bench::new();
    let (study, _) = learned(&mut bench, sample::learned(1, None));
    let session = bench.arrive(AGENT, vec![], vec![]);
    train(&mut bench, session, usize::MAX, &|_| false);
    let before = found(&bench, study);
    let extend = Control::Extend { seeds: 2, text: "grown".into() };
    assert!(matches!(bench.control(study, extend), Response::Extended { .. }));
    train(&mut bench, session, usize::MAX, &|_| false);
    let after = found(&bench, study);
    assert_eq!((after.0.len(), after.1.len()), (2 * before.0.len(), 8));
    assert_eq!((&after.0[..before.0.len()], &after.1[..4]), (&before.0[..], &before.1[..]));
    assert_eq!(bench.status(study).state, StudyState::Finished);
    // The same as a study that had both from the beginning.
    let mut both = Bench::new();
    let (whole, _) = learned(&mut both, sample::learned(2, None));
    let session = both.arrive(AGENT, vec![], vec![]);
    train(&mut both, session, usize::MAX, &|_| false);
    assert_eq!(found(&both, whole), after);
}
