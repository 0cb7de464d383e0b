//! Where the coordinators are, and which of them leads.
//!
//! An agent is given one address and learns the others, which it keeps for its next start. While it is
//! connected to the leader it also listens to one of the others: when the leader is gone, that one
//! tells who leads instead, long before silence would.
//!
//! Floor: shell.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::wire::message::Open;
use common::wire::message::peer::Leadership;
use link::{Link, LinkError};

use super::certificate::Certificate;
use crate::driver::keep::random;

/// The coordinators of one cluster. Clones share what they know.
#[derive(Clone, Debug)]
pub(super) struct Replicas {
    known: Arc<Mutex<Known>>,
    file: PathBuf,
}

#[derive(Debug, Default)]
struct Known {
    /// In the order in which they are tried: what worked last comes first.
    addresses: Vec<String>,
    /// Who is said to lead, and was not tried since.
    hint: Option<String>,
    /// Somebody said that another one leads: there is no reason to wait long.
    sent_on: bool,
}

impl Replicas {
    /// `given` by a person, and those that the folder remembers.
    pub(super) fn new(given: Vec<String>, folder: &Path) -> Self {
        let file = folder.join(FILE);
        let kept = fs::read_to_string(&file).unwrap_or_default();
        let mut addresses = given;
        for address in kept.lines().take(REPLICAS_MAX) {
            if !addresses.iter().any(|known| known == address) {
                addresses.push(address.to_string());
            }
        }
        let known = Known { addresses, ..Known::default() };
        Self { known: Arc::new(Mutex::new(known)), file }
    }

    /// Every address, the most promising first.
    pub(super) fn in_turn(&self) -> Vec<String> {
        let mut known = self.locked();
        if let Some(leader) = known.hint.take() {
            known.prefer(&leader);
        }
        let all = known.addresses.clone();
        // What is tried next time begins with the next one, unless this one works.
        if !all.is_empty() {
            known.addresses.rotate_left(1);
        }
        all
    }

    /// All replicas there are; what a person gave is kept beside them.
    pub(super) fn learn(&self, addresses: &[String]) {
        let mut known = self.locked();
        let new: Vec<String> =
            addresses.iter().filter(|a| !known.addresses.contains(a)).cloned().collect();
        if new.is_empty() {
            return;
        }
        known.addresses.extend(new);
        known.addresses.truncate(ADDRESSES_MAX);
        drop(known);
        let lines: Vec<String> = addresses.iter().map(|address| format!("{address}\n")).collect();
        if let Err(error) = fs::write(&self.file, lines.concat()) {
            tracing::warn!(%error, "where the coordinators are could not be kept");
        }
    }

    /// Somebody said who leads, or that somebody else does.
    pub(super) fn turn_to(&self, leader: Option<&str>) {
        let mut known = self.locked();
        known.hint = leader.map(str::to_string);
        known.sent_on = true;
    }

    /// A short pause when it is known that another coordinator leads: at random, since ten thousand
    /// agents know it at the same moment.
    pub(super) fn soon(&self) -> Option<Duration> {
        let mut known = self.locked();
        let limit = if known.hint.is_some() { SOON } else { ELECTION };
        std::mem::take(&mut known.sent_on).then(|| limit.mul_f64(random() as f64 / u64::MAX as f64))
    }

    /// While `link`, to the leader, is open: listens to another replica, and closes `link` when that
    /// one says that somebody else leads.
    pub(super) async fn watch(self, link: Link, certificate: Certificate) {
        let watching = async {
            let Some(Ok(leads)) = first_word(&link).await else { return };
            self.learn(&leads.addresses);
            if let Some(address) = &leads.leader {
                self.locked().prefer(address);
            }
            loop {
                if let Ok(Some(newer)) = self.listen_to_another(&leads, &certificate).await {
                    tracing::info!(leader = newer.leader, "another coordinator leads");
                    self.turn_to(newer.leader.as_deref());
                    link.close("another coordinator leads");
                    return;
                }
                tokio::time::sleep(LISTEN_AGAIN.mul_f64(0.5 + random() as f64 / u64::MAX as f64))
                    .await;
            }
        };
        tokio::select! {
            _ = link.closed() => {}
            () = watching => {}
        }
    }

    /// What makes the leader that this agent has one of the past; `None` when there is nobody else.
    async fn listen_to_another(
        &self,
        leads: &Leadership,
        certificate: &Certificate,
    ) -> Result<Option<Leadership>, LinkError> {
        let others: Vec<String> = {
            let known = self.locked();
            let others = known.addresses.iter().filter(|a| leads.addresses.contains(a));
            others.filter(|a| Some(*a) != leads.leader.as_ref()).cloned().collect()
        };
        let Some(identity) = certificate.identity() else { return Ok(None) };
        if others.is_empty() {
            return Ok(None);
        }
        let other = &others[random() as usize % others.len()];
        let link = link::connect(other, &identity).await?;
        let (_sender, mut receiver) = link.open(&Open::Watch).await?;
        while let Some(word) = receiver.receive::<Leadership>().await? {
            self.learn(&word.addresses);
            if word.term > leads.term && word.leader.is_some() && word.leader != leads.leader {
                link.close("done");
                return Ok(Some(word));
            }
        }
        Ok(None)
    }

    fn locked(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn prefer(&mut self, address: &str) {
        self.addresses.retain(|known| known != address);
        self.addresses.insert(0, address.to_string());
    }
}

/// Who leads, by the leader's own word.
async fn first_word(link: &Link) -> Option<Result<Leadership, LinkError>> {
    let asked = async {
        let (_sender, mut receiver) = link.open(&Open::Watch).await?;
        receiver.receive::<Leadership>().await
    };
    asked.await.transpose()
}

/// In the agent's folder: an address a line.
const FILE: &str = "replicas";
const REPLICAS_MAX: usize = 8;
/// Some may be of replicas that are gone.
const ADDRESSES_MAX: usize = 16;
const SOON: Duration = Duration::from_millis(100);
/// While nobody leads.
const ELECTION: Duration = Duration::from_millis(600);
const LISTEN_AGAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_address_becomes_all_and_the_next_start_knows_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let replicas = Replicas::new(addresses(&["a:1"]), dir.path());
        replicas.learn(&addresses(&["b:1", "c:1"]));
        let again = Replicas::new(addresses(&["a:1"]), dir.path());
        assert_eq!(again.in_turn(), addresses(&["a:1", "b:1", "c:1"]));
    }

    #[test]
    fn the_hinted_leader_is_tried_first_and_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let replicas = Replicas::new(addresses(&["a:1", "b:1", "c:1"]), dir.path());
        replicas.turn_to(Some("c:1"));
        assert!(replicas.soon().is_some_and(|pause| pause <= SOON));
        assert!(replicas.soon().is_none(), "after that it waits as usual");
        assert_eq!(replicas.in_turn(), addresses(&["c:1", "a:1", "b:1"]));
        assert_eq!(replicas.in_turn()[0], "a:1", "it did not work: the next one");
    }
}
