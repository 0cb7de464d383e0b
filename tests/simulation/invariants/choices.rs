//! R14: a config is chosen once, by the scores that stand, whoever leads; and of its refits no others are
//! trained. What a search tries stands too, and is what those scores lead to; and a race drops whom they say, of
//! whom nothing more is trained.
//!
//! Floor: wiring.

use std::collections::{BTreeMap, BTreeSet};

use common::choosing::{Scores, choose, cost};
use common::design::{Choice, Design};
use common::id::{StudyId, TrialIndex};
use common::plan::climbing::{Standing, go_on};
use common::racing;
use common::searching::Searching;
use common::space::Config;
use common::study::{Halving, Select, Study};
use common::wire::message::RowEnd;
use coordinator::disk::RowChange;
use coordinator::scheduler::state::State;

use super::{Invariant, Plan, Seen, World};
use crate::simulation::disk::Rows;

pub struct ChosenOnce {
    chosen: BTreeMap<(StudyId, Choice), u32>,
    /// By arm, cell and number of the try.
    tried: BTreeMap<(StudyId, u32, u64, u32), Config>,
    /// Trials that were opened again: what they score later may come too late for their choice.
    reopened: BTreeSet<(StudyId, TrialIndex)>,
}

impl ChosenOnce {
    pub fn new(_: &Plan) -> Self {
        Self { chosen: BTreeMap::new(), tried: BTreeMap::new(), reopened: BTreeSet::new() }
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
        for (id, record) in &state.studies {
            let searches = (0..).zip(&record.study.arms);
            let searches =
                searches.filter_map(|(arm, written)| Some((arm, written.learned.as_ref()?)));
            for (arm, (cell, slot, config)) in
                searches.flat_map(|(arm, learned)| learned.all().map(move |one| (arm, one)))
            {
                let point = &config.point;
                let key = (*id, arm, cell, slot);
                let before = self.tried.entry(key).or_insert_with(|| point.clone());
                if before != point {
                    return Err(format!("{key:?} is {point}, and it was {before}"));
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
        for (replica, process) in world.members() {
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
                    if trials.iter().all(certain) {
                        follows(study, *id, &design, choice, &rows)?;
                        races(study, *id, &design, choice, &rows)?;
                        climbs(study, *id, &design, (choice, made), &rows)?;
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

/// Whether each round of a search is what the scores before it lead to.
fn follows(
    study: &Study,
    id: StudyId,
    design: &Design,
    choice: Choice,
    rows: &Rows,
) -> Result<(), String> {
    let arm = &study.arms[choice.arm as usize];
    let Some(learned) = &arm.learned else { return Ok(()) };
    let score = |trial: &TrialIndex| match rows.get(&(id, *trial)).map(|row| &row.end) {
        Some(RowEnd::Complete(outcome)) => outcome.metrics[0],
        _ => f64::NAN,
    };
    let points: Vec<Config> = (0..learned.tries(choice.cell))
        .filter_map(|slot| learned.config(choice.cell, slot).map(|config| config.point.clone()))
        .collect();
    let mut tries: Vec<(Config, Scores)> = Vec::new();
    while tries.len() < points.len() {
        let mut search = Searching::new(study, design, choice).ok_or("no search")?;
        let next = search.next(&tries);
        let made = &points[tries.len()..(tries.len() + next.len()).min(points.len())];
        if next.is_empty() || made != next {
            return Err(format!("{id}: {choice:?} tried {made:?}, and its scores say {next:?}"));
        }
        for point in next {
            let trials = design.tries_of(choice, tries.len() as u32);
            let scores = trials.iter().map(|seed| seed.iter().map(score).collect()).collect();
            tries.push((point, scores));
        }
    }
    Ok(())
}

fn chosen(study: &Study, id: StudyId, design: &Design, choice: Choice, rows: &Rows) -> u32 {
    let score = |trial: &TrialIndex| match rows.get(&(id, *trial)).map(|row| &row.end) {
        Some(RowEnd::Complete(outcome)) => outcome.metrics[0],
        _ => f64::NAN,
    };
    let trials = design.scores_of(choice);
    let configs = study.configs_of(choice);
    let of_config = |config: &u32| -> Scores {
        trials.iter().map(|seed| seed[*config as usize].iter().map(score).collect()).collect()
    };
    if let Some(halving) = design.halving(choice.arm) {
        let all: Vec<Scores> = (0..configs.len() as u32).map(|c| of_config(&c)).collect();
        let failed = |config: u32| {
            let trials = design.tries_of(choice, config).concat();
            let end = |trial: &TrialIndex| rows.get(&(id, *trial)).map(|row| &row.end);
            trials.iter().any(|trial| matches!(end(trial), Some(RowEnd::Failed { .. })))
        };
        return climbed(study, halving, &all, &failed);
    }
    let left = match left(study, id, design, choice, rows).pop() {
        Some(left) => left,
        None => (0..configs.len() as u32).collect(),
    };
    let scores: Vec<Scores> = left.iter().map(of_config).collect();
    let costs: Vec<f64> =
        left.iter().map(|config| cost(&configs[*config as usize].hyper)).collect();
    let select = study.outer.inner.as_ref().expect("nested").select;
    left[choose(&scores, select, study.primary().larger_is_better(), &costs)]
}

/// Which configs of a race are left after each tuning seed, up to the one that leaves one.
fn left(study: &Study, id: StudyId, design: &Design, choice: Choice, rows: &Rows) -> Vec<Vec<u32>> {
    let arm = &study.arms[choice.arm as usize];
    let Some(race) = arm.race else { return Vec::new() };
    let score = |trial: &TrialIndex| match rows.get(&(id, *trial)).map(|row| &row.end) {
        Some(RowEnd::Complete(outcome)) => outcome.metrics[0],
        _ => f64::NAN,
    };
    let rule = race.rule(design.tuning_seeds(), study.primary().larger_is_better());
    let mut after: Vec<Vec<u32>> = Vec::new();
    for seeds in 1..=design.tuning_seeds() {
        let before = after.last().cloned();
        let before = before.unwrap_or_else(|| (0..arm.configs.len() as u32).collect());
        let of_config = |config: &u32| -> Scores {
            let with = |seed| design.try_with(choice, *config, seed).iter().map(score).collect();
            (0..seeds).map(with).collect()
        };
        let scores: Vec<Scores> = before.iter().map(of_config).collect();
        // Nobody looks after the last one.
        let stays = match seeds < design.tuning_seeds() {
            true => racing::stay(&rule, arm.configs.len(), &scores),
            false => vec![true; before.len()],
        };
        let stays = before.iter().zip(stays).filter(|(_, stays)| *stays);
        after.push(stays.map(|(config, _)| *config).collect());
        if after.last().is_some_and(|left| left.len() == 1) {
            break;
        }
    }
    after
}

/// Whether those were trained with each tuning seed that the ones before had left.
fn races(
    study: &Study,
    id: StudyId,
    design: &Design,
    choice: Choice,
    rows: &Rows,
) -> Result<(), String> {
    let arm = &study.arms[choice.arm as usize];
    if arm.race.is_none() {
        return Ok(());
    }
    let after = left(study, id, design, choice, rows);
    for seed in 0..design.tuning_seeds() {
        let all = (0..arm.configs.len() as u32).collect();
        let left = match seed.checked_sub(1).map(|before| after.get(before as usize)) {
            None => all,
            Some(Some(left)) if left.len() > 1 => left.clone(),
            Some(_) => Vec::new(),
        };
        let has = |config: &u32| {
            design.try_with(choice, *config, seed).iter().any(|t| rows.contains_key(&(id, *t)))
        };
        let trained: Vec<u32> = (0..arm.configs.len() as u32).filter(has).collect();
        // A study may have been cancelled before.
        if trained.iter().any(|config| !left.contains(config)) {
            return Err(format!(
                "{id}: {choice:?} trained {trained:?} with tuning seed {seed}, and {left:?} were left"
            ));
        }
    }
    Ok(())
}

/// Of halved configs the best on the last rung that one ended well without failing above; where there is none,
/// on the last rung of all, or that one ended well. `scores` of each rung's, NaN where it was not reached.
fn climbed(
    study: &Study,
    halving: Halving,
    scores: &[Scores],
    failed: &dyn Fn(u32) -> bool,
) -> u32 {
    let larger = study.primary().larger_is_better();
    let on_rung =
        |rung: u32| &scores[(rung * halving.configs) as usize..][..halving.configs as usize];
    let is_whole = |scores: &Scores| scores.iter().flatten().all(|score| score.is_finite());
    let costs = vec![0.0; halving.configs as usize];
    let best = |scores: &[Scores]| choose(scores, Select::Best, larger, &costs) as u32;
    let fails_above = |config: usize, rung: u32| {
        (rung..halving.rungs).any(|rung| failed(halving.config(rung, config as u32)))
    };
    for rung in (0..halving.rungs).rev() {
        let mut scores = on_rung(rung).to_vec();
        for (config, scores) in scores.iter_mut().enumerate() {
            if !is_whole(scores) || fails_above(config, rung) {
                scores.iter_mut().flatten().for_each(|score| *score = f64::NAN);
            }
        }
        if scores.iter().any(is_whole) {
            return halving.config(halving.rungs - 1, best(&scores));
        }
    }
    let whole = (0..halving.rungs).rev().find(|rung| on_rung(*rung).iter().any(is_whole));
    let rung = if halving.at_once { whole.unwrap_or(0) } else { halving.rungs - 1 };
    halving.config(halving.rungs - 1, best(on_rung(rung)))
}

/// Whether those that went on had whole scores, and when the choice was made nobody was left who should have.
fn climbs(
    study: &Study,
    id: StudyId,
    design: &Design,
    (choice, made): (Choice, Option<u32>),
    rows: &Rows,
) -> Result<(), String> {
    let Some(halving) = design.halving(choice.arm) else { return Ok(()) };
    let mut standings = Vec::new();
    for (rung, config) in
        (0..halving.rungs).flat_map(|rung| (0..halving.configs).map(move |config| (rung, config)))
    {
        let trials = design.tries_of(choice, halving.config(rung, config)).concat();
        let ends = trials.iter().map(|trial| match rows.get(&(id, *trial)).map(|row| &row.end) {
            Some(RowEnd::Complete(outcome)) => Some(outcome.metrics[0]),
            Some(RowEnd::Failed { .. }) => Some(f64::NAN),
            None => None,
        });
        let ends: Vec<Option<f64>> = ends.collect();
        if ends.iter().all(Option::is_none) {
            continue;
        }
        let score: Option<Vec<f64>> = ends.into_iter().collect();
        let score = score.map(|scores| scores.iter().sum::<f64>() / scores.len() as f64);
        let below = |one: &Standing| one.config == config && one.rung + 1 == rung;
        let from = standings.iter().find(|one| below(one));
        if rung > 0 && !from.is_some_and(|one| one.score.is_some_and(f64::is_finite)) {
            return Err(format!("{id}: {choice:?} let {config} go on to {rung} from {from:?}"));
        }
        standings.push(Standing { config, rung, score });
    }
    let larger = study.primary().larger_is_better();
    let left = go_on((halving.rungs, halving.factor), larger, &standings);
    match made {
        Some(made) if !left.is_empty() => {
            Err(format!("{id}: {choice:?} chose {made}, and {left:?} should have gone on"))
        }
        _ => Ok(()),
    }
}
