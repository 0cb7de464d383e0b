//! R15: what was decided about buying seeds is decided once, in one order, whoever leads; and of seeds that
//! nobody bought nothing is trained.
//!
//! Floor: wiring.

use std::collections::BTreeMap;

use common::design::Design;
use common::id::StudyId;
use common::wire::message::Decided;
use coordinator::scheduler::state::State;

use super::{Invariant, Plan, Seen, World};

pub struct BoughtOnce {
    decided: BTreeMap<StudyId, Vec<Decided>>,
}

impl BoughtOnce {
    pub fn new(_: &Plan) -> Self {
        Self { decided: BTreeMap::new() }
    }

    fn look(&mut self, state: &State) -> Result<(), String> {
        for (study, buying) in &state.buying {
            let (longest, here) = (self.decided.entry(*study).or_default(), buying.decided());
            if let Some((was, is)) = longest.iter().zip(here).find(|(was, is)| was != is) {
                return Err(format!("{study}: {is:?} was decided, and before {was:?}"));
            }
            longest.extend(here[longest.len().min(here.len())..].iter().cloned());
        }
        Ok(())
    }
}

impl Invariant for BoughtOnce {
    const RULE: &'static str = "R15: seeds are bought once, and only those are trained";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Applied { node, .. } | Seen::Installed { node, .. } => self.look(node.state()),
            _ => Ok(()),
        }
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        for (replica, process) in world.members() {
            let (rows, state) = (replica.rows(), process.node.state());
            for (id, buying) in &state.buying {
                let design = Design::of(&state.studies[id].study);
                for (study, trial) in rows.keys().filter(|(study, _)| study == id) {
                    let key = design.key(*trial).ok_or_else(|| format!("{study}: {trial}"))?;
                    let seed = design.seed_number(&key);
                    if seed >= buying.seeds(key.arm).map(u64::from) && seed.is_some() {
                        return Err(format!("{study}: {trial} was trained, and not bought"));
                    }
                }
            }
        }
        Ok(())
    }
}
