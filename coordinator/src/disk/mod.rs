//! What a coordinator keeps on disk: its log, votes, snapshots and outcomes, in one redb file.
//!
//! One commit a `Ready`. redb does not check its own checksums on reads, so every value carries ours
//! over its key and bytes, checked on every load: a flipped bit is refused, never believed. A failed
//! write or sync is an error that must stop the process: a second sync may lie.
//!
//! Floor: shell.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use common::id::{ClusterId, ReplicaId, StudyId, TrialIndex};
use common::wire::codec::{self, CodecError};
use common::wire::message::OutcomeRow;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::replica::log::{LogEntry, Persist, Recovered, SnapshotRecord, Vote, Voters};

/// An open data folder's database. Cheap to read from several threads.
pub struct Disk {
    database: Database,
    path: PathBuf,
    /// Held as long as the folder is in use.
    _lock: File,
}

/// Who this folder belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FolderIdentity {
    pub format: u16,
    pub cluster: ClusterId,
    pub replica: ReplicaId,
}

/// Why the disk cannot be used.
#[derive(Debug, Error)]
pub enum DiskError {
    #[error("cannot use {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("another coordinator uses {path}; stop it, or name another folder")]
    Locked { path: PathBuf },
    #[error(
        "{path} is damaged ({what}); with other replicas, replace this one; else restore a backup"
    )]
    Damaged { path: PathBuf, what: String },
    #[error(
        "{path} is of format {format}, this program knows {FORMAT}; install the version that wrote it"
    )]
    Format { path: PathBuf, format: u16 },
    #[error(
        "{path} cannot be written: {source}; this process stops, since what is on disk is unknown"
    )]
    Write { path: PathBuf, source: redb::Error },
    #[error("an entry cannot be encoded")]
    Encode { source: CodecError },
}

impl Disk {
    /// Opens a folder, making it when it is new. `fresh` names a new folder.
    pub fn open(folder: &Path, fresh: FolderIdentity) -> Result<(Self, FolderIdentity), DiskError> {
        let file_error = |path: &Path| {
            let path = path.to_path_buf();
            move |source| DiskError::File { path, source }
        };
        fs::create_dir_all(folder).map_err(file_error(folder))?;
        let lock_path = folder.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(file_error(&lock_path))?;
        lock.try_lock().map_err(|_| DiskError::Locked { path: folder.to_path_buf() })?;
        let path = folder.join("log.redb");
        if !path.exists() {
            // Made beside and renamed when whole: a first start may be killed at any moment.
            let beside = folder.join("log.redb.new");
            let _ = fs::remove_file(&beside);
            let lock = lock.try_clone().map_err(file_error(&lock_path))?;
            Self::on(beside.clone(), lock)?.claim(fresh)?;
            fs::rename(&beside, &path).map_err(file_error(&path))?;
            File::open(folder).and_then(|f| f.sync_all()).map_err(file_error(folder))?;
        }
        let disk = Self::on(path, lock)?;
        let identity = disk.claim(fresh)?;
        Ok((disk, identity))
    }

    fn on(path: PathBuf, lock: File) -> Result<Self, DiskError> {
        // redb asserts its invariants: on a damaged file that is a panic, told here as what it is.
        let opening = path.clone();
        let opened = std::panic::catch_unwind(move || Database::create(opening));
        match opened {
            Ok(Ok(database)) => Ok(Self { database, path, _lock: lock }),
            Ok(Err(error)) => Err(damaged(&path, error)),
            Err(_) => Err(damaged(&path, "it breaks the database's invariants")),
        }
    }

    /// The folder's identity, written when there is none.
    fn claim(&self, fresh: FolderIdentity) -> Result<FolderIdentity, DiskError> {
        if let Some(identity) = self.meta::<FolderIdentity>(IDENTITY)? {
            if identity.format != FORMAT {
                let path = self.path.clone();
                return Err(DiskError::Format { path, format: identity.format });
            }
            return Ok(identity);
        }
        let transaction = self.write()?;
        {
            let mut meta = transaction.open_table(META).map_err(|e| self.failed(e))?;
            let value = sealed(IDENTITY.as_bytes(), &fresh)?;
            meta.insert(IDENTITY, value.as_slice()).map_err(|e| self.failed(e))?;
            transaction.open_table(LOG).map_err(|e| self.failed(e))?;
            transaction.open_table(OUTCOMES).map_err(|e| self.failed(e))?;
        }
        transaction.commit().map_err(|e| self.failed(e))?;
        Ok(fresh)
    }

    /// What the replica left. `alone` are the voters of a folder that never had any.
    pub fn recover(&self, alone: Voters) -> Result<Recovered, DiskError> {
        let snapshot = self.meta(SNAPSHOT)?.unwrap_or(SnapshotRecord {
            index: 0,
            term: 0,
            voters: alone,
            state: Vec::new(),
        });
        let vote: Vote = self.meta(VOTE)?.unwrap_or_default();
        let entries = self.entries(snapshot.index + 1, vote.commit)?;
        Ok(Recovered { snapshot, vote, entries })
    }

    /// Entries from `first` on. A damaged last one is a torn write and cut off, unless it was committed.
    fn entries(&self, first: u64, committed: u64) -> Result<Vec<LogEntry>, DiskError> {
        let transaction = self.database.begin_read().map_err(|e| damaged(&self.path, e))?;
        let table = transaction.open_table(LOG).map_err(|e| damaged(&self.path, e))?;
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut torn: Option<u64> = None;
        for item in table.range(first..).map_err(|e| damaged(&self.path, e))? {
            let (key, value) = item.map_err(|e| damaged(&self.path, e))?;
            let index = key.value();
            let entry: Option<LogEntry> = unsealed(&index.to_be_bytes(), value.value());
            if let Some(index) = torn {
                return Err(damaged(&self.path, format!("entry {index} fails its checksum")));
            }
            match entry.filter(|entry| entry.index == index) {
                Some(_) if index != first + entries.len() as u64 => {
                    let missing = first + entries.len() as u64;
                    return Err(damaged(&self.path, format!("entry {missing} is missing")));
                }
                Some(entry) => entries.push(entry),
                None => torn = Some(index),
            }
        }
        if let Some(index) = torn {
            if index <= committed {
                let what = format!("entry {index}, which was committed, fails its checksum");
                return Err(damaged(&self.path, what));
            }
            tracing::warn!(index, "the last log entry was torn and is cut off");
        }
        Ok(entries)
    }

    /// Makes `persist` and `rows` durable in one commit.
    pub fn commit(
        &self,
        persist: &Persist,
        rows: &[(StudyId, OutcomeRow)],
    ) -> Result<(), DiskError> {
        let transaction = self.write()?;
        {
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
            if let Some(vote) = &persist.vote {
                let value = sealed(VOTE.as_bytes(), vote)?;
                meta.insert(VOTE, value.as_slice()).map_err(|e| self.failed(e))?;
            }
            if let Some(snapshot) = &persist.snapshot {
                let value = sealed(SNAPSHOT.as_bytes(), snapshot)?;
                meta.insert(SNAPSHOT, value.as_slice()).map_err(|e| self.failed(e))?;
                log.retain_in(..=snapshot.index, |_, _| false).map_err(|e| self.failed(e))?;
            }
        }
        self.write_rows(&transaction, rows)?;
        transaction.commit().map_err(|e| self.failed(e))
    }

    /// Lets readers see `rows`; durable with the next [`Disk::commit`]. Until then the log has them.
    pub fn stage(&self, rows: &[(StudyId, OutcomeRow)]) -> Result<(), DiskError> {
        let mut transaction = self.write()?;
        transaction.set_durability(Durability::None).map_err(|e| self.failed(e))?;
        self.write_rows(&transaction, rows)?;
        transaction.commit().map_err(|e| self.failed(e))
    }

    fn write_rows(
        &self,
        transaction: &redb::WriteTransaction,
        rows: &[(StudyId, OutcomeRow)],
    ) -> Result<(), DiskError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut table = transaction.open_table(OUTCOMES).map_err(|e| self.failed(e))?;
        for (study, row) in rows {
            let value = sealed(&row_key(*study, row.trial), row)?;
            table.insert((study.0, row.trial.0), value.as_slice()).map_err(|e| self.failed(e))?;
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
        let transaction = self.database.begin_read().map_err(|e| damaged(&self.path, e))?;
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
            let row = unsealed(&row_key(study, trial), value.value()).ok_or_else(|| {
                damaged(&self.path, format!("the outcome of trial {trial} fails its checksum"))
            })?;
            rows.push(row);
        }
        Ok((rows, None))
    }

    fn meta<T: DeserializeOwned + Serialize>(&self, name: &str) -> Result<Option<T>, DiskError> {
        let transaction = self.database.begin_read().map_err(|e| damaged(&self.path, e))?;
        let table = match transaction.open_table(META) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(damaged(&self.path, error)),
        };
        let Some(value) = table.get(name).map_err(|e| damaged(&self.path, e))? else {
            return Ok(None);
        };
        match unsealed(name.as_bytes(), value.value()) {
            Some(value) => Ok(Some(value)),
            None => Err(damaged(&self.path, format!("its {name} fails its checksum"))),
        }
    }

    fn write(&self) -> Result<redb::WriteTransaction, DiskError> {
        let mut transaction = self.database.begin_write().map_err(|e| self.failed(e))?;
        transaction.set_quick_repair(true);
        Ok(transaction)
    }

    fn failed(&self, error: impl Into<redb::Error>) -> DiskError {
        DiskError::Write { path: self.path.clone(), source: error.into() }
    }
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
pub const FORMAT: u16 = 1;
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const OUTCOMES: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("outcomes");
const IDENTITY: &str = "identity";
const VOTE: &str = "vote";
const SNAPSHOT: &str = "snapshot";

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use common::id::MemberId;
    use common::time::Timestamp;
    use common::wire::message::RowEnd;
    use redb::ReadableTable;

    use super::*;
    use crate::replica::log::EntryKind;

    fn identity() -> FolderIdentity {
        let cluster = ClusterId([7; 16]);
        FolderIdentity { format: FORMAT, cluster, replica: ReplicaId(NonZeroU64::MIN) }
    }

    fn entry(index: u64) -> LogEntry {
        let data = vec![index as u8; 5];
        LogEntry { index, term: 1, kind: EntryKind::Command, context: vec![], data }
    }

    fn row(trial: u64) -> OutcomeRow {
        let end = RowEnd::Failed { reason: "error".into(), detail: "x".repeat(100) };
        OutcomeRow { trial: TrialIndex(trial), ended: Timestamp(1), agent: MemberId(2), end }
    }

    fn alone() -> Voters {
        Voters { voters: vec![1], learners: vec![] }
    }

    #[test]
    fn what_was_committed_is_there_after_reopening() {
        let folder = tempfile::tempdir().expect("a folder");
        let vote = Vote { term: 1, vote: 1, commit: 2 };
        {
            let (disk, _) = Disk::open(folder.path(), identity()).expect("opens");
            let entries = vec![entry(1), entry(2), entry(3)];
            let persist = Persist { entries, vote: Some(vote), snapshot: None };
            disk.commit(&persist, &[(StudyId(9), row(4))]).expect("commits");
        }
        let other = FolderIdentity { cluster: ClusterId([8; 16]), ..identity() };
        let (disk, found) = Disk::open(folder.path(), other).expect("opens");
        assert_eq!(found, identity());
        let recovered = disk.recover(alone()).expect("recovers");
        assert_eq!(recovered.entries, [entry(1), entry(2), entry(3)]);
        assert_eq!(recovered.vote, vote);
        let rows = disk.outcomes(StudyId(9), TrialIndex(0), 1 << 20).expect("reads");
        assert_eq!(rows, (vec![row(4)], None));
    }

    #[test]
    fn a_snapshot_drops_the_log_before_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (disk, _) = Disk::open(folder.path(), identity()).expect("opens");
        let entries = (1..=5).map(entry).collect();
        disk.commit(&Persist { entries, ..Persist::default() }, &[]).expect("commits");
        let snapshot = SnapshotRecord { index: 3, term: 1, voters: alone(), state: vec![1, 2] };
        let persist = Persist { snapshot: Some(snapshot.clone()), ..Persist::default() };
        disk.commit(&persist, &[]).expect("commits");

        let recovered = disk.recover(alone()).expect("recovers");

        assert_eq!(recovered.snapshot, snapshot);
        assert_eq!(recovered.entries, [entry(4), entry(5)]);
    }

    #[test]
    fn a_folder_in_use_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let _first = Disk::open(folder.path(), identity()).expect("opens");
        let second = Disk::open(folder.path(), identity());
        assert!(matches!(second, Err(DiskError::Locked { .. })));
    }

    #[test]
    fn outcomes_come_in_pages() {
        let folder = tempfile::tempdir().expect("a folder");
        let (disk, _) = Disk::open(folder.path(), identity()).expect("opens");
        let rows: Vec<_> = (0..10).map(|n| (StudyId(9), row(n))).collect();
        disk.stage(&rows).expect("stages");
        let (first, next) = disk.outcomes(StudyId(9), TrialIndex(0), 500).expect("reads");
        assert_eq!((first.len(), next), (4, Some(TrialIndex(4))));
        let (rest, next) = disk.outcomes(StudyId(9), TrialIndex(4), 1 << 20).expect("reads");
        assert_eq!((rest.len(), next), (6, None));
    }

    /// Overwrites one value as a flipped bit would.
    fn damage(disk: &Disk, index: u64) {
        let transaction = disk.write().expect("begins");
        {
            let mut log = transaction.open_table(LOG).expect("opens");
            let mut bytes = log.get(index).expect("reads").expect("there").value().to_vec();
            bytes[6] ^= 1;
            log.insert(index, bytes.as_slice()).expect("writes");
        }
        transaction.commit().expect("commits");
    }

    #[test]
    fn a_flipped_bit_in_the_middle_is_refused_and_a_torn_end_is_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let (disk, _) = Disk::open(folder.path(), identity()).expect("opens");
        let entries = (1..=5).map(entry).collect();
        let vote = Some(Vote { term: 1, vote: 1, commit: 4 });
        disk.commit(&Persist { entries, vote, snapshot: None }, &[]).expect("commits");
        damage(&disk, 5);
        assert_eq!(disk.recover(alone()).expect("cut").entries.len(), 4);
        damage(&disk, 2);
        assert!(matches!(disk.recover(alone()), Err(DiskError::Damaged { .. })));
    }

    #[test]
    fn a_committed_entry_that_fails_its_checksum_is_never_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let (disk, _) = Disk::open(folder.path(), identity()).expect("opens");
        let entries = (1..=3).map(entry).collect();
        let vote = Some(Vote { term: 1, vote: 1, commit: 3 });
        disk.commit(&Persist { entries, vote, snapshot: None }, &[]).expect("commits");
        damage(&disk, 3);
        assert!(matches!(disk.recover(alone()), Err(DiskError::Damaged { .. })));
    }
}
