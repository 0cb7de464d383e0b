//! The study file's table `[data]`: where the rows are, how they are read, what is predicted.
//!
//! Floor: common.

use super::super::finding::{At, Inspection, mean_or_known};
use super::super::{Arrays, Format, Missing, Pictures};
use super::walk::Section;
use super::{DataDraft, TaskKind};
use crate::name::is_inner_path;

pub(super) fn data(root: &Section<'_>, draft: &mut DataDraft, inspection: &mut Inspection<'_>) {
    let example = "[data] with path, target and task";
    let Some(item) = root.require("data", example, inspection) else { return };
    let Some(section) = item.section("[data]", &KEYS, inspection) else { return };
    draft.path = section
        .require("path", "path = \"rows.csv\"", inspection)
        .and_then(|item| item.text(inspection))
        .and_then(|path| checked_path(path, &section, inspection));
    draft.task = section
        .require("task", "task = \"classification\"", inspection)
        .and_then(|item| task(item.choice(&TASKS, inspection)?, draft, inspection));
    draft.target = target(&section, draft, inspection);
    let before = inspection.count();
    draft.drop = section.find("drop").map(|item| item.texts(inspection)).unwrap_or_default();
    draft.drop_broken = inspection.count() > before || section.is_misspelt("drop");
    draft.group = section.find("group").and_then(|item| item.text(inspection));
    draft.order = section.find("order").and_then(|item| item.text(inspection));
    let ways = [("refuse", Missing::Refuse), ("drop", Missing::Drop), ("mean", Missing::Mean)];
    draft.missing = match section.find("missing") {
        Some(item) => item.choice(&ways, inspection).map(|way| way.value),
        None => Some(Missing::Refuse),
    };
    draft.classes = section.find("classes").map(|item| {
        let names = item.texts(inspection);
        At { value: names.into_iter().map(|name| name.value).collect(), span: item.span.clone() }
    });
    check_keys(&section, draft, inspection);
}

/// The target as written; of formats that say themselves what it is, what they call it.
fn target(
    section: &Section<'_>,
    draft: &DataDraft,
    inspection: &mut Inspection<'_>,
) -> Option<At<String>> {
    let segmentation = draft.task.as_ref().is_some_and(|t| t.value == TaskKind::Segmentation);
    let own = draft.path.as_ref().and_then(|At { value: (_, format), .. }| match format {
        Format::Npz(_) => Some("y"),
        Format::Idx(_) => Some("labels"),
        Format::Images(_) | Format::Nifti(_) if segmentation => Some("mask"),
        Format::Images(_) | Format::Nifti(_) => Some("class"),
        _ => None,
    });
    if let (None, Some(own)) = (section.find("target"), own) {
        let span = draft.path.as_ref()?.span.clone();
        return Some(At { value: own.to_string(), span });
    }
    // Without a path there is no format to say whether one is needed.
    if draft.path.is_none() && section.find("target").is_none() && section.find("path").is_some() {
        return None;
    }
    section.require("target", "target = \"diagnosis\"", inspection)?.text(inspection)
}

/// Tasks that the format can hold.
fn task(
    task: At<TaskKind>,
    draft: &DataDraft,
    inspection: &mut Inspection<'_>,
) -> Option<At<TaskKind>> {
    let Some(At { value: (_, format), .. }) = &draft.path else { return Some(task) };
    let help = match (format, task.value) {
        (Format::Images(_), TaskKind::Regression) => {
            "known here: classification, segmentation; for amounts write an .npz of x and y"
        }
        (Format::Nifti(_), TaskKind::Classification | TaskKind::Regression) => {
            "known here: segmentation; for a class or an amount a patient write an .npz of x and y"
        }
        (format, TaskKind::Segmentation) if format.is_table() => {
            "masks are read with format = \"images\", \"nifti\" or \"npz\""
        }
        _ => return Some(task),
    };
    let message = format!("{} holds no task {:?}", name(format), task.value.name());
    inspection.refuse(&task.span, message, help);
    None
}

/// Keys that mean nothing in the format.
fn check_keys(section: &Section<'_>, draft: &DataDraft, inspection: &mut Inspection<'_>) {
    let Some(At { value: (_, format), .. }) = &draft.path else { return };
    let segmentation = draft.task.as_ref().is_some_and(|t| t.value == TaskKind::Segmentation);
    let unused: &[&str] = match format {
        Format::Npz(_) | Format::Idx(_) => &["drop", "size", "gray", "order"],
        Format::Images(_) => &["drop", "target", "missing", "x", "tokens", "order"],
        Format::Nifti(_) => &["drop", "target", "x", "tokens", "gray", "order"],
        _ => &["size", "gray", "x", "tokens"],
    };
    for key in unused {
        if let Some(span) = section.key_span(key) {
            let message = format!("`{key}` means nothing for {}", name(format));
            inspection.refuse(span, message, "take it out");
        }
    }
    if let Some(span) = section.key_span("classes").filter(|_| !segmentation) {
        let message = "`classes` names what the pixels of masks are, and there are none";
        inspection.refuse(span, message, "take it out; classes of rows are found in the data");
    }
}

/// A path relative to the study file that stays beneath its folder, and the format of what is there.
fn checked_path(
    path: At<String>,
    section: &Section<'_>,
    inspection: &mut Inspection<'_>,
) -> Option<At<(String, Format)>> {
    let written = &path.value;
    if written.split('/').any(|part| part == "..") {
        let message = format!("path {written:?} leaves the study file's folder");
        inspection.refuse(&path.span, message, "put the data beside the study file, or below");
        return None;
    }
    if !is_inner_path(written) {
        let message = format!("path {written:?} is not relative to the study file");
        let help = "put the data beside the study file and write its name, with / between folders";
        inspection.refuse(&path.span, message, help);
        return None;
    }
    let format = match section.find("format") {
        Some(item) => {
            let At { value: word, span } = item.text(inspection)?;
            let format = format(&word, written, section, inspection);
            if format.is_none() {
                let message = format!("`format` cannot be {word:?}");
                inspection.refuse(&span, message, mean_or_known(&word, &FORMATS));
            }
            format?
        }
        None => {
            let ending = written.rsplit_once('.').map_or("", |(_, ending)| ending).to_lowercase();
            let Some(format) = format(&ending, written, section, inspection)
                .filter(|_| Format::of_path(written).is_some())
            else {
                let message = format!("path {written:?} does not say a format that is read");
                let help = format!(
                    "the name must end with one of: .{}; for a folder write format = \"images\", \
                     \"nifti\", \"npy\" or \"idx\"",
                    Format::NAMES.join(", .")
                );
                inspection.refuse(&path.span, message, help);
                return None;
            };
            format
        }
    };
    Some(At { value: (path.value, format), span: path.span })
}

/// The format of this word, with what the other keys say of it.
fn format(
    word: &str,
    path: &str,
    section: &Section<'_>,
    inspection: &mut Inspection<'_>,
) -> Option<Format> {
    let text = |key: &str, inspection: &mut Inspection<'_>| {
        section.find(key).and_then(|item| item.text(inspection)).map(|text| text.value)
    };
    let flag = |key: &str, inspection: &mut Inspection<'_>| {
        section.find(key).and_then(|item| item.boolean(inspection)).map(|flag| flag.value)
    };
    let one_file = path.to_lowercase().ends_with(".npy");
    Some(match word {
        "csv" => Format::Csv,
        "tsv" => Format::Tsv,
        "parquet" => Format::Parquet,
        "npy" if one_file => Format::Npy,
        "npy" | "npz" | "idx" => {
            let usual = if word == "idx" { "images" } else { "x" };
            let x = text("x", inspection).unwrap_or_else(|| usual.to_string());
            let arrays = Arrays { x, tokens: flag("tokens", inspection).unwrap_or(false) };
            if word == "idx" { Format::Idx(arrays) } else { Format::Npz(arrays) }
        }
        "images" => {
            let gray = flag("gray", inspection);
            Format::Images(Pictures { size: size(section, inspection), gray })
        }
        "nifti" => Format::Nifti(Pictures { size: size(section, inspection), gray: None }),
        _ => return None,
    })
}

/// `size = [32, 48]`: height and width.
fn size(section: &Section<'_>, inspection: &mut Inspection<'_>) -> Option<[u32; 2]> {
    let item = section.find("size")?;
    let sides = item.list(inspection)?;
    let [height, width] = sides.as_slice() else {
        return item.expected("two numbers, height and width, such as [32, 32]", inspection);
    };
    let mut side = |item: &super::walk::Item<'_>| {
        item.whole(1..=SIDE_MAX, inspection).map(|side| side.value as u32)
    };
    Some([side(height)?, side(width)?])
}

/// As a message calls it.
fn name(format: &Format) -> &'static str {
    match format {
        Format::Npz(_) => "arrays (npz, npy)",
        Format::Idx(_) => "IDX files",
        Format::Images(_) => "a folder of images",
        Format::Nifti(_) => "a folder of NIfTI volumes",
        _ => "a table",
    }
}

const KEYS: [&str; 13] = [
    "path", "target", "task", "drop", "group", "order", "missing", "format", "size", "gray", "x",
    "tokens", "classes",
];
const TASKS: [(&str, TaskKind); 3] = [
    ("classification", TaskKind::Classification),
    ("regression", TaskKind::Regression),
    ("segmentation", TaskKind::Segmentation),
];
const FORMATS: [&str; 8] = ["csv", "tsv", "parquet", "npy", "npz", "idx", "images", "nifti"];
const SIDE_MAX: i64 = 4096;
