//! An agent's folder: its certificate, its spool and its cache of data files.
//!
//! One process at a time owns a folder, by a lock that ends with the process.
//!
//! Floor: shell.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A folder that this process alone uses, until the value is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder, readable by its owner alone, and takes its lock.
    pub fn claim(path: &Path) -> Result<Self, FolderError> {
        let unusable = |source| FolderError::Unusable { path: path.to_path_buf(), source };
        make_private(path).map_err(unusable)?;
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        let lock = options.open(path.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FolderError::Taken { path: path.to_path_buf() }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn spool(&self) -> PathBuf {
        self.path.join("spool.log")
    }

    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub fn programs(&self) -> PathBuf {
        self.path.join("programs")
    }
}

/// Why a folder cannot be an agent's.
#[derive(Debug, Error)]
pub enum FolderError {
    #[error("another agent uses the folder {path}; give this one its own with --folder")]
    Taken { path: PathBuf },
    #[error("the folder {path} cannot be used")]
    Unusable { path: PathBuf, source: io::Error },
}

#[cfg(unix)]
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_private(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_is_refused_and_free_again_afterwards() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("agent");
        let first = Folder::claim(&path).expect("free");
        assert!(matches!(Folder::claim(&path), Err(FolderError::Taken { .. })));
        drop(first);
        assert!(Folder::claim(&path).is_ok());
    }
}
