//! Searches that learn in words: what they chose, and how far more tries led.
//!
//! Each choice has tries of its own, so that no config can be chosen twice: told is where in the space the
//! chosen ones lie. The best of n new configs cannot be told either, since later tries learned from earlier
//! ones; the best so far is.
//!
//! Floor: core.

use common::plan::Method;
use common::study::{Arm, Study};

use super::content::{ChosenAxis, RacePart, Report, SearchedPart};
use super::methods::WANG;
use super::number::{beside, count, counted, listed, percent, significant_short};
use super::page::{Sheet, columns, legend};
use super::selection::time;

/// Where the chosen configs lie.
pub fn chosen_in_words(part: &SearchedPart) -> String {
    let axis = |axis: &ChosenAxis| match (axis.lowest, axis.median, axis.highest) {
        (Some(low), Some(_), Some(high)) if low == high => {
            format!("{} {}", axis.name, significant_short(low))
        }
        (Some(low), Some(median), Some(high)) => {
            format!(
                "{} {} ({} to {})",
                axis.name,
                significant_short(median),
                significant_short(low),
                significant_short(high)
            )
        }
        _ => match axis.values.first() {
            Some(first) => {
                format!("{} {} in {}", axis.name, first.config, counted(first.chosen, "choice"))
            }
            None => format!("{} never", axis.name),
        },
    };
    let axes: Vec<String> = part.chosen.iter().map(axis).collect();
    format!(
        " Chosen among the tries of {}, each choice by a search of its own: {}.",
        part.method,
        axes.join("; ")
    )
}

/// What the races of an arm's configs dropped, and saved.
pub fn raced_in_words(part: &RacePart) -> String {
    let all = part.trainings + part.trainings_saved;
    let saved = percent(part.trainings_saved as f64 / all.max(1) as f64);
    format!(
        " Its configs raced: of {} in all choices {} were dropped before the last of {} tuning seeds, which \
         saved {} of {} trainings on inner folds ({saved}); a choice's best config stays in with {}.",
        count(part.configs),
        count(part.dropped),
        count(part.tuning_seeds),
        count(part.trainings_saved),
        count(all),
        percent(part.level)
    )
}

/// What was chosen, and the best so far; none where no arm has a search.
pub fn sheets(report: &Report) -> Vec<Sheet> {
    let parts = || report.selection.iter().filter_map(|part| Some((part, part.searched.as_ref()?)));
    if parts().next().is_none() {
        return Vec::new();
    }
    let number = |value: Option<f64>| value.map_or("–".to_string(), significant_short);
    let row = |arm: &str, axis: &ChosenAxis| {
        let values = axis.values.iter().take(VALUES_SHOWN);
        let words: Vec<String> =
            values.map(|one| format!("{} ({})", one.config, percent(one.share))).collect();
        let words = if words.is_empty() { "–".to_string() } else { words.join(", ") };
        let numbers = [axis.median, axis.lowest, axis.highest].map(number);
        let head = [arm.to_string(), axis.name.clone(), count(axis.choices)];
        head.into_iter().chain(numbers).chain([words]).collect::<Vec<_>>()
    };
    let chosen = parts()
        .flat_map(|(part, searched)| searched.chosen.iter().map(|axis| row(&part.arm, axis)));
    let names = ["Arm", "Hyperparameter", "Choices", "Median", "Lowest", "Highest", "Values"];
    let best = parts().flat_map(|(part, searched)| {
        let ends = searched.running_best.first().zip(searched.running_best.last());
        let scale = ends.map_or(0.0, |(first, last)| (last.best - first.best).abs() / 4.0);
        searched.running_best.iter().map(move |point| {
            let best = beside(point.best, scale);
            vec![part.arm.clone(), count(point.tries), best, time(point.agent_seconds)]
        })
    });
    vec![
        Sheet {
            title: "Where the chosen configs lie".into(),
            columns: columns(&names, 2),
            rows: chosen.collect(),
            legend: legend(&[("Choices", "whose config has this hyperparameter")]),
        },
        Sheet {
            title: format!("Best of the tries so far ({})", report.study.metric),
            columns: columns(&["Arm", "Tries", "Best so far", "Training"], 1),
            rows: best.collect(),
            legend: legend(&[
                (
                    "Best so far",
                    "on the folds that choose, in the order of trying, its mean over choices; nothing is \
                     expected of others, since later tries learned from earlier ones",
                ),
                ("Training", "that so many tries took, for one choice"),
            ]),
        },
    ]
}

/// For the methods paragraph.
pub fn sentence(study: &Study) -> String {
    let of_method = |method: Method| {
        let has = |arm: &&Arm| arm.learned.as_ref().is_some_and(|one| one.method == method);
        let arms: Vec<String> =
            study.judged().iter().filter(has).map(|arm| arm.name.clone()).collect();
        (!arms.is_empty()).then(|| {
            format!(
                "The configs of {} were proposed by {}, for each choice by a search of its own that saw \
                 its scores on inner folds and no others. ",
                listed(&arms),
                in_words(method)
            )
        })
    };
    let proposed: String = METHODS.into_iter().filter_map(of_method).collect();
    let halved = study.judged().iter().filter_map(|arm| Some((arm, arm.halving?)));
    let halved = halved.map(|(arm, halving)| {
        let epochs = arm.configs.last().map_or(0, |config| config.hyper.epochs);
        let rungs = (0..halving.rungs).map(|rung| {
            format!("{} for {}", halving.kept(rung), halving.epochs(rung, epochs))
        });
        let rungs: Vec<String> = rungs.collect();
        if halving.at_once {
            let until = |rung: u32| halving.epochs(rung, epochs).to_string();
            let later: Vec<String> = (1..halving.rungs).map(until).collect();
            return format!(
                "The configs of {} were halved by their scores on inner folds without waiting for each other \
                 (Li et al., 2020): of {} that train for {} each went on to {} once it was among the \
                 best one in {} of those scored there by then, and was trained on, not anew. ",
                arm.name,
                halving.configs,
                counted(halving.epochs(0, epochs).into(), "epoch"),
                listed(&later),
                halving.factor
            );
        }
        format!(
            "The configs of {} were halved by their scores on inner folds (Jamieson and Talwalkar, 2016): {} \
             epochs; what goes on was trained on, not anew. ",
            arm.name,
            listed(&rungs)
        )
    });
    proposed + &halved.collect::<String>() + &raced(study)
}

fn raced(study: &Study) -> String {
    let of_arm = |arm: &Arm| {
        let race = arm.race?;
        Some(format!(
            "The configs of {} raced in each choice: from tuning seed {} on, those were dropped whose \
             difference to the leader a confidence sequence put below 0 (Wang and Ramdas, 2025), at level {} \
             for all looks and configs together. ",
            arm.name,
            race.first,
            percent(1.0 - race.alpha)
        ))
    };
    study.judged().iter().filter_map(of_arm).collect()
}

/// What these cite.
pub fn references(study: &Study) -> Vec<&'static str> {
    let used = |method: &Method| {
        let searches = study.judged().iter().filter_map(|arm| arm.learned.as_ref());
        searches.into_iter().any(|learned| learned.method == *method)
    };
    let cited = |method: Method| match method {
        Method::Tpe => BERGSTRA,
        Method::Gaussian => JONES,
        _ => HANSEN,
    };
    let halved = |at_once: bool| {
        let mut arms = study.judged().iter().filter_map(|arm| arm.halving);
        arms.any(|halving| halving.at_once == at_once)
    };
    let halved = [(halved(false), JAMIESON), (halved(true), LI)];
    let halved = halved.into_iter().filter_map(|(used, text)| used.then_some(text));
    let raced = Some(WANG).filter(|_| study.races());
    METHODS.into_iter().filter(used).map(cited).chain(halved).chain(raced).collect()
}

fn in_words(method: Method) -> &'static str {
    match method {
        Method::Tpe => "tree-structured Parzen estimators (Bergstra et al., 2011)",
        Method::Gaussian => {
            "a Gaussian process with expected improvement (Jones et al., 1998), the measured variances \
             of its scores as their noise"
        }
        _ => "covariance matrix adaptation (Hansen, 2016)",
    }
}

const METHODS: [Method; 3] = [Method::Tpe, Method::Gaussian, Method::CmaEs];
const VALUES_SHOWN: usize = 4;

const BERGSTRA: &str = "Bergstra J, Bardenet R, Bengio Y, Kégl B (2011). Algorithms for hyper-parameter optimization. NeurIPS.";

const JONES: &str = "Jones DR, Schonlau M, Welch WJ (1998). Efficient global optimization of expensive black-box functions. \
     Journal of Global Optimization 13.";

const HANSEN: &str = "Hansen N (2016). The CMA evolution strategy: a tutorial. arXiv:1604.00772.";

const LI: &str = "Li L, Jamieson K, Rostamizadeh A et al. (2020). A system for massively parallel hyperparameter tuning. \
     Proceedings of Machine Learning and Systems 2.";

const JAMIESON: &str = "Jamieson K, Talwalkar A (2016). Non-stochastic best arm identification and hyperparameter optimization. \
     AISTATS.";
