//! What this machine trains on, and how much at once.
//!
//! A card that was asked for and cannot be had is refused by name, so that nobody believes a card is in
//! use that is not; `auto` takes the first card where there is one, and else the processor.
//! Deliberately absent: several cards of one agent; each has an agent of its own.
//!
//! Floor: shell.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::thread;

use common::label::{self, Labels};
use common::wire::message::AgentAbout;
use thiserror::Error;

use crate::trainer::Climb;

/// What the user asked to train on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Wanted {
    #[default]
    Auto,
    Cpu,
    Cuda(u32),
}

/// What trains.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// `cpu` or `cuda:0`: what a record of an outcome begins with.
    pub name: String,
    /// The processor's or the card's name.
    pub model: String,
    /// Cohorts trained at once.
    pub threads: NonZeroU32,
    /// Trials of one cohort.
    pub cohort_lanes: NonZeroU32,
}

impl Device {
    /// The wanted device, with `threads` and `cohort_lanes` where given, else with what suits it.
    pub fn choose(
        wanted: Wanted,
        threads: Option<NonZeroU32>,
        cohort_lanes: Option<NonZeroU32>,
    ) -> Result<Self, DeviceError> {
        let card = match wanted {
            Wanted::Cuda(number) => Some(card(number)?),
            // Whatever keeps it from being had, there is the processor.
            Wanted::Auto => card(0).ok(),
            Wanted::Cpu => None,
        };
        if let Some((name, model)) = card {
            // A card has one queue: cohorts beside each other would only take each other's memory.
            let threads = threads.unwrap_or(NonZeroU32::MIN);
            let cohort_lanes = cohort_lanes.unwrap_or(COHORT_LANES_CARD);
            return Ok(Self { name, model, threads, cohort_lanes });
        }
        let cores = || thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let threads = threads.or_else(|| NonZeroU32::new(cores())).unwrap_or(NonZeroU32::MIN);
        let cohort_lanes = cohort_lanes.unwrap_or(COHORT_LANES_CPU);
        Ok(Self { name: CPU.to_string(), model: processor(), threads, cohort_lanes })
    }

    /// The same with larger cohorts, where what was `found` asks for them: no stack is wider than its
    /// cohort, so where the widest was the fastest, only a larger cohort can tell whether more are.
    pub fn with_cohorts_for(mut self, found: &BTreeMap<String, Climb>) -> Self {
        let most = if self.name == CPU { COHORT_LANES_CPU_MAX } else { COHORT_LANES_CARD_MAX };
        let wanted = found.values().map(|climb| climb.width(usize::MAX)).max();
        let wanted = wanted.and_then(|wanted| NonZeroU32::new(u32::try_from(wanted).ok()?));
        let wanted = wanted.unwrap_or(self.cohort_lanes).min(most);
        self.cohort_lanes = self.cohort_lanes.max(wanted);
        self
    }

    /// What tensors live on.
    pub fn open(&self) -> Result<candle_core::Device, DeviceError> {
        let number = self.name.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        match number {
            None => Ok(candle_core::Device::Cpu),
            Some(number) => opened(number),
        }
    }

    /// Trials in training at once, over all threads.
    pub fn lanes(&self) -> u32 {
        self.threads.get().saturating_mul(self.cohort_lanes.get())
    }

    /// What an agent on it finds out of itself: the kind of device, the machine and its processor.
    pub fn labels(&self) -> Labels {
        let mut labels = Labels::none();
        labels.insert(label::DEVICE, self.name.split(':').next().unwrap_or(CPU));
        labels.insert_like(label::HOST, &host_name());
        labels.insert_like(label::ARCH, std::env::consts::ARCH);
        labels
    }

    /// What the agent says of itself under the name `host`.
    pub fn about(&self, host: String) -> AgentAbout {
        AgentAbout {
            host,
            device: self.name.clone(),
            model: self.model.clone(),
            lanes: self.lanes(),
            cohort_lanes: self.cohort_lanes.get(),
            version: env!("CARGO_PKG_VERSION").to_string(),
        }
    }
}

/// Why a device cannot be had.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DeviceError {
    #[error("{text:?} is not a device; say auto, cpu or cuda:0")]
    Unknown { text: String },
    #[error(
        "this program was built without CUDA, so it does not train on cuda:{number}; use --device \
         cpu, or build it with --features cuda"
    )]
    BuiltWithout { number: u32 },
    #[error(
        "cuda:{number} cannot be used: {why}; `nvidia-smi` shows which cards there are, and --device \
         cpu trains without one"
    )]
    NoCard { number: u32, why: String },
}

impl FromStr for Wanted {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let cuda = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        match (text, cuda) {
            ("auto", _) => Ok(Wanted::Auto),
            ("cpu", _) => Ok(Wanted::Cpu),
            (_, Some(number)) => Ok(Wanted::Cuda(number)),
            _ => Err(DeviceError::Unknown { text: text.to_string() }),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Auto => f.write_str("auto"),
            Wanted::Cpu => f.write_str("cpu"),
            Wanted::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// The name this machine goes by, for people.
pub fn host_name() -> String {
    let name = hostname::get().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "unnamed".to_string())
}

/// Name and model of a card that can be used.
fn card(number: u32) -> Result<(String, String), DeviceError> {
    opened(number)?;
    let mut asked = std::process::Command::new("nvidia-smi");
    asked.args(["--query-gpu=name", "--format=csv,noheader", "--id"]).arg(number.to_string());
    let told = asked.output().ok().filter(|told| told.status.success());
    let model = told.and_then(|told| String::from_utf8(told.stdout).ok());
    let model = model.map(|model| model.trim().to_string()).filter(|model| !model.is_empty());
    Ok((Wanted::Cuda(number).to_string(), model.unwrap_or_else(|| "a graphics card".to_string())))
}

#[cfg(feature = "cuda")]
fn opened(number: u32) -> Result<candle_core::Device, DeviceError> {
    candle_core::Device::new_cuda(number as usize).map_err(|error| {
        // Behind the first line stands where in candle it failed.
        let why = error.to_string().lines().next().unwrap_or_default().to_string();
        DeviceError::NoCard { number, why }
    })
}

#[cfg(not(feature = "cuda"))]
fn opened(number: u32) -> Result<candle_core::Device, DeviceError> {
    Err(DeviceError::BuiltWithout { number })
}

/// The processor's name as the system gives it, else its architecture.
fn processor() -> String {
    named_by_system().unwrap_or_else(|| std::env::consts::ARCH.to_string())
}

#[cfg(target_os = "macos")]
fn named_by_system() -> Option<String> {
    let mut sysctl = std::process::Command::new("sysctl");
    let answer = sysctl.args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
    let name = String::from_utf8(answer.stdout).ok()?.trim().to_string();
    (!name.is_empty()).then_some(name)
}

#[cfg(not(target_os = "macos"))]
fn named_by_system() -> Option<String> {
    named_in(&std::fs::read_to_string("/proc/cpuinfo").ok()?)
}

/// The first model name of a `/proc/cpuinfo`.
#[cfg_attr(target_os = "macos", allow(dead_code))]
fn named_in(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    let name = line.split_once(':')?.1.trim();
    (!name.is_empty()).then(|| name.to_string())
}

/// What the processor is called, whichever it is.
pub const CPU: &str = "cpu";

/// Lanes of a cohort on a processor: enough to fill wide registers, few enough for its cache.
const COHORT_LANES_CPU: NonZeroU32 = NonZeroU32::new(8).unwrap();

/// Where wider was faster again and again: an agent that is lost takes its whole cohorts with it, and
/// at a study's end large ones leave other agents without work.
const COHORT_LANES_CPU_MAX: NonZeroU32 = NonZeroU32::new(64).unwrap();

/// Lanes of a cohort on a card, whose every step costs the same for one lane and for hundreds.
const COHORT_LANES_CARD: NonZeroU32 = NonZeroU32::new(512).unwrap();

const COHORT_LANES_CARD_MAX: NonZeroU32 = NonZeroU32::new(4096).unwrap();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_survive_printing_and_reading() {
        for wanted in [Wanted::Auto, Wanted::Cpu, Wanted::Cuda(3)] {
            assert_eq!(wanted.to_string().parse(), Ok(wanted));
        }
        assert!("cuda".parse::<Wanted>().is_err());
        assert!("cuda:x".parse::<Wanted>().is_err());
    }

    #[test]
    fn a_card_is_refused_rather_than_replaced() {
        // No machine has a hundred.
        let refused = Device::choose(Wanted::Cuda(99), None, None).expect_err("no such card");
        assert!(refused.to_string().contains("cuda:99"), "{refused}");
        assert!(refused.to_string().contains("--device cpu"), "{refused}");
        let named = Device {
            name: "cuda:99".to_string(),
            ..Device::choose(Wanted::Cpu, None, None).expect("a processor")
        };
        assert_eq!(named.open().expect_err("no such card"), refused);
    }

    #[test]
    fn lanes_are_threads_times_the_cohorts_width() {
        let device = Device::choose(Wanted::Cpu, NonZeroU32::new(3), NonZeroU32::new(5));
        let about = device.expect("a processor").about("host".to_string());
        assert_eq!((about.lanes, about.cohort_lanes), (15, 5));
    }

    /// Rows a second by width, each measured as often as it counts.
    fn climbed(rates: &[(usize, f64)]) -> Climb {
        let mut climb = Climb::default();
        for &(width, rate) in rates.iter().chain(rates) {
            climb.note(width, rate);
        }
        climb
    }

    #[test]
    fn cohorts_grow_while_the_widest_is_the_fastest() {
        let lanes = |climbs: &[&Climb]| {
            let device = Device::choose(Wanted::Cpu, None, None).expect("a processor");
            let named = climbs.iter().enumerate();
            let named = named.map(|(at, &climb)| (at.to_string(), climb.clone()));
            device.with_cohorts_for(&named.collect()).cohort_lanes.get()
        };
        let eight = climbed(&[(4, 100.0), (8, 150.0)]);
        let sixteen = climbed(&[(4, 100.0), (8, 150.0), (16, 220.0)]);
        let back = climbed(&[(4, 100.0), (8, 150.0), (16, 120.0)]);
        let narrow = climbed(&[(4, 100.0), (8, 50.0), (2, 60.0)]);
        let none_wider = Climb { no_room: Some(16), ..eight.clone() };
        assert_eq!(lanes(&[]), 8);
        assert_eq!(lanes(&[&eight]), 16, "sixteen were never tried");
        assert_eq!(lanes(&[&sixteen]), 32);
        assert_eq!(lanes(&[&back]), 8, "sixteen were slower");
        assert_eq!(lanes(&[&narrow]), 8);
        assert_eq!(lanes(&[&narrow, &back, &eight]), 16, "the widest of all kinds");
        assert_eq!(lanes(&[&none_wider]), 8);
        assert_eq!(lanes(&[&climbed(&[(64, 1.0), (128, 2.0)])]), 64, "no wider");
    }

    #[test]
    fn the_processors_name_is_read_from_the_systems_list() {
        let list = "processor\t: 0\nmodel name\t: Example CPU @ 2 GHz\nmodel name\t: other\n";
        assert_eq!(named_in(list).as_deref(), Some("Example CPU @ 2 GHz"));
        assert_eq!(named_in("processor\t: 0\n"), None);
    }
}
