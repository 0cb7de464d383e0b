//! Looks at outcomes: recorded first, shown only then; on the same bench.
//!
//! Floor: core.

use common::ledger::{Ledger, Purpose};
use common::repeat::Again;

use super::*;
use crate::scheduler::command::LEDGER_LEVEL;

const DESK: MemberId = MemberId(30);

fn look(bench: &mut Bench, who: MemberId, study: StudyId) -> Option<u64> {
    match bench.ask_as(who, Request::Look { study, purpose: Purpose::Export }) {
        Response::Looked { number } => number,
        other => panic!("{other:?}"),
    }
}

fn read(bench: &mut Bench, who: MemberId, study: StudyId, look: u64) -> Response {
    bench.ask_as(who, Request::OutcomesFor { study, from: TrialIndex(0), look })
}

fn ledger(bench: &mut Bench, study: StudyId) -> Ledger {
    match bench.ask(Request::Ledger { study }) {
        Response::Ledger(ledger) => *ledger,
        other => panic!("{other:?}"),
    }
}

fn refusal(response: Response) -> String {
    match response {
        Response::Refused { why } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn outcomes_are_shown_only_for_a_look_that_is_in_the_ledger() {
    let mut bench = Bench::new();
    let study = bench.submit(2);
    assert_eq!(ledger(&mut bench, study).looks(), 0);
    let why = refusal(bench.ask(Request::Outcomes { study, from: TrialIndex(0) }));
    assert!(why.contains("only for a look"), "{why}");
    let why = refusal(read(&mut bench, DESK, study, 1));
    assert!(why.contains("look again"), "{why}");

    assert_eq!(look(&mut bench, DESK, study), Some(1));
    let session = bench.arrive(AGENT, vec![], vec![]);
    let granted = bench.offer(session, 4);
    let reports: Vec<Report> = attempts(&granted[0]).into_iter().map(done).collect();
    bench.say(session, FromAgent::Reports { reports });
    assert_eq!(look(&mut bench, LOCAL_OPERATOR, study), Some(2));

    assert_eq!(read(&mut bench, DESK, study, 1), Response::Done);
    assert_eq!(read(&mut bench, LOCAL_OPERATOR, study, 2), Response::Done);
    let why = refusal(read(&mut bench, DESK, study, 2));
    assert!(why.contains("taken by m1"), "{why}");
    let kept = ledger(&mut bench, study);
    assert!(kept.is_sound());
    let seen: Vec<_> = kept.recent().map(|(look, _)| (look.who, look.outcomes)).collect();
    assert_eq!(seen, [(DESK, 0), (LOCAL_OPERATOR, 4)]);
    bench.restart();
    assert_eq!(ledger(&mut bench, study), kept, "it lies in the log");
    assert_eq!(read(&mut bench, DESK, study, 1), Response::Done);
}

#[test]
fn a_sealed_study_shows_neither_scores_nor_what_its_programs_wrote() {
    let mut bench = Bench::new();
    let study = bench.submit(2);
    assert_eq!(bench.ask_as(DESK, Request::Seal { study }), Response::Done);
    for request in [
        Request::Look { study, purpose: Purpose::Report },
        Request::OutcomesFor { study, from: TrialIndex(0), look: 1 },
        Request::Log { study, trial: TrialIndex(0), from: 0 },
        Request::Repeat { study, number: 1, trials: Again::These(vec![TrialIndex(0)]) },
    ] {
        let why = refusal(bench.ask(request));
        assert!(why.contains("sealed until"), "{why}");
    }
    let told = failed_once(&mut bench, study);
    assert_eq!(told, "sealed", "what a program wrote last may be a score");
    bench.restart();
    let why = refusal(bench.ask(Request::Register { study, claim: " ".to_string() }));
    assert!(why.contains("in a sentence"), "{why}");
    let claim = "b beats a".to_string();
    assert_eq!(bench.ask(Request::Register { study, claim }), Response::Done);
    assert_eq!(look(&mut bench, DESK, study), Some(1));
    assert_eq!(read(&mut bench, DESK, study, 1), Response::Done);
    let Response::LedgerSealed { ledger, sealing } = bench.ask(Request::Ledger { study }) else {
        panic!("it is sealed");
    };
    assert_eq!((ledger.looks(), sealing.sealed.map(|stamp| stamp.who)), (1, Some(DESK)));
    assert_eq!(sealing.claim.map(|claim| claim.looks), Some(0));
}

/// Has an attempt fail that printed its score; what `explain` says of it.
fn failed_once(bench: &mut Bench, study: StudyId) -> String {
    let session = bench.arrive(AGENT, vec![], vec![]);
    let attempt = attempts(&bench.offer(session, 1)[0])[0];
    let detail = "auroc=0.91".to_string();
    let ending = Ending::Failed { reason: FailReason::Error, detail };
    bench.say(session, FromAgent::Reports { reports: vec![Report { attempt, ending }] });
    match bench.ask(Request::Explain { study, trial: attempt.trial }) {
        Response::Explained(explained) => explained.failures[0].detail.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn below_its_level_no_ledger_is_kept_and_outcomes_are_shown_as_before() {
    let mut bench = Bench::new();
    // A cluster in which a program of before is left; its states are written as ever.
    bench.settings.level = LEDGER_LEVEL - 1;
    let first = ReplicaId(NonZeroU64::MIN);
    let mut state = State::new(ClusterId([1; 16]), first, None, LEDGER_LEVEL - 1);
    state.pass(1);
    bench.disk = Recovered::first(1, state.encode().expect("encodes"));
    bench.restart();
    let study = bench.submit(2);
    assert_eq!(look(&mut bench, DESK, study), None);
    let outcomes = Request::Outcomes { study, from: TrialIndex(0) };
    assert_eq!(bench.ask(outcomes.clone()), Response::Done);
    assert!(refusal(bench.ask(Request::Ledger { study })).contains("keeps a ledger yet"));

    // The last one is upgraded.
    bench.settings.level = LEDGER_LEVEL;
    bench.restart();
    bench.pass(300);
    assert_eq!(bench.node.state().level, LEDGER_LEVEL);
    assert_eq!(look(&mut bench, DESK, study), Some(1));
    assert!(matches!(bench.ask(outcomes), Response::Refused { .. }));
    assert_eq!(read(&mut bench, DESK, study, 1), Response::Done);
}

#[test]
fn a_look_that_has_not_come_here_yet_is_waited_for_by_whoever_follows() {
    let logger = Logger::root(slog::Discard, slog::o!());
    let own = ReplicaId(NonZeroU64::new(2).expect("not zero"));
    let settings = Settings::default();
    let first = ReplicaId(NonZeroU64::MIN);
    let mut state = State::new(ClusterId([1; 16]), first, None, settings.level);
    state.pass(1);
    let replica = Replica::new(own, Recovered::default(), settings.timing, &logger);
    let mut node = Node::new(replica.expect("starts"), state, settings, 1);
    let at = |ms: u64| Now { mono: Timestamp(ms), wall: Timestamp(ms) };
    let request = Request::OutcomesFor { study: StudyId(7), from: TrialIndex(0), look: 1 };
    let ask = Ask { client: ClientId(1), number: 1, at_least: 0, fresh: false, request };
    node.step(Input::Asked { id: RequestId(1), who: DESK, ask }, at(1));
    assert!(!node.outputs().iter().any(|output| matches!(output, Output::Answer { .. })));
    node.step(Input::Tick, at(6_000));
    let answers: Vec<Response> = node
        .outputs()
        .into_iter()
        .filter_map(|output| match output {
            Output::Answer { answer, .. } => Some(answer.response),
            _ => None,
        })
        .collect();
    assert!(matches!(answers.as_slice(), [Response::Elsewhere { .. }]), "{answers:?}");
}
