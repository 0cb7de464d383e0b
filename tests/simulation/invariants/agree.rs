//! R8 and R10: equal prefixes of the log give equal states on all replicas, and a committed entry never
//! changes.
//!
//! Floor: wiring.

use std::collections::BTreeMap;

use common::id::ReplicaId;
use coordinator::replica::log::{EntryKind, LogEntry};

use super::{Invariant, Plan, Seen, World};

pub struct ReplicasAgree {
    /// Committed entries by index.
    entries: BTreeMap<u64, u64>,
    states: BTreeMap<u64, [u8; 32]>,
    /// How far each replica's disk and state were looked at.
    looked: BTreeMap<ReplicaId, (u64, u64)>,
    memberships: u64,
}

impl ReplicasAgree {
    pub fn new(_: &Plan) -> Self {
        Self {
            entries: BTreeMap::new(),
            states: BTreeMap::new(),
            looked: BTreeMap::new(),
            memberships: 0,
        }
    }

    /// Changes of the membership that were committed.
    pub fn memberships(&self) -> u64 {
        self.memberships
    }
}

fn hash(entry: &LogEntry) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&entry.term.to_le_bytes());
    hasher.update(&[u8::from(entry.kind == EntryKind::Membership)]);
    hasher.update(&entry.data);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

impl Invariant for ReplicasAgree {
    const RULE: &'static str = "R8: replicas agree on the log and on what it means";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Started { replica } => {
                self.looked.remove(replica);
                Ok(())
            }
            Seen::Persisted { replica, recovered } => {
                let looked = &mut self.looked.entry(*replica).or_default().0;
                let commit = recovered.vote.commit;
                let first = (*looked).max(recovered.base.index) + 1;
                for index in first..=commit {
                    let at = (index - recovered.base.index - 1) as usize;
                    let Some(entry) = recovered.entries.get(at) else {
                        return Err(format!("{replica} lacks the committed entry {index}"));
                    };
                    let found = hash(entry);
                    let known = self.entries.len();
                    let first = *self.entries.entry(index).or_insert(found);
                    if first != found {
                        return Err(format!(
                            "{replica} has another entry {index} than was committed"
                        ));
                    }
                    let new = self.entries.len() > known;
                    self.memberships += u64::from(new && entry.kind == EntryKind::Membership);
                }
                *looked = (*looked).max(commit);
                Ok(())
            }
            Seen::Applied { replica, node } => {
                let state = node.state();
                let looked = &mut self.looked.entry(*replica).or_default().1;
                if state.applied == *looked {
                    return Ok(());
                }
                *looked = state.applied;
                let found = state.digest();
                let first = *self.states.entry(state.applied).or_insert(found);
                if first != found {
                    return Err(format!(
                        "{replica} has another state after entry {}",
                        state.applied
                    ));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        let live = world.replicas.iter().filter(|replica| !world.has_left(replica.id));
        let digests = live.filter_map(|replica| {
            let node = &replica.process.as_ref()?.node;
            Some((replica.id, node.state().applied, node.state().digest()))
        });
        let digests: Vec<_> = digests.collect();
        match digests.windows(2).find(|pair| (pair[0].1, pair[0].2) != (pair[1].1, pair[1].2)) {
            Some(pair) => Err(format!("{} and {} end in different states", pair[0].0, pair[1].0)),
            None => Ok(()),
        }
    }
}
