//! `requires = { device = "cuda", site = ["east", "west"] }`: labels of the agents that may train an arm,
//! or, in `[study]`, any of them.
//!
//! Keys are the user's own words, so that none is unknown; of a device alone it is known what it can be.
//!
//! Floor: common.

use std::collections::{BTreeMap, BTreeSet};

use super::super::finding::{At, Inspection, mean_or_known};
use super::ArmDraft;
use super::walk::{Item, Section};
use crate::label::{DEVICE, DEVICES, KEYS_MAX, Requires, VALUES_MAX};
use crate::name::is_name;

/// Reads what the study requires of all agents, and what each arm does beside that. An arm that does not
/// say has the study's.
pub(super) fn requires(
    root: &Section<'_>,
    arms: &mut [ArmDraft],
    inspection: &mut Inspection<'_>,
) -> Requires {
    let tables = |key: &str, inspection: &mut Inspection<'_>| {
        let item = root.find(key).filter(|item| item.is_table())?;
        item.section_any(key, inspection)
    };
    let study = tables("study", inspection);
    let study = study.as_ref().map(|section| written(section, inspection)).unwrap_or_default();
    let of_study = without_places(&study);
    arms.iter_mut().for_each(|arm| arm.requires = of_study.clone());
    let sections = tables("arms", inspection);
    for (_, item) in sections.iter().flat_map(Section::entries).filter(|(_, i)| i.is_table()) {
        let title = format!("[arms.{}]", item.name);
        let Some(section) = item.section_any(&title, inspection) else { continue };
        let own = written(&section, inspection);
        let mut all = of_study.clone();
        for (key, values) in &own {
            narrow(&mut all, key, values, inspection);
        }
        let drafts = arms.iter_mut().filter(|arm| arm.name.value == item.name);
        drafts.for_each(|arm| arm.requires = all.clone());
    }
    of_study
}

type Written = BTreeMap<String, At<BTreeSet<String>>>;

/// What an arm asks of a key beside what the study asks of it.
fn narrow(
    all: &mut Requires,
    key: &str,
    own: &At<BTreeSet<String>>,
    inspection: &mut Inspection<'_>,
) {
    let both: BTreeSet<String> = match all.values(key) {
        None => own.value.clone(),
        Some(study) => own.value.intersection(study).cloned().collect(),
    };
    if both.is_empty() {
        let mut study = Requires::default();
        study.insert(key.to_string(), all.values(key).cloned().unwrap_or_default());
        let message = format!("[study] requires {study}, so no agent may train this arm");
        inspection.refuse(&own.span, message, "take one of both out, or let one have the other's");
        return;
    }
    all.insert(key.to_string(), both);
}

fn written(section: &Section<'_>, inspection: &mut Inspection<'_>) -> Written {
    let mut requires = Written::new();
    let Some(item) = section.find("requires") else { return requires };
    if !item.is_table() {
        item.expected::<()>(
            "a table of labels, such as { device = \"cuda\", site = [\"east\", \"west\"] }",
            inspection,
        );
        return requires;
    }
    let Some(labels) = item.section_any("requires", inspection) else { return requires };
    let count = labels.entries().count();
    if count > KEYS_MAX {
        let message = format!("`requires` has {count} labels; at most {KEYS_MAX} are looked at");
        inspection.refuse(&item.span, message, "give agents one label that stands for several");
        return requires;
    }
    for (span, item) in labels.entries() {
        if !is_name(&item.name) {
            let message = format!("no agent has a label {:?}", item.name);
            inspection.refuse(span, message, LABEL);
        }
        if let Some(values) = values(item, inspection) {
            requires.insert(item.name.clone(), At { value: values, span: item.span.clone() });
        }
    }
    requires
}

/// One value, or a list of those that are good.
fn values(item: &Item<'_>, inspection: &mut Inspection<'_>) -> Option<BTreeSet<String>> {
    let values: Vec<At<String>> = match (item.is_text(), item.is_list()) {
        (true, _) => item.text(inspection).into_iter().collect(),
        (_, true) => {
            let count = item.list(inspection)?.len();
            if !(1..=VALUES_MAX).contains(&count) {
                let message =
                    format!("`{}` has {count} values; 1 to {VALUES_MAX} can be", item.name);
                inspection.refuse(&item.span, message, "name those that are good, or take it out");
                return None;
            }
            item.texts(inspection)
        }
        _ => return item.expected("a text in quotes, or a list of such", inspection),
    };
    for At { value, span } in &values {
        if !is_name(value) {
            let message = format!("no agent has {}={value:?}", item.name);
            inspection.refuse(span, message, LABEL);
        } else if item.name == DEVICE && !DEVICES.contains(&value.as_str()) {
            let message = format!("no agent's device is {value:?}");
            inspection.refuse(span, message, mean_or_known(value, &DEVICES));
        }
    }
    Some(values.into_iter().map(|value| value.value).collect())
}

fn without_places(written: &Written) -> Requires {
    let mut requires = Requires::default();
    written.iter().for_each(|(key, values)| requires.insert(key.clone(), values.value.clone()));
    requires
}

const LABEL: &str = "keys and values of labels have 1 to 64 letters, digits, dots, dashes and \
                     underscores, no dot first";
