//! Drives a session: its inputs from the connection, the threads and the clock, its effects to the
//! spool, the connection and the threads.
//!
//! Effects of inputs that came together share one flush of the spool, and nothing of them is sent
//! or started before that flush. A spool that cannot be written ends the agent. The same driver
//! serves an agent in a coordinator's process.
//!
//! Floor: shell.

mod beside;
mod checkpoints;
mod connect;
mod keep;
mod kept;
mod leaving;
mod logged;
mod memory;
mod news;
mod over_link;
mod pilot;
mod programs;
mod slots;
#[cfg(test)]
mod tests;
mod widths;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use common::id::{LeaseId, StudyId};
use common::label::Labels;
use common::study::Study;
use common::table::Dataset;
use common::time::Timestamp;
use common::trial::FailReason;
use common::wire::message::{FromAgent, ToAgent};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use crate::dataset::{DataSource, Datasets};
use crate::device::Device;
use crate::folder::Folder;
use crate::session::{Effect, Input, Session};
use crate::spool::{Record, Spool, SpoolError};

use keep::{Line, keep_connected, random};

pub use beside::found_in as beside_found_in;
pub use checkpoints::Checkpoints;
pub use connect::{
    ConnectError, Connection, Connector, Embedded, QUEUE_MESSAGES, Seat, Seats, embedded,
};
pub use kept::CHECKPOINTS;
pub use news::{News, Tell};
pub use over_link::LinkConnector;
pub use pilot::{Piloted, pilot};
pub use widths::{found_in as widths_found_in, suited_to};
pub use work::{Job, Train, Trainer, run as train_cohort};

use work::Workers;

/// What an agent is run with.
pub struct Settings {
    /// Holds the spool and the data cache.
    pub folder: Folder,
    /// Folders to look for data files in before any is fetched.
    pub shared: Vec<PathBuf>,
    pub device: Device,
    /// The name it goes by, for people.
    pub host: String,
    /// What it is known by, for studies that require labels.
    pub labels: Labels,
    /// How long cohorts in training may go on after the shutdown.
    pub grace: Duration,
    /// When this agent is gone at the latest, where that is known: it leaves so much before as the
    /// grace time is.
    pub ends: Option<SystemTime>,
    /// How long the first connection may take; `None`: for ever.
    pub first_contact: Option<Duration>,
    pub tell: Tell,
}

/// Trains for whatever coordinator `connector` reaches, until `shutdown` resolves: then nothing new
/// is started, what was not started is given back, and cohorts in training get the grace time.
///
/// Returns early with the coordinator of an [`embedded`] connection. Must be called in a tokio
/// runtime with time enabled.
pub async fn run<C: Connector>(
    settings: Settings,
    connector: C,
    trainer: Arc<dyn Train>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), DriverError> {
    let mut driver = Driver::open(settings, connector, &trainer).await?;
    let ended = driver.serve(shutdown).await;
    driver.close().await;
    ended
}

/// Why an agent ends before it was asked to.
#[derive(Debug, Error)]
pub enum DriverError {
    #[error("the spool failed")]
    Spool { source: SpoolError },
    #[error("a training thread could not be started")]
    Threads { source: std::io::Error },
    #[error("a file task of this agent was broken off")]
    Interrupted { source: JoinError },
    #[error("{why}")]
    Refused { why: String },
    #[error("no coordinator reached: {why}")]
    Unreached { why: String },
}

enum Event {
    Line(Line),
    Told(Input),
    Rows { study: StudyId, dataset: Arc<Dataset> },
}

struct Driver {
    session: Session,
    events: mpsc::Receiver<Event>,
    tell_me: mpsc::Sender<Event>,
    /// Taken while a blocking task writes it.
    spool: Option<Spool>,
    workers: Workers,
    stops: Stops,
    datasets: Arc<Datasets>,
    rows: BTreeMap<StudyId, Arc<Dataset>>,
    line: Option<(mpsc::Sender<FromAgent>, Arc<dyn DataSource>)>,
    /// The coordinator that was reached and has not taken this agent in yet.
    met: Option<String>,
    connecting: Connecting,
    /// Set when this agent ends, so that it does not connect again.
    closing: Arc<AtomicBool>,
    folder: Folder,
    began: Instant,
    grace: Duration,
    ends: Option<SystemTime>,
    /// Gone then, whatever is still to be done.
    gone_by: Option<Instant>,
    voice: Voice,
    /// Asked what its programs wrote.
    trainer: Arc<dyn Train>,
}

impl Driver {
    async fn open<C: Connector>(
        settings: Settings,
        connector: C,
        trainer: &Arc<dyn Train>,
    ) -> Result<Self, DriverError> {
        let Settings { folder, shared, device, host, labels, grace, ends, first_contact, tell } =
            settings;
        let (spool_path, cache) = (folder.spool(), folder.data());
        let opened = tokio::task::spawn_blocking(move || Spool::open(&spool_path)).await;
        let (spool, left) = opened
            .map_err(|source| DriverError::Interrupted { source })?
            .map_err(|source| DriverError::Spool { source })?;
        let voice = Voice::new(tell);
        if left.cut_bytes > 0 {
            tracing::warn!(bytes = left.cut_bytes, "the spool's torn end was cut off");
        }
        if !left.crashed.is_empty() || !left.reports.is_empty() {
            let (crashed, reports) = (left.crashed.len(), left.reports.len());
            voice.say(&News::Recovered { crashed, reports });
        }
        let (tell_me, events) = mpsc::channel(EVENTS_WAITING);
        let for_workers = tell_me.clone();
        let ended: work::Ended = Arc::new(move |lease, endings| {
            // Fails only when the driver is gone, and nobody waits for the cohort.
            let _ = for_workers.blocking_send(Event::Told(Input::Ended { lease, endings }));
        });
        let threads = device.threads.get() as usize;
        let workers = Workers::start(threads, &device.record(), trainer, &ended)
            .map_err(|source| DriverError::Threads { source })?;
        let closing = Arc::new(AtomicBool::new(false));
        let (for_line, over) = (tell_me.clone(), Arc::clone(&closing));
        let connecting = tokio::spawn(keep_connected(connector, first_contact, for_line, over));
        let session =
            Session::new(device.about(host), random(), threads, left.crashed, left.reports);
        let left = |ends: SystemTime| ends.duration_since(SystemTime::now()).unwrap_or_default();
        let ends_at = ends.map(|ends| Timestamp(left(ends).as_millis() as u64));
        let session = session.with_programs(trainer.programs().is_some()).with_end(ends_at);
        Ok(Self {
            session: session.with_labels(labels),
            trainer: Arc::clone(trainer),
            events,
            tell_me,
            spool: Some(spool),
            workers,
            stops: Stops::default(),
            datasets: Arc::new(Datasets::new(cache, shared)),
            rows: BTreeMap::new(),
            line: None,
            met: None,
            connecting: Connecting(connecting),
            closing,
            folder,
            began: Instant::now(),
            grace,
            ends,
            gone_by: None,
            voice,
        })
    }

    async fn serve(
        &mut self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), DriverError> {
        let mut shutdown = pin!(shutdown);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut inputs = Vec::new();
            let mut left = false;
            tokio::select! {
                event = self.events.recv() => {
                    // `self.tell_me` keeps the channel open.
                    if let Some(event) = event {
                        left |= self.take(event, &mut inputs).await?;
                    }
                }
                _ = tick.tick() => {
                    inputs.extend(self.leave_in_time());
                    inputs.push(Input::Tick);
                    self.write(Vec::new()).await?;
                    self.voice.speak_of(&self.session, self.began.elapsed());
                    self.tell_progress();
                    self.tell_resumed();
                }
                () = &mut shutdown, if self.gone_by.is_none() => {
                    inputs.push(self.leave_within(self.grace, FailReason::Preempted));
                }
            }
            while inputs.len() < INPUTS_TOGETHER
                && let Ok(event) = self.events.try_recv()
            {
                left |= self.take(event, &mut inputs).await?;
            }
            left |= self.step(inputs).await?;
            if left {
                return Ok(());
            }
        }
    }

    /// Turns an event into inputs. Those before a change of the connection are stepped first, since
    /// their effects belong to the connection as it was.
    async fn take(&mut self, event: Event, inputs: &mut Vec<Input>) -> Result<bool, DriverError> {
        let mut left = false;
        match event {
            Event::Told(input) => inputs.push(input),
            Event::Rows { study, dataset } => {
                self.rows.insert(study, dataset);
                inputs.push(Input::DataReady { study });
            }
            Event::Line(Line::Message(message)) => {
                match &message {
                    ToAgent::Goodbye { why } => {
                        self.voice.say(&News::Goodbye { why: why.clone() });
                    }
                    ToAgent::Registered { .. } => {
                        if let Some(name) = self.met.take() {
                            self.voice.say(&News::Connected { name });
                        }
                    }
                    &ToAgent::SendLog { number, study, trial, from } => {
                        self.send_log(number, study, trial, from);
                    }
                    _ => {}
                }
                inputs.push(Input::Message(message));
            }
            Event::Line(Line::Up { name, up, data, hears }) => {
                left = self.step(std::mem::take(inputs)).await?;
                self.session.hears(hears);
                self.met = Some(name);
                self.line = Some((up, data));
                inputs.push(Input::Connected);
            }
            Event::Line(Line::Down) => {
                left = self.step(std::mem::take(inputs)).await?;
                self.line = None;
                inputs.push(Input::Disconnected);
            }
            Event::Line(Line::Apart { why, again }) => {
                self.voice.say(&News::Apart { why, again });
            }
            Event::Line(Line::Refused { why }) => return Err(DriverError::Refused { why }),
            Event::Line(Line::Unreached { why }) => return Err(DriverError::Unreached { why }),
            Event::Line(Line::Ended) => {
                inputs.push(Input::Abandoned);
                inputs.push(self.leave_within(Duration::ZERO, FailReason::Preempted));
            }
        }
        Ok(left)
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.began.elapsed().as_millis() as u64)
    }

    /// Steps the session and does what it says. True when it has left.
    async fn step(&mut self, inputs: Vec<Input>) -> Result<bool, DriverError> {
        if inputs.is_empty() {
            return Ok(false);
        }
        for input in &inputs {
            if let Input::Ended { lease, .. } = input {
                self.stops.0.remove(lease);
            }
        }
        let now = self.now();
        let effects = self.session.steps(inputs, now);
        self.perform(effects).await
    }

    async fn perform(&mut self, effects: Vec<Effect>) -> Result<bool, DriverError> {
        let mut records = Vec::new();
        for effect in &effects {
            logged::trials(effect);
            match effect {
                Effect::MarkStarted { attempts } => {
                    records.push(Record::Started { attempts: attempts.clone() });
                }
                Effect::Spool { reports } => {
                    records.push(Record::Ended { reports: reports.clone() });
                }
                _ => {}
            }
        }
        if !records.is_empty() {
            self.write(records).await?;
        }
        let mut left = false;
        for effect in effects {
            match effect {
                Effect::MarkStarted { .. } | Effect::Spool { .. } => {}
                Effect::Forget { attempts } => {
                    if let Some(spool) = &mut self.spool {
                        spool.forget(attempts);
                    }
                }
                Effect::Send(message) => self.send(message),
                Effect::FetchData { id, study } => self.fetch(id, study),
                Effect::DropData { id } => {
                    self.rows.remove(&id);
                }
                Effect::StartCohort { lease, id, study, trials } => {
                    let Some(dataset) = self.rows.get(&id).map(Arc::clone) else {
                        unreachable!("a cohort starts only after its rows are here");
                    };
                    self.voice.trains(id, &study.name);
                    let stop = Arc::new(AtomicBool::new(false));
                    self.stops.0.insert(lease, Arc::clone(&stop));
                    self.workers.give(Job { lease, id, study, dataset, trials, stop });
                }
                Effect::StopCohort { lease } => {
                    if let Some(stop) = self.stops.0.get(&lease) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                Effect::FetchCheckpoints { lease, study, checkpoints } => {
                    self.fetch_checkpoints(lease, study, checkpoints);
                }
                Effect::HandOn { lease, id, study, trials } => {
                    self.hand_on(lease, id, study, trials);
                }
                Effect::Left => left = true,
            }
        }
        Ok(left)
    }

    /// Writes to the spool, durably, off the runtime's threads. No records: what is only told so far.
    async fn write(&mut self, records: Vec<Record>) -> Result<(), DriverError> {
        let Some(mut spool) = self.spool.take() else { return Ok(()) };
        let writing = tokio::task::spawn_blocking(move || {
            let written = spool.write(records);
            (spool, written)
        });
        let (spool, written) =
            writing.await.map_err(|source| DriverError::Interrupted { source })?;
        self.spool = Some(spool);
        written.map_err(|source| DriverError::Spool { source })
    }

    /// Never waits: a queue that is full means a coordinator that reads nothing, and the connection
    /// is given up. The session sends everything again over the next one.
    fn send(&mut self, message: FromAgent) {
        if let Some((up, _)) = &self.line
            && up.try_send(message).is_err()
        {
            self.line = None;
        }
    }

    fn fetch(&self, id: StudyId, study: Arc<Study>) {
        let (datasets, tell_me) = (Arc::clone(&self.datasets), self.tell_me.clone());
        let source = self.line.as_ref().map(|(_, data)| Arc::clone(data));
        let tell = Arc::clone(&self.voice.tell);
        tokio::spawn(async move {
            let Some(source) = source else {
                let _ = tell_me.send(Event::Told(Input::DataUnreachable { study: id })).await;
                return;
            };
            let (name, bytes) = (study.data.path.clone(), study.data.bytes);
            tell(&News::Fetching { study: id, name, bytes });
            let event = match datasets.obtain(&study.data, source.as_ref()).await {
                Ok(dataset) => Event::Rows { study: id, dataset },
                Err(error) => {
                    let (why, again) = (with_causes(&error), error.may_pass());
                    tell(&News::NoData { study: id, why: why.clone(), again });
                    Event::Told(match again {
                        true => Input::DataUnreachable { study: id },
                        false => Input::DataRefused { study: id, why },
                    })
                }
            };
            let _ = tell_me.send(event).await;
        });
    }
}

/// Says stop to every cohort in training when the driver ends, in whatever way.
#[derive(Default)]
struct Stops(BTreeMap<LeaseId, Arc<AtomicBool>>);

impl Drop for Stops {
    fn drop(&mut self) {
        self.0.values().for_each(|stop| stop.store(true, Ordering::Relaxed));
    }
}

/// Breaks the connection off when the driver ends, in whatever way.
struct Connecting(JoinHandle<()>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An error with all its causes, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

/// Tells people what the agent does, and not too often.
struct Voice {
    tell: Tell,
    trains: Option<(StudyId, String)>,
    told: Option<(Option<StudyId>, Duration)>,
}

impl Voice {
    fn new(tell: Tell) -> Self {
        Self { tell, trains: None, told: None }
    }

    fn say(&self, news: &News) {
        (self.tell)(news);
    }

    fn trains(&mut self, study: StudyId, name: &str) {
        if self.trains.as_ref().is_none_or(|(id, _)| *id != study) {
            self.trains = Some((study, name.to_string()));
        }
    }

    /// At each tick: a line when the study changed, when work ran out, and now and then.
    fn speak_of(&mut self, session: &Session, now: Duration) {
        let load = session.load();
        let study = self.trains.clone().filter(|_| load.running_cohorts > 0);
        let id = study.as_ref().map(|(id, _)| *id);
        let due = match self.told {
            None => session.is_registered(),
            Some((told, at)) if told == id => id.is_some() && now - at >= SPEAK_EVERY,
            // A pause between two cohorts is not worth two lines.
            Some((_, at)) => id.is_some() || now - at >= TICK * 4,
        };
        if !due {
            return;
        }
        self.told = Some((id, now));
        match study {
            None => self.say(&News::Waiting),
            Some((study, name)) => {
                let (trials, ended) = (load.running_trials, load.ended_trials);
                self.say(&News::Training { study, name, trials, ended });
            }
        }
    }
}

/// How often leases are looked at and the spool's forgotten attempts are written.
const TICK: Duration = Duration::from_millis(250);

const SPEAK_EVERY: Duration = Duration::from_secs(10);

const EVENTS_WAITING: usize = 4_096;

/// Inputs that share a flush of the spool, at most.
const INPUTS_TOGETHER: usize = 256;
