//! The study file's grammar: TOML with spans to a draft of a study.
//!
//! A draft holds whatever could be read, each part with its place, so that the checks after it can
//! go on past the findings made here. Deliberately absent: the data; `study::check` reads it.
//!
//! Floor: common.

mod arms;
mod conditions;
mod data;
mod depth;
mod limits;
mod nested;
mod programs;
mod recipes;
mod requires;
mod search;
mod sections;
mod walk;

use std::ops::Range;

use toml::de::DeTable;

use super::finding::{At, Inspection, NOT_TOML};
use super::{Budget, Format, Halving, Hyper, Missing, Model, Race, SeedFactor};
use crate::id::Digest;
use crate::label::Requires;
use crate::metric::Metric;
use crate::plan::{Method, Search, SearchError, Terms};
use crate::space::{Axis, Config, Space, Value};
use crate::wire::frame::FRAME_MAX;

use limits::StopDraft;
use nested::InnerDraft;
use walk::Section;

pub(super) use arms::{set, settle, written};

/// What could be read of a study file. A part that is `None` has its finding already.
pub(super) struct Draft {
    pub name: Option<String>,
    pub notes: String,
    /// Primary first, as written; which exist depends on the task.
    pub metrics: Vec<At<String>>,
    pub data: DataDraft,
    pub outer: Option<OuterDraft>,
    pub seeds: Option<SeedsDraft>,
    pub arms: Vec<ArmDraft>,
    pub controls: ControlsDraft,
    /// Without what `stop` says.
    pub budget: Budget,
    pub stop: Option<StopDraft>,
    /// Of whoever trains anything of it.
    pub requires: Requires,
}

#[derive(Default)]
pub(super) struct DataDraft {
    pub path: Option<At<(String, Format)>>,
    pub target: Option<At<String>>,
    pub task: Option<At<TaskKind>>,
    pub drop: Vec<At<String>>,
    /// Some of `drop` could not be read.
    pub drop_broken: bool,
    pub group: Option<At<String>>,
    /// The column that says when each row was.
    pub order: Option<At<String>>,
    pub missing: Option<Missing>,
    /// Of segmentation, by number, as written.
    pub classes: Option<At<Vec<String>>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TaskKind {
    Classification,
    Regression,
    Segmentation,
}

impl TaskKind {
    /// What a metric measures.
    pub fn of(metric: Metric) -> Self {
        match metric {
            _ if metric.is_classification() => TaskKind::Classification,
            _ if metric.is_segmentation() => TaskKind::Segmentation,
            _ => TaskKind::Regression,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            TaskKind::Classification => "classification",
            TaskKind::Regression => "regression",
            TaskKind::Segmentation => "segmentation",
        }
    }
}

pub(super) struct OuterDraft {
    pub span: Range<usize>,
    pub kind: OuterKindDraft,
    pub repeats: u32,
    pub repeats_span: Option<Range<usize>>,
    pub stratify: Option<At<bool>>,
    pub inner: Option<InnerDraft>,
}

impl OuterDraft {
    /// Whether rows are divided once, into those that train and those that test.
    pub fn is_one_fold(&self) -> bool {
        matches!(self.kind, OuterKindDraft::Holdout(_)) && self.repeats == 1
    }
}

pub(super) enum OuterKindDraft {
    Folds(At<u32>),
    Holdout(At<f64>),
    LeaveOut(At<String>),
}

pub(super) struct SeedsDraft {
    pub span: Range<usize>,
    /// Seeds that choose configs for all others.
    pub tune: Option<At<u32>>,
    pub factors: Vec<SeedFactor>,
}

pub(super) struct ControlsDraft {
    /// Added where no arm is one.
    pub constant: bool,
    /// Seeds of each arm's permuted control.
    pub permuted: Option<At<u32>>,
}

pub(super) struct ArmDraft {
    pub name: At<String>,
    pub model: Model,
    /// Defaults and what is written beside the space.
    pub fixed: Hyper,
    /// The loss as written beside the space: it must suit the task.
    pub loss: Option<At<String>>,
    pub space: At<Space>,
    /// `None`: a grid.
    pub search: Option<At<search::Drawn>>,
    /// Its configs race by tuning seeds.
    pub race: Option<At<Race>>,
    /// The configs, once they are drawn; of a search that learns examples.
    pub points: Vec<Config>,
    /// Of a program, beside the study file: to be read.
    pub files: Vec<At<String>>,
    /// Of whoever trains it, with what the study requires.
    pub requires: Requires,
}

impl ArmDraft {
    /// Configs at most: of a search, as many as it asks for.
    pub fn count(&self) -> u128 {
        let whole = self.space.value.size().map_or(u128::MAX >> 32, u128::from);
        let drawn = self.search.as_ref().map(|search| u128::from(search.value.configs));
        drawn.map_or(whole, |drawn| drawn.min(whole))
    }

    /// The method of a search that learns from scores.
    pub fn learns(&self) -> Option<Method> {
        self.search.as_ref().map(|search| search.value.method).filter(|method| method.learns())
    }

    /// How its configs are halved, once they are drawn.
    pub fn halving(&self) -> Option<Halving> {
        let halved = self.search.as_ref()?.value.halving.as_ref()?;
        let (configs, factor) = (self.points.len() as u32, halved.factor);
        let most = Halving::most_rungs(configs, factor, self.fixed.epochs);
        let rungs = halved.rungs.as_ref().map_or(most, |rungs| rungs.value);
        Some(Halving { configs, rungs, factor, at_once: halved.at_once })
    }

    /// Takes the configs from the space. What is drawn depends on the data and on the space alone. A search
    /// that learns has examples, evenly spread: as many as it has tries, or as there are configs.
    pub fn draw(&mut self, data: Digest) -> Result<(), SearchError> {
        let space = self.space.value.clone();
        self.points = match &self.search {
            None => {
                let configs = space.configs();
                (!configs.is_empty()).then_some(()).ok_or(SearchError::NothingAllowed)?;
                configs
            }
            Some(At { value: drawn, .. }) => {
                let budget = drawn.configs;
                let terms = Terms { budget, larger_is_better: true, data, seed: 0 };
                let upfront = match drawn.method.learns() {
                    false => drawn.method,
                    // Whether the space suits the method is asked all the same.
                    true => {
                        Search::new(space.clone(), drawn.method, terms).map(|_| Method::Sobol)?
                    }
                };
                Search::new(space, upfront, terms)?.upfront()?
            }
        };
        Ok(())
    }

    /// Of configs that stand for all that a search that learns may propose: where those are few all of them,
    /// with the ends of each range in place of what is between; else the examples.
    pub fn proposable(&self) -> Vec<Hyper> {
        let ends = |axis: &Axis| match axis {
            Axis::LogRange { low, high } | Axis::LinearRange { low, high } => {
                Axis::List(vec![Value::Float(*low), Value::Float(*high)])
            }
            axis => axis.clone(),
        };
        let mut ended = self.space.value.clone();
        ended.axes.iter_mut().for_each(|(_, axis)| *axis = ends(axis));
        match ended.size() {
            Some(size) if size <= PROPOSABLE_MAX => {
                ended.configs().iter().map(|point| self.hyper(point)).collect()
            }
            _ => self.hypers().collect(),
        }
    }

    /// Of each config, in their order.
    pub fn hypers(&self) -> impl Iterator<Item = Hyper> {
        self.points.iter().map(|point| self.hyper(point))
    }

    fn hyper(&self, point: &Config) -> Hyper {
        let mut hyper = self.fixed.clone();
        for (name, value) in &point.values {
            assert!(set(&mut hyper, name, value), "`{name}` cannot be {value}");
        }
        settle(&mut hyper);
        hyper
    }
}

/// Reads a study file. Syntax errors alone give no draft.
pub(super) fn read(text: &str, inspection: &mut Inspection<'_>) -> Option<Draft> {
    if text.len() > FRAME_MAX {
        let message = format!("the file is {} bytes long; no frame holds it", text.len());
        let help =
            format!("a study file has at most {FRAME_MAX} bytes; data go into a file of their own");
        inspection.refuse(&(0..0), message, help);
        return None;
    }
    if let Some(span) = depth::too_deep(text) {
        let message = format!("more than {} levels are nested here", depth::NESTING_MAX);
        inspection.refuse(&span, message, "a study file needs four levels: take the brackets out");
        return None;
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let said = bare_word(text, span.start)
            .filter(|_| OF_BARE_WORDS.iter().any(|words| error.message().starts_with(words)))
            .unwrap_or_else(|| error.message().to_string());
        inspection.refuse(&span, format!("{NOT_TOML}{said}"), "");
    }
    if !errors.is_empty() {
        return None;
    }
    let root = Section::open("a study file", 0..0, document.get_ref(), &TABLES, inspection);
    let mut draft = Draft {
        name: None,
        notes: String::new(),
        metrics: Vec::new(),
        data: DataDraft::default(),
        outer: None,
        seeds: None,
        arms: Vec::new(),
        controls: ControlsDraft { constant: true, permuted: None },
        budget: Budget::default(),
        stop: None,
        requires: Requires::default(),
    };
    sections::study(&root, &mut draft, inspection);
    data::data(&root, &mut draft.data, inspection);
    draft.outer = sections::split(&root, inspection);
    draft.seeds = sections::seeds(&root, inspection);
    draft.arms = arms::arms(&root, inspection);
    draft.requires = requires::requires(&root, &mut draft.arms, inspection);
    limits::budget(&root, &mut draft.budget, inspection);
    draft.stop = limits::stop(&root, inspection);
    Some(draft)
}

/// What to write for the bare word at this byte, when there is one.
fn bare_word(text: &str, start: usize) -> Option<String> {
    let rest = text.get(start..).filter(|rest| rest.starts_with(char::is_alphabetic))?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-'));
    let word = &rest[..end.unwrap_or(rest.len())];
    let lower = word.to_lowercase();
    match lower.as_str() {
        "true" | "false" => Some(format!("write {lower}, not {word}")),
        _ => Some(format!("text needs quotes: {word:?}")),
    }
}

/// Configs that stand for all of a search's which are looked at one by one.
const PROPOSABLE_MAX: u64 = 5_000;
/// How the parser's messages about bare words begin.
const OF_BARE_WORDS: [&str; 2] = ["string values must be quoted", "invalid boolean"];
const TABLES: [&str; 7] = ["study", "data", "split", "seeds", "arms", "budget", "stop"];
