//! The state of a cluster that begins anew from a backup: on one replica, with a number that was
//! never given before.
//!
//! Studies, looks, tokens and members stay as they were. The old replicas are none of it: their
//! certificates are of no use any more, so that what is left of them cannot be heard.
//!
//! Floor: core.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use common::id::ReplicaId;
use common::time::Timestamp;

use super::state::{ReplicaRecord, State};

impl State {
    /// The state and its only replica.
    pub fn on_a_new_replica(mut self) -> (Self, ReplicaId) {
        let number = NonZeroU64::new(self.next_replica).unwrap_or(NonZeroU64::MIN);
        let replica = ReplicaId(number);
        let (joined, public_key, token_id) = (Timestamp(0), [0; 32], [0; 6]);
        // It says where it is when it starts.
        let record = ReplicaRecord { address: None, joined, public_key, token_id };
        self.replicas = BTreeMap::from([(replica, record)]);
        self.next_replica = number.get() + 1;
        (self, replica)
    }
}

#[cfg(test)]
mod tests {
    use common::id::ClusterId;

    use super::*;

    #[test]
    fn a_new_replica_has_a_number_that_was_never_given() {
        let first = ReplicaId(NonZeroU64::MIN);
        let mut state = State::new(ClusterId([1; 16]), first, Some("a:1".into()), 3);
        state.next_replica = 7;
        let (restored, replica) = state.clone().on_a_new_replica();
        assert_eq!(replica.0.get(), 7);
        assert_eq!(restored.replicas.keys().collect::<Vec<_>>(), [&replica]);
        assert_eq!((restored.next_replica, restored.addresses().len()), (8, 0));
        let (replicas, next_replica) = (state.replicas.clone(), state.next_replica);
        assert_eq!(State { replicas, next_replica, ..restored }, state, "all else is as it was");
    }
}
