//! What can be wrong with a data folder, and what mends it.
//!
//! Floor: shell.

use std::path::PathBuf;

use common::id::{ClusterId, StudyId, TrialIndex};
use thiserror::Error;

/// One thing that is not as it was written.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Finding {
    #[error("the database file is not as it was written: {what}")]
    File { what: String },
    #[error("the database file's header leads to an older commit than its last one")]
    OlderCommit,
    #[error(
        "the database's list of free pages is not that of its pages; writing on could overwrite \
         what is kept"
    )]
    FreePages,
    #[error("its {part} cannot be read: {what}")]
    Part { part: &'static str, what: String },
    #[error("its {part} is missing")]
    Missing { part: &'static str },
    #[error("its {part} fails its checksum")]
    Checksum { part: &'static str },
    #[error("its {part} is of cluster {other}, and the folder of {cluster}")]
    OtherCluster { part: &'static str, cluster: ClusterId, other: ClusterId },
    #[error("entry {index} fails its checksum")]
    Entry { index: u64 },
    #[error("entry {index} is missing, while later ones are there")]
    Gap { index: u64 },
    #[error("entry {index} lies before the log's beginning, which is after entry {base}")]
    Stale { index: u64, base: u64 },
    #[error("the log ends at entry {last}, and {committed} were committed")]
    Short { last: u64, committed: u64 },
    #[error("entry {index} is of term {term}, which cannot be after term {before}")]
    Term { index: u64, term: u64, before: u64 },
    #[error("entry {index} cannot be read: {why}")]
    Unreadable { index: u64, why: String },
    #[error("the snapshot's state cannot be read, or its sums are not those of its trials")]
    State,
    #[error("the snapshot is of entry {index}, and its state of entry {applied}")]
    StateIndex { index: u64, applied: u64 },
    #[error("the snapshot is of entry {index}, and the log begins after entry {base}")]
    Base { index: u64, base: u64 },
    #[error("the state after entry {index} is not what the replicas found it to be")]
    Diverged { index: u64 },
    #[error("the outcome of trial {trial} of study {study} fails its checksum")]
    Row { study: StudyId, trial: TrialIndex },
    #[error("trial {trial} of study {study} has ended, and how it ended is missing")]
    RowMissing { study: StudyId, trial: TrialIndex },
    #[error("the outcome of trial {trial} of study {study} is not the one that was accepted")]
    RowDiffers { study: StudyId, trial: TrialIndex },
    #[error("there is an outcome of trial {trial} of study {study}, which has not ended")]
    RowStray { study: StudyId, trial: TrialIndex },
    #[error("its certificate authority cannot be used: {why}")]
    Authority { why: String },
    #[error("the data file {path} has not the contents of its name")]
    Data { path: PathBuf },
    #[error("the data file {path} cannot be read: {why}")]
    DataFile { path: PathBuf, why: String },
    #[error("{why}")]
    Newer { why: String },
}

impl Finding {
    /// A word for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Finding::File { .. } => "file",
            Finding::OlderCommit => "older_commit",
            Finding::FreePages => "free_pages",
            Finding::Part { .. } => "part_unreadable",
            Finding::Missing { .. } => "part_missing",
            Finding::Checksum { .. } => "part_checksum",
            Finding::OtherCluster { .. } => "other_cluster",
            Finding::Entry { .. } => "entry_checksum",
            Finding::Gap { .. } => "entry_missing",
            Finding::Stale { .. } => "entry_stale",
            Finding::Short { .. } => "log_short",
            Finding::Term { .. } => "entry_term",
            Finding::Unreadable { .. } => "entry_unreadable",
            Finding::State => "state",
            Finding::StateIndex { .. } => "state_index",
            Finding::Base { .. } => "base",
            Finding::Diverged { .. } => "diverged",
            Finding::Row { .. } => "outcome_checksum",
            Finding::RowMissing { .. } => "outcome_missing",
            Finding::RowDiffers { .. } => "outcome_differs",
            Finding::RowStray { .. } => "outcome_stray",
            Finding::Authority { .. } => "authority",
            Finding::Data { .. } => "data_contents",
            Finding::DataFile { .. } => "data_unreadable",
            Finding::Newer { .. } => "newer",
        }
    }

    /// What to do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Finding::Authority { .. } | Finding::OtherCluster { part: AUTHORITY, .. } => {
                "copy the folder `ca` from another replica of the cluster, or from a copy of this \
                 folder"
            }
            Finding::Data { .. } | Finding::DataFile { .. } => {
                "remove that file; a replica fetches it from another one, and with one replica it \
                 comes again with `coordinator submit`"
            }
            Finding::Newer { .. } => "install the version that wrote it",
            _ => {
                "with other replicas: `coordinator members remove` this one, and start it in an \
                 empty folder with --join. Alone: put a copy of the whole folder in its place"
            }
        }
    }
}

/// What the certificate authority is called here.
pub(super) const AUTHORITY: &str = "certificate authority";
