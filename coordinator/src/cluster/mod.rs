//! Opens a data folder: its identity, its certificate authority, its log; and starts the node on it.
//!
//! A new folder becomes a cluster of one replica, or, with a token, a further replica of a cluster
//! that there is, or one of several that find each other. An old one goes on where its log ends.
//!
//! Floor: shell.

mod find;
mod join;
mod succeed;

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::num::NonZeroU64;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use common::id::{ClusterId, ReplicaId};
use common::wire::message::Role;
use link::limits::AUTHORITY_VALID;
use link::{Authority, FoundingSecret, JoinToken, LinkError};
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

use crate::content::{Content, ContentError};
use crate::disk::{Disk, DiskError, FORMAT, FolderIdentity, Making, Reserve};
use crate::driver::{self, DriverError, Handle, Parts, wall_clock};
use crate::node::{Node, Settings};
use crate::parked::Parked;
use crate::peers::Places;
use crate::raft_log;
use crate::replica::log::Recovered;
use crate::replica::{Replica, ReplicaError};
use crate::scheduler::state::{State, Token};

use find::Found;

pub use join::JoinError;
pub use succeed::keep_to_names;

/// A running coordinator in this process.
pub struct Cluster {
    pub handle: Handle,
    pub identity: FolderIdentity,
    pub folder: PathBuf,
    /// Whether the folder was made just now.
    pub is_new: bool,
}

/// How a folder is opened.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    pub settings: Settings,
    /// Where other replicas reach this one; `None`: it will never have any.
    pub address: Option<String>,
    /// Replicas of the cluster that a new folder joins.
    pub join: Option<Join>,
    /// With whom a new folder finds or founds its cluster.
    pub named: Option<Named>,
    /// A folder that all replicas share, in which each says where it is.
    pub places: Option<PathBuf>,
}

/// How a new folder becomes a further replica.
#[derive(Clone, Debug)]
pub struct Join {
    pub addresses: Vec<String>,
    /// `None`: an earlier try has used it.
    pub token: Option<JoinToken>,
}

/// The replicas of a cluster that find each other by name.
#[derive(Clone, Debug)]
pub struct Named {
    /// All of them, as HOST:PORT. The first one founds, when none of them has a cluster.
    pub cluster: Vec<String>,
    /// Which of them this one is.
    pub me: String,
    pub secret: FoundingSecret,
    /// Where this one is asked whether it has a cluster.
    pub socket: Arc<UdpSocket>,
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
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("the cluster's certificates cannot be used: {source}")]
    Authority { source: LinkError },
    #[error("{path} has a log but no certificate authority; restore its folder `ca`")]
    NoAuthority { path: PathBuf },
    #[error(
        "the snapshot in {path} cannot be read; with other replicas, remove this one and start it in \
         an empty folder with --join; alone, put a copy of the whole folder in its place"
    )]
    Snapshot { path: PathBuf },
    #[error(
        "{path} is at level {level} of the log's entries, this program may use {known}; install the \
         version that wrote it, or start it without --level"
    )]
    Level { path: PathBuf, level: u16, known: u16 },
    #[error(
        "{path} began to join a cluster and did not end: start it with --join ADDR again, or name an \
         empty folder"
    )]
    HalfJoined { path: PathBuf },
    #[error(
        "a restore into {path} was stopped before its end: remove the folder, and run `coordinator \
         restore` again"
    )]
    HalfRestored { path: PathBuf },
    #[error("the socket cannot be used twice: {source}")]
    Socket { source: std::io::Error },
    #[error("cannot say in {path} where this replica is: {source}")]
    Places { path: PathBuf, source: std::io::Error },
    #[error("the system gives no random bytes")]
    Random,
}

/// Opens `folder` and starts the node. Needs a tokio runtime around it.
pub async fn open(folder: &Path, opening: Opening) -> Result<Cluster, ClusterError> {
    let folder_error = |source| ClusterError::Folder { path: folder.to_path_buf(), source };
    fs::create_dir_all(folder).map_err(folder_error)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(folder_error)?;
    if Making::is_marked(folder) {
        return Err(ClusterError::HalfRestored { path: folder.to_path_buf() });
    }
    let is_new = !Disk::is_in(folder);
    let mut hints = read_hints(folder);
    if let (true, Some(named)) = (is_new, &opening.named) {
        match find::find(folder, named, opening.settings.level).await? {
            Found::Nobody => begin(folder, &opening)?,
            Found::Joined(replicas) => hints = replicas,
        }
    } else if let (true, Some(join)) = (is_new, &opening.join) {
        let address = opening.address.clone().unwrap_or_default();
        hints = join::join(folder, join, address, opening.settings.level).await?;
    } else if is_new {
        if join::began(folder) {
            return Err(ClusterError::HalfJoined { path: folder.to_path_buf() });
        }
        begin(folder, &opening)?;
    }
    start(folder, opening, is_new, hints)
}

/// Makes the first replica of a new cluster.
fn begin(folder: &Path, opening: &Opening) -> Result<(), ClusterError> {
    let authority = authority(folder, opening.named.as_ref())?;
    let (cluster, replica) = (authority.cluster(), ReplicaId(NonZeroU64::MIN));
    let mut state = State::new(cluster, replica, opening.address.clone(), opening.settings.level);
    if let Some(named) = &opening.named {
        admit_by_secret(&mut state, &named.secret)?;
    }
    state.pass(1);
    let path = || folder.to_path_buf();
    let bytes = state.encode().map_err(|_| ClusterError::Snapshot { path: path() })?;
    let identity = FolderIdentity { format: FORMAT, cluster, replica };
    Ok(Disk::create(folder, identity, &Recovered::first(replica.0.get(), bytes))?)
}

/// The authority of a new cluster, kept.
fn authority(folder: &Path, named: Option<&Named>) -> Result<Authority, ClusterError> {
    let failed = |source| ClusterError::Authority { source };
    let (ca, now) = (folder.join("ca"), SystemTime::now());
    let authority = match named {
        // What is left of an earlier try signed nothing: there is no log.
        Some(named) => Authority::found(ClusterId(random()?), now, &named.secret),
        // A first start that was killed may have made it.
        None => match Authority::load(&ca).map_err(failed)? {
            Some(authority) => return Ok(authority),
            None => Authority::create(ClusterId(random()?), now),
        },
    };
    let authority = authority.map_err(failed)?;
    authority.save(&ca).map_err(failed)?;
    Ok(authority)
}

/// Who has the secret's tokens is let in from the beginning.
fn admit_by_secret(state: &mut State, secret: &FoundingSecret) -> Result<(), ClusterError> {
    for role in [Role::Agent, Role::Peer] {
        let token = secret.token(role).map_err(|source| ClusterError::Authority { source })?;
        let admitted = Token {
            secret_hash: token.secret_hash(),
            role,
            uses_left: None,
            expires: wall_clock().plus_ms(AUTHORITY_VALID.as_millis() as u64),
            label: FOUNDING_LABEL.to_string(),
        };
        state.tokens.insert(token.id, admitted);
    }
    Ok(())
}

fn start(
    folder: &Path,
    opening: Opening,
    is_new: bool,
    hints: BTreeMap<ReplicaId, String>,
) -> Result<Cluster, ClusterError> {
    let Opening { settings, address, places, .. } = opening;
    let path = || folder.to_path_buf();
    let (disk, identity) = Disk::open(folder)?;
    let recovered = disk.recover()?;
    let authority = Authority::load(&folder.join("ca"))
        .map_err(|source| ClusterError::Authority { source })?
        .ok_or_else(|| ClusterError::NoAuthority { path: path() })?;
    let state = match recovered.snapshot.state.as_slice() {
        // The leader has not sent its first snapshot yet.
        [] => State::empty(identity.cluster),
        bytes => State::decode(bytes).ok_or_else(|| ClusterError::Snapshot { path: path() })?,
    };
    if state.level > settings.level {
        let (level, known) = (state.level, settings.level);
        return Err(ClusterError::Level { path: path(), level, known });
    }
    let logger = raft_log::logger();
    let replica = Replica::new(identity.replica, recovered, settings.timing, &logger)?;
    let run = u64::from_be_bytes(random()?);
    let node = Node::new(replica, state, settings, run);
    let content = Content::open(folder.join("data"))?;
    let parked = Parked::open(folder.join("checkpoints"))?;
    let reserve = Reserve::new(folder)
        .inspect_err(|error| tracing::warn!(%error, "the disk's free space cannot be read"))
        .ok();
    let address = address.unwrap_or_default();
    let places = places.map(|places| announced(&places, identity.replica, &address)).transpose()?;
    let handle = driver::start(Parts {
        node,
        disk: Arc::new(disk),
        content,
        parked,
        authority: Arc::new(authority),
        own: identity.replica,
        address,
        reserve,
        hints,
        places,
    })?;
    tokio::spawn(remember_replicas(handle.clone(), folder.to_path_buf()));
    Ok(Cluster { handle, identity, folder: folder.to_path_buf(), is_new })
}

/// Says in the shared folder where this replica is.
fn announced(folder: &Path, own: ReplicaId, address: &str) -> Result<Places, ClusterError> {
    let failed = |source| ClusterError::Places { path: folder.to_path_buf(), source };
    let places = Places::open(folder).map_err(failed)?;
    places.announce(own, address).map_err(failed)?;
    Ok(places)
}

/// Keeps on disk where replicas are, whenever that changes.
async fn remember_replicas(handle: Handle, folder: PathBuf) {
    let mut leadership = handle.leadership();
    let mut kept = Vec::new();
    loop {
        let replicas = handle.replicas().await;
        if replicas.len() > 1 && replicas != kept {
            match keep_hints(&folder, &replicas) {
                Ok(()) => kept = replicas,
                Err(error) => tracing::warn!(%error, "where replicas are could not be kept"),
            }
        }
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

/// Where replicas were when this one last knew.
fn read_hints(folder: &Path) -> BTreeMap<ReplicaId, String> {
    let text = fs::read_to_string(folder.join(REPLICAS_FILE)).unwrap_or_default();
    let hint = |line: &str| {
        let (id, address) = line.split_once(' ')?;
        Some((id.parse().ok()?, address.to_string()))
    };
    text.lines().filter_map(hint).collect()
}

/// Keeps where replicas are, for the next start: a new one must find the others before its first
/// snapshot has come.
pub fn keep_hints(folder: &Path, replicas: &[(ReplicaId, String)]) -> std::io::Result<()> {
    let lines: Vec<String> =
        replicas.iter().map(|(id, address)| format!("{id} {address}\n")).collect();
    let beside = folder.join(format!("{REPLICAS_FILE}.new"));
    fs::write(&beside, lines.concat())?;
    fs::rename(&beside, folder.join(REPLICAS_FILE))
}

fn random<const N: usize>() -> Result<[u8; N], ClusterError> {
    let mut bytes = [0u8; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| ClusterError::Random)?;
    Ok(bytes)
}

/// Of the tokens that are made from the secret.
const FOUNDING_LABEL: &str = "founding-secret";
const REPLICAS_FILE: &str = "replicas";
