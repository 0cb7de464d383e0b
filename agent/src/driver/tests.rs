//! Whole agents against a coordinator played by the test, over the embedded connector.
//!
//! Floor: shell.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use common::id::TrialIndex;
use common::trial::{Attempt, Ending, FailReason, Outcome, Report};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::dataset::NoSource;
use crate::device::Wanted;
use crate::sample;
use crate::spool::Recovered;

/// Scores each trial with its own number, and remembers what it trained.
#[derive(Default)]
struct Numbers {
    trained: Mutex<Vec<u64>>,
    /// Trials that never end until they are stopped.
    endless: BTreeSet<u64>,
    /// Trials that panic.
    poison: BTreeSet<u64>,
    stopped: AtomicUsize,
}

impl Train for Numbers {
    fn train(
        &self,
        _: &Study,
        dataset: &Dataset,
        trials: &[TrialIndex],
        stop: &dyn Fn() -> bool,
    ) -> Option<Vec<Ending>> {
        assert_eq!(dataset.rows(), 6);
        self.trained.lock().expect("sound").extend(trials.iter().map(|trial| trial.0));
        while trials.iter().any(|trial| self.endless.contains(&trial.0)) {
            if stop() {
                self.stopped.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let poison = trials.iter().find(|trial| self.poison.contains(&trial.0));
        assert!(poison.is_none(), "trial {poison:?} is poison");
        Some(trials.iter().map(|trial| scored(trial.0)).collect())
    }
}

fn scored(trial: u64) -> Ending {
    Ending::Complete(Outcome {
        metrics: vec![trial as f64],
        rows: Vec::new(),
        epochs: 1,
        duration_us: 0,
        device: String::new(),
        curve: None,
    })
}

/// An agent under test, with its coordinator's end.
struct Agent {
    seats: Seats,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), DriverError>>,
}

fn agent(dir: &Path, trainer: Arc<impl Train>, grace: Duration) -> Agent {
    let shared = dir.join("shared");
    std::fs::create_dir_all(&shared).expect("made");
    std::fs::write(shared.join("sample.csv"), sample::ROWS).expect("written");
    let settings = Settings {
        folder: Folder::claim(&dir.join("agent")).expect("free"),
        shared: vec![shared],
        device: Device::choose(Wanted::Cpu, 2.try_into().ok(), 4.try_into().ok())
            .expect("a processor"),
        labels: Default::default(),
        host: "test".to_string(),
        grace,
        ends: None,
        first_contact: None,
        tell: Arc::new(|_| {}),
    };
    let (connector, seats) = embedded(Arc::new(NoSource));
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(run(settings, connector, trainer, async {
        let _ = stopped.await;
    }));
    Agent { seats, stop, ended }
}

fn spooled(dir: &Path) -> Recovered {
    let folder = Folder::claim(&dir.join("agent")).expect("the agent has let go of it");
    Spool::open(&folder.spool()).expect("sound").1
}

fn study() -> Study {
    sample::study(sample::ROWS)
}

fn lease(counter: u64) -> LeaseId {
    LeaseId { term: 1, counter }
}

fn attempt(counter: u64, trial: u64) -> Attempt {
    Attempt { study: study().id(), trial: TrialIndex(trial), lease: lease(counter) }
}

fn assign(counter: u64, trials: std::ops::Range<u64>) -> ToAgent {
    let trials = trials.map(TrialIndex).collect();
    ToAgent::Assign { lease: lease(counter), study: study().id(), version: 0, trials }
}

/// The next message that is not an offer or a renewal. The study is sent when it is asked for.
async fn next(seat: &mut Seat) -> FromAgent {
    loop {
        let message = seat.from_agent.recv().await.expect("the agent is there");
        match message {
            FromAgent::NeedStudy { study: id } => {
                tell(seat, ToAgent::Study { id, version: 0, study: Box::new(study()) }).await;
            }
            FromAgent::Offer { .. } | FromAgent::Renew { .. } => {}
            message => return message,
        }
    }
}

async fn tell(seat: &Seat, message: ToAgent) {
    seat.to_agent.send(message).await.expect("the agent is there");
}

/// Takes the agent's next connection and keeps all it holds.
async fn registered(seats: &mut Seats) -> (Seat, Vec<Attempt>, Vec<Attempt>) {
    let mut seat = seats.next().await.expect("an agent");
    let FromAgent::Register { holding, crashed, .. } = next(&mut seat).await else {
        panic!("an agent registers first");
    };
    let keep = holding.iter().map(|attempt| attempt.lease).collect();
    tell(&seat, ToAgent::Registered { lease_ms: 15_000, keep }).await;
    (seat, holding, crashed)
}

async fn reports(seat: &mut Seat) -> Vec<Report> {
    match next(seat).await {
        FromAgent::Reports { reports } => reports,
        other => panic!("reports expected, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_trained_twice_when_connections_break() {
    let dir = tempfile::tempdir().expect("a folder");
    let trainer = Arc::new(Numbers::default());
    let Agent { mut seats, stop, ended } = agent(dir.path(), Arc::clone(&trainer), Duration::ZERO);
    let (cohorts, width) = (60, 4);
    let (mut granted, mut committed) = (0, BTreeSet::new());
    let mut connections = 0;
    while committed.len() < (cohorts * width) as usize {
        let (mut seat, _, crashed) = registered(&mut seats).await;
        assert!(crashed.is_empty());
        connections += 1;
        let mut messages = 0;
        while let Some(message) = seat.from_agent.recv().await {
            match message {
                FromAgent::Offer { lanes } => {
                    for _ in 0..(u64::from(lanes) / width).min(cohorts - granted) {
                        let trials = granted * width..(granted + 1) * width;
                        tell(&seat, assign(granted, trials)).await;
                        granted += 1;
                    }
                }
                FromAgent::NeedStudy { study: id } => {
                    tell(&seat, ToAgent::Study { id, version: 0, study: Box::new(study()) }).await;
                }
                FromAgent::Reports { reports } => {
                    messages += 1;
                    // A third of the messages is lost with the connection, committed or not.
                    let lost = messages == 3 && connections < 6;
                    let attempts: Vec<Attempt> = reports.iter().map(|r| r.attempt).collect();
                    committed.extend(attempts.iter().map(|attempt| attempt.trial.0));
                    if lost {
                        break;
                    }
                    tell(&seat, ToAgent::Acknowledge { attempts }).await;
                }
                _ => {}
            }
            if committed.len() == (cohorts * width) as usize {
                tokio::time::sleep(Duration::from_millis(50)).await;
                break;
            }
        }
    }
    // What was committed and not acknowledged comes once more.
    let (mut seat, holding, _) = registered(&mut seats).await;
    let mut left: BTreeSet<Attempt> = holding.into_iter().collect();
    while !left.is_empty() {
        let attempts: Vec<Attempt> =
            reports(&mut seat).await.iter().map(|report| report.attempt).collect();
        attempts.iter().for_each(|attempt| assert!(left.remove(attempt)));
        tell(&seat, ToAgent::Acknowledge { attempts }).await;
    }
    stop.send(()).expect("running");
    drop(seat);
    ended.await.expect("no panic").expect("left as asked");
    let mut trained = trainer.trained.lock().expect("sound").clone();
    trained.sort_unstable();
    assert_eq!(trained, (0..cohorts * width).collect::<Vec<u64>>());
    assert_eq!(connections, 6);
    assert_eq!(spooled(dir.path()), Recovered::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_not_acknowledged_is_reported_by_the_agents_next_life() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = agent(dir.path(), Arc::new(Numbers::default()), Duration::ZERO);
    let mut seats = first.seats;
    let (mut seat, ..) = registered(&mut seats).await;
    tell(&seat, assign(1, 0..4)).await;
    let sent = reports(&mut seat).await;
    first.ended.abort();
    assert!(first.ended.await.expect_err("killed").is_cancelled());

    let second = agent(dir.path(), Arc::new(Numbers::default()), Duration::ZERO);
    let mut seats = second.seats;
    let (mut seat, holding, crashed) = registered(&mut seats).await;
    assert_eq!(holding, (0..4).map(|trial| attempt(1, trial)).collect::<Vec<_>>());
    assert_eq!(crashed, []);
    assert_eq!(reports(&mut seat).await, sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trials_in_training_when_the_agent_died_are_reported_as_crashed_until_acknowledged() {
    let dir = tempfile::tempdir().expect("a folder");
    let endless = Numbers { endless: (0..4).collect(), ..Numbers::default() };
    let trainer = Arc::new(endless);
    let first = agent(dir.path(), Arc::clone(&trainer), Duration::ZERO);
    let mut seats = first.seats;
    let (mut seat, ..) = registered(&mut seats).await;
    tell(&seat, assign(1, 0..4)).await;
    tell(&seat, assign(2, 4..8)).await;
    let attempts: Vec<Attempt> =
        reports(&mut seat).await.iter().map(|report| report.attempt).collect();
    tell(&seat, ToAgent::Acknowledge { attempts }).await;
    tokio::time::sleep(TICK * 3).await;
    first.ended.abort();
    assert!(first.ended.await.expect_err("killed").is_cancelled());

    let mut connections = Vec::new();
    for acknowledged in [false, true, true] {
        let Agent { mut seats, stop, ended } =
            agent(dir.path(), Arc::new(Numbers::default()), Duration::ZERO);
        let (seat, holding, crashed) = registered(&mut seats).await;
        assert_eq!(holding, []);
        if acknowledged {
            tell(&seat, ToAgent::Acknowledge { attempts: crashed.clone() }).await;
            tokio::time::sleep(TICK * 3).await;
        }
        connections.push(crashed);
        stop.send(()).expect("running");
        drop(seat);
        ended.await.expect("no panic").expect("left as asked");
    }
    let crashed: Vec<Attempt> = (0..4).map(|trial| attempt(1, trial)).collect();
    assert_eq!(connections, [crashed.clone(), crashed, Vec::new()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trainer_that_panics_fails_its_cohort_and_the_agent_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let trainer = Numbers { poison: [1].into(), ..Numbers::default() };
    let Agent { mut seats, stop: _stop, .. } = agent(dir.path(), Arc::new(trainer), Duration::ZERO);
    let (mut seat, ..) = registered(&mut seats).await;
    tell(&seat, assign(1, 0..2)).await;
    let failed = reports(&mut seat).await;
    for report in &failed {
        let Ending::Failed { reason: FailReason::Error, detail } = &report.ending else {
            panic!("{report:?}");
        };
        assert!(detail.contains("panicked") && detail.contains("poison"), "{detail}");
    }
    assert_eq!(failed.len(), 2);
    tell(&seat, assign(2, 4..6)).await;
    let Ending::Complete(outcome) = &reports(&mut seat).await[0].ending else { panic!("complete") };
    assert_eq!(outcome.metrics[0], 4.0);
    assert!(outcome.device.starts_with("cpu; "), "{}", outcome.device);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_cohort_is_stopped_and_its_thread_is_free_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let endless = Numbers { endless: (0..8).collect(), ..Numbers::default() };
    let trainer = Arc::new(endless);
    let Agent { mut seats, stop: _stop, .. } =
        agent(dir.path(), Arc::clone(&trainer), Duration::ZERO);
    let (mut seat, ..) = registered(&mut seats).await;
    tell(&seat, assign(1, 0..4)).await;
    tell(&seat, assign(2, 4..8)).await;
    tell(&seat, assign(3, 8..12)).await;
    tell(&seat, ToAgent::Revoke { lease: lease(1) }).await;
    let third: Vec<Attempt> = reports(&mut seat).await.iter().map(|r| r.attempt).collect();
    assert_eq!(third, (8..12).map(|trial| attempt(3, trial)).collect::<Vec<_>>());
    // It may be revoked before it starts, or be stopped afterwards: it never ends by itself.
    assert!(trainer.stopped.load(Ordering::Relaxed) <= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_gives_back_what_waits_stops_what_outlasts_the_grace_and_leaves_no_marker() {
    let dir = tempfile::tempdir().expect("a folder");
    let endless = Numbers { endless: (0..12).collect(), ..Numbers::default() };
    let trainer = Arc::new(endless);
    let grace = Duration::from_millis(300);
    let Agent { mut seats, stop, ended } = agent(dir.path(), Arc::clone(&trainer), grace);
    let (mut seat, ..) = registered(&mut seats).await;
    for counter in 0..3 {
        tell(&seat, assign(counter, counter * 4..counter * 4 + 4)).await;
    }
    let serving = async {
        let mut handed_back = Vec::new();
        let mut stop = Some(stop);
        loop {
            match seat.from_agent.recv().await {
                Some(FromAgent::NeedStudy { study: id }) => {
                    tell(&seat, ToAgent::Study { id, version: 0, study: Box::new(study()) }).await;
                    while trainer.trained.lock().expect("sound").len() < 8 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    stop.take().expect("asked once").send(()).expect("running");
                }
                Some(FromAgent::HandBack { leases }) => handed_back.push(leases),
                Some(_) => {}
                None => return handed_back,
            }
        }
    };
    let handed_back = serving.await;
    drop(seat);
    ended.await.expect("no panic").expect("left as asked");
    assert_eq!(handed_back, [vec![lease(2)], vec![lease(0), lease(1)]]);
    assert_eq!(trainer.stopped.load(Ordering::Relaxed), 2);
    assert_eq!(spooled(dir.path()), Recovered::default());
}

/// Trains, and counts its steps, each of which takes a while.
struct Steps {
    trainer: Trainer,
    each: Duration,
    made: AtomicUsize,
}

impl Train for Steps {
    fn train(
        &self,
        study: &Study,
        dataset: &Dataset,
        trials: &[TrialIndex],
        stop: &dyn Fn() -> bool,
    ) -> Option<Vec<Ending>> {
        let counted = || {
            self.made.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(self.each);
            stop()
        };
        self.trainer.train(study, dataset, trials, &counted)
    }

    fn leave(&self) {
        self.trainer.leave();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cohort_that_a_leaving_agent_stopped_is_gone_on_with_by_its_next_life() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut long = study();
    long.arms[0].configs[0].hyper.epochs = 400;
    let id = long.id();
    let assign = |counter| ToAgent::Assign {
        lease: lease(counter),
        study: id,
        version: 0,
        trials: vec![TrialIndex(0), TrialIndex(1)],
    };
    let grace = Duration::from_millis(200);
    let live = |each| {
        let trainer = Trainer::new(Some(&dir.path().join("agent")));
        let trainer = Arc::new(Steps { trainer, each, made: AtomicUsize::new(0) });
        (agent(dir.path(), Arc::clone(&trainer), grace), trainer)
    };
    let (Agent { mut seats, stop, ended }, trainer) = live(Duration::from_millis(2));
    let (mut seat, ..) = registered(&mut seats).await;
    tell(&seat, assign(1)).await;
    let mut stop = Some(stop);
    while let Some(message) = seat.from_agent.recv().await {
        assert!(!matches!(message, FromAgent::Reports { .. }), "400 steps take longer");
        if let FromAgent::NeedStudy { .. } = message {
            tell(&seat, ToAgent::Study { id, version: 0, study: Box::new(long.clone()) }).await;
            while trainer.made.load(Ordering::Relaxed) < 100 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            stop.take().expect("asked once").send(()).expect("running");
        }
    }
    drop(seat);
    ended.await.expect("no panic").expect("left as asked");
    assert_eq!(spooled(dir.path()), Recovered::default());

    let (Agent { mut seats, stop, ended }, trainer) = live(Duration::ZERO);
    let (mut seat, ..) = registered(&mut seats).await;
    tell(&seat, assign(2)).await;
    let reports = loop {
        match seat.from_agent.recv().await.expect("the agent is there") {
            FromAgent::NeedStudy { .. } => {
                tell(&seat, ToAgent::Study { id, version: 0, study: Box::new(long.clone()) }).await;
            }
            FromAgent::Reports { reports } => break reports,
            _ => {}
        }
    };
    let made = trainer.made.load(Ordering::Relaxed);
    assert!((1..=300).contains(&made), "{made} of 400 steps were left");
    let dataset = Dataset::read(&long.data, sample::ROWS).expect("a table");
    let trials = [TrialIndex(0), TrialIndex(1)];
    let whole = Trainer::new(None).train(&long, &dataset, &trials, &|| false).expect("its end");
    let bare = |ending: &Ending| match ending {
        Ending::Complete(outcome) => {
            Outcome { duration_us: 0, device: String::new(), ..outcome.clone() }
        }
        failed => panic!("{failed:?}"),
    };
    let again: Vec<Outcome> = reports.iter().map(|report| bare(&report.ending)).collect();
    assert_eq!(again, whole.iter().map(bare).collect::<Vec<_>>());
    stop.send(()).expect("running");
    drop(seat);
    drop(seats);
    ended.await.expect("no panic").expect("left as asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_agent_ends_with_its_coordinator() {
    let dir = tempfile::tempdir().expect("a folder");
    let endless = Numbers { endless: (0..4).collect(), ..Numbers::default() };
    let Agent { mut seats, stop: _stop, ended } =
        agent(dir.path(), Arc::new(endless), Duration::from_secs(60));
    let (mut seat, ..) = registered(&mut seats).await;
    tell(&seat, assign(1, 0..4)).await;
    tell(&seat, assign(2, 4..8)).await;
    assert_eq!(reports(&mut seat).await.len(), 4);
    drop(seats);
    drop(seat);
    let ended = timeout(Duration::from_secs(20), ended).await.expect("soon");
    ended.expect("no panic").expect("no error");
    let left = spooled(dir.path());
    assert_eq!((left.crashed.len(), left.reports.len()), (0, 4));
}
