//! Opens a data folder: its identity, its certificate authority, its log; and starts the node on it.
//!
//! A new folder becomes a cluster of one replica. An old one goes on where its log ends.
//!
//! Floor: shell.

use std::fs;
use std::num::NonZeroU64;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use common::id::{ClusterId, ReplicaId};
use common::wire::codec;
use link::{Authority, LinkError};
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

use crate::content::{Content, ContentError};
use crate::disk::{Disk, DiskError, FORMAT, FolderIdentity};
use crate::driver::{self, DriverError, Handle};
use crate::node::{Node, Settings};
use crate::replica::log::Voters;
use crate::replica::{Replica, ReplicaError};
use crate::scheduler::state::State;

/// A running coordinator in this process.
pub struct Cluster {
    pub handle: Handle,
    pub identity: FolderIdentity,
    pub folder: PathBuf,
    /// Whether the folder was made just now.
    pub is_new: bool,
}

/// Why a data folder cannot be opened.
#[derive(Debug, Error)]
pub enum ClusterError {
    #[error("cannot make the folder {path}: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error("the cluster's certificates cannot be used: {source}")]
    Authority { source: LinkError },
    #[error("{path} has a log but no certificate authority; restore its folder `ca`")]
    NoAuthority { path: PathBuf },
    #[error("the snapshot in {path} cannot be read; replace this replica or restore a backup")]
    Snapshot { path: PathBuf },
    #[error("the system gives no random bytes")]
    Random,
}

/// Opens `folder` and starts the node. Needs a tokio runtime around it.
pub fn open(folder: &Path, settings: Settings) -> Result<Cluster, ClusterError> {
    let folder_error = |source| ClusterError::Folder { path: folder.to_path_buf(), source };
    fs::create_dir_all(folder).map_err(folder_error)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(folder_error)?;
    let fresh = FolderIdentity {
        format: FORMAT,
        cluster: ClusterId(random()?),
        replica: ReplicaId(NonZeroU64::MIN),
    };
    let (disk, identity) = Disk::open(folder, fresh)?;
    let is_new = identity == fresh;
    let replica_number = identity.replica.0.get();
    let alone = Voters { voters: vec![replica_number], learners: Vec::new() };
    let recovered = disk.recover(alone)?;
    // Nothing was ever logged: this start is the first that gets so far.
    let is_empty = recovered.snapshot.index == 0 && recovered.entries.is_empty();
    let authority = authority(folder, &identity, is_empty)?;
    let applied = recovered.snapshot.index;
    let state = if recovered.snapshot.state.is_empty() {
        State::new(identity.cluster)
    } else {
        codec::decode(&recovered.snapshot.state)
            .map_err(|_| ClusterError::Snapshot { path: folder.to_path_buf() })?
    };
    let replica = Replica::new(identity.replica, recovered)?;
    let run = u64::from_be_bytes(random()?);
    let node = Node::new(replica, state, applied, settings, run);
    let content = Content::open(folder.join("data"))?;
    let handle = driver::start(node, Arc::new(disk), content, Arc::new(authority))?;
    Ok(Cluster { handle, identity, folder: folder.to_path_buf(), is_new })
}

fn authority(
    folder: &Path,
    identity: &FolderIdentity,
    is_empty: bool,
) -> Result<Authority, ClusterError> {
    let path = folder.join("ca");
    let failed = |source| ClusterError::Authority { source };
    if let Some(authority) = Authority::load(&path).map_err(failed)? {
        return Ok(authority);
    }
    if !is_empty {
        return Err(ClusterError::NoAuthority { path: folder.to_path_buf() });
    }
    let authority = Authority::create(identity.cluster, SystemTime::now()).map_err(failed)?;
    authority.save(&path).map_err(failed)?;
    Ok(authority)
}

fn random<const N: usize>() -> Result<[u8; N], ClusterError> {
    let mut bytes = [0u8; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| ClusterError::Random)?;
    Ok(bytes)
}
