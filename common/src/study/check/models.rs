//! Whether arms can learn from the data they are given, before any training.
//!
//! Deliberately absent: what a key means without data; the grammar checks it where it is read.
//!
//! Floor: common.

use super::super::finding::{At, Inspection};
use super::super::grammar::ArmDraft;
use super::super::{Hyper, Loss, Model};
use crate::space::Value;
use crate::table::{Dataset, Target};

/// Refuses each arm whose model has no use for such rows, or whose loss has none for such targets;
/// one finding an arm.
pub(super) fn check(arms: &[ArmDraft], dataset: &Dataset, inspection: &mut Inspection<'_>) {
    for arm in arms.iter().filter(|arm| !matches!(arm.model, Model::Constant | Model::Program)) {
        let hypers: Vec<Hyper> =
            if arm.learns().is_some() { arm.proposable() } else { arm.hypers().collect() };
        let found = rows(arm.model, dataset)
            .or_else(|| hypers.iter().find_map(|hyper| network(arm.model, hyper, dataset)))
            .or_else(|| hypers.iter().find_map(|hyper| recipe(hyper, dataset)));
        if let Some(Mismatch { message, help }) = found {
            inspection.refuse(&arm.name.span, format!("arm {:?}: {message}", arm.name.value), help);
        } else if let Some(word) = losses(arm).find(|word| !suits(&word.value, &dataset.target)) {
            let message = format!("the loss {:?} is not for {}", word.value, targets(dataset));
            inspection.refuse(&word.span, message, format!("write {}", suiting(&dataset.target)));
        }
    }
}

/// What of an arm does not go with the data, and what to write instead.
struct Mismatch {
    message: String,
    help: String,
}

fn mismatch(message: impl Into<String>, help: impl Into<String>) -> Option<Mismatch> {
    Some(Mismatch { message: message.into(), help: help.into() })
}

/// Whether the model takes rows of this kind at all.
fn rows(model: Model, dataset: &Dataset) -> Option<Mismatch> {
    let name = model.name();
    if matches!(dataset.target, Target::Masks { .. }) && model != Model::Unet {
        return mismatch(format!("a {name} predicts no masks"), "write model = \"unet\"");
    }
    if !matches!(dataset.target, Target::Masks { .. }) && model == Model::Unet {
        let help = "write task = \"segmentation\" in [data] with a mask for each image, or \
                    model = \"cnn\" or \"resnet\"";
        return mismatch("a unet predicts masks, and the data have none", help);
    }
    if dataset.tokens.is_some() && model != Model::Transformer {
        let message = format!("a {name} would take numbers of tokens for amounts");
        return mismatch(message, "write model = \"transformer\", or take tokens = true out");
    }
    let looks = matches!(model, Model::Cnn | Model::Resnet | Model::Unet);
    if looks && dataset.shape.len() < 2 {
        let message = format!("a {name} needs images or sequences, and these rows are of a table");
        let help = "write model = \"mlp\" or \"linear\", or give an .npz whose x is [rows, height, \
                    width, channels]";
        return mismatch(message, help);
    }
    None
}

/// Whether the network of one config can be built for rows of this size.
fn network(model: Model, hyper: &Hyper, dataset: &Dataset) -> Option<Mismatch> {
    if model == Model::Mlp && hyper.layers.embed > 0 && dataset.levels.is_empty() {
        let message = "`embed` is for columns of text, and the data have none";
        return mismatch(message, "take `embed` out");
    }
    let &[height, width, _] = dataset.shape.as_slice() else { return None };
    if model != Model::Unet {
        return None;
    }
    let levels = hyper.layers.channels.len();
    let halvings = 1usize.checked_shl(levels.saturating_sub(1) as u32).unwrap_or(usize::MAX);
    if height.is_multiple_of(halvings) && width.is_multiple_of(halvings) {
        return None;
    }
    let message = format!(
        "{levels} levels halve an image {} times, and {height} by {width} pixels cannot be divided \
         by {halvings}",
        levels - 1
    );
    let up = |side: usize| side.next_multiple_of(halvings);
    let help = format!("write fewer channels, or size = [{}, {}] in [data]", up(height), up(width));
    mismatch(message, help)
}

/// Whether the recipe of one config means anything for such rows.
fn recipe(hyper: &Hyper, dataset: &Dataset) -> Option<Mismatch> {
    let recipe = &hyper.recipe;
    let is_value = matches!(dataset.target, Target::Values(_));
    if recipe.label_smoothing > 0.0 && is_value {
        let message = "`label_smoothing` is for classes, and the target is an amount";
        return mismatch(message, "take `label_smoothing` out");
    }
    if recipe.label_smoothing > 0.0 && matches!(recipe.loss, Loss::Focal { .. }) {
        let help = "take one of them out";
        return mismatch("`label_smoothing` does not go with the loss \"focal\"", help);
    }
    let (moves, augment) = (recipe.augment.shift.max(recipe.augment.crop), &recipe.augment);
    match *dataset.shape.as_slice() {
        [height, width, _] if moves as usize >= height.min(width) => {
            let message = format!("`augment` moves by up to {moves} of {height} by {width} pixels");
            mismatch(message, format!("write at most {}", height.min(width) / 4))
        }
        [_, _, _] => None,
        _ if moves > 0 || augment.flip => {
            let message = "`augment` flips, shifts and crops images, and these rows are none";
            mismatch(message, "leave only its noise")
        }
        _ if augment.noise > 0.0 && dataset.tokens.is_some() => {
            mismatch("`augment` adds noise, and tokens are no amounts", "take `augment` out")
        }
        _ => None,
    }
}

/// The losses an arm names, beside its space and in it.
fn losses(arm: &ArmDraft) -> impl Iterator<Item = At<String>> {
    let axis = arm.space.value.axes.iter().filter(|(name, _)| name == "loss");
    let words = axis.flat_map(|(_, axis)| axis.values()).filter_map(|value| match value {
        Value::Text(word) => Some(At { value: word, span: arm.space.span.clone() }),
        _ => None,
    });
    arm.loss.clone().into_iter().chain(words)
}

fn suits(loss: &str, target: &Target) -> bool {
    match target {
        Target::Values(_) => matches!(loss, "squared-error" | "huber"),
        Target::Classes { .. } => matches!(loss, "cross-entropy" | "focal"),
        Target::Masks { .. } => matches!(loss, "cross-entropy" | "focal" | "dice-cross-entropy"),
    }
}

fn suiting(target: &Target) -> &'static str {
    match target {
        Target::Values(_) => "\"squared-error\" or \"huber\"",
        Target::Classes { .. } => "\"cross-entropy\" or \"focal\"",
        Target::Masks { .. } => "\"cross-entropy\", \"focal\" or \"dice-cross-entropy\"",
    }
}

fn targets(dataset: &Dataset) -> &'static str {
    match &dataset.target {
        Target::Values(_) => "amounts",
        Target::Classes { .. } => "classes",
        Target::Masks { .. } => "masks",
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use crate::study::Finding;

    /// Findings of one arm on a table of two numbers.
    fn of_table(task: &str, arm: &str) -> Vec<Finding> {
        let metric = if task == "regression" { "rmse" } else { "accuracy" };
        let text = format!(
            "[study]\nname = \"s\"\nmetric = \"{metric}\"\n[data]\npath = \"rows.csv\"\n\
             target = \"y\"\ntask = \"{task}\"\n[split]\nouter = {{ folds = 2 }}\n[seeds]\n\
             count = 2\n[arms.a]\n{arm}\n"
        );
        let rows: String =
            (0..12).map(|row| format!("{row},{},{}\n", row * row, row % 2)).collect();
        let table = format!("u,v,y\n{rows}");
        check(&text, &mut |_| Ok(table.clone().into_bytes())).err().unwrap_or_default().0
    }

    #[track_caller]
    fn refused(findings: &[Finding], words: &str) {
        let [finding] = findings else { panic!("{findings:#?}") };
        assert!(finding.to_string().contains(words), "{finding}");
    }

    #[test]
    fn images_are_asked_for_by_what_looks_at_them() {
        for model in ["cnn", "resnet"] {
            let found = of_table("classification", &format!("model = \"{model}\""));
            refused(&found, "needs images or sequences");
        }
        refused(&of_table("classification", "model = \"unet\""), "the data have none");
        assert_eq!(of_table("classification", "model = \"transformer\""), []);
    }

    #[test]
    fn a_loss_is_held_against_the_target() {
        let arm = |loss: &str| format!("model = \"mlp\"\nloss = \"{loss}\"");
        for (task, good, bad) in [
            ("classification", "focal", "squared-error"),
            ("classification", "cross-entropy", "huber"),
            ("classification", "cross-entropy", "dice-cross-entropy"),
            ("regression", "huber", "cross-entropy"),
            ("regression", "squared-error", "focal"),
        ] {
            assert_eq!(of_table(task, &arm(good)), [], "{good}");
            refused(&of_table(task, &arm(bad)), &format!("{bad:?}"));
        }
        let varied = "model = \"mlp\"\nspace = { loss = [\"focal\", \"huber\"] }";
        refused(&of_table("classification", varied), "\"huber\" is not for classes");
    }

    #[test]
    fn what_a_recipe_adds_must_mean_something() {
        let found = of_table("regression", "model = \"mlp\"\nlabel_smoothing = 0.1");
        refused(&found, "the target is an amount");
        let found = of_table("classification", "model = \"mlp\"\naugment = { flip = true }");
        refused(&found, "these rows are none");
        let found = of_table("classification", "model = \"mlp\"\nembed = 2");
        refused(&found, "the data have none");
        assert_eq!(of_table("classification", "model = \"mlp\"\naugment = { noise = 0.1 }"), []);
    }
}
