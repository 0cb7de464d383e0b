//! What this machine trains on, and how much at once.
//!
//! A card that was asked for and cannot be had is refused by name, so that nobody believes a card is in
//! use that is not; `auto` takes every card that this process may open, and where there is none the
//! processor: as many threads as its mask and its control group's quota allow. Deliberately absent: which
//! cards a process sees (`cards`).
//!
//! Floor: shell.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;
use std::str::FromStr;
use std::thread;

use common::label::{self, Labels};
use common::wire::message::AgentAbout;
use thiserror::Error;

#[cfg(feature = "cuda")]
use crate::cards::Visible;
use crate::trainer::Climb;

/// What the user asked to train on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Wanted {
    #[default]
    Auto,
    Cpu,
    /// One card or several, as this process numbers them; none twice.
    Cuda(Vec<u32>),
}

/// How much is trained at once, where the user says it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AtOnce {
    /// Cohorts, over all cards.
    pub threads: Option<NonZeroU32>,
    /// Cohorts on one card; means nothing on a processor.
    pub slots: Option<NonZeroU32>,
    pub cohort_lanes: Option<NonZeroU32>,
}

/// One graphics card.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Card {
    /// As this process numbers it.
    pub number: u32,
    pub model: String,
}

/// What trains.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// `cpu` or `cuda:0`: what a record of an outcome begins with. Of several cards `cuda:0,cuda:1`.
    pub name: String,
    /// The processor's or the card's name; of several cards each once.
    pub model: String,
    /// None where the processor trains.
    pub cards: Vec<Card>,
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
        let at_once = AtOnce { threads, cohort_lanes, slots: None };
        Self::choose_for(wanted, at_once)
    }

    /// The same, with cohorts at once on each card.
    pub fn choose_for(wanted: Wanted, at_once: AtOnce) -> Result<Self, DeviceError> {
        let cards = match wanted {
            Wanted::Cuda(numbers) => {
                numbers.into_iter().map(card).collect::<Result<Vec<Card>, DeviceError>>()?
            }
            // Whatever keeps one from being had, there are the others, or the processor.
            Wanted::Auto => seen().filter_map(|number| card(number).ok()).collect(),
            Wanted::Cpu => Vec::new(),
        };
        Ok(Self::of(cards, at_once))
    }

    fn of(cards: Vec<Card>, at_once: AtOnce) -> Self {
        let AtOnce { threads, slots, cohort_lanes } = at_once;
        if !cards.is_empty() {
            let name = cards.iter().map(Card::name).collect::<Vec<_>>().join(",");
            let mut models: Vec<&str> = cards.iter().map(|card| card.model.as_str()).collect();
            models.dedup();
            let model = models.join(", ");
            // A card has one queue: cohorts beside each other take each other's memory, and gain where
            // one alone leaves it idle.
            let each = slots.unwrap_or(NonZeroU32::MIN).get().saturating_mul(cards.len() as u32);
            let threads = threads.or(NonZeroU32::new(each)).unwrap_or(NonZeroU32::MIN);
            let cohort_lanes = cohort_lanes.unwrap_or(COHORT_LANES_CARD);
            return Self { name, model, cards, threads, cohort_lanes };
        }
        let cores = || thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let threads = threads.or_else(|| NonZeroU32::new(cores())).unwrap_or(NonZeroU32::MIN);
        let cohort_lanes = cohort_lanes.unwrap_or(COHORT_LANES_CPU);
        Self { name: CPU.to_string(), model: processor(), cards, threads, cohort_lanes }
    }

    /// Each card by itself, with its part of the cohorts at once; the processor is one.
    pub fn parts(&self) -> Vec<Device> {
        if self.cards.len() < 2 {
            return vec![self.clone()];
        }
        let each = self.threads.get().div_ceil(self.cards.len() as u32);
        let part = |card: &Card| Self {
            name: card.name(),
            model: card.model.clone(),
            cards: vec![card.clone()],
            threads: NonZeroU32::new(each).unwrap_or(NonZeroU32::MIN),
            cohort_lanes: self.cohort_lanes,
        };
        self.cards.iter().map(part).collect()
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

    /// What tensors live on; of several cards it is one of the [`Device::parts`] that is opened. Each time
    /// with a handle of its own.
    pub fn open(&self) -> Result<candle_core::Device, DeviceError> {
        let number = self.name.strip_prefix("cuda:").map(str::parse);
        match number {
            None => Ok(candle_core::Device::Cpu),
            Some(Ok(number)) => opened(number),
            Some(Err(_)) => Err(DeviceError::Unknown { text: self.name.clone() }),
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
    #[error("{text:?} is not a device; say auto, cpu, cuda:0, or several such as cuda:0,cuda:1")]
    Unknown { text: String },
    #[error("cuda:{number} is named twice; name each card once, and say --slots-per-gpu")]
    Twice { number: u32 },
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
        let unknown = || DeviceError::Unknown { text: text.to_string() };
        match text {
            "auto" => return Ok(Wanted::Auto),
            "cpu" => return Ok(Wanted::Cpu),
            _ => {}
        }
        let mut numbers = Vec::new();
        for name in text.split(',') {
            let number = name.strip_prefix("cuda:").ok_or_else(unknown)?;
            let number: u32 = number.parse().map_err(|_| unknown())?;
            if numbers.contains(&number) {
                return Err(DeviceError::Twice { number });
            }
            numbers.push(number);
        }
        Ok(Wanted::Cuda(numbers))
    }
}

impl Card {
    /// `cuda:0`.
    pub fn name(&self) -> String {
        format!("cuda:{}", self.number)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Auto => f.write_str("auto"),
            Wanted::Cpu => f.write_str("cpu"),
            Wanted::Cuda(numbers) => {
                let names: Vec<String> = numbers.iter().map(|n| format!("cuda:{n}")).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

/// The name this machine goes by, for people.
pub fn host_name() -> String {
    let name = hostname::get().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "unnamed".to_string())
}

/// A card that can be used.
fn card(number: u32) -> Result<Card, DeviceError> {
    let opened = opened(number)?;
    let model = model_of(&opened).unwrap_or_else(|| "a graphics card".to_string());
    Ok(Card { number, model })
}

#[cfg(feature = "cuda")]
fn visible() -> Visible {
    Visible::read(std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref())
}

/// Numbers of the cards that this process may try.
#[cfg(feature = "cuda")]
fn seen() -> Range<u32> {
    use candle_core::cuda_backend::cudarc::driver::CudaContext;
    let visible = visible();
    // The driver is not asked where it need not be: that alone may take a second.
    if visible.numbers(u32::MAX).is_empty() {
        return 0..0;
    }
    let told = CudaContext::device_count().ok().and_then(|count| u32::try_from(count).ok());
    visible.numbers(told.unwrap_or(0))
}

/// Without the feature nothing trains on a card.
#[cfg(not(feature = "cuda"))]
fn seen() -> Range<u32> {
    0..0
}

#[cfg(feature = "cuda")]
fn opened(number: u32) -> Result<candle_core::Device, DeviceError> {
    candle_core::Device::new_cuda(number as usize).map_err(|error| {
        // Behind the first line stands where in candle it failed.
        let why = error.to_string().lines().next().unwrap_or_default().to_string();
        let why = visible().why_not(number).map_or(why.clone(), |named| format!("{named} ({why})"));
        DeviceError::NoCard { number, why }
    })
}

#[cfg(not(feature = "cuda"))]
fn opened(number: u32) -> Result<candle_core::Device, DeviceError> {
    Err(DeviceError::BuiltWithout { number })
}

/// As the driver calls it: it knows parts of cards, and which card of the machine this is.
#[cfg(feature = "cuda")]
fn model_of(device: &candle_core::Device) -> Option<String> {
    device.as_cuda_device().ok()?.cuda_stream().context().name().ok()
}

#[cfg(not(feature = "cuda"))]
fn model_of(_: &candle_core::Device) -> Option<String> {
    None
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
        for wanted in
            [Wanted::Auto, Wanted::Cpu, Wanted::Cuda(vec![3]), Wanted::Cuda(vec![1, 0, 12])]
        {
            assert_eq!(wanted.to_string().parse(), Ok(wanted));
        }
        for text in
            ["cuda", "cuda:x", "cuda:0,", "cuda:0,1", "cuda:0,cpu", "cpu,cpu", "cuda:-1", ""]
        {
            assert!(text.parse::<Wanted>().is_err(), "{text:?}");
        }
        assert_eq!("cuda:1,cuda:1".parse::<Wanted>(), Err(DeviceError::Twice { number: 1 }));
    }

    #[test]
    fn a_card_is_refused_rather_than_replaced() {
        // No machine has a hundred.
        let refused = Device::choose(Wanted::Cuda(vec![99]), None, None).expect_err("no such card");
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

    #[test]
    fn several_cards_have_slots_each_and_names_of_their_own() {
        let card = |number| Card { number, model: "A card".to_string() };
        let of = |threads, slots| {
            let at_once = AtOnce { threads: NonZeroU32::new(threads), slots, cohort_lanes: None };
            Device::of(vec![card(0), card(3)], at_once)
        };
        let two = of(0, None);
        assert_eq!((two.name.as_str(), two.model.as_str()), ("cuda:0,cuda:3", "A card"));
        assert_eq!((two.threads.get(), two.lanes()), (2, 2 * COHORT_LANES_CARD.get()));
        assert_eq!(two.labels().value(label::DEVICE), Some("cuda"));
        assert!(two.open().is_err(), "it is its parts that are opened");
        let slots = of(0, NonZeroU32::new(3));
        let parts = slots.parts();
        let shown: Vec<_> = parts.iter().map(|p| (p.name.as_str(), p.threads.get())).collect();
        assert_eq!((slots.threads.get(), shown), (6, vec![("cuda:0", 3), ("cuda:3", 3)]));
        assert_eq!(of(5, None).parts()[1].threads.get(), 3, "no thread is without a slot");
        assert!(parts[1].record().starts_with("cuda:3; A card; "), "{}", parts[1].record());
        let processor = Device::choose(Wanted::Cpu, None, None).expect("a processor");
        assert_eq!(processor.parts().len(), 1);
        assert_eq!(processor.parts()[0], processor);
        assert_eq!(processor.labels().value(label::DEVICE), Some(CPU));
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
