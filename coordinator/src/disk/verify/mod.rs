//! `coordinator verify-log`: everything in a data folder is read and compared, and nothing written.
//!
//! The database's own checksums first, which it does not look at when it is read; then ours, value
//! by value; then what the values say: the log is whole, the snapshot is a state, the entries after
//! it apply, and every trial that has ended has the outcome that was accepted. Deliberately absent:
//! any repair. A look at a damaged folder must not be what loses it.
//!
//! Floor: shell.

mod beside;
#[cfg(test)]
mod damage;
mod finding;
mod header;
mod rows;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Builder, Database, ReadableTable, ReadableTableMetadata};

use super::overlay::{Bytes, Overlay};
use super::{
    BASE, CACHE_BYTES, Disk, DiskError, FILE, FORMAT, FolderIdentity, IDENTITY, LOG, SNAPSHOT,
    VOTE, damaged, file_error, lock, unsealed,
};
use crate::replica::log::{Base, LogEntry, SnapshotRecord, Vote};

pub use finding::Finding;

/// What a data folder holds, and what of it is not sound.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub identity: Option<FolderIdentity>,
    pub vote: Option<Vote>,
    /// The log begins after this entry.
    pub base: Option<u64>,
    /// The last entry; the base when there are none.
    pub last: u64,
    pub entries: u64,
    /// The entry of the snapshot, and the level of its state.
    pub snapshot: Option<(u64, Option<u16>)>,
    /// After the last entry; unknown when not all can be replayed.
    pub studies: Option<u64>,
    pub outcomes: u64,
    /// Trials that have ended and whose outcome is in the log alone: it comes into the table with the
    /// next commit.
    pub in_log_alone: u64,
    pub data_files: u64,
    /// Of the database file.
    pub bytes: u64,
    pub findings: Vec<Finding>,
    /// Findings beyond those that are named.
    pub more: u64,
}

/// How much is read, for whoever waits on another thread.
#[derive(Debug, Default)]
pub struct Progress {
    done: Arc<AtomicU64>,
    total: AtomicU64,
}

/// Reads everything in `folder` while nobody else uses it.
pub fn verify(folder: &Path, progress: &Progress) -> Result<Verdict, DiskError> {
    if !Disk::is_in(folder) {
        return Err(DiskError::Absent { path: folder.to_path_buf() });
    }
    let _lock = lock(folder)?;
    let path = folder.join(FILE);
    let file = File::open(&path).map_err(|source| file_error(&path, source))?;
    let bytes = file.metadata().map_err(|source| file_error(&path, source))?.len();
    let data = beside::data_files(folder);
    let data_bytes: u64 = data.iter().map(|file| file.bytes).sum();
    progress.total.store(bytes * LOOKS + data_bytes, Ordering::Relaxed);
    let mut verdict = look(&path, Arc::new(file), progress)?;
    beside::look(folder, &data, progress, &mut verdict);
    Ok(verdict)
}

impl Verdict {
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_NAMED {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }
}

impl Progress {
    /// Bytes read of all that there are to read.
    pub fn now(&self) -> (u64, u64) {
        let total = self.total.load(Ordering::Relaxed);
        (self.done.load(Ordering::Relaxed).min(total), total)
    }

    fn read(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What the folder says of itself, as far as it reads.
#[derive(Default)]
struct Parts {
    identity: Option<FolderIdentity>,
    snapshot: Option<SnapshotRecord>,
    base: Option<Base>,
    vote: Option<Vote>,
}

impl Parts {
    /// The last entry that is known to be committed.
    fn committed(&self) -> u64 {
        let vote = self.vote.map_or(0, |vote| vote.commit);
        vote.max(self.snapshot.as_ref().map_or(0, |snapshot| snapshot.meta.index))
    }
}

/// Looks at a database's bytes.
fn look(path: &Path, below: Arc<dyn Bytes>, progress: &Progress) -> Result<Verdict, DiskError> {
    let bytes = below.length().map_err(|source| file_error(path, source))?;
    let mut verdict = Verdict { bytes, ..Verdict::default() };
    if bytes == 0 {
        // redb would take it for a new one.
        verdict.find(Finding::File { what: "it is empty".to_string() });
        return Ok(verdict);
    }
    let older = header::leads_to_an_older_commit(below.as_ref());
    if older.map_err(|source| file_error(path, source))? {
        verdict.find(Finding::OlderCommit);
    }
    check(path, &below, progress, &mut verdict);
    // Also where the check found damage: what still reads tells what is lost.
    let opened = catch_unwind(AssertUnwindSafe(|| open(path, &below, progress, false)));
    let Ok(Ok(database)) = opened else {
        if verdict.is_sound() {
            verdict.find(Finding::File { what: "it cannot be opened".to_string() });
        }
        return Ok(verdict);
    };
    let disk = Disk::over(database, path);
    let parts = parts(&disk, &mut verdict);
    if let Some(FolderIdentity { format, .. }) = parts.identity.filter(|own| own.format != FORMAT) {
        return Err(DiskError::Format { path: path.to_path_buf(), format });
    }
    let entries = guard(&mut verdict, "log", |verdict| log(&disk, &parts, verdict));
    let ends = guard(&mut verdict, "snapshot", |verdict| {
        Ok(rows::replay(&parts, &entries.unwrap_or_default(), verdict))
    });
    guard(&mut verdict, "table of outcomes", |verdict| {
        rows::compare(&disk, ends.flatten().as_ref(), verdict)
    });
    guard(&mut verdict, "database", |_| {
        drop(disk);
        Ok(())
    });
    Ok(verdict)
}

/// The database's own checksums, and whether its free pages are those that it believes free.
fn check(path: &Path, below: &Arc<dyn Bytes>, progress: &Progress, verdict: &mut Verdict) {
    let before = verdict.findings.len();
    let checked = catch_unwind(AssertUnwindSafe(|| open(path, below, progress, true).map(drop)));
    match checked {
        Ok(Ok(())) => {}
        Ok(Err(error)) => verdict.find(Finding::File { what: what_of(error) }),
        Err(_) => verdict.find(Finding::File { what: BROKEN.to_string() }),
    }
    if verdict.findings.len() > before {
        return;
    }
    let checked = catch_unwind(AssertUnwindSafe(|| {
        let mut database = open(path, below, progress, false)?;
        database.check_integrity().map_err(|error| damaged(path, error))
    }));
    match checked {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => verdict.find(Finding::FreePages),
        Ok(Err(error)) => verdict.find(Finding::File { what: what_of(error) }),
        Err(_) => verdict.find(Finding::File { what: BROKEN.to_string() }),
    }
}

fn open(
    path: &Path,
    below: &Arc<dyn Bytes>,
    progress: &Progress,
    checked: bool,
) -> Result<Database, DiskError> {
    let overlay = Overlay::over(Arc::clone(below), Arc::clone(&progress.done));
    let overlay = overlay.map_err(|source| file_error(path, source))?;
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(checked);
    builder.create_with_backend(overlay).map_err(|error| damaged(path, error))
}

/// Does a part of the work, whatever redb does on a damaged file: it asserts its invariants.
fn guard<T>(
    verdict: &mut Verdict,
    part: &'static str,
    work: impl FnOnce(&mut Verdict) -> Result<T, DiskError>,
) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(|| work(verdict))) {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(error)) => verdict.find(Finding::Part { part, what: what_of(error) }),
        Err(_) => verdict.find(Finding::Part { part, what: BROKEN.to_string() }),
    }
    None
}

fn what_of(error: DiskError) -> String {
    match error {
        // redb begins with what every finding says.
        DiskError::Damaged { what, .. } => what.trim_start_matches("DB corrupted: ").to_string(),
        error => error.to_string(),
    }
}

fn parts(disk: &Disk, verdict: &mut Verdict) -> Parts {
    let parts = Parts {
        identity: part(disk, IDENTITY, verdict),
        snapshot: part(disk, SNAPSHOT, verdict),
        base: part(disk, BASE, verdict),
        vote: part(disk, VOTE, verdict),
    };
    verdict.identity = parts.identity;
    verdict.vote = parts.vote;
    verdict.base = parts.base.map(|base| base.index);
    verdict.snapshot = parts.snapshot.as_ref().map(|snapshot| (snapshot.meta.index, None));
    parts
}

fn part<T: serde::de::DeserializeOwned + serde::Serialize>(
    disk: &Disk,
    part: &'static str,
    verdict: &mut Verdict,
) -> Option<T> {
    match guard(verdict, part, |_| disk.meta_as(part))? {
        Some(Some(value)) => return Some(value),
        Some(None) => verdict.find(Finding::Checksum { part }),
        None => verdict.find(Finding::Missing { part }),
    }
    None
}

/// The entries that follow the base without a gap; all others are findings.
fn log(disk: &Disk, parts: &Parts, verdict: &mut Verdict) -> Result<Vec<LogEntry>, DiskError> {
    let transaction = disk.read()?;
    let table = transaction.open_table(LOG).map_err(|error| damaged(&disk.path, error))?;
    verdict.entries = table.len().map_err(|error| damaged(&disk.path, error))?;
    let committed = parts.committed();
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut last = parts.base;
    let mut whole = true;
    for item in table.iter().map_err(|error| damaged(&disk.path, error))? {
        let (key, value) = item.map_err(|error| damaged(&disk.path, error))?;
        let index = key.value();
        if let Some(base) = parts.base.filter(|base| index <= base.index) {
            verdict.find(Finding::Stale { index, base: base.index });
            continue;
        }
        let before = last.unwrap_or(Base { index: index.saturating_sub(1), term: 0 });
        if index != before.index + 1 {
            whole = false;
            verdict.find(Finding::Gap { index: before.index + 1 });
        }
        let entry: Option<LogEntry> = unsealed(&index.to_be_bytes(), value.value());
        let Some(entry) = entry.filter(|entry| entry.index == index) else {
            whole = false;
            last = Some(Base { index, term: before.term });
            verdict.find(Finding::Entry { index });
            continue;
        };
        let term = entry.term;
        last = Some(Base { index, term });
        let own = parts.vote.map_or(u64::MAX, |vote| vote.term);
        if term < before.term || term > own {
            verdict.find(Finding::Term { index, term, before: before.term.min(own) });
        }
        if whole {
            entries.push(entry);
        }
    }
    verdict.last = last.map_or(0, |last| last.index);
    if verdict.last < committed {
        verdict.find(Finding::Short { last: verdict.last, committed });
    }
    Ok(entries)
}

/// redb's words for it are its own.
const BROKEN: &str = "it breaks the database's invariants";
/// All others are counted.
const FINDINGS_NAMED: usize = 100;
/// How often the file is read: twice by the database's check, once by ours.
const LOOKS: u64 = 3;
