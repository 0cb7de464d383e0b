//! Who may connect: live members with their roles, and the replicas.
//!
//! Floor: shell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

use common::id::MemberId;
use common::wire::message::Role;
use link::Who;

use crate::node::Node;
use crate::scheduler::state::LOCAL_OPERATOR;

/// Live members and their roles, and the replicas: the gate that every connection passes.
#[derive(Default)]
pub struct Roles(RwLock<Known>);

#[derive(Default)]
struct Known {
    members: BTreeMap<MemberId, Role>,
    replicas: BTreeSet<u64>,
    /// The first numbers that were not given out yet. Whoever has such a one was admitted while this
    /// replica was away, or before it had its first snapshot.
    next_member: u64,
    next_replica: u64,
}

impl Roles {
    pub(super) fn set(&self, node: &Node) {
        let state = node.state();
        let mut members: BTreeMap<MemberId, Role> =
            state.members.iter().map(|(id, m)| (*id, m.role)).collect();
        members.insert(LOCAL_OPERATOR, Role::Operator);
        let voters = node.replica().voters();
        let mut replicas: BTreeSet<u64> = state.replicas.keys().map(|id| id.0.get()).collect();
        replicas.extend(voters.voters);
        replicas.extend(voters.learners);
        let (next_member, next_replica) = (state.next_member, state.next_replica);
        let known = Known { members, replicas, next_member, next_replica };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

impl link::Gate for Roles {
    fn admits(&self, who: &Who) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match who.role {
            Role::Peer => {
                who.member.0 >= known.next_replica || known.replicas.contains(&who.member.0)
            }
            role => {
                let newer = who.member.0 >= known.next_member;
                newer || known.members.get(&who.member) == Some(&role)
            }
        }
    }
}
