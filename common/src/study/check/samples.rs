//! What a study's samples say, checked against what the study file says of them.
//!
//! Floor: common.

use super::super::finding::{At, Inspection, did_you_mean};
use super::super::grammar::{Draft, OuterKindDraft, TaskKind};
use super::super::{Data, Format, Missing, Task};
use super::data::{Facts, Labelled, Parts, check_target, class_notes, listed};
use crate::id::Digest;
use crate::samples::{Asked, SampleError, Samples};
use crate::table::{Column, Table, first, samples_kept};

/// Reads and checks samples. `None` when there are none to go on with.
pub(super) fn facts(
    draft: &Draft,
    bytes: &[u8],
    memory: u64,
    notes: &mut Vec<String>,
    inspection: &mut Inspection<'_>,
) -> Option<Facts> {
    let written = &draft.data;
    let At { value: (path, format), span } = written.path.as_ref()?;
    let (task, target) = (written.task.as_ref()?, written.target.as_ref()?);
    let segmentation = task.value == TaskKind::Segmentation;
    let (samples, masks) = sound(draft, bytes, memory, inspection)?;
    notes.extend(samples.notes.iter().cloned());
    let missing = written.missing?;
    let group = written.group.as_ref().map(|group| group.value.clone()).or_else(|| {
        // A patient's slices are never torn apart.
        matches!(format, Format::Nifti(_)).then(|| "file".to_string())
    });
    let table = &samples.table;
    let left_out = match draft.outer.as_ref().map(|outer| &outer.kind) {
        Some(OuterKindDraft::LeaveOut(column)) => Some(column),
        _ => None,
    };
    let parts = Parts {
        target: table.find(&target.value).filter(|_| !segmentation),
        group: place(table, written.group.as_ref(), "group", inspection)
            .or_else(|| table.find(group.as_ref()?)),
        leave_out: place(table, left_out, "leave_out", inspection),
        left_out_as: "leave_out column",
        unresolved: false,
    };
    let mut data = Data {
        path: path.clone(),
        format: format.clone(),
        digest: Digest::of(bytes),
        bytes: bytes.len() as u64,
        target: target.value.clone(),
        task: masks.map_or(Task::Regression, |classes| Task::Segmentation { classes }),
        drop: Vec::new(),
        group,
        leave_out: left_out.map(|column| column.value.clone()),
        missing,
        rows: 0,
    };
    let rows = samples_kept(table, &samples.features, &data);
    if rows.is_empty() {
        inspection.refuse(span, format!("every row of {path} has a missing number"), "");
        return None;
    }
    if rows.len() < table.rows {
        let left_out = table.rows - rows.len();
        notes.push(format!("{left_out} of {} rows are left out for missing numbers", table.rows));
    }
    check_holes(table, &parts, &rows, span, inspection);
    let classes =
        if segmentation { None } else { check_target(written, table, &parts, &rows, inspection) };
    notes.extend(classes.iter().flat_map(class_notes));
    if let Some(classes) = &classes {
        data.task = Task::Classification { classes: classes.names.clone() };
    }
    data.rows = rows.len() as u64;
    let labelled = |place: Option<usize>| place.map(|place| Labelled::of(table, place, &rows));
    let (groups, leave_out) = (labelled(parts.group), labelled(parts.leave_out));
    let rows = rows.len();
    let nothing = Table { columns: Vec::new(), rows: 0 };
    let samples = Some(samples);
    let (data, order) = (Some(data), None);
    Some(Facts { data, table: nothing, samples, rows, classes, groups, leave_out, order })
}

/// The samples, and the classes of their masks, when both are as the study file says.
fn sound(
    draft: &Draft,
    bytes: &[u8],
    memory: u64,
    inspection: &mut Inspection<'_>,
) -> Option<(Samples, Option<Vec<String>>)> {
    let written = &draft.data;
    let At { value: (path, format), span } = written.path.as_ref()?;
    let (task, target) = (written.task.as_ref()?, written.target.as_ref()?);
    let segmentation = task.value == TaskKind::Segmentation;
    let asked = Asked { format, target: &target.value, segmentation, memory };
    let samples = match Samples::read(&asked, bytes) {
        Ok(samples) => samples,
        Err(errors) => {
            errors.iter().for_each(|error| inspection.refuse(span, format!("{path}: {error}"), ""));
            return None;
        }
    };
    let masks = match &samples.masks {
        Some(masks) => match mask_classes(written.classes.as_ref(), masks, path) {
            Ok(classes) => Some(classes),
            Err(error) => {
                let at = written.classes.as_ref().map_or(span, |classes| &classes.span);
                inspection.refuse(at, format!("{path}: {error}"), "");
                return None;
            }
        },
        None => None,
    };
    let missing = written.missing?;
    let torn = samples.torn_rows();
    if missing == Missing::Refuse && !torn.is_empty() {
        let message = format!("numbers are missing (NaN) in {}", listed(&torn));
        let help = "write missing = \"mean\" in [data] to fill them with the training rows' means, \
                    or missing = \"drop\" to leave these rows out";
        inspection.refuse(span, message, help);
        return None;
    }
    Some((samples, masks))
}

/// The place of a column that is named; a finding where there is none.
fn place(
    table: &Table,
    name: Option<&At<String>>,
    what: &str,
    inspection: &mut Inspection<'_>,
) -> Option<usize> {
    let name = name?;
    let place = table.find(&name.value);
    if place.is_none() {
        let known: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        let near = did_you_mean(&name.value, known.iter().copied());
        let help = match known.as_slice() {
            [] => "the data have one array of features and one target, and nothing else".into(),
            _ if !near.is_empty() => near,
            _ => format!("it can be one of: {}", first(&known, known.len())),
        };
        inspection.refuse(
            &name.span,
            format!("{what} {:?} is nothing the data have", name.value),
            help,
        );
    }
    place
}

/// Targets and groups must be there in every row that is kept.
fn check_holes(
    table: &Table,
    parts: &Parts,
    rows: &[usize],
    span: &std::ops::Range<usize>,
    inspection: &mut Inspection<'_>,
) {
    for place in [parts.target, parts.group, parts.leave_out].into_iter().flatten() {
        let column: &Column = &table.columns[place];
        let holes: Vec<usize> =
            rows.iter().copied().filter(|&row| column.is_missing(row)).collect();
        if !holes.is_empty() {
            let message = format!("`{}` is missing in {}", column.name, listed(&holes));
            inspection.refuse(span, message, "write missing = \"drop\" to leave these rows out");
        }
    }
}

/// Names of the classes that pixels are: as written, else their numbers.
fn mask_classes(
    written: Option<&At<Vec<String>>>,
    masks: &[u8],
    path: &str,
) -> Result<Vec<String>, SampleError> {
    let mut met = [false; 256];
    masks.iter().for_each(|&class| met[usize::from(class)] = true);
    let values: Vec<usize> = (0..256).filter(|&class| met[class]).collect();
    let most = values.last().copied().unwrap_or(0);
    if let Some(At { value: names, .. }) = written {
        if most >= names.len() || names.len() < 2 {
            let (name, classes) = (path.to_string(), names.len());
            return Err(SampleError::Class { name, value: most as i64, classes });
        }
        return Ok(names.clone());
    }
    if most == 0 {
        return Err(SampleError::OneClass);
    }
    if let Some(missing) = (0..most).find(|&class| !met[class]) {
        let values = first(&values, values.len());
        return Err(SampleError::Gap { values, missing });
    }
    Ok((0..=most).map(|class| class.to_string()).collect())
}
