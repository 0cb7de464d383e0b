//! The agent's spool: any file, and the file of an agent with its bytes changed.
//!
//! What is read of a changed file is what some first frames of it said, or it is refused.
//!
//! Floor: wiring.

use std::path::Path;
use std::sync::OnceLock;

use agent::spool::{Recovered, Spool};

use super::{Read, kept, values};

/// The first byte says whether the others are a file, or changes of a known one.
pub(super) fn run(input: &[u8]) -> Read {
    let (how, rest) = input.split_first()?;
    if how % 2 == 0 { any(rest) } else { changed(rest) }
}

fn any(bytes: &[u8]) -> Read {
    let recovered = read(bytes)?;
    let whole = bytes.len() - recovered.cut_bytes as usize;
    let again = read(&bytes[..whole]).expect("what was kept is whole");
    assert!(again.cut_bytes == 0 && again.crashed == recovered.crashed);
    assert!(format!("{:?}", again.reports) == format!("{:?}", recovered.reports));
    kept(recovered)
}

/// Each four bytes: a place, what is done there, and with what.
fn changed(edits: &[u8]) -> Read {
    let (file, prefixes) = sample();
    let mut bytes = file.clone();
    for edit in edits.chunks_exact(4).take(EDITS_MAX) {
        let place = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % (bytes.len() + 1);
        match edit[2] % 4 {
            0 if place < bytes.len() => bytes[place] ^= edit[3],
            1 => bytes.truncate(place),
            2 => bytes.insert(place, edit[3]),
            3 => drop(bytes.drain(place..(place + usize::from(edit[3])).min(bytes.len()))),
            _ => {}
        }
    }
    let recovered = read(&bytes)?;
    let said = Recovered { cut_bytes: 0, ..recovered };
    assert!(prefixes.contains(&said), "{said:?} was never written");
    kept(said)
}

fn read(bytes: &[u8]) -> Option<Recovered> {
    Spool::read(bytes, Path::new("spool.log")).ok()
}

/// A file, and what it said after each of its frames.
fn sample() -> &'static (Vec<u8>, Vec<Recovered>) {
    static SAMPLE: OnceLock<(Vec<u8>, Vec<Recovered>)> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let file = values::spool();
        let mut prefixes: Vec<Recovered> = Vec::new();
        for end in 0..=file.len() {
            let said = read(&file[..end]).expect("a cut file is read");
            let said = Recovered { cut_bytes: 0, ..said };
            if !prefixes.contains(&said) {
                prefixes.push(said);
            }
        }
        assert_eq!(prefixes.len(), 5, "four frames, and none");
        (file, prefixes)
    })
}

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let file = values::spool();
    let behind = |how: u8, bytes: &[u8]| [&[how], bytes].concat();
    vec![
        ("file".to_string(), behind(0, &file)),
        ("torn".to_string(), behind(0, &file[..file.len() - 3])),
        ("begun".to_string(), behind(0, &file[..8])),
        ("flip".to_string(), behind(1, &[0, 40, 0, 1])),
        ("cut".to_string(), behind(1, &[1, 0, 1, 0, 0, 90, 2, 7])),
        ("move".to_string(), behind(1, &[0, 20, 2, 0, 0, 70, 3, 1])),
    ]
}

const EDITS_MAX: usize = 64;
