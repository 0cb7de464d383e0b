//! All of a cluster in one file: studies, outcomes, ledgers, members, data files, and the certificate
//! authority.
//!
//! A file is of one moment: state and outcomes belong to one entry of the log. It ends with a digest
//! of everything before, so that one that is cut short or changed is refused before anything is
//! written. It holds the authority's key: whoever has it can let anybody in. Deliberately absent:
//! encryption, which is for whoever keeps the file.
//!
//! Floor: shell.

mod format;
mod reading;
mod restoring;
mod sending;
mod source;
#[cfg(test)]
mod tests;
mod writing;

use std::path::PathBuf;

use common::wire::codec::CodecError;
use link::LinkError;
use thiserror::Error;

use crate::content::ContentError;
use crate::disk::DiskError;

pub use format::{About, FORMAT};
pub use reading::{Contents, check};
pub use restoring::{Restored, restore};
pub use sending::send;
pub use source::Source;
pub use writing::write;

/// Why there is no backup, or nothing was restored from it.
#[derive(Debug, Error)]
pub enum BackupError {
    #[error("cannot use {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the backup cannot be written: {source}")]
    Write { source: std::io::Error },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error("the cluster's certificates cannot be used: {source}")]
    Authority { source: LinkError },
    #[error("{path} has a log but no certificate authority; restore its folder `ca`")]
    NoAuthority { path: PathBuf },
    #[error("the data of study {study} are not here; back up another replica, or try again later")]
    NoData { study: String },
    #[error("a part of the backup cannot be encoded")]
    Encode { source: CodecError },
    #[error("{path} is no backup of seedsweep")]
    NoBackup { path: PathBuf },
    #[error("{path} is damaged or cut short ({what}): nothing was restored; use another backup")]
    Damaged { path: PathBuf, what: &'static str },
    #[error(
        "{path} is of format {format}, this program knows {FORMAT}; install the version that wrote it, \
         {version}, or a newer one"
    )]
    Format { path: PathBuf, format: u16, version: String },
    #[error(
        "{path} is at level {level} of the log's entries, this program knows {known}; install the \
         version that wrote it, {version}, or a newer one"
    )]
    Level { path: PathBuf, level: u16, known: u16, version: String },
    #[error("{path} is not empty; name a folder that is, or is not there yet")]
    NotEmpty { path: PathBuf },
    #[error("the log of {path} cannot be replayed: {why}; see `coordinator verify-log`")]
    Replay { path: PathBuf, why: String },
}
