//! What a coordinator keeps on disk: its log, votes, snapshots and outcomes, in one redb file.
//!
//! One commit a `Ready`. redb does not check its own checksums on reads, so every value carries ours
//! over its key and bytes, checked on every load: a flipped bit is refused, never believed. A failed
//! write or sync is an error that must stop the process: a second sync may lie. The one exception is
//! a full disk: the file is opened anew, as after a crash, and the whole commit is made again.
//!
//! Floor: shell.

mod image;
mod making;
mod overlay;
#[cfg(test)]
mod power_loss;
mod room;
#[cfg(test)]
mod tests;
mod verify;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use common::id::{ClusterId, ReplicaId, StudyId, TrialIndex};
use common::wire::codec::{self, CodecError};
use common::wire::message::OutcomeRow;
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTableMetadata,
    TableDefinition, TableHandle, WriteTransaction,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::replica::incoming::Rows;
use crate::replica::log::{Base, LogEntry, Persist, Recovered, Save, SnapshotRecord, Source, Vote};

pub use image::{Image, Place};
pub use making::Making;
pub use room::{Look, Reserve, Space};
pub use verify::{Finding, Progress, Verdict, verify};

/// An open data folder's database. Cheap to read from several threads.
pub struct Disk {
    /// Absent only while it is opened anew.
    database: RwLock<Option<Database>>,
    path: PathBuf,
    /// Held as long as the folder is in use; `None` where only bytes are looked at.
    _lock: Option<File>,
}

/// Who this folder belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FolderIdentity {
    pub format: u16,
    pub cluster: ClusterId,
    pub replica: ReplicaId,
}

/// A change of the table of outcomes.
#[derive(Clone, Debug, PartialEq)]
pub enum RowChange {
    Keep(StudyId, OutcomeRow),
    Drop(StudyId, TrialIndex),
}

/// Why the disk cannot be used.
#[derive(Debug, Error)]
pub enum DiskError {
    #[error("cannot use {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("another coordinator uses {path}; stop it, or name another folder")]
    Locked { path: PathBuf },
    #[error(
        "{path} is damaged ({what}). With other replicas: `coordinator members remove` this one, and \
         start it in an empty folder with --join. Alone: put a copy of the whole folder in its place"
    )]
    Damaged { path: PathBuf, what: String },
    #[error(
        "{path} is of format {format}, this program knows {FORMAT}; install the version that wrote it"
    )]
    Format { path: PathBuf, format: u16 },
    #[error("{path} holds no coordinator's log")]
    Absent { path: PathBuf },
    #[error(
        "{path} cannot be written: {source}; this process stops, since what is on disk is unknown"
    )]
    Write { path: PathBuf, source: redb::Error },
    #[error("the disk of {path} is full")]
    Full { path: PathBuf },
    #[error("an entry cannot be encoded")]
    Encode { source: CodecError },
}

impl Disk {
    /// Whether `folder` holds a log.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a new folder's log, whole or not at all: a first start may be killed at any moment.
    pub fn create(
        folder: &Path,
        identity: FolderIdentity,
        first: &Recovered,
    ) -> Result<(), DiskError> {
        Making::begin(folder, identity, first)?.finish()
    }

    /// Opens a folder's log.
    pub fn open(folder: &Path) -> Result<(Self, FolderIdentity), DiskError> {
        if !Self::is_in(folder) {
            return Err(DiskError::Absent { path: folder.to_path_buf() });
        }
        let disk = Self::on(folder.join(FILE), lock(folder)?)?;
        let identity = disk.identity()?;
        Ok((disk, identity))
    }

    /// Whether a process uses `folder`. Holds the lock no longer than the question takes.
    pub fn is_in_use(folder: &Path) -> bool {
        // Who cannot open it, or finds no lock, is told that by whatever it does next.
        let lock = File::open(folder.join(LOCK));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    fn identity(&self) -> Result<FolderIdentity, DiskError> {
        match self.meta::<FolderIdentity>(IDENTITY)? {
            Some(identity) if identity.format == FORMAT => Ok(identity),
            Some(FolderIdentity { format, .. }) => {
                Err(DiskError::Format { path: self.path.clone(), format })
            }
            None => Err(damaged(&self.path, "it does not say whose it is")),
        }
    }

    fn on(path: PathBuf, lock: File) -> Result<Self, DiskError> {
        let database = RwLock::new(Some(open_database(&path)?));
        Ok(Self { database, path, _lock: Some(lock) })
    }

    /// Over a database that is no file of its own.
    fn over(database: Database, path: &Path) -> Self {
        Self { database: RwLock::new(Some(database)), path: path.to_path_buf(), _lock: None }
    }

    fn begin(&self, identity: FolderIdentity, first: &Recovered) -> Result<(), DiskError> {
        let transaction = self.write()?;
        {
            let mut meta = transaction.open_table(META).map_err(|e| self.failed(e))?;
            for (name, value) in [
                (IDENTITY, sealed(IDENTITY.as_bytes(), &identity)?),
                (SNAPSHOT, sealed(SNAPSHOT.as_bytes(), &first.snapshot)?),
                (BASE, sealed(BASE.as_bytes(), &first.base)?),
                (VOTE, sealed(VOTE.as_bytes(), &first.vote)?),
            ] {
                meta.insert(name, value.as_slice()).map_err(|e| self.failed(e))?;
            }
            transaction.open_table(LOG).map_err(|e| self.failed(e))?;
            transaction.open_table(OUTCOMES).map_err(|e| self.failed(e))?;
        }
        transaction.commit().map_err(|e| self.failed(e))
    }

    /// What the replica left.
    pub fn recover(&self) -> Result<Recovered, DiskError> {
        let absent = |name: &str| damaged(&self.path, format!("its {name} is missing"));
        let snapshot: SnapshotRecord = self.meta(SNAPSHOT)?.ok_or_else(|| absent(SNAPSHOT))?;
        let base: Base = self.meta(BASE)?.ok_or_else(|| absent(BASE))?;
        let vote: Vote = self.meta(VOTE)?.ok_or_else(|| absent(VOTE))?;
        let entries = self.entries(base.index + 1)?;
        let last = base.index + entries.len() as u64;
        if last < vote.commit.max(snapshot.meta.index) {
            let commit = vote.commit.max(snapshot.meta.index);
            let what = format!("its log ends at entry {last}, and {commit} were committed");
            return Err(damaged(&self.path, what));
        }
        Ok(Recovered { snapshot, base, vote, entries })
    }

    /// Entries from `first` on. A write that was torn is undone by the database, with all of its commit:
    /// an entry that is there and fails its checksum was changed later, and may have been acknowledged.
    fn entries(&self, first: u64) -> Result<Vec<LogEntry>, DiskError> {
        let transaction = self.read()?;
        let table = transaction.open_table(LOG).map_err(|e| damaged(&self.path, e))?;
        let mut entries: Vec<LogEntry> = Vec::new();
        for item in table.range(first..).map_err(|e| damaged(&self.path, e))? {
            let (key, value) = item.map_err(|e| damaged(&self.path, e))?;
            let (index, due) = (key.value(), first + entries.len() as u64);
            if index != due {
                return Err(damaged(&self.path, format!("entry {due} is missing")));
            }
            let entry: Option<LogEntry> = unsealed(&index.to_be_bytes(), value.value());
            let Some(entry) = entry.filter(|entry| entry.index == index) else {
                return Err(damaged(&self.path, format!("entry {index} fails its checksum")));
            };
            entries.push(entry);
        }
        let (listed, there) = (table.len().map_err(|e| damaged(&self.path, e))?, entries.len());
        if there as u64 != listed {
            let what = format!("its log should have {listed} entries, and {there} are there");
            return Err(damaged(&self.path, what));
        }
        Ok(entries)
    }

    /// Makes `persist` and `rows` durable in one commit. Made again after an error it does the same.
    pub fn commit(&self, persist: &Persist, rows: &[RowChange]) -> Result<(), DiskError> {
        let transaction = self.write()?;
        self.write_log(&transaction, persist)?;
        self.write_rows(&transaction, rows)?;
        transaction.commit().map_err(|e| self.failed(e))
    }

    fn write_log(
        &self,
        transaction: &WriteTransaction,
        persist: &Persist,
    ) -> Result<(), DiskError> {
        let mut log = transaction.open_table(LOG).map_err(|e| self.failed(e))?;
        if let Some(first) = persist.entries.first() {
            // A new leader's entries replace the rest of the log.
            log.retain_in(first.index.., |_, _| false).map_err(|e| self.failed(e))?;
        }
        for entry in &persist.entries {
            let value = sealed(&entry.index.to_be_bytes(), entry)?;
            log.insert(entry.index, value.as_slice()).map_err(|e| self.failed(e))?;
        }
        let mut meta = transaction.open_table(META).map_err(|e| self.failed(e))?;
        let mut put = |name: &str, value: Vec<u8>| {
            meta.insert(name, value.as_slice()).map(drop).map_err(|e| self.failed(e))
        };
        if let Some(vote) = &persist.vote {
            put(VOTE, sealed(VOTE.as_bytes(), vote)?)?;
        }
        let Some(Save { record, source }) = &persist.snapshot else { return Ok(()) };
        let already = self.meta::<SnapshotRecord>(SNAPSHOT)?.is_some_and(|old| old == *record);
        put(SNAPSHOT, sealed(SNAPSHOT.as_bytes(), record)?)?;
        match source {
            Source::Own { base, .. } => {
                put(BASE, sealed(BASE.as_bytes(), base)?)?;
                log.retain_in(..=base.index, |_, _| false).map_err(|e| self.failed(e))?;
            }
            Source::Leader => {
                let base = Base { index: record.meta.index, term: record.meta.term };
                put(BASE, sealed(BASE.as_bytes(), &base)?)?;
                let stale = persist.entries.first().map_or(u64::MAX, |first| first.index);
                log.retain_in(..stale, |_, _| false).map_err(|e| self.failed(e))?;
                drop((log, meta));
                self.swap_outcomes(transaction, already)?;
            }
        }
        Ok(())
    }

    /// The outcomes that came with a snapshot take the place of all others, once: the commit may be
    /// made again after it was found to have happened.
    fn swap_outcomes(
        &self,
        transaction: &WriteTransaction,
        already: bool,
    ) -> Result<(), DiskError> {
        let mut tables = transaction.list_tables().map_err(|e| self.failed(e))?;
        let arrived = tables.any(|table| table.name() == INCOMING.name());
        if arrived {
            transaction.delete_table(OUTCOMES).map_err(|e| self.failed(e))?;
            transaction.rename_table(INCOMING, OUTCOMES).map_err(|e| self.failed(e))
        } else if already {
            Ok(())
        } else {
            Err(damaged(&self.path, "a snapshot's outcomes are missing"))
        }
    }

    /// Lets readers see `rows`; durable with the next [`Disk::commit`]. Until then the log has them.
    pub fn stage(&self, rows: &[RowChange]) -> Result<(), DiskError> {
        let transaction = self.undurable()?;
        self.write_rows(&transaction, rows)?;
        transaction.commit().map_err(|e| self.failed(e))
    }

    /// Drops what arrived of an earlier snapshot.
    pub fn begin_incoming(&self) -> Result<(), DiskError> {
        let transaction = self.undurable()?;
        transaction.delete_table(INCOMING).map_err(|e| self.failed(e))?;
        transaction.open_table(INCOMING).map(drop).map_err(|e| self.failed(e))?;
        transaction.commit().map_err(|e| self.failed(e))
    }

    /// Keeps outcomes of a snapshot that is arriving, beside those in use.
    pub fn stage_incoming(&self, rows: &Rows) -> Result<(), DiskError> {
        let transaction = self.undurable()?;
        {
            let mut table = transaction.open_table(INCOMING).map_err(|e| self.failed(e))?;
            for (study, row) in rows {
                let value = sealed(&row_key(*study, row.trial), row)?;
                let key = (study.0, row.trial.0);
                table.insert(key, value.as_slice()).map_err(|e| self.failed(e))?;
            }
        }
        transaction.commit().map_err(|e| self.failed(e))
    }

    /// All of the snapshot is here: what was kept of it must outlive a crash before it is installed.
    pub fn finish_incoming(&self) -> Result<(), DiskError> {
        self.write()?.commit().map_err(|e| self.failed(e))
    }

    fn write_rows(
        &self,
        transaction: &WriteTransaction,
        rows: &[RowChange],
    ) -> Result<(), DiskError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut table = transaction.open_table(OUTCOMES).map_err(|e| self.failed(e))?;
        for change in rows {
            match change {
                RowChange::Keep(study, row) => {
                    let value = sealed(&row_key(*study, row.trial), row)?;
                    let key = (study.0, row.trial.0);
                    table.insert(key, value.as_slice()).map_err(|e| self.failed(e))?;
                }
                RowChange::Drop(study, trial) => {
                    table.remove((study.0, trial.0)).map_err(|e| self.failed(e))?;
                }
            }
        }
        Ok(())
    }

    /// Rows of a study from trial `from` on, about `bytes_max` of them, and where to go on.
    pub fn outcomes(
        &self,
        study: StudyId,
        from: TrialIndex,
        bytes_max: usize,
    ) -> Result<(Vec<OutcomeRow>, Option<TrialIndex>), DiskError> {
        let transaction = self.read()?;
        let table = transaction.open_table(OUTCOMES).map_err(|e| damaged(&self.path, e))?;
        let range = (study.0, from.0)..=(study.0, u64::MAX);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for item in table.range(range).map_err(|e| damaged(&self.path, e))? {
            let (key, value) = item.map_err(|e| damaged(&self.path, e))?;
            let trial = TrialIndex(key.value().1);
            bytes += value.value().len();
            if bytes > bytes_max && !rows.is_empty() {
                return Ok((rows, Some(trial)));
            }
            rows.push(self.row(study, trial, value.value())?);
        }
        Ok((rows, None))
    }

    fn row(
        &self,
        study: StudyId,
        trial: TrialIndex,
        value: &[u8],
    ) -> Result<OutcomeRow, DiskError> {
        unsealed(&row_key(study, trial), value).ok_or_else(|| {
            damaged(&self.path, format!("the outcome of trial {trial} fails its checksum"))
        })
    }

    /// The outcomes as they are now, whatever is written later.
    pub fn image(&self, index: u64, state: Vec<u8>) -> Result<Image, DiskError> {
        Ok(Image::new(index, state, self.read()?, self.path.clone()))
    }

    /// Opens the file anew after its disk was full; what was committed before is there. While the disk
    /// is still full, that may not be possible either.
    pub fn reopen(&self) -> Result<(), DiskError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *database = None;
        *database = Some(open_database(&self.path)?);
        Ok(())
    }

    fn meta<T: DeserializeOwned + Serialize>(&self, name: &str) -> Result<Option<T>, DiskError> {
        match self.meta_as(name)? {
            Some(Some(value)) => Ok(Some(value)),
            Some(None) => Err(damaged(&self.path, format!("its {name} fails its checksum"))),
            None => Ok(None),
        }
    }

    /// What is there under a name, and within it what it says if its checksum holds.
    fn meta_as<T>(&self, name: &str) -> Result<Option<Option<T>>, DiskError>
    where
        T: DeserializeOwned + Serialize,
    {
        let transaction = self.read()?;
        let table = match transaction.open_table(META) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(damaged(&self.path, error)),
        };
        let value = table.get(name).map_err(|e| damaged(&self.path, e))?;
        Ok(value.map(|value| unsealed(name.as_bytes(), value.value())))
    }

    fn read(&self) -> Result<ReadTransaction, DiskError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| self.full())?;
        database.begin_read().map_err(|e| damaged(&self.path, e))
    }

    fn write(&self) -> Result<WriteTransaction, DiskError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| self.full())?;
        let mut transaction = database.begin_write().map_err(|e| self.failed(e))?;
        transaction.set_quick_repair(true);
        Ok(transaction)
    }

    fn undurable(&self) -> Result<WriteTransaction, DiskError> {
        let mut transaction = self.write()?;
        // Quick repair needs durable commits.
        transaction.set_quick_repair(false);
        transaction.set_durability(Durability::None).map_err(|e| self.failed(e))?;
        Ok(transaction)
    }

    /// It is closed only while its disk is full.
    fn full(&self) -> DiskError {
        DiskError::Full { path: self.path.clone() }
    }

    fn failed(&self, error: impl Into<redb::Error>) -> DiskError {
        let path = self.path.clone();
        match error.into() {
            redb::Error::Io(error) if error.kind() == ErrorKind::StorageFull => {
                DiskError::Full { path }
            }
            // What follows a write that found no room.
            redb::Error::PreviousIo => DiskError::Full { path },
            source => DiskError::Write { path, source },
        }
    }
}

/// Where a folder has its log, snapshot and outcomes.
pub fn file_in(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

fn lock(folder: &Path) -> Result<File, DiskError> {
    fs::create_dir_all(folder).map_err(|source| file_error(folder, source))?;
    let path = folder.join(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| file_error(&path, source))?;
    lock.try_lock().map_err(|_| DiskError::Locked { path: folder.to_path_buf() })?;
    Ok(lock)
}

fn open_database(path: &Path) -> Result<Database, DiskError> {
    // redb asserts its invariants: on a damaged file that is a panic, told here as what it is.
    let opening = path.to_path_buf();
    let opened = std::panic::catch_unwind(move || {
        Database::builder().set_cache_size(CACHE_BYTES).create(opening)
    });
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(redb::DatabaseError::Storage(redb::StorageError::Io(error))))
            if error.kind() == ErrorKind::StorageFull =>
        {
            Err(DiskError::Full { path: path.to_path_buf() })
        }
        Ok(Err(error)) => Err(damaged(path, error)),
        Err(_) => Err(damaged(path, "it breaks the database's invariants")),
    }
}

fn file_error(path: &Path, source: std::io::Error) -> DiskError {
    DiskError::File { path: path.to_path_buf(), source }
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> DiskError {
    DiskError::Damaged { path: path.to_path_buf(), what: what.to_string() }
}

fn row_key(study: StudyId, trial: TrialIndex) -> [u8; 16] {
    let mut key = [0u8; 16];
    key[..8].copy_from_slice(&study.0.to_be_bytes());
    key[8..].copy_from_slice(&trial.0.to_be_bytes());
    key
}

/// CRC-32 over key and bytes, then the bytes: a value under another key is as wrong as a flipped bit.
fn sealed<T: Serialize>(key: &[u8], value: &T) -> Result<Vec<u8>, DiskError> {
    let bytes = codec::encode(value).map_err(|source| DiskError::Encode { source })?;
    let mut out = Vec::with_capacity(bytes.len() + 4);
    out.extend_from_slice(&checksum(key, &bytes).to_be_bytes());
    out.extend_from_slice(&bytes);
    Ok(out)
}

fn unsealed<T: DeserializeOwned + Serialize>(key: &[u8], value: &[u8]) -> Option<T> {
    let (stored, bytes) = value.split_at_checked(4)?;
    (stored == checksum(key, bytes).to_be_bytes()).then(|| codec::decode(bytes).ok()).flatten()
}

fn checksum(key: &[u8], bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(bytes);
    hasher.finalize()
}

/// Format of a data folder.
pub const FORMAT: u16 = 2;
/// Pages of the file that stay in memory.
const CACHE_BYTES: usize = 32 << 20;
const FILE: &str = "log.redb";
const LOCK: &str = "lock";
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const OUTCOMES: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("outcomes");
const INCOMING: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("incoming");
const IDENTITY: &str = "identity";
const VOTE: &str = "vote";
const BASE: &str = "base";
const SNAPSHOT: &str = "snapshot";
