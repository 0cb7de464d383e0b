//! Choices of configs, from their scores to the refits; on the same bench.
//!
//! Floor: core.

use common::design::Design;

use super::*;

fn nested(bench: &mut Bench, seeds: u32) -> (StudyId, Design) {
    let study = sample::nested(seeds, None);
    let design = Design::of(&study);
    match bench.ask(Request::Submit { study: Box::new(study), text: "text".into() }) {
        Response::Submitted { study, .. } => (study, design),
        other => panic!("{other:?}"),
    }
}

/// Trains what is granted until nothing is: the trials in order. Those that `fails` names end failed.
fn train(
    bench: &mut Bench,
    session: SessionId,
    fails: &dyn Fn(TrialIndex) -> bool,
) -> Vec<TrialIndex> {
    let mut trained = Vec::new();
    while let Some(grant) = bench.offer(session, 4).pop() {
        let report = |attempt: Attempt| match fails(attempt.trial) {
            true => Report {
                attempt,
                ending: Ending::Failed { reason: FailReason::Diverged, detail: "NaN".into() },
            },
            false => done(attempt),
        };
        trained.extend(grant.3.iter().copied());
        let reports = attempts(&grant).into_iter().map(report).collect();
        bench.say(session, FromAgent::Reports { reports });
    }
    bench.say(session, FromAgent::Offer { lanes: 0 });
    trained
}

#[test]
fn a_refit_starts_when_its_choice_is_made_and_is_of_the_better_config() {
    let mut bench = Bench::new();
    let (study, design) = nested(&mut bench, 2);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let trained = train(&mut bench, session, &|_| false);
    assert_eq!(trained.len() as u64, design.trained().expect("few"));
    assert_eq!(bench.status(study).state, StudyState::Finished);
    for trial in trained {
        let key = design.key(trial).expect("in it");
        // Later trials score more, and a config's inner folds lie together.
        assert!(key.inner.is_some() || key.config == 1, "{key:?}");
    }
}

#[test]
fn a_new_leader_comes_to_the_same_choices() {
    let mut bench = Bench::new();
    let (study, design) = nested(&mut bench, 2);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let first = bench.offer(session, 4).pop().expect("a cohort");
    let reports = attempts(&first).into_iter().map(done).collect();
    bench.say(session, FromAgent::Reports { reports });
    bench.restart();
    bench.pass(5_000);
    let session = bench.arrive(AGENT, vec![], vec![]);
    train(&mut bench, session, &|_| false);
    assert_eq!(bench.status(study).complete, design.trained().expect("few"));
    let known = bench.node.state().choices(study).expect("nested");
    assert!(known.all().all(|chosen| chosen.config == 1) && known.all().count() == 8);
}

#[test]
fn a_score_that_comes_after_its_choice_asks_for_nothing() {
    let mut bench = Bench::new();
    let (study, design) = nested(&mut bench, 1);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let choice = design.choices().next().expect("a choice");
    let failing = design.scores_of(choice)[0][0][0];
    train(&mut bench, session, &|trial| trial == failing);
    assert_eq!(bench.status(study).failed, 1);
    let retried = bench.control(study, Control::Retry { trials: Which::Failed });
    assert!(matches!(retried, Response::Retried { count: 1, .. }), "{retried:?}");
    assert_eq!(train(&mut bench, session, &|_| false), [failing]);
    let entries = bench.node.state().applied;
    bench.pass(10_000);
    assert_eq!(bench.node.state().applied, entries, "nothing is proposed again and again");
}
