//! Joiners that are sent on: by a replica that does not lead, to those that may.
//!
//! Floor: shell.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::support::{Cluster, LOOPBACK, join, locked, logged, replica};
use crate::token::hex;
use crate::{Arrival, Gate, LinkError, Listener, Who};

struct Nobody;

impl Gate for Nobody {
    fn admits(&self, _: &Who) -> bool {
        false
    }
}

/// Another replica of the cluster, which sends every joiner to `others`; who asked, and where it is.
async fn follower(cluster: &Cluster, others: Vec<String>) -> (Arc<Listener>, String) {
    let identity = cluster.authority.server_identity(replica(), SystemTime::now());
    let (identity, gate) = (identity.expect("issued"), Arc::new(Nobody));
    let listener = Listener::bind(LOOPBACK, &identity, &cluster.authority, gate);
    let listener = Arc::new(listener.expect("a free port"));
    let address = listener.local_address().expect("bound").to_string();
    let (serving, own) = (Arc::downgrade(&listener), address.clone());
    tokio::spawn(async move {
        while let Some(listener) = serving.upgrade() {
            let next = tokio::time::timeout(Duration::from_millis(100), listener.accept());
            match next.await {
                Ok(Some(Arrival::Join(attempt))) => {
                    let others = if others.is_empty() { vec![own.clone()] } else { others.clone() };
                    attempt.send_elsewhere(&others).await;
                }
                Ok(None) => return,
                _ => {}
            }
        }
    });
    (listener, address)
}

#[tokio::test]
async fn a_joiner_is_sent_on_and_joins_with_the_same_key() {
    let cluster = Cluster::start();
    let (_listener, address) = follower(&cluster, vec![cluster.address.clone()]).await;
    let (_other, first) = follower(&cluster, vec![address]).await;
    let token = cluster.token(1);
    let identity = join(&first, &token).await.expect("joined");
    let joins = locked(&cluster.desk.joins).clone();
    assert_eq!(joins, [(token.id, identity.public_key().expect("Ed25519"))]);
}

#[tokio::test]
async fn a_joiner_that_is_sent_in_circles_gives_up() {
    let cluster = Cluster::start();
    let (_listener, address) = follower(&cluster, Vec::new()).await;
    let error = join(&address, &cluster.token(1)).await.expect_err("nobody leads");
    assert!(matches!(error, LinkError::Leaderless { .. }) && !error.is_refusal(), "{error:?}");
}

#[tokio::test]
async fn a_joiner_that_is_sent_to_another_clusters_address_tells_it_no_secret() {
    let (cluster, other) = (Cluster::start(), Cluster::start());
    let (_listener, address) = follower(&cluster, vec![other.address.clone()]).await;
    let token = cluster.token(1);
    let error = join(&address, &token).await.expect_err("another cluster's");
    assert!(matches!(error, LinkError::OtherCluster { .. }), "{error:?}");
    assert!(locked(&other.desk.joins).is_empty());
    assert!(logged(&hex(token.secret())).is_empty());
}
