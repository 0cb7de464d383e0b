//! Checkpoints that leaving agents sent, until somebody goes on from them: a folder within a limit.
//!
//! Who wants which is the leader's soft state, so a coordinator begins without any. Those that came
//! longest ago make room; a checkpoint that is gone costs time alone. Of one attempt one arrives at a time.
//!
//! Floor: shell.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::id::Digest;
use common::trial::Attempt;
use thiserror::Error;

use crate::content::{Arriving, Content, ContentError};

/// The folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Parked {
    content: Content,
    held: Arc<Mutex<Held>>,
    bytes_max: u64,
}

#[derive(Debug, Default)]
struct Held {
    /// In the order in which they came.
    all: VecDeque<(Digest, u64)>,
    /// Of those, and of what is arriving.
    bytes: u64,
    /// Of which attempts one is arriving.
    arriving: BTreeSet<Attempt>,
}

/// Why a checkpoint is not taken.
#[derive(Debug, Error)]
pub enum ParkError {
    #[error("other checkpoints that are arriving just now leave no room for it")]
    Full,
    #[error("a checkpoint of the same attempt is arriving just now")]
    Another,
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// A checkpoint that is still arriving: it has room, and what of it is here goes if it is not finished.
#[derive(Debug)]
pub struct Coming {
    parked: Parked,
    attempt: Attempt,
    digest: Digest,
    bytes: u64,
    kept: bool,
}

impl Parked {
    /// An empty folder: what an earlier life held nobody would ask for.
    pub fn open(folder: PathBuf) -> Result<Self, ContentError> {
        Self::within(folder, BYTES_MAX)
    }

    fn within(folder: PathBuf, bytes_max: u64) -> Result<Self, ContentError> {
        match fs::remove_dir_all(&folder) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(ContentError::File { path: folder, source });
            }
            _ => {}
        }
        let content = Content::open(folder)?;
        Ok(Self { content, held: Arc::default(), bytes_max })
    }

    /// Makes room for one that is about to arrive; `None`: it is here.
    pub fn arrive(
        &self,
        attempt: &Attempt,
        digest: &Digest,
        bytes: u64,
    ) -> Result<Option<(Arriving, Coming)>, ParkError> {
        let mut held = self.held();
        if held.arriving.contains(attempt) {
            return Err(ParkError::Another);
        }
        if self.content.has(digest) {
            return Ok(None);
        }
        while held.bytes.saturating_add(bytes) > self.bytes_max {
            // The rest is arriving.
            let Some((oldest, size)) = held.all.pop_front() else { return Err(ParkError::Full) };
            held.bytes -= size;
            self.content.remove(&oldest);
        }
        let mut arriving = self.content.arrive(digest, bytes)?;
        held.bytes += bytes;
        held.arriving.insert(*attempt);
        drop(held);
        let (attempt, digest) = (*attempt, *digest);
        let coming = Coming { parked: self.clone(), attempt, digest, bytes, kept: false };
        arriving.restart()?;
        Ok(Some((arriving, coming)))
    }

    /// As [`Content::read`].
    pub fn read(
        &self,
        digest: &Digest,
        offset: u64,
        bytes_max: usize,
    ) -> Result<(Vec<u8>, u64), ContentError> {
        self.content.read(digest, offset, bytes_max)
    }

    pub fn remove(&self, digest: &Digest) {
        let mut held = self.held();
        if let Some(place) = held.all.iter().position(|(known, _)| known == digest) {
            let size = held.all.remove(place).map_or(0, |(_, size)| size);
            held.bytes -= size;
            self.content.remove(digest);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Coming {
    /// It is here whole.
    pub fn keep(mut self) {
        self.kept = true;
        self.parked.held().all.push_back((self.digest, self.bytes));
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        let mut held = self.parked.held();
        held.arriving.remove(&self.attempt);
        if !self.kept {
            held.bytes -= self.bytes;
            self.parked.content.remove(&self.digest);
        }
    }
}

/// Of all checkpoints.
const BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use common::id::{LeaseId, StudyId, TrialIndex};

    use super::*;

    fn attempt(trial: u64) -> Attempt {
        let lease = LeaseId { term: 1, counter: 1 };
        Attempt { study: StudyId(1), trial: TrialIndex(trial), lease }
    }

    fn put(parked: &Parked, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let there = parked.arrive(&attempt(0), &digest, bytes.len() as u64).expect("room");
        let (mut arriving, coming) = there.expect("new");
        arriving.append(bytes).expect("written");
        arriving.finish().expect("whole");
        coming.keep();
        digest
    }

    fn has(parked: &Parked, digest: &Digest) -> bool {
        parked.read(digest, 0, 1_000).is_ok()
    }

    #[test]
    fn the_oldest_make_room_and_what_arrives_is_counted() {
        let dir = tempfile::tempdir().expect("a folder");
        let parked = Parked::within(dir.path().join("checkpoints"), 100).expect("opened");
        let (first, second) = (put(&parked, &[1; 40]), put(&parked, &[2; 40]));
        let arrive = |trial, digest: &Digest, bytes| parked.arrive(&attempt(trial), digest, bytes);
        assert!(arrive(1, &first, 40).expect("room").is_none(), "it is here");
        let coming = arrive(1, &Digest::of(&[3; 60]), 60).expect("room").expect("new");
        assert!(!has(&parked, &first) && has(&parked, &second));
        let more = arrive(2, &Digest::of(&[4; 60]), 60);
        assert!(matches!(more, Err(ParkError::Full)) && !has(&parked, &second));
        drop(coming);
        let third = put(&parked, &[5; 100]);
        assert!(has(&parked, &third));
        parked.remove(&third);
        assert!(!has(&parked, &third) && parked.held().bytes == 0);
        assert_eq!(fs::read_dir(dir.path().join("checkpoints")).expect("a folder").count(), 0);
    }

    #[test]
    fn of_one_attempt_one_arrives_at_a_time_and_none_of_it_makes_others_go() {
        let dir = tempfile::tempdir().expect("a folder");
        let parked = Parked::within(dir.path().join("checkpoints"), 100).expect("opened");
        let kept = put(&parked, &[1; 40]);
        let arrive = |trial, byte| parked.arrive(&attempt(trial), &Digest::of(&[byte; 60]), 60);
        let coming = arrive(1, 2).expect("room").expect("new");
        assert!(matches!(arrive(1, 3), Err(ParkError::Another)) && has(&parked, &kept));
        drop(coming);
        let (mut arriving, coming) = arrive(1, 3).expect("room").expect("new");
        arriving.append(&[3; 60]).expect("written");
        arriving.finish().expect("whole");
        coming.keep();
        assert!(has(&parked, &kept) && arrive(1, 4).expect("room").is_some(), "the last has come");
    }

    #[test]
    fn what_is_not_what_was_announced_is_not_kept_and_a_new_life_begins_empty() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("checkpoints");
        let parked = Parked::open(folder.clone()).expect("opened");
        let digest = Digest::of(b"right");
        let (mut arriving, coming) =
            parked.arrive(&attempt(0), &digest, 5).expect("room").expect("new");
        arriving.append(b"wrong").expect("written");
        assert!(matches!(arriving.finish(), Err(ContentError::Digest)));
        drop(coming);
        assert!(!has(&parked, &digest) && parked.held().bytes == 0);
        let kept = put(&parked, b"right");
        assert!(has(&parked, &kept) && !has(&Parked::open(folder).expect("opened"), &kept));
    }
}
