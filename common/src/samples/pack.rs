//! A folder as one file: its files by name, one behind the other.
//!
//! The same files give the same bytes, whatever the system lists first and whenever they were
//! written. Names ascend and are paths inside the folder, and lengths are compared with what is
//! there, so that reading allocates nothing and no name leads elsewhere: a pack is read where it
//! lies and never unpacked to a disk. Deliberately absent: compression, times, rights, links.
//!
//! Floor: common.

use super::SampleError;
use crate::name::is_inner_path;

/// Puts files together.
#[derive(Clone, Debug)]
pub struct Pack {
    bytes: Vec<u8>,
    last: String,
}

impl Default for Pack {
    fn default() -> Self {
        Self { bytes: MAGIC.to_vec(), last: String::new() }
    }
}

impl Pack {
    /// With room for files of so many bytes and names together.
    pub fn with_room(files: usize, bytes: usize) -> Self {
        let room = bytes.saturating_add(files.saturating_mul(ENTRY)).saturating_add(MAGIC.len());
        let mut pack = Self { bytes: Vec::with_capacity(room), last: String::new() };
        pack.bytes.extend(MAGIC);
        pack
    }

    /// Length of a pack of so many files, whose names and contents have so many bytes.
    pub fn length(files: u64, bytes: u64) -> u64 {
        files.saturating_mul(ENTRY as u64).saturating_add(bytes).saturating_add(MAGIC.len() as u64)
    }

    /// Adds a file. `false` where its name does not follow the last one's or is no inner path.
    #[must_use]
    pub fn add(&mut self, name: &str, content: &[u8]) -> bool {
        if name <= self.last.as_str() || !is_inner_path(name) {
            return false;
        }
        self.bytes.extend((name.len() as u32).to_le_bytes());
        self.bytes.extend((content.len() as u64).to_le_bytes());
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(content);
        self.last = name.to_string();
        true
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Whether bytes are a folder's.
pub fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The files of a folder, by ascending name.
///
/// Errors: bytes that are no folder's, or end early.
pub fn unpack(bytes: &[u8]) -> Result<Vec<(&str, &[u8])>, SampleError> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(SampleError::NoFolder)?;
    let mut files: Vec<(&str, &[u8])> = Vec::new();
    while !rest.is_empty() {
        let (name, content, behind) = entry(rest).ok_or(SampleError::Pack)?;
        let follows = files.last().is_none_or(|(last, _)| *last < name);
        if !follows || !is_inner_path(name) {
            return Err(SampleError::Pack);
        }
        files.push((name, content));
        rest = behind;
    }
    Ok(files)
}

fn entry(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let (name, rest) = bytes.split_first_chunk::<4>()?;
    let (content, rest) = rest.split_first_chunk::<8>()?;
    let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*name) as usize)?;
    let length = usize::try_from(u64::from_le_bytes(*content)).ok()?;
    let (content, rest) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(name).ok()?, content, rest))
}

const MAGIC: &[u8] = b"seedsweep folder 1\n";
/// Bytes of an entry beside its name and content.
const ENTRY: usize = 4 + 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn packed() -> Vec<u8> {
        let mut pack = Pack::default();
        assert!(pack.add("a/1.png", b"one") && pack.add("b", b""));
        pack.finish()
    }

    #[test]
    fn files_come_back_by_name() {
        let bytes = packed();
        assert!(is_packed(&bytes));
        assert_eq!(unpack(&bytes).unwrap(), [("a/1.png", &b"one"[..]), ("b", &b""[..])]);
        assert_eq!(Pack::length(2, 3 + 7 + 1), bytes.len() as u64);
    }

    #[test]
    fn names_must_ascend_and_stay_inside() {
        let mut pack = Pack::default();
        assert!(pack.add("b", b""));
        for name in ["b", "a", "c/../../d", "/e", ""] {
            assert!(!pack.add(name, b""), "{name}");
        }
    }

    #[test]
    fn every_cut_and_every_false_length_is_refused() {
        let bytes = packed();
        let ends = [MAGIC.len(), bytes.len() - ENTRY - 1];
        for end in (0..bytes.len()).filter(|end| !ends.contains(end)) {
            assert!(unpack(&bytes[..end]).is_err(), "cut at {end}");
        }
        for place in MAGIC.len()..MAGIC.len() + ENTRY {
            let mut false_length = bytes.clone();
            false_length[place] = 0xff;
            assert!(unpack(&false_length).is_err(), "{place}");
        }
    }
}
