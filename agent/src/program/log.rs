//! What programs write to stdout and stderr: the last of it, while they run and for a while after.
//!
//! However much a program writes, [`KEPT_MAX`] bytes of it are kept, and of it [`LOGS_MAX`] trials'.
//! A kept log is a file: one line of JSON, then the bytes.
//!
//! Floor: shell.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use common::id::{LeaseId, StudyId, TrialIndex};
use common::wire::message::{LOG_PART_MAX, LogPart};
use serde::{Deserialize, Serialize};

/// The last of what was written.
#[derive(Debug, Default)]
pub struct Tail {
    bytes: VecDeque<u8>,
    /// All that was.
    written: u64,
}

impl Tail {
    pub fn push(&mut self, bytes: &[u8]) {
        self.written += bytes.len() as u64;
        self.bytes.extend(&bytes[bytes.len().saturating_sub(KEPT_MAX)..]);
        let superfluous = self.bytes.len().saturating_sub(KEPT_MAX);
        self.bytes.drain(..superfluous);
    }

    /// All that is kept, with the place of its first byte.
    pub fn kept(&self) -> (u64, Vec<u8>) {
        (self.written - self.bytes.len() as u64, self.bytes.iter().copied().collect())
    }

    /// What is kept, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept().1).into_owned()
    }
}

/// A part of what is kept, from byte `from` of all that was written.
pub fn part(lease: LeaseId, kept: &(u64, Vec<u8>), from: u64, end: (bool, String)) -> LogPart {
    let (first, bytes) = kept;
    let written = first + bytes.len() as u64;
    let from = from.clamp(*first, written);
    let begin = (from - first) as usize;
    let bytes = bytes[begin..bytes.len().min(begin + LOG_PART_MAX)].to_vec();
    let (running, state) = end;
    LogPart { lease, from, bytes, written, running, state }
}

/// The first line of a kept log.
#[derive(Serialize, Deserialize)]
struct Head {
    term: u64,
    counter: u64,
    first: u64,
    state: String,
}

/// The logs of attempts that ended.
#[derive(Debug)]
pub struct Logs {
    folder: PathBuf,
}

impl Logs {
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Keeps the log of an ended attempt in the place of the trial's earlier one.
    pub fn keep(
        &self,
        (study, trial): (StudyId, TrialIndex),
        lease: LeaseId,
        kept: &(u64, Vec<u8>),
        state: &str,
    ) -> io::Result<()> {
        let LeaseId { term, counter } = lease;
        let head = Head { term, counter, first: kept.0, state: state.to_string() };
        let mut bytes = serde_json::to_vec(&head).map_err(io::Error::other)?;
        bytes.push(b'\n');
        bytes.extend(&kept.1);
        fs::write(self.path(study, trial), bytes)?;
        only_newest(&self.folder, LOGS_MAX, &|_| false)
    }

    pub fn read(&self, study: StudyId, trial: TrialIndex, from: u64) -> Option<LogPart> {
        let bytes = fs::read(self.path(study, trial)).ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let Head { term, counter, first, state } = serde_json::from_slice(&bytes[..end]).ok()?;
        let kept = (first, bytes[end + 1..].to_vec());
        Some(part(LeaseId { term, counter }, &kept, from, (false, state)))
    }

    fn path(&self, study: StudyId, trial: TrialIndex) -> PathBuf {
        self.folder.join(format!("{study}-{trial}.log"))
    }
}

/// Removes all but the entries of a folder that changed last; those in use are neither counted nor
/// removed.
pub fn only_newest(folder: &Path, most: usize, in_use: &dyn Fn(&OsStr) -> bool) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if in_use(&entry.file_name()) {
            continue;
        }
        let changed = entry.metadata().and_then(|about| about.modified());
        entries.push((changed.ok(), entry.path()));
    }
    entries.sort();
    let superfluous = entries.len().saturating_sub(most);
    for (_, path) in &entries[..superfluous] {
        // One that cannot be removed now is tried again later.
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
    Ok(())
}

/// Bytes of one attempt's log.
pub const KEPT_MAX: usize = 1 << 20;
/// Attempts whose logs are kept after their end.
const LOGS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: LeaseId = LeaseId { term: 2, counter: 9 };

    #[test]
    fn of_much_that_is_written_the_last_mebibyte_is_kept() {
        let mut tail = Tail::default();
        (0..40).for_each(|n| tail.push(&vec![n; 100_000]));
        tail.push(&vec![b'x'; KEPT_MAX + 5]);
        tail.push(b"end");
        let kept = tail.kept();
        assert_eq!((kept.1.len(), kept.0), (KEPT_MAX, 4_000_000 + 8));
        assert!(kept.1.ends_with(b"xxend"));
    }

    #[test]
    fn a_log_is_read_in_parts_before_and_after_its_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let logs = Logs::open(dir.path().join("logs")).expect("made");
        let name = (StudyId(7), TrialIndex(3));
        let kept = (10, vec![b'a'; LOG_PART_MAX + 3]);
        logs.keep(name, LEASE, &kept, "complete").expect("kept");
        let first = logs.read(name.0, name.1, 0).expect("there");
        assert_eq!((first.from, first.bytes.len(), first.lease), (10, LOG_PART_MAX, LEASE));
        let next = first.from + first.bytes.len() as u64;
        let last = logs.read(name.0, name.1, next).expect("there");
        assert_eq!((last.bytes.as_slice(), last.written), (b"aaa".as_slice(), next + 3));
        assert_eq!((last.running, last.state.as_str()), (false, "complete"));
        let beyond = logs.read(name.0, name.1, u64::MAX).expect("there");
        assert!(beyond.bytes.is_empty());
        assert_eq!(logs.read(name.0, TrialIndex(4), 0), None);
    }

    #[test]
    fn only_the_newest_entries_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        for n in 0..5 {
            fs::write(dir.path().join(format!("{n}")), "x").expect("written");
            std::thread::sleep(std::time::Duration::from_millis(15));
        }
        only_newest(dir.path(), 2, &|name| name == "0").expect("done");
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).expect("there").map(|e| e.expect("one").file_name()).collect();
        left.sort();
        assert_eq!(left, ["0", "3", "4"]);
    }
}
