//! What choosing a config did: how much it flattered, how often which was chosen, what more tries gain.
//!
//! In a nested study the scores that choose are those on inner folds. In a flat one each seed chooses by
//! its own scores on the outer folds, which are also what is reported: there the gap to untouched rows is
//! not known, and the bias is estimated. Controls are left aside.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::choosing::{Scores, choose, cost};
use common::design::{Choice, Design};
use common::id::TrialIndex;
use common::seed::{Stream, StreamRng};
use common::space::{Config, Value};
use common::stats::selection::{
    entropy_bits, expected_best, expected_best_replaced, tibshirani_bias,
};
use common::stats::summary::{mean, quantile, sd};
use common::study::{Select, Study};
use common::wire::message::{OutcomeRow, RowEnd};

use super::super::Material;
use super::super::content::{
    ChosenAxis, ExpectedBest, Frequency, Gap, RacePart, RunningBest, SearchedPart, SelectionPart,
};
use super::super::table::in_trial_order;

/// One part an arm with several configs and a choice.
pub fn of_all(material: &Material<'_>) -> Vec<SelectionPart> {
    let study = material.study;
    if study.judged().iter().all(|arm| arm.configs.len() < 2) {
        return Vec::new();
    }
    let design = Design::of(study);
    let rows: BTreeMap<TrialIndex, &OutcomeRow> =
        in_trial_order(material.rows, &design).into_iter().map(|row| (row.trial, row)).collect();
    let arms = (0u32..).zip(study.judged()).filter(|(_, arm)| arm.configs.len() > 1);
    let part = |(arm, _): (u32, _)| {
        let choices = match study.outer.inner.is_some() {
            true => nested(study, &design, &rows, arm),
            false => flat(study, &design, &rows, arm),
        };
        described(study, arm, &choices)
    };
    arms.filter_map(part).collect()
}

/// The scores of one choice, and what came of it.
struct Made {
    /// The outer fold, over all partitions.
    block: u64,
    config: usize,
    /// Of a nested study.
    point: Config,
    /// [configs][tuning seeds][folds]; of a config that a race dropped fewer tuning seeds.
    scores: Vec<Scores>,
    /// Scores of the refits.
    refits: Vec<f64>,
    /// Training of all scores.
    seconds: f64,
}

fn score(row: &OutcomeRow) -> Option<(f64, f64)> {
    match &row.end {
        RowEnd::Complete(outcome) => {
            let score = outcome.metrics.first().copied().unwrap_or(f64::NAN);
            Some((score, outcome.duration_us as f64 / 1e6))
        }
        RowEnd::Failed { .. } => Some((f64::NAN, 0.0)),
    }
}

/// Choices of which every trial has ended and a config was trained again.
fn nested(
    study: &Study,
    design: &Design,
    rows: &BTreeMap<TrialIndex, &OutcomeRow>,
    arm: u32,
) -> Vec<Made> {
    let blocks = u64::from(study.outer.partitions) * u64::from(study.outer.folds);
    let configs = study.arms[arm as usize].configs.len();
    let reached = design.halving(arm).map_or(configs, |halving| halving.configs as usize);
    let raced = design.raced(arm).map_or(usize::MAX, |first| first as usize);
    let of_choice = |choice: Choice| {
        let trials = design.scores_of(choice);
        let mut seconds = 0.0;
        let mut scores: Vec<Scores> = vec![Vec::new(); configs];
        for (seed_number, seed) in trials.iter().enumerate() {
            for (config, folds) in seed.iter().enumerate() {
                let mut of_folds = Vec::with_capacity(folds.len());
                for trial in folds {
                    let (score, took) = match rows.get(trial) {
                        Some(row) => score(row)?,
                        // A rung that this config did not reach.
                        None if config >= reached => (f64::NAN, 0.0),
                        None if seed_number >= raced && of_folds.is_empty() => break,
                        None => return None,
                    };
                    of_folds.push(score);
                    seconds += took;
                }
                if !of_folds.is_empty() {
                    scores[config].push(of_folds);
                }
            }
        }
        let ended = |config: usize| -> Vec<f64> {
            let refits = design.refits(choice, config as u32).into_iter();
            refits.filter_map(|trial| Some(score(rows.get(&trial)?)?.0)).collect()
        };
        // Only what was chosen is ever trained.
        let (config, refits) = (0..configs)
            .map(|config| (config, ended(config)))
            .find(|(_, refits)| !refits.is_empty())?;
        let point = study.configs_of(choice).get(config).map(|one| one.point.clone());
        let (block, point) = (choice.cell % blocks, point.unwrap_or_default());
        Some(Made { block, config, point, scores, refits, seconds })
    };
    design.choices().filter(|choice| choice.arm == arm).filter_map(of_choice).collect()
}

/// Each seed chooses by its own scores.
fn flat(
    study: &Study,
    design: &Design,
    rows: &BTreeMap<TrialIndex, &OutcomeRow>,
    arm: u32,
) -> Vec<Made> {
    let written = &study.arms[arm as usize];
    let mut seeds: BTreeMap<Vec<u32>, (Vec<Scores>, f64)> = BTreeMap::new();
    let blocks = (study.outer.partitions * study.outer.folds) as usize;
    for (trial, row) in rows {
        let Some(key) = design.key(*trial).filter(|key| key.arm == arm) else { continue };
        let Some((score, took)) = score(row) else { continue };
        let empty = || (vec![vec![vec![f64::NAN; blocks]]; written.configs.len()], 0.0);
        let (scores, seconds) = seeds.entry(key.seeds.clone()).or_insert_with(empty);
        let block = key.partition * study.outer.folds + key.fold;
        scores[key.config as usize][0][block as usize] = score;
        *seconds += took;
    }
    let larger = study.primary().larger_is_better();
    let costs: Vec<f64> = written.configs.iter().map(|config| cost(&config.hyper)).collect();
    let whole = |scores: &[Scores]| scores.iter().flatten().flatten().all(|s| s.is_finite());
    let made = |(scores, seconds): (Vec<Scores>, f64)| Made {
        block: 0,
        point: Config::default(),
        config: choose(&scores, Select::Best, larger, &costs),
        scores,
        refits: Vec::new(),
        seconds,
    };
    seeds.into_values().filter(|(scores, _)| whole(scores)).map(made).collect()
}

fn described(study: &Study, arm: u32, choices: &[Made]) -> Option<SelectionPart> {
    if choices.is_empty() {
        return None;
    }
    let written = &study.arms[arm as usize];
    let larger = study.primary().larger_is_better();
    let (nested, learned) = (study.outer.inner.is_some(), written.learned.is_some());
    // Of these not all configs are scored by all that the best is.
    let few_whole = written.halving.is_some() || written.race.is_some();
    let mean_of = |made: &Made| average(&made.scores[made.config].concat());
    let finite = |values: &[f64]| -> Vec<f64> {
        values.iter().copied().filter(|value| value.is_finite()).collect()
    };
    let refit = |made: &Made| {
        let scores = finite(&made.refits);
        (!scores.is_empty()).then(|| mean(&scores))
    };
    let pairs: Vec<(u64, f64, f64)> = (choices.iter())
        .filter_map(|made| Some((made.block, mean_of(made)?, refit(made)?)))
        .collect();
    // Beside refits where there are any, so that the two can be compared.
    let chosen: Vec<f64> = match nested {
        true => pairs.iter().map(|(_, chosen, _)| *chosen).collect(),
        false => choices.iter().filter_map(mean_of).collect(),
    };
    let over_seeds =
        |made: &Made| -> Vec<Vec<f64>> { made.scores.iter().map(over_tuning_seeds).collect() };
    let whole = choices.iter().filter(|_| !few_whole);
    let biases: Vec<f64> =
        whole.filter_map(|made| tibshirani_bias(&over_seeds(made), larger)).collect();
    let mut counts = vec![0u64; written.configs.len()];
    choices.iter().for_each(|made| counts[made.config] += 1);
    let refits: Vec<f64> = pairs.iter().map(|(_, _, refit)| *refit).collect();
    Some(SelectionPart {
        arm: written.name.clone(),
        configs: written.alternatives() as u64,
        chosen_on: if nested { "inner folds" } else { "outer folds" },
        choices: choices.len() as u64,
        chosen: average(&chosen),
        refit: average(&refits),
        nested_gap: gap(&pairs, larger),
        tibshirani_bias: average(&biases),
        frequency: if learned { Vec::new() } else { frequency(study, arm, &counts) },
        entropy: (!learned).then(|| entropy_bits(&counts)),
        expected_best: if learned || few_whole { Vec::new() } else { curve(study, arm, choices) },
        searched: written.learned.as_ref().map(|learned| SearchedPart {
            method: learned.method.name(),
            chosen: learned.space.axes.iter().map(|(name, _)| axis(name, choices)).collect(),
            running_best: running_best(study, arm, choices),
        }),
        race: race(study, arm, choices),
        slopes: pairs.into_iter().map(|(_, chosen, refit)| (chosen, refit)).collect(),
    })
}

/// What the arm's races dropped.
fn race(study: &Study, arm: u32, choices: &[Made]) -> Option<RacePart> {
    let written = &study.arms[arm as usize];
    let (race, inner) = (written.race?, study.outer.inner.as_ref()?);
    let tune = inner.tune.unwrap_or(1) as usize;
    let (mut dropped, mut trainings) = (0, 0);
    for made in choices {
        let whole = made.scores.iter().filter(|seeds| seeds.len() == tune).count();
        // One that is left alone is chosen, and trained no further.
        dropped += (made.scores.len() - whole.max(1)) as u64;
        trainings += made.scores.iter().flatten().map(Vec::len).sum::<usize>() as u64;
    }
    let configs = (written.configs.len() * choices.len()) as u64;
    let all = configs * (tune as u64) * u64::from(inner.folds);
    Some(RacePart {
        level: 1.0 - race.alpha,
        first: race.first.into(),
        tuning_seeds: tune as u64,
        dropped,
        configs,
        trainings,
        trainings_saved: all.saturating_sub(trainings),
    })
}

/// `None` where one is missing, or there is none.
fn average(values: &[f64]) -> Option<f64> {
    let whole = !values.is_empty() && values.iter().all(|value| value.is_finite());
    whole.then(|| mean(values))
}

/// Mean over tuning seeds, fold by fold.
fn over_tuning_seeds(config: &Scores) -> Vec<f64> {
    let folds = config.first().map_or(0, Vec::len);
    let of_fold = |fold: usize| -> Vec<f64> { config.iter().map(|seed| seed[fold]).collect() };
    (0..folds).map(|fold| average(&of_fold(fold)).unwrap_or(f64::NAN)).collect()
}

/// Outer folds are what is independent; the choices of one are averaged.
fn gap(pairs: &[(u64, f64, f64)], larger: bool) -> Option<Gap> {
    let sign = if larger { 1.0 } else { -1.0 };
    let mut blocks: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (block, chosen, refit) in pairs {
        blocks.entry(*block).or_default().push(sign * (chosen - refit));
    }
    let means: Vec<f64> = blocks.values().map(|gaps| mean(gaps)).collect();
    let se = sd(&means).map(|sd| sd / (means.len() as f64).sqrt());
    (!means.is_empty()).then(|| Gap { mean: mean(&means), se, folds: means.len() as u64 })
}

fn frequency(study: &Study, arm: u32, counts: &[u64]) -> Vec<Frequency> {
    let all: u64 = counts.iter().sum();
    let configs = &study.arms[arm as usize].configs;
    let mut list: Vec<Frequency> = (configs.iter().zip(counts))
        .filter(|(_, count)| **count > 0)
        .map(|(config, &chosen)| Frequency {
            config: config.point.to_string(),
            chosen,
            share: chosen as f64 / all.max(1) as f64,
        })
        .collect();
    list.sort_by_key(|one| std::cmp::Reverse(one.chosen));
    list
}

/// What a search's choices have of one hyperparameter.
fn axis(name: &str, choices: &[Made]) -> ChosenAxis {
    let values: Vec<&Value> = choices.iter().filter_map(|made| made.point.value(name)).collect();
    let numbers: Option<Vec<f64>> = values.iter().map(|value| value.number()).collect();
    let numbers = numbers.filter(|numbers| !numbers.is_empty());
    let at = |share: f64| numbers.as_ref().map(|numbers| quantile(numbers, share));
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    if numbers.is_none() {
        values.iter().for_each(|value| *counts.entry(value.to_string()).or_default() += 1);
    }
    let share = |chosen: u64| chosen as f64 / values.len().max(1) as f64;
    let counted = counts.into_iter();
    let mut list: Vec<Frequency> = counted
        .map(|(config, chosen)| Frequency { config, chosen, share: share(chosen) })
        .collect();
    list.sort_by_key(|one| std::cmp::Reverse(one.chosen));
    ChosenAxis {
        name: name.to_string(),
        choices: values.len() as u64,
        lowest: at(0.0),
        median: at(0.5),
        highest: at(1.0),
        values: list,
    }
}

/// The best of the first 1, 2, 3, 5, 10, … tries in the order they were made, its mean over choices. Tries
/// without a score are passed over.
fn running_best(study: &Study, arm: u32, choices: &[Made]) -> Vec<RunningBest> {
    let larger = study.primary().larger_is_better();
    let better = |a: f64, b: f64| if larger { a.max(b) } else { a.min(b) };
    let tries = study.arms[arm as usize].configs.len();
    let best_of = |made: &Made, n: usize| {
        let tried = made.scores.iter().take(n);
        tried.filter_map(|config| average(&config.concat())).reduce(better)
    };
    let point = |n: usize| {
        let best: Option<Vec<f64>> = choices.iter().map(|made| best_of(made, n)).collect();
        let seconds = mean(&choices.iter().map(|made| made.seconds).collect::<Vec<_>>());
        let agent_seconds = seconds * n as f64 / tries as f64;
        Some(RunningBest { tries: n as u64, best: mean(&best?), agent_seconds })
    };
    steps(tries).into_iter().filter_map(point).collect()
}

/// The expected best of 1, 2, 3, 5, 10, … configs, its mean over choices.
fn curve(study: &Study, arm: u32, choices: &[Made]) -> Vec<ExpectedBest> {
    let larger = study.primary().larger_is_better();
    let of_choice = |made: &Made| -> Vec<f64> {
        made.scores.iter().filter_map(|config| average(&config.concat())).collect()
    };
    let values: Vec<Vec<f64>> =
        choices.iter().map(of_choice).filter(|values| !values.is_empty()).collect();
    let most = values.iter().map(Vec::len).min().unwrap_or(0);
    let configs = study.arms[arm as usize].configs.len() as f64;
    let seconds = mean(&choices.iter().map(|made| made.seconds / configs).collect::<Vec<_>>());
    let point = |n: usize| {
        let expected: Vec<f64> =
            values.iter().filter_map(|values| expected_best(values, n, larger)).collect();
        let replaced: Vec<f64> =
            values.iter().filter_map(|values| expected_best_replaced(values, n, larger)).collect();
        let (low, high) = band(study, arm, n, &expected).unzip();
        let (expected, replaced) = (mean(&expected), mean(&replaced));
        let agent_seconds = seconds * n as f64;
        ExpectedBest { configs: n as u64, expected, low, high, replaced, agent_seconds }
    };
    steps(most).into_iter().map(point).collect()
}

/// 1, 2, 3, 5, 10, 20, 30, 50, … and the last.
fn steps(most: usize) -> Vec<usize> {
    let tens = (0..6).map(|power| 10usize.pow(power));
    let mut list: Vec<usize> =
        tens.flat_map(|ten| [1, 2, 3, 5].map(|step| step * ten)).filter(|n| *n <= most).collect();
    list.extend((most > 0 && list.last() != Some(&most)).then_some(most));
    list
}

/// Middle 95 % of the mean over choices drawn again.
fn band(study: &Study, arm: u32, n: usize, values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < CHOICES_MIN {
        return None;
    }
    let position = u64::from(arm) << 32 | n as u64;
    let mut rng = StreamRng::new(&study.digest(), Stream::Report, SELECTION, position);
    let draw = |_| {
        let drawn = (0..values.len()).map(|_| values[rng.below(values.len() as u64) as usize]);
        mean(&drawn.collect::<Vec<_>>())
    };
    let means: Vec<f64> = (0..DRAWS).map(draw).collect();
    Some((quantile(&means, 0.025), quantile(&means, 0.975)))
}

/// Names this use of the report's stream.
const SELECTION: u64 = 0x5e1e_c710;
const DRAWS: usize = 1_000;
const CHOICES_MIN: usize = 5;
