//! How an agent leaves in time: told to, or since its own time is over; and how another goes on.
//!
//! What a stopped cohort had reached goes to the coordinator, several lanes at once; what others
//! reached is fetched before a cohort starts, and believed only by its digest. Whatever of it fails
//! costs time alone. When the grace time is over nothing is waited for.
//!
//! Floor: shell.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use common::id::{Digest, LeaseId, StudyId, TrialIndex};
use common::study::Study;
use common::trial::{Attempt, FailReason};
use common::wire::message::CHECKPOINT_BYTES_MAX;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use super::{Driver, Event, News, Train};
use crate::dataset::{DataSource, FetchError, Fetched};
use crate::session::Input;
use crate::spool::Spool;

impl Driver {
    /// To leave, when only the grace time is left until this agent's end.
    pub(super) fn leave_in_time(&mut self) -> Option<Input> {
        let ends = self.ends.filter(|_| self.gone_by.is_none())?;
        let left = ends.duration_since(SystemTime::now()).unwrap_or_default();
        (left <= self.grace).then(|| self.leave_within(left, FailReason::OutOfTime))
    }

    pub(super) fn leave_within(&mut self, grace: Duration, why: FailReason) -> Input {
        self.trainer.leave();
        // Without any time to leave the last words are waited for as long as it takes.
        let gone = if grace.is_zero() { FAREWELL + STOPPING } else { grace };
        self.gone_by.get_or_insert(Instant::now() + gone);
        let cohorts = self.session.load().running_cohorts;
        self.voice.say(&News::Leaving { cohorts, grace, why });
        let closing = CLOSING.min(grace / 4);
        let until = self.now().plus_ms((grace - closing).as_millis() as u64);
        Input::Leave { until, why }
    }

    /// Sends what a stopped cohort had reached, then tells the session.
    pub(super) fn hand_on(
        &self,
        lease: LeaseId,
        id: StudyId,
        study: Arc<Study>,
        trials: Vec<TrialIndex>,
    ) {
        let source = self.line.as_ref().map(|(_, data)| Arc::clone(data));
        let (trainer, tell_me) = (Arc::clone(&self.trainer), self.tell_me.clone());
        let (tell, of) = (Arc::clone(&self.voice.tell), trials.len());
        tokio::spawn(async move {
            let mut sending = JoinSet::new();
            let at_once = Arc::new(Semaphore::new(AT_ONCE));
            for trial in trials {
                let Some(source) = source.clone() else { break };
                let attempt = Attempt { study: id, trial, lease };
                let (study, trainer) = (Arc::clone(&study), Arc::clone(&trainer));
                let at_once = Arc::clone(&at_once);
                sending.spawn(async move {
                    let _permit = at_once.acquire().await;
                    send(&study, attempt, trainer, source.as_ref()).await
                });
            }
            let (mut sent, mut bytes) = (0, 0);
            while let Some(ended) = sending.join_next().await {
                match ended {
                    Ok(Ok(Some(more))) => (sent, bytes) = (sent + 1, bytes + more),
                    // It had not come to the end of an epoch.
                    Ok(Ok(None)) => {}
                    Ok(Err(error)) => tracing::info!(%error, "a checkpoint is not handed on"),
                    Err(error) => tracing::warn!(%error, "a checkpoint is not handed on"),
                }
            }
            tell(&News::HandedOn { sent, of, bytes });
            let _ = tell_me.send(Event::Told(Input::HandedOn { lease })).await;
        });
    }

    /// Gets what others reached of a cohort, then tells the session.
    pub(super) fn fetch_checkpoints(
        &self,
        lease: LeaseId,
        study: Arc<Study>,
        checkpoints: Vec<(TrialIndex, Digest)>,
    ) {
        let source = self.line.as_ref().map(|(_, data)| Arc::clone(data));
        let (trainer, tell_me) = (Arc::clone(&self.trainer), self.tell_me.clone());
        tokio::spawn(async move {
            let mut fetching = JoinSet::new();
            let at_once = Arc::new(Semaphore::new(AT_ONCE));
            for (trial, digest) in checkpoints {
                let Some(source) = source.clone() else { break };
                let (study, trainer) = (Arc::clone(&study), Arc::clone(&trainer));
                let at_once = Arc::clone(&at_once);
                fetching.spawn(async move {
                    let _permit = at_once.acquire().await;
                    let bytes = fetched(digest, source.as_ref()).await?;
                    let take = move || trainer.take_checkpoint(&study, trial, &bytes);
                    let taken = tokio::task::spawn_blocking(take).await.unwrap_or(false);
                    let why = || "it is none that this agent could go on from".to_string();
                    taken.then_some(()).ok_or_else(|| FetchError::Refused { why: why() })
                });
            }
            let late = tokio::time::Instant::now() + FETCH_WITHIN;
            while let Ok(Some(ended)) = timeout_at(late, fetching.join_next()).await {
                if let Ok(Err(error)) = ended {
                    tracing::info!(%error, "a trial begins anew: its checkpoint is not here");
                }
            }
            let _ = tell_me.send(Event::Told(Input::CheckpointsHere { lease })).await;
        });
    }

    /// At each tick: what went on from checkpoints since the last one.
    pub(super) fn tell_resumed(&self) {
        let mut epochs = self.trainer.resumed();
        epochs.sort_unstable();
        if let (Some(&first), Some(&last)) = (epochs.first(), epochs.last()) {
            self.voice.say(&News::Resumed { trials: epochs.len(), epochs: (first, last) });
        }
    }

    /// Lets the last messages out, stops what still trains, and waits a little for both.
    pub(super) async fn close(mut self) {
        self.closing.store(true, Ordering::Relaxed);
        if self.line.take().is_none() {
            self.connecting.0.abort();
        }
        let gone_by = self.gone_by;
        let patience = |most: Duration| {
            let left = gone_by.map(|at| at.saturating_duration_since(Instant::now()) / 2);
            left.map_or(most, |left| left.max(PATIENCE_LEAST).min(most))
        };
        let Self { mut spool, workers, stops, mut connecting, mut events, folder, .. } = self;
        drop(stops);
        // Goes on listening, or the connection's end and the threads would wait to tell it.
        let listening = async { while events.recv().await.is_some() {} };
        let closing = async {
            // When it takes longer, dropping it breaks it off.
            let _ = timeout(patience(FAREWELL), &mut connecting.0).await;
            let joining = tokio::task::spawn_blocking(move || {
                if let Some(Err(error)) = spool.as_mut().map(Spool::flush) {
                    tracing::warn!(%error, "the spool's last words were not written");
                }
                workers.join();
            });
            let _ = timeout(patience(STOPPING), joining).await;
        };
        tokio::select! {
            () = closing => {}
            () = listening => {}
        }
        // Another agent may have it only now.
        drop(folder);
    }
}

/// Sends what was reached of one trial: its bytes, if there is anything.
async fn send(
    study: &Arc<Study>,
    attempt: Attempt,
    trainer: Arc<dyn Train>,
    source: &dyn DataSource,
) -> Result<Option<u64>, FetchError> {
    let study = Arc::clone(study);
    let reached = move || trainer.checkpoint(&study, attempt.trial);
    let reached = tokio::task::spawn_blocking(reached).await.ok().flatten();
    let Some(checkpoint) = reached else { return Ok(None) };
    let bytes = checkpoint.len() as u64;
    if bytes > CHECKPOINT_BYTES_MAX {
        let most = CHECKPOINT_BYTES_MAX >> 20;
        let why = format!("it has {} MiB, and {most} MiB may travel", bytes >> 20);
        return Err(FetchError::Refused { why });
    }
    source.hand_on(attempt, checkpoint).await?;
    Ok(Some(bytes))
}

/// The bytes that have this digest.
async fn fetched(digest: Digest, source: &dyn DataSource) -> Result<Vec<u8>, FetchError> {
    let wrong = |why: &str| FetchError::Refused { why: why.to_string() };
    let Fetched { bytes: length, mut chunks } = source.fetch(digest, 0).await?;
    if length > CHECKPOINT_BYTES_MAX {
        return Err(wrong("it is longer than one that travels"));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > length {
            return Err(wrong("it is longer than was said"));
        }
    }
    match Digest::of(&bytes) == digest {
        true => Ok(bytes),
        false => Err(wrong("it did not arrive whole")),
    }
}

/// Checkpoints on their way at once.
const AT_ONCE: usize = 8;

/// How long a cohort waits for what others reached of it.
const FETCH_WITHIN: Duration = Duration::from_secs(60);

/// Of the grace time, what closing takes; at most a quarter of it.
const CLOSING: Duration = Duration::from_secs(2);

/// How long each part of closing may take, however little time is left.
const PATIENCE_LEAST: Duration = Duration::from_millis(500);

/// How long the last messages may take on their way out.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long stopped cohorts may take to notice.
const STOPPING: Duration = Duration::from_secs(5);
