//! Data files by content: a folder with one file a digest.
//!
//! A file under its digest's name is whole and verified; what is still arriving lies beside it under
//! `.part`. Nothing here is named by user text.
//!
//! Floor: shell.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use common::id::Digest;
use thiserror::Error;

/// The folder.
#[derive(Clone, Debug)]
pub struct Content {
    folder: PathBuf,
    /// What is being written now; two writers of one file would spoil it.
    arriving: Arc<Mutex<BTreeSet<Digest>>>,
}

/// Why a file cannot be kept or read.
#[derive(Debug, Error)]
pub enum ContentError {
    #[error("cannot use {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the data that arrived has another digest than announced; send it again")]
    Digest,
    #[error("more bytes arrived than were announced")]
    TooLong,
    #[error("these data are being sent by somebody else just now; try again in a moment")]
    Busy,
    #[error("there is no data with digest {digest}")]
    Absent { digest: String },
}

impl Content {
    pub fn open(folder: PathBuf) -> Result<Self, ContentError> {
        fs::create_dir_all(&folder)
            .map_err(|source| ContentError::File { path: folder.clone(), source })?;
        Ok(Self { folder, arriving: Arc::default() })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Keeps a file that is already in memory.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, ContentError> {
        let digest = Digest::of(bytes);
        if !self.has(&digest) {
            let mut arriving = self.arrive(&digest, bytes.len() as u64)?;
            arriving.restart()?;
            arriving.append(bytes)?;
            arriving.finish()?;
        }
        Ok(digest)
    }

    /// Up to `bytes_max` bytes from `offset` on, and the file's whole length.
    pub fn read(
        &self,
        digest: &Digest,
        offset: u64,
        bytes_max: usize,
    ) -> Result<(Vec<u8>, u64), ContentError> {
        let path = self.path(digest);
        let failed = |source| ContentError::File { path: path.clone(), source };
        if !path.is_file() {
            return Err(ContentError::Absent { digest: digest.hex() });
        }
        let mut file = File::open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(bytes_max as u64).read_to_end(&mut bytes).map_err(failed)?;
        Ok((bytes, length))
    }

    /// Takes up a file that arrives in pieces, where an earlier try stopped.
    pub fn arrive(&self, digest: &Digest, length: u64) -> Result<Arriving, ContentError> {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        if !arriving.insert(*digest) {
            return Err(ContentError::Busy);
        }
        drop(arriving);
        let claim = Claim { digest: *digest, arriving: Arc::clone(&self.arriving) };
        let path = self.part(digest);
        let failed = |source| ContentError::File { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        let mut there = file.metadata().map_err(failed)?.len();
        if there > length {
            file.set_len(0).map_err(failed)?;
            there = 0;
        }
        file.seek(SeekFrom::Start(there)).map_err(failed)?;
        Ok(Arriving { claim, length, there, file, path, whole: self.path(digest) })
    }

    /// Deletes a file, and what of it is still arriving.
    pub fn remove(&self, digest: &Digest) {
        for path in [self.path(digest), self.part(digest)] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%error, path = %path.display(), "cannot be deleted");
            }
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    fn part(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}.part", digest.hex()))
    }
}

/// A file that is still arriving.
#[derive(Debug)]
pub struct Arriving {
    claim: Claim,
    length: u64,
    there: u64,
    file: File,
    path: PathBuf,
    whole: PathBuf,
}

/// The right to write one file, given back when dropped.
#[derive(Debug)]
struct Claim {
    digest: Digest,
    arriving: Arc<Mutex<BTreeSet<Digest>>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}

impl Arriving {
    /// Bytes already here.
    pub fn there(&self) -> u64 {
        self.there
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        self.there += bytes.len() as u64;
        if self.there > self.length {
            return Err(ContentError::TooLong);
        }
        let path = self.path.clone();
        self.file.write_all(bytes).map_err(|source| ContentError::File { path, source })
    }

    /// Begins at the beginning, whatever an earlier try left.
    pub fn restart(&mut self) -> Result<(), ContentError> {
        let path = self.path.clone();
        let failed = |source| ContentError::File { path, source };
        self.there = 0;
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(failed)
    }

    /// Verifies the whole and gives it its name; a file that is not what was announced is removed.
    pub fn finish(self) -> Result<(), ContentError> {
        let failed = |source| ContentError::File { path: self.path.clone(), source };
        self.file.sync_all().map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        let mut file = File::open(&self.path).map_err(failed)?;
        let mut piece = vec![0u8; 1 << 16];
        loop {
            let read = file.read(&mut piece).map_err(failed)?;
            if read == 0 {
                break;
            }
            hasher.update(&piece[..read]);
        }
        if *hasher.finalize().as_bytes() != self.claim.digest.0 {
            fs::remove_file(&self.path).map_err(failed)?;
            return Err(ContentError::Digest);
        }
        fs::rename(&self.path, &self.whole).map_err(failed)?;
        let folder = self.whole.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_stopped_half_way_goes_on_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let content = Content::open(folder.path().join("data")).expect("opens");
        let bytes = b"twenty bytes of data".to_vec();
        let digest = Digest::of(&bytes);
        content.arrive(&digest, 20).expect("begins").append(&bytes[..7]).expect("writes");
        assert!(!content.has(&digest));

        let mut again = content.arrive(&digest, 20).expect("goes on");
        assert_eq!(again.there(), 7);
        again.append(&bytes[7..]).expect("writes");
        again.finish().expect("verifies");

        assert_eq!(content.read(&digest, 7, 100).expect("reads"), (bytes[7..].to_vec(), 20));
    }

    #[test]
    fn two_writers_of_one_file_do_not_meet() {
        let folder = tempfile::tempdir().expect("a folder");
        let content = Content::open(folder.path().join("data")).expect("opens");
        let digest = Digest::of(b"x");
        let first = content.arrive(&digest, 1).expect("begins");
        assert!(matches!(content.arrive(&digest, 1), Err(ContentError::Busy)));
        drop(first);
        assert!(content.arrive(&digest, 1).is_ok());
    }

    #[test]
    fn data_with_another_digest_is_not_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let content = Content::open(folder.path().join("data")).expect("opens");
        let digest = Digest::of(b"right");
        let mut arriving = content.arrive(&digest, 5).expect("begins");
        arriving.append(b"wrong").expect("writes");
        assert!(matches!(arriving.finish(), Err(ContentError::Digest)));
        assert!(!content.has(&digest));
        assert_eq!(content.arrive(&digest, 5).expect("begins").there(), 0);
    }

    #[test]
    fn more_than_announced_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let content = Content::open(folder.path().join("data")).expect("opens");
        let mut arriving = content.arrive(&Digest::of(b"x"), 1).expect("begins");
        assert!(matches!(arriving.append(b"xx"), Err(ContentError::TooLong)));
    }
}
