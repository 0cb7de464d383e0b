//! Checkpoints on disk, in a folder of the agent's: by the digest of their trial and their epoch.
//!
//! A file appears whole or not at all. All files together keep within a limit, and those written
//! longest ago make room. What cannot be written, or cannot be read, costs only time: the trial is
//! trained from its start, to the same bits.
//!
//! Floor: shell.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use common::id::Digest;

use crate::trainer::Checkpoint;

/// Checkpoints of trials, within a limit of bytes.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    bytes_max: u64,
    held: Mutex<Held>,
}

/// What lies in the folder.
#[derive(Debug, Default)]
struct Held {
    /// Of each trial and epoch.
    files: BTreeMap<(Digest, u32), Entry>,
    bytes: u64,
    /// Grows with each file that is written.
    written: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    bytes: u64,
    /// Which of all that were written.
    order: u64,
}

impl Checkpoints {
    /// Goes on with what an earlier life left in `folder`, which need not be there yet.
    pub fn open(folder: PathBuf, bytes_max: u64) -> Self {
        let held = Held::of(&folder).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, "checkpoints of an earlier run cannot be read");
            }
            Held::default()
        });
        let checkpoints = Self { folder, bytes_max, held: Mutex::new(held) };
        checkpoints.make_room(&mut checkpoints.held(), 0);
        checkpoints
    }

    /// Writes one of `trial`, durably or soon, in the place of earlier ones of the same epoch. Older ones
    /// make room for it; what is larger than all the room is not kept, and false comes back.
    pub fn put(&self, trial: &Digest, checkpoint: &Checkpoint, durably: bool) -> io::Result<bool> {
        let bytes = checkpoint.bytes().map_err(io::Error::other)?;
        let size = bytes.len() as u64;
        if size > self.bytes_max {
            return Ok(false);
        }
        let key = (*trial, checkpoint.epochs());
        let mut held = self.held();
        self.remove(&mut held, &key);
        self.make_room(&mut held, size);
        fs::create_dir_all(&self.folder)?;
        let path = self.path(&key);
        let beside = path.with_extension(WRITING);
        let written = match durably {
            true => write_whole(&beside, &bytes),
            false => fs::write(&beside, &bytes),
        };
        let written = written.and_then(|()| fs::rename(&beside, &path));
        let synced = |()| if durably { sync_folder(&self.folder) } else { Ok(()) };
        if let Err(error) = written.and_then(synced) {
            let _ = fs::remove_file(&beside);
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        held.add(key, size);
        Ok(true)
    }

    /// The one of `trial` with most epochs, at most `until` of them. A damaged one is deleted, and the
    /// one before it is looked at.
    pub fn get(&self, trial: &Digest, until: u32) -> Option<Checkpoint> {
        self.keys(trial, 0..=until).iter().rev().find_map(|key| self.read(key))
    }

    /// All of `trial` with at most `until` epochs, those with most first. Damaged ones are deleted.
    pub fn all(&self, trial: &Digest, until: u32) -> Vec<Checkpoint> {
        self.keys(trial, 0..=until).iter().rev().filter_map(|key| self.read(key)).collect()
    }

    /// Whether there is one of `trial` after so many epochs.
    pub fn has(&self, trial: &Digest, epochs: u32) -> bool {
        self.held().files.contains_key(&(*trial, epochs))
    }

    /// Deletes all of `trial`.
    pub fn forget(&self, trial: &Digest) {
        self.forget_within(trial, 0..=u32::MAX);
    }

    /// Deletes those of `trial` with fewer epochs.
    pub fn forget_before(&self, trial: &Digest, epochs: u32) {
        if let Some(last) = epochs.checked_sub(1) {
            self.forget_within(trial, 0..=last);
        }
    }

    /// Deletes those of all other trials: of a study that ended, when none of it is `wanted` any more.
    pub fn retain(&self, wanted: impl Fn(&Digest) -> bool) {
        let mut held = self.held();
        let all = held.files.keys().filter(|(trial, _)| !wanted(trial));
        let keys: Vec<(Digest, u32)> = all.copied().collect();
        keys.iter().for_each(|key| self.remove(&mut held, key));
    }

    /// Deletes those of `trial` with so many epochs.
    pub fn forget_within(&self, trial: &Digest, epochs: RangeInclusive<u32>) {
        let keys = self.keys(trial, epochs);
        let mut held = self.held();
        keys.iter().for_each(|key| self.remove(&mut held, key));
    }

    /// Of the files of `trial` with so many epochs, in their order.
    fn keys(&self, trial: &Digest, epochs: RangeInclusive<u32>) -> Vec<(Digest, u32)> {
        if epochs.is_empty() {
            return Vec::new();
        }
        let held = self.held();
        let all = held.files.range((*trial, *epochs.start())..=(*trial, *epochs.end()));
        all.map(|(key, _)| *key).collect()
    }

    /// What a file holds; one that is damaged is deleted.
    fn read(&self, key: &(Digest, u32)) -> Option<Checkpoint> {
        let mut held = self.held();
        if !held.files.contains_key(key) {
            return None;
        }
        let read = fs::read(self.path(key)).map_err(|error| error.to_string());
        let read = read
            .and_then(|bytes| Checkpoint::read(&bytes).map_err(|error| super::with_causes(&error)));
        match read {
            Ok(checkpoint) if checkpoint.epochs() == key.1 => return Some(checkpoint),
            Ok(_) => tracing::warn!("a checkpoint lay under another one's name"),
            Err(why) => tracing::warn!(%why, "a checkpoint is not believed"),
        }
        self.remove(&mut held, key);
        None
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.held().files.is_empty()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.held().bytes
    }

    /// Deletes those written longest ago until so many `more` bytes have room.
    fn make_room(&self, held: &mut Held, more: u64) {
        while held.bytes + more > self.bytes_max {
            let oldest = held.files.iter().min_by_key(|(_, entry)| entry.order);
            let Some(key) = oldest.map(|(key, _)| *key) else { return };
            self.remove(held, &key);
        }
    }

    fn remove(&self, held: &mut Held, key: &(Digest, u32)) {
        if let Some(entry) = held.files.remove(key) {
            held.bytes -= entry.bytes;
            if let Err(error) = fs::remove_file(self.path(key))
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "a checkpoint cannot be deleted");
            }
        }
    }

    fn path(&self, (trial, epoch): &(Digest, u32)) -> PathBuf {
        self.folder.join(format!("{}-{epoch}.{WHOLE}", trial.hex()))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// What lies in `folder`; what was never written to its end is deleted.
    fn of(folder: &Path) -> io::Result<Self> {
        let mut found: Vec<(SystemTime, (Digest, u32), u64)> = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == WRITING) {
                let _ = fs::remove_file(&path);
            }
            if let (Some(key), Ok(about)) = (key_of(&path), entry.metadata()) {
                let when = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((when, key, about.len()));
            }
        }
        found.sort_unstable();
        let mut held = Self::default();
        found.into_iter().for_each(|(_, key, bytes)| held.add(key, bytes));
        Ok(held)
    }

    fn add(&mut self, key: (Digest, u32), bytes: u64) {
        self.files.insert(key, Entry { bytes, order: self.written });
        self.bytes += bytes;
        self.written += 1;
    }
}

/// The trial and the epoch that a file's name tells, as it is written here and in no other way.
fn key_of(path: &Path) -> Option<(Digest, u32)> {
    let name = path.file_name()?.to_str()?;
    let (trial, epoch) = name.strip_suffix(WHOLE)?.strip_suffix('.')?.split_once('-')?;
    let key = (Digest::from_hex(trial).ok()?, epoch.parse().ok()?);
    (format!("{}-{}", key.0.hex(), key.1) == format!("{trial}-{epoch}")).then_some(key)
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A new name is durable once its folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

const WHOLE: &str = "checkpoint";
const WRITING: &str = "writing";

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use common::id::TrialIndex;
    use common::table::Dataset;

    use super::*;
    use crate::sample;
    use crate::trainer::{Leg, Machine, train_legs};

    fn trial(number: u8) -> Digest {
        Digest::of(&[number])
    }

    /// After so many of twelve epochs, of a network with so many hidden units.
    fn checkpoint(epochs: u32, hidden: u32) -> Checkpoint {
        let mut study = sample::study(sample::ROWS);
        let hyper = &mut study.arms[0].configs[0].hyper;
        (hyper.epochs, hyper.hidden) = (12, vec![hidden]);
        study.arms[0].model = common::study::Model::Mlp;
        let dataset = Dataset::read(&study.data, sample::ROWS).expect("a table");
        let leg = Leg { until: Some(epochs), keep: true, ..Leg::default() };
        let trials: (&[TrialIndex], &[Leg<'_>]) = (&[TrialIndex(0)], &[leg]);
        let trained = train_legs(&study, &dataset, trials, &Machine::default(), &|| false);
        trained.expect("not stopped").remove(0).checkpoint.expect("asked for")
    }

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).expect("a folder").count()
    }

    #[test]
    fn a_checkpoint_outlives_the_process_that_wrote_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = || Checkpoints::open(dir.path().join("checkpoints"), 1 << 20);
        let (third, ninth) = (checkpoint(3, 4), checkpoint(9, 4));
        let first = open();
        assert!(first.is_empty() && first.get(&trial(1), 12).is_none());
        assert!(first.put(&trial(1), &third, true).expect("room"));
        assert!(first.put(&trial(1), &ninth, true).expect("room"));
        let second = open();
        assert_eq!(second.get(&trial(1), 12), Some(ninth.clone()));
        assert_eq!(second.get(&trial(1), 8), Some(third));
        assert_eq!((second.get(&trial(1), 2), second.get(&trial(2), 12)), (None, None));
        second.put(&trial(2), &ninth, true).expect("room");
        second.forget(&trial(1));
        assert_eq!((second.get(&trial(1), 12), second.get(&trial(2), 12)), (None, Some(ninth)));
        second.put(&trial(3), &checkpoint(3, 4), true).expect("room");
        second.put(&trial(3), &checkpoint(4, 4), true).expect("room");
        second.forget_before(&trial(3), 4);
        assert_eq!(second.get(&trial(3), 3), None);
        second.retain(|wanted| *wanted == trial(3));
        assert_eq!((second.get(&trial(2), 12), second.get(&trial(3), 12).is_some()), (None, true));
        second.retain(|_| false);
        assert_eq!((second.bytes(), names(&dir.path().join("checkpoints"))), (0, 0));
    }

    #[test]
    fn those_written_longest_ago_make_room() {
        let dir = tempfile::tempdir().expect("a folder");
        let kept = checkpoint(3, 4);
        let size = kept.bytes().expect("bytes").len() as u64;
        let few = Checkpoints::open(dir.path().to_path_buf(), 3 * size);
        for number in [5, 4, 3, 2, 1] {
            assert!(few.put(&trial(number), &kept, true).expect("written"));
            std::thread::sleep(Duration::from_millis(5));
        }
        let held = |store: &Checkpoints| -> Vec<u8> {
            (1..6).filter(|&number| store.get(&trial(number), 12).is_some()).collect()
        };
        assert_eq!((held(&few), few.bytes()), (vec![1, 2, 3], 3 * size));
        assert!(few.put(&trial(3), &kept, true).expect("written"), "in its own place");
        assert_eq!(held(&few), [1, 2, 3]);
        assert!(few.put(&trial(6), &kept, true).expect("written"));
        assert_eq!(held(&few), [1, 3]);
        let fewer = Checkpoints::open(dir.path().to_path_buf(), size);
        assert_eq!((held(&fewer), names(dir.path())), (vec![], 1), "6 was the last one");
        assert!(!fewer.put(&trial(7), &checkpoint(3, 64), true).expect("no fault"), "too large");
        assert!(fewer.get(&trial(6), 12).is_some(), "and nothing made room for it");
    }

    #[test]
    fn a_torn_or_foreign_file_is_no_checkpoint() {
        let dir = tempfile::tempdir().expect("a folder");
        let (third, ninth) = (checkpoint(3, 4), checkpoint(9, 4));
        let store = Checkpoints::open(dir.path().to_path_buf(), 1 << 20);
        for kept in [&third, &ninth] {
            store.put(&trial(1), kept, true).expect("written");
            store.put(&trial(2), kept, true).expect("written");
        }
        let torn = store.path(&(trial(1), 9));
        let bytes = fs::read(&torn).expect("there");
        fs::write(&torn, &bytes[..bytes.len() / 2]).expect("torn");
        // One that lies under another one's name.
        fs::copy(store.path(&(trial(2), 3)), store.path(&(trial(2), 9))).expect("copied");
        fs::write(dir.path().join("left.writing"), b"half").expect("written");
        fs::write(dir.path().join("notes.txt"), b"a person's").expect("written");
        let again = Checkpoints::open(dir.path().to_path_buf(), 1 << 20);
        for number in [1, 2] {
            assert_eq!(again.get(&trial(number), 12), Some(third.clone()));
        }
        assert_eq!(names(dir.path()), 3, "two checkpoints and the notes");
        fs::remove_file(again.path(&(trial(1), 3))).expect("there");
        assert_eq!(again.get(&trial(1), 12), None, "deleted by somebody else");
    }

    /// What it costs; shown with `--nocapture`.
    #[test]
    fn one_of_a_small_network_is_written_quickly() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Checkpoints::open(dir.path().to_path_buf(), 1 << 30);
        // As many numbers as 64 inputs, 64 hidden units and 10 classes have.
        let kept = checkpoint(3, 954);
        let began = Instant::now();
        let bytes = kept.bytes().expect("bytes").len();
        let encoded = began.elapsed();
        let began = Instant::now();
        (0..50)
            .for_each(|number| assert!(store.put(&trial(number), &kept, true).expect("written")));
        let written = began.elapsed() / 50;
        let began = Instant::now();
        (0..50).for_each(|number| assert!(store.get(&trial(number), 12).is_some()));
        let read = began.elapsed() / 50;
        println!("{bytes} bytes: encoded {encoded:?}, written {written:?}, read {read:?}");
        assert!(written < Duration::from_secs(1) && read < Duration::from_secs(1));
    }
}
