//! A snapshot to be sent: a state, and the outcomes as they were when it was made.
//!
//! redb keeps the pages of a read transaction as they are, so a slow follower gets what belongs to
//! the state, while the log goes on. Held only as long as it is needed: old pages take room.
//!
//! Floor: shell.

use std::path::PathBuf;

use common::id::{StudyId, TrialIndex};
use common::wire::message::OutcomeRow;
use redb::ReadTransaction;

use super::{DiskError, OUTCOMES, damaged, row_key, unsealed};
use crate::replica::incoming::Rows;

/// Cheap to read from several threads.
pub struct Image {
    /// The last entry it covers.
    pub index: u64,
    pub state: Vec<u8>,
    transaction: ReadTransaction,
    path: PathBuf,
}

/// A place between two rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    study: u64,
    trial: u64,
}

impl Image {
    pub(super) fn new(
        index: u64,
        state: Vec<u8>,
        transaction: ReadTransaction,
        path: PathBuf,
    ) -> Self {
        Self { index, state, transaction, path }
    }

    /// Rows from a place on, about `bytes_max` of them, and where to go on.
    pub fn rows(&self, from: Place, bytes_max: usize) -> Result<(Rows, Option<Place>), DiskError> {
        let table =
            self.transaction.open_table(OUTCOMES).map_err(|error| damaged(&self.path, error))?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let range = table.range((from.study, from.trial)..);
        for item in range.map_err(|error| damaged(&self.path, error))? {
            let (key, value) = item.map_err(|error| damaged(&self.path, error))?;
            let (study, trial) = key.value();
            bytes += value.value().len() + ROW_BYTES;
            if bytes > bytes_max && !rows.is_empty() {
                return Ok((rows, Some(Place { study, trial })));
            }
            let (study, trial) = (StudyId(study), TrialIndex(trial));
            let row: OutcomeRow =
                unsealed(&row_key(study, trial), value.value()).ok_or_else(|| {
                    let what = format!("the outcome of trial {trial} fails its checksum");
                    damaged(&self.path, what)
                })?;
            rows.push((study, row));
        }
        Ok((rows, None))
    }
}

/// What a row takes beside its bytes on disk.
const ROW_BYTES: usize = 16;
