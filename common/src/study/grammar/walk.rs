//! Typed steps through a TOML document, each value with its place.
//!
//! A step that meets the wrong type makes a finding that says what was expected and what is there,
//! and gives nothing. Keys that nobody knows are findings too.
//!
//! Floor: common.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::finding::{At, Inspection, mean_or_known, nearest};
use crate::space::Value;

/// A value of the document.
#[derive(Clone)]
pub(super) struct Item<'a> {
    /// As messages call it: `folds`.
    pub name: String,
    pub span: Range<usize>,
    value: &'a DeValue<'a>,
}

/// A table of the document, its keys in the file's order.
pub(super) struct Section<'a> {
    /// As a reader would point at it: `[data]`.
    pub name: String,
    pub span: Range<usize>,
    entries: Vec<(Range<usize>, Item<'a>)>,
    /// Known keys that some unknown key seems to be.
    meant: Vec<String>,
}

impl<'a> Section<'a> {
    /// A table whose keys are all among `known`; others are findings.
    pub fn open(
        name: &str,
        span: Range<usize>,
        table: &'a DeTable<'a>,
        known: &[&str],
        inspection: &mut Inspection<'_>,
    ) -> Self {
        let mut section = Self::open_any(name, span, table);
        let offered = offered(known);
        let mut meant = Vec::new();
        for (span, item) in &section.entries {
            if !known.contains(&item.name.as_str()) {
                let message = format!("{name} has no key `{}`", item.name);
                if inspection.is_crowded() {
                    inspection.refuse(span, message, "");
                    continue;
                }
                inspection.refuse(span, message, mean_or_known(&item.name, &offered));
                let near = nearest(&item.name, offered.iter().copied());
                meant.extend(near.map(String::from));
            }
        }
        section.meant = meant;
        section
    }

    /// A table whose keys are names of the user's.
    pub fn open_any(name: &str, span: Range<usize>, table: &'a DeTable<'a>) -> Self {
        let entry = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let key_text: &std::borrow::Cow<'a, str> = key.get_ref();
            let item =
                Item { name: key_text.to_string(), span: value.span(), value: value.get_ref() };
            (key.span(), item)
        };
        let mut entries: Vec<(Range<usize>, Item<'a>)> = table.iter().map(entry).collect();
        entries.sort_by_key(|(span, _)| span.start);
        Self { name: name.to_string(), span, entries, meant: Vec::new() }
    }

    /// Keys with their places, in the file's order.
    pub fn entries(&self) -> impl Iterator<Item = &(Range<usize>, Item<'a>)> {
        self.entries.iter()
    }

    pub fn find(&self, key: &str) -> Option<&Item<'a>> {
        self.entries.iter().find(|(_, item)| item.name == key).map(|(_, item)| item)
    }

    /// The place of a key itself.
    pub fn key_span(&self, key: &str) -> Option<&Range<usize>> {
        self.entries.iter().find(|(_, item)| item.name == key).map(|(span, _)| span)
    }

    /// Whether the key is absent and an unknown key, which has its finding, seems to be it.
    pub fn is_misspelt(&self, key: &str) -> bool {
        self.find(key).is_none() && self.meant.iter().any(|meant| meant == key)
    }

    /// The value of a key that must be there; a finding with `example` where it is not, nor is
    /// misspelt.
    pub fn require(
        &self,
        key: &str,
        example: &str,
        inspection: &mut Inspection<'_>,
    ) -> Option<&Item<'a>> {
        let item = self.find(key);
        if item.is_none() && !self.is_misspelt(key) {
            let message = format!("{} has no `{key}`", self.name);
            inspection.refuse(&self.span, message, format!("add for example: {example}"));
        }
        item
    }
}

impl<'a> Item<'a> {
    pub fn text(&self, inspection: &mut Inspection<'_>) -> Option<At<String>> {
        match self.value.as_str() {
            Some(text) => Some(self.at(text.to_string())),
            None => self.expected("a text in quotes", inspection),
        }
    }

    pub fn boolean(&self, inspection: &mut Inspection<'_>) -> Option<At<bool>> {
        match self.value.as_bool() {
            Some(value) => Some(self.at(value)),
            None => self.expected("true or false", inspection),
        }
    }

    /// A whole number in `range`.
    pub fn whole(
        &self,
        range: RangeInclusive<i64>,
        inspection: &mut Inspection<'_>,
    ) -> Option<At<i64>> {
        let DeValue::Integer(integer) = self.value else {
            return self.expected("a whole number", inspection);
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(self.at(number));
        }
        let (low, high) = (range.start(), range.end());
        let message = format!("`{}` is {integer}; it must be from {low} to {high}", self.name);
        inspection.refuse(&self.span, message, "");
        None
    }

    /// A finite number that `allowed` takes; `rule` says which those are: `above 0`.
    pub fn number(
        &self,
        rule: &str,
        allowed: impl Fn(f64) -> bool,
        inspection: &mut Inspection<'_>,
    ) -> Option<At<f64>> {
        let number = match self.value {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|n| n as f64)
            }
            _ => return self.expected("a number", inspection),
        };
        if let Some(number) = number.filter(|&number| number.is_finite() && allowed(number)) {
            return Some(self.at(number + 0.0));
        }
        let message = format!("`{}` is {}; it must be {rule}", self.name, self.found());
        inspection.refuse(&self.span, message, "");
        None
    }

    /// One of some words, with what each stands for.
    pub fn choice<T: Copy>(
        &self,
        choices: &[(&str, T)],
        inspection: &mut Inspection<'_>,
    ) -> Option<At<T>> {
        let word = self.text(inspection)?;
        if let Some(&(_, choice)) = choices.iter().find(|(name, _)| *name == word.value) {
            return Some(self.at(choice));
        }
        let names: Vec<&str> = choices.iter().map(|&(name, _)| name).collect();
        let message = format!("`{}` cannot be {:?}", self.name, word.value);
        inspection.refuse(&self.span, message, mean_or_known(&word.value, &offered(&names)));
        None
    }

    /// The elements of a list, each called by the list's name.
    pub fn list(&self, inspection: &mut Inspection<'_>) -> Option<Vec<Item<'a>>> {
        let Some(array) = self.value.as_array() else {
            return self.expected("a list", inspection);
        };
        let element = |element: &'a Spanned<DeValue<'a>>| Item {
            name: self.name.clone(),
            span: element.span(),
            value: element.get_ref(),
        };
        Some(array.iter().map(element).collect())
    }

    /// A list of texts, none twice.
    pub fn texts(&self, inspection: &mut Inspection<'_>) -> Vec<At<String>> {
        let mut texts: Vec<At<String>> = Vec::new();
        let mut before: BTreeSet<String> = BTreeSet::new();
        for item in self.list(inspection).unwrap_or_default() {
            let Some(text) = item.text(inspection) else { continue };
            if !before.insert(text.value.clone()) {
                let message = format!("{:?} is listed twice in `{}`", text.value, self.name);
                inspection.refuse(&text.span, message, "leave one of them");
            } else {
                texts.push(text);
            }
        }
        texts
    }

    /// A table whose keys are all among `known`, called `name`.
    pub fn section(
        &self,
        name: &str,
        known: &[&str],
        inspection: &mut Inspection<'_>,
    ) -> Option<Section<'a>> {
        let table = self.table(inspection)?;
        Some(Section::open(name, self.span.clone(), table, known, inspection))
    }

    /// A table whose keys are the user's, called `name`.
    pub fn section_any(&self, name: &str, inspection: &mut Inspection<'_>) -> Option<Section<'a>> {
        let table = self.table(inspection)?;
        Some(Section::open_any(name, self.span.clone(), table))
    }

    /// One value of whatever type: a number, a text, true or false, or a list of whole numbers.
    pub fn value(&self, inspection: &mut Inspection<'_>) -> Option<Value> {
        match self.value {
            DeValue::String(text) => Some(Value::Text(text.to_string())),
            DeValue::Boolean(value) => Some(Value::Bool(*value)),
            DeValue::Integer(_) => {
                self.whole(i64::MIN..=i64::MAX, inspection).map(|at| Value::Int(at.value))
            }
            DeValue::Float(_) => {
                self.number("finite", |_| true, inspection).map(|at| Value::Float(at.value))
            }
            DeValue::Array(_) => {
                let list = self.list(inspection)?;
                let mut whole = |item: &Item<'_>| item.whole(i64::MIN..=i64::MAX, inspection);
                let items: Vec<_> = list.iter().map(&mut whole).collect();
                items
                    .into_iter()
                    .map(|at| at.map(|at| at.value))
                    .collect::<Option<_>>()
                    .map(Value::Ints)
            }
            _ => self
                .expected("a number, a text, true, false or a list of whole numbers", inspection),
        }
    }

    pub fn is_false(&self) -> bool {
        self.value.as_bool() == Some(false)
    }

    pub fn is_text(&self) -> bool {
        self.value.is_str()
    }

    pub fn is_list(&self) -> bool {
        self.value.is_array()
    }

    pub fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// A finding for the wrong type.
    pub fn expected<T>(&self, wanted: &str, inspection: &mut Inspection<'_>) -> Option<T> {
        let message = format!("`{}` must be {wanted}, and is {}", self.name, self.found());
        inspection.refuse(&self.span, message, "");
        None
    }

    /// The value in words.
    pub fn found(&self) -> String {
        match self.value {
            DeValue::String(text) => format!("the text {:?}", clipped(text)),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(date) => format!("the date {date}"),
            DeValue::Array(_) => "a list".to_string(),
            DeValue::Table(_) => "a table".to_string(),
        }
    }

    fn table(&self, inspection: &mut Inspection<'_>) -> Option<&'a DeTable<'a>> {
        match self.value.as_table() {
            Some(table) => Some(table),
            None => self.expected("a table", inspection),
        }
    }

    fn at<T>(&self, value: T) -> At<T> {
        At { value, span: self.span.clone() }
    }
}

/// The known words without those that are only known to be refused.
fn offered<'k>(known: &[&'k str]) -> Vec<&'k str> {
    known.iter().copied().filter(|word| !LATER.contains(word)).collect()
}

/// Long texts shortened, so that a message stays a line.
fn clipped(text: &str) -> String {
    match text.char_indices().nth(TEXT_SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// Words with a message of their own, and no use in this version.
const LATER: [&str; 1] = ["segmentation"];
const TEXT_SHOWN_MAX: usize = 40;
