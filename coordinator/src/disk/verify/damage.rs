//! Flipped bits and cut-off ends of a real database file: what is read from it is the truth or a
//! refusal, and what is not the truth is reported.
//!
//! Floor: shell.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Once};
use std::thread;

use common::id::{StudyId, TrialIndex};
use common::wire::codec;

use super::tests::lived;
use super::*;

/// A file with one fault.
#[derive(Debug)]
struct Faulty {
    bytes: Arc<Vec<u8>>,
    fault: Fault,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Bit(u64),
    /// It ends here.
    End(u64),
}

impl Bytes for Faulty {
    fn length(&self) -> io::Result<u64> {
        Ok(match self.fault {
            Fault::End(end) => end,
            _ => self.bytes.len() as u64,
        })
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.copy_from_slice(&self.bytes[offset as usize..offset as usize + out.len()]);
        if let Fault::Bit(bit) = self.fault
            && let Some(byte) = (bit / 8).checked_sub(offset)
            && let Some(byte) = out.get_mut(byte as usize)
        {
            *byte ^= 1 << (bit % 8);
        }
        Ok(())
    }
}

/// All that a coordinator reads from its database.
#[derive(Clone, PartialEq)]
struct Read {
    identity: FolderIdentity,
    snapshot: SnapshotRecord,
    base: Base,
    vote: Vote,
    entries: Vec<LogEntry>,
    /// As bytes: metrics may be NaN.
    rows: Vec<u8>,
}

/// Reads as a coordinator does that starts, and is then asked for the outcomes.
fn read(below: &Arc<dyn Bytes>, study: StudyId) -> Result<Read, String> {
    let read = || -> Result<Read, DiskError> {
        let path = Path::new("faulty");
        let disk = Disk::over(open(path, below, &Progress::default(), false)?, path);
        let identity = disk.identity()?;
        let recovered = disk.recover()?;
        let (rows, _) = disk.outcomes(study, TrialIndex(0), usize::MAX)?;
        let crate::replica::log::Recovered { snapshot, base, vote, entries } = recovered;
        let rows = codec::encode(&rows).expect("encoded");
        Ok(Read { identity, snapshot, base, vote, entries, rows })
    };
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err("redb's invariants are broken".to_string()),
    }
}

/// What became of the faults.
#[derive(Debug, Default)]
struct Tally {
    faults: u64,
    /// Read as if nothing were.
    true_data: u64,
    refused: u64,
    /// Something is missing, and only the look finds it.
    wrong: u64,
    found: u64,
}

/// Looks at one faulty file. Whatever it holds, a sound verdict means that all of it is the truth.
fn look_at(bytes: &Arc<Vec<u8>>, fault: Fault, truth: &Read, study: StudyId, tally: &Mutex<Tally>) {
    let below: Arc<dyn Bytes> = Arc::new(Faulty { bytes: Arc::clone(bytes), fault });
    let found = read(&below, study);
    let looked = catch_unwind(AssertUnwindSafe(|| {
        look(Path::new("faulty"), Arc::clone(&below), &Progress::default())
    }));
    let looked = looked.expect("a look never panics");
    let reported = !looked.as_ref().is_ok_and(Verdict::is_sound);
    let mut tally = tally.lock().expect("no other failed");
    tally.faults += 1;
    tally.found += u64::from(reported);
    match found {
        Ok(read) if read == *truth => tally.true_data += 1,
        Ok(read) => {
            tally.wrong += 1;
            assert!(reported, "{fault:?} is read as something else and passes for sound");
            let invented = read.entries.iter().any(|entry| !truth.entries.contains(entry));
            assert!(!invented, "{fault:?} makes an entry");
            let parts = |read: &Read| (read.identity, read.snapshot.clone(), read.base, read.vote);
            assert!(parts(&read) == parts(truth), "{fault:?} changes a part");
        }
        Err(why) => {
            tally.refused += 1;
            assert!(reported, "{fault:?} is refused ({why}) and passes for sound");
        }
    }
}

/// Looks at all of them, on two threads whose panics are redb's and expected.
fn look_at_all(faults: Vec<Fault>) -> Tally {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let ours = info.location().is_some_and(|at| at.file().ends_with("damage.rs"));
            if ours || thread::current().name() != Some(QUIET_THREAD) {
                loud(info);
            }
        }));
    });
    let (bench, tally) = (lived(), Mutex::new(Tally::default()));
    let study = bench.study;
    let bytes = Arc::new(fs::read(bench.close().join(FILE)).expect("there"));
    let good: Arc<dyn Bytes> = Arc::new(Faulty { bytes: Arc::clone(&bytes), fault: Fault::None });
    let truth = read(&good, study).expect("the truth");
    let (first, second) = faults.split_at(faults.len() / 2);
    thread::scope(|scope| {
        for part in [first, second] {
            let thread = thread::Builder::new().name(QUIET_THREAD.to_string());
            let work = || part.iter().for_each(|f| look_at(&bytes, *f, &truth, study, &tally));
            thread.spawn_scoped(scope, work).expect("a thread");
        }
    });
    tally.into_inner().expect("no thread failed")
}

/// One bit of every so many bytes, not always the same.
fn bits(bytes: std::ops::Range<u64>, step: usize) -> impl Iterator<Item = Fault> {
    bytes.step_by(step).map(move |byte| Fault::Bit(byte * 8 + byte / step as u64 % 8))
}

#[test]
fn every_flipped_bit_is_harmless_or_reported() {
    let length = fs::metadata(lived().close().join(FILE)).expect("there").len();
    // The header is small, and most of it matters.
    let header = (0..HEADER_BITS).step_by(3).map(Fault::Bit);
    let tally = look_at_all(header.chain(bits(HEADER_BITS / 8..length, 29)).collect());
    assert_eq!(tally.faults, tally.true_data + tally.refused + tally.wrong);
    assert!(tally.faults > 3_500 && tally.true_data > 500, "{tally:?}");
    // Pages that no commit leads to any more, and what of the others is unused, may change unseen.
    assert!(tally.found > tally.refused && tally.found < tally.faults, "{tally:?}");
    assert!(tally.wrong * 200 < tally.faults, "{tally:?}");
}

#[test]
fn every_file_that_was_cut_off_is_refused_and_reported() {
    let length = fs::metadata(lived().close().join(FILE)).expect("there").len();
    let ends = (0..length).step_by(1_009).chain([1, 319, 320, 4_095, 4_096, length - 1]);
    let tally = look_at_all(ends.map(Fault::End).collect());
    assert_eq!((tally.refused, tally.found), (tally.faults, tally.faults), "{tally:?}");
}

const HEADER_BITS: u64 = 320 * 8;
const QUIET_THREAD: &str = "faulty";
