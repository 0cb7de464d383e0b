//! The spool: start markers and endings on disk, until the coordinator has acknowledged them.
//!
//! Every frame is on the disk before the call that wrote it returns, so a crash leaves at most the
//! last frame torn: that one is cut off. A bad frame with a good one after it is damage, and the
//! file is refused; wrong data is never returned. Deliberately absent: what the records mean.
//!
//! The file: [`MAGIC`], then frames of payload length (u32, little-endian), CRC-32 over the frame's
//! place, length and payload (u32), and the payload: a list of records.
//!
//! Floor: shell.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use common::trial::{Attempt, Report};
use common::wire::codec::{self, CodecError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One thing the spool is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// About to be trained.
    Started {
        attempts: Vec<Attempt>,
    },
    Ended {
        reports: Vec<Report>,
    },
    /// Acknowledged, or given up on purpose.
    Forgotten {
        attempts: Vec<Attempt>,
    },
}

/// What an earlier life of the agent left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Started and never ended: the agent died with them.
    pub crashed: Vec<Attempt>,
    pub reports: Vec<Report>,
    /// Bytes of a torn last frame that were cut off.
    pub cut_bytes: u64,
}

/// An open spool file. After an error nothing more is written: a second flush may lie.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Bytes that each attempt not yet forgotten takes at most.
    live: BTreeMap<Attempt, u64>,
    live_bytes: u64,
    /// Told and not yet written: it rides with the next frame.
    forgotten: Vec<Attempt>,
    broken: bool,
}

impl Spool {
    /// Opens the file, or makes it, and reads what it holds.
    pub fn open(path: &Path) -> Result<(Self, Recovered), SpoolError> {
        let refused = |source| SpoolError::Disk { path: path.to_path_buf(), source };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(refused(error)),
        };
        let (contents, whole) = replay(&bytes).map_err(|damage| damage.in_file(path))?;
        let records = contents.records();
        let recovered = contents.recovered((bytes.len() - whole) as u64);
        let mut options = File::options();
        let mut file = options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(refused)?;
        if recovered.cut_bytes > 0 || whole < MAGIC.len() {
            file.set_len(whole as u64).map_err(refused)?;
        }
        if whole < MAGIC.len() {
            file.set_len(0).map_err(refused)?;
            file.rewind().map_err(refused)?;
            file.write_all(MAGIC).map_err(refused)?;
        }
        file.sync_all().map_err(refused)?;
        sync_parent(path).map_err(refused)?;
        let bytes = file.seek(SeekFrom::End(0)).map_err(refused)?;
        let mut spool = Self {
            path: path.to_path_buf(),
            file,
            bytes,
            live: BTreeMap::new(),
            live_bytes: 0,
            forgotten: Vec::new(),
            broken: false,
        };
        records.iter().for_each(|record| spool.count(record));
        Ok((spool, recovered))
    }

    /// What a spool's file holds, by its bytes alone; `path` is for the error.
    pub fn read(bytes: &[u8], path: &Path) -> Result<Recovered, SpoolError> {
        let (contents, whole) = replay(bytes).map_err(|damage| damage.in_file(path))?;
        Ok(contents.recovered((bytes.len() - whole) as u64))
    }

    /// Adds the records, durably, in one frame.
    pub fn write(&mut self, records: Vec<Record>) -> Result<(), SpoolError> {
        let mut records = records;
        if !self.forgotten.is_empty() {
            // First: what is forgotten was told before these records.
            let attempts = std::mem::take(&mut self.forgotten);
            records.insert(0, Record::Forgotten { attempts });
        }
        if records.is_empty() {
            return Ok(());
        }
        if self.broken {
            return Err(SpoolError::Broken { path: self.path.clone() });
        }
        self.broken = true;
        let frame = frame(self.bytes, &records).map_err(|source| self.cannot_encode(source))?;
        let written = self.file.write_all(&frame).and_then(|()| self.file.sync_data());
        written.map_err(|source| SpoolError::Disk { path: self.path.clone(), source })?;
        self.bytes += frame.len() as u64;
        records.iter().for_each(|record| self.count(record));
        self.broken = false;
        if self.bytes > COMPACT_ABOVE_BYTES && self.live_bytes < self.bytes / 2 {
            self.compact()?;
        }
        Ok(())
    }

    /// The attempts need not be remembered. Written with the next frame or [`Spool::flush`].
    pub fn forget(&mut self, attempts: Vec<Attempt>) {
        self.forgotten.extend(attempts);
    }

    /// Writes what was only told so far.
    pub fn flush(&mut self) -> Result<(), SpoolError> {
        self.write(Vec::new())
    }

    /// Writes what is still needed into a new file and puts it in the old one's place.
    fn compact(&mut self) -> Result<(), SpoolError> {
        self.broken = true;
        let disk = |source| SpoolError::Disk { path: self.path.clone(), source };
        let bytes = fs::read(&self.path).map_err(disk)?;
        let (contents, _) = replay(&bytes).map_err(|damage| damage.in_file(&self.path))?;
        let records = contents.records();
        let mut compacted = MAGIC.to_vec();
        for record in &records {
            let place = compacted.len() as u64;
            let frame = frame(place, std::slice::from_ref(record));
            compacted.extend(frame.map_err(|source| self.cannot_encode(source))?);
        }
        let beside = self.path.with_extension("tmp");
        let mut file = File::create(&beside).map_err(disk)?;
        file.write_all(&compacted).and_then(|()| file.sync_all()).map_err(disk)?;
        fs::rename(&beside, &self.path).and_then(|()| sync_parent(&self.path)).map_err(disk)?;
        self.file = file;
        self.bytes = compacted.len() as u64;
        self.live.clear();
        self.live_bytes = 0;
        records.iter().for_each(|record| self.count(record));
        self.broken = false;
        Ok(())
    }

    fn count(&mut self, record: &Record) {
        match record {
            Record::Started { attempts } => {
                attempts.iter().for_each(|attempt| self.weigh(*attempt, ATTEMPT_BYTES));
            }
            Record::Ended { reports } => {
                for report in reports {
                    let bytes = codec::encode(report).map_or(0, |bytes| bytes.len() as u64);
                    self.weigh(report.attempt, bytes);
                }
            }
            Record::Forgotten { attempts } => {
                for attempt in attempts {
                    self.live_bytes -= self.live.remove(attempt).unwrap_or(0);
                }
            }
        }
    }

    fn weigh(&mut self, attempt: Attempt, bytes: u64) {
        self.live_bytes += bytes;
        self.live_bytes -= self.live.insert(attempt, bytes).unwrap_or(0);
    }

    fn cannot_encode(&self, source: CodecError) -> SpoolError {
        SpoolError::Encode { path: self.path.clone(), source }
    }
}

/// Why the spool cannot be used.
#[derive(Debug, Error)]
pub enum SpoolError {
    #[error("{path} cannot be read or written")]
    Disk { path: PathBuf, source: io::Error },
    #[error("a record for {path} cannot be encoded")]
    Encode { path: PathBuf, source: CodecError },
    #[error(
        "{path} is damaged at byte {place}, with sound records after it; move the file away to go \
         on: the coordinator will have its trials trained again"
    )]
    Damaged { path: PathBuf, place: usize },
    #[error("{path} is not a spool of this version of seedsweep; move it away to go on")]
    Foreign { path: PathBuf },
    #[error("{path} could not be written earlier; start the agent again")]
    Broken { path: PathBuf },
}

/// What a file's frames add up to.
#[derive(Debug, Default)]
struct Contents {
    started: BTreeSet<Attempt>,
    ended: BTreeMap<Attempt, Report>,
}

impl Contents {
    fn add(&mut self, record: Record) {
        match record {
            Record::Started { attempts } => self.started.extend(attempts),
            Record::Ended { reports } => {
                for report in reports {
                    self.started.remove(&report.attempt);
                    self.ended.insert(report.attempt, report);
                }
            }
            Record::Forgotten { attempts } => {
                for attempt in attempts {
                    self.started.remove(&attempt);
                    self.ended.remove(&attempt);
                }
            }
        }
    }

    fn recovered(self, cut_bytes: u64) -> Recovered {
        let crashed = self.started.into_iter().collect();
        Recovered { crashed, reports: self.ended.into_values().collect(), cut_bytes }
    }

    /// Records that add up to the same.
    fn records(&self) -> Vec<Record> {
        let started: Vec<Attempt> = self.started.iter().copied().collect();
        let started = (!started.is_empty()).then_some(Record::Started { attempts: started });
        let ended =
            self.ended.values().map(|report| Record::Ended { reports: vec![report.clone()] });
        started.into_iter().chain(ended).collect()
    }
}

#[derive(Debug, PartialEq)]
enum Damage {
    Foreign,
    Damaged { place: usize },
}

impl Damage {
    fn in_file(self, path: &Path) -> SpoolError {
        let path = path.to_path_buf();
        match self {
            Damage::Foreign => SpoolError::Foreign { path },
            Damage::Damaged { place } => SpoolError::Damaged { path, place },
        }
    }
}

/// What the bytes hold, and how many of them are whole.
fn replay(bytes: &[u8]) -> Result<(Contents, usize), Damage> {
    let mut contents = Contents::default();
    if bytes.len() < MAGIC.len() {
        // Torn while the file was made, before anything was in it.
        return if MAGIC.starts_with(bytes) { Ok((contents, 0)) } else { Err(Damage::Foreign) };
    }
    if !bytes.starts_with(MAGIC) {
        return Err(Damage::Foreign);
    }
    let mut place = MAGIC.len();
    while let Some((records, length)) = frame_at(bytes, place) {
        records.into_iter().for_each(|record| contents.add(record));
        place += length;
    }
    // One frame at most was under way when the agent died: a sound one behind means damage.
    if (place + 1..bytes.len()).any(|later| frame_at(bytes, later).is_some()) {
        return Err(Damage::Damaged { place });
    }
    Ok((contents, place))
}

/// The frame at `place` and its length, if a sound one is there.
fn frame_at(bytes: &[u8], place: usize) -> Option<(Vec<Record>, usize)> {
    let header = bytes.get(place..place + HEADER_BYTES)?;
    let (length, sum) = header.split_at(4);
    let payload_bytes = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let payload = bytes.get(place + HEADER_BYTES..)?.get(..payload_bytes)?;
    if u32::from_le_bytes(sum.try_into().ok()?) != checksum(place as u64, payload) {
        return None;
    }
    let records: Vec<Record> = codec::decode(payload).ok()?;
    Some((records, HEADER_BYTES + payload_bytes))
}

fn frame(place: u64, records: &[Record]) -> Result<Vec<u8>, CodecError> {
    let payload = codec::encode(&records)?;
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    if payload.len() > codec::DECODE_MAX {
        return Err(CodecError::TooLong { bytes: payload.len(), bytes_max: codec::DECODE_MAX });
    }
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&checksum(place, &payload).to_le_bytes());
    frame.extend_from_slice(&payload);
    Ok(frame)
}

/// Over the place too, so that bytes of an older file or of a payload never pass for a frame.
fn checksum(place: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place.to_le_bytes());
    hasher.update(&(payload.len() as u32).to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// A new name is durable once its folder is.
#[cfg(unix)]
fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(not(unix))]
fn sync_parent(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The last byte is the format's number.
const MAGIC: &[u8] = b"SWSPOOL\x01";

const HEADER_BYTES: usize = 8;

/// A start marker's share of its frame, at most.
const ATTEMPT_BYTES: u64 = 36;

/// A file this small is left as it is.
const COMPACT_ABOVE_BYTES: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use common::id::{LeaseId, StudyId, TrialIndex};
    use common::trial::{Ending, FailReason, Outcome};

    use super::*;

    fn attempt(trial: u64) -> Attempt {
        let lease = LeaseId { term: 3, counter: trial / 4 };
        Attempt { study: StudyId(7), trial: TrialIndex(trial), lease }
    }

    fn report(trial: u64) -> Report {
        let outcome = Outcome {
            metrics: vec![0.25, f64::from(trial as u32)],
            rows: vec![0.5; 8],
            epochs: 30,
            duration_us: 1_000,
            device: "cpu".into(),
            curve: None,
        };
        Report { attempt: attempt(trial), ending: Ending::Complete(outcome) }
    }

    fn started(trials: std::ops::Range<u64>) -> Record {
        Record::Started { attempts: trials.map(attempt).collect() }
    }

    /// A small spool's file, with what it held after each frame.
    fn sample(path: &Path) -> Vec<Recovered> {
        let failed = Ending::Failed { reason: FailReason::Diverged, detail: "at epoch 3".into() };
        let frames = [
            vec![started(0..4)],
            vec![Record::Ended { reports: vec![report(0), report(1)] }, started(4..6)],
            vec![
                Record::Forgotten { attempts: vec![attempt(0)] },
                Record::Ended { reports: vec![Report { ending: failed, ..report(2) }] },
            ],
            vec![Record::Ended { reports: vec![report(5)] }],
        ];
        let (mut spool, empty) = Spool::open(path).expect("new");
        let mut states = vec![empty];
        for records in frames {
            spool.write(records).expect("written");
            states.push(Spool::open(path).expect("whole").1);
        }
        states
    }

    #[test]
    fn an_attempt_is_crashed_from_its_marker_until_its_ending() {
        let dir = tempfile::tempdir().expect("a folder");
        let states = sample(&dir.path().join("spool.log"));
        let last = &states[4];
        assert_eq!(last.crashed, [attempt(3), attempt(4)]);
        let ended: Vec<u64> = last.reports.iter().map(|report| report.attempt.trial.0).collect();
        assert_eq!(ended, [1, 2, 5]);
        assert_eq!(states[1].crashed.len(), 4);
        assert_eq!(last.cut_bytes, 0);
    }

    #[test]
    fn every_truncation_gives_a_prefix() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("spool.log");
        let states = sample(&path);
        let whole = fs::read(&path).expect("bytes");
        let mut prefixes = BTreeSet::new();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("cut");
            let (mut spool, found) = Spool::open(&path).expect("a cut file opens");
            let found = Recovered { cut_bytes: 0, ..found };
            let frames = states.iter().position(|state| *state == found);
            prefixes.insert(frames.unwrap_or_else(|| panic!("no prefix at {length}")));
            spool.write(vec![started(90..91)]).expect("goes on");
            let (_, after) = Spool::open(&path).expect("whole again");
            assert!(after.crashed.contains(&attempt(90)) && after.cut_bytes == 0);
        }
        assert_eq!(prefixes.len(), 4, "all but the whole one");
    }

    #[test]
    fn every_flipped_byte_gives_a_prefix_or_a_refusal() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("spool.log");
        let states = sample(&path);
        let whole = fs::read(&path).expect("bytes");
        let (mut refused, mut cut) = (0, 0);
        for place in 0..whole.len() {
            for flip in [0x01u8, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[place] ^= flip;
                match replay(&bytes) {
                    Err(_) => refused += 1,
                    Ok((contents, _)) => {
                        let reports: Vec<Report> = contents.ended.into_values().collect();
                        assert_eq!(reports, states[3].reports, "byte {place}");
                        cut += 1;
                    }
                }
            }
        }
        // The last frame alone may pass for torn.
        assert!(refused > 2 * cut, "{refused} refused, {cut} cut");
    }

    #[test]
    fn damage_before_a_sound_record_names_the_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("spool.log");
        sample(&path);
        let mut bytes = fs::read(&path).expect("bytes");
        bytes[MAGIC.len() + HEADER_BYTES + 2] ^= 4;
        fs::write(&path, &bytes).expect("damaged");
        let error = Spool::open(&path).expect_err("refused").to_string();
        assert!(error.contains("spool.log is damaged at byte 8"), "{error}");
    }

    #[test]
    fn another_kind_of_file_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("spool.log");
        for foreign in ["SWSPOOL\x02 of a later version", "text"] {
            fs::write(&path, foreign).expect("written");
            assert!(matches!(Spool::open(&path), Err(SpoolError::Foreign { .. })));
            assert_eq!(fs::read(&path).expect("bytes"), foreign.as_bytes());
        }
    }

    #[test]
    fn a_spool_of_acknowledged_outcomes_stays_small() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("spool.log");
        let (mut spool, _) = Spool::open(&path).expect("new");
        spool.write(vec![started(0..2)]).expect("written");
        spool.write(vec![Record::Ended { reports: vec![report(1)] }]).expect("written");
        let mut longest = 0;
        for round in 1..300 {
            let trials = round * 64..(round + 1) * 64;
            spool.write(vec![started(trials.clone())]).expect("written");
            let reports = trials.clone().map(report).collect();
            spool.write(vec![Record::Ended { reports }]).expect("written");
            spool.forget(trials.map(attempt).collect());
            longest = longest.max(fs::metadata(&path).expect("there").len());
        }
        spool.flush().expect("written");
        assert!(longest < COMPACT_ABOVE_BYTES + (64 << 10), "{longest}");
        let (_, left) = Spool::open(&path).expect("whole");
        assert_eq!((left.crashed, left.reports), (vec![attempt(0)], vec![report(1)]));
    }
}
