//! Functions of the unit cube with a known minimum, and how near a search of ours comes to it.
//!
//! Floor: wiring.

use std::f64::consts::PI;
use std::ops::Range;

use anyhow::Result;
use common::id::Digest;
use common::plan::{Asked, Method, Search, Terms, Told};
use common::seed::{Stream, StreamRng};
use common::space::{Axis, Space};

use crate::{Found, LOOKS, cpu_s};

/// Its minimum is 0.
pub struct Function {
    pub name: &'static str,
    axes: usize,
    /// The standard deviation of a score's noise.
    noise: f64,
    at: fn(&[f64]) -> f64,
}

/// Regrets of our search on `function`, one a seed.
pub fn ours(function: &Function, method: Method, seeds: Range<u64>) -> Result<Vec<Found>> {
    seeds.map(|seed| regrets(function, method, seed)).collect()
}

fn regrets(function: &Function, method: Method, seed: u64) -> Result<Found> {
    let mut search = search(function, method, seed, LOOKS[2])?;
    let mut noise = StreamRng::new(&Digest::of(function.name.as_bytes()), Stream::Noise, seed, 0);
    let mut best = (f64::INFINITY, f64::INFINITY);
    let mut found = Found::default();
    loop {
        let begun = cpu_s();
        let Asked::Next(proposal) = search.ask() else { break };
        found.asks.note(cpu_s() - begun);
        let x: Vec<f64> = proposal.config.values.iter().filter_map(|(_, v)| v.number()).collect();
        let truth = (function.at)(&x);
        let value = truth + function.noise * noise.normal();
        let variance = Some(function.noise * function.noise);
        search.tell(proposal.number, Told::Score { value, variance })?;
        if value < best.0 {
            best = (value, truth);
        }
        if let Some(look) = LOOKS.iter().position(|look| *look == proposal.number + 1) {
            found.regrets[look] = best.1;
        }
    }
    Ok(found)
}

/// Processor milliseconds of an ask, mean and most, and of a tell, in a search of a thousand trials.
pub fn timed(method: Method) -> Result<[f64; 4]> {
    let function = &FUNCTIONS[1];
    let mut search = search(function, method, 0, 1_000)?;
    let (mut asks, mut tells) = (Vec::new(), Vec::new());
    loop {
        let begun = cpu_s();
        let Asked::Next(proposal) = search.ask() else { break };
        asks.push((cpu_s() - begun) * 1e3);
        let x: Vec<f64> = proposal.config.values.iter().filter_map(|(_, v)| v.number()).collect();
        let told = Told::Score { value: (function.at)(&x), variance: Some(0.0025) };
        let begun = cpu_s();
        search.tell(proposal.number, told)?;
        tells.push((cpu_s() - begun) * 1e3);
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

pub const FUNCTIONS: [Function; 3] = [
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
