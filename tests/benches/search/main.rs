//! How near the searches come to a minimum, beside Optuna's samplers on the same functions.
//!
//! Branin, Hartmann's six-dimensional function and Rosenbrock's in ten dimensions, each score with
//! normal noise, whose variance our Gaussian process is told and Optuna's cannot be; and the error of
//! a network on digits (see `digits.rs`), whose noise nobody is told. Regret is the true value of the
//! config whose observed score was the best so far, less the minimum; on digits its mean error over
//! fresh seeds, less the least such mean of anybody in the run. Medians and quartiles are over seeds.
//! A side wins where its median is the less. Then what asking and telling take in a search of a
//! thousand trials.
//!
//! Each side has as many processes or threads as there are cores, and a share of the seeds in each.
//! What a part took is the wall clock's; what an ask takes is processor time, since other programs may
//! run. SEEDSWEEP_PYTHON names the Python that has Optuna; without it our side is measured alone.
//! SEEDSWEEP_SEEDS: another number of seeds than 30. Words name functions and methods, to run no
//! others.
//!
//! Floor: wiring.

mod digits;
mod functions;
mod peers;

use std::env;
use std::iter;
use std::ops::Range;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use common::plan::Method;
use rustix::time::{ClockId, clock_gettime};

use digits::Digits;
use functions::FUNCTIONS;

/// What a search of one seed has found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// After each of [`LOOKS`].
    pub regrets: [f64; 3],
    /// Of this search, or of those that went on with it.
    pub asks: Times,
}

/// What asks took, in processor seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub count: f64,
    pub total: f64,
    pub most: f64,
}

impl Times {
    pub fn note(&mut self, seconds: f64) {
        let one = Self { count: 1.0, total: seconds, most: seconds };
        *self = self.with(one);
    }

    fn with(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            total: self.total + other.total,
            most: self.most.max(other.most),
        }
    }

    /// As the peers say them.
    pub fn said(numbers: &[f64]) -> Result<Self> {
        let &[count, total, most] = numbers else { bail!("the peers said {numbers:?} of asks") };
        Ok(Self { count, total, most })
    }
}

/// All seeds of one function, method and side.
struct Row {
    function: &'static str,
    method: &'static str,
    ours: bool,
    all: Vec<Found>,
}

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let functions: Vec<&str> =
        FUNCTIONS.iter().map(|function| function.name).chain([digits::NAME]).collect();
    let known = |word: &&String| {
        functions.contains(&word.as_str()) || METHODS.iter().any(|(_, name)| name == word)
    };
    if let Some(word) = words.iter().find(|word| !known(word)) {
        let all = [functions.as_slice(), &METHODS.map(|(_, name)| name)].concat().join(", ");
        bail!("no function or method is named {word}: {all}");
    }
    let wanted = |name: &str, of: &[&str]| {
        words.iter().all(|word| !of.contains(&word.as_str())) || words.iter().any(|w| w == name)
    };
    let seeds = match env::var("SEEDSWEEP_SEEDS") {
        Ok(number) => number.parse().context("SEEDSWEEP_SEEDS is no number")?,
        Err(_) => SEEDS,
    };
    let names = METHODS.map(|(_, name)| name);
    let methods: Vec<_> = METHODS.into_iter().filter(|(_, name)| wanted(name, &names)).collect();
    let python = env::var("SEEDSWEEP_PYTHON").ok();
    if let Some(python) = &python {
        println!("beside {}", peers::versions(python)?);
    }
    println!(
        "simple regret, {seeds} seeds: median (quartiles); milliseconds an ask, mean and most"
    );
    heads();
    let mut rows = Vec::new();
    for function in &functions {
        if wanted(function, &functions) {
            rows.extend(measured(function, &methods, python.as_deref(), seeds)?);
        }
    }
    if python.is_some() {
        names.iter().for_each(|name| wins(&rows, name));
    }
    println!(
        "processor milliseconds a trial to ask and to tell, of 1,000 trials on Hartmann's function"
    );
    println!("{:<9} {:>9} {:>9} {:>9} {:>9}", "method", "ask", "ask max", "tell", "tell max");
    for (ours, name) in methods {
        let [ask, ask_max, tell, tell_max] = functions::timed(ours)?;
        println!("{name:<9} {ask:>9.3} {ask_max:>9.3} {tell:>9.3} {tell_max:>9.3}");
    }
    Ok(())
}

/// Both sides' rows of a function, each printed as it comes.
fn measured(
    function: &'static str,
    methods: &[(Method, &'static str)],
    python: Option<&str>,
    seeds: u64,
) -> Result<Vec<Row>> {
    let known = FUNCTIONS.iter().find(|known| known.name == function);
    let digits = if known.is_none() { Some(Digits::new()?) } else { None };
    if digits.is_some() {
        println!("{function}: what the chosen configs get wrong; regrets follow");
    }
    let begun = Instant::now();
    let mut rows = Vec::new();
    for &(ours, method) in methods {
        for python in iter::once(None).chain(python.map(Some)) {
            let part = |seeds: Range<u64>| match (known, &digits, python) {
                (Some(known), _, None) => functions::ours(known, ours, seeds),
                (Some(_), _, Some(python)) => peers::regrets(python, method, function, seeds),
                (None, Some(digits), None) => digits.ours(ours, seeds),
                (None, Some(digits), Some(python)) => digits.peers(python, method, seeds),
                (None, None, _) => bail!("no function is named {function}"),
            };
            let begun = Instant::now();
            let all = side_by_side(seeds, part)?;
            let row = Row { function, method, ours: python.is_none(), all };
            row.print(&format!("in {:.0} s", begun.elapsed().as_secs_f64()));
            rows.push(row);
        }
    }
    if digits.is_some() {
        let each = rows.iter().flat_map(|row| &row.all).flat_map(|found| found.regrets);
        let least = each.fold(f64::INFINITY, f64::min);
        println!("{function}: the least was {least:.4}");
        for row in &mut rows {
            let all = row.all.iter_mut().flat_map(|found| &mut found.regrets);
            all.for_each(|worth| *worth -= least);
            row.print("");
        }
    }
    println!("{function} took {:.0} s", begun.elapsed().as_secs_f64());
    Ok(rows)
}

/// Seeds in as many parts as there are cores, each on a thread of its own; answers in order.
fn side_by_side<T: Send>(
    seeds: u64,
    part: impl Fn(Range<u64>) -> Result<Vec<T>> + Sync,
) -> Result<Vec<T>> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64).min(seeds);
    let part = &part;
    thread::scope(|scope| {
        let ranges = (0..cores).map(|core| seeds * core / cores..seeds * (core + 1) / cores);
        let threads: Vec<_> = ranges.map(|range| scope.spawn(move || part(range))).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| anyhow!("a thread panicked; see above"))??);
        }
        Ok(all)
    })
}

/// Processor seconds of this thread so far.
pub fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

impl Row {
    fn print(&self, took: &str) {
        let cells = [0, 1, 2].map(|look| {
            let [low, median, high] = [1, 2, 3].map(|quarter| self.quantile(look, quarter));
            format!("{median:.4} ({low:.4}-{high:.4})")
        });
        let times = self.all.iter().map(|found| found.asks).fold(Times::default(), Times::with);
        let (mean, most) = (1e3 * times.total / times.count, 1e3 * times.most);
        let Self { function, method, .. } = self;
        let side = if self.ours { "ours" } else { "peer" };
        let cells = in_columns(&cells);
        println!("{function:<11} {method:<7} {side:<5} {cells} {mean:>9.3} {most:>9.1}  {took}");
    }

    fn quantile(&self, look: usize, quarter: usize) -> f64 {
        let mut regrets: Vec<f64> = self.all.iter().map(|found| found.regrets[look]).collect();
        regrets.sort_by(f64::total_cmp);
        regrets[regrets.len() * quarter / 4]
    }
}

fn heads() {
    let heads = in_columns(&LOOKS.map(|look| format!("{look} trials")));
    println!("{:<11} {:<7} {:<5} {heads} {:>9} {:>9}", "function", "method", "", "ask", "most");
}

/// At how many of the functions and looks each side's median is the less.
fn wins(rows: &[Row], name: &str) {
    let (mut wins, mut losses, mut all) = (0, 0, 0);
    for ours in rows.iter().filter(|row| row.ours && row.method == name) {
        let peer = |row: &&Row| !row.ours && row.method == name && row.function == ours.function;
        let Some(theirs) = rows.iter().find(peer) else { continue };
        for look in 0..LOOKS.len() {
            let (ours, theirs) = (ours.quantile(look, 2), theirs.quantile(look, 2));
            wins += u32::from(ours < theirs);
            losses += u32::from(theirs < ours);
            all += 1;
        }
    }
    if all > 0 {
        println!("{name}: ours is nearer in {wins} of {all}, the peer in {losses}");
    }
}

fn in_columns(cells: &[String; 3]) -> String {
    cells.iter().map(|cell| format!(" {cell:>30}")).collect()
}

/// Ours, and what the peers' script calls its like.
const METHODS: [(Method, &str); 5] = [
    (Method::Random, "random"),
    (Method::Sobol, "qmc"),
    (Method::CmaEs, "cmaes"),
    (Method::Tpe, "tpe"),
    (Method::Gaussian, "gp"),
];

pub const LOOKS: [u32; 3] = [50, 100, 200];
const SEEDS: u64 = 30;
