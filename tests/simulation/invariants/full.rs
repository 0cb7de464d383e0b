//! A replica whose disk is full grants nothing.
//!
//! Floor: wiring.

use std::collections::BTreeSet;

use common::id::ReplicaId;
use common::wire::message::ToAgent;

use super::{Invariant, Plan, Seen};

pub struct FullDiskGrantsNothing {
    full: BTreeSet<ReplicaId>,
}

impl FullDiskGrantsNothing {
    pub fn new(_: &Plan) -> Self {
        Self { full: BTreeSet::new() }
    }
}

impl Invariant for FullDiskGrantsNothing {
    const RULE: &'static str = "a full disk stops grants";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Started { replica } => {
                self.full.remove(replica);
            }
            Seen::Room { replica, is_full, .. } => {
                if *is_full {
                    self.full.insert(*replica);
                } else {
                    self.full.remove(replica);
                }
            }
            Seen::ToAgent {
                replica,
                message: ToAgent::Assign { lease, .. } | ToAgent::AssignFrom { lease, .. },
                ..
            } if self.full.contains(replica) => {
                return Err(format!("{replica} granted {lease} while its disk was full"));
            }
            _ => {}
        }
        Ok(())
    }
}
