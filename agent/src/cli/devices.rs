//! `agent devices`: what this machine trains on, and how wide it found to be best.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
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
    let found: BTreeMap<String, Climb> =
        folders.iter().flat_map(|folder| widths_found_in(folder, &device.name)).collect();
    let places: BTreeMap<String, Place> =
        folders.iter().flat_map(|folder| beside_found_in(folder, &device.name)).collect();
    let beside = |kind: &str| places.get(kind).and_then(Place::on_processor);
    let lanes_in = |folder: &PathBuf| suited_to(folder, device.clone()).cohort_lanes;
    if args.json {
        let widths: Vec<Value> =
            found.iter().map(|(kind, climb)| described(kind, climb, beside(kind))).collect();
        let agents: Vec<Value> = folders
            .iter()
            .map(|folder| json!({ "folder": folder, "cohort_lanes": lanes_in(folder) }))
            .collect();
        let listed = json!({
            "schema": "seedsweep.devices/1",
            "devices": [{
                "device": device.name,
                "model": device.model,
                "record": device.record(),
                "threads": device.threads,
                "cohort_lanes": device.cohort_lanes,
                "lanes": device.lanes(),
                "widths": widths,
                "agents": agents,
            }],
        });
        return answer(&listed.to_string());
    }
    let (threads, lanes) = (device.threads, device.cohort_lanes);
    let mut text = format!(
        "{}: {}; {threads} cohorts at once of up to {lanes} trials each",
        device.name, device.model
    );
    for (kind, climb) in &found {
        text += &format!("\n  {}", printable(&in_words(kind, climb)));
        if let Some(lanes) = beside(kind) {
            text += &format!("; cohorts of up to {lanes} train on the processor, which is faster");
        }
    }
    for folder in &folders {
        let wider = lanes_in(folder);
        if wider > lanes {
            let shown = folder.display().to_string();
            text += &format!(
                "\n  cohorts of up to {wider} trials from the next start on, unless --lanes says \
                 otherwise: {}",
                printable(&shown)
            );
        }
    }
    answer(&text)
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
