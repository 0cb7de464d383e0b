//! The arms of a study file: models, fixed hyperparameters and spaces.
//!
//! Floor: common.

use std::collections::BTreeMap;

use super::super::finding::{At, Inspection};
use super::super::{Hyper, Model, Optimizer};
use super::ArmDraft;
use super::conditions;
use super::programs;
use super::recipes;
use super::search;
use super::sections::check_name;
use super::walk::{Item, Section};
use crate::label::Requires;
use crate::space::{Axis, Space, Value};

pub(super) fn arms(root: &Section<'_>, inspection: &mut Inspection<'_>) -> Vec<ArmDraft> {
    let example = "[arms.mlp] with model = \"mlp\"";
    let Some(item) = root.require("arms", example, inspection) else { return Vec::new() };
    let Some(section) = item.section_any("[arms]", inspection) else { return Vec::new() };
    if section.entries().next().is_none() {
        inspection.refuse(
            &section.span,
            "there are no arms",
            format!("add for example: {example}"),
        );
    }
    let mut arms = Vec::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (span, item) in section.entries() {
        let name = At { value: item.name.clone(), span: span.clone() };
        check_name("an arm's name", &name, inspection);
        if let Some(other) = names.insert(name.value.to_ascii_lowercase(), name.value.clone()) {
            let message = format!("arms {other:?} and {:?} differ only by case", name.value);
            inspection.refuse(span, message, "give one of them another name");
        }
        arms.extend(arm(name, item, inspection));
    }
    arms
}

fn arm(name: At<String>, item: &Item<'_>, inspection: &mut Inspection<'_>) -> Option<ArmDraft> {
    let title = format!("[arms.{}]", name.value);
    if item.is_table()
        && let Some(section) = item.section_any(&title, inspection)
        && section.find("command").is_some()
    {
        return programs::arm(name, &section, inspection);
    }
    let known: Vec<&str> = ARM_KEYS.iter().chain(&HYPERS).chain(&recipes::LATER).copied().collect();
    let section = item.section(&title, &known, inspection)?;
    let models = Model::ALL.map(|model| (model.name(), model));
    let model = section
        .require("model", "model = \"mlp\"", inspection)
        .and_then(|item| item.choice(&models, inspection));
    let has_space = section.find("space").is_some();
    let found = section.find("search");
    let found = found.map(|item| search::search(item, has_space, inspection));
    let (search, race) = found.unwrap_or_default();
    let model = model.map(|model| model.value);
    let mut fixed = recipes::usual(model);
    for (span, item) in section.entries() {
        if !is_hyper(&item.name) {
            continue;
        }
        check_model_has(&item.name, span, model, inspection);
        if let Some(value) = hyper(item, inspection) {
            let fits = set(&mut fixed, &item.name, &value);
            assert!(fits, "`{}` cannot be {value}", item.name);
        }
    }
    let space = match section.find("space") {
        Some(item) => At {
            value: space(item, &section, model, search.is_some(), inspection).unwrap_or_default(),
            span: item.span.clone(),
        },
        None => {
            conditions::constraints(&section, inspection);
            At { value: Space::default(), span: name.span.clone() }
        }
    };
    check_momentum(&section, model, &fixed, &space.value, inspection);
    recipes::augment(&section, &mut fixed, inspection);
    recipes::check(&section, &fixed, inspection);
    let loss = section.find("loss").filter(|item| item.is_text());
    let loss = loss.and_then(|item| item.text(inspection));
    let (points, files, requires) = (Vec::new(), Vec::new(), Requires::default());
    let model = model?;
    Some(ArmDraft { name, model, fixed, loss, space, search, race, points, files, requires })
}

/// A hyperparameter that the arm's model has.
fn check_model_has(
    name: &str,
    span: &std::ops::Range<usize>,
    model: Option<Model>,
    inspection: &mut Inspection<'_>,
) {
    if let Some(model) = model.filter(|&model| !recipes::has(model, name)) {
        let message = format!("a {} has no `{name}`", in_words(model));
        let mut models = Model::ALL.iter().filter(|&&model| recipes::has(model, name));
        let other = models.next().map_or("mlp", |model| model.name());
        inspection.refuse(span, message, format!("take it out, or write model = {other:?}"));
    } else if model == Some(Model::Constant) {
        let message = format!("a constant has no `{name}`: nothing of it is trained");
        inspection.refuse(span, message, "take it out");
    }
}

fn in_words(model: Model) -> &'static str {
    match model {
        Model::Linear => "linear model",
        model => model.name(),
    }
}

fn is_hyper(name: &str) -> bool {
    HYPERS.contains(&name) || recipes::LATER.contains(&name)
}

/// Momentum beside Adam would be read and never used.
fn check_momentum(
    section: &Section<'_>,
    model: Option<Model>,
    fixed: &Hyper,
    space: &Space,
    inspection: &mut Inspection<'_>,
) {
    let varied = |name: &str| space.axes.iter().any(|(axis, _)| axis == name);
    let written = section
        .key_span("momentum")
        .or_else(|| section.key_span("space").filter(|_| varied("momentum")));
    if let Some(span) = written
        && fixed.optimizer != Optimizer::Sgd
        && !varied("optimizer")
        && model != Some(Model::Constant)
    {
        let message = "`momentum` belongs to sgd, and this arm trains with adam";
        inspection.refuse(span, message, "take it out, or write optimizer = \"sgd\"");
    }
}

fn space(
    item: &Item<'_>,
    arm: &Section<'_>,
    model: Option<Model>,
    drawn: bool,
    inspection: &mut Inspection<'_>,
) -> Option<Space> {
    let known: Vec<&str> = HYPERS.iter().chain(&recipes::LATER).copied().collect();
    let section = item.section("space", &known, inspection)?;
    let (mut space, mut conditions) = (Space::default(), Vec::new());
    if section.entries().next().is_none() {
        let help = "name what varies, such as lr = [0.001, 0.01], or take `space` out";
        inspection.refuse(&section.span, "a space with no points: it names nothing", help);
    }
    for (span, item) in section.entries() {
        let name = item.name.as_str();
        if !is_hyper(name) {
            continue;
        }
        check_model_has(name, span, model, inspection);
        if arm.find(name).is_some() {
            let message = format!("`{name}` is both fixed and in the space of {}", arm.name);
            inspection.refuse(span, message, "keep one of them");
        }
        if let Some(axis) = axis(item, drawn, inspection) {
            space.axes.push((name.to_string(), axis));
        }
        conditions.extend(conditions::when(item, &hyper, inspection));
    }
    let written: Vec<&str> = section.entries().map(|(_, item)| item.name.as_str()).collect();
    let constraints = conditions::constraints(arm, inspection);
    conditions::settle(&mut space, &written, conditions, constraints, inspection);
    Some(space)
}

/// `drawn`: ranges need no points.
fn axis(item: &Item<'_>, drawn: bool, inspection: &mut Inspection<'_>) -> Option<Axis> {
    if item.is_list() {
        return listed(item, inspection);
    }
    if item.is_table() {
        return match conditions::values(item, inspection) {
            Some(values) => listed(&values, inspection),
            None => ranged(item, drawn, inspection),
        };
    }
    let message =
        format!("`{}` in a space must be a list or a range, and is {}", item.name, item.found());
    let help = format!("a fixed value is written beside the space: {} = …", item.name);
    inspection.refuse(&item.span, message, help);
    None
}

fn listed(item: &Item<'_>, inspection: &mut Inspection<'_>) -> Option<Axis> {
    let elements = item.list(inspection)?;
    if elements.is_empty() {
        let message = format!("a space with no points: `{}` lists nothing", item.name);
        inspection.refuse(&item.span, message, "list at least one value, or take it out");
        return None;
    }
    if elements.len() > LISTED_MAX {
        let message = format!("`{}` lists {} values", item.name, elements.len());
        let help = format!("every point is trained; list at most {LISTED_MAX}");
        inspection.refuse(&item.span, message, help);
        return None;
    }
    let mut values: Vec<Value> = Vec::new();
    for element in &elements {
        if item.name == "hidden" && !element.is_list() {
            let message = format!(
                "`hidden` in a space lists lists of widths, and here is {}",
                element.found()
            );
            inspection.refuse(
                &element.span,
                message,
                "write for example: hidden = [[32], [64, 64]]",
            );
            continue;
        }
        let Some(value) = hyper(element, inspection) else { continue };
        if values.contains(&value) {
            let message = format!("`{}` lists {value} twice", item.name);
            inspection.refuse(&element.span, message, "every point is trained once; leave one");
        } else {
            values.push(value);
        }
    }
    (values.len() == elements.len()).then_some(Axis::List(values))
}

/// `{ log = [a, b], points = n }`, the same with `linear`, or `{ int = [a, b], step = s }`.
fn ranged(item: &Item<'_>, drawn: bool, inspection: &mut Inspection<'_>) -> Option<Axis> {
    let name = item.name.as_str();
    let known = ["log", "linear", "int", "points", "step", "when"];
    let section = item.section(name, &known, inspection)?;
    let kinds: Vec<&Item<'_>> =
        ["log", "linear", "int"].iter().filter_map(|k| section.find(k)).collect();
    let [kind] = kinds.as_slice() else {
        if ["log", "linear", "int"].iter().any(|kind| section.is_misspelt(kind)) {
            return None;
        }
        let message = format!("the range of `{name}` must be one of log, linear and int");
        let help = "write for example: { log = [1e-4, 1e-1], points = 4 } or \
                    { int = [10, 30], step = 10 }";
        inspection.refuse(&item.span, message, help);
        return None;
    };
    let whole = WHOLE.contains(&name) || recipes::WHOLE.contains(&name);
    let listed = recipes::LISTED.contains(&name) || name == "hidden" || name == "optimizer";
    if listed || whole != (kind.name == "int") {
        let message = format!("`{name}` cannot range by {}", kind.name);
        let help = match name {
            "hidden" => "list the widths: hidden = [[32], [64, 64]]".to_string(),
            "optimizer" => "list them: optimizer = [\"adam\", \"sgd\"]".to_string(),
            _ if listed => format!("list the values: {name} = […]"),
            _ if whole => format!("write a list, or {name} = {{ int = [10, 30], step = 10 }}"),
            _ => format!("write a list, or {name} = {{ log = [0.001, 0.1], points = 3 }}"),
        };
        inspection.refuse(&kind.span, message, help);
        return None;
    }
    let misplaced = if whole { "points" } else { "step" };
    if let Some(span) = section.key_span(misplaced) {
        let right = if whole { "step" } else { "points" };
        let message = format!("a range by {} has no `{misplaced}`", kind.name);
        inspection.refuse(span, message, format!("write `{right}`"));
    }
    if whole {
        whole_range(name, kind, &section, inspection)
    } else {
        float_range(name, kind, (&section, drawn), inspection)
    }
}

/// The two ends of a range, each a value the hyperparameter may have.
fn ends(name: &str, kind: &Item<'_>, inspection: &mut Inspection<'_>) -> Option<[Value; 2]> {
    let mut elements = kind.list(inspection)?;
    if elements.len() != 2 {
        let message = format!("`{}` must have two ends, and has {}", kind.name, elements.len());
        inspection.refuse(&kind.span, message, format!("write {} = [low, high]", kind.name));
        return None;
    }
    elements.iter_mut().for_each(|element| element.name = name.to_string());
    let (low, high) = (hyper(&elements[0], inspection), hyper(&elements[1], inspection));
    Some([low?, high?])
}

fn whole_range(
    name: &str,
    kind: &Item<'_>,
    section: &Section<'_>,
    inspection: &mut Inspection<'_>,
) -> Option<Axis> {
    let step = match section.find("step") {
        Some(item) => item.whole(1..=i64::from(u32::MAX), inspection)?.value,
        None => 1,
    };
    let [Value::Int(low), Value::Int(high)] = ends(name, kind, inspection)? else { return None };
    if low > high {
        let message = format!("a space with no points: `{name}` ranges from {low} down to {high}");
        inspection.refuse(&kind.span, message, format!("write int = [{high}, {low}]"));
        return None;
    }
    Some(Axis::Int { low, high, step })
}

fn float_range(
    name: &str,
    kind: &Item<'_>,
    (section, drawn): (&Section<'_>, bool),
    inspection: &mut Inspection<'_>,
) -> Option<Axis> {
    let free = drawn && section.find("points").is_none();
    let points = match free {
        true => None,
        false => section.require("points", "points = 4", inspection),
    };
    let points = points.and_then(|item| item.whole(0..=i64::from(u32::MAX), inspection));
    if let Some(points) = points.as_ref().filter(|points| points.value < 2) {
        let words =
            if points.value == 0 { "a space with no points" } else { "a range of one point" };
        let message = format!("{words}: `{name}` has points = {}", points.value);
        inspection.refuse(&points.span, message, "a range has both its ends: write at least 2");
    }
    let [Value::Float(low), Value::Float(high)] = ends(name, kind, inspection)? else {
        return None;
    };
    if low >= high {
        let message = format!("a space with no points: `{name}` ranges from {low} to {high}");
        inspection.refuse(&kind.span, message, "write the smaller end first");
        return None;
    }
    if kind.name == "log" && low <= 0.0 {
        let message = format!("`{name}` ranges by log from {low}, which has no logarithm");
        inspection.refuse(&kind.span, message, "begin above 0, or write linear");
        return None;
    }
    if free {
        return Some(match kind.name.as_str() {
            "log" => Axis::LogRange { low, high },
            _ => Axis::LinearRange { low, high },
        });
    }
    let points = points.filter(|points| points.value >= 2)?.value as u32;
    let axis = if kind.name == "log" {
        Axis::Log { low, high, points }
    } else {
        Axis::Linear { low, high, points }
    };
    Some(axis)
}

/// The value of the hyperparameter that the item is named after, checked.
fn hyper(item: &Item<'_>, inspection: &mut Inspection<'_>) -> Option<Value> {
    let share = |value: f64| (0.0..1.0).contains(&value);
    match item.name.as_str() {
        "epochs" => item.whole(1..=1_000_000, inspection).map(|at| Value::Int(at.value)),
        "batch" => item.whole(1..=16_777_216, inspection).map(|at| Value::Int(at.value)),
        "optimizer" => {
            let names = ["adam", "adamw", "sgd"].map(|name| (name, name));
            item.choice(&names, inspection).map(|at| Value::Text(at.value.to_string()))
        }
        "hidden" => widths(item, inspection),
        "lr" => {
            item.number("above 0", |value| value > 0.0, inspection).map(|at| Value::Float(at.value))
        }
        "weight_decay" => item
            .number("0 or above", |value| value >= 0.0, inspection)
            .map(|at| Value::Float(at.value)),
        name if recipes::LATER.contains(&name) => recipes::value(item, inspection),
        _ => item
            .number("0 or above, and below 1", share, inspection)
            .map(|at| Value::Float(at.value)),
    }
}

fn widths(item: &Item<'_>, inspection: &mut Inspection<'_>) -> Option<Value> {
    let elements = item.list(inspection)?;
    if elements.is_empty() {
        let message = "an mlp without hidden layers is a linear model";
        inspection.refuse(&item.span, message, "write model = \"linear\", or at least one width");
        return None;
    }
    if elements.len() > LAYERS_MAX {
        let message =
            format!("`hidden` has {} layers; at most {LAYERS_MAX} can be trained", elements.len());
        inspection.refuse(&item.span, message, "");
        return None;
    }
    let widths: Vec<Option<At<i64>>> =
        elements.iter().map(|width| width.whole(1..=65_536, inspection)).collect();
    widths.into_iter().map(|width| width.map(|at| at.value)).collect::<Option<_>>().map(Value::Ints)
}

/// Sets the hyperparameter called `name`; `false` where no arm has one of that name and kind. Values are
/// copied as they are.
pub(in super::super) fn set(hyper: &mut Hyper, name: &str, value: &Value) -> bool {
    match (name, value) {
        ("epochs", Value::Int(epochs)) => hyper.epochs = *epochs as u32,
        ("batch", Value::Int(batch)) => hyper.batch = *batch as u32,
        ("optimizer", Value::Text(word)) => {
            hyper.optimizer = match word.as_str() {
                "sgd" => Optimizer::Sgd,
                "adamw" => Optimizer::AdamW,
                _ => Optimizer::Adam,
            };
        }
        ("lr", Value::Float(lr)) => hyper.lr = *lr,
        ("weight_decay", Value::Float(decay)) => hyper.weight_decay = *decay,
        ("momentum", Value::Float(momentum)) => hyper.momentum = *momentum,
        ("dropout", Value::Float(dropout)) => hyper.dropout = *dropout,
        ("hidden", Value::Ints(widths)) => {
            hyper.hidden = widths.iter().map(|&width| width as u32).collect();
        }
        _ => return recipes::apply(hyper, name, value),
    }
    true
}

/// After all of a config is applied: Adam without decay is AdamW without decay, and is known as that.
pub(in super::super) fn settle(hyper: &mut Hyper) {
    if hyper.optimizer == Optimizer::Adam && hyper.weight_decay == 0.0 {
        hyper.optimizer = Optimizer::AdamW;
    }
}

/// Model and fixed hyperparameters in canonical TOML, defaults filled in, without what the space
/// varies: a space that grows, or a default written out, leaves earlier configs what they were.
pub(in super::super) fn written(arm: &ArmDraft) -> String {
    if let Some(program) = &arm.fixed.program {
        return programs::written(program, arm.fixed.recipe.validation);
    }
    let fixed = &arm.fixed;
    // Where a condition leaves an axis out, what stands beside the space is trained.
    let space = &arm.space.value;
    let varied = |name: &str| {
        space.axes.iter().any(|(axis, _)| axis == name)
            && space.conditions.iter().all(|condition| condition.axis != name)
    };
    let mut lines = vec![format!("model = {:?}", arm.model.name())];
    if arm.model == Model::Constant {
        return lines.remove(0);
    }
    for name in HYPERS {
        let foreign = !recipes::has(arm.model, name);
        let unused = name == "momentum"
            && fixed.optimizer != Optimizer::Sgd
            && !space.axes.iter().any(|(axis, _)| axis == "optimizer");
        if foreign || unused || varied(name) {
            continue;
        }
        lines.push(match name {
            "epochs" => format!("epochs = {}", fixed.epochs),
            "batch" => format!("batch = {}", fixed.batch),
            "optimizer" => match fixed.optimizer {
                // What this text always called both.
                Optimizer::AdamW | Optimizer::Adam => "optimizer = \"adam\"".to_string(),
                Optimizer::Sgd => "optimizer = \"sgd\"".to_string(),
            },
            "lr" => format!("lr = {:?}", fixed.lr),
            "weight_decay" => format!("weight_decay = {:?}", fixed.weight_decay),
            "momentum" => format!("momentum = {:?}", fixed.momentum),
            "dropout" => format!("dropout = {:?}", fixed.dropout),
            _ => format!("hidden = {:?}", fixed.hidden),
        });
    }
    lines.extend(recipes::written(arm.model, fixed, &varied));
    lines.join("\n")
}

/// Every hyperparameter, in the order of canonical text.
const HYPERS: [&str; 8] =
    ["epochs", "batch", "optimizer", "lr", "weight_decay", "momentum", "hidden", "dropout"];
const WHOLE: [&str; 2] = ["epochs", "batch"];
const ARM_KEYS: [&str; 7] =
    ["model", "command", "search", "space", "constraints", "augment", "requires"];
/// As many configs as a study may have.
const LISTED_MAX: usize = 5_000;
const LAYERS_MAX: usize = 16;
