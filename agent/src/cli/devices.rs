//! `agent devices`: what this machine trains on.
//!
//! Floor: wiring.

use clap::Args;
use serde_json::json;

use super::{Failure, answer};
use crate::device::{Device, Wanted};

/// Show what this machine trains on, and how much at once
#[derive(Args)]
#[command(after_help = "Example:\n  agent devices --json")]
pub struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn devices(args: DevicesArgs) -> Result<(), Failure> {
    let device = Device::choose(Wanted::Auto, None, None).map_err(Failure::usage)?;
    if args.json {
        let listed = json!({
            "schema": "seedsweep.devices/1",
            "devices": [{
                "device": device.name,
                "model": device.model,
                "record": device.record(),
                "threads": device.threads,
                "cohort_lanes": device.cohort_lanes,
                "lanes": device.lanes(),
            }],
        });
        return answer(&listed.to_string());
    }
    let (threads, lanes) = (device.threads, device.cohort_lanes);
    answer(&format!(
        "{}: {}; {threads} cohorts at once of up to {lanes} trials each",
        device.name, device.model
    ))
}
