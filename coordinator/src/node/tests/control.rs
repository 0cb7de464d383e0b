//! Control of studies, explanations, agents set aside, full disks, digests; on the same bench.
//!
//! Floor: core.

use super::*;

#[test]
fn a_paused_study_is_granted_nothing_until_it_is_resumed() {
    let mut bench = Bench::new();
    let study = bench.submit(2);
    assert_eq!(bench.control(study, Control::Pause), Response::Done);
    let session = bench.arrive(AGENT, vec![], vec![]);
    assert_eq!(bench.offer(session, 8), []);
    assert_eq!(bench.status(study).state, StudyState::Paused);
    assert!(reasons(&mut bench, study, 0)[0].contains("paused"));
    let ask = Request::Control { study, control: Control::Resume };
    bench.ask(ask);
    assert!(!grants(&bench.say(session, FromAgent::Offer { lanes: 8 })).is_empty());
}

#[test]
fn a_study_of_higher_priority_is_served_first() {
    let mut bench = Bench::new();
    let (first, second) = (bench.submit(2), bench.submit(3));
    bench.control(second, Control::Priority { priority: 1 });
    assert!(reasons(&mut bench, first, 0).iter().any(|r| r.contains("served before it: sample")));
    let session = bench.arrive(AGENT, vec![], vec![]);
    assert_eq!(bench.offer(session, 4)[0].2, second);
}

#[test]
fn retried_trials_are_trained_again_and_their_rows_are_void_meanwhile() {
    let mut bench = Bench::new();
    let study = bench.submit(1);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let mut open = bench.offer(session, 400);
    while let Some(grant) = open.pop() {
        let report = |attempt: Attempt| match attempt.trial.0 {
            0..3 => failed(attempt, FailReason::Diverged),
            _ => done(attempt),
        };
        let reports = attempts(&grant).into_iter().map(report).collect();
        bench.say(session, FromAgent::Reports { reports });
        open.extend(bench.offer(session, 400));
    }
    assert_eq!((bench.status(study).state, bench.status(study).failed), (StudyState::Finished, 3));
    let which = Which::Ranges(vec![(TrialIndex(1), TrialIndex(5))]);
    let would = bench.ask(Request::WouldRetry { study, trials: which.clone() });
    let (trials, count) = (vec![TrialIndex(1), TrialIndex(2)], 2);
    assert_eq!(would, Response::Retried { trials: trials.clone(), count });
    assert_eq!(bench.status(study).failed, 3, "nothing changed");

    bench.say(session, FromAgent::Offer { lanes: 0 });
    let retried = bench.control(study, Control::Retry { trials: which });
    assert_eq!(retried, Response::Retried { trials: trials.clone(), count });
    assert!(!bench.kept.contains_key(&(study, TrialIndex(1))));
    let again: Vec<TrialIndex> =
        bench.offer(session, 400).into_iter().flat_map(|grant| grant.3).collect();
    assert_eq!(again, trials);
}

#[test]
fn an_extended_study_grants_only_what_is_new() {
    let mut bench = Bench::new();
    let study = bench.submit(1);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let mut known = Vec::new();
    loop {
        let granted = bench.offer(session, 4);
        let Some(grant) = granted.first() else { break };
        known.extend(grant.3.clone());
        let reports = attempts(grant).into_iter().map(done).collect();
        bench.say(session, FromAgent::Reports { reports });
    }
    let planned = bench.status(study).planned;
    bench.say(session, FromAgent::Offer { lanes: 0 });
    let control = Control::Extend { seeds: 3, text: "grown".into() };
    assert_eq!(bench.control(study, control), Response::Extended { gained: 2 * planned });
    let sent = bench.say(session, FromAgent::Offer { lanes: 400 });
    let versions: Vec<u32> = sent.iter().filter_map(version).collect();
    assert!(!versions.is_empty() && versions.iter().all(|version| *version == 1));
    let gained: Vec<TrialIndex> = grants(&sent).into_iter().flat_map(|grant| grant.3).collect();
    assert!(gained.iter().all(|trial| !known.contains(trial)));
    assert_eq!(gained.len() as u64, 2 * planned);
}

fn version(output: &Output) -> Option<u32> {
    match output {
        Output::ToAgent { message: ToAgent::Assign { version, .. }, .. } => Some(*version),
        _ => None,
    }
}

fn failed(attempt: Attempt, reason: FailReason) -> Report {
    Report { attempt, ending: Ending::Failed { reason, detail: "no space left".into() } }
}

fn reasons(bench: &mut Bench, study: StudyId, trial: u64) -> Vec<String> {
    match bench.ask(Request::Explain { study, trial: TrialIndex(trial) }) {
        Response::Explained(explanation) => explanation.reasons,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trial_is_explained_wherever_it_is() {
    let mut bench = Bench::new();
    let study = bench.submit(1);
    assert!(reasons(&mut bench, study, 0)[0].contains("no agent is connected"));
    let session = bench.arrive(AGENT, vec![], vec![]);
    let grant = bench.offer(session, 4).remove(0);
    let explained = bench.ask(Request::Explain { study, trial: grant.3[0] });
    let Response::Explained(leased) = explained else { panic!("{explained:?}") };
    let place = TrialPlace::Leased { lease: grant.1, agent: AGENT, left_ms: 15_000 };
    assert_eq!(leased.state, place);
    assert!(leased.cell.contains("seed 0") && leased.cell.contains("fold"), "{}", leased.cell);
    let waiting = reasons(&mut bench, study, 6);
    assert!(waiting[0].contains("all 8 lanes of 1 agents are taken"), "{waiting:?}");
    let report = failed(attempts(&grant)[0], FailReason::Error);
    bench.say(session, FromAgent::Reports { reports: vec![report] });
    let explained = bench.ask(Request::Explain { study, trial: grant.3[0] });
    let Response::Explained(again) = explained else { panic!("{explained:?}") };
    assert_eq!((again.own_failures, again.attempts_allowed), (1, 3));
    assert_eq!(again.failures[0].detail, "no space left");
    let unknown = bench.ask(Request::Explain { study, trial: TrialIndex(999) });
    assert!(matches!(unknown, Response::Refused { why } if why.contains("its trials are 0 to 7")));
}

#[test]
fn an_agent_on_which_everything_fails_is_set_aside_until_it_starts_anew() {
    let mut bench = Bench::new();
    let study = bench.submit(10);
    let sessions = [bench.arrive(AGENT, vec![], vec![]), bench.arrive(OTHER, vec![], vec![])];
    let mut open: Vec<Grant> = Vec::new();
    for turn in 0..200 {
        open.extend(bench.offer(sessions[turn % 2], 4));
        let Some(grant) = open.pop() else { continue };
        let bad = grant.0 == sessions[0];
        let report = |a: Attempt| if bad { failed(a, FailReason::Error) } else { done(a) };
        let reports = attempts(&grant).into_iter().map(report).collect();
        open.extend(grants(&bench.say(grant.0, FromAgent::Reports { reports })));
    }
    let status = bench.status(study);
    assert_eq!((status.complete, status.failed), (status.planned, 0), "the study goes on");
    let Response::Agents { agents } = bench.ask(Request::Agents) else { panic!("no agents") };
    let why = agents[0].set_aside.clone().expect("set aside");
    assert!(why.contains("no space left") && agents[1].set_aside.is_none(), "{agents:?}");

    bench.submit(11);
    assert_eq!(bench.offer(sessions[0], 4), []);
    let register =
        FromAgent::Register { about: about(), life: 2, holding: vec![], crashed: vec![] };
    bench.say(sessions[0], register);
    assert!(!bench.offer(sessions[0], 4).is_empty());
}

#[test]
fn a_full_disk_stops_grants_and_submissions_and_still_takes_outcomes() {
    let mut bench = Bench::new();
    let study = bench.submit(2);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let grant = bench.offer(session, 4).remove(0);
    let why = "the disk of r1 is full".to_string();
    bench.step(Input::Room(Room::OutcomesOnly { why }));

    let reports = attempts(&grant).into_iter().map(done).collect();
    let sent = bench.say(session, FromAgent::Reports { reports });
    assert_eq!(acknowledged(&sent).len(), 4);
    assert_eq!(bench.offer(session, 4), []);
    let text = "text".to_string();
    let refused = bench.ask(Request::Submit { study: Box::new(sample::study(5)), text });
    assert!(matches!(refused, Response::Refused { why } if why.contains("still taken")));
    assert!(reasons(&mut bench, study, 9).iter().any(|why| why.contains("is full")));

    assert!(!grants(&bench.step(Input::Room(Room::Plenty))).is_empty(), "it goes on by itself");
}

#[test]
fn a_command_that_was_answered_is_not_done_again() {
    let mut bench = Bench::new();
    let study = bench.submit(1);
    let control = Control::Extend { seeds: 2, text: String::new() };
    let request = Request::Control { study, control };
    let ask = Ask { client: ClientId(8), number: 5, at_least: 0, fresh: false, request };
    let mut answers = Vec::new();
    for id in [RequestId(70), RequestId(71)] {
        for output in bench.step(Input::Asked { id, who: LOCAL_OPERATOR, ask: ask.clone() }) {
            if let Output::Answer { answer, .. } = output {
                answers.push(answer.response);
            }
        }
    }
    assert_eq!(answers, [Response::Extended { gained: 8 }, Response::Extended { gained: 8 }]);
    assert_eq!(bench.status(study).planned, 16);
}

#[test]
fn agents_that_come_back_keep_a_new_leader_waiting_for_more_of_them() {
    let mut bench = Bench::new();
    let study = bench.submit(2);
    [3, 4].into_iter().for_each(|key| bench.admit(Role::Agent, key));
    bench.pass(2_500);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let grant = bench.offer(session, 4).remove(0);
    bench.restart();
    bench.pass(1_900);
    bench.arrive(AGENT, attempts(&grant), vec![]);
    let other = bench.arrive(OTHER, vec![], vec![]);
    assert_eq!(bench.offer(other, 4), []);
    assert_eq!(grants(&bench.pass(800)), [], "a second after the last that was training");
    assert!(!grants(&bench.pass(300)).is_empty());
    assert!(bench.status(study).leased > 4);
}

#[test]
fn the_state_is_compared_with_what_the_log_says_of_it() {
    let settings = Settings { digest_entries: 5, ..Settings::default() };
    let mut bench = Bench::with(settings);
    let study = bench.submit(4);
    let session = bench.arrive(AGENT, vec![], vec![]);
    while let [grant, ..] = bench.offer(session, 4).as_slice() {
        let reports = attempts(grant).into_iter().map(done).collect();
        bench.say(session, FromAgent::Reports { reports });
        bench.pass(100);
    }
    let digests = |entry: &crate::replica::log::LogEntry| {
        let command = Entry::decode(&entry.data).map(|entry| entry.command);
        matches!(command, Ok(Command::Digests { .. }))
    };
    assert!(bench.disk.entries.iter().filter(|entry| digests(entry)).count() > 1);
    assert_eq!(bench.status(study).complete, bench.status(study).planned);
    bench.restart();
    assert!(bench.node.is_leader(), "the same entries give the same state");
    let wrong = vec![(ReplicaId(NonZeroU64::MIN), [9; 32])];
    let index = *bench.node.peers.digests.keys().next().expect("some");
    let found = bench.node.compare_digests(index, &wrong);
    assert!(matches!(found, Err(NodeError::Diverged { .. })));
}

#[test]
fn a_replica_that_is_new_sends_everyone_on() {
    let logger = Logger::root(slog::Discard, slog::o!());
    let own = ReplicaId(NonZeroU64::new(2).expect("not zero"));
    let settings = Settings::default();
    let replica = Replica::new(own, Recovered::default(), settings.timing, &logger);
    let state = State::empty(ClusterId([1; 16]));
    let mut node = Node::new(replica.expect("starts"), state, settings, 1);
    let now = Now { mono: Timestamp(1), wall: Timestamp(1) };
    let request = Request::Status { study: None };
    let ask = Ask { client: ClientId(1), number: 1, at_least: 0, fresh: false, request };
    node.step(Input::Asked { id: RequestId(1), who: LOCAL_OPERATOR, ask }, now);
    let session = SessionId(1);
    node.step(Input::AgentArrived { session, member: AGENT, address: "a".into() }, now);
    let outputs = node.outputs();
    let elsewhere = |output: &Output| match output {
        Output::Answer { answer, .. } => matches!(answer.response, Response::Elsewhere { .. }),
        Output::CloseAgent { last, .. } => matches!(last, ToAgent::Elsewhere { .. }),
        _ => false,
    };
    assert!(outputs.len() == 2 && outputs.iter().all(elsewhere), "{outputs:?}");
}

#[test]
fn a_replica_votes_only_after_it_has_answered() {
    let mut bench = Bench::new();
    bench.admit(Role::Peer, 5);
    let replica = ReplicaId(NonZeroU64::new(2).expect("not zero"));
    let (id, address) = (RequestId(900), "b:1".to_string());
    let level = bench.settings.level;
    bench.step(Input::Enrol { id, replica, address, level });
    bench.pass(1_000);

    let voters = bench.node.replica().voters();
    assert_eq!((voters.voters, voters.learners), (vec![1], vec![2]), "nobody was heard of");
    bench.submit(3);
}
