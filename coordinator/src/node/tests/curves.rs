//! Curves of outcomes: kept where every replica can read them; on the same bench.
//!
//! Floor: core.

use common::curve::{Curve, Quantity, Trace};

use super::*;
use crate::scheduler::command::{CURVES_LEVEL, Item};

/// Reports one outcome with a curve; what is kept of its trial.
fn reported(bench: &mut Bench, study: StudyId) -> Option<Box<Curve>> {
    let session = bench.arrive(AGENT, vec![], vec![]);
    let attempt = attempts(&bench.offer(session, 1)[0])[0];
    let mut report = done(attempt);
    let Ending::Complete(outcome) = &mut report.ending else { panic!("it is complete") };
    outcome.curve = Some(Box::new(curve()));
    let sent = bench.say(session, FromAgent::Reports { reports: vec![report] });
    assert_eq!(acknowledged(&sent), [attempt]);
    match &bench.kept[&(study, attempt.trial)].end {
        RowEnd::Complete(outcome) => outcome.curve.clone(),
        RowEnd::Failed { .. } => panic!("it is complete"),
    }
}

fn curve() -> Curve {
    let mut trace = Trace::default();
    (1..=9).for_each(|at| trace.push(at, 1.0 / f64::from(at), None));
    trace.curve(Quantity::Loss).expect("nine points")
}

#[test]
fn a_curve_is_kept_with_its_outcome_and_is_in_the_log() {
    let mut bench = Bench::new();
    let study = bench.submit(2);
    assert_eq!(reported(&mut bench, study), Some(Box::new(curve())));

    // What a replica that lost its table of rows would keep anew from the log.
    bench.kept.clear();
    let entries = bench.disk.entries.iter().filter(|entry| !entry.data.is_empty());
    let commands = entries.filter_map(|entry| Entry::decode(&entry.data).ok());
    let curves = commands.filter_map(|entry| match entry.command {
        Command::Reports { items, .. } => Some(items),
        _ => None,
    });
    let of = |item: Item| match item {
        Item::Complete { outcome, .. } => outcome.curve,
        Item::Failed { .. } => None,
    };
    let curves: Vec<_> = curves.flatten().filter_map(of).collect();
    assert_eq!(curves, [Box::new(curve())]);
    bench.restart();
    assert_eq!(bench.status(study).complete, 1);
}

#[test]
fn while_a_replica_cannot_read_curves_outcomes_are_taken_without() {
    let mut bench = Bench::with(Settings { level: CURVES_LEVEL - 1, ..Settings::default() });
    let study = bench.submit(2);
    assert_eq!(reported(&mut bench, study), None);
    bench.settings.level = CURVES_LEVEL;
    bench.restart();
    bench.pass(2_000);
    assert_eq!(bench.node.state().level, CURVES_LEVEL);
    assert_eq!(reported(&mut bench, study), Some(Box::new(curve())));
}
