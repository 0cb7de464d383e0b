//! A folder that replicas share, in which each says where it is.
//!
//! The log knows where replicas were; of two that moved at once neither finds the other by it. What
//! stands here is only tried: a replica is believed for its certificate, wherever it answers.
//!
//! Floor: shell.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use common::id::ReplicaId;

/// The folder.
#[derive(Clone, Debug)]
pub struct Places(PathBuf);

impl Places {
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self(folder.to_path_buf()))
    }

    /// Says where this replica is: whole or not at all, since others may be reading.
    pub fn announce(&self, own: ReplicaId, address: &str) -> io::Result<()> {
        let beside = self.0.join(format!("{own}.new"));
        fs::write(&beside, format!("{address}\n"))?;
        fs::rename(&beside, self.0.join(own.to_string()))
    }

    /// Where a replica has said that it is.
    pub fn of(&self, replica: ReplicaId) -> Option<String> {
        let text = fs::read_to_string(self.0.join(replica.to_string())).ok()?;
        Some(text.trim().to_string()).filter(|address| !address.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn what_one_replica_announces_the_others_find() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::open(&dir.path().join("places")).unwrap();
        let id = |number| ReplicaId(NonZeroU64::new(number).unwrap());
        assert_eq!(places.of(id(2)), None);
        places.announce(id(2), "node7:20001").unwrap();
        places.announce(id(2), "node8:20002").unwrap();
        assert_eq!(places.of(id(2)).as_deref(), Some("node8:20002"));
        assert_eq!(places.of(id(3)), None);
    }
}
