//! The state of a cluster that begins anew from a backup: on one replica.
//!
//! Studies, looks, tokens and members stay as they were. The old replicas are none of it: their
//! certificates are of no use any more, so that what is left of them cannot be heard. Members and
//! replicas that were let in after the backup are known to nobody: numbers go on far above those that
//! they may have, so that none is given twice and theirs are taken for those of removed ones.
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
        let number = self.next_replica.saturating_add(REPLICAS_SKIPPED);
        let number = NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN);
        let replica = ReplicaId(number);
        let (joined, public_key, token_id) = (Timestamp(0), [0; 32], [0; 6]);
        // It says where it is when it starts.
        let record = ReplicaRecord { address: None, joined, public_key, token_id };
        self.replicas = BTreeMap::from([(replica, record)]);
        self.next_replica = number.get().saturating_add(1);
        self.next_member = self.next_member.saturating_add(MEMBERS_SKIPPED);
        (self, replica)
    }
}

/// More than join between a backup and a cluster's loss.
const REPLICAS_SKIPPED: u64 = 1_000;
const MEMBERS_SKIPPED: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use common::id::ClusterId;

    use super::*;

    #[test]
    fn numbers_that_were_given_after_the_backup_are_not_given_again() {
        let first = ReplicaId(NonZeroU64::MIN);
        let mut state = State::new(ClusterId([1; 16]), first, Some("a:1".into()), 3);
        (state.next_replica, state.next_member) = (7, 20);
        let (restored, replica) = state.clone().on_a_new_replica();
        assert_eq!(replica.0.get(), 1_007);
        assert_eq!(restored.replicas.keys().collect::<Vec<_>>(), [&replica]);
        assert_eq!((restored.next_replica, restored.addresses().len()), (1_008, 0));
        assert_eq!(restored.next_member, 1_000_020);
        let (replicas, next_replica) = (state.replicas.clone(), state.next_replica);
        let same = State { replicas, next_replica, next_member: state.next_member, ..restored };
        assert_eq!(same, state, "all else is as it was");
    }
}
