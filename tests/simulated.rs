//! The cluster simulator: schedules that hold, planted bugs that are found, seeds that play alike.
//!
//! Floor: wiring.

use tests::simulation::plan::{Bug, Plan};
use tests::simulation::sweep::Sweep;
use tests::simulation::{play, play_plan, shrink};

#[test]
fn twenty_thousand_schedules_hold() {
    let swept = Sweep::of(SCHEDULES).run(|_| {});
    if let Some(violation) = swept.violations.first() {
        panic!("{}", shrink::tell(&Plan::of(violation.seed, None), violation));
    }
    println!("{} schedules: {}", swept.played, swept.figures);
    // Schedules in which nothing happens would hold too.
    let figures = swept.figures;
    assert_eq!(swept.played, SCHEDULES);
    for (what, seen) in [
        ("crashes", figures.crashes),
        ("elections", figures.elections),
        ("snapshots", figures.snapshots / 4),
        ("memberships", figures.memberships),
        ("trials", figures.trials / 10),
        ("trials to compare", figures.repeats * 10),
    ] {
        assert!(seen > SCHEDULES / 10, "{what}: {seen}");
    }
}

#[test]
fn every_planted_bug_is_found() {
    for (name, bug) in Bug::ALL {
        let swept = Sweep { bug: Some(bug), ..Sweep::of(SCHEDULES) }.run(|_| {});
        let Some(found) = swept.violations.first() else {
            panic!("{name}: not found in {} schedules", swept.played);
        };
        println!("{name}: schedule {}, {}", found.seed, found.rule);
    }
}

#[test]
fn a_seed_gives_one_schedule() {
    let swept = Sweep { twice: true, ..Sweep::of(500) }.run(|_| {});
    assert_eq!((swept.played, swept.violations), (500, vec![]));
    let traces = [play(1, None), play(2, None)].map(|played| played.map(|f| f.trace));
    assert_ne!(traces[0], traces[1]);
}

#[test]
fn a_violation_is_told_short_and_with_its_command() {
    let bug = Bug::named("fence");
    let swept = Sweep { bug, ..Sweep::of(SCHEDULES) }.run(|_| {});
    let violation = swept.violations.first().expect("found");
    let plan = Plan::of(violation.seed, bug);
    let (shorter, found) = shrink::shrink(&plan, violation);
    assert_eq!(found.rule, violation.rule);
    assert!(shorter.faults.len() < plan.faults.len(), "{} faults", shorter.faults.len());
    assert!(play_plan(&shorter, false).is_err());
    let told = shrink::tell(&plan, violation);
    let command = format!("simulate -- --seed {} --bug fence", violation.seed);
    assert!(told.contains(&command) && told.contains(" ms  "), "{told}");
}

const SCHEDULES: u64 = 20_000;
