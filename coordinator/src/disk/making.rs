//! A folder's log as it is made: there is none until it is whole, since it may be killed at any moment.
//!
//! Floor: shell.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{Disk, DiskError, FILE, FolderIdentity, RowChange, file_error, lock};
use crate::replica::incoming::Rows;
use crate::replica::log::{Persist, Recovered};

/// A log that is not yet in its place.
pub struct Making {
    disk: Disk,
    folder: PathBuf,
    beside: PathBuf,
    /// Whether outcomes are there that are not durable yet.
    kept: bool,
}

impl Making {
    /// Until a log gets its place in it, the folder is one that nobody may start: it holds a part of
    /// what belongs to that log.
    pub fn mark(folder: &Path) -> Result<(), DiskError> {
        let mark = folder.join(MARK);
        let made = File::create(&mark).and_then(|file| file.sync_all());
        made.map_err(|source| file_error(&mark, source))?;
        synced(folder)
    }

    pub fn is_marked(folder: &Path) -> bool {
        folder.join(MARK).exists()
    }

    pub fn begin(
        folder: &Path,
        identity: FolderIdentity,
        first: &Recovered,
    ) -> Result<Self, DiskError> {
        let lock = lock(folder)?;
        let beside = folder.join("log.redb.new");
        let _ = fs::remove_file(&beside);
        let disk = Disk::on(beside.clone(), lock)?;
        disk.begin(identity, first)?;
        Ok(Self { disk, folder: folder.to_path_buf(), beside, kept: false })
    }

    /// Outcomes that belong to the first snapshot.
    pub fn keep(&mut self, rows: Rows) -> Result<(), DiskError> {
        let rows: Vec<RowChange> =
            rows.into_iter().map(|(study, row)| RowChange::Keep(study, row)).collect();
        self.kept = true;
        self.disk.stage(&rows)
    }

    /// It is whole: it gets its place.
    pub fn finish(self) -> Result<(), DiskError> {
        let Self { disk, folder, beside, kept } = self;
        if kept {
            disk.commit(&Persist::default(), &[])?;
        }
        // What it writes when it is closed belongs to the file before it has its name.
        drop(disk);
        let path = folder.join(FILE);
        fs::rename(&beside, &path).map_err(|source| file_error(&path, source))?;
        synced(&folder)?;
        if !Self::is_marked(&folder) {
            return Ok(());
        }
        let mark = folder.join(MARK);
        fs::remove_file(&mark).map_err(|source| file_error(&mark, source))?;
        synced(&folder)
    }
}

fn synced(folder: &Path) -> Result<(), DiskError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| file_error(folder, source))
}

/// An empty file.
const MARK: &str = "unfinished";
