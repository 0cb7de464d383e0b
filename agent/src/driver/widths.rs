//! Widths as this machine found them, in a file of the agent's folder.
//!
//! Cohorts that train at once share what they find; each measures its own wall time. Each device has
//! a file of its own, since what is wide for one is not for another. A file that cannot be read is
//! begun anew, and one that cannot be written costs only what was found.
//!
//! Floor: shell.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::memory::Memory;
use crate::device::{CPU, Device};
use crate::trainer::{Climb, How, Need, NoRoom, Widths};

/// Finds widths by measuring, and keeps them.
#[derive(Debug)]
pub struct Measured {
    path: Option<PathBuf>,
    found: Mutex<BTreeMap<String, Climb>>,
    memory: Memory,
}

thread_local! {
    /// When the stack of this thread began.
    static BEGAN: RefCell<Option<Instant>> = const { RefCell::new(None) };
}

impl Measured {
    /// Goes on with what `folder` knows of the device of that name; `None`: nothing is kept.
    pub fn open(folder: Option<&Path>, device: &str) -> Self {
        let found = folder.map(|folder| found_in(folder, device)).unwrap_or_default();
        Self {
            path: folder.map(|folder| path_in(folder, device)),
            found: Mutex::new(found),
            memory: Memory::new(link::memory::free),
        }
    }
}

/// What is known of a device in an agent's folder, by kind.
pub fn found_in(folder: &Path, device: &str) -> BTreeMap<String, Climb> {
    let text = fs::read_to_string(path_in(folder, device)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// `device` as an agent with this folder starts, unless its user says how large cohorts shall be.
pub fn suited_to(folder: &Path, device: Device) -> Device {
    let found = device.parts().into_iter().flat_map(|part| found_in(folder, &part.name));
    // Of several cards the widest of each kind, as cohorts have one size on all.
    let mut widest: BTreeMap<String, Climb> = BTreeMap::new();
    for (kind, climb) in found {
        let known = widest.get(&kind).map_or(0, |known| known.width(usize::MAX));
        if climb.width(usize::MAX) > known {
            widest.insert(kind, climb);
        }
    }
    device.with_cohorts_for(&widest)
}

fn path_in(folder: &Path, device: &str) -> PathBuf {
    match device {
        CPU => folder.join("widths.json"),
        card => folder.join(format!("widths-{}.json", card.replace(':', "-"))),
    }
}

/// Writes what was found, whole or not at all.
pub fn keep(path: &Path, text: &str) {
    let beside = path.with_extension("writing");
    if let Err(error) = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path)) {
        tracing::debug!(%error, "what was found of this machine is not kept");
    }
}

impl Widths for Measured {
    fn begin(&self, kind: &str, lanes: usize, need: Option<&Need>) -> Result<usize, NoRoom> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = match found.get(kind) {
            Some(climb) => climb.width(lanes),
            None => Climb::default().width(lanes),
        };
        drop(found);
        let width = match need {
            Some(need) => self.memory.width(kind, wanted, lanes, need)?,
            None => wanted,
        };
        BEGAN.set(Some(Instant::now()));
        Ok(width)
    }

    fn ended(&self, kind: &str, width: usize, lanes: usize, how: How) {
        self.memory.ended();
        let Some(began) = BEGAN.take() else { return };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if !found.contains_key(kind) && found.len() >= KINDS_MAX {
            return;
        }
        let climb = found.entry(kind.to_string()).or_default();
        let before = climb.clone();
        match how {
            How::NoRoom => climb.note_no_room(width),
            // A stack that was not full for most of its time says nothing of a full one.
            How::Trained { rows } if lanes.is_multiple_of(width) && climb.found().is_none() => {
                let seconds = began.elapsed().as_secs_f64();
                if seconds >= SHORTEST_S {
                    climb.note(width, rows as f64 / seconds);
                }
            }
            How::Trained { .. } | How::Stopped => {}
        }
        if *climb == before {
            return;
        }
        let Some(path) = &self.path else { return };
        keep(path, &serde_json::to_string_pretty(&*found).unwrap_or_default());
    }
}

/// What ends sooner says more of the clock than of the width.
const SHORTEST_S: f64 = 0.01;
/// Studies may come with any number of networks.
pub const KINDS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use crate::device::{Card, Wanted};

    use super::*;

    #[test]
    fn what_was_found_is_known_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let measured = Measured::open(Some(folder.path()), CPU);
        for _ in 0..2 {
            let width = 4;
            assert_eq!(measured.begin("mlp", 8, None), Ok(width));
            thread::sleep(Duration::from_millis(12));
            measured.ended("mlp", width, 8, How::Trained { rows: 1000 });
        }
        assert_eq!(measured.begin("mlp", 8, None), Ok(8));
        measured.ended("mlp", 8, 8, How::NoRoom);
        let again = Measured::open(Some(folder.path()), CPU);
        assert_eq!(again.begin("mlp", 64, None), Ok(2), "what there was no room for is not tried");
        assert_eq!(found_in(folder.path(), CPU)["mlp"].no_room, Some(8));
    }

    #[test]
    fn a_folder_with_another_file_is_begun_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("widths.json"), "{]").expect("written");
        assert_eq!(Measured::open(Some(folder.path()), CPU).begin("mlp", 8, None), Ok(4));
    }

    #[test]
    fn each_device_finds_its_own_widths_and_cohorts_follow() {
        let folder = tempfile::tempdir().expect("a folder");
        let (cpu, card) = (Device::choose(Wanted::Cpu, None, None), "cuda:0".to_string());
        let cpu = cpu.expect("a processor");
        let card = Device { name: card, ..cpu.clone() };
        for (lanes, rows) in [(4, 1_000), (4, 1_000), (8, 1_000_000), (8, 1_000_000)] {
            let measured = Measured::open(Some(folder.path()), CPU);
            assert_eq!(measured.begin("mlp", 8, None), Ok(lanes));
            thread::sleep(Duration::from_millis(12));
            measured.ended("mlp", lanes, 8, How::Trained { rows });
        }
        assert_eq!(suited_to(folder.path(), cpu.clone()).cohort_lanes.get(), 16);
        assert_eq!(suited_to(folder.path(), card.clone()), card);
        let cards = [0, 1].map(|number| Card { number, model: String::new() }).to_vec();
        let both = Device { name: "cuda:0,cuda:1".to_string(), cards, ..cpu.clone() };
        let wide = r#"{"mlp": {"tried": {"8": [2, 1e5], "16": [2, 1e6]}}}"#;
        fs::write(folder.path().join("widths-cuda-1.json"), wide).expect("written");
        assert_eq!(suited_to(folder.path(), both).cohort_lanes.get(), 32, "as the second found");
        assert_eq!(found_in(folder.path(), "cuda:0"), BTreeMap::new());
        let empty = tempfile::tempdir().expect("a folder");
        assert_eq!(suited_to(empty.path(), cpu.clone()), cpu);
    }
}
