//! What a study's table says, checked against what the study file says of it.
//!
//! Floor: common.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::finding::{At, Inspection, did_you_mean};
use super::super::grammar::{DataDraft, Draft, OuterKindDraft, TaskKind};
use super::super::{Data, Format, Missing, Task};
use crate::id::Digest;
use crate::samples::pack::is_packed;
use crate::samples::{Samples, bytes_in_words};
use crate::table::{
    LEVELS_MAX, LISTED_MAX, Table, Values, codes, distinct, feature_columns, first, is_number,
    kept_rows,
};

/// What the checks of the division go on with.
pub(super) struct Facts {
    /// `None` when some part of it has a finding.
    pub data: Option<Data>,
    pub table: Table,
    /// In place of the table, where rows are no table's.
    pub samples: Option<Samples>,
    /// Rows kept.
    pub rows: usize,
    pub classes: Option<Labelled>,
    pub groups: Option<Labelled>,
    pub leave_out: Option<Labelled>,
    /// Each row's place in time, where the study names a column for it.
    pub order: Option<Vec<u32>>,
}

/// The values of a column, and which of them each row has; rows without one are absent.
pub(super) struct Labelled {
    pub column: String,
    pub names: Vec<String>,
    pub rows: Vec<usize>,
    pub codes: Vec<u32>,
}

impl Labelled {
    pub fn of(table: &Table, place: usize, rows: &[usize]) -> Self {
        let column = &table.columns[place];
        let rows: Vec<usize> =
            rows.iter().copied().filter(|&row| !column.is_missing(row)).collect();
        let names = distinct(column, &rows);
        let codes = codes(column, &rows, &names).unwrap_or_default();
        Self { column: column.name.clone(), names, rows, codes }
    }

    /// Rows of each value.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.names.len()];
        self.codes.iter().for_each(|&code| counts[code as usize] += 1);
        counts
    }
}

/// The columns that the study file names, where the table has them.
pub(super) struct Parts {
    pub target: Option<usize>,
    pub group: Option<usize>,
    /// Or the order column.
    pub leave_out: Option<usize>,
    /// What a finding calls it.
    pub left_out_as: &'static str,
    /// Whether some name is no column: then other columns may be misread.
    pub unresolved: bool,
}

impl Parts {
    fn places(&self) -> Vec<usize> {
        [self.target, self.group, self.leave_out].into_iter().flatten().collect()
    }
}

/// Reads and checks the rows. `None` when there are none to go on with.
pub(super) fn facts(
    draft: &Draft,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    memory: u64,
    notes: &mut Vec<String>,
    inspection: &mut Inspection<'_>,
) -> Option<Facts> {
    let written = &draft.data;
    let At { value: (path, format), span } = written.path.as_ref()?;
    let bytes = bytes(written, read, inspection)?;
    if !format.is_table() {
        return super::samples::facts(draft, &bytes, memory, notes, inspection);
    }
    let table = table(written, &bytes, memory, inspection)?;
    let parts = parts(draft, &table, inspection);
    let drop: Vec<String> = written.drop.iter().map(|name| name.value.clone()).collect();
    let features = feature_columns(&table, &drop, &parts.places());
    if features.is_empty() && !parts.unresolved {
        let message = format!("{path} has no columns left to be features");
        inspection.refuse(span, message, "drop fewer columns");
    }
    let used: Vec<usize> = features.iter().copied().chain(parts.places()).collect();
    let missing = written.missing.unwrap_or(Missing::Mean);
    let rows = kept_rows(&table, &used, missing);
    check_missing(span, &table, &parts, &features, missing, inspection);
    if rows.is_empty() {
        let message = format!("every row of {path} has a missing cell, so none is left");
        inspection.refuse(span, message, "drop the emptiest columns, or write missing = \"mean\"");
        return None;
    }
    if rows.len() < table.rows {
        let left_out = table.rows - rows.len();
        notes.push(format!("{left_out} of {} rows are left out for missing cells", table.rows));
    }
    check_features(span, &table, &features, &rows, &parts, inspection);
    let classes = check_target(written, &table, &parts, &rows, inspection);
    notes.extend(classes.iter().flat_map(class_notes));
    notes.extend(feature_notes(&table, &features, &rows));
    let labelled = |place: Option<usize>| place.map(|place| Labelled::of(&table, place, &rows));
    let (groups, leave_out) = (labelled(parts.group), labelled(parts.leave_out));
    let order = super::ordered::times(written, &table, parts.leave_out, &rows, inspection);
    let rows = rows.len();
    let mut facts =
        Facts { data: None, table, samples: None, rows, classes, groups, leave_out, order };
    facts.data = data(written, &bytes, &facts);
    Some(facts)
}

/// The bytes of the data file or folder.
fn bytes(
    written: &DataDraft,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    inspection: &mut Inspection<'_>,
) -> Option<Vec<u8>> {
    let At { value: (path, _), span } = written.path.as_ref()?;
    match read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let help = "the path is relative to the study file";
            inspection.refuse(span, format!("cannot read {path}: {error}"), help);
            None
        }
    }
}

/// The table that the bytes are.
fn table(
    written: &DataDraft,
    bytes: &[u8],
    memory: u64,
    inspection: &mut Inspection<'_>,
) -> Option<Table> {
    let At { value: (path, format), span } = written.path.as_ref()?;
    if is_packed(bytes) {
        let message = format!("{path} is a folder, and its format is a file's");
        inspection.refuse(span, message, "name the file, or write the format of a folder");
        return None;
    }
    let needs = table_needs(format, bytes);
    if needs > memory {
        let (needs, free) = (bytes_in_words(needs), bytes_in_words(memory));
        let message = format!("{path} takes {needs} of memory as a table, and {free} are free");
        let help = "write a file of fewer rows or columns, or use a machine with more memory";
        inspection.refuse(span, message, help);
        return None;
    }
    match Table::read(format, bytes) {
        Ok(table) => Some(table),
        Err(errors) => {
            errors.iter().for_each(|error| inspection.refuse(span, format!("{path}: {error}"), ""));
            None
        }
    }
}

/// What a table takes at least: cells of 64 bits, and features of 32 beside them.
fn table_needs(format: &Format, bytes: &[u8]) -> u64 {
    let delimiter = match format {
        Format::Csv => b',',
        Format::Tsv => b'\t',
        _ => return bytes.len() as u64,
    };
    let header = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let columns = header.iter().filter(|&&byte| byte == delimiter).count() as u64 + 1;
    let rows = bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
    rows * columns * 12
}

/// What the study keeps of its table, when all of it is known.
fn data(written: &DataDraft, bytes: &[u8], facts: &Facts) -> Option<Data> {
    let (path, format) = written.path.as_ref()?.value.clone();
    let task = match written.task.as_ref()?.value {
        TaskKind::Classification => {
            Task::Classification { classes: facts.classes.as_ref()?.names.clone() }
        }
        TaskKind::Regression => Task::Regression,
        TaskKind::Segmentation => return None,
    };
    let mut drop: Vec<String> = written.drop.iter().map(|name| name.value.clone()).collect();
    drop.sort_unstable();
    Some(Data {
        path,
        format,
        digest: Digest::of(bytes),
        bytes: bytes.len() as u64,
        target: written.target.as_ref()?.value.clone(),
        task,
        drop,
        group: written.group.as_ref().map(|group| group.value.clone()),
        leave_out: facts.leave_out.as_ref().map(|values| values.column.clone()),
        missing: written.missing?,
        rows: facts.rows as u64,
    })
}

/// Finds the columns that are named, and refuses one column in two parts.
fn parts(draft: &Draft, table: &Table, inspection: &mut Inspection<'_>) -> Parts {
    let mut unresolved = draft.data.target.is_none() || draft.data.drop_broken;
    let mut place = |name: &At<String>, what: &str, inspection: &mut Inspection<'_>| {
        let place = table.find(&name.value);
        if place.is_none() {
            unresolved = true;
            let message = format!("{what} {:?} is no column of the data", name.value);
            let crowded = inspection.is_crowded();
            let help = if crowded { String::new() } else { columns_help(&name.value, table) };
            inspection.refuse(&name.span, message, help);
        }
        place
    };
    let (left_out, key, left_out_as) = match (&draft.data.order, &draft.outer) {
        (Some(order), _) => (Some(order), "order", "order column"),
        (None, Some(outer)) => match &outer.kind {
            OuterKindDraft::LeaveOut(column) => (Some(column), "leave_out", "leave_out column"),
            _ => (None, "leave_out", "leave_out column"),
        },
        (None, None) => (None, "leave_out", "leave_out column"),
    };
    let target = draft.data.target.as_ref();
    let group = draft.data.group.as_ref();
    let mut parts = Parts {
        target: target.and_then(|name| place(name, "target", inspection)),
        group: group.and_then(|name| place(name, "group", inspection)),
        leave_out: left_out.and_then(|name| place(name, key, inspection)),
        left_out_as,
        unresolved: false,
    };
    for dropped in &draft.data.drop {
        place(dropped, "dropped", inspection);
        let named = [(target, "target"), (group, "group column"), (left_out, left_out_as)];
        for (name, what) in named {
            if name.is_some_and(|name| name.value == dropped.value) {
                let message = format!("{:?} is the {what} and is also dropped", dropped.value);
                let help = "it is never a feature; take it out of `drop`";
                inspection.refuse(&dropped.span, message, help);
            }
        }
    }
    let others =
        [(group, &mut parts.group, "group column"), (left_out, &mut parts.leave_out, left_out_as)];
    for (name, place, what) in others {
        let Some((name, target)) = name.zip(target) else { continue };
        if name.value == target.value {
            *place = None;
            let message = format!("{:?} is the target and also the {what}", name.value);
            inspection.refuse(&name.span, message, "name another column");
        }
    }
    parts.unresolved = unresolved;
    parts
}

/// The nearest column, else the first ones.
fn columns_help(name: &str, table: &Table) -> String {
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let near = did_you_mean(name, names.iter().copied());
    if !near.is_empty() {
        return near;
    }
    format!("its columns are: {}", first(&names, names.len()))
}

/// Missing cells of all columns used; the target's apart, since no mean fills a target.
fn check_missing(
    span: &Range<usize>,
    table: &Table,
    parts: &Parts,
    features: &[usize],
    missing: Missing,
    inspection: &mut Inspection<'_>,
) {
    if missing == Missing::Drop {
        return;
    }
    let holes = |places: &[usize]| -> Vec<usize> {
        let torn = |row: &usize| places.iter().any(|&place| table.columns[place].is_missing(*row));
        (0..table.rows).filter(torn).collect()
    };
    for (place, what) in [
        (parts.target, "target"),
        (parts.group, "group column"),
        (parts.leave_out, parts.left_out_as),
    ] {
        let Some(place) = place else { continue };
        let rows = holes(&[place]);
        if !rows.is_empty() {
            let name = &table.columns[place].name;
            let message = format!("the {what} `{name}` is missing in {}", listed(&rows));
            let help = "no mean can fill it: write missing = \"drop\" to leave these rows out, or \
                        complete them";
            inspection.refuse(span, message, help);
        }
    }
    if missing == Missing::Mean {
        for &place in features.iter().filter(|&&place| holes(&[place]).len() == table.rows) {
            let name = &table.columns[place].name;
            let message = format!("column `{name}` has no value in any row, so it has no mean");
            inspection.refuse(span, message, format!("add {name:?} to `drop`"));
        }
        return;
    }
    let rows = holes(features);
    if rows.is_empty() {
        return;
    }
    let of_column = |&place: &usize| {
        let count = holes(&[place]).len();
        (count > 0).then(|| format!("`{}` ({count})", table.columns[place].name))
    };
    let columns: Vec<String> = features.iter().filter_map(of_column).collect();
    let message = format!(
        "cells are missing in {}; in columns {}",
        listed(&rows),
        first(&columns, columns.len())
    );
    let help = "write missing = \"mean\" in [data] to fill them with the training rows' means, \
                missing = \"drop\" to leave these rows out, or drop the columns";
    inspection.refuse(span, message, help);
}

/// `3 rows: 1, 4, 9`. Row 1 is the first below the header.
pub(super) fn listed(rows: &[usize]) -> String {
    let numbers: Vec<usize> = rows.iter().take(LISTED_MAX).map(|row| row + 1).collect();
    let noun = if rows.len() == 1 { "row" } else { "rows" };
    format!(
        "{} {noun} (row 1 is the first of the data): {}",
        rows.len(),
        first(&numbers, rows.len())
    )
}

/// Columns that cannot be features as they are.
fn check_features(
    span: &Range<usize>,
    table: &Table,
    features: &[usize],
    rows: &[usize],
    parts: &Parts,
    inspection: &mut Inspection<'_>,
) {
    for &place in features {
        let column = &table.columns[place];
        match &column.values {
            Values::Numbers(numbers) => {
                check_finite(span, &column.name, numbers, rows, inspection);
            }
            Values::Text(texts) if !parts.unresolved => {
                let levels = distinct(column, rows).len();
                if levels > LEVELS_MAX {
                    if let Some(message) = odd_cells(&column.name, texts, rows) {
                        let help = "row 1 is the first of the data; correct these cells, or leave \
                                    them empty";
                        inspection.refuse(span, message, help);
                        continue;
                    }
                    let message = format!(
                        "column `{}` is text of {levels} different values; up to {LEVELS_MAX} \
                         become features",
                        column.name
                    );
                    let mut help =
                        format!("add {:?} to `drop`, or write it as numbers", column.name);
                    if parts.group.is_none() {
                        help +=
                            "; name it in `group` if rows belong together (such as a patient's)";
                    }
                    inspection.refuse(span, message, help);
                }
            }
            Values::Text(_) => {}
        }
    }
}

/// The cells that keep a column from being numbers, when they are few: at most a fifth.
fn odd_cells(name: &str, texts: &[Option<String>], rows: &[usize]) -> Option<String> {
    let present = || rows.iter().filter_map(|&row| Some((row, texts[row].as_deref()?)));
    let odd: Vec<String> = present()
        .filter(|(_, cell)| !is_number(cell))
        .map(|(row, cell)| format!("row {}: `{cell}`", row + 1))
        .collect();
    let all = present().count();
    if odd.len() * 5 > all {
        return None;
    }
    let are = if odd.len() == 1 { "is not a number" } else { "are not numbers" };
    let others = all - odd.len();
    let odd = first(&odd, odd.len());
    Some(format!("{odd} {are}, as {others} other cells of column `{name}` are"))
}

/// Class names that may be one name, written in several ways.
pub(super) fn class_notes(classes: &Labelled) -> Vec<String> {
    let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in &classes.names {
        alike.entry(name.trim().to_lowercase()).or_default().push(format!("{name:?}"));
    }
    let note = |names: &Vec<String>| {
        format!(
            "classes {} of column `{}` differ only by case or space; if they are one class, write \
             it in one way",
            names.join(", "),
            classes.column
        )
    };
    alike.values().filter(|names| names.len() > 1).map(note).collect()
}

/// Rows are trained on as 32-bit numbers.
fn check_finite(
    span: &Range<usize>,
    name: &str,
    numbers: &[f64],
    rows: &[usize],
    inspection: &mut Inspection<'_>,
) {
    let wild: Vec<usize> =
        rows.iter().copied().filter(|&row| (numbers[row] as f32).is_infinite()).collect();
    if !wild.is_empty() {
        let message = format!("column `{name}` is infinite or beyond 3.4e38 in {}", listed(&wild));
        inspection.refuse(
            span,
            message,
            "correct these cells, leave them empty, or drop the column",
        );
    }
}

/// The target against the task. Gives the classes of a classification.
pub(super) fn check_target(
    draft: &DataDraft,
    table: &Table,
    parts: &Parts,
    rows: &[usize],
    inspection: &mut Inspection<'_>,
) -> Option<Labelled> {
    let column = &table.columns[parts.target?];
    let (target, task) = (draft.target.as_ref()?, draft.task.as_ref()?);
    let classification = task.value == TaskKind::Classification;
    let present: Vec<usize> = rows.iter().copied().filter(|&row| !column.is_missing(row)).collect();
    match &column.values {
        Values::Text(_) if !classification => {
            let message =
                format!("target `{}` is text, and a regression needs numbers", column.name);
            inspection.refuse(
                &task.span,
                message,
                "write task = \"classification\", or name another target",
            );
            return None;
        }
        Values::Numbers(numbers) if classification => {
            let broken = present.iter().find(|&&row| numbers[row].fract() != 0.0);
            if let Some(&row) = broken {
                let message = format!(
                    "target `{}` holds numbers that are not whole, such as {} in row {}",
                    column.name,
                    numbers[row],
                    row + 1
                );
                let help =
                    "classes are text or whole numbers; for amounts write task = \"regression\"";
                inspection.refuse(&task.span, message, help);
                return None;
            }
        }
        Values::Numbers(numbers) => {
            check_finite(&target.span, &column.name, numbers, rows, inspection);
        }
        Values::Text(_) => {}
    }
    let labelled = Labelled::of(table, parts.target?, rows);
    if labelled.names.len() < 2 {
        let only = labelled.names.first().map_or("no value", String::as_str);
        let message = format!("target `{}` has one value, `{only}`", column.name);
        inspection.refuse(&target.span, message, "there is nothing to learn; name another column");
        return None;
    }
    classification.then_some(labelled)
}

/// Columns that look as if they were forgotten in `drop`.
fn feature_notes(table: &Table, features: &[usize], rows: &[usize]) -> Vec<String> {
    let mut notes = Vec::new();
    for &place in features {
        let column = &table.columns[place];
        let (values, names_rows) = match &column.values {
            Values::Numbers(numbers) => {
                let mut present: Vec<f64> =
                    rows.iter().map(|&row| numbers[row]).filter(|n| !n.is_nan()).collect();
                let whole = present.len() == rows.len() && present.iter().all(|n| n.fract() == 0.0);
                present.sort_by(f64::total_cmp);
                present.dedup();
                (present.len(), whole && present.len() == rows.len() && rows.len() > LEVELS_MAX)
            }
            Values::Text(_) => (distinct(column, rows).len(), false),
        };
        if values == 1 {
            notes.push(format!("column `{}` has one value and teaches nothing", column.name));
        }
        if names_rows {
            notes.push(format!(
                "column `{}` has another whole number in every row; if it names rows, drop it",
                column.name
            ));
        }
    }
    notes
}
