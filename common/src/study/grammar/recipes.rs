//! Hyperparameters beyond the eight that every model had first: losses, schedules, augmentation, and
//! what networks are built of.
//!
//! Canonical text names them only where they are not what they are without being written, so that
//! an arm that uses none is written as it was before there were any.
//!
//! Floor: common.

use super::super::finding::{At, Inspection};
use super::super::{Augment, Hyper, Layers, Loss, Model, Norm, Optimizer, Recipe, Schedule};
use super::walk::{Item, Section};
use crate::space::Value;

/// Whether a model has the hyperparameter called `name`.
pub(super) fn has(model: Model, name: &str) -> bool {
    use Model::{Cnn, Linear, Mlp, Resnet, Transformer, Unet};
    match name {
        "hidden" => matches!(model, Mlp | Cnn | Transformer),
        "dropout" => !matches!(model, Linear),
        "channels" | "kernel" | "norm" => matches!(model, Cnn | Resnet | Unet),
        "separable" => model == Cnn,
        "blocks" => matches!(model, Resnet | Transformer),
        "width" | "heads" => model == Transformer,
        "embed" => model == Mlp,
        _ => true,
    }
}

/// What a model is where its arm says nothing.
pub(super) fn usual(model: Option<Model>) -> Hyper {
    let layers = |channels: &[u32], norm, blocks| Layers {
        channels: channels.to_vec(),
        norm,
        blocks,
        ..Layers::default()
    };
    let plain = Hyper { hidden: Vec::new(), ..Hyper::default() };
    match model {
        Some(Model::Linear) => plain,
        Some(Model::Constant) => Hyper::none(),
        Some(Model::Cnn) => Hyper { layers: layers(&[8, 16], Norm::None, 1), ..plain },
        Some(Model::Resnet) => Hyper { layers: layers(&[16, 32], Norm::Batch, 1), ..plain },
        Some(Model::Unet) => Hyper { layers: layers(&[8, 16, 32], Norm::Batch, 1), ..plain },
        Some(Model::Transformer) => Hyper { layers: layers(&[], Norm::None, 2), ..plain },
        _ => Hyper::default(),
    }
}

/// The value of one of [`LATER`], checked.
pub(super) fn value(item: &Item<'_>, inspection: &mut Inspection<'_>) -> Option<Value> {
    let whole = |range: std::ops::RangeInclusive<i64>, inspection: &mut Inspection<'_>| {
        item.whole(range, inspection).map(|at| Value::Int(at.value))
    };
    let word = |words: &[&'static str], inspection: &mut Inspection<'_>| {
        let words: Vec<(&str, &str)> = words.iter().map(|&word| (word, word)).collect();
        item.choice(&words, inspection).map(|at| Value::Text(at.value.to_string()))
    };
    let share = |value: f64| (0.0..1.0).contains(&value);
    match item.name.as_str() {
        "loss" => word(&LOSSES, inspection),
        "schedule" => word(&SCHEDULES, inspection),
        "norm" => word(&NORMS, inspection),
        "label_smoothing" | "validation" => item
            .number("0 or above, and below 1", share, inspection)
            .map(|at| Value::Float(at.value)),
        "gamma" | "clip_norm" => item
            .number("0 or above", |value| value >= 0.0, inspection)
            .map(|at| Value::Float(at.value)),
        "delta" => {
            item.number("above 0", |value| value > 0.0, inspection).map(|at| Value::Float(at.value))
        }
        "patience" => whole(0..=1_000_000, inspection),
        "kernel" => {
            let side = item.whole(1..=31, inspection)?;
            if side.value % 2 == 0 {
                let message = format!("kernel is {}, and must have a middle", side.value);
                inspection.refuse(&side.span, message, "write an odd number, such as 3");
                return None;
            }
            Some(Value::Int(side.value))
        }
        "separable" => item.boolean(inspection).map(|at| Value::Bool(at.value)),
        "blocks" => whole(1..=64, inspection),
        "width" => whole(1..=4_096, inspection),
        "heads" => whole(1..=64, inspection),
        "embed" => whole(0..=1_024, inspection),
        _ => channels(item, inspection),
    }
}

fn channels(item: &Item<'_>, inspection: &mut Inspection<'_>) -> Option<Value> {
    let elements = item.list(inspection)?;
    if elements.is_empty() || elements.len() > LAYERS_MAX {
        let message = format!(
            "`channels` lists {} layers; from 1 to {LAYERS_MAX} can be trained",
            elements.len()
        );
        inspection.refuse(&item.span, message, "write for example: channels = [8, 16]");
        return None;
    }
    let channels: Vec<Option<At<i64>>> =
        elements.iter().map(|channel| channel.whole(1..=4_096, inspection)).collect();
    let channels = channels.into_iter().map(|channel| channel.map(|at| at.value));
    channels.collect::<Option<_>>().map(Value::Ints)
}

/// Sets one of [`LATER`]. Whether it was one of them.
pub(super) fn apply(hyper: &mut Hyper, name: &str, value: &Value) -> bool {
    let (recipe, layers) = (&mut hyper.recipe, &mut hyper.layers);
    match (name, value) {
        ("loss", Value::Text(word)) => recipe.loss = loss(recipe.loss, word),
        ("gamma", Value::Float(gamma)) => recipe.loss = Loss::Focal { gamma: *gamma },
        ("delta", Value::Float(delta)) => recipe.loss = Loss::Huber { delta: *delta },
        ("label_smoothing", Value::Float(share)) => recipe.label_smoothing = *share,
        ("schedule", Value::Text(word)) => {
            recipe.schedule = match word.as_str() {
                "cosine" => Schedule::Cosine,
                "one-cycle" => Schedule::OneCycle,
                _ => Schedule::Constant,
            };
        }
        ("clip_norm", Value::Float(norm)) => recipe.clip_norm = *norm,
        ("validation", Value::Float(share)) => recipe.validation = *share,
        ("patience", Value::Int(epochs)) => recipe.patience = *epochs as u32,
        ("channels", Value::Ints(channels)) => {
            layers.channels = channels.iter().map(|&channel| channel as u32).collect();
        }
        ("kernel", Value::Int(side)) => layers.kernel = *side as u32,
        ("norm", Value::Text(word)) => {
            layers.norm = match word.as_str() {
                "batch" => Norm::Batch,
                "group" => Norm::Group,
                "layer" => Norm::Layer,
                _ => Norm::None,
            };
        }
        ("separable", Value::Bool(separable)) => layers.separable = *separable,
        ("blocks", Value::Int(blocks)) => layers.blocks = *blocks as u32,
        ("width", Value::Int(width)) => layers.width = *width as u32,
        ("heads", Value::Int(heads)) => layers.heads = *heads as u32,
        ("embed", Value::Int(embed)) => layers.embed = *embed as u32,
        _ => return false,
    }
    true
}

/// The loss of that name, with the parameter that was set before, if it was of this loss.
fn loss(before: Loss, word: &str) -> Loss {
    match (word, before) {
        ("focal", Loss::Focal { .. }) | ("huber", Loss::Huber { .. }) => before,
        ("focal", _) => Loss::Focal { gamma: 2.0 },
        ("huber", _) => Loss::Huber { delta: 1.0 },
        ("dice-cross-entropy", _) => Loss::DiceCrossEntropy,
        _ => Loss::Usual,
    }
}

/// `augment = { flip = true, shift = 2, crop = 2, noise = 0.1 }`.
pub(super) fn augment(section: &Section<'_>, hyper: &mut Hyper, inspection: &mut Inspection<'_>) {
    let Some(item) = section.find("augment") else { return };
    let known = ["flip", "shift", "crop", "noise"];
    let Some(section) = item.section("augment", &known, inspection) else { return };
    let whole = |name: &str, inspection: &mut Inspection<'_>| {
        let at = section.find(name).and_then(|item| item.whole(0..=1_024, inspection));
        at.map_or(0, |at| at.value as u32)
    };
    let flip = section.find("flip").and_then(|item| item.boolean(inspection));
    let noise = section
        .find("noise")
        .and_then(|item| item.number("0 or above", |value| value >= 0.0, inspection));
    hyper.recipe.augment = Augment {
        flip: flip.is_some_and(|at| at.value),
        shift: whole("shift", inspection),
        crop: whole("crop", inspection),
        noise: noise.map_or(0.0, |at| at.value),
    };
}

/// What of an arm's recipe has no meaning without another part of it.
pub(super) fn check(section: &Section<'_>, hyper: &Hyper, inspection: &mut Inspection<'_>) {
    let words = section.find("loss").map(|item| item.is_text());
    for (name, of) in [("gamma", "focal"), ("delta", "huber")] {
        let fits = match of {
            "focal" => matches!(hyper.recipe.loss, Loss::Focal { .. }),
            _ => matches!(hyper.recipe.loss, Loss::Huber { .. }),
        };
        if let Some(span) = section.key_span(name)
            && (!fits || words.is_none())
        {
            let message = format!("`{name}` belongs to the loss {of:?}");
            inspection.refuse(span, message, format!("take it out, or write loss = {of:?}"));
        }
    }
    if let Some(span) = section.key_span("patience")
        && hyper.recipe.patience > 0
        && hyper.recipe.validation == 0.0
    {
        let message = "`patience` needs rows to watch: no validation rows are kept";
        let help =
            "write validation = 0.1, a share of the training rows that is kept from training";
        inspection.refuse(span, message, help);
    }
    if !hyper.layers.width.is_multiple_of(hyper.layers.heads.max(1)) {
        let span = section.key_span("heads").or_else(|| section.key_span("width"));
        let (width, heads) = (hyper.layers.width, hyper.layers.heads);
        let message = format!("width, {width}, is no multiple of heads, {heads}");
        inspection.refuse(
            span.unwrap_or(&section.span),
            message,
            "each head has width / heads numbers",
        );
    }
}

/// Canonical lines of what is not as it is without being written.
pub(super) fn written(model: Model, hyper: &Hyper, varied: &dyn Fn(&str) -> bool) -> Vec<String> {
    let (recipe, layers) = (&hyper.recipe, &hyper.layers);
    let (none, bare) = (Recipe::default(), usual(Some(model)).layers);
    let mut lines = Vec::new();
    let mut say = |name: &str, is_usual: bool, text: String| {
        if !is_usual && !varied(name) && has(model, name) {
            lines.push(format!("{name} = {text}"));
        }
    };
    let loss = match recipe.loss {
        Loss::Usual => "\"usual\"".to_string(),
        Loss::Focal { gamma } => format!("\"focal {gamma:?}\""),
        Loss::Huber { delta } => format!("\"huber {delta:?}\""),
        Loss::DiceCrossEntropy => "\"dice-cross-entropy\"".to_string(),
    };
    say("loss", recipe.loss == none.loss, loss);
    let smoothing = recipe.label_smoothing;
    say("label_smoothing", smoothing == 0.0, format!("{smoothing:?}"));
    say("schedule", recipe.schedule == none.schedule, format!("\"{:?}\"", recipe.schedule));
    say("clip_norm", recipe.clip_norm == 0.0, format!("{:?}", recipe.clip_norm));
    say("validation", recipe.validation == 0.0, format!("{:?}", recipe.validation));
    say("patience", recipe.patience == 0, recipe.patience.to_string());
    let Augment { flip, shift, crop, noise } = recipe.augment;
    let augment = format!("[{flip}, {shift}, {crop}, {noise:?}]");
    say("augment", recipe.augment == none.augment, augment);
    // A network is named whole, since what is usual of it may change.
    let whole = bare == Layers::default() && *layers == bare;
    say("channels", whole, format!("{:?}", layers.channels));
    say("kernel", whole, layers.kernel.to_string());
    say("norm", whole, format!("\"{:?}\"", layers.norm));
    say("separable", whole, layers.separable.to_string());
    say("blocks", whole, layers.blocks.to_string());
    say("width", whole, layers.width.to_string());
    say("heads", whole, layers.heads.to_string());
    say("embed", whole, layers.embed.to_string());
    let decays = hyper.weight_decay > 0.0 || varied("weight_decay");
    if hyper.optimizer == Optimizer::Adam && decays && !varied("optimizer") {
        lines.push("decay = \"with the gradient\"".to_string());
    }
    lines
}

/// In the order of canonical text.
pub(super) const LATER: [&str; 16] = [
    "loss",
    "gamma",
    "delta",
    "label_smoothing",
    "schedule",
    "clip_norm",
    "validation",
    "patience",
    "channels",
    "kernel",
    "norm",
    "separable",
    "blocks",
    "width",
    "heads",
    "embed",
];
/// Of [`LATER`], what is a whole number.
pub(super) const WHOLE: [&str; 6] = ["patience", "kernel", "blocks", "width", "heads", "embed"];
/// Of [`LATER`], what is a word, yes or no, or a list.
pub(super) const LISTED: [&str; 5] = ["loss", "schedule", "norm", "separable", "channels"];
const LOSSES: [&str; 5] =
    ["cross-entropy", "squared-error", "focal", "dice-cross-entropy", "huber"];
const SCHEDULES: [&str; 3] = ["constant", "cosine", "one-cycle"];
const NORMS: [&str; 4] = ["none", "batch", "group", "layer"];
const LAYERS_MAX: usize = 16;
