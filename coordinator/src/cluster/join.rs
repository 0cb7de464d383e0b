//! A new folder becomes a further replica: a certificate for its token, then the cluster's authority.
//!
//! Each step is kept before the next one, so that a join that was killed goes on where it was.
//!
//! Floor: shell.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::id::ReplicaId;
use common::wire::message::peer::{Enrolment, Private};
use common::wire::message::{Open, Role};
use link::{Authority, Identity, JoinToken, LinkError, Secret};
use thiserror::Error;

use super::{Join, keep_hints};
use crate::disk::{Disk, DiskError, FORMAT, FolderIdentity};
use crate::driver::replica_of;
use crate::peers::jittered;
use crate::replica::log::Recovered;

/// Why a folder is no replica of the cluster.
#[derive(Debug, Error)]
pub enum JoinError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("cannot keep {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error(
        "this token is for {role}s; make one with `coordinator token create --role peer --uses 1`"
    )]
    Role { role: &'static str },
    #[error(
        "a new replica needs a token: make one on another replica with `coordinator token create \
         --role peer --uses 1` and give it with --token, --token-file or SEEDSWEEP_PEER_TOKEN"
    )]
    NoToken,
    #[error("the cluster did not take this replica: {why}")]
    Refused { why: String },
    #[error("no leader was found in {seconds} s; see `coordinator members` on another replica")]
    NoLeader { seconds: u64 },
}

/// Whether a join was begun here and not ended.
pub fn began(folder: &Path) -> bool {
    folder.join(PEER_FOLDER).exists()
}

/// Makes `folder` a replica, reached at `address`; where the others are.
pub async fn join(
    folder: &Path,
    join: &Join,
    address: String,
    level: u16,
) -> Result<BTreeMap<ReplicaId, String>, JoinError> {
    let own = folder.join(PEER_FOLDER);
    let identity = match Identity::load(&own)? {
        Some(identity) => identity,
        None => {
            let token = join.token.as_ref().ok_or(JoinError::NoToken)?;
            let identity = admitted(join, token, &own).await?;
            let role = identity.who()?.role;
            if role != Role::Peer {
                return Err(JoinError::Role { role: role.name() });
            }
            identity.save(&own)?;
            identity
        }
    };
    let who = identity.who()?;
    let (Private(text), replicas) = enrol(&identity, join, address, level).await?;
    let authority = Authority::import(&Secret::new(text))?;
    authority.save(&folder.join("ca"))?;
    keep_hints(folder, &replicas)
        .map_err(|source| JoinError::File { path: folder.to_path_buf(), source })?;
    let replica = replica_of(&who)?;
    let folder_identity = FolderIdentity { format: FORMAT, cluster: who.cluster, replica };
    Disk::create(folder, folder_identity, &Recovered::default())?;
    Ok(replicas.into_iter().collect())
}

/// Trades the token for a certificate. The one that is asked may just be joining itself, or the
/// cluster electing: a leader is waited for.
async fn admitted(join: &Join, token: &JoinToken, folder: &Path) -> Result<Identity, LinkError> {
    let until = tokio::time::Instant::now() + LEADER_WITHIN;
    loop {
        match link::join(&join.addresses, token, folder).await {
            Err(LinkError::Leaderless { .. } | LinkError::Unfounded { .. })
                if tokio::time::Instant::now() < until =>
            {
                tokio::time::sleep(jittered(BETWEEN_TRIES)).await;
            }
            answer => return answer,
        }
    }
}

/// Asks one replica after the other, the leader as soon as it is named.
async fn enrol(
    identity: &Identity,
    join: &Join,
    address: String,
    level: u16,
) -> Result<(Private, Vec<(ReplicaId, String)>), JoinError> {
    let until = tokio::time::Instant::now() + ENROL_WITHIN;
    let mut known: VecDeque<String> = join.addresses.iter().cloned().collect();
    let mut failure = JoinError::NoLeader { seconds: ENROL_WITHIN.as_secs() };
    while tokio::time::Instant::now() < until {
        let Some(next) = known.pop_front() else { break };
        match ask(&next, identity, &address, level).await {
            Ok(Enrolment::Enrolled { authority, replicas }) => return Ok((authority, replicas)),
            Ok(Enrolment::Elsewhere { leader, addresses }) => {
                let new = addresses.into_iter().filter(|other| !known.contains(other));
                known.extend(new.collect::<Vec<_>>());
                match leader {
                    Some(leader) => {
                        known.retain(|other| *other != leader);
                        known.push_front(leader);
                    }
                    None => known.push_back(next),
                }
            }
            Ok(Enrolment::Refused { why }) => return Err(JoinError::Refused { why }),
            // A follower may not know yet that this replica was admitted.
            Err(error) => {
                failure = error.into();
                known.push_back(next);
            }
        }
        tokio::time::sleep(jittered(BETWEEN_TRIES)).await;
    }
    Err(failure)
}

async fn ask(
    at: &str,
    identity: &Identity,
    address: &str,
    level: u16,
) -> Result<Enrolment, LinkError> {
    let link = link::connect(at, identity).await?;
    let open = Open::Enrol { address: address.to_string(), level };
    let (_sender, mut receiver) = link.open(&open).await?;
    let answer = receiver.receive::<Enrolment>().await?;
    link.close("done");
    answer.ok_or(LinkError::Certificate { what: "the coordinator gave no answer to it" })
}

/// In the data folder: the certificate of a replica that joins.
pub(super) const PEER_FOLDER: &str = "peer";
const ENROL_WITHIN: Duration = Duration::from_secs(60);
/// Some elections.
const LEADER_WITHIN: Duration = Duration::from_secs(15);
const BETWEEN_TRIES: Duration = Duration::from_millis(300);
