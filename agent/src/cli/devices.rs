//! `agent devices`: what this machine trains on, and how wide it found to be best.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{Failure, answer, join, printable};
use crate::device::{Device, Wanted};
use crate::driver::{beside_found_in, suited_to, widths_found_in};
use crate::trainer::{Climb, Place};

/// Show what this machine trains on, how much at once, and the widths that its agents found
///
/// For each kind of network an agent tries how many trials are trained fastest as lanes of one run.
#[derive(Args)]
#[command(after_help = "Examples:\n  agent devices\n  agent devices --json\n  \
    agent devices --folder results/.seedsweep/agent")]
pub struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// An agent's folder [default: those of this user's agents]
    #[arg(long, value_name = "DIR")]
    folder: Vec<PathBuf>,
}

pub fn devices(args: DevicesArgs) -> Result<(), Failure> {
    let device = Device::choose(Wanted::Auto, None, None).map_err(Failure::usage)?;
    let folders = if args.folder.is_empty() { join::default_folders() } else { args.folder };
    // Cohorts have one size on all cards.
    let wider = |folder: &PathBuf| suited_to(folder, device.clone()).cohort_lanes;
    let lanes: Vec<(&PathBuf, NonZeroU32)> =
        folders.iter().map(|folder| (folder, wider(folder))).collect();
    let labels = device.labels();
    if args.json {
        let parts = device.parts();
        let devices: Vec<Value> = parts.iter().map(|part| part_json(part, &lanes)).collect();
        let labels = labels.iter().map(|(key, value)| (key.to_string(), json!(value)));
        let listed = json!({
            "schema": "seedsweep.devices/1",
            "devices": devices,
            "labels": Value::Object(labels.collect()),
        });
        return answer(&listed.to_string());
    }
    let mut lines = Vec::new();
    device.parts().iter().for_each(|part| lines.extend(part_in_words(part, &folders)));
    for (folder, wider) in lanes.iter().filter(|(_, wider)| *wider > device.cohort_lanes) {
        let shown = folder.display().to_string();
        lines.push(format!(
            "  cohorts of up to {wider} trials from the next start on, unless --lanes says otherwise: {}",
            printable(&shown)
        ));
    }
    lines.push(format!("labels: {labels}; `agent join --label` gives more"));
    answer(&lines.join("\n"))
}

/// One card, or the processor, and what is known of it.
fn part_in_words(part: &Device, folders: &[PathBuf]) -> Vec<String> {
    let (threads, lanes) = (part.threads, part.cohort_lanes);
    let (found, places) = known(part, folders);
    let cohorts = if threads.get() == 1 { "cohort" } else { "cohorts" };
    let mut lines = vec![format!(
        "{}: {}; {threads} {cohorts} at once of up to {lanes} trials each",
        part.name, part.model
    )];
    for (kind, climb) in &found {
        let mut line = format!("  {}", printable(&in_words(kind, climb)));
        if let Some(lanes) = places.get(kind).and_then(Place::on_processor) {
            line += &format!("; cohorts of up to {lanes} train on the processor, which is faster");
        }
        lines.push(line);
    }
    lines
}

fn part_json(part: &Device, lanes: &[(&PathBuf, NonZeroU32)]) -> Value {
    let folders: Vec<PathBuf> = lanes.iter().map(|(folder, _)| (*folder).clone()).collect();
    let (found, places) = known(part, &folders);
    let beside = |kind: &str| places.get(kind).and_then(Place::on_processor);
    let widths: Vec<Value> =
        found.iter().map(|(kind, climb)| described(kind, climb, beside(kind))).collect();
    let agent = |(folder, lanes): &(&PathBuf, NonZeroU32)| json!({ "folder": folder, "cohort_lanes": lanes });
    json!({
        "device": part.name,
        "model": part.model,
        "record": part.record(),
        "threads": part.threads,
        "cohort_lanes": part.cohort_lanes,
        "lanes": part.lanes(),
        "widths": widths,
        "agents": lanes.iter().map(agent).collect::<Vec<_>>(),
    })
}

/// What agents in these folders found of a device, by kind of network.
fn known(part: &Device, folders: &[PathBuf]) -> (BTreeMap<String, Climb>, BTreeMap<String, Place>) {
    let widths = folders.iter().flat_map(|folder| widths_found_in(folder, &part.name));
    let places = folders.iter().flat_map(|folder| beside_found_in(folder, &part.name));
    (widths.collect(), places.collect())
}

/// `mlp of 30, hidden 64, batch 32: 8 lanes (4: 91 k, 8: 120 k rows/s)`.
fn in_words(kind: &str, climb: &Climb) -> String {
    let rate = |(width, (_, rate)): (&usize, &(u32, f64))| match *rate {
        rate if rate < 10_000.0 => format!("{width}: {rate:.0}"),
        rate => format!("{width}: {:.0} k", rate / 1e3),
    };
    let rates: Vec<String> = climb.tried.iter().map(rate).collect();
    let width = climb.width(usize::MAX);
    let lanes = if width == 1 { "1 lane".to_string() } else { format!("{width} lanes") };
    let state = if climb.found().is_some() { "" } else { " next, not settled" };
    let mut text = format!("{kind}: {lanes}{state}");
    if !rates.is_empty() {
        text += &format!(" ({} rows/s)", rates.join(", "));
    }
    if let Some(none) = climb.no_room {
        text += &format!("; no memory for {none}");
    }
    text
}

fn described(kind: &str, climb: &Climb, on_processor: Option<usize>) -> Value {
    let tried = climb.tried.iter();
    let tried: Vec<Value> = tried
        .map(|(width, (times, rate))| json!({ "lanes": width, "times": times, "rows_per_s": rate }))
        .collect();
    json!({
        "kind": kind,
        "lanes": climb.width(usize::MAX),
        "settled": climb.found().is_some(),
        "tried": tried,
        "no_room": climb.no_room,
        "on_processor": on_processor,
    })
}
