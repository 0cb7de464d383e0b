//! One node over a disk played by the test, with a clock that the test moves. Whole clusters under
//! faults are the simulator's.
//!
//! Floor: core.

mod at_once;
mod borrowed;
mod buying;
mod choosing;
mod control;
mod curves;
mod labels;
mod looks;
mod programs;
mod racing;
mod refused;
mod repeats;
mod rungs;
mod searching;

use std::num::NonZeroU64;

use common::id::{ClientId, ClusterId, LeaseId, MemberId, ReplicaId};
use common::trial::{Ending, FailReason, Outcome, Report};
use common::wire::message::{
    AgentAbout, Ask, Control, FromAgent, NewToken, OutcomeRow, Request, Role, RowEnd, StudyState,
    StudyStatus, ToAgent, TrialPlace, Which,
};

use super::*;
use crate::replica::Logger;
use crate::replica::log::{Recovered, Source};
use crate::sample;
use crate::scheduler::state::LOCAL_OPERATOR;

const AGENT: MemberId = MemberId(20);
const OTHER: MemberId = MemberId(21);

/// A node with a disk in memory and a clock that the test moves.
struct Bench {
    node: Node,
    disk: Recovered,
    kept: BTreeMap<(StudyId, TrialIndex), OutcomeRow>,
    now: u64,
    run: u64,
    settings: Settings,
    next_session: u64,
    next_number: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let first = ReplicaId(NonZeroU64::MIN);
        let mut state = State::new(ClusterId([1; 16]), first, Some("a:1".into()), settings.level);
        state.pass(1);
        let disk = Recovered::first(1, state.encode().expect("encodes"));
        let node = Self::node(&disk, settings, 1);
        let kept = BTreeMap::new();
        let (now, run, next_session, next_number) = (1_000, 1, 1, 1);
        let mut bench = Self { node, disk, kept, now, run, settings, next_session, next_number };
        bench.drive();
        bench
    }

    fn node(disk: &Recovered, settings: Settings, run: u64) -> Node {
        let state = State::decode(&disk.snapshot.state).expect("a snapshot");
        let logger = Logger::root(slog::Discard, slog::o!());
        let first = ReplicaId(NonZeroU64::MIN);
        let replica = Replica::new(first, disk.clone(), settings.timing, &logger).expect("starts");
        Node::new(replica, state, settings, run)
    }

    /// The process dies; what was persisted comes back.
    fn restart(&mut self) {
        self.run += 1;
        self.node = Self::node(&self.disk, self.settings, self.run);
        self.drive();
    }

    fn now(&self) -> Now {
        Now { mono: Timestamp(self.now), wall: Timestamp(1_000_000 + self.now) }
    }

    fn persist(&mut self, persist: Persist) {
        let entries = &mut self.disk.entries;
        if let Some(first) = persist.entries.first() {
            entries.retain(|entry| entry.index < first.index);
        }
        entries.extend(persist.entries);
        self.disk.vote = persist.vote.unwrap_or(self.disk.vote);
        if let Some(save) = persist.snapshot {
            let Source::Own { base, .. } = save.source else { panic!("nobody sends one") };
            self.disk.entries.retain(|entry| entry.index > base.index);
            (self.disk.base, self.disk.snapshot) = (base, save.record);
        }
    }

    /// Persists and applies to rest; returns what is to be sent.
    fn drive(&mut self) -> Vec<Output> {
        let mut sent = Vec::new();
        loop {
            while let Some(persist) = self.node.ready().expect("goes on") {
                self.persist(persist);
                self.node.persisted(self.now()).expect("applies");
            }
            self.node.settle(self.now());
            let outputs = self.node.outputs();
            if outputs.is_empty() {
                return sent;
            }
            for output in outputs {
                match output {
                    Output::Keep { study, row } => {
                        let before = self.kept.insert((study, row.trial), *row.clone());
                        assert!(before.is_none_or(|before| before == *row), "one end a trial");
                    }
                    Output::Drop { study, trial } => {
                        self.kept.remove(&(study, trial)).expect("it was kept");
                    }
                    Output::MembersChanged => {}
                    other => sent.push(other),
                }
            }
        }
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        self.node.step(input, self.now());
        self.drive()
    }

    fn pass(&mut self, ms: u64) -> Vec<Output> {
        let mut sent = Vec::new();
        for _ in 0..ms / 100 {
            self.now += 100;
            sent.extend(self.step(Input::Tick));
        }
        sent
    }

    fn ask(&mut self, request: Request) -> Response {
        self.ask_as(LOCAL_OPERATOR, request)
    }

    fn ask_as(&mut self, who: MemberId, request: Request) -> Response {
        let number = self.next_number;
        self.next_number += 1;
        let ask = Ask { client: ClientId(4), number, at_least: 0, fresh: false, request };
        let sent = self.step(Input::Asked { id: RequestId(number), who, ask });
        let answer = sent.into_iter().find_map(|output| match output {
            Output::Answer { id, answer } if id == RequestId(number) => Some(answer),
            _ => None,
        });
        answer.expect("an answer").response
    }

    fn submit(&mut self, seeds: u32) -> StudyId {
        let study = Box::new(sample::study(seeds));
        match self.ask(Request::Submit { study, text: "text".into() }) {
            Response::Submitted { study, .. } => study,
            other => panic!("{other:?}"),
        }
    }

    /// Lets a key in with a token of its own.
    fn admit(&mut self, role: Role, key: u8) {
        let (id, secret_hash, label) = ([key; 6], [2; 32], String::new());
        let token = NewToken { id, secret_hash, role, ttl_ms: 99_999_999, uses: None, label };
        assert_eq!(self.ask(Request::CreateToken(token)), Response::Done);
        let (token_id, public_key) = ([key; 6], [key; 32]);
        let id = RequestId(999);
        let sent = self.step(Input::Join { id, token_id, secret_hash, public_key });
        let admitted =
            |output: &Output| matches!(output, Output::Admission { join: Join::Admitted(_), .. });
        assert!(sent.iter().any(admitted), "{sent:?}");
    }

    fn control(&mut self, study: StudyId, control: Control) -> Response {
        self.ask(Request::Control { study, control })
    }

    fn arrive(
        &mut self,
        member: MemberId,
        holding: Vec<Attempt>,
        crashed: Vec<Attempt>,
    ) -> SessionId {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.step(Input::AgentArrived { session, member, address: "a".into() });
        let sent =
            self.say(session, FromAgent::Register { about: about(), life: 1, holding, crashed });
        let registered = |output: &Output| {
            matches!(output, Output::ToAgent { message: ToAgent::Registered { .. }, .. })
        };
        assert!(sent.iter().any(registered), "{sent:?}");
        session
    }

    fn say(&mut self, session: SessionId, message: FromAgent) -> Vec<Output> {
        self.step(Input::AgentSaid { session, message })
    }

    fn offer(&mut self, session: SessionId, lanes: u32) -> Vec<Grant> {
        grants(&self.say(session, FromAgent::Offer { lanes }))
    }

    fn status(&mut self, study: StudyId) -> StudyStatus {
        match self.ask(Request::Status { study: Some(study) }) {
            Response::Status { mut studies } => studies.remove(0),
            other => panic!("{other:?}"),
        }
    }
}

type Grant = (SessionId, LeaseId, StudyId, Vec<TrialIndex>);

fn grants(sent: &[Output]) -> Vec<Grant> {
    sent.iter()
        .filter_map(|output| match output {
            Output::ToAgent { session, message: ToAgent::Assign { lease, study, trials, .. } } => {
                Some((*session, *lease, *study, trials.clone()))
            }
            _ => None,
        })
        .collect()
}

fn about() -> AgentAbout {
    AgentAbout {
        host: "h".into(),
        device: "cpu".into(),
        model: "m".into(),
        lanes: 8,
        cohort_lanes: 4,
        version: "0".into(),
    }
}

fn attempts(grant: &Grant) -> Vec<Attempt> {
    let (_, lease, study, trials) = grant;
    trials.iter().map(|trial| Attempt { study: *study, trial: *trial, lease: *lease }).collect()
}

/// What training gives: a function of the trial alone.
fn done(attempt: Attempt) -> Report {
    let metrics = vec![attempt.trial.0 as f64 / 100.0];
    let device = "cpu".to_string();
    let outcome = Outcome { metrics, rows: vec![], epochs: 2, duration_us: 1, device, curve: None };
    Report { attempt, ending: Ending::Complete(outcome) }
}

fn acknowledged(sent: &[Output]) -> Vec<Attempt> {
    sent.iter()
        .filter_map(|output| match output {
            Output::ToAgent { message: ToAgent::Acknowledge { attempts }, .. } => Some(attempts),
            _ => None,
        })
        .flatten()
        .copied()
        .collect()
}

#[test]
fn an_offer_is_answered_with_a_cohort_of_one_shape() {
    let mut bench = Bench::new();
    bench.submit(2);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let granted = bench.offer(session, 8);
    let sizes: Vec<usize> = granted.iter().map(|grant| grant.3.len()).collect();
    assert_eq!(sizes, [4, 4]);
}

#[test]
fn an_outcome_is_acknowledged_only_after_it_is_persisted() {
    let mut bench = Bench::new();
    bench.submit(2);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let granted = bench.offer(session, 4);
    let reports: Vec<Report> = attempts(&granted[0]).into_iter().map(done).collect();

    let message = FromAgent::Reports { reports };
    bench.node.step(Input::AgentSaid { session, message }, bench.now());
    assert_eq!(bench.node.outputs(), []);
    let persist = bench.node.ready().expect("goes on").expect("entries to persist");
    assert_eq!(persist.entries.len(), 1, "a message is an entry");
    assert_eq!(bench.node.outputs(), [], "nothing leaves before the disk has it");
    bench.persist(persist);
    bench.node.persisted(bench.now()).expect("applies");

    assert_eq!(acknowledged(&bench.drive()), attempts(&granted[0]));
}

#[test]
fn a_silent_agents_trials_go_to_another_after_the_lease() {
    let mut bench = Bench::new();
    let study = bench.submit(2);
    let first = bench.arrive(AGENT, vec![], vec![]);
    let lost = bench.offer(first, 4);
    bench.step(Input::AgentGone { session: first });
    let second = bench.arrive(OTHER, vec![], vec![]);
    bench.offer(second, 400);
    let held = bench.status(study).leased;

    let sent = bench.pass(14_000);
    assert!(grants(&sent).is_empty(), "{sent:?}");
    bench.say(second, FromAgent::Offer { lanes: 400 });
    let again: Vec<TrialIndex> =
        grants(&bench.pass(3_000)).into_iter().flat_map(|grant| grant.3).collect();

    assert!(held > 0);
    assert!(lost[0].3.iter().all(|trial| again.contains(trial)), "{again:?}");
}

#[test]
fn a_renewed_lease_is_not_taken_away() {
    let mut bench = Bench::new();
    let study = bench.submit(2);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let granted = bench.offer(session, 4);
    for _ in 0..10 {
        bench.pass(5_000);
        let sent = bench.say(session, FromAgent::Renew { leases: vec![granted[0].1] });
        assert!(sent.is_empty(), "{sent:?}");
    }
    assert_eq!(bench.status(study).leased, 4);
    assert!(bench.status(study).failures.is_empty());
}

#[test]
fn a_late_outcome_is_taken_when_it_is_the_first() {
    let mut bench = Bench::new();
    let study = bench.submit(2);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let granted = bench.offer(session, 4);
    bench.pass(20_000);
    let late: Vec<Report> = attempts(&granted[0]).into_iter().map(done).collect();

    let sent = bench.say(session, FromAgent::Reports { reports: late });

    assert_eq!(acknowledged(&sent).len(), 4);
    assert_eq!(bench.status(study).complete, 4);
}

#[test]
fn an_agent_that_returns_keeps_what_it_holds_and_loses_no_time() {
    let mut bench = Bench::new();
    let study = bench.submit(2);
    let first = bench.arrive(AGENT, vec![], vec![]);
    let granted = bench.offer(first, 8);
    bench.step(Input::AgentGone { session: first });

    let second = bench.arrive(AGENT, attempts(&granted[0]), vec![]);

    assert_eq!(bench.status(study).leased, 4, "what it knows nothing of waits again");
    let sent = bench.say(second, FromAgent::Renew { leases: vec![granted[0].1, granted[1].1] });
    let revoked = ToAgent::Revoke { lease: granted[1].1 };
    assert_eq!(sent, [Output::ToAgent { session: second, message: revoked }]);
}

#[test]
fn a_poison_trial_fails_alone_and_its_neighbours_complete() {
    let mut bench = Bench::new();
    let study = bench.submit(1);
    let poison = TrialIndex(2);
    let mut session = bench.arrive(AGENT, vec![], vec![]);
    let mut open = bench.offer(session, 8);
    for _ in 0..60 {
        let Some(grant) = open.pop() else {
            open = bench.offer(session, 8);
            if open.is_empty() {
                break;
            }
            continue;
        };
        if grant.3.contains(&poison) {
            // The process dies with everything it held, and comes back.
            bench.step(Input::AgentGone { session });
            session = bench.arrive(AGENT, vec![], attempts(&grant));
            open.clear();
        } else {
            let reports = attempts(&grant).into_iter().map(done).collect();
            let sent = bench.say(session, FromAgent::Reports { reports });
            open.extend(grants(&sent));
        }
    }
    let status = bench.status(study);
    assert_eq!((status.failed, status.complete), (1, status.planned - 1), "{status:?}");
    let RowEnd::Failed { reason, .. } = &bench.kept[&(study, poison)].end else {
        panic!("it has failed")
    };
    assert_eq!(reason, "poison");
    assert_eq!(status.poison, [poison]);
}

#[test]
fn a_restart_keeps_every_acknowledged_outcome_and_grants_only_the_rest() {
    let mut bench = Bench::new();
    let study = bench.submit(2);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let granted = bench.offer(session, 4);
    let reports: Vec<Report> = attempts(&granted[0]).into_iter().map(done).collect();
    bench.say(session, FromAgent::Reports { reports });

    bench.restart();

    assert_eq!(bench.status(study).complete, 4);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let again: Vec<TrialIndex> =
        bench.offer(session, 400).into_iter().flat_map(|grant| grant.3).collect();
    assert!(granted[0].3.iter().all(|trial| !again.contains(trial)));
    assert_eq!(again.len() as u64, bench.status(study).planned - 4);
}

#[test]
fn a_new_leader_grants_nothing_while_agents_say_what_they_hold() {
    let mut bench = Bench::new();
    bench.submit(2);
    bench.admit(Role::Agent, 3);
    bench.restart();
    let session = bench.arrive(AGENT, vec![], vec![]);

    assert_eq!(bench.offer(session, 8), []);
    assert!(!grants(&bench.pass(2_100)).is_empty());
}

#[test]
fn snapshots_shorten_the_log_and_change_nothing() {
    let settings = Settings { snapshot_entries: 7, ..Settings::default() };
    let mut bench = Bench::with(settings);
    let study = bench.submit(4);
    let session = bench.arrive(AGENT, vec![], vec![]);
    while let [grant, ..] = bench.offer(session, 4).as_slice() {
        let reports = attempts(grant).into_iter().map(done).collect();
        bench.say(session, FromAgent::Reports { reports });
        assert!(bench.disk.entries.len() < 20, "{} entries", bench.disk.entries.len());
    }
    let before = bench.node.state().studies[&study].clone();
    bench.restart();
    assert_eq!(bench.node.state().studies[&study], before);
    assert_eq!(bench.status(study).complete, bench.status(study).planned);
}

#[test]
fn a_fault_free_study_trains_every_trial_once() {
    let mut bench = Bench::new();
    let study = bench.submit(10);
    let sessions = [bench.arrive(AGENT, vec![], vec![]), bench.arrive(OTHER, vec![], vec![])];
    let mut trained: BTreeMap<TrialIndex, u32> = BTreeMap::new();
    let mut open: Vec<Grant> = Vec::new();
    for turn in 0..1_000 {
        open.extend(bench.offer(sessions[turn % 2], 4));
        let Some(grant) = open.pop() else { break };
        grant.3.iter().for_each(|trial| *trained.entry(*trial).or_default() += 1);
        let reports = attempts(&grant).into_iter().map(done).collect();
        open.extend(grants(&bench.say(grant.0, FromAgent::Reports { reports })));
    }
    let planned = bench.status(study).planned;
    assert_eq!(trained.len() as u64, planned);
    assert!(trained.values().all(|count| *count == 1), "{trained:?}");
}

#[test]
fn outcomes_of_an_earlier_study_are_adopted_and_not_trained() {
    let mut bench = Bench::new();
    let study = bench.submit(1);
    let known: Vec<OutcomeRow> = (0..3)
        .map(|trial| {
            let lease = LeaseId { term: 9, counter: 9 };
            let Ending::Complete(outcome) =
                done(Attempt { study, trial: TrialIndex(trial), lease }).ending
            else {
                unreachable!("it is complete")
            };
            let end = RowEnd::Complete(outcome);
            OutcomeRow { trial: TrialIndex(trial), ended: Timestamp(5), agent: OTHER, end }
        })
        .collect();

    bench.step(Input::Adopt { study, rows: known.clone() });

    assert_eq!(bench.status(study).complete, 3);
    assert_eq!(bench.kept[&(study, TrialIndex(2))], known[2]);
    let session = bench.arrive(AGENT, vec![], vec![]);
    let granted: Vec<TrialIndex> =
        bench.offer(session, 400).into_iter().flat_map(|grant| grant.3).collect();
    assert!((0..3).all(|trial| !granted.contains(&TrialIndex(trial))), "{granted:?}");
}
