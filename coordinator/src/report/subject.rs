//! What was done to the data, how each arm was trained and what the metric is, in words.
//!
//! Every word follows from the checked study alone. Deliberately absent: outcomes.
//!
//! Floor: core.

use common::metric::Metric;
use common::study::{Arm, Hyper, Missing, Model, Optimizer, Study, Task};

use super::number::counted;

/// Classes, and which one counts as positive when there are two; `None` for regression.
pub fn classes(study: &Study) -> Option<String> {
    let Task::Classification { classes } = &study.data.task else {
        return None;
    };
    let shown = classes[..classes.len().min(CLASSES_SHOWN)].join(", ");
    Some(match classes.as_slice() {
        [_, positive] => format!("{shown}; {positive} is the positive one"),
        all if all.len() > CLASSES_SHOWN => {
            format!("{shown} and {} more", all.len() - CLASSES_SHOWN)
        }
        _ => shown,
    })
}

/// What became of empty cells.
pub fn empty_cells(study: &Study) -> &'static str {
    match study.data.missing {
        Missing::Refuse => "none were missing: a table with an empty cell is refused",
        Missing::Drop => {
            "rows with an empty cell in a column used were left out before anything else"
        }
        Missing::Mean => "filled with the mean of the training rows",
    }
}

/// How columns became numbers.
pub const FEATURES: &str = "each text column became one column a level, and every column was \
                            standardised with the mean and standard deviation of the training rows \
                            alone";

/// The data's treatment in sentences, for the methods.
pub fn data_sentences(study: &Study) -> String {
    let mut text = String::new();
    if let Some(classes) = classes(study) {
        text += &format!("The classes of {} were {classes}. ", study.data.target);
    }
    text += &match study.data.missing {
        Missing::Refuse => "No cell was missing. ".to_string(),
        Missing::Drop | Missing::Mean => match empty_cells(study).strip_prefix("filled") {
            Some(rest) => format!("Empty cells were filled{rest}. "),
            None => format!("Of the table, {}. ", empty_cells(study)),
        },
    };
    if !study.data.drop.is_empty() {
        text += &format!("Not used as features: {}. ", study.data.drop.join(", "));
    }
    if let Some(column) = &study.data.group {
        text += &format!("Rows of one {column} were kept on the same side of every split. ");
    }
    text + &format!("Of the features, {FEATURES}. ")
}

/// Model and hyperparameters of an arm: those that all configs share with their value, the others
/// as varied.
pub fn training(arm: &Arm) -> String {
    let configs = || arm.configs.iter().map(|config| &config.hyper);
    let mut words = vec![arm.model.name().to_string()];
    let mut varied: Vec<&str> = Vec::new();
    let mut say = |name: &'static str, word: &dyn Fn(&Hyper) -> String| {
        let mut all = configs().map(word);
        let first = all.next().unwrap_or_default();
        if all.all(|other| other == first) {
            words.push(first);
        } else {
            varied.push(name);
        }
    };
    say("epochs", &|hyper| counted(u64::from(hyper.epochs), "epoch"));
    say("batch size", &|hyper| format!("batch size {}", hyper.batch));
    say("optimizer", &|hyper| match hyper.optimizer {
        Optimizer::AdamW if hyper.weight_decay > 0.0 => "AdamW".to_string(),
        Optimizer::AdamW | Optimizer::Adam => "Adam".to_string(),
        Optimizer::Sgd => "SGD".to_string(),
    });
    say("learning rate", &|hyper| format!("learning rate {}", hyper.lr));
    say("weight decay", &|hyper| format!("weight decay {}", hyper.weight_decay));
    if configs().any(|hyper| hyper.optimizer == Optimizer::Sgd) {
        say("momentum", &|hyper| format!("momentum {}", hyper.momentum));
    }
    if arm.model == Model::Mlp {
        say("hidden layers", &|hyper| {
            let widths: Vec<String> = hyper.hidden.iter().map(u32::to_string).collect();
            format!("hidden layers of {}", widths.join(", "))
        });
        say("dropout", &|hyper| format!("dropout {}", hyper.dropout));
    }
    if !varied.is_empty() {
        words.push(format!("varied: {}", varied.join(" and ")));
    }
    words.join(", ")
}

/// The primary metric in one sentence.
pub fn metric(study: &Study) -> String {
    let several = matches!(&study.data.task, Task::Classification { classes } if classes.len() > 2);
    let rest = |text: &str| match several {
        true => format!("{text}; the mean over classes of one against the rest"),
        false => text.to_string(),
    };
    let text = match study.primary() {
        Metric::Auroc => {
            rest("the chance that a positive case scores above a negative one, ties counting half")
        }
        Metric::Auprc => rest(
            "the average precision: precision at each threshold, weighted by the recall gained",
        ),
        Metric::Accuracy => "the share of test rows put into their true class".to_string(),
        Metric::BalancedAccuracy => {
            "the share of each class's test rows found, averaged over classes".to_string()
        }
        Metric::F1 => rest("the harmonic mean of precision and recall of the positive class"),
        Metric::LogLoss => {
            "minus the mean logarithm of the probability given to the true class".to_string()
        }
        Metric::Brier if several => "the squared distance between predicted probabilities and the \
                                     true class, summed over classes and averaged over rows"
            .to_string(),
        Metric::Brier => "the mean squared distance between the positive class's probability and \
                          what came true (1 or 0)"
            .to_string(),
        Metric::Rmse => "the root of the mean squared error, in the unit of the target".to_string(),
        Metric::Mae => "the mean absolute error, in the unit of the target".to_string(),
        Metric::R2 => {
            "the share of the test rows' variance that predictions explain; 0 is as good \
                       as predicting their mean"
                .to_string()
        }
        Metric::Dice => format!(
            "twice the pixels that are in the predicted and in the true mask, over those of both; {CASES}"
        ),
        Metric::Iou => format!(
            "the pixels that are in the predicted and in the true mask, over those in either; {CASES}"
        ),
        Metric::Hausdorff95 => format!(
            "the distance that 95 % of the border of predicted and true masks stay below, in mm where the data say how large a pixel is, else in pixels; {CASES}"
        ),
    };
    format!("{} is {text}.", study.primary())
}

/// How a score of masks is averaged.
const CASES: &str = "the mean over foreground classes, then over cases";

/// Class names that are spelled out.
const CLASSES_SHOWN: usize = 12;
