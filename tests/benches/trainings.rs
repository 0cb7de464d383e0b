//! Trainings a second on one core: the demo's MLP, and the same loop in PyTorch.
//!
//! Rows are made up in the demo's shape, 569 of 30 features: their values do not change the work.
//! The ratio compares processor seconds of one run, which a busy machine disturbs less than wall
//! time. PyTorch is run where SEEDSWEEP_PYTHON names a Python that has it; `tests/benches/run` makes
//! one.
//!
//! Floor: wiring.

use std::process::Command;
use std::time::{Duration, Instant};

use agent::trainer::{Lane, StreamSeeds, train_lanes};
use anyhow::{Context, Result, bail};
use common::id::Digest;
use common::metric::Metric;
use common::seed::{Stream, StreamRng};
use common::study::{Hyper, Model};
use common::table::{Dataset, Target};
use common::trial::Ending;
use mimalloc::MiMalloc;
use serde::Deserialize;

/// The agent's own allocator; the system's is slower for tensors of this size.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What one side did.
#[derive(Deserialize)]
struct Measured {
    name: String,
    trainings: u64,
    wall_s: f64,
    cpu_s: f64,
    /// Mean share of test rows that were right, to see that something was learnt.
    accuracy: f64,
}

impl Measured {
    fn print(&self) {
        println!(
            "{:<44} {:>8.1} trainings/s of processor, {:>8.1} of wall; {} trainings, accuracy {:.3}",
            self.name,
            self.rate(),
            self.trainings as f64 / self.wall_s,
            self.trainings,
            self.accuracy
        );
    }

    fn rate(&self) -> f64 {
        self.trainings as f64 / self.cpu_s
    }
}

fn main() -> Result<()> {
    let seconds = seconds()?;
    let dataset = dataset();
    let mut fused = Vec::new();
    for lanes in [1, 8] {
        let measured = measure(&dataset, lanes, seconds)?;
        measured.print();
        fused.push(measured);
    }
    let Some(python) = std::env::var_os("SEEDSWEEP_PYTHON") else {
        println!("PyTorch is left out: SEEDSWEEP_PYTHON is not set; see tests/benches/run");
        return Ok(());
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/torch_loop.py");
    let output = Command::new(python).arg(script).arg(seconds.as_secs().to_string()).output()?;
    if !output.status.success() {
        bail!("{script} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let torch: Measured =
        serde_json::from_slice(&output.stdout).context("cannot read what PyTorch measured")?;
    torch.print();
    for measured in fused {
        println!("{}: {:.1} times PyTorch", measured.name, measured.rate() / torch.rate());
    }
    Ok(())
}

/// Trains cohorts of `lanes` until `least` has passed.
fn measure(dataset: &Dataset, lanes: u64, least: Duration) -> Result<Measured> {
    let mut next = 0;
    let mut cohort = || {
        next += lanes;
        let cohort: Vec<Lane> = (next - lanes..next).map(|seed| lane(dataset, seed)).collect();
        train_lanes(
            dataset,
            &cohort,
            &[Metric::Accuracy, Metric::Auroc],
            true,
            &agent::trainer::Machine::default(),
            &|| false,
        )
        .context("nothing stops a training here")
    };
    cohort()?;
    let (start, start_cpu_s) = (Instant::now(), cpu_s()?);
    let (mut trainings, mut accuracy) = (0, 0.0);
    while start.elapsed() < least {
        for ending in cohort()? {
            let Ending::Complete(outcome) = ending else { bail!("a training failed: {ending:?}") };
            trainings += 1;
            accuracy += outcome.metrics[0];
        }
    }
    Ok(Measured {
        name: format!("seedsweep, cohorts of {lanes}"),
        trainings,
        wall_s: start.elapsed().as_secs_f64(),
        cpu_s: cpu_s()? - start_cpu_s,
        accuracy: accuracy / trainings as f64,
    })
}

/// Processor seconds of this thread so far.
fn cpu_s() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")
        .context("this benchmark needs Linux's account of a thread's time")?;
    let nanoseconds = text.split_whitespace().next().context("schedstat is empty")?;
    Ok(nanoseconds.parse::<f64>()? / 1e9)
}

/// The demo's MLP on four fifths of the rows; each seed has its own.
fn lane(dataset: &Dataset, seed: u64) -> Lane {
    let hyper = Hyper { epochs: 30, batch: 32, hidden: vec![32], lr: 1e-3, ..Hyper::default() };
    let mut order: Vec<u32> = (0..dataset.rows() as u32).collect();
    StreamRng::new(&dataset.digest, Stream::Split, seed, 0).shuffle(&mut order);
    let (train, test) = order.split_at(TRAIN_ROWS);
    let ascending = |rows: &[u32]| {
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        rows
    };
    Lane {
        model: Model::Mlp,
        hyper,
        seeds: StreamSeeds { init: seed, order: seed, noise: seed },
        train_rows: ascending(train),
        test_rows: ascending(test),
        labels: None,
        validation_rows: Vec::new(),
    }
}

fn dataset() -> Dataset {
    let digest = Digest::of(b"the benchmark's rows");
    let mut rng = StreamRng::new(&digest, Stream::Split, 0, 0);
    let labels: Vec<u32> = (0..ROWS).map(|_| rng.below(2) as u32).collect();
    let mut features = Vec::with_capacity(ROWS * FEATURES);
    for &label in &labels {
        features.extend((0..FEATURES).map(|_| (rng.normal() + f64::from(label)) as f32));
    }
    let names = (0..FEATURES).map(|column| format!("x{column}")).collect();
    let target = Target::Classes { labels, classes: 2 };
    Dataset {
        digest,
        features,
        width: FEATURES,
        shape: vec![FEATURES],
        tokens: None,
        levels: Vec::new(),
        names,
        target,
        groups: None,
        leave_out: None,
        spacing: None,
    }
}

/// How long each side trains: `--seconds N`, else 5.
fn seconds() -> Result<Duration> {
    // Cargo adds `--bench`.
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    match (words.next().as_deref(), words.next()) {
        (None, _) => Ok(Duration::from_secs(5)),
        (Some("--seconds"), Some(number)) => Ok(Duration::from_secs(number.parse()?)),
        _ => bail!("usage: trainings [--seconds N]"),
    }
}

const ROWS: usize = 569;
const TRAIN_ROWS: usize = 455;
const FEATURES: usize = 30;
