//! Arms that run a program of the user's: `command = ["python", "train.py", "--lr", "{lr}"]`.
//!
//! Such an arm may give its configs any names; each `{name}` must be one of them, or one that every
//! trial has. Deliberately absent: the files beside the study file, which `study::check` reads.
//!
//! Floor: common.

use std::collections::BTreeSet;
use std::ops::Range;

use super::super::finding::{At, Inspection, did_you_mean, nearest};
use super::super::program::{Piece, Program, STANDARD, pieces};
use super::super::{Hyper, Model};
use super::ArmDraft;
use super::conditions;
use super::search;
use super::walk::{Item, Section};
use crate::label::Requires;
use crate::name::is_inner_path;
use crate::space::{Axis, Space, Value};
use crate::wire::frame::FRAME_MAX;

/// The arm of a table that has a `command`.
pub(super) fn arm(
    name: At<String>,
    section: &Section<'_>,
    inspection: &mut Inspection<'_>,
) -> Option<ArmDraft> {
    if let Some(span) = section.key_span("model") {
        let message = "an arm trains a model or runs a command, and this one has both";
        inspection.refuse(span, message, "take one of them out");
    }
    let has_space = section.find("space").is_some();
    let found = section.find("search");
    let found = found.map(|item| search::search(item, has_space, inspection));
    let (search, race) = found.unwrap_or_default();
    let space = match section.find("space") {
        Some(item) => {
            let value = space(item, (section, search.is_some()), inspection);
            At { value, span: item.span.clone() }
        }
        None => {
            conditions::constraints(section, inspection);
            At { value: Space::default(), span: name.span.clone() }
        }
    };
    let fixed = fixed(section, inspection);
    // Named is named, whatever is wrong with its value.
    let varied = section.find("space").filter(|item| item.is_table());
    let varied = varied.and_then(|item| item.section_any("space", inspection));
    let varied = varied.iter().flat_map(Section::entries);
    let own = section.entries().filter(|(_, item)| !KEYS.contains(&item.name.as_str()));
    let own = own.chain(varied).map(|(_, item)| item.name.as_str());
    let known: BTreeSet<&str> = STANDARD.into_iter().chain(own).collect();
    let command = command(section.find("command")?, &known, inspection);
    let env = section.find("env").map(|item| env(item, &known, inspection)).unwrap_or_default();
    let files = section.find("files").map(|item| files(item, inspection)).unwrap_or_default();
    let mut whole = |key: &str, most: i64| {
        let at = section.find(key).and_then(|item| item.whole(1..=most, inspection));
        at.map_or(0, |at| at.value as u32)
    };
    let (time_limit_s, memory_mib) =
        (whole("time_limit_s", TIME_LIMIT_MAX_S), whole("memory_mib", MEMORY_MAX_MIB));
    let share = section.find("validation").and_then(|item| {
        let rule = "a share of the training rows: 0 or above, below 1";
        item.number(rule, |share| (0.0..1.0).contains(&share), inspection)
    });
    let program = Program { command, env, fixed, files: Vec::new(), time_limit_s, memory_mib };
    let configs = search.as_ref().map(|search| u64::from(search.value.configs));
    check_travels(&program, &space, configs, inspection);
    let mut hyper = Hyper { program: Some(program), ..Hyper::none() };
    hyper.recipe.validation = share.map_or(0.0, |share| share.value);
    let (model, points, requires) = (Model::Program, Vec::new(), Requires::default());
    let (fixed, loss) = (hyper, None);
    Some(ArmDraft { name, model, fixed, loss, space, search, race, points, files, requires })
}

/// Every config has its program written out: refuses what no frame holds before it is.
fn check_travels(
    program: &Program,
    space: &At<Space>,
    configs: Option<u64>,
    inspection: &mut Inspection<'_>,
) {
    let env = program.env.iter().map(|(name, value)| name.len() + value.len());
    let texts = program.command.iter().map(String::len).chain(env);
    let fixed = program.fixed.iter().map(|(name, value)| name.len() + value.to_string().len());
    let each = texts.chain(fixed).fold(0u64, |sum, bytes| sum + bytes as u64);
    let configs = configs.or(space.value.size()).unwrap_or(u64::MAX);
    if each.saturating_mul(configs) > FRAME_MAX as u64 {
        let message =
            format!("a program of {each} bytes in {configs} configs is more than travels");
        inspection.refuse(&space.span, message, "shorten its arguments, or make the space smaller");
    }
}

fn command(
    item: &Item<'_>,
    known: &BTreeSet<&str>,
    inspection: &mut Inspection<'_>,
) -> Vec<String> {
    let Some(elements) = item.list(inspection) else { return Vec::new() };
    let whole: usize = elements.len();
    if whole == 0 || whole > ARGUMENTS_MAX {
        let message = format!("`command` has {whole} parts; 1 to {ARGUMENTS_MAX} can be started");
        let help = "write for example: command = [\"python\", \"train.py\", \"--lr\", \"{lr}\"]";
        inspection.refuse(&item.span, message, help);
        return Vec::new();
    }
    let mut command = Vec::new();
    for (place, element) in elements.iter().enumerate() {
        let Some(text) = element.text(inspection) else { continue };
        check_text("an argument", &text, known, inspection);
        if place == 0 && (text.value.is_empty() || text.value.contains('{')) {
            let help =
                "write its name, such as \"python\", or \"./train.sh\" with files = [\"train.sh\"]";
            inspection.refuse(&text.span, "a command begins with the name of a program", help);
        }
        command.push(text.value);
    }
    command
}

/// `{ NAME = "value with {placeholders}" }`.
fn env(
    item: &Item<'_>,
    known: &BTreeSet<&str>,
    inspection: &mut Inspection<'_>,
) -> Vec<(String, String)> {
    let Some(section) = item.section_any("env", inspection) else { return Vec::new() };
    let mut env = Vec::new();
    for (span, item) in section.entries() {
        let name = &item.name;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || !name.chars().all(plain)
            || name.starts_with(|c: char| c.is_ascii_digit())
        {
            let message = format!("{name:?} is no name of a variable");
            inspection.refuse(span, message, "letters, digits and `_`, no digit first");
        } else if name.starts_with(OURS) {
            let message = format!("`{name}` is not the study's to set: trials are told by it");
            inspection.refuse(span, message, "give the variable another name");
        }
        let Some(text) = item.text(inspection) else { continue };
        check_text("a variable", &text, known, inspection);
        env.push((name.clone(), text.value));
    }
    if env.len() > VARIABLES_MAX {
        let message = format!("`env` sets {} variables; at most {VARIABLES_MAX} can be", env.len());
        inspection.refuse(&item.span, message, "");
    }
    env
}

/// Its length, its braces and the names in it.
fn check_text(
    what: &str,
    text: &At<String>,
    known: &BTreeSet<&str>,
    inspection: &mut Inspection<'_>,
) {
    let length = text.value.len();
    if length > TEXT_MAX || text.value.contains('\0') {
        let message = format!("{what} has at most {TEXT_MAX} bytes, none of them 0");
        inspection.refuse(&text.span, message, "longer text goes into a file: files = [\"…\"]");
    }
    let found = match pieces(&text.value) {
        Ok(found) => found,
        Err(alone) => {
            let span = within(text, &alone.at, inspection);
            let help = "a brace itself is written twice: {{ or }}";
            inspection.refuse(&span, "a brace with no name behind it", help);
            return;
        }
    };
    for piece in found {
        let Piece::Name { name, at } = piece else { continue };
        if known.contains(name.as_str()) {
            continue;
        }
        let span = within(text, &at, inspection);
        let message = format!("nothing is called `{name}` here");
        let near = did_you_mean(&name, known.iter().copied());
        let names: Vec<String> = known.iter().map(|name| format!("{{{name}}}")).collect();
        let help = format!(
            "{near}{}name it in `space` or beside it; there are: {}; a brace itself is written {{{{",
            if near.is_empty() { "" } else { " " },
            names.join(", ")
        );
        inspection.refuse(&span, message, help.trim());
    }
}

/// The place in the file of some bytes of a text, where it is written there as it is; else the whole.
fn within(text: &At<String>, at: &Range<usize>, inspection: &Inspection<'_>) -> Range<usize> {
    let raw = inspection.text().get(text.span.clone()).unwrap_or_default();
    match raw.find(text.value.as_str()) {
        Some(start) if !text.value.is_empty() => {
            let start = text.span.start + start;
            start + at.start..start + at.end
        }
        _ => text.span.clone(),
    }
}

fn files(item: &Item<'_>, inspection: &mut Inspection<'_>) -> Vec<At<String>> {
    let files = item.texts(inspection);
    for file in &files {
        if !is_inner_path(&file.value) {
            let message = format!("file {:?} is not beside the study file", file.value);
            let help = "put it beside the study file, or below, and write / between folders";
            inspection.refuse(&file.span, message, help);
        } else if file.value.split('/').next().is_some_and(|top| RESERVED.contains(&top)) {
            let message = format!("file {:?} is called as what a program writes", file.value);
            inspection.refuse(&file.span, message, "give it another name");
        }
    }
    if files.len() > FILES_MAX {
        let message = format!("`files` names {}; at most {FILES_MAX} travel", files.len());
        inspection.refuse(&item.span, message, "put them into one archive");
        return Vec::new();
    }
    // What is refused is not read either.
    files.into_iter().filter(|file| is_inner_path(&file.value)).collect()
}

/// Every further key is a value that the arm's configs have in common.
fn fixed(section: &Section<'_>, inspection: &mut Inspection<'_>) -> Vec<(String, Value)> {
    let mut fixed = Vec::new();
    for (span, item) in section.entries() {
        if KEYS.contains(&item.name.as_str()) || item.name == "model" {
            continue;
        }
        if let Some(near) = nearest(&item.name, KEYS) {
            let message = format!("{} has no key `{}`", section.name, item.name);
            let help = format!(
                "did you mean `{near}`? A value of the program's own needs a name less like it"
            );
            inspection.refuse(span, message, help);
            continue;
        }
        check_own_name(&item.name, span, inspection);
        if let Some(value) = checked_value(item, inspection) {
            fixed.push((item.name.clone(), value));
        }
    }
    fixed
}

fn check_own_name(name: &str, span: &Range<usize>, inspection: &mut Inspection<'_>) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(plain) {
        let message = format!("{name:?} cannot be the name of a value");
        let help = format!("1 to {NAME_MAX} of the letters A–Z and a–z, digits, `_`, `-` and `.`");
        inspection.refuse(span, message, help);
    } else if STANDARD.contains(&name) {
        let message = format!("`{name}` is given by the design, not by a config");
        inspection.refuse(span, message, "give it another name");
    }
}

/// A text may have no spaces: a config is told apart from others by what it looks like.
fn checked_value(item: &Item<'_>, inspection: &mut Inspection<'_>) -> Option<Value> {
    let value = item.value(inspection)?;
    match &value {
        Value::Text(text)
            if text.is_empty()
                || text.len() > VALUE_MAX
                || text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '=') =>
        {
            let message = format!("`{}` cannot be {text:?}", item.name);
            let help = format!("a text has 1 to {VALUE_MAX} bytes, no spaces and no `=`");
            inspection.refuse(&item.span, message, help);
            None
        }
        _ => Some(value),
    }
}

/// `drawn`: ranges need no points.
fn space(
    item: &Item<'_>,
    (arm, drawn): (&Section<'_>, bool),
    inspection: &mut Inspection<'_>,
) -> Space {
    let (mut space, mut conditions) = (Space::default(), Vec::new());
    let Some(section) = item.section_any("space", inspection) else { return space };
    if section.entries().next().is_none() {
        let help = "name what varies, such as lr = [0.001, 0.01], or take `space` out";
        inspection.refuse(&section.span, "a space with no points: it names nothing", help);
    }
    for (span, item) in section.entries() {
        check_own_name(&item.name, span, inspection);
        if KEYS.contains(&item.name.as_str()) {
            let message = format!("`{}` is a key of the arm's and cannot vary", item.name);
            inspection.refuse(span, message, "give it another name");
        } else if arm.find(&item.name).is_some() {
            let message = format!("`{}` is both fixed and in the space of {}", item.name, arm.name);
            inspection.refuse(span, message, "keep one of them");
        }
        let values = item.is_table().then(|| conditions::values(item, inspection)).flatten();
        let axis = match (item.is_list(), values) {
            (true, _) => listed(item, inspection),
            (false, Some(values)) => listed(&values, inspection),
            (false, None) => ranged(item, drawn, inspection),
        };
        space.axes.extend(axis.map(|axis| (item.name.clone(), axis)));
        conditions.extend(conditions::when(item, &checked_value, inspection));
    }
    let written: Vec<&str> = section.entries().map(|(_, item)| item.name.as_str()).collect();
    let constraints = conditions::constraints(arm, inspection);
    conditions::settle(&mut space, &written, conditions, constraints, inspection);
    space
}

fn listed(item: &Item<'_>, inspection: &mut Inspection<'_>) -> Option<Axis> {
    let elements = item.list(inspection)?;
    if elements.is_empty() || elements.len() > LISTED_MAX {
        let message = format!("`{}` lists {} values", item.name, elements.len());
        inspection.refuse(&item.span, message, format!("list 1 to {LISTED_MAX}, or take it out"));
        return None;
    }
    let mut values: Vec<Value> = Vec::new();
    for element in &elements {
        let Some(value) = checked_value(element, inspection) else { continue };
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
    let name = &item.name;
    if !item.is_table() {
        let message =
            format!("`{name}` in a space must be a list or a range, and is {}", item.found());
        let help = format!("a fixed value is written beside the space: {name} = …");
        inspection.refuse(&item.span, message, help);
        return None;
    }
    let known = ["log", "linear", "int", "points", "step", "when"];
    let section = item.section(name, &known, inspection)?;
    let kinds: Vec<&Item<'_>> =
        ["log", "linear", "int"].iter().filter_map(|kind| section.find(kind)).collect();
    let [kind] = kinds.as_slice() else {
        if !["log", "linear", "int"].iter().any(|kind| section.is_misspelt(kind)) {
            let message = format!("the range of `{name}` must be one of log, linear and int");
            let help = "write for example: { log = [1e-4, 1e-1], points = 4 } or \
                        { int = [10, 30], step = 10 }";
            inspection.refuse(&item.span, message, help);
        }
        return None;
    };
    let (misplaced, right) =
        if kind.name == "int" { ("points", "step") } else { ("step", "points") };
    if let Some(span) = section.key_span(misplaced) {
        let message = format!("a range by {} has no `{misplaced}`", kind.name);
        inspection.refuse(span, message, format!("write `{right}`"));
        return None;
    }
    let ends = kind.list(inspection)?;
    if ends.len() != 2 {
        let message = format!("`{}` must have two ends, and has {}", kind.name, ends.len());
        inspection.refuse(&kind.span, message, format!("write {} = [low, high]", kind.name));
        return None;
    }
    let axis = if kind.name == "int" {
        let (low, high) = (whole(&ends[0], inspection)?, whole(&ends[1], inspection)?);
        let step = match section.find("step") {
            Some(step) => step.whole(1..=i64::from(u32::MAX), inspection)?.value,
            None => 1,
        };
        (low <= high).then_some(Axis::Int { low, high, step })
    } else {
        let points = match drawn && section.find("points").is_none() {
            true => None,
            false => Some(section.require("points", "points = 4", inspection)?),
        };
        let points = match points {
            Some(points) => Some(points.whole(2..=i64::from(u32::MAX), inspection)?.value as u32),
            None => None,
        };
        let is_log = kind.name == "log";
        let rule = if is_log { "above 0" } else { "finite" };
        let mut end = |item: &Item<'_>| item.number(rule, |end| !is_log || end > 0.0, inspection);
        let (low, high) = (end(&ends[0])?.value, end(&ends[1])?.value);
        let axis = match (is_log, points) {
            (true, Some(points)) => Axis::Log { low, high, points },
            (false, Some(points)) => Axis::Linear { low, high, points },
            (true, None) => Axis::LogRange { low, high },
            (false, None) => Axis::LinearRange { low, high },
        };
        (low < high).then_some(axis)
    };
    if axis.is_none() {
        let message = format!("a space with no points: `{name}` ranges downwards");
        inspection.refuse(&kind.span, message, "write the smaller end first");
    }
    axis
}

fn whole(item: &Item<'_>, inspection: &mut Inspection<'_>) -> Option<i64> {
    item.whole(-WHOLE_MAX..=WHOLE_MAX, inspection).map(|at| at.value)
}

/// Everything that decides what a trial gives, in canonical TOML. Limits do not: an outcome that was
/// had within them is the same without.
pub(super) fn written(program: &Program, validation: f64) -> String {
    let list: Vec<String> = program.command.iter().map(|text| quoted(text)).collect();
    let mut lines = vec![format!("command = [{}]", list.join(", "))];
    for (name, value) in &program.env {
        lines.push(format!("env.{name} = {}", quoted(value)));
    }
    for file in &program.files {
        lines.push(format!("files.{} = {}", quoted(&file.path), quoted(&file.digest().hex())));
    }
    if validation > 0.0 {
        lines.push(format!("validation = {validation:?}"));
    }
    for (name, value) in &program.fixed {
        lines.push(match value {
            Value::Text(text) => format!("{} = {}", quoted(name), quoted(text)),
            Value::Float(number) => format!("{} = {number:?}", quoted(name)),
            other => format!("{} = {other}", quoted(name)),
        });
    }
    lines.join("\n")
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

const KEYS: [&str; 10] = [
    "command",
    "env",
    "files",
    "time_limit_s",
    "memory_mib",
    "validation",
    "search",
    "space",
    "constraints",
    "requires",
];
/// What a program writes into its working folder, for the agent to read.
const RESERVED: [&str; 3] = ["results.jsonl", "rows.csv", "rows.parquet"];
/// How the names of variables begin that trials are told by.
const OURS: &str = "SEEDSWEEP_";
const ARGUMENTS_MAX: usize = 256;
const VARIABLES_MAX: usize = 64;
const FILES_MAX: usize = 64;
const TEXT_MAX: usize = 8 << 10;
const VALUE_MAX: usize = 128;
const NAME_MAX: usize = 64;
const LISTED_MAX: usize = 5_000;
const TIME_LIMIT_MAX_S: i64 = 30 * 86_400;
const MEMORY_MAX_MIB: i64 = 16 << 20;
/// Whole numbers that a range may reach; no step leaves 64 bits.
const WHOLE_MAX: i64 = 1 << 53;
