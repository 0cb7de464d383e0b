//! Where the spread comes from: variance components of each arm, and of all arms together.
//!
//! A factor enters a model when its levels can be told from each other and from the residual; each
//! one left out is named with the reason. A component at zero stays in the model and is reported
//! with its upper limit.
//!
//! Floor: core.

use std::collections::BTreeSet;

use common::study::{OuterKind, Study};

use super::super::content::{ComponentPart, NotEstimable, SeedEffects};
use super::super::table::{Run, Table};
use super::estimate::{self, Factor, Spread};
use super::interval;

/// The components of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decomposition {
    pub components: Vec<ComponentPart>,
    pub dropped: Vec<NotEstimable>,
    pub effects: Vec<SeedEffects>,
    /// One a run; empty for the model over all arms and where nothing was estimable.
    pub residuals: Vec<f64>,
    /// Factor, and standard deviations with their zeta.
    pub zeta: Vec<(String, Vec<(f64, f64)>)>,
}

impl Decomposition {
    /// Variance of one run; `None` when nothing was estimable.
    pub fn total_variance(&self) -> Option<f64> {
        let sum = self.components.iter().map(|component| component.variance).sum();
        (!self.components.is_empty()).then_some(sum)
    }
}

/// `score ~ 1 + (1|seed…) + (1|partition) + (1|partition:fold) + (1|config)` for one arm.
pub fn of_arm(study: &Study, table: &Table, arm: usize) -> Decomposition {
    let name = study.arms[arm].name.clone();
    let runs: Vec<(usize, &Run)> = table.arms[arm].iter().map(|run| (arm, run)).collect();
    let mut factors = sources(study, &runs);
    if study.arms[arm].configs.len() > 1 {
        factors.push(factor("config", &runs, |(_, run)| u64::from(run.config)));
    }
    decompose(study, Some(name), &runs, factors, None)
}

/// The same for all arms, whose means are fixed effects, with each arm's own leaning to a fold and
/// to a seed.
///
/// Empty with fewer than two arms that have runs.
pub fn jointly(study: &Study, table: &Table) -> Decomposition {
    let runs: Vec<(usize, &Run)> = table
        .judged(study)
        .iter()
        .enumerate()
        .flat_map(|(arm, runs)| runs.iter().map(move |run| (arm, run)))
        .collect();
    let arms: BTreeSet<usize> = runs.iter().map(|(arm, _)| *arm).collect();
    if arms.len() < 2 {
        return Decomposition::default();
    }
    let mut factors = sources(study, &runs);
    let blocks = u64::from(study.outer.partitions) * u64::from(study.outer.folds);
    if blocks > 1 {
        factors.push(factor("arm:fold", &runs, |(arm, run)| {
            *arm as u64 * blocks + u64::from(run.block(study))
        }));
    }
    for (place, seed) in study.seeds.factors.iter().enumerate() {
        // A seed is the same chance for all arms, and does not do the same to each. One seed alone
        // does to an arm what the arm's mean is.
        if runs.iter().all(|(_, run)| run.seeds[place] == runs[0].1.seeds[place]) {
            continue;
        }
        let count = u64::from(seed.count);
        factors.push(factor(&format!("arm:{}", seed.name), &runs, |(arm, run)| {
            *arm as u64 * count + u64::from(run.seeds[place])
        }));
    }
    if study.judged().iter().any(|arm| arm.configs.len() > 1) {
        let most = study.judged().iter().map(|arm| arm.configs.len()).max().unwrap_or(1) as u64;
        factors.push(factor("arm:config", &runs, |(arm, run)| {
            *arm as u64 * most + u64::from(run.config)
        }));
    }
    let fixed = factor("arm", &runs, |(arm, _)| *arm as u64);
    decompose(study, None, &runs, factors, Some(fixed))
}

/// Seeds, partitions and folds: the sources that every arm meets.
fn sources(study: &Study, runs: &[(usize, &Run)]) -> Vec<Factor> {
    let mut factors: Vec<Factor> = study
        .seeds
        .factors
        .iter()
        .enumerate()
        .map(|(place, seed)| factor(&seed.name, runs, |(_, run)| u64::from(run.seeds[place])))
        .collect();
    factors.push(factor("partition", runs, |(_, run)| u64::from(run.partition)));
    if study.outer.folds > 1 {
        let name = if study.outer.partitions > 1 { "partition:fold" } else { "fold" };
        factors.push(factor(name, runs, |(_, run)| u64::from(run.block(study))));
    }
    factors
}

fn factor(name: &str, runs: &[(usize, &Run)], level: impl Fn(&(usize, &Run)) -> u64) -> Factor {
    let raw: Vec<u64> = runs.iter().map(level).collect();
    let distinct: Vec<u64> = raw.iter().copied().collect::<BTreeSet<u64>>().into_iter().collect();
    let codes =
        raw.iter().map(|value| distinct.partition_point(|other| other < value) as u32).collect();
    Factor { name: name.to_string(), codes, levels: distinct.iter().map(u64::to_string).collect() }
}

fn decompose(
    study: &Study,
    arm: Option<String>,
    runs: &[(usize, &Run)],
    factors: Vec<Factor>,
    fixed: Option<Factor>,
) -> Decomposition {
    let mut parts = Decomposition::default();
    let mut refuse = |factor: Option<String>, why: String| {
        parts.dropped.push(NotEstimable { arm: arm.clone(), factor, why });
    };
    let scores: Vec<f64> = runs.iter().map(|(_, run)| run.score).collect();
    if scores.len() < RUNS_MIN {
        refuse(None, format!("{} scores are too few to divide their spread", scores.len()));
        return parts;
    }
    if scores.iter().all(|score| *score == scores[0]) {
        refuse(None, "all scores are identical, so there is no spread to divide".to_string());
        return parts;
    }
    let mut kept: Vec<Factor> = Vec::new();
    for factor in factors {
        match reason_to_drop(&factor, &kept, scores.len()) {
            Some(why) => refuse(Some(factor.name), why),
            None => kept.push(factor),
        }
    }
    if kept.is_empty() {
        refuse(None, "no source of spread has been varied with repetition".to_string());
        return parts;
    }
    let levels: usize = kept.iter().map(|factor| factor.levels.len()).sum();
    let intervals = fixed.is_none() || levels <= LEVELS_PROFILED_JOINTLY;
    if !intervals {
        refuse(
            None,
            format!(
                "over {LEVELS_PROFILED_JOINTLY} levels the intervals of this model are not \
                 computed; those of each arm are"
            ),
        );
    }
    match estimate::spread(&scores, &kept, fixed.as_ref(), intervals) {
        Ok(spread) => fill(study, &arm, &kept, spread, &mut parts),
        Err(why) => refuse(None, why),
    }
    parts
}

/// Why a factor's variance cannot be told from another part of the model.
fn reason_to_drop(factor: &Factor, kept: &[Factor], runs: usize) -> Option<String> {
    match factor.levels.len() {
        0 | 1 => Some("it has one level in this study, so its spread was not seen".to_string()),
        levels if levels >= runs => Some(
            "each of its levels has one run, so it cannot be told from the residual".to_string(),
        ),
        _ => kept.iter().find(|other| other.codes == factor.codes).map(|other| {
            format!("its levels are those of {}, so the two cannot be told apart", other.name)
        }),
    }
}

fn fill(
    study: &Study,
    arm: &Option<String>,
    factors: &[Factor],
    spread: Spread,
    parts: &mut Decomposition,
) {
    for (factor, part) in factors.iter().zip(&spread.parts) {
        parts.components.push(component(study, arm, &factor.name, part));
        let is_seed = study.seeds.factors.iter().any(|seed| seed.name == factor.name);
        if let (true, Some(arm)) = (is_seed, arm) {
            let mut levels: Vec<(String, f64, f64)> = part.effects.clone();
            levels.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
            parts.effects.push(SeedEffects {
                arm: arm.clone(),
                factor: factor.name.clone(),
                levels,
            });
        }
    }
    parts.components.push(component(study, arm, "residual", &spread.residual));
    parts.residuals = spread.residuals;
    let named = factors.iter().map(|factor| factor.name.as_str()).chain(["residual"]);
    let curves = named.zip(spread.parts.iter().chain([&spread.residual]));
    parts.zeta = curves
        .filter(|(_, part)| !part.zeta.is_empty())
        .map(|(name, part)| (name.to_string(), part.zeta.clone()))
        .collect();
    if !spread.converged {
        parts.dropped.push(NotEstimable {
            arm: arm.clone(),
            factor: None,
            why: "the fit stopped before it converged; read its components with care".to_string(),
        });
    }
}

fn component(
    study: &Study,
    arm: &Option<String>,
    factor: &str,
    part: &estimate::Part,
) -> ComponentPart {
    ComponentPart {
        arm: arm.clone(),
        factor: factor.to_string(),
        levels: part.levels,
        variance: part.variance,
        sd: part.sd,
        share: part.share,
        ci_sd: part.ci_sd.and_then(|ci| interval(ci, "REML profile likelihood", None)),
        method: "REML",
        p: part.p_zero.filter(|p| p.is_finite()),
        at_boundary: part.at_boundary,
        meaning: meaning(study, factor),
    }
}

/// What a component means, in one sentence.
fn meaning(study: &Study, factor: &str) -> String {
    let fold = match study.outer.kind {
        OuterKind::LeaveOut => {
            let column = study.data.leave_out.as_deref().unwrap_or("value");
            &format!("Which {column} is tested: some are harder than others.")
        }
        OuterKind::Ordered { .. } => {
            "Which stretch of time is tested, and how many earlier rows there are to train on."
        }
        _ => "Which rows fall into the test fold: some folds are harder than others.",
    };
    match factor {
        "seed" => {
            "The luck of the seed that lasts over folds: first weights, order of the \
                   minibatches and noise together."
        }
        "init" => "The luck of the first weights that lasts over folds.",
        "order" => "The luck of the order of the minibatches that lasts over folds.",
        "noise" => "The luck of dropout and augmentation that lasts over folds.",
        "partition" if study.outer.folds == 1 => "Which rows were drawn to test.",
        "partition" => "Which of the drawn partitions into folds is used.",
        "partition:fold" | "fold" => fold,
        "config" | "arm:config" => "Which config of the space is trained.",
        "arm:fold" => {
            "Folds that suit one arm more than another: what a comparison must live with."
        }
        name if name.starts_with("arm:") && name != "arm:config" => {
            "Seeds that suit one arm more than another, over all folds."
        }
        "residual" => {
            "What is left in a single run: luck that belongs to one seed in one fold, \
                       and everything no factor above names."
        }
        _ => "The luck of this stream that lasts over folds.",
    }
    .to_string()
}

/// Fewest scores whose spread is divided.
const RUNS_MIN: usize = 3;

/// Levels above which the model over all arms has no intervals: they would take minutes.
const LEVELS_PROFILED_JOINTLY: usize = 500;
