//! What a backup is made from: a running coordinator, or a folder that nobody uses.
//!
//! Floor: shell.

use std::collections::BTreeMap;
use std::path::Path;

use common::id::{ClusterId, Digest, ReplicaId, TrialIndex};
use common::time::Timestamp;
use link::{Authority, Secret};

use super::BackupError;
use crate::content::Content;
use crate::disk::{Disk, Image, RowChange};
use crate::driver::Handle;
use crate::replica::log::{EntryKind, Recovered};
use crate::scheduler::command::{Entry, LEVEL};
use crate::scheduler::state::State;
use crate::scheduler::{Applied, Ended};

/// State and outcomes of one moment, and what belongs to them.
pub struct Source {
    pub(super) image: Image,
    pub(super) cluster: ClusterId,
    pub(super) replica: ReplicaId,
    pub(super) term: u64,
    pub(super) level: u16,
    pub(super) studies: u64,
    /// Data files and a study that needs each.
    pub(super) data: BTreeMap<Digest, String>,
    pub(super) content: Content,
    pub(super) authority: Secret<Vec<u8>>,
    pub(super) made: Timestamp,
    /// Held, so that nobody else uses the folder.
    _disk: Option<Disk>,
}

impl Source {
    /// All that this coordinator has applied, which is at least entry `at_least`; or why not.
    pub async fn running(handle: &Handle, at_least: u64) -> Result<Self, String> {
        let (image, term) = handle.image(at_least).await?;
        let authority = handle.authority();
        let unread = "the state is none of this program's";
        let state = State::decode(&image.state).ok_or(unread)?;
        Ok(Self {
            cluster: authority.cluster(),
            replica: handle.own(),
            term,
            level: state.level,
            studies: state.studies.len() as u64,
            data: data_of(&state),
            content: handle.content().clone(),
            authority: authority.export(),
            made: crate::driver::wall_clock(),
            image,
            _disk: None,
        })
    }

    /// What it takes at least; outcomes take more.
    pub(super) fn bytes_at_least(&self) -> u64 {
        let lengths = self.data.keys().map(|digest| self.content.read(digest, 0, 0));
        let data: u64 = lengths.filter_map(|read| read.ok().map(|(_, length)| length)).sum();
        self.image.state.len() as u64 + data
    }

    /// All that is in the folder's log, while no coordinator uses it. What was never acknowledged may
    /// be among it; nothing that was is missing.
    pub fn folder(folder: &Path) -> Result<Self, BackupError> {
        let (disk, identity) = Disk::open(folder)?;
        let authority = Authority::load(&folder.join("ca"))
            .map_err(|source| BackupError::Authority { source })?
            .ok_or_else(|| BackupError::NoAuthority { path: folder.to_path_buf() })?;
        let (state, term, changes) = replayed(&disk)?;
        // For this reader alone: they become durable when a coordinator applies them.
        disk.stage(&changes)?;
        let bytes = state.encode().map_err(|source| BackupError::Encode { source })?;
        Ok(Self {
            image: disk.image(state.applied, bytes)?,
            cluster: identity.cluster,
            replica: identity.replica,
            term,
            level: state.level,
            studies: state.studies.len() as u64,
            data: data_of(&state),
            content: Content::open(folder.join("data"))?,
            authority: authority.export(),
            made: crate::driver::wall_clock(),
            _disk: Some(disk),
        })
    }
}

fn data_of(state: &State) -> BTreeMap<Digest, String> {
    let studies = state.studies.values();
    studies.map(|record| (record.study.data.digest, record.study.name.clone())).collect()
}

/// The state after the last entry, the term, and what of outcomes the log alone has.
fn replayed(disk: &Disk) -> Result<(State, u64, Vec<RowChange>), BackupError> {
    let failed = |why: String| BackupError::Replay { path: disk.path().to_path_buf(), why };
    let Recovered { snapshot, base, vote, entries } = disk.recover()?;
    let mut state = State::decode(&snapshot.state)
        .ok_or_else(|| failed("its snapshot is no state of this program's".to_string()))?;
    let mut term = vote.term.max(base.term);
    let mut changes = Vec::new();
    for entry in entries.into_iter().filter(|entry| entry.index > snapshot.meta.index) {
        term = term.max(entry.term);
        if entry.kind != EntryKind::Command || entry.data.is_empty() {
            state.pass(entry.index);
            continue;
        }
        let command = Entry::decode(&entry.data).map_err(|error| failed(error.to_string()))?;
        let level = command.command.level().max(state.level);
        if level > LEVEL {
            return Err(failed(format!("it is at level {level}, this program knows {LEVEL}")));
        }
        changed(state.apply(entry.index, command), &mut changes);
    }
    Ok((state, term, changes))
}

/// What an applied entry does to the table of outcomes.
fn changed(applied: Applied, changes: &mut Vec<RowChange>) {
    match applied {
        Applied::Reported(ended) => changes.extend(ended.into_iter().filter_map(|ended| {
            let Ended::Trial { attempt, row, .. } = ended else { return None };
            Some(RowChange::Keep(attempt.study, *row))
        })),
        Applied::Retried { study, trials } => {
            let drop = |trial: TrialIndex| RowChange::Drop(study, trial);
            changes.extend(trials.into_iter().map(drop));
        }
        _ => {}
    }
}
