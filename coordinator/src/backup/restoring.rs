//! A folder for a cluster of one replica, from a backup.
//!
//! The file is read through before anything is written. A folder is marked until all is in its place,
//! and none that is marked is started: with the cluster's certificates and without its log it would be
//! an empty cluster that agents take for theirs. Terms begin far above those of the backup, so that no
//! lease is numbered as one that the lost cluster granted after it.
//!
//! Floor: shell.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::id::{Digest, ReplicaId};
use link::{Authority, Secret};

use super::BackupError;
use super::format::{About, Part};
use super::reading::{Contents, Parts, check};
use crate::content::{Arriving, Content};
use crate::disk::{FORMAT, FolderIdentity, Making};
use crate::replica::log::{Base, Recovered, SnapshotMeta, SnapshotRecord, Vote, Voters};
use crate::scheduler::command::LEVEL;
use crate::scheduler::state::State;

/// What was restored.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    pub contents: Contents,
    /// The only replica of the cluster.
    pub replica: ReplicaId,
    pub members: u64,
}

/// Makes `folder` a coordinator's from the backup at `path`; `read` is told of bytes as they are read,
/// which is done twice. Slow: for a thread of its own.
pub fn restore(
    path: &Path,
    folder: &Path,
    mut read: impl FnMut(u64),
) -> Result<Restored, BackupError> {
    is_empty(folder)?;
    let contents = check(path, &mut read)?;
    let About { level, version, .. } = contents.about.clone();
    if level > LEVEL {
        let (path, known) = (path.to_path_buf(), LEVEL);
        return Err(BackupError::Level { path, level, known, version });
    }
    let failed = |source| BackupError::File { path: folder.to_path_buf(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    Making::mark(folder)?;
    let mut folding = Folding { folder, about: &contents.about, data: None, state: Vec::new() };
    let mut parts = Parts::open(path)?;
    parts.about()?;
    let (mut making, mut made) = (None, None);
    loop {
        match parts.next()? {
            Part::Rows(rows) => {
                if making.is_none() {
                    (making, made) =
                        folding.log(&parts).map(|(log, who)| (Some(log), Some(who)))?;
                }
                if let Some(making) = &mut making {
                    read(rows.len() as u64);
                    making.keep(rows)?;
                }
            }
            Part::End { .. } => break,
            part => folding.take(part, &parts)?,
        }
    }
    let (making, (replica, members)) = match (making, made) {
        (Some(making), Some(made)) => (making, made),
        _ => folding.log(&parts)?,
    };
    making.finish()?;
    Ok(Restored { contents, replica, members })
}

/// What of the folder is made so far.
struct Folding<'a> {
    folder: &'a Path,
    about: &'a About,
    /// The file that is being written.
    data: Option<(Digest, Arriving)>,
    state: Vec<u8>,
}

impl Folding<'_> {
    fn take(&mut self, part: Part, parts: &Parts) -> Result<(), BackupError> {
        match part {
            Part::Authority(text) => {
                let failed = |source| BackupError::Authority { source };
                let authority = Authority::import(&Secret::new(text.0)).map_err(failed)?;
                authority.save(&self.folder.join("ca")).map_err(failed)
            }
            Part::Data { digest, bytes } => self.data(digest, &bytes, parts),
            Part::State(bytes) => {
                self.state.extend(bytes);
                Ok(())
            }
            Part::About(_) | Part::Rows(_) | Part::End { .. } => {
                Err(parts.damaged("its parts are in no order"))
            }
        }
    }

    fn data(&mut self, digest: Digest, bytes: &[u8], parts: &Parts) -> Result<(), BackupError> {
        if self.data.as_ref().is_none_or(|(known, _)| *known != digest) {
            self.end_data()?;
            let length = self.about.data.iter().find(|(known, _)| *known == digest);
            let (_, length) = length.ok_or_else(|| parts.damaged("a file is not announced"))?;
            let content = Content::open(self.folder.join("data"))?;
            self.data = Some((digest, content.arrive(&digest, *length)?));
        }
        match &mut self.data {
            Some((_, arriving)) => Ok(arriving.append(bytes)?),
            None => Ok(()),
        }
    }

    /// A file's end: its digest is looked at.
    fn end_data(&mut self) -> Result<(), BackupError> {
        match self.data.take() {
            Some((_, arriving)) => Ok(arriving.finish()?),
            None => Ok(()),
        }
    }

    /// The log with the state, without outcomes yet; its replica, and how many members there are.
    fn log(&mut self, parts: &Parts) -> Result<(Making, (ReplicaId, u64)), BackupError> {
        self.end_data()?;
        let state = State::decode(&std::mem::take(&mut self.state));
        let state = state.filter(|state| state.applied == self.about.index);
        let state = state.ok_or_else(|| parts.damaged("its state is none"))?;
        let members = state.members.len() as u64;
        let (state, replica) = state.on_a_new_replica();
        let bytes = state.encode().map_err(|source| BackupError::Encode { source })?;
        let (index, term) = (self.about.index, self.about.term + TERMS_SKIPPED);
        let voters = Voters { voters: vec![replica.0.get()], learners: Vec::new() };
        let meta = SnapshotMeta { index, term, voters };
        let first = Recovered {
            snapshot: SnapshotRecord { meta, state: bytes },
            base: Base { index, term },
            vote: Vote { term, vote: 0, commit: index },
            entries: Vec::new(),
        };
        let identity = FolderIdentity { format: FORMAT, cluster: self.about.cluster, replica };
        Ok((Making::begin(self.folder, identity, &first)?, (replica, members)))
    }
}

/// Refuses a folder with anything in it, but for what a file system puts there.
fn is_empty(folder: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(BackupError::File { path: folder.to_path_buf(), source }),
    };
    let other = |entry: std::io::Result<fs::DirEntry>| {
        entry.map_or(true, |entry| entry.file_name() != "lost+found")
    };
    match entries.into_iter().any(other) {
        true => Err(BackupError::NotEmpty { path: folder.to_path_buf() }),
        false => Ok(()),
    }
}

/// More elections than a cluster has between a backup and its loss.
const TERMS_SKIPPED: u64 = 1_000;
