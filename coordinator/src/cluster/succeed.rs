//! A replica that came back with an empty disk has a successor of the same name: the old one is removed.
//!
//! The leader sees to it, and only once the successor votes: so the cluster never has fewer voters for
//! it. One that was admitted and never said where it is goes too, after a while. Deliberately absent:
//! any removal of a replica that is merely silent.
//!
//! Floor: shell.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::id::ReplicaId;
use common::wire::message::{ReplicaRole, ReplicaStatus, Request, Response};

use crate::client::Client;
use crate::driver::Handle;

/// Removes replicas that have successors under one of these names, for as long as this process runs.
/// Without names there is nothing to do, ever.
pub async fn keep_to_names(handle: Handle, names: Vec<String>) {
    if names.is_empty() {
        return std::future::pending().await;
    }
    // Each removal is a command of its own: one that is asked for again would be taken for the last one.
    let client = Client::here(handle.clone());
    let mut waiting: BTreeMap<ReplicaId, Instant> = BTreeMap::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Ok(Response::Replicas { replicas }) = client.ask(Request::Replicas).await else {
            continue;
        };
        let now = Instant::now();
        let absent = |replica: &&ReplicaStatus| never_came(replica);
        waiting.retain(|id, _| replicas.iter().filter(absent).any(|other| other.replica == *id));
        for replica in replicas.iter().filter(absent) {
            waiting.entry(replica.replica).or_insert(now);
        }
        let leads = |replica: &ReplicaStatus| replica.role == ReplicaRole::Leader;
        if !replicas.iter().any(|replica| replica.replica == handle.own() && leads(replica)) {
            continue;
        }
        let late = waiting.iter().find(|(_, since)| now - **since > COME_WITHIN);
        let gone = succeeded(&replicas, &names).or(late.map(|(id, _)| *id));
        if let Some(replica) = gone {
            match client.ask(Request::RemoveReplica { replica }).await {
                Ok(_) => tracing::info!(%replica, "removed: another one has its place"),
                Err(error) => tracing::warn!(%replica, %error, "not removed yet"),
            }
        }
    }
}

/// One that has a successor of its name, a voter.
fn succeeded(replicas: &[ReplicaStatus], names: &[String]) -> Option<ReplicaId> {
    let votes = |role| matches!(role, ReplicaRole::Leader | ReplicaRole::Follower);
    let named = |replica: &&ReplicaStatus| {
        replica.role != ReplicaRole::Leaving
            && replica.address.as_ref().is_some_and(|address| names.contains(address))
    };
    let succeeds = |new: &&ReplicaStatus, old: &ReplicaStatus| {
        new.replica > old.replica && new.address == old.address && votes(new.role)
    };
    let old = replicas.iter().filter(named);
    old.filter(|old| replicas.iter().any(|new| succeeds(&new, old))).map(|old| old.replica).min()
}

fn never_came(replica: &ReplicaStatus) -> bool {
    replica.role == ReplicaRole::Joining && replica.address.is_none()
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// One that was let in asks for its place in the same second.
const COME_WITHIN: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    fn replica(number: u64, address: &str, role: ReplicaRole) -> ReplicaStatus {
        ReplicaStatus {
            replica: ReplicaId(NonZeroU64::new(number).expect("above zero")),
            address: Some(address.to_string()),
            role,
            term: 1,
            commit: 1,
            lag: 0,
            disk_free: None,
            version: String::new(),
            clock: None,
            silent_ms: None,
        }
    }

    #[test]
    fn a_replica_is_removed_when_its_successor_votes_and_not_before() {
        let names = ["a:1", "b:1", "c:1"].map(String::from);
        let with = |role| {
            vec![
                replica(1, "a:1", ReplicaRole::Follower),
                replica(2, "b:1", ReplicaRole::Leader),
                replica(3, "c:1", ReplicaRole::Follower),
                replica(4, "a:1", role),
            ]
        };
        let gone = |replicas: &[ReplicaStatus]| succeeded(replicas, &names).map(|id| id.0.get());
        assert_eq!(gone(&with(ReplicaRole::Joining)), None);
        assert_eq!(gone(&with(ReplicaRole::Learner)), None);
        assert_eq!(gone(&with(ReplicaRole::Follower)), Some(1));
        let mut leaving = with(ReplicaRole::Follower);
        leaving[0].role = ReplicaRole::Leaving;
        assert_eq!(gone(&leaving), None);
        assert_eq!(gone(&with(ReplicaRole::Follower)[..3]), None);
    }

    #[test]
    fn replicas_under_other_names_are_nobodys_predecessors() {
        let replicas =
            [replica(1, "z:1", ReplicaRole::Follower), replica(2, "z:1", ReplicaRole::Leader)];
        assert_eq!(succeeded(&replicas, &["a:1".to_string()]), None);
    }
}
