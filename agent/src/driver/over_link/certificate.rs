//! The certificate this agent connects with: kept in its folder, renewed while connected.
//!
//! What is in use is in the folder. A renewal replaces only the certificate of its own member, so
//! one that ends late cannot undo a newer join.
//!
//! Floor: shell.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use link::{Identity, Link, LinkError};

use crate::driver::with_causes;

#[derive(Clone, Debug)]
pub(super) struct Certificate {
    folder: PathBuf,
    identity: Arc<Mutex<Option<Identity>>>,
}

impl Certificate {
    /// `identity` is what the folder holds, where it is to be used.
    pub(super) fn new(folder: &Path, identity: Option<Identity>) -> Self {
        Self { folder: folder.to_path_buf(), identity: Arc::new(Mutex::new(identity)) }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        self.locked().clone()
    }

    /// Saves, then uses from the next connection on.
    pub(super) fn replace(&self, identity: Identity) -> Result<(), LinkError> {
        let mut kept = self.locked();
        identity.save(&self.folder)?;
        *kept = Some(identity);
        Ok(())
    }

    /// Until the connection closes: renews the certificate when it is due, looked at once a day.
    pub(super) async fn keep_fresh(self, link: Link) {
        let looking = async {
            loop {
                if let Err(error) = self.renew_if_due(&link).await {
                    let why = with_causes(&error);
                    tracing::warn!(%why, "the certificate could not be renewed; trying again later");
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            _ = link.closed() => {}
            () = looking => {}
        }
    }

    async fn renew_if_due(&self, link: &Link) -> Result<(), LinkError> {
        let Some(old) = self.identity() else { return Ok(()) };
        if !old.is_due(SystemTime::now())? {
            return Ok(());
        }
        let renewed = link::renew(link, &old).await?;
        let mut kept = self.locked();
        if kept.as_ref().is_some_and(|kept| kept.public_key().ok() == old.public_key().ok()) {
            renewed.save(&self.folder)?;
            *kept = Some(renewed);
            tracing::info!("the certificate was renewed");
        }
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Option<Identity>> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(24 * 3600);
