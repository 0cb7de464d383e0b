//! Finding the coordinator and proving who asks.
//!
//! On the coordinator's own machine its data folder holds an operator's certificate; elsewhere an
//! operator token gets one, which is kept for the next command.
//!
//! Floor: wiring.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use common::id::{Digest, StudyId};
use common::wire::message::{Request, Response, Role, StudyStatus};
use etcetera::{BaseStrategy, choose_base_strategy};
use link::{Identity, JoinToken};

use super::Target;
use crate::client::{Client, ClientError};
use crate::scheduler::REPLICAS_MAX;

/// The data folder: as told, or the user's own.
pub fn data_folder(told: Option<&Path>) -> anyhow::Result<PathBuf> {
    match told {
        Some(folder) => Ok(folder.to_path_buf()),
        None => Ok(base_folder()?.join("coordinator")),
    }
}

/// The folder that jobs of Slurm share, unless told otherwise: in the user's home, which they see.
pub fn slurm_folder() -> anyhow::Result<PathBuf> {
    Ok(base_folder()?.join("slurm"))
}

/// The data folder whose operator asks: as told, or where a coordinator of this user has run, by hand or
/// as jobs of Slurm.
fn asked_folder(target: &Target) -> anyhow::Result<PathBuf> {
    let usual = data_folder(target.data.as_deref())?;
    if target.data.is_some() || usual.join(ADDRESS_FILE).exists() {
        return Ok(usual);
    }
    let slurm = slurm_folder()?;
    let replicas = (1..=REPLICAS_MAX).map(|number| slurm.join(format!("replica-{number}")));
    Ok(replicas.into_iter().find(|folder| folder.join(ADDRESS_FILE).exists()).unwrap_or(usual))
}

fn base_folder() -> anyhow::Result<PathBuf> {
    let base = choose_base_strategy().context("no home folder; name a data folder with --data")?;
    Ok(base.data_dir().join("seedsweep"))
}

/// A client of the coordinator that the flags name.
pub async fn client(target: &Target) -> anyhow::Result<Client> {
    if !target.coordinator.is_empty() {
        return remote(target).await;
    }
    let folder = asked_folder(target)?;
    let address = std::fs::read_to_string(folder.join(ADDRESS_FILE)).ok();
    let operator = operator_folder(target)?;
    let identity = Identity::load(&operator).with_context(|| format!("in {}", folder.display()))?;
    match (address, identity) {
        (Some(address), Some(identity)) => {
            let addresses = [address.trim().to_string()];
            Ok(Client::connect(&addresses, identity, Some(&operator)).await?)
        }
        _ => Err(no_coordinator(&folder)),
    }
}

/// The folder with the certificate that [`client`] uses.
pub fn operator_folder(target: &Target) -> anyhow::Result<PathBuf> {
    match target.coordinator.first() {
        Some(address) => {
            let name = &Digest::of(address.as_bytes()).hex()[..16];
            Ok(base_folder()?.join("operator").join(name))
        }
        None => Ok(asked_folder(target)?.join(OPERATOR_FOLDER)),
    }
}

async fn remote(target: &Target) -> anyhow::Result<Client> {
    let (addresses, token) = (target.coordinator.as_slice(), target.token.as_deref());
    let (address, folder) = (&addresses[0], operator_folder(target)?);
    let kept = Identity::load(&folder).with_context(|| format!("in {}", folder.display()))?;
    let Some(token) = token else {
        let Some(identity) = kept else {
            bail!(
                "this machine has no certificate for {address}; get a token there with \
                 `coordinator token create --role operator` and give it once with --token"
            )
        };
        return Ok(Client::connect(addresses, identity, Some(&folder)).await?);
    };
    let token = JoinToken::find(token).context("the operator token cannot be read")?;
    let fits = |identity: &Identity| {
        let operator = identity.who().is_ok_and(|who| who.role == Role::Operator);
        operator && identity.is_of(&token)
    };
    if let Some(identity) = kept.filter(fits) {
        match Client::connect(addresses, identity, Some(&folder)).await {
            // Expired or removed: that is what the token is for.
            Err(ClientError::Unreachable { source, .. }) if source.is_refusal() => {}
            answered => return Ok(answered?),
        }
    }
    let unreachable = |source| ClientError::Unreachable { address: address.to_string(), source };
    let identity = link::join(addresses, &token, &folder).await.map_err(unreachable)?;
    if identity.who()?.role != Role::Operator {
        bail!("this token is for agents; make one with `coordinator token create --role operator`");
    }
    identity.save(&folder)?;
    Ok(Client::connect(addresses, identity, Some(&folder)).await?)
}

fn no_coordinator(folder: &Path) -> anyhow::Error {
    ClientError::NoCoordinator { folder: folder.to_path_buf() }.into()
}

/// The study that `name` means: an id, the beginning of one, a name, or, without a name, the latest.
pub async fn find_study(client: &Client, name: Option<&str>) -> anyhow::Result<StudyStatus> {
    let mut studies = match client.ask(Request::Status { study: None }).await? {
        Response::Status { studies } => studies,
        _ => return Err(ClientError::Unexpected.into()),
    };
    let Some(name) = name else {
        return studies.pop().context("there is no study yet; send one with `coordinator submit`");
    };
    // Of several studies with one name the latest is meant.
    if let Some(place) = studies.iter().rposition(|study| study.name == name) {
        return Ok(studies.swap_remove(place));
    }
    let mut matching: Vec<StudyStatus> =
        studies.into_iter().filter(|study| study.id.to_string().starts_with(name)).collect();
    match (matching.pop(), matching.is_empty()) {
        (Some(study), true) => Ok(study),
        (Some(_), false) => bail!("several studies begin with {name:?}; write more of the id"),
        (None, _) => bail!("there is no study {name:?}; `coordinator list` shows them"),
    }
}

/// How far one study is.
pub async fn status_of(client: &Client, study: StudyId) -> Result<StudyStatus, ClientError> {
    match client.ask(Request::Status { study: Some(study) }).await? {
        Response::Status { mut studies } => studies.pop().ok_or(ClientError::Unexpected),
        _ => Err(ClientError::Unexpected),
    }
}

/// In the data folder: where this machine's operator finds the coordinator, and with what.
pub const ADDRESS_FILE: &str = "address";
pub const OPERATOR_FOLDER: &str = "operator";
