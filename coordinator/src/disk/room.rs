//! How much the disk still takes, and a file that keeps room for outcomes.
//!
//! When the disk is nearly full nothing new is begun; the reserve is given up when even that is not
//! enough, so that what was trained can still be kept. When there is room again the reserve is made
//! anew. Thresholds are shares of the reserve, which is a share of the disk: small disks work too.
//!
//! Floor: shell.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes of the file system that holds a folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Space {
    pub free: u64,
    pub total: u64,
}

impl Space {
    /// Of the file system that holds `folder`.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(folder)?;
        let block = found.f_frsize.max(1);
        Ok(Self { free: found.f_bavail * block, total: found.f_blocks * block })
    }
}

/// The reserve of one data folder.
#[derive(Debug)]
pub struct Reserve {
    folder: PathBuf,
    bytes: u64,
    held: bool,
    is_full: bool,
}

/// What a look at the disk says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Look {
    pub space: Space,
    /// Nothing new may be begun.
    pub is_full: bool,
    /// Not even outcomes have room.
    pub is_exhausted: bool,
}

impl Reserve {
    pub fn new(folder: &Path) -> io::Result<Self> {
        let total = Space::of(folder)?.total;
        let bytes = (total / RESERVE_SHARE).clamp(RESERVE_MIN, RESERVE_MAX);
        let held = fs::metadata(folder.join(FILE)).is_ok_and(|file| file.len() == bytes);
        Ok(Self { folder: folder.to_path_buf(), bytes, held, is_full: !held })
    }

    /// Looks at the disk; gives up the reserve, or makes it anew.
    pub fn look(&mut self) -> io::Result<Look> {
        let mut space = Space::of(&self.folder)?;
        let low = self.bytes / 2;
        if self.held && space.free < low / 2 {
            self.give_up()?;
            space = Space::of(&self.folder)?;
        } else if !self.held && space.free > self.bytes + 2 * low {
            self.make()?;
            space = Space::of(&self.folder)?;
        }
        // Once full, it takes more than was missing to be not full: no going to and fro.
        self.is_full = if self.is_full {
            !(self.held && space.free > low + low / 2)
        } else {
            !self.held || space.free < low
        };
        let is_exhausted = !self.held && space.free < self.bytes / 16;
        Ok(Look { space, is_full: self.is_full, is_exhausted })
    }

    fn make(&mut self) -> io::Result<()> {
        let path = self.folder.join(FILE);
        // Written, since a file of zeros that was never written takes no room.
        let written = File::create(&path).and_then(|mut file| {
            let piece = vec![0x5eu8; 1 << 20];
            let mut left = self.bytes;
            while left > 0 {
                let some = left.min(piece.len() as u64) as usize;
                file.write_all(&piece[..some])?;
                left -= some as u64;
            }
            file.sync_all()
        });
        match written {
            Ok(()) => {
                self.held = true;
                Ok(())
            }
            Err(error) => {
                let _ = fs::remove_file(&path);
                if error.kind() == io::ErrorKind::StorageFull { Ok(()) } else { Err(error) }
            }
        }
    }

    fn give_up(&mut self) -> io::Result<()> {
        self.held = false;
        self.is_full = true;
        match fs::remove_file(self.folder.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

const FILE: &str = "reserve";
const RESERVE_SHARE: u64 = 20;
const RESERVE_MIN: u64 = 2 << 20;
const RESERVE_MAX: u64 = 64 << 20;
