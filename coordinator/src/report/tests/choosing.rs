//! What a study with inner folds asks for further seeds and folds.
//!
//! Floor: core.

use common::design::Design;
use common::study::Study;
use common::wire::message::OutcomeRow;

use super::super::content::Precision;
use super::super::refits::Choosing;
use super::{built, complete, material, near, row};
use crate::sample;

/// Every trial took a quarter of a second: 2 configs on 2 inner folds choose, one seed after another.
fn outcomes(study: &Study) -> Vec<OutcomeRow> {
    let design = Design::of(study);
    let all = 0..design.trials().unwrap();
    all.map(|trial| row(trial, complete(((trial * 7919) % 101) as f64 / 101.0))).collect()
}

fn two_arms(tune: Option<u32>) -> Study {
    let mut study = sample::nested(3, tune);
    let mut other = study.arms[0].clone();
    other.name = "b".to_string();
    study.arms.push(other);
    study
}

fn precision(study: &Study) -> Precision {
    let report = built(study, &outcomes(study));
    report.comparisons[0].outlook.clone().unwrap().precision
}

#[test]
fn a_choice_costs_all_trainings_on_its_inner_folds() {
    for (tune, seconds, shared) in [(None, 1.0, false), (Some(2), 2.0, true)] {
        let study = sample::nested(3, tune);
        let choosing = Choosing::of(&material(&study, &outcomes(&study)));
        near(choosing.seconds[0], seconds);
        assert_eq!(choosing.shared, shared);
    }
}

#[test]
fn where_each_seed_chooses_a_further_seed_pays_for_its_choices() {
    let precision = precision(&two_arms(None));
    assert_eq!(precision.fold_seconds, None);
    for design in precision.table {
        // Of each arm a refit and a choice.
        near(design.cost, f64::from(design.seeds * design.folds) * 2.0 * (0.25 + 1.0));
    }
}

#[test]
fn where_tuning_seeds_choose_only_a_further_fold_pays_for_choices() {
    let precision = precision(&two_arms(Some(2)));
    near(precision.fold_seconds.unwrap(), 2.0 * 2.0);
    for design in precision.table {
        let (seeds, folds) = (f64::from(design.seeds), f64::from(design.folds));
        near(design.cost, seeds * folds * 2.0 * 0.25 + folds * 4.0);
    }
}
