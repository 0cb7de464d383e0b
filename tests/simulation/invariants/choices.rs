//! R14: a config is chosen once, by the scores that stand, whoever leads; and of its refits no others are
//! trained.
//!
//! Floor: wiring.

use std::collections::{BTreeMap, BTreeSet};

use common::choosing::{Scores, choose, cost};
use common::design::{Choice, Design};
use common::id::{StudyId, TrialIndex};
use common::study::Study;
use common::wire::message::RowEnd;
use coordinator::disk::RowChange;
use coordinator::scheduler::state::State;

use super::{Invariant, Plan, Seen, World};
use crate::simulation::disk::Rows;

pub struct ChosenOnce {
    chosen: BTreeMap<(StudyId, Choice), u32>,
    /// Trials that were opened again: what they score later may come too late for their choice.
    reopened: BTreeSet<(StudyId, TrialIndex)>,
}

impl ChosenOnce {
    pub fn new(_: &Plan) -> Self {
        Self { chosen: BTreeMap::new(), reopened: BTreeSet::new() }
    }

    fn look(&mut self, state: &State) -> Result<(), String> {
        for (study, known) in &state.choices {
            for made in known.all() {
                let before = *self.chosen.entry((*study, made.choice())).or_insert(made.config);
                if before != made.config {
                    return Err(format!("{study}: {made:?}, and it was {before}"));
                }
            }
        }
        Ok(())
    }
}

impl Invariant for ChosenOnce {
    const RULE: &'static str = "R14: a config is chosen once, by the scores that stand";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Applied { node, .. } | Seen::Installed { node, .. } => self.look(node.state()),
            Seen::Row { change: RowChange::Drop(study, trial), .. } => {
                self.reopened.insert((*study, *trial));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        for replica in &world.replicas {
            let Some(process) = &replica.process else { continue };
            if world.has_left(replica.id) {
                continue;
            }
            let (rows, state) = (replica.rows(), process.node.state());
            for (id, known) in &state.choices {
                let study = &state.studies[id].study;
                let design = Design::of(study);
                for choice in design.choices() {
                    let made = known.chosen(choice);
                    let certain = |trial: &TrialIndex| !self.reopened.contains(&(*id, *trial));
                    let trials = design.scores_of(choice).concat().concat();
                    let says = made.is_none()
                        || !trials.iter().all(certain)
                        || made == Some(chosen(study, *id, &design, choice, &rows));
                    if !says {
                        return Err(format!("{id}: {choice:?} is {made:?} against its scores"));
                    }
                    let configs = study.arms[choice.arm as usize].configs.len() as u32;
                    let other = (0..configs).filter(|config| made != Some(*config));
                    let mut refits = other.flat_map(|config| design.refits(choice, config));
                    if let Some(trial) = refits.find(|trial| rows.contains_key(&(*id, *trial))) {
                        return Err(format!("{id}: {trial} was trained, and not chosen"));
                    }
                }
            }
        }
        Ok(())
    }
}

fn chosen(study: &Study, id: StudyId, design: &Design, choice: Choice, rows: &Rows) -> u32 {
    let score = |trial: &TrialIndex| match rows.get(&(id, *trial)).map(|row| &row.end) {
        Some(RowEnd::Complete(outcome)) => outcome.metrics[0],
        _ => f64::NAN,
    };
    let trials = design.scores_of(choice);
    let arm = &study.arms[choice.arm as usize];
    let of_config = |config: usize| -> Scores {
        trials.iter().map(|seed| seed[config].iter().map(score).collect()).collect()
    };
    let scores: Vec<Scores> = (0..arm.configs.len()).map(of_config).collect();
    let costs: Vec<f64> = arm.configs.iter().map(|config| cost(&config.hyper)).collect();
    let select = study.outer.inner.as_ref().expect("nested").select;
    choose(&scores, select, study.primary().larger_is_better(), &costs) as u32
}
