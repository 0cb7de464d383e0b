//! A database's bytes that are read and never written: what redb writes stays in memory.
//!
//! redb writes into every file that it opens, and its check repairs what it finds. Whoever looks at
//! a damaged file must leave it as it is: it may be the only one.
//!
//! Floor: shell.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// Where the bytes come from.
pub(super) trait Bytes: fmt::Debug + Send + Sync {
    fn length(&self) -> io::Result<u64>;
    /// All of `out`, or an error.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
}

/// What redb opens in the place of a file.
#[derive(Debug)]
pub(super) struct Overlay {
    below: Arc<dyn Bytes>,
    above: Mutex<Above>,
    /// Bytes read from below, for whoever waits.
    read: Arc<AtomicU64>,
}

struct Above {
    length: u64,
    /// So much of what is below is still to be seen.
    shown: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl Overlay {
    pub fn over(below: Arc<dyn Bytes>, read: Arc<AtomicU64>) -> io::Result<Self> {
        let length = below.length()?;
        let above = Mutex::new(Above { length, shown: length, pages: BTreeMap::new() });
        Ok(Self { below, above, read })
    }

    fn above(&self) -> MutexGuard<'_, Above> {
        self.above.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is below within this range, and zeros where nothing is.
    fn below(&self, shown: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = shown.saturating_sub(offset).min(out.len() as u64) as usize;
        let (from_below, beyond) = out.split_at_mut(there);
        beyond.fill(0);
        self.read.fetch_add(there as u64, Ordering::Relaxed);
        if from_below.is_empty() { Ok(()) } else { self.below.read(offset, from_below) }
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.above().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let above = self.above();
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > above.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = 0;
        while at < out.len() {
            let (page, within) = place(offset + at as u64);
            let length = (PAGE_BYTES - within).min(out.len() - at);
            let piece = &mut out[at..at + length];
            match above.pages.get(&page) {
                Some(bytes) => piece.copy_from_slice(&bytes[within..within + length]),
                None => self.below(above.shown, offset + at as u64, piece)?,
            }
            at += length;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut above = self.above();
        // What was cut off comes back as zeros, within the last page too.
        let (last, within) = place(length);
        above.pages.split_off(&(last + 1));
        if let Some(bytes) = above.pages.get_mut(&last) {
            bytes[within..].fill(0);
        }
        above.shown = above.shown.min(length);
        above.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut above = self.above();
        let mut at = 0;
        while at < data.len() {
            let (page, within) = place(offset + at as u64);
            let length = (PAGE_BYTES - within).min(data.len() - at);
            if !above.pages.contains_key(&page) {
                let mut bytes = vec![0; PAGE_BYTES].into_boxed_slice();
                self.below(above.shown, page * PAGE_BYTES as u64, &mut bytes)?;
                above.pages.insert(page, bytes);
            }
            if let Some(bytes) = above.pages.get_mut(&page) {
                bytes[within..within + length].copy_from_slice(&data[at..at + length]);
            }
            at += length;
        }
        Ok(())
    }
}

impl Bytes for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, offset)
    }
}

impl fmt::Debug for Above {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Above").field("length", &self.length).finish_non_exhaustive()
    }
}

/// The page of an offset, and where in it.
fn place(offset: u64) -> (u64, usize) {
    (offset / PAGE_BYTES as u64, (offset % PAGE_BYTES as u64) as usize)
}

const PAGE_BYTES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed(Vec<u8>);

    impl Bytes for Fixed {
        fn length(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            out.copy_from_slice(&self.0[offset as usize..offset as usize + out.len()]);
            Ok(())
        }
    }

    fn read(overlay: &Overlay, offset: u64, length: usize) -> Vec<u8> {
        let mut out = vec![9; length];
        overlay.read(offset, &mut out).expect("within");
        out
    }

    #[test]
    fn writes_are_seen_and_change_nothing_below() {
        let below = Arc::new(Fixed((0..10_000).map(|n| n as u8).collect()));
        let overlay = Overlay::over(below.clone(), Arc::default()).expect("made");
        overlay.write(4_090, &[7; 10]).expect("written");
        let mut expected: Vec<u8> = (4_085..4_110).map(|n| n as u8).collect();
        expected[5..15].fill(7);
        assert_eq!(read(&overlay, 4_085, 25), expected);
        assert_eq!(below.0[4_090], 4_090u32 as u8);
        assert!(overlay.read(9_999, &mut [0; 2]).is_err());
    }

    #[test]
    fn what_was_cut_off_comes_back_as_zeros() {
        let below = Arc::new(Fixed(vec![5; 10_000]));
        let overlay = Overlay::over(below, Arc::default()).expect("made");
        overlay.write(6_000, &[7; 10]).expect("written");
        overlay.set_len(6_005).expect("cut");
        overlay.set_len(12_000).expect("grown");
        assert_eq!(read(&overlay, 5_998, 10), [5, 5, 7, 7, 7, 7, 7, 0, 0, 0]);
        assert_eq!(read(&overlay, 8_000, 4_000), vec![0; 4_000]);
    }
}
