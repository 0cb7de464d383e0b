//! What a power loss leaves: every write since the last sync may be there, torn, or gone.
//!
//! Floor: shell.

use std::io;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use common::seed::mix;
use redb::StorageBackend;

use super::*;
use crate::replica::log::EntryKind;

/// A disk that remembers in which order it was written.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<(Vec<u8>, Vec<Step>)>>);

#[derive(Clone, Debug)]
enum Step {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

impl Recorder {
    fn of(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new((image, Vec::new()))))
    }

    fn steps(&self) -> Vec<Step> {
        self.0.lock().expect("no panic").1.clone()
    }

    fn step(&self, step: Step) {
        let mut inner = self.0.lock().expect("no panic");
        play(&mut inner.0, &step);
        inner.1.push(step);
    }
}

fn play(image: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Write(offset, data) => {
            let offset = *offset as usize;
            image[offset..offset + data.len()].copy_from_slice(data);
        }
        Step::Length(length) => image.resize(*length as usize, 0),
        Step::Sync => {}
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().expect("no panic").0.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.0.lock().expect("no panic");
        let offset = offset as usize;
        let there = inner.0.get(offset..offset + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(there);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.step(Step::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.step(Step::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// What is on the disk when power is lost after `done` steps: of what was not synced each sector may be
/// there or not.
fn after_loss(steps: &[Step], done: usize, seed: u64) -> Vec<u8> {
    let synced = steps[..done].iter().rposition(|step| matches!(step, Step::Sync)).unwrap_or(0);
    let mut image = Vec::new();
    steps[..synced].iter().for_each(|step| play(&mut image, step));
    let mut drawn = seed;
    let mut chance = || {
        drawn = mix(drawn);
        drawn.is_multiple_of(2)
    };
    for step in &steps[synced..done] {
        match step {
            Step::Write(offset, data) => {
                for (number, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                    let at = offset + (number * SECTOR_BYTES) as u64;
                    let fits = at as usize + sector.len() <= image.len();
                    if fits && chance() {
                        play(&mut image, &Step::Write(at, sector.to_vec()));
                    }
                }
            }
            step => {
                if chance() {
                    play(&mut image, step);
                }
            }
        }
    }
    image
}

fn over(recorder: Recorder) -> Result<Disk, redb::DatabaseError> {
    let database = Database::builder().create_with_backend(recorder)?;
    Ok(Disk::over(database, Path::new("memory")))
}

#[test]
fn a_power_loss_at_any_write_leaves_whole_commits() {
    let recorder = Recorder::default();
    let disk = over(recorder.clone()).expect("opens");
    let (format, cluster) = (FORMAT, ClusterId([7; 16]));
    let identity = FolderIdentity { format, cluster, replica: ReplicaId(NonZeroU64::MIN) };
    disk.begin(identity, &Recovered::first(1, vec![1])).expect("begins");
    // After so many steps so many entries were said to be durable.
    let mut acknowledged = vec![(recorder.steps().len(), 1)];
    for index in 2..40 {
        let data = vec![index as u8; 300 * index as usize % 4_000];
        let entry = LogEntry { index, term: 1, kind: EntryKind::Command, context: vec![], data };
        let vote = Some(Vote { term: 1, vote: 1, commit: index - 1 });
        let persist = Persist { entries: vec![entry], vote, snapshot: None };
        disk.commit(&persist, &[]).expect("commits");
        acknowledged.push((recorder.steps().len(), index));
    }
    let (steps, first) = (recorder.steps(), acknowledged[0].0);
    let mut between = 0;
    for seed in 0..LOSSES {
        let done = first + (mix(seed) as usize) % (steps.len() - first);
        let said = acknowledged.iter().rfind(|(steps, _)| *steps <= done).expect("the first").1;
        let image = after_loss(&steps, done, seed);
        let disk = over(Recorder::of(image)).unwrap_or_else(|e| panic!("loss {seed}: {e}"));
        let recovered = disk.recover().unwrap_or_else(|e| panic!("loss {seed}: {e}"));
        let last = 1 + recovered.entries.len() as u64;
        assert!(last == said || last == said + 1, "loss {seed}: {last} after {said} were said");
        between += u64::from(last > said);
    }
    assert!(between > 0, "some are lost after the commit and before it was said");
}

const LOSSES: u64 = 600;
const SECTOR_BYTES: usize = 512;
