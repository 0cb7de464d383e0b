//! How near the searches come to a minimum, beside Optuna's samplers on the same functions.
//!
//! Branin, Hartmann's six-dimensional function and Rosenbrock's in ten dimensions, each score with
//! normal noise, whose variance our Gaussian process is told and Optuna's cannot be. Regret is the
//! true value of the config whose observed score was the best so far, less the minimum; medians and
//! quartiles are over seeds. Then the seconds that asking and telling take in a search of a thousand
//! trials. SEEDSWEEP_PYTHON names the Python that has Optuna; without it our side is measured alone.
//!
//! Floor: wiring.

use std::env;
use std::f64::consts::PI;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use common::id::Digest;
use common::plan::{Asked, Method, Search, Terms, Told};
use common::seed::{Stream, StreamRng};
use common::space::{Axis, Space};

fn main() -> Result<()> {
    let python = env::var("SEEDSWEEP_PYTHON").ok();
    if let Some(python) = &python {
        println!("beside {}", theirs(python, &["versions"])?.trim());
    }
    println!("simple regret, {SEEDS} seeds: median (quartiles)");
    let heads = LOOKS.map(|look| format!("{look} trials"));
    println!("{:<11} {:<9} {:<5} {}", "function", "method", "", in_columns(&heads));
    for function in &FUNCTIONS {
        for (ours, peer) in METHODS {
            let all: Vec<[f64; 3]> =
                (0..SEEDS).map(|seed| regrets(function, ours, seed)).collect::<Result<_>>()?;
            row(function.name, peer, "ours", &all);
            if let Some(python) = &python {
                let seeds = SEEDS.to_string();
                let said = theirs(python, &[peer, function.name, "200", "0", &seeds])?;
                row("", "", "peer", &parsed(&said)?);
            }
        }
    }
    println!("milliseconds a trial to ask and to tell, of 1,000 trials on Hartmann's function");
    println!("{:<9} {:>9} {:>9} {:>9} {:>9}", "method", "ask", "ask max", "tell", "tell max");
    for (ours, name) in METHODS {
        let [ask, ask_max, tell, tell_max] = timed(ours)?;
        println!("{name:<9} {ask:>9.3} {ask_max:>9.3} {tell:>9.3} {tell_max:>9.3}");
    }
    Ok(())
}

/// A function of the unit cube whose minimum is 0.
struct Function {
    name: &'static str,
    axes: usize,
    /// The standard deviation of a score's noise.
    noise: f64,
    at: fn(&[f64]) -> f64,
}

fn branin(x: &[f64]) -> f64 {
    let (a, b) = (15.0 * x[0] - 5.0, 15.0 * x[1]);
    let bent = b - 5.1 / (4.0 * PI * PI) * a * a + 5.0 / PI * a - 6.0;
    bent * bent + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * a.cos() + 10.0 - 0.397_887_357_729_738_16
}

fn hartmann(x: &[f64]) -> f64 {
    let hill = |((c, a), p): ((f64, &[f64; 6]), &[f64; 6])| {
        let far: f64 = (0..6).map(|axis| a[axis] * (x[axis] - p[axis]).powi(2)).sum();
        c * (-far).exp()
    };
    let hills = [1.0, 1.2, 3.0, 3.2].into_iter().zip(&HARTMANN_A).zip(&HARTMANN_P);
    3.322_368_011_391_339 - hills.map(hill).sum::<f64>()
}

fn rosenbrock(x: &[f64]) -> f64 {
    let z: Vec<f64> = x.iter().map(|x| 4.096 * x - 2.048).collect();
    let pairs = z.windows(2);
    pairs.map(|z| 100.0 * (z[1] - z[0] * z[0]).powi(2) + (1.0 - z[0]).powi(2)).sum()
}

/// Regrets after each of [`LOOKS`].
fn regrets(function: &Function, method: Method, seed: u64) -> Result<[f64; 3]> {
    let mut search = search(function, method, seed, LOOKS[2])?;
    let mut noise = StreamRng::new(&Digest::of(function.name.as_bytes()), Stream::Noise, seed, 0);
    let (mut best, mut regrets) = ((f64::INFINITY, f64::INFINITY), [f64::INFINITY; 3]);
    while let Asked::Next(proposal) = search.ask() {
        let x: Vec<f64> = proposal.config.values.iter().filter_map(|(_, v)| v.number()).collect();
        let truth = (function.at)(&x);
        let value = truth + function.noise * noise.normal();
        let variance = Some(function.noise * function.noise);
        search.tell(proposal.number, Told::Score { value, variance })?;
        if value < best.0 {
            best = (value, truth);
        }
        if let Some(look) = LOOKS.iter().position(|look| *look == proposal.number + 1) {
            regrets[look] = best.1;
        }
    }
    Ok(regrets)
}

/// Milliseconds of an ask, mean and most, and of a tell.
fn timed(method: Method) -> Result<[f64; 4]> {
    let function = &FUNCTIONS[1];
    let mut search = search(function, method, 0, 1_000)?;
    let (mut asks, mut tells) = (Vec::new(), Vec::new());
    loop {
        let begun = Instant::now();
        let Asked::Next(proposal) = search.ask() else { break };
        asks.push(begun.elapsed().as_secs_f64() * 1e3);
        let x: Vec<f64> = proposal.config.values.iter().filter_map(|(_, v)| v.number()).collect();
        let told = Told::Score { value: (function.at)(&x), variance: Some(0.0025) };
        let begun = Instant::now();
        search.tell(proposal.number, told)?;
        tells.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
    let most = |times: &[f64]| times.iter().fold(0.0, |most: f64, time| most.max(*time));
    Ok([mean(&asks), most(&asks), mean(&tells), most(&tells)])
}

fn search(function: &Function, method: Method, seed: u64, budget: u32) -> Result<Search> {
    let axis = |number| (format!("x{number}"), Axis::LinearRange { low: 0.0, high: 1.0 });
    let space = Space { axes: (0..function.axes).map(axis).collect(), ..Space::default() };
    let data = Digest::of(b"search");
    Ok(Search::new(space, method, Terms { budget, larger_is_better: false, data, seed })?)
}

fn theirs(python: &str, arguments: &[&str]) -> Result<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/search.py");
    let output = Command::new(python).arg(script).args(arguments).output()?;
    if !output.status.success() {
        bail!("{script} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Of each seed's line the regrets; the seconds after them are for readers of the script.
fn parsed(said: &str) -> Result<Vec<[f64; 3]>> {
    let numbers = |line: &str| -> Result<[f64; 3]> {
        let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        numbers[..3].try_into().context("three regrets a seed")
    };
    said.lines().map(numbers).collect()
}

fn row(function: &str, method: &str, side: &str, all: &[[f64; 3]]) {
    let cells = [0, 1, 2].map(|look| {
        let mut regrets: Vec<f64> = all.iter().map(|seed| seed[look]).collect();
        regrets.sort_by(f64::total_cmp);
        let at = |part: usize| regrets[regrets.len() * part / 4];
        format!("{:.4} ({:.4}-{:.4})", at(2), at(1), at(3))
    });
    println!("{function:<11} {method:<9} {side:<5} {}", in_columns(&cells));
}

fn in_columns(cells: &[String; 3]) -> String {
    cells.iter().map(|cell| format!("{cell:>30}")).collect()
}

/// Ours, and what the peer's script calls its like.
const METHODS: [(Method, &str); 5] = [
    (Method::Random, "random"),
    (Method::Sobol, "qmc"),
    (Method::CmaEs, "cmaes"),
    (Method::Tpe, "tpe"),
    (Method::Gaussian, "gp"),
];

const FUNCTIONS: [Function; 3] = [
    Function { name: "branin", axes: 2, noise: 0.1, at: branin },
    Function { name: "hartmann", axes: 6, noise: 0.05, at: hartmann },
    Function { name: "rosenbrock", axes: 10, noise: 10.0, at: rosenbrock },
];

const HARTMANN_A: [[f64; 6]; 4] = [
    [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
    [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
    [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
    [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
];
const HARTMANN_P: [[f64; 6]; 4] = [
    [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
    [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
    [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
    [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
];

const LOOKS: [u32; 3] = [50, 100, 200];
const SEEDS: u64 = 30;
