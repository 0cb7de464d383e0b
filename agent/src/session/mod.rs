//! One agent without its I/O: which leases it holds, what it starts, stops, keeps and reports.
//!
//! A cohort is started only after its start marker is durable, and a report is sent only after the
//! spool has it: within the effects of one step the order is the order in which they must happen.
//! A lost connection stops nothing. Deliberately absent: files, sockets, threads, clocks.
//!
//! Floor: core.

mod greeting;
mod lanes;
mod leaving;
mod outbox;
mod starting;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use common::id::{Digest, LeaseId, StudyId, TrialIndex};
use common::label::Labels;
use common::study::Study;
use common::time::Timestamp;
use common::trial::{Attempt, Ending, FailReason, Report};
use common::wire::message::{AgentAbout, FromAgent, ToAgent};

pub use greeting::Hears;
pub use outbox::UNACKNOWLEDGED_MAX;

use lanes::lanes;
use leaving::Leaving;
use outbox::Outbox;
use starting::Cohort;

/// What the driver tells the session.
#[derive(Debug)]
pub enum Input {
    Connected,
    Disconnected,
    /// Disconnected for good: there is no coordinator any more.
    Abandoned,
    Message(ToAgent),
    /// The rows of a study are in memory: its cohorts may start.
    DataReady {
        study: StudyId,
    },
    /// The bytes are not the study's, and fetching again would not help.
    DataRefused {
        study: StudyId,
        why: String,
    },
    /// The bytes could not be had just now.
    DataUnreachable {
        study: StudyId,
    },
    /// A cohort ended: one ending a trial, or `None` when it was stopped before.
    Ended {
        lease: LeaseId,
        endings: Option<Vec<Ending>>,
    },
    /// The checkpoints that others left of a cohort are here, or cannot be had.
    CheckpointsHere {
        lease: LeaseId,
    },
    /// What a stopped cohort had reached is with the coordinator, or cannot be.
    HandedOn {
        lease: LeaseId,
    },
    /// Start nothing more, and be gone by `until`; `why` says what for.
    Leave {
        until: Timestamp,
        why: FailReason,
    },
    Tick,
}

/// What the driver must do, in this order within one step.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Durable before anything that follows.
    MarkStarted {
        attempts: Vec<Attempt>,
    },
    /// Durable before anything that follows.
    Spool {
        reports: Vec<Report>,
    },
    /// These start markers and outcomes have served; losing this effect in a crash is harmless.
    Forget {
        attempts: Vec<Attempt>,
    },
    Send(FromAgent),
    FetchData {
        id: StudyId,
        study: Arc<Study>,
    },
    /// No lease needs the study's rows.
    DropData {
        id: StudyId,
    },
    StartCohort {
        lease: LeaseId,
        id: StudyId,
        study: Arc<Study>,
        trials: Vec<TrialIndex>,
    },
    StopCohort {
        lease: LeaseId,
    },
    /// Before the cohort starts: what others reached of its trials, by digest.
    FetchCheckpoints {
        lease: LeaseId,
        study: Arc<Study>,
        checkpoints: Vec<(TrialIndex, Digest)>,
    },
    /// After the cohort was stopped: what it reached of its trials is for whoever goes on with them.
    HandOn {
        lease: LeaseId,
        id: StudyId,
        study: Arc<Study>,
        trials: Vec<TrialIndex>,
    },
    /// Nothing is left to do: the driver may end.
    Left,
}

/// Leases held, studies known, reports under way.
#[derive(Debug)]
pub struct Session {
    about: AgentAbout,
    /// Drawn anew by every agent process.
    life: u64,
    /// Cohorts trained at once.
    threads: usize,
    contact: Contact,
    /// Granted and not started, oldest first.
    waiting: VecDeque<Cohort>,
    running: BTreeMap<LeaseId, Running>,
    /// Stopped, and on their way to the coordinator as far as they came.
    handing_on: BTreeMap<LeaseId, Cohort>,
    studies: BTreeMap<StudyId, Known>,
    outbox: Outbox,
    /// Started before the last crash, and not yet acknowledged as failed.
    crashed: BTreeSet<Attempt>,
    hand_back: Vec<LeaseId>,
    /// To be given back in the middle of their training.
    interrupted: Vec<LeaseId>,
    leaving: Option<Leaving>,
    /// Trials that ended since the start.
    ended: u64,
    /// Whether it may be given trials that run a program.
    programs: bool,
    /// What it is known by, beside what it says of itself.
    labels: Labels,
    /// When it ends at the latest, on the driver's clock.
    ends: Option<Timestamp>,
    /// What the coordinator of this connection understands.
    hears: Hears,
}

/// What people are told about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub running_cohorts: usize,
    pub running_trials: usize,
    pub waiting_trials: usize,
    pub ended_trials: u64,
}

#[derive(Debug)]
enum Contact {
    /// No coordinator was reached yet.
    Never,
    /// The next connection is tried for.
    Lost,
    /// There will be no other connection.
    Over,
    /// Connected and waiting for the answer to `Register`.
    Registering,
    /// `offered`: lanes the coordinator still believes free here: what was offered, less what it granted.
    Registered { renew_every_ms: u64, renew_at: Timestamp, offered: u32 },
}

#[derive(Debug)]
struct Running {
    cohort: Cohort,
    doing: Doing,
}

/// What a cohort that has a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Trains,
    /// Told to stop, since this agent leaves; its lease is still held.
    Stops,
    /// Told to stop, since its lease is another's.
    Lost,
}

/// A study some lease named, as far as it is here.
#[derive(Debug)]
struct Known {
    /// The least that its grants need.
    version: u32,
    study: Option<Arc<Study>>,
    /// Its rows are here; a study that grows has no others.
    rows: bool,
    progress: Progress,
    /// Number of the last grant that named it.
    used: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Unknown,
    Asked,
    /// The study is here, its rows are to be fetched at the time or later.
    NeedsData(Timestamp),
    Fetching,
    Ready,
}

impl Session {
    /// A session with what an earlier life of this agent left in the spool.
    pub fn new(
        about: AgentAbout,
        life: u64,
        threads: usize,
        crashed: Vec<Attempt>,
        reports: Vec<Report>,
    ) -> Self {
        assert!(threads > 0, "an agent trains on one thread at least");
        let mut outbox = Outbox::default();
        reports.into_iter().for_each(|report| outbox.push(report));
        Self {
            about,
            life,
            threads,
            contact: Contact::Never,
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            handing_on: BTreeMap::new(),
            studies: BTreeMap::new(),
            outbox,
            crashed: crashed.into_iter().collect(),
            hand_back: Vec::new(),
            interrupted: Vec::new(),
            leaving: None,
            ended: 0,
            programs: false,
            labels: Labels::none(),
            ends: None,
            hears: Hears::of_one_process(),
        }
    }

    /// Takes one input at `now`, on the driver's monotonic clock.
    pub fn step(&mut self, input: Input, now: Timestamp) -> Vec<Effect> {
        self.steps([input], now)
    }

    /// Takes several inputs that came together, so that their reports share a message and a flush.
    pub fn steps(
        &mut self,
        inputs: impl IntoIterator<Item = Input>,
        now: Timestamp,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        for input in inputs {
            self.take(input, now, &mut effects);
        }
        self.fetch_checkpoints(&mut effects);
        self.start_cohorts(&mut effects);
        self.ask_for_studies(now, &mut effects);
        self.drop_old_studies(&mut effects);
        self.stop_in_time(now, &mut effects);
        self.send_what_is_due(now, &mut effects);
        self.leave_when_done(now, &mut effects);
        effects
    }

    pub fn load(&self) -> Load {
        let trials = |running: &Running| running.cohort.trials.len();
        Load {
            running_cohorts: self.running.len(),
            running_trials: self.running.values().map(trials).sum(),
            waiting_trials: self.waiting.iter().map(|cohort| cohort.trials.len()).sum(),
            ended_trials: self.ended,
        }
    }

    /// Whether the coordinator knows this agent to be here.
    pub fn is_registered(&self) -> bool {
        matches!(self.contact, Contact::Registered { .. })
    }

    fn take(&mut self, input: Input, now: Timestamp, effects: &mut Vec<Effect>) {
        match input {
            Input::Connected => self.greet(now, effects),
            Input::Disconnected => self.disconnected(Contact::Lost),
            Input::Abandoned => self.disconnected(Contact::Over),
            Input::Message(message) => self.take_message(message, now, effects),
            Input::DataReady { study } => {
                if let Some(known) = self.studies.get_mut(&study) {
                    known.rows = true;
                }
                self.progress(study, Progress::Ready);
            }
            Input::DataUnreachable { study } => {
                self.progress(study, Progress::NeedsData(now.plus_ms(FETCH_AGAIN_MS)));
            }
            Input::DataRefused { study, why } => self.fail_waiting(study, &why, effects),
            Input::Ended { lease, endings } => self.cohort_ended(lease, endings, effects),
            Input::CheckpointsHere { lease } => self.checkpoints_here(lease),
            Input::HandedOn { lease } => self.handed_on(lease),
            Input::Leave { until, why } => self.begin_to_leave(until, why, now),
            Input::Tick => {}
        }
    }

    fn take_message(&mut self, message: ToAgent, now: Timestamp, effects: &mut Vec<Effect>) {
        match message {
            ToAgent::Registered { lease_ms, keep } => {
                let renew_every_ms = (lease_ms / 3).max(1);
                let renew_at = now.plus_ms(renew_every_ms);
                self.contact = Contact::Registered { renew_every_ms, renew_at, offered: 0 };
                self.keep_only(&keep.into_iter().collect(), effects);
            }
            ToAgent::Assign { lease, study, version, trials } => {
                self.assigned(version, Cohort::new(lease, study, trials));
            }
            ToAgent::AssignFrom { lease, study, version, trials, checkpoints } => {
                let cohort = Cohort::new(lease, study, trials);
                self.assigned(version, cohort.from(checkpoints));
            }
            ToAgent::Study { id, version, study } => {
                if let Some(known) = self.studies.get_mut(&id)
                    && known.study.is_none()
                    && known.version <= version
                {
                    known.version = version;
                    known.study = Some(Arc::new(*study));
                    known.progress = match known.rows {
                        true => Progress::Ready,
                        false => Progress::NeedsData(now),
                    };
                }
            }
            ToAgent::Revoke { lease } => self.lose(lease, effects),
            ToAgent::Acknowledge { attempts } => {
                let known = |attempt: &Attempt| {
                    let reported = self.outbox.acknowledge(attempt);
                    self.crashed.remove(attempt) || reported
                };
                let attempts: Vec<Attempt> = attempts.into_iter().filter(known).collect();
                if !attempts.is_empty() {
                    effects.push(Effect::Forget { attempts });
                }
            }
            // Where to connect is the driver's to know.
            ToAgent::Replicas { .. } | ToAgent::Elsewhere { .. } | ToAgent::Goodbye { .. } => {}
            // What programs write is the driver's to read.
            ToAgent::SendLog { .. } => {}
        }
    }

    fn disconnected(&mut self, contact: Contact) {
        self.contact = contact;
        self.outbox.connection_lost();
        for known in self.studies.values_mut().filter(|known| known.progress == Progress::Asked) {
            known.progress = Progress::Unknown;
        }
    }

    /// Attempts this agent answers for: to be trained, in training, or ended and not acknowledged.
    fn holding(&self) -> Vec<Attempt> {
        self.held().flat_map(Cohort::attempts).chain(self.outbox.attempts()).collect()
    }

    fn leases(&self) -> Vec<LeaseId> {
        let leases: BTreeSet<LeaseId> =
            self.held().map(|cohort| cohort.lease).chain(self.outbox.leases()).collect();
        leases.into_iter().collect()
    }

    /// Cohorts whose lease is held.
    fn held(&self) -> impl Iterator<Item = &Cohort> {
        let running = self.running.values().filter(|running| running.doing != Doing::Lost);
        let running = running.map(|running| &running.cohort);
        self.waiting.iter().chain(running).chain(self.handing_on.values())
    }

    fn keep_only(&mut self, keep: &BTreeSet<LeaseId>, effects: &mut Vec<Effect>) {
        let waiting = self.waiting.iter().map(|cohort| cohort.lease);
        let running = self.running.keys().chain(self.handing_on.keys());
        let held = waiting.chain(running.copied());
        let lost: Vec<LeaseId> = held.filter(|lease| !keep.contains(lease)).collect();
        lost.into_iter().for_each(|lease| self.lose(lease, effects));
    }

    /// The lease belongs to this agent no longer. One that has ended is not held: nothing happens.
    fn lose(&mut self, lease: LeaseId, effects: &mut Vec<Effect>) {
        self.waiting.retain(|cohort| cohort.lease != lease);
        self.handing_on.remove(&lease);
        if let Some(running) = self.running.get_mut(&lease) {
            if running.doing == Doing::Trains {
                effects.push(Effect::StopCohort { lease });
            }
            running.doing = Doing::Lost;
        }
    }

    fn cohort_ended(
        &mut self,
        lease: LeaseId,
        endings: Option<Vec<Ending>>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(Running { cohort, doing }) = self.running.remove(&lease) else { return };
        let Some(endings) = endings else {
            // Stopped on purpose: their markers must not read as a crash.
            effects.push(Effect::Forget { attempts: cohort.attempts().collect() });
            if doing != Doing::Lost {
                self.stands_still(cohort, effects);
            }
            return;
        };
        assert_eq!(endings.len(), cohort.trials.len(), "one ending a trial");
        self.ended += endings.len() as u64;
        self.report(&cohort, endings, effects);
    }

    fn report(&mut self, cohort: &Cohort, endings: Vec<Ending>, effects: &mut Vec<Effect>) {
        let pairs = cohort.attempts().zip(endings);
        let reports: Vec<Report> =
            pairs.map(|(attempt, ending)| Report { attempt, ending: shortened(ending) }).collect();
        reports.iter().for_each(|report| self.outbox.push(report.clone()));
        effects.push(Effect::Spool { reports });
    }

    fn fail_waiting(&mut self, study: StudyId, why: &str, effects: &mut Vec<Effect>) {
        // The next grant of the study asks for everything anew: another file may be in place then.
        self.studies.remove(&study);
        let (failed, waiting) = self.waiting.drain(..).partition(|cohort| cohort.study == study);
        self.waiting = waiting;
        let failed: VecDeque<Cohort> = failed;
        for cohort in failed {
            let ending =
                Ending::Failed { reason: FailReason::Error, detail: format!("no data: {why}") };
            let endings = vec![ending; cohort.trials.len()];
            self.report(&cohort, endings, effects);
        }
    }

    fn progress(&mut self, study: StudyId, progress: Progress) {
        // A study that has grown meanwhile is asked for again.
        if let Some(known) = self.studies.get_mut(&study).filter(|known| known.study.is_some()) {
            known.progress = progress;
        }
    }

    fn ask_for_studies(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if !self.is_registered() {
            return;
        }
        let wanted: BTreeSet<StudyId> = self.waiting.iter().map(|cohort| cohort.study).collect();
        for (&id, known) in self.studies.iter_mut().filter(|(id, _)| wanted.contains(id)) {
            match (known.progress, &known.study) {
                (Progress::Unknown, _) => {
                    known.progress = Progress::Asked;
                    effects.push(Effect::Send(FromAgent::NeedStudy { study: id }));
                }
                (Progress::NeedsData(at), Some(study)) if at <= now => {
                    let study = Arc::clone(study);
                    known.progress = Progress::Fetching;
                    effects.push(Effect::FetchData { id, study });
                }
                _ => {}
            }
        }
    }

    fn drop_old_studies(&mut self, effects: &mut Vec<Effect>) {
        while self.studies.len() > STUDIES_KEPT {
            let running = self.running.values().map(|running| running.cohort.study);
            let needed: BTreeSet<StudyId> =
                self.waiting.iter().map(|cohort| cohort.study).chain(running).collect();
            let idle = self
                .studies
                .iter()
                .filter(|(id, known)| !needed.contains(id) && known.progress != Progress::Fetching);
            let Some(id) = idle.min_by_key(|(_, known)| known.used).map(|(&id, _)| id) else {
                return;
            };
            self.studies.remove(&id);
            effects.push(Effect::DropData { id });
        }
    }

    fn send_what_is_due(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if !self.is_registered() {
            return;
        }
        loop {
            let reports = self.outbox.batch();
            if reports.is_empty() {
                break;
            }
            effects.push(Effect::Send(FromAgent::Reports { reports }));
        }
        if !self.hand_back.is_empty() {
            let leases = std::mem::take(&mut self.hand_back);
            effects.push(Effect::Send(FromAgent::HandBack { leases }));
        }
        self.tell_interrupted(effects);
        let lanes = self.lanes_free();
        let Contact::Registered { renew_every_ms, renew_at, offered } = &mut self.contact else {
            return;
        };
        if *offered != lanes {
            *offered = lanes;
            effects.push(Effect::Send(FromAgent::Offer { lanes }));
        }
        if now >= *renew_at {
            *renew_at = now.plus_ms(*renew_every_ms);
            let leases = self.leases();
            if !leases.is_empty() {
                effects.push(Effect::Send(FromAgent::Renew { leases }));
            }
        }
    }
}

/// A trainer's words may be long; the log keeps their beginning.
fn shortened(ending: Ending) -> Ending {
    match ending {
        Ending::Failed { reason, detail } if detail.len() > DETAIL_BYTES_MAX => {
            let mut detail = detail;
            let whole = |end: &usize| detail.is_char_boundary(*end);
            detail.truncate((0..=DETAIL_BYTES_MAX).rev().find(whole).unwrap_or(0));
            Ending::Failed { reason, detail: detail + "…" }
        }
        ending => ending,
    }
}

/// Studies kept with their rows while no lease needs them, the ones in use included.
const STUDIES_KEPT: usize = 4;

/// Before data that could not be had is asked for again.
const FETCH_AGAIN_MS: u64 = 2_000;

const DETAIL_BYTES_MAX: usize = 2_000;
