//! Reading a backup, part by part; and whether all of it is as it was written.
//!
//! Floor: shell.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use common::id::Digest;
use common::wire::codec;

use super::BackupError;
use super::format::{About, FORMAT, MAGIC, PART_BYTES_MAX, Part};

/// What a sound backup holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    pub about: About,
    pub outcomes: u64,
    pub bytes: u64,
    /// Of all of it but the end: names this backup.
    pub digest: Digest,
}

/// Reads all of a file; `read` is told of bytes as they are read. Slow: for a thread of its own.
pub fn check(path: &Path, mut read: impl FnMut(u64)) -> Result<Contents, BackupError> {
    let mut parts = Parts::open(path)?;
    let about = parts.about()?;
    let mut outcomes = 0;
    loop {
        let before = parts.bytes;
        let part = parts.next()?;
        read(parts.bytes - before);
        match part {
            Part::Rows(rows) => outcomes += rows.len() as u64,
            Part::End { rows, digest } => {
                if rows != outcomes {
                    return Err(parts.damaged("outcomes are missing"));
                }
                return Ok(Contents { about, outcomes, bytes: parts.bytes, digest });
            }
            Part::About(_) => return Err(parts.damaged("it begins twice")),
            Part::Authority(_) | Part::Data { .. } | Part::State(_) => {}
        }
    }
}

/// The parts of a file, in order. The end is only given when the digest is right and nothing follows.
pub(super) struct Parts {
    path: PathBuf,
    file: BufReader<File>,
    hasher: blake3::Hasher,
    /// Read so far.
    bytes: u64,
}

impl Parts {
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let failed = |source| BackupError::File { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(failed)?;
        let (path, file) = (path.to_path_buf(), BufReader::with_capacity(1 << 20, file));
        let mut parts = Self { path, file, hasher: blake3::Hasher::new(), bytes: 0 };
        match parts.take(MAGIC.len()) {
            Ok(magic) if magic == MAGIC => Ok(parts),
            Ok(_) | Err(BackupError::Damaged { .. }) => {
                Err(BackupError::NoBackup { path: parts.path })
            }
            Err(error) => Err(error),
        }
    }

    /// The first part.
    pub fn about(&mut self) -> Result<About, BackupError> {
        let Part::About(about) = self.next()? else {
            return Err(self.damaged("it does not say what it is of"));
        };
        if about.format != FORMAT {
            let (path, format, version) = (self.path.clone(), about.format, about.version);
            return Err(BackupError::Format { path, format, version });
        }
        Ok(about)
    }

    pub fn next(&mut self) -> Result<Part, BackupError> {
        let before = self.hasher.clone();
        let length = self.take(4)?;
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if length > PART_BYTES_MAX {
            return Err(self.damaged("a length is not credible"));
        }
        let bytes = self.take(length)?;
        let unread = self.damaged("a part cannot be read");
        let part: Part = codec::decode(&bytes).map_err(|_| unread)?;
        if let Part::End { digest, .. } = &part {
            if digest.0 != *before.finalize().as_bytes() {
                return Err(self.damaged("its digest is another one"));
            }
            let mut more = [0];
            let failed = |source| BackupError::File { path: self.path.clone(), source };
            if self.file.read(&mut more).map_err(failed)? > 0 {
                return Err(self.damaged("something follows its end"));
            }
        }
        Ok(part)
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, BackupError> {
        let mut bytes = Vec::new();
        // No more than there is: a length that is wrong makes nothing large.
        let read = (&mut self.file).take(length as u64).read_to_end(&mut bytes);
        read.map_err(|source| BackupError::File { path: self.path.clone(), source })?;
        if bytes.len() < length {
            return Err(self.damaged("it ends too early"));
        }
        self.hasher.update(&bytes);
        self.bytes += length as u64;
        Ok(bytes)
    }

    pub fn damaged(&self, what: &'static str) -> BackupError {
        BackupError::Damaged { path: self.path.clone(), what }
    }
}
