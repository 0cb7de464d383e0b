//! How alike an arm's runs are, from its variance components.
//!
//! Source: Brennan (2001), Generalizability Theory, for configs as a random facet. The arm's model has
//! no config by fold, so that all of its residual is taken for that: coefficients err low.
//!
//! Floor: core.

use common::stats::precision::coefficients;
use common::stats::sources::{Components, Design};
use common::study::Study;

use super::super::content::{AgreementPart, ComponentPart, ConfigAgreement};
use super::super::table::Table;

/// Of every arm whose spread was divided. `components` are of all models of the report.
pub fn of_all(study: &Study, table: &Table, components: &[ComponentPart]) -> Vec<AgreementPart> {
    let arms = study.judged().iter().zip(table.judged(study));
    let of_arm = |(arm, runs): (&common::study::Arm, &Vec<super::super::table::Run>)| {
        let own =
            || components.iter().filter(|part| part.arm.as_deref() == Some(arm.name.as_str()));
        let sum = |wanted: &dyn Fn(&str) -> bool| -> f64 {
            own().filter(|part| wanted(&part.factor)).map(|part| part.variance).sum()
        };
        let seeds = |factor: &str| study.seeds.factors.iter().any(|own| own.name == factor);
        let known = |factor: &str| seeds(factor) || factor == CONFIG || factor == RESIDUAL;
        let parts = Components {
            seed: Some(sum(&seeds)),
            residual: sum(&|factor| factor == RESIDUAL),
            arm_fold: 0.0,
            fold: sum(&|factor| !known(factor)),
        };
        let agreement = parts.agreement().filter(|_| own().next().is_some())?;
        let distinct = |levels: &dyn Fn(&super::super::table::Run) -> Vec<u32>| {
            let set: std::collections::BTreeSet<Vec<u32>> = runs.iter().map(levels).collect();
            set.len().max(1) as u32
        };
        let design = Design {
            arms: 1,
            seeds: distinct(&|run| run.seeds.clone()),
            folds: distinct(&|run| vec![run.block(study)]),
        };
        let varied = |wanted: &dyn Fn(&str) -> bool| own().any(|part| wanted(&part.factor));
        let (seeds_varied, single) = (varied(&seeds), arm.configs.len() == 1);
        Some(AgreementPart {
            arm: arm.name.clone(),
            repeatability_sd: (seeds_varied && single).then(|| parts.repeatability_sd()),
            icc_seed: seeds_varied.then_some(agreement.seed),
            icc_fold: varied(&|factor| !known(factor)).then_some(agreement.fold),
            configs: (own().any(|part| part.factor == CONFIG))
                .then(|| of_configs(sum(&|factor| factor == CONFIG), parts, design))
                .flatten(),
        })
    };
    arms.filter_map(of_arm).collect()
}

/// Every config meets the same seeds and folds: their levels move no order, only the mean itself.
fn of_configs(configs: f64, parts: Components, design: Design) -> Option<ConfigAgreement> {
    let (seeds, folds) = (f64::from(design.seeds), f64::from(design.folds));
    let level = parts.fold + parts.seed.unwrap_or(0.0) * folds / seeds;
    let crossed =
        Components { seed: Some(0.0), residual: 0.0, arm_fold: parts.residual, fold: level };
    let found = coefficients(configs, &crossed, design).ok()??;
    Some(ConfigAgreement { relative: found.relative, absolute: found.absolute })
}

/// As `components.rs` names them.
const CONFIG: &str = "config";
const RESIDUAL: &str = "residual";
