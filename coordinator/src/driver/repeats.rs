//! Compares the outcomes of trials that were trained again with those on the disk.
//!
//! What leaves is the distance of two outcomes and where each was made, never an outcome.
//!
//! Floor: shell.

use std::sync::Arc;

use common::id::{StudyId, TrialIndex};
use common::repeat::Difference;
use common::trial::Outcome;
use common::wire::message::{Repeat, RepeatState, Repeats, Response, RowEnd};

use super::Handle;

impl Handle {
    /// Adds to what the node says of trials that were trained again what the disk has of them.
    ///
    /// Differences of many rows are long: of what fits no frame any more it is said that it waits. The
    /// client asks for it again, without those that it was told.
    pub(super) async fn compared(&self, study: StudyId, number: u64, mut it: Repeats) -> Response {
        if let Err(why) = self.flushed().await {
            return Response::Refused { why };
        }
        let mut room = DIFFERENCES_BYTES;
        for Repeat { trial, state } in &mut it.trials {
            let RepeatState::Done { devices, difference, .. } = state else { continue };
            let compared = match room {
                0 => Ok(None),
                _ => self.compare(study, number, *trial, difference.is_some()).await,
            };
            match compared {
                Ok(Some((first, apart))) => {
                    let bytes =
                        apart.as_ref().map_or(0, |d| 8 * d.metrics.len() + 4 * d.rows.len());
                    room = room.saturating_sub(bytes);
                    (devices.0, *difference) = (first, apart.map(Box::new));
                }
                Ok(None) => *state = RepeatState::Waiting,
                Err(why) => return Response::Refused { why },
            }
        }
        Response::Repeats(Box::new(it))
    }

    /// The record of the outcome that stands and, where the later one `differs`, how far they are
    /// apart. `None` when this replica has ceased to lead meanwhile.
    async fn compare(
        &self,
        study: StudyId,
        number: u64,
        trial: TrialIndex,
        differs: bool,
    ) -> Result<Option<(String, Option<Difference>)>, String> {
        let first = self.outcome(study, trial).await?;
        if !differs {
            return Ok(Some((first.device, None)));
        }
        let again = self.look(move |node| node.repeated_outcome(study, number, trial)).await;
        let Some(again) = again.flatten() else { return Ok(None) };
        let apart = Difference::between(&first, &again);
        Ok(Some((first.device, Some(apart))))
    }

    /// The outcome that stands.
    async fn outcome(&self, study: StudyId, trial: TrialIndex) -> Result<Outcome, String> {
        let absent = || format!("the outcome of trial {trial} cannot be read");
        let disk = Arc::clone(&self.shared.disk);
        let read = move || disk.outcomes(study, trial, 1);
        let read = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
        let (rows, _) = read.map_err(|error| error.to_string())?;
        match rows.into_iter().next().filter(|row| row.trial == trial).map(|row| row.end) {
            Some(RowEnd::Complete(outcome)) => Ok(outcome),
            _ => Err(absent()),
        }
    }
}

/// Of a frame, which has room for the last difference that begins within them too.
const DIFFERENCES_BYTES: usize = 512 << 10;
