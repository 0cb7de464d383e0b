//! `search`: how configs are taken from a space.
//!
//! Floor: common.

use super::super::Race;
use super::super::finding::{At, Inspection, mean_or_known};
use super::super::halving::{ASHA, HALVING};
use super::walk::{Item, Section};
use crate::plan::Method;

/// A search that tries this many configs: drawn before anything is trained, or by what it learns from scores.
#[derive(Clone, Debug)]
pub(in super::super) struct Drawn {
    pub method: Method,
    pub configs: u32,
    /// What is drawn is halved.
    pub halving: Option<Halved>,
}

/// How configs are halved, as far as the file says it.
#[derive(Clone, Debug)]
pub(in super::super) struct Halved {
    pub rungs: Option<At<u32>>,
    pub factor: u32,
    /// A config goes on without waiting for the others.
    pub at_once: bool,
}

/// `{ method = "grid" }`, or `{ method = "tpe", configs = 20 }`, and how its configs race. `None` for a grid.
pub(super) fn search(
    item: &Item<'_>,
    has_space: bool,
    inspection: &mut Inspection<'_>,
) -> (Option<At<Drawn>>, Option<At<Race>>) {
    let Some(section) = item.section("search", &KEYS, inspection) else { return (None, None) };
    if !has_space {
        let help = "add for example: space = { lr = [0.001, 0.01] }";
        inspection.refuse(&item.span, "`search` has no space to search", help);
    }
    let drawn = drawn(item, &section, inspection);
    let race = race(&section, drawn.as_ref().map(|drawn| &drawn.value), inspection);
    (drawn, race)
}

fn drawn(
    item: &Item<'_>,
    section: &Section<'_>,
    inspection: &mut Inspection<'_>,
) -> Option<At<Drawn>> {
    let written = section
        .require("method", "method = \"grid\"", inspection)
        .and_then(|item| item.text(inspection))?;
    let method = match written.value.as_str() {
        "grid" => None,
        "random" | HALVING | ASHA => Some(Method::Random),
        "sobol" => Some(Method::Sobol),
        "tpe" => Some(Method::Tpe),
        "gp" => Some(Method::Gaussian),
        "cmaes" => Some(Method::CmaEs),
        other => {
            let message = format!("there is no search method {other:?}");
            let help = mean_or_known(other, &METHODS);
            inspection.refuse(&written.span, message, help);
            return None;
        }
    };
    let configs = section.find("configs");
    let Some(method) = method else {
        if let Some(configs) = configs {
            let message = "a grid has as many configs as its space";
            let help = "take `configs` out, or write method = \"random\"";
            inspection.refuse(&configs.span, message, help);
        }
        return None;
    };
    let configs = section
        .require("configs", "configs = 20", inspection)?
        .whole(1..=CONFIGS_MAX, inspection)?;
    let at_once = written.value == ASHA;
    let halves = (at_once || written.value == HALVING).then_some(at_once);
    let halving = halved(section, halves, inspection);
    let drawn = Drawn { method, configs: configs.value as u32, halving };
    Some(At { value: drawn, span: item.span.clone() })
}

/// `rungs = 3, factor = 3` of a search that halves, and whether at once.
fn halved(
    search: &Section<'_>,
    halves: Option<bool>,
    inspection: &mut Inspection<'_>,
) -> Option<Halved> {
    let mut number = |key: &str, most: i64| -> Option<At<u32>> {
        let item = search.find(key)?;
        if halves.is_none() {
            let message = format!("`{key}` is for method = \"halving\" or \"asha\"");
            inspection.refuse(&item.span, message, "take it out");
            return None;
        }
        let number = item.whole(2..=most, inspection)?;
        Some(At { value: number.value as u32, span: number.span })
    };
    let (rungs, factor) = (number("rungs", 20), number("factor", 1_000));
    let factor = factor.map_or(FACTOR, |factor| factor.value);
    Some(Halved { rungs, factor, at_once: halves? })
}

/// `race = true, first = 5, level = 0.95`: configs that were drawn before anything is trained.
fn race(
    search: &Section<'_>,
    drawn: Option<&Drawn>,
    inspection: &mut Inspection<'_>,
) -> Option<At<Race>> {
    let written = search.find("race");
    let asked = written.and_then(|item| item.boolean(inspection)).filter(|asked| asked.value);
    let (first, level) = (search.find("first"), search.find("level"));
    let Some(asked) = asked else {
        let known = written.is_none_or(|item| item.is_false());
        let stray = [first, level].into_iter().flatten();
        for item in stray.filter(|_| known && !search.is_misspelt("race")) {
            let message = format!("`{}` is for race = true", item.name);
            inspection.refuse(&item.span, message, "take it out, or write race = true");
        }
        return None;
    };
    let mut race = Race::default();
    if let Some(first) = first.and_then(|item| item.whole(2..=FIRST_MAX, inspection)) {
        race.first = first.value as u32;
    }
    let between = "a level between 0 and 1, such as 0.95";
    let level = level.and_then(|item| item.number(between, |l| l > 0.0 && l < 1.0, inspection));
    if let Some(level) = level {
        race.alpha = 1.0 - level.value;
    }
    let message = match drawn {
        Some(Drawn { halving: Some(halved), .. }) => {
            let name = if halved.at_once { ASHA } else { HALVING };
            format!("{name} drops configs by epochs, and a race by tuning seeds")
        }
        Some(drawn) if drawn.method.learns() => format!(
            "{} proposes each config when those before are scored, and a race trains all of them together",
            drawn.method.name()
        ),
        _ => return Some(At { value: race, span: asked.span }),
    };
    let help = "take `race` out, or write method = \"grid\", \"random\" or \"sobol\"";
    inspection.refuse(&asked.span, message, help);
    None
}

const KEYS: [&str; 7] = ["method", "configs", "rungs", "factor", "race", "first", "level"];
const METHODS: [&str; 8] = ["grid", "random", "sobol", "tpe", "gp", "cmaes", HALVING, ASHA];
/// One in three goes on, for three times the epochs.
const FACTOR: u32 = 3;
/// As of `first` in [stop].
const FIRST_MAX: i64 = 1_000;
/// As many as a study may have.
const CONFIGS_MAX: i64 = 5_000;
