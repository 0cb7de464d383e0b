//! What an outcome says of where it was trained: everything that may change its last bits.
//!
//! One short line, equal for all outcomes of one agent: the device, its model, the vector
//! instructions that the trainer uses, the versions that compute, and the threads of one training.
//! The study is deliberately absent: a trial's row lies under its study, whose digest covers that of
//! its data, and no agent trains on bytes that do not have this digest. To repeat it in a million
//! rows would tell nothing more.
//!
//! Floor: shell.

use crate::device::Device;

impl Device {
    /// Such as `cpu; AMD EPYC 9B14; avx2; seedsweep 0.1.0; candle 0.11.1; 1 thread`.
    ///
    /// Words between semicolons, the device's name first. At most [`RECORD_CHARACTERS_MAX`].
    pub fn record(&self) -> String {
        let (model, versions) = (shortened(&self.model), versions());
        let own = match self.name.as_str() {
            "cpu" => vector_instructions().to_string(),
            _ => card(),
        };
        // A cohort is trained in a pool of one thread, however many cohorts an agent trains at once.
        let record = format!("{}; {model}; {own}; {versions}; 1 thread", self.name);
        record.chars().take(RECORD_CHARACTERS_MAX).collect()
    }
}

fn versions() -> String {
    format!("seedsweep {}; candle {CANDLE}", env!("CARGO_PKG_VERSION"))
}

/// The widest vector instructions that the trainer's products find here. Products add up in one order
/// in all of them; they stand here for whoever looks into a difference all the same.
fn vector_instructions() -> &'static str {
    let arch = format!("{:?}", pulp::Arch::new());
    let known = [("V4", "avx512"), ("V3", "avx2"), ("Neon", "neon"), ("Scalar", "no vectors")];
    let found = known.iter().find(|(name, _)| arch.starts_with(name));
    found.map_or(std::env::consts::ARCH, |(_, name)| name)
}

/// A card's driver and runtime.
#[cfg(feature = "cuda")]
fn card() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    card_of(&read("/proc/driver/nvidia/version"), &read("/usr/local/cuda/version.json"))
}

/// Without the feature nothing trains on a card.
#[cfg(not(feature = "cuda"))]
fn card() -> String {
    card_of("", "")
}

/// `driver 550.54.15; cuda 12.4.1` from what the driver and the toolkit say of themselves.
fn card_of(driver: &str, runtime: &str) -> String {
    let is_version =
        |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let driver = driver.lines().next().unwrap_or_default();
    let driver = driver.split_whitespace().find(is_version).unwrap_or("unknown");
    let runtime: serde_json::Value = serde_json::from_str(runtime).unwrap_or_default();
    let runtime = runtime["cuda"]["version"].as_str().unwrap_or("unknown");
    format!("driver {driver}; cuda {runtime}")
}

/// A model's name without marks, and without what would read as the next word.
fn shortened(model: &str) -> String {
    let plain = model.replace("(R)", "").replace("(TM)", "").replace(';', ",");
    let words: Vec<&str> = plain.split_whitespace().collect();
    let short: String = words.join(" ").chars().take(MODEL_CHARACTERS_MAX).collect();
    short.trim_end().to_string()
}

/// As in `Cargo.lock`: the crate does not say its version itself.
const CANDLE: &str = "0.11.1";

const MODEL_CHARACTERS_MAX: usize = 40;

/// It lies beside every outcome.
pub const RECORD_CHARACTERS_MAX: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Wanted;

    #[test]
    fn a_record_names_device_model_instructions_versions_and_threads() {
        let threads = std::num::NonZeroU32::new(7);
        let mut device = Device::choose(Wanted::Cpu, threads, None).expect("a processor");
        device.model = "Example(R)  CPU; @ 2 GHz".to_string();
        let words = device.record();
        let words: Vec<&str> = words.split("; ").collect();
        let seedsweep = format!("seedsweep {}", env!("CARGO_PKG_VERSION"));
        let candle = format!("candle {CANDLE}");
        let expected = ["cpu", "Example CPU, @ 2 GHz", words[2], &seedsweep, &candle, "1 thread"];
        assert_eq!(words, expected);
        assert!(!words[2].is_empty());
        // Other numbers of cohorts at once change no outcome.
        assert_eq!(
            device.record(),
            Device { threads: std::num::NonZeroU32::MIN, ..device }.record()
        );
    }

    #[test]
    fn the_version_of_candle_is_the_one_that_is_built() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));
        let named = format!("name = \"candle-core\"\nversion = \"{CANDLE}\"\n");
        assert!(lock.expect("the workspace's").contains(&named), "{named}");
    }

    #[test]
    fn a_cards_driver_and_runtime_are_read_from_what_they_say() {
        let driver =
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar 5\nGCC 12.2.0";
        let runtime = r#"{"cuda": {"name": "CUDA SDK", "version": "12.4.1"}}"#;
        assert_eq!(card_of(driver, runtime), "driver 550.54.15; cuda 12.4.1");
        assert_eq!(card_of("", "no json"), "driver unknown; cuda unknown");
    }

    #[test]
    fn a_long_name_does_not_make_a_long_row() {
        let mut device = Device::choose(Wanted::Cpu, None, None).expect("a processor");
        device.model = "x".repeat(500);
        assert!(device.record().len() <= 110, "{}", device.record());
        device.name = "y".repeat(500);
        assert_eq!(device.record().len(), RECORD_CHARACTERS_MAX);
    }
}
