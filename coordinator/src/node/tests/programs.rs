//! Programs go to agents that allow them, alone, and elsewhere when they ask; what they wrote is
//! fetched from whoever keeps it.
//!
//! Floor: core.

use common::study::{Hyper, Model, Program};
use common::wire::message::LogPart;

use super::*;
use crate::scheduler::command::PROGRAMS_LEVEL;

/// Eight trials that each run a program.
fn submit(bench: &mut Bench) -> Response {
    let mut study = sample::study(1);
    study.arms[0].model = Model::Program;
    for config in &mut study.arms[0].configs {
        let program = Program { command: vec!["x".into()], ..Program::default() };
        config.hyper = Hyper { program: Some(program), ..Hyper::none() };
    }
    bench.ask(Request::Submit { study: Box::new(study), text: "text".into() })
}

fn submitted(bench: &mut Bench) -> StudyId {
    match submit(bench) {
        Response::Submitted { study, .. } => study,
        other => panic!("{other:?}"),
    }
}

fn able(bench: &mut Bench, member: MemberId) -> SessionId {
    let session = bench.arrive(member, vec![], vec![]);
    bench.say(session, FromAgent::Skills { programs: true });
    session
}

fn fail(bench: &mut Bench, grant: &Grant, reason: FailReason) -> Vec<Output> {
    let ending = Ending::Failed { reason, detail: "said so".into() };
    let report = Report { attempt: attempts(grant)[0], ending };
    bench.say(grant.0, FromAgent::Reports { reports: vec![report] })
}

fn reasons(bench: &mut Bench, study: StudyId, trial: u64) -> String {
    match bench.ask(Request::Explain { study, trial: TrialIndex(trial) }) {
        Response::Explained(explanation) => explanation.reasons.join("; "),
        other => panic!("{other:?}"),
    }
}

fn part(counter: u64, bytes: &[u8]) -> LogPart {
    LogPart {
        lease: LeaseId { term: 1, counter },
        from: 0,
        bytes: bytes.to_vec(),
        written: bytes.len() as u64,
        running: false,
        state: "complete".into(),
    }
}

#[test]
fn an_agent_that_does_not_say_so_is_given_no_program() {
    let mut bench = Bench::new();
    let study = submitted(&mut bench);
    let session = bench.arrive(AGENT, vec![], vec![]);
    assert!(bench.offer(session, 8).is_empty());
    assert!(reasons(&mut bench, study, 0).contains("agent join --allow-programs"));

    bench.say(session, FromAgent::Skills { programs: true });
    // Each takes the lanes of a cohort and of the one that would be queued behind it.
    let granted = bench.offer(session, 16);
    assert_eq!(granted.iter().map(|grant| grant.3.len()).collect::<Vec<_>>(), [1, 1]);
    let lease = granted[0].1;
    bench.say(session, FromAgent::Progress { items: vec![(lease, "step=3\u{1b} a=1".into())] });
    let trial = granted[0].3[0].0;
    assert!(reasons(&mut bench, study, trial).contains("its program said last: step=3 a=1"));
}

#[test]
fn a_program_that_asks_for_another_agent_waits_for_one_and_is_given_up_in_the_end() {
    let mut bench = Bench::new();
    let study = submitted(&mut bench);
    let first = able(&mut bench, AGENT);
    let second = able(&mut bench, OTHER);
    let grant = bench.offer(first, 8).remove(0);
    fail(&mut bench, &grant, FailReason::Elsewhere);
    let trial = grant.3[0];
    let next = bench.offer(first, 8).remove(0);
    assert_ne!(next.3[0], trial, "not here again");
    let there = bench.offer(second, 8).remove(0);
    assert_eq!(there.3[0], trial);

    // Where everybody says so it goes round until that is enough.
    let mut grant = there;
    for turn in 0.. {
        let sent = fail(&mut bench, &grant, FailReason::Elsewhere);
        if !acknowledged(&sent).is_empty() && bench.status(study).failed == 1 {
            assert_eq!(turn, 4, "six losses are enough");
            break;
        }
        let offers = [first, second].into_iter().flat_map(|session| bench.offer(session, 800));
        // What was offered before and not taken is granted at once.
        let granted = grants(&sent).into_iter().chain(offers);
        let granted: Vec<Grant> = granted.collect();
        grant = granted.into_iter().find(|grant| grant.3[0] == trial).expect("granted again");
    }
    assert!(reasons(&mut bench, study, trial.0).contains("0 of 3 failures of its own"));
}

#[test]
fn a_bad_config_is_not_tried_again() {
    let mut bench = Bench::new();
    let study = submitted(&mut bench);
    let session = able(&mut bench, AGENT);
    let grant = bench.offer(session, 8).remove(0);
    fail(&mut bench, &grant, FailReason::BadConfig);
    assert_eq!(bench.status(study).failed, 1);
    let grant = bench.offer(session, 8).remove(0);
    fail(&mut bench, &grant, FailReason::TimeLimit);
    assert_eq!(bench.status(study).failed, 1, "a time limit may be met at the next try");
    let failures = bench.status(study).failures;
    let wanted =
        [("bad config", 1), ("time limit", 1)].map(|(name, count)| (name.to_string(), count));
    assert!(wanted.iter().all(|one| failures.contains(one)), "{failures:?}");
}

#[test]
fn while_replicas_do_not_know_programs_no_study_runs_one_and_no_log_says_so() {
    let settings = Settings { level: PROGRAMS_LEVEL - 1, ..Settings::default() };
    let mut bench = Bench::with(settings);
    let refused = submit(&mut bench);
    assert!(
        matches!(&refused, Response::Refused { why } if why.contains("upgrade")),
        "{refused:?}"
    );
    let study = bench.submit(1);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let grant = bench.offer(session, 8).remove(0);
    fail(&mut bench, &grant, FailReason::OutOfMemory);
    assert_eq!(bench.status(study).failures, [("error".to_string(), 1)]);
}

#[test]
fn a_log_comes_from_who_keeps_the_latest_attempt() {
    let mut bench = Bench::new();
    let study = submitted(&mut bench);
    let ask = |number: u64, trial: u64| {
        let request = Request::Log { study, trial: TrialIndex(trial), from: 0 };
        let ask = Ask { client: ClientId(9), number, at_least: 0, fresh: false, request };
        Input::Asked { id: RequestId(number), who: LOCAL_OPERATOR, ask }
    };
    let answered = |sent: Vec<Output>| {
        sent.into_iter().find_map(|output| match output {
            Output::Answer { answer, .. } => Some(answer.response),
            _ => None,
        })
    };
    let asked = |sent: &[Output]| -> Vec<(SessionId, u64)> {
        let of = |output: &Output| match output {
            Output::ToAgent { session, message: ToAgent::SendLog { number, .. } } => {
                Some((*session, *number))
            }
            _ => None,
        };
        sent.iter().filter_map(of).collect()
    };
    assert!(matches!(answered(bench.step(ask(500, 0))), Some(Response::Refused { .. })));

    let (first, second) = (able(&mut bench, AGENT), able(&mut bench, OTHER));
    let number = asked(&bench.step(ask(501, 0)))[0].1;
    assert!(
        answered(bench.say(first, FromAgent::Log { number, part: Some(part(9, b"late")) }))
            .is_none()
    );
    let last = bench.say(second, FromAgent::Log { number, part: Some(part(3, b"early")) });
    assert_eq!(answered(last), Some(Response::Log { agent: AGENT, part: part(9, b"late") }));

    // Of a trial that runs its agent alone is asked; one that says nothing is not waited for.
    let grant = bench.offer(second, 8).remove(0);
    let sent = bench.step(ask(502, grant.3[0].0));
    assert_eq!(asked(&sent).iter().map(|(session, _)| *session).collect::<Vec<_>>(), [second]);
    assert!(matches!(answered(bench.pass(5_000)), Some(Response::Refused { .. })));
    let long = LogPart { bytes: vec![0; common::wire::message::LOG_PART_MAX + 1], ..part(1, b"") };
    let number = asked(&bench.step(ask(503, grant.3[0].0)))[0].1;
    let sent = bench.say(second, FromAgent::Log { number, part: Some(long) });
    assert!(matches!(answered(sent), Some(Response::Refused { .. })));
}
