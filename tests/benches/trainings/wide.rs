//! Trainings a second of wall time on one device by how many train at once, for every model, beside
//! PyTorch and JAX on the same device: `trainings --device cuda:0 [--seconds N] [--most N]`.
//!
//! One Markdown table. A ratio is this project's trainings a second at so many lanes divided by the
//! peer's: PyTorch one by one, with and without a CUDA graph of its step, PyTorch with so many at once
//! by hand, JAX `jit(vmap)` of so many. A deviation is the largest difference between a lane's scores
//! and those of the same lane alone. The memory that a lane adds stands beside the agent's estimate,
//! which is for processors. Each side trains once unmeasured: it compiles, and loads lazily.
//! SEEDSWEEP_PYTHON names a Python that has the peers; `tests/gpu/run` makes one.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZeroU32;
use std::process::{Command, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use agent::device::{CPU, Device, Wanted};
use agent::trainer::{How, Machine, Need, NoRoom, Widths};
use anyhow::{Context, Result, anyhow, bail};
use candle_core::{DType, Tensor};
use serde::Deserialize;

use crate::side::{Python, outcomes};
use crate::work::Work;
use crate::{memory, models, workers};

/// What was asked for.
struct Asked {
    device: Device,
    /// Wall time of each figure.
    seconds: f64,
    /// Lanes at once.
    widths: Vec<u32>,
}

impl Asked {
    fn read(device: &str, words: &[&str]) -> Result<Self> {
        let (mut seconds, mut most) = (3.0, 4096);
        for pair in words.chunks(2) {
            match pair {
                ["--seconds", number] => seconds = number.parse()?,
                ["--most", number] => most = number.parse()?,
                _ => bail!("usage: trainings --device DEVICE [--seconds N] [--most LANES]"),
            }
        }
        let wanted: Wanted = device.parse()?;
        let device = Device::choose(wanted, None, NonZeroU32::new(most)).unwrap_or_else(|error| {
            eprintln!("{error}");
            exit(2);
        });
        Ok(Self { device, seconds, widths: WIDTHS.into_iter().filter(|at| *at <= most).collect() })
    }
}

pub fn run(device: &str, words: &[&str]) -> Result<()> {
    let asked = Asked::read(device, words)?;
    let device = asked.device.open()?;
    let works = models::all()?;
    let folder = tempfile::tempdir()?;
    works.iter().try_for_each(|work| work.write(folder.path()))?;
    let mut python = match std::env::var("SEEDSWEEP_PYTHON") {
        Ok(python) => {
            Some(Python::start(&python, "wide.py", folder.path(), &[&asked.device.name])?)
        }
        Err(_) => None,
    };
    println!("{}", asked.device.record());
    match &mut python {
        Some(python) => println!("{}", python.versions()?),
        None => println!("the peers are left out: SEEDSWEEP_PYTHON is not set; see tests/gpu/run"),
    }
    let peak = peak(&device, asked.seconds)?;
    let cores = thread::available_parallelism()?;
    println!();
    println!(
        "| model | lanes | trainings/s | : PyTorch one by one | : with a CUDA graph | : PyTorch by \
         hand | : JAX vmap | of the peak | largest deviation | memory a lane (as estimated) | {cores} processor \
         cores, 8 lanes each |"
    );
    println!("|{}", " --- |".repeat(11));
    for work in &works {
        print(work, &asked, &device, python.as_mut(), peak)?;
    }
    Ok(())
}

/// The rows of one model.
fn print(
    work: &Work,
    asked: &Asked,
    device: &candle_core::Device,
    mut python: Option<&mut Python>,
    peak: f64,
) -> Result<()> {
    let mut peer = |name: &str, lanes: u32| match &mut python {
        Some(python) => peer(python, work, name, lanes, asked.seconds),
        None => Ok(None),
    };
    let (eager, graph) = (peer("torch", 1)?, peer("graph", 1)?);
    let cores = thread::available_parallelism()?.get() as u64;
    let (processor, _) = workers::rate(work, cores, Duration::from_secs_f64(asked.seconds))?;
    let mut peaks = BTreeMap::new();
    let mut alone = Vec::new();
    for &lanes in &asked.widths {
        let (rate, width) = ours(work, lanes, device, asked.seconds)?;
        let by_hand = peer("by hand", lanes)?;
        let jax = peer("jax", lanes)?;
        let ratio = |peer: Option<f64>| match peer {
            Some(peer) => format!("{:.2}", rate / peer),
            None => NONE.to_string(),
        };
        let narrow = if width < lanes { format!(" ({width} at once)") } else { String::new() };
        let deviation = match lanes {
            1 => NONE.to_string(),
            lanes => format!("{:.1e}", deviation(work, lanes, device, &mut alone)?),
        };
        let memory = match lanes {
            1 => NONE.to_string(),
            lanes => {
                let taken = of_lane(work, lanes, asked, &mut peaks)?;
                format!("{} ({})", in_kib(taken), in_kib(memory::told(work, lanes)?))
            }
        };
        println!(
            "| {} | {lanes}{narrow} | {rate:.1} | {} | {} | {} | {} | {:.2} % | {deviation} | \
             {memory} | {processor:.1} |",
            work.model.name(),
            ratio(eager),
            ratio(graph),
            ratio(by_hand),
            ratio(jax),
            100.0 * rate * work.flop / peak,
        );
    }
    Ok(())
}

/// As many lanes at once as are asked for, or half as many where there is no room.
#[derive(Debug)]
struct Halving(AtomicUsize);

impl Widths for Halving {
    fn begin(&self, _: &str, _: usize, _: Option<&Need>) -> Result<usize, NoRoom> {
        Ok(self.0.load(Ordering::Relaxed))
    }

    fn ended(&self, _: &str, width: usize, _: usize, how: How) {
        if how == How::NoRoom {
            self.0.store((width / 2).max(1), Ordering::Relaxed);
        }
    }
}

fn machine(device: &candle_core::Device, lanes: u32) -> (Machine, Arc<Halving>) {
    let widths = Arc::new(Halving(AtomicUsize::new(lanes as usize)));
    (Machine { device: device.clone(), widths: widths.clone() }, widths)
}

/// Trainings a second of cohorts of `lanes`, and how many there was room for at once.
fn ours(work: &Work, lanes: u32, device: &candle_core::Device, seconds: f64) -> Result<(f64, u32)> {
    let (machine, widths) = machine(device, lanes);
    let mut next = 0;
    let mut train = || {
        next += u64::from(lanes);
        outcomes(work, next, lanes, &machine, false).map(|_| ())
    };
    train()?;
    let (begun, mut cohorts) = (Instant::now(), 0);
    while cohorts == 0 || begun.elapsed().as_secs_f64() < seconds {
        train()?;
        cohorts += 1;
    }
    let rate = f64::from(lanes * cohorts) / begun.elapsed().as_secs_f64();
    Ok((rate, widths.0.load(Ordering::Relaxed) as u32))
}

/// What a peer answers to one turn.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Trained { trainings: u32, wall_s: f64 },
    Absent { absent: String },
}

/// Trainings a second of a peer; `None` where it has none of the kind, or no room.
fn peer(
    python: &mut Python,
    work: &Work,
    name: &str,
    lanes: u32,
    seconds: f64,
) -> Result<Option<f64>> {
    let (mut trainings, mut wall_s, mut first) = (0, 0.0, true);
    while first || wall_s < seconds {
        let answer = python.ask(&format!("{}\t{name}\t{lanes}", work.name))?;
        let answer = serde_json::from_str(&answer).with_context(|| format!("of {answer:?}"))?;
        match answer {
            Answer::Absent { absent } => {
                eprintln!("{}, {name}, {lanes} at once: {absent}", work.model.name());
                return Ok(None);
            }
            Answer::Trained { .. } if first => first = false,
            Answer::Trained { trainings: more, wall_s: took } => {
                trainings += more;
                wall_s += took;
            }
        }
    }
    Ok((trainings > 0).then(|| f64::from(trainings) / wall_s))
}

/// How far scores of some of `lanes` that train together are from theirs alone.
fn deviation(
    work: &Work,
    lanes: u32,
    device: &candle_core::Device,
    alone: &mut Vec<Vec<f64>>,
) -> Result<f64> {
    let scores = |first: u64, lanes: u32| -> Result<Vec<Vec<f64>>> {
        let each = outcomes(work, first, lanes, &machine(device, lanes).0, true)?;
        let all = |rows: &[f32]| rows.iter().map(|row| f64::from(*row)).collect::<Vec<f64>>();
        let each = each.into_iter();
        Ok(each.map(|outcome| [outcome.metrics, all(&outcome.rows)].concat()).collect())
    };
    while alone.len() < COMPARED {
        alone.extend(scores(alone.len() as u64, 1)?);
    }
    let together = scores(0, lanes)?;
    let pairs = together.iter().flatten().zip(alone.iter().flatten());
    Ok(pairs.map(|(one, other)| (one - other).abs()).fold(0.0, f64::max))
}

/// Bytes that each of `lanes` adds to what one has. `peaks`: by lanes, what was measured.
fn of_lane(work: &Work, lanes: u32, asked: &Asked, peaks: &mut BTreeMap<u32, f64>) -> Result<f64> {
    if asked.device.name == CPU {
        return memory::of_lane(work, lanes);
    }
    for lanes in [1, lanes] {
        if let Entry::Vacant(place) = peaks.entry(lanes) {
            place.insert(card_peak(work, lanes, &asked.device)?);
        }
    }
    Ok((peaks[&lanes] - peaks[&1]) / f64::from(lanes - 1))
}

/// The most memory of a card in use while a cohort trains in this process again and again.
fn card_peak(work: &Work, lanes: u32, device: &Device) -> Result<f64> {
    let opened = device.open()?;
    let machine = machine(&opened, lanes).0;
    let number = device.name.trim_start_matches("cuda:");
    let done = AtomicBool::new(false);
    let sample = || -> Result<f64> {
        let mut most = 0.0f64;
        for sample in 0.. {
            if sample >= SAMPLES || done.load(Ordering::Relaxed) {
                break;
            }
            let mut asked = Command::new("nvidia-smi");
            asked.args(["--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id"]);
            let told = String::from_utf8(asked.arg(number).output()?.stdout)?;
            let mib: f64 = told.trim().parse().with_context(|| format!("of {told:?}"))?;
            most = most.max(mib * 1024.0 * 1024.0);
        }
        Ok(most)
    };
    thread::scope(|scope| {
        let sampling = scope.spawn(sample);
        let mut trained = Ok(());
        while trained.is_ok() && !sampling.is_finished() {
            trained = outcomes(work, 0, lanes, &machine, false).map(|_| ());
        }
        done.store(true, Ordering::Relaxed);
        let most = sampling.join().map_err(|_| anyhow!("the sampling thread fell"))?;
        trained.and(most)
    })
}

/// Floating-point operations a second: of a processor's core by its own loop, of a card in products of
/// large matrices of 32-bit numbers, as it is used here.
fn peak(device: &candle_core::Device, seconds: f64) -> Result<f64> {
    if device.is_cpu() {
        return crate::peak(seconds);
    }
    let side = 8192;
    let square = Tensor::ones((side, side), DType::F32, device)?;
    let product = || -> Result<()> {
        square.matmul(&square)?;
        Ok(device.synchronize()?)
    };
    product()?;
    let (begun, mut products) = (Instant::now(), 0);
    while products == 0 || begun.elapsed().as_secs_f64() < seconds {
        product()?;
        products += 1;
    }
    let flop = 2.0 * (side as f64).powi(3) * f64::from(products);
    let peak = flop / begun.elapsed().as_secs_f64();
    println!(
        "peak of the card: {:.1} TFLOP/s, in products of {side} by {side} numbers",
        peak / 1e12
    );
    Ok(peak)
}

fn in_kib(bytes: f64) -> String {
    format!("{:.0} KiB", bytes / 1024.0)
}

const WIDTHS: [u32; 7] = [1, 4, 16, 64, 256, 1024, 4096];
/// Lanes that are also trained alone.
const COMPARED: usize = 4;
/// Of the memory in use; one takes some tens of milliseconds.
const SAMPLES: usize = 30;
const NONE: &str = "–";
