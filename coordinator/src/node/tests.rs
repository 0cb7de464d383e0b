//! Whole nodes over a disk and a network played by the test, under faults drawn from a seed.
//!
//! Floor: core.

use std::num::NonZeroU64;

use common::id::{ClusterId, ReplicaId};
use common::seed::{Stream, StreamRng};
use common::trial::{Ending, Outcome, Report};
use common::wire::message::StudyStatus;

use super::*;
use crate::replica::log::{LogEntry, Recovered, SnapshotRecord, Vote, Voters};
use crate::sample;

const AGENT: MemberId = MemberId(20);
const OTHER: MemberId = MemberId(21);

/// A node with a disk in memory and a clock that the test moves.
struct Bench {
    node: Node,
    snapshot: SnapshotRecord,
    log: Vec<LogEntry>,
    vote: Vote,
    kept: BTreeMap<(StudyId, TrialIndex), OutcomeRow>,
    now: u64,
    run: u64,
    settings: Settings,
    next_session: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let voters = Voters { voters: vec![1], learners: vec![] };
        let snapshot = SnapshotRecord { index: 0, term: 0, voters, state: vec![] };
        let node = Self::node(&snapshot, Vote::default(), vec![], settings, 1);
        let kept = BTreeMap::new();
        let (log, vote, now, run) = (vec![], Vote::default(), 1_000, 1);
        let mut bench =
            Self { node, snapshot, log, vote, kept, now, run, settings, next_session: 1 };
        assert!(bench.drive().is_empty());
        bench
    }

    fn node(
        snapshot: &SnapshotRecord,
        vote: Vote,
        entries: Vec<LogEntry>,
        settings: Settings,
        run: u64,
    ) -> Node {
        let recovered = Recovered { snapshot: snapshot.clone(), vote, entries };
        let replica = Replica::new(ReplicaId(NonZeroU64::MIN), recovered).expect("starts");
        let state = match snapshot.state.as_slice() {
            [] => State::new(ClusterId([1; 16])),
            bytes => codec::decode(bytes).expect("a snapshot"),
        };
        Node::new(replica, state, snapshot.index, settings, run)
    }

    /// The process dies; what was persisted comes back.
    fn restart(&mut self) {
        self.run += 1;
        let entries = self.log.clone();
        self.node = Self::node(&self.snapshot, self.vote, entries, self.settings, self.run);
        self.drive();
    }

    fn now(&self) -> Now {
        Now { mono: Timestamp(self.now), wall: Timestamp(1_000_000 + self.now) }
    }

    fn persist(&mut self, persist: Persist) {
        if let Some(first) = persist.entries.first() {
            self.log.retain(|entry| entry.index < first.index);
        }
        self.log.extend(persist.entries);
        self.vote = persist.vote.unwrap_or(self.vote);
        if let Some(snapshot) = persist.snapshot {
            self.log.retain(|entry| entry.index > snapshot.index);
            self.snapshot = snapshot;
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

    fn submit(&mut self, seeds: u32) -> StudyId {
        let study = Box::new(sample::study(seeds));
        let request = Request::Submit { study, text: "text".into() };
        let id = RequestId(1);
        let sent = self.step(Input::Asked { id, request });
        match &sent[0] {
            Output::Answer { response: Response::Submitted { study, .. }, .. } => *study,
            other => panic!("{other:?}"),
        }
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
        let sent = self.say(session, FromAgent::Register { about: about(), holding, crashed });
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
        let request = Request::Status { study: Some(study) };
        let sent = self.step(Input::Asked { id: RequestId(2), request });
        match sent.into_iter().next() {
            Some(Output::Answer { response: Response::Status { mut studies }, .. }) => {
                studies.remove(0)
            }
            other => panic!("{other:?}"),
        }
    }
}

type Grant = (SessionId, LeaseId, StudyId, Vec<TrialIndex>);

fn grants(sent: &[Output]) -> Vec<Grant> {
    sent.iter()
        .filter_map(|output| match output {
            Output::ToAgent { session, message: ToAgent::Assign { lease, study, trials } } => {
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
    let outcome = Outcome { metrics, rows: vec![], epochs: 2, duration_us: 1, device };
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
    assert_eq!(persist.entries.len(), 4);
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
    assert!(matches!(
        bench.kept[&(study, poison)].end,
        common::wire::message::RowEnd::Failed { .. }
    ));
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
    let token = NewToken {
        id: [1; 6],
        secret_hash: [2; 32],
        role: common::wire::message::Role::Agent,
        uses: None,
        expires: Timestamp(u64::MAX),
        label: String::new(),
    };
    bench.step(Input::TokenMinted { id: RequestId(5), token, text: "t".into() });
    let (token_id, secret_hash, public_key) = ([1; 6], [2; 32], [3; 32]);
    bench.step(Input::Join { id: RequestId(6), token_id, secret_hash, public_key });
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
        assert!(bench.log.len() < 20, "{} entries", bench.log.len());
    }
    let before = bench.node.state().clone();
    bench.restart();
    assert_eq!(bench.node.state(), &before);
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

/// Agents that come, go, crash and repeat themselves; a coordinator that dies at any moment. In the
/// end everything is complete, once. The seed in a failure replays it.
#[test]
fn random_faults_lose_no_outcome_and_forget_no_trial() {
    for seed in 0..1_000 {
        let mut rng = StreamRng::new(&common::id::Digest([0; 32]), Stream::Search, seed, 0);
        Chaos::new(&mut rng).run(&mut rng, seed);
    }
}

struct Chaos {
    bench: Bench,
    study: StudyId,
    /// Each agent's session, if it has one, and the grants it holds.
    agents: Vec<(MemberId, Option<SessionId>, Vec<Attempt>)>,
    acknowledged: BTreeSet<TrialIndex>,
}

impl Chaos {
    fn new(rng: &mut StreamRng) -> Self {
        let snapshot_entries = 5 + rng.below(40);
        let settings = Settings { snapshot_entries, ..Settings::default() };
        let mut bench = Bench::with(settings);
        let study = bench.submit(1 + rng.below(6) as u32);
        let agents = (0..1 + rng.below(3)).map(|n| (MemberId(20 + n), None, vec![])).collect();
        Self { bench, study, agents, acknowledged: BTreeSet::new() }
    }

    fn run(&mut self, rng: &mut StreamRng, seed: u64) {
        for _ in 0..rng.below(200) {
            self.fault_or_progress(rng);
            self.check(seed);
        }
        // Heal: everyone is there and works.
        for _ in 0..400 {
            for agent in 0..self.agents.len() {
                self.connect(agent);
                self.offer(agent);
                self.report_all(agent);
            }
            self.note(&[]);
            let sent = self.bench.pass(1_000);
            self.note(&sent);
            self.check(seed);
        }
        let status = self.bench.status(self.study);
        assert_eq!(status.complete + status.failed, status.planned, "seed {seed}: {status:?}");
        assert_eq!(status.differing, 0, "seed {seed}");
        assert_eq!(self.bench.kept.len() as u64, status.planned, "seed {seed}");
    }

    fn check(&mut self, seed: u64) {
        let record = &self.bench.node.state().studies[&self.study];
        for trial in &self.acknowledged {
            let state = record.trial(*trial);
            assert_eq!(
                state,
                Some(crate::scheduler::state::TrialState::Complete),
                "seed {seed}: trial {trial} was acknowledged"
            );
        }
    }

    fn fault_or_progress(&mut self, rng: &mut StreamRng) {
        let agent = rng.below(self.agents.len() as u64) as usize;
        match rng.below(12) {
            0 => {
                self.bench.restart();
                self.agents.iter_mut().for_each(|agent| agent.1 = None);
            }
            1 => {
                if let Some(session) = self.agents[agent].1.take() {
                    self.bench.step(Input::AgentGone { session });
                }
            }
            2 => {
                // Killed and started again: its start markers name what it held.
                let crashed = std::mem::take(&mut self.agents[agent].2);
                let member = self.agents[agent].0;
                if let Some(session) = self.agents[agent].1.take() {
                    self.bench.step(Input::AgentGone { session });
                }
                self.agents[agent].1 = Some(self.bench.arrive(member, vec![], crashed));
            }
            3 => {
                let ms = rng.below(20_000);
                let sent = self.bench.pass(ms);
                self.note(&sent);
            }
            4..=6 => self.connect(agent),
            7..=9 => self.offer(agent),
            _ => self.report_all(agent),
        }
    }

    fn connect(&mut self, agent: usize) {
        if self.agents[agent].1.is_none() {
            let (member, _, holding) = self.agents[agent].clone();
            self.agents[agent].1 = Some(self.bench.arrive(member, holding, vec![]));
        }
    }

    fn offer(&mut self, agent: usize) {
        if let Some(session) = self.agents[agent].1 {
            let sent = self.bench.say(session, FromAgent::Offer { lanes: 8 });
            self.note(&sent);
        }
    }

    /// Reports all it holds, some of it twice.
    fn report_all(&mut self, agent: usize) {
        if let Some(session) = self.agents[agent].1 {
            let held = std::mem::take(&mut self.agents[agent].2);
            let mut reports: Vec<Report> = held.iter().copied().map(done).collect();
            reports.extend(held.first().copied().map(done));
            let sent = self.bench.say(session, FromAgent::Reports { reports });
            self.note(&sent);
        }
    }

    /// What was sent reaches whoever is connected.
    fn note(&mut self, sent: &[Output]) {
        let trials = acknowledged(sent).into_iter().map(|attempt| attempt.trial);
        let complete = trials.filter(|trial| {
            let row = self.bench.kept.get(&(self.study, *trial));
            row.is_some_and(|row| matches!(row.end, common::wire::message::RowEnd::Complete(_)))
        });
        self.acknowledged.extend(complete);
        for grant in grants(sent) {
            let agent = self.agents.iter_mut().find(|agent| agent.1 == Some(grant.0));
            if let Some(agent) = agent {
                agent.2.extend(attempts(&grant));
            }
        }
    }
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
            let end = common::wire::message::RowEnd::Complete(outcome);
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
