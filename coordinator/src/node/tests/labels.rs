//! Arms that require labels go to agents that have them, others to anybody; and who waits in vain is told
//! so; on the same bench.
//!
//! Floor: core.

use std::collections::BTreeSet;

use common::design::Design;
use common::label::Labels;
use common::repeat::Again;
use common::study::{Hyper, Model, Program};
use common::wire::message::Wanting;

use super::*;
use crate::scheduler::command::LABELS_LEVEL;
use crate::scheduler::state::TrialState;

const THIRD: MemberId = MemberId(22);
const EAST: &str = "requires = { site = \"east\" }";

/// Two arms of one shape, eight trials a seed each: `a` for anybody, `b` for the east.
fn submitted(bench: &mut Bench, seeds: u32) -> StudyId {
    let study = Box::new(sample::labelled(["", "", EAST], seeds));
    match bench.ask(Request::Submit { study, text: "text".into() }) {
        Response::Submitted { study, .. } => study,
        other => panic!("{other:?}"),
    }
}

fn labelled(bench: &mut Bench, member: MemberId, labels: &[(&str, &str)]) -> SessionId {
    let session = bench.arrive(member, vec![], vec![]);
    let mut told = Labels::none();
    labels.iter().for_each(|(key, value)| told.insert(key, value));
    bench.say(session, FromAgent::Labels { labels: told });
    session
}

fn arms(bench: &Bench, grants: &[Grant]) -> BTreeSet<u32> {
    let of = |(_, _, study, trials): &Grant| -> Vec<u32> {
        let record = &bench.node.state().studies[study];
        let design = Design::of(&record.study);
        trials.iter().map(|trial| design.key(*trial).expect("in it").arm).collect()
    };
    grants.iter().flat_map(of).collect()
}

fn report(bench: &mut Bench, grant: &Grant) -> Vec<Grant> {
    let reports = attempts(grant).into_iter().map(done).collect();
    grants(&bench.say(grant.0, FromAgent::Reports { reports }))
}

/// Agents offer in turn and end what they are given, until nobody is given anything.
fn served(bench: &mut Bench, sessions: &[SessionId]) -> Vec<Grant> {
    let mut all = Vec::new();
    loop {
        let mut open: Vec<Grant> =
            sessions.iter().flat_map(|session| bench.offer(*session, 4)).collect();
        if open.is_empty() {
            return all;
        }
        while let Some(grant) = open.pop() {
            open.extend(report(bench, &grant));
            all.push(grant);
        }
    }
}

fn reasons(bench: &mut Bench, study: StudyId, trial: TrialIndex) -> String {
    match bench.ask(Request::Explain { study, trial }) {
        Response::Explained(explanation) => explanation.reasons.join("; "),
        other => panic!("{other:?}"),
    }
}

fn told(bench: &mut Bench) -> (Vec<(MemberId, Labels)>, Vec<Wanting>) {
    match bench.ask(Request::Labels) {
        Response::Labels { agents, wanting } => (agents, wanting),
        other => panic!("{other:?}"),
    }
}

#[test]
fn in_a_mixed_fleet_every_trial_is_trained_once_where_it_may_be() {
    let mut bench = Bench::new();
    let study = submitted(&mut bench, 3);
    let east = labelled(&mut bench, AGENT, &[("site", "east"), ("device", "cuda")]);
    let west = labelled(&mut bench, OTHER, &[("site", "west"), ("device", "cpu")]);
    let plain = bench.arrive(THIRD, vec![], vec![]);
    let all = served(&mut bench, &[plain, east, west]);
    let status = bench.status(study);
    assert_eq!((status.complete, status.planned), (48, 48));
    assert_eq!(all.iter().map(|grant| grant.3.len()).sum::<usize>(), 48, "each once");
    for session in [west, plain] {
        let own: Vec<Grant> = all.iter().filter(|grant| grant.0 == session).cloned().collect();
        assert_eq!(arms(&bench, &own), [0].into(), "{session:?} has work, and none of the east's");
    }
    let own: Vec<Grant> = all.into_iter().filter(|grant| grant.0 == east).collect();
    assert!(arms(&bench, &own).contains(&1));
}

#[test]
fn what_few_may_train_goes_first_to_those_and_in_order_where_all_may() {
    let mut bench = Bench::new();
    submitted(&mut bench, 2);
    let east = labelled(&mut bench, AGENT, &[("site", "east")]);
    let first = bench.offer(east, 4);
    assert_eq!(arms(&bench, &first), [0].into(), "alone: in the order of the design");
    bench.arrive(OTHER, vec![], vec![]);
    let next: Vec<Grant> = (0..4).flat_map(|_| bench.offer(east, 4)).collect();
    assert_eq!(arms(&bench, &next), [1].into(), "another one can train the rest");
    let rest = bench.offer(east, 4);
    assert_eq!(arms(&bench, &rest), [0].into(), "and it is not idle after that");
}

#[test]
fn what_nobody_here_may_train_waits_and_is_told_until_somebody_comes() {
    let mut bench = Bench::new();
    let study = submitted(&mut bench, 1);
    let west = labelled(&mut bench, AGENT, &[("site", "west")]);
    let plain = bench.arrive(OTHER, vec![], vec![]);
    served(&mut bench, &[west, plain]);
    assert_eq!(bench.status(study).waiting, 8);

    let record = &bench.node.state().studies[&study];
    let open = |trial: &TrialIndex| record.trial(*trial) == Some(TrialState::Open);
    let trial = (0..16).map(TrialIndex).find(open).expect("one waits");
    let why = reasons(&mut bench, study, trial);
    let wanted = "waits for an agent with site=east; 2 agents are here, none may train it";
    assert!(why.contains(wanted), "{why}");
    let (agents, wanting) = told(&mut bench);
    assert_eq!(agents.len(), 2);
    assert_eq!(agents[0].1.value("site"), Some("west"));
    assert_eq!(wanting.len(), 1);
    assert_eq!((wanting[0].study, wanting[0].agents), (study, 2));
    assert_eq!(wanting[0].arms, ["b"]);
    bench.control(study, Control::Pause);
    assert_eq!(told(&mut bench).1, [], "paused it wants nobody");
    bench.control(study, Control::Resume);

    let east = labelled(&mut bench, THIRD, &[("site", "east")]);
    assert_eq!(told(&mut bench).1, []);
    bench.offer(east, 4);
    let why = reasons(&mut bench, study, trial);
    assert!(!why.contains("none may train it"), "{why}");
    bench.step(Input::AgentGone { session: east });
    assert_eq!(told(&mut bench).1.len(), 1, "it left, and half of it still waits");
    let east = labelled(&mut bench, THIRD, &[("site", "east")]);
    served(&mut bench, &[west, plain, east]);
    assert_eq!(bench.status(study).state, StudyState::Finished);
}

#[test]
fn a_trial_that_failed_on_the_only_agent_that_may_train_it_is_tried_there_again() {
    let mut bench = Bench::new();
    let study = submitted(&mut bench, 1);
    let east = labelled(&mut bench, AGENT, &[("site", "east")]);
    let plain = bench.arrive(OTHER, vec![], vec![]);
    served(&mut bench, &[plain]);
    let grant = bench.offer(east, 4).remove(0);
    for attempt in attempts(&grant) {
        let ending = Ending::Failed { reason: FailReason::Error, detail: "no".into() };
        bench.say(east, FromAgent::Reports { reports: vec![Report { attempt, ending }] });
    }
    bench.offer(plain, 4);
    served(&mut bench, &[east]);
    let status = bench.status(study);
    assert_eq!((status.complete, status.failed), (16, 0));
}

#[test]
fn complete_trials_are_trained_again_by_who_may_train_them() {
    let mut bench = Bench::new();
    let study = submitted(&mut bench, 1);
    let east = labelled(&mut bench, AGENT, &[("site", "east")]);
    served(&mut bench, &[east]);
    assert_eq!(bench.status(study).state, StudyState::Finished);
    bench.step(Input::AgentGone { session: east });
    let plain = bench.arrive(OTHER, vec![], vec![]);
    let all = || Again::These((0..16).map(TrialIndex).collect());
    let ask =
        |bench: &mut Bench| match bench.ask(Request::Repeat { study, number: 1, trials: all() }) {
            Response::Repeats(repeats) => repeats.held,
            other => panic!("{other:?}"),
        };
    let held = ask(&mut bench).unwrap_or_default();
    assert!(held.contains("an agent with site=east; 1 agent is here"), "{held}");
    let again = served(&mut bench, &[plain]);
    assert_eq!(arms(&bench, &again), [0].into());
    let east = labelled(&mut bench, AGENT, &[("site", "east")]);
    assert_eq!(ask(&mut bench), None);
    let again = served(&mut bench, &[plain, east]);
    assert_eq!(arms(&bench, &again), [1].into());
}

#[test]
fn while_replicas_do_not_know_labels_no_study_requires_any() {
    let mut bench = Bench::with(Settings { level: LABELS_LEVEL - 1, ..Settings::default() });
    let study = Box::new(sample::labelled(["", "", EAST], 1));
    let refused = bench.ask(Request::Submit { study, text: "text".into() });
    assert!(
        matches!(&refused, Response::Refused { why } if why.contains("upgrade")),
        "{refused:?}"
    );
    bench.submit(1);
}

#[test]
fn who_has_the_labels_and_who_allows_programs_are_not_together_one_that_may_run_it() {
    let mut bench = Bench::new();
    let mut study = sample::labelled(["", "", EAST], 1);
    study.arms[1].model = Model::Program;
    for config in &mut study.arms[1].configs {
        let program = Program { command: vec!["x".into()], ..Program::default() };
        config.hyper = Hyper { program: Some(program), ..Hyper::none() };
    }
    let asked = Request::Submit { study: Box::new(study), text: "text".into() };
    let Response::Submitted { study, .. } = bench.ask(asked) else { panic!("it is refused") };
    let east = labelled(&mut bench, AGENT, &[("site", "east")]);
    let west = labelled(&mut bench, OTHER, &[("site", "west")]);
    bench.say(west, FromAgent::Skills { programs: true });
    served(&mut bench, &[east, west]);
    assert_eq!(bench.status(study).waiting, 8);
    let waits = |bench: &Bench| {
        let record = &bench.node.state().studies[&study];
        let waits = |trial: &TrialIndex| {
            record.trial(*trial) == Some(TrialState::Open)
                && bench.node.soft.leases.holder(study, *trial).is_none()
        };
        (0..16).map(TrialIndex).find(waits).expect("one waits")
    };
    let trial = waits(&bench);
    let none =
        "waits for an agent with site=east that allows programs; 2 agents are here, none may";
    let why = reasons(&mut bench, study, trial);
    assert!(why.contains(none), "{why}");
    let wanting = told(&mut bench).1;
    assert_eq!(wanting.iter().map(|want| want.arms.clone()).collect::<Vec<_>>(), [["b"]]);
    let unmet = bench.node.unmet(&bench.node.state().studies[&study], [trial].iter());
    assert!(unmet.as_ref().is_some_and(|why| why.contains(none)), "{unmet:?}");

    // Another one that stays may not run it.
    bench.say(east, FromAgent::Stay { left_ms: Some(1_000) });
    bench.say(east, FromAgent::Skills { programs: true });
    let why = reasons(&mut bench, study, trial);
    assert!(why.contains("agents with free lanes end too soon"), "{why}");
    bench.say(east, FromAgent::Stay { left_ms: None });
    let trial = waits(&bench);
    let why = reasons(&mut bench, study, trial);
    assert!(why.contains("that allows programs: 1 of 2 are that, and all their lanes"), "{why}");
    assert_eq!(told(&mut bench).1, []);
}
