//! R13: a look that was answered is in the ledger for ever, once; outcomes are shown only for one, and
//! of a sealed study to nobody before its claim; and no link of a chain is ever another one.
//!
//! Floor: wiring.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{Digest, ReplicaId, StudyId};
use common::wire::message::Response;
use coordinator::scheduler::state::State;

use super::{Invariant, Plan, Seen, World};
use crate::simulation::operators::{Task, member};

pub struct LooksCounted {
    /// Study and number of each look that was answered: who took it, and an entry that has it.
    answered: BTreeMap<(usize, u64), (usize, u64)>,
    /// Looks that each operator began to ask for, by study.
    asked: BTreeMap<usize, u64>,
    links: BTreeMap<(StudyId, u64), Digest>,
    /// The heads that were looked at last, by replica.
    heads: BTreeMap<(ReplicaId, StudyId), Digest>,
    /// Studies whose seal was answered, and those of which some replica knows a claim.
    sealed: BTreeSet<usize>,
    claimed: BTreeSet<usize>,
    studies: Vec<StudyId>,
}

impl LooksCounted {
    pub fn new(plan: &Plan) -> Self {
        let studies = crate::simulation::replicas::studies(plan);
        Self {
            answered: BTreeMap::new(),
            asked: BTreeMap::new(),
            links: BTreeMap::new(),
            heads: BTreeMap::new(),
            sealed: BTreeSet::new(),
            claimed: BTreeSet::new(),
            studies: studies.iter().map(|study| study.id()).collect(),
        }
    }

    /// What was answered is there, under the name of whoever asked.
    fn holds(&self, state: &State) -> Result<(), String> {
        for ((study, number), (operator, index)) in &self.answered {
            if state.applied < *index {
                continue;
            }
            let id = self.studies[*study];
            let look = state.ledgers.get(&id).and_then(|ledger| ledger.look(*number));
            if look.map(|look| look.who) != Some(member(*operator)) {
                return Err(format!(
                    "look {number} at {id} was answered to operator {operator}, and is {look:?}"
                ));
            }
        }
        Ok(())
    }

    /// A look that was answered after the seal was, and before anybody claimed anything, is none.
    fn is_open(&self, study: usize) -> Result<(), String> {
        if self.sealed.contains(&study) && !self.claimed.contains(&study) {
            return Err(format!("study {study} is sealed, and somebody was shown its outcomes"));
        }
        Ok(())
    }

    fn chains_hold(&mut self, replica: ReplicaId, state: &State) -> Result<(), String> {
        for (study, ledger) in &state.ledgers {
            // Most entries are no looks.
            if self.heads.insert((replica, *study), ledger.head()) == Some(ledger.head()) {
                continue;
            }
            if !ledger.is_sound() {
                return Err(format!("{replica}: the chain of {study} does not hold"));
            }
            for (look, link) in ledger.recent() {
                let first = *self.links.entry((*study, look.number)).or_insert(link);
                if first != link {
                    return Err(format!(
                        "{replica}: look {} at {study} is another one",
                        look.number
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Invariant for LooksCounted {
    const RULE: &'static str = "R13: a look that was answered stays counted, once, and shows alone";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Answered { task: Task::Seal(study), answer, .. } => {
                if answer.response == Response::Done {
                    self.sealed.insert(*study);
                }
                Ok(())
            }
            Seen::Applied { replica, node } => {
                let claimed = |study: &usize| {
                    let sealing = node.state().sealings.get(&self.studies[*study]);
                    sealing.is_some_and(|sealing| sealing.claim.is_some())
                };
                self.claimed.extend((0..self.studies.len()).filter(claimed));
                self.chains_hold(*replica, node.state())?;
                self.holds(node.state())
            }
            Seen::Answered { operator, task: Task::Look(study), answer, .. } => {
                *self.asked.entry(*study).or_default() += 1;
                let Response::Looked { number: Some(number) } = answer.response else {
                    return Ok(());
                };
                self.is_open(*study)?;
                let look = (*operator, answer.applied);
                match self.answered.insert((*study, number), look) {
                    Some(_) => Err(format!("look {number} at study {study} was answered twice")),
                    None => Ok(()),
                }
            }
            Seen::Answered { operator, task: Task::Read { study, look }, answer, .. } => {
                let taken = self.answered.get(&(*study, *look));
                let theirs =
                    taken.is_some_and(|(by, index)| by == operator && *index <= answer.applied);
                if answer.response == Response::Done {
                    self.is_open(*study)?;
                }
                match answer.response {
                    Response::Done if !theirs => Err(format!(
                        "operator {operator} was shown outcomes of study {study} for look {look}"
                    )),
                    Response::Refused { .. } if theirs => Err(format!(
                        "operator {operator} took look {look} at study {study}, and was refused"
                    )),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        for replica in &world.replicas {
            let Some(process) = &replica.process else { continue };
            let state = process.node.state();
            self.holds(state)?;
            for (number, study) in self.studies.iter().enumerate() {
                // All are answered by now.
                let asked = self.asked.get(&number).copied().unwrap_or_default();
                if state.looks(*study) > asked {
                    return Err(format!(
                        "{}: {} looks at {study}, and {asked} were asked for",
                        replica.id,
                        state.looks(*study)
                    ));
                }
            }
        }
        Ok(())
    }
}
