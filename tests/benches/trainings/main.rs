//! Trainings a second of processor time, one thread a worker, beside everything else that can train
//! many small networks: PyTorch one by one, batched by hand and by `torch.func`, JAX, candle, and a
//! training written by hand; and beside what the core can do at all.
//!
//! All sides train the same networks on the same rows with Adam, as often: an MLP of 50 epochs on 455
//! tumours, and a CNN of 2 epochs on 1,797 digits. They differ in three things. seedsweep, JAX and the
//! training by hand pad the last minibatch of an epoch to 32 rows, the others train on what is left.
//! seedsweep scales its rows in each step, for folds of its own; the others are given scaled rows.
//! Each draws its own first weights and orders. JAX is measured after its compilation.
//!
//! Sides take turns and the median over the rounds is told, so that a busy minute is everybody's;
//! processor time, since other programs may run. SEEDSWEEP_PYTHON names a Python that has the peers;
//! `tests/benches/run` makes one. `--seconds N`: processor seconds of each side, over all rounds.
//! `--device DEVICE` is another comparison, of many widths on a card; see `wide.rs`.
//!
//! Floor: wiring.

mod candle;
mod hand;
mod memory;
mod models;
mod peak;
mod side;
mod wide;
mod work;
mod workers;

use std::cell::RefCell;
use std::process::{Command, exit};

use anyhow::{Result, bail};
use mimalloc::MiMalloc;

use side::{Python, Side, Turn};
use work::Work;

/// The agent's own allocator; candle, too, is quicker with it than with the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // candle asks the environment how many threads it may start; one, like everybody here.
    if std::env::var_os(THREADS).is_none() {
        let again =
            Command::new(std::env::current_exe()?).args(&words).env(THREADS, "1").status()?;
        exit(again.code().unwrap_or(1));
    }
    let seconds: f64 = match words.as_slice() {
        ["--memory", name, lanes] => {
            let all: Vec<Work> = works()?.into_iter().chain(models::all()?).collect();
            return memory::train(&all, name, lanes.parse()?);
        }
        ["--device", device, rest @ ..] => return wide::run(device, rest),
        [] => SECONDS,
        ["--seconds", number] => number.parse()?,
        _ => bail!("usage: trainings [--seconds N], or trainings --device DEVICE [--seconds N] …"),
    };
    let works = works()?;
    let folder = tempfile::tempdir()?;
    works.iter().try_for_each(|work| work.write(folder.path()))?;
    let python = match std::env::var("SEEDSWEEP_PYTHON") {
        Ok(python) => Some(RefCell::new(Python::start(&python, "peers.py", folder.path(), &[])?)),
        Err(_) => {
            println!("the peers are left out: SEEDSWEEP_PYTHON is not set; see tests/benches/run");
            None
        }
    };
    if let Some(python) = &python {
        println!("{}; one thread each", python.borrow_mut().versions()?);
    }
    let peak = peak(seconds)?;
    for (work, plan) in works.iter().zip(PLANS) {
        measure(work, &plan, python.as_ref(), seconds, peak)?;
        memory::print(work, plan.ours[plan.ours.len() - 1])?;
    }
    workers::print(&works[0], seconds)
}

fn works() -> Result<[Work; 2]> {
    Ok([Work::mlp()?, Work::cnn()?])
}

/// Who trains, and what is asked of the comparison.
struct Plan {
    title: &'static str,
    /// Lanes at once.
    ours: &'static [u32],
    /// As `peers.py` calls it, as people do, and how many it trains at once.
    peers: &'static [(&'static str, &'static str, u32)],
    by_hand: bool,
    /// How many times (the last) our first must be as quick as the other; 0: nothing is asked.
    bars: &'static [(&'static str, &'static str, f64)],
}

/// What all rounds of one side said.
struct Measured {
    name: String,
    rates: Vec<f64>,
    accuracy: f64,
}

fn measure(
    work: &Work,
    plan: &Plan,
    python: Option<&RefCell<Python>>,
    seconds: f64,
    peak: f64,
) -> Result<()> {
    let mut sides: Vec<Side<'_>> = plan.ours.iter().map(|&lanes| Side::ours(work, lanes)).collect();
    for &(peer, name, lanes) in plan.peers {
        if let Some(python) = python {
            sides.push(Side::new(name, move || python.borrow_mut().turn(work.name, peer, lanes)));
        }
    }
    sides.push(candle::side(work)?);
    if plan.by_hand {
        sides.push(hand::side(work));
    }
    let measured = take_turns(&mut sides, seconds)?;
    let gflop = work.flop / 1e9;
    println!("\n{}: {} steps, {gflop:.2} GFLOP a training", plan.title, work.steps());
    println!("  {:<44} trainings a second, lowest and highest round, accuracy", "");
    for side in &measured {
        let (low, high) = (at(&side.rates, 0.0), at(&side.rates, 1.0));
        let (name, rate, accuracy) = (&side.name, at(&side.rates, 0.5), side.accuracy);
        println!("  {name:<44} {rate:>8.1} {low:>8.1} {high:>8.1} {accuracy:>8.3}");
    }
    for &lanes in plan.ours {
        let name = side::ours_named(lanes);
        let Some(ours) = measured.iter().find(|side| side.name == name) else { continue };
        let gflops = at(&ours.rates, 0.5) * gflop;
        let share = 100.0 * gflops * 1e9 / peak;
        println!("  {name:<44} {gflops:>8.1} GFLOP/s in products, {share:.0} % of the core's peak");
    }
    compare(&measured, plan.bars);
    Ok(())
}

/// Every side in each round, after one turn that does not count: it compiles, and loads lazily.
fn take_turns(sides: &mut [Side<'_>], seconds: f64) -> Result<Vec<Measured>> {
    let mut all: Vec<Measured> = Vec::new();
    for side in sides.iter_mut() {
        side.turns(0.0)?;
        all.push(Measured { name: side.name.clone(), rates: Vec::new(), accuracy: 0.0 });
    }
    for _ in 0..ROUNDS {
        for (side, measured) in sides.iter_mut().zip(&mut all) {
            let Turn { trainings, cpu_s, accuracy } = side.turns(seconds / ROUNDS as f64)?;
            measured.rates.push(f64::from(trainings) / cpu_s);
            measured.accuracy += accuracy / ROUNDS as f64;
        }
    }
    Ok(all)
}

/// Of each bar the median over the rounds of what one side did in the other's time.
fn compare(measured: &[Measured], bars: &[(&str, &str, f64)]) {
    let named = |name: &str| measured.iter().find(|side| side.name == name);
    for &(ours, theirs, least) in bars {
        let (Some(one), Some(other)) = (named(ours), named(theirs)) else { continue };
        let ratios: Vec<f64> = one.rates.iter().zip(&other.rates).map(|(a, b)| a / b).collect();
        let ratio = at(&ratios, 0.5);
        let verdict = match (least > 0.0, ratio >= least) {
            (false, _) => "no bar".to_string(),
            (true, true) => format!("bar {least:.2}: met"),
            (true, false) => format!("bar {least:.2}: MISSED"),
        };
        let what = format!("{ours} : {theirs}");
        println!("  {what:<68} {ratio:>7.2} times, {verdict}");
    }
}

/// Floating-point operations a second that one core can do, the highest of several.
fn peak(seconds: f64) -> Result<f64> {
    let (mut most, mut lanes, begun) = (0.0f64, 0, side::cpu_s());
    while most == 0.0 || side::cpu_s() - begun < seconds / ROUNDS as f64 {
        let before = side::cpu_s();
        let (flop, wide) = peak::climb();
        most = most.max(flop / (side::cpu_s() - before));
        lanes = wide;
    }
    println!("peak of one core: {:.1} GFLOP/s, in vectors of {lanes} numbers", most / 1e9);
    Ok(most)
}

/// The value with this part of the others below it.
fn at(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}

const PLANS: [Plan; 2] = [
    Plan {
        title: "MLP 30-64-64-2, 455 rows, batches of 32, Adam, 50 epochs",
        ours: &[1, 8, 64],
        peers: &[
            ("torch", TORCH, 1),
            ("baddbmm", "PyTorch batched by hand, 64 at once", 64),
            ("fused", ONE_RATE, 64),
            ("func", "torch.func, 64 at once", 64),
            ("jax", "JAX jit of vmap, 64 at once", 64),
        ],
        by_hand: true,
        bars: &[
            ("seedsweep, 64 lanes", TORCH, 20.0),
            ("seedsweep, 64 lanes", "PyTorch batched by hand, 64 at once", 2.5),
            ("seedsweep, 64 lanes", ONE_RATE, 0.0),
            ("seedsweep, 64 lanes", "JAX jit of vmap, 64 at once", 1.15),
            ("seedsweep, 64 lanes", hand::NAME, 1.0 / 1.15),
            ("seedsweep, 1 lane", candle::NAME, 1.0),
        ],
    },
    Plan {
        title: "CNN of 8 and 16 channels, 1,797 digits of 8 by 8, batches of 32, Adam, 2 epochs",
        ours: &[1, 32],
        peers: &[
            ("torch", TORCH, 1),
            ("func", "torch.func, 32 at once", 32),
            ("jax", "JAX jit of vmap, 32 at once", 32),
        ],
        by_hand: false,
        bars: &[
            ("seedsweep, 32 lanes", TORCH, 4.0),
            ("seedsweep, 32 lanes", "torch.func, 32 at once", 1.7),
            ("seedsweep, 1 lane", candle::NAME, 1.0),
        ],
    },
];
/// PyTorch's own fused step, which knows one rate for all lanes; ours and the peer above have one each.
const ONE_RATE: &str = "PyTorch batched by hand, one rate, fused Adam";
const TORCH: &str = "PyTorch, one by one";
const ROUNDS: usize = 5;
const SECONDS: f64 = 10.0;
const THREADS: &str = "RAYON_NUM_THREADS";
