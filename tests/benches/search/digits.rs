//! A fourth function, which is what searches are for: the error of a network by how it is trained.
//!
//! A multilayer perceptron 64-32-10 learns a fourth of the 1,797 digits for ten epochs by stochastic
//! gradient descent; the score is the share of the others that it gets wrong, with weights, orders and
//! dropout of a seed that no other trial has. Axes: rate, weight decay, momentum and dropout. Both
//! sides' configs are trained here, those of all seeds in one cohort a round. Seed and trial number
//! give a trial's seed, so that both sides have the same luck. A config's worth is the mean error over
//! [`FRESH`] seeds that no search has seen, the same for all configs; what a diverged training gives is
//! what guessing gives. Deliberately absent: the variance of a score, which neither side is told.
//!
//! Floor: wiring.

use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::process::{Child, ChildStdin, ChildStdout};

use agent::trainer::{Lane, Machine, StreamSeeds, train_lanes};
use anyhow::{Context, Result, anyhow, bail};
use common::id::Digest;
use common::metric::Metric;
use common::plan::{Asked, Method, Search, Terms, Told};
use common::seed::{Stream, StreamRng, mix};
use common::space::{Axis, Space};
use common::study::{Hyper, Model, Optimizer, check};
use common::table::Dataset;
use common::trial::{Ending, FailReason};

use crate::{Found, LOOKS, Times, cpu_s, peers};

pub const NAME: &str = "digits";

/// The rows, and which of them train.
pub struct Digits {
    dataset: Dataset,
    train_rows: Vec<u32>,
    test_rows: Vec<u32>,
}

/// Rate, weight decay, momentum, dropout.
type Config = [f64; 4];

/// Studies that go on together, one a seed.
trait Studies {
    /// A config of each study.
    fn ask(&mut self) -> Result<Vec<Config>>;
    /// The error of each; `None` where it diverged.
    fn tell(&mut self, errors: &[Option<f64>]) -> Result<()>;
    fn ended(self) -> Result<Times>;
}

impl Digits {
    pub fn new() -> Result<Self> {
        let study = include_str!("../../../coordinator/demo/digits/study.toml");
        let npz = include_bytes!("../../../coordinator/demo/digits/digits.npz");
        let checked = check(study, &mut |_| Ok(npz.to_vec())).map_err(|errors| anyhow!("{errors}"));
        let dataset = checked?.dataset;
        let mut order: Vec<u32> = (0..dataset.rows() as u32).collect();
        StreamRng::new(&dataset.digest, Stream::Split, 0, 0).shuffle(&mut order);
        let (train, test) = order.split_at_mut(dataset.rows() / 4);
        train.sort_unstable();
        test.sort_unstable();
        Ok(Self { train_rows: train.to_vec(), test_rows: test.to_vec(), dataset })
    }

    /// The worth, [`LOOKS`] each, of what our searches have chosen; not yet regrets.
    pub fn ours(&self, method: Method, seeds: Range<u64>) -> Result<Vec<Found>> {
        self.chosen(Ours::new(method, seeds.clone())?, seeds)
    }

    pub fn peers(&self, python: &str, name: &str, seeds: Range<u64>) -> Result<Vec<Found>> {
        self.chosen(Peers::start(python, name, &seeds)?, seeds)
    }

    fn chosen(&self, mut studies: impl Studies, seeds: Range<u64>) -> Result<Vec<Found>> {
        let mut best: Vec<(f64, Option<Config>)> = seeds.clone().map(|_| (1.0, None)).collect();
        let mut chosen: Vec<Config> = Vec::new();
        for number in 0..LOOKS[2] {
            let configs = studies.ask()?;
            let each = configs.iter().zip(seeds.clone());
            let seed = |seed: u64| mix(seed << 32 | u64::from(number));
            let lanes: Vec<Lane> = each.map(|(config, of)| self.lane(config, seed(of))).collect();
            let errors = self.errors(&lanes)?;
            studies.tell(&errors)?;
            for ((best, config), error) in best.iter_mut().zip(configs).zip(errors) {
                if let Some(error) = error.filter(|error| *error < best.0) {
                    *best = (error, Some(config));
                }
            }
            if LOOKS.contains(&(number + 1)) {
                let configs = best.iter().map(|(_, config)| *config);
                let configs: Option<Vec<Config>> = configs.collect();
                chosen.extend(configs.context("every training of a search has diverged")?);
            }
        }
        let asks = studies.ended()?;
        let (worths, studies) = (self.worths(&chosen)?, best.len());
        let regrets = |study: usize| [0, 1, 2].map(|look| worths[look * studies + study]);
        Ok((0..studies).map(|study| Found { regrets: regrets(study), asks }).collect())
    }

    /// The mean error of each config over fresh seeds.
    fn worths(&self, configs: &[Config]) -> Result<Vec<f64>> {
        let fresh = |config| (0..FRESH).map(move |seed| self.lane(config, mix(u64::MAX - seed)));
        let lanes: Vec<Lane> = configs.iter().flat_map(fresh).collect();
        let errors = self.errors(&lanes)?;
        let mean = |errors: &[Option<f64>]| {
            errors.iter().map(|error| error.unwrap_or(GUESSED)).sum::<f64>() / FRESH as f64
        };
        Ok(errors.chunks(FRESH as usize).map(mean).collect())
    }

    fn lane(&self, config: &Config, seed: u64) -> Lane {
        let [lr, weight_decay, momentum, dropout] = *config;
        let hyper = Hyper {
            epochs: EPOCHS,
            optimizer: Optimizer::Sgd,
            hidden: vec![32],
            lr,
            weight_decay,
            momentum,
            dropout,
            ..Hyper::default()
        };
        Lane {
            model: Model::Mlp,
            hyper,
            seeds: StreamSeeds { init: seed, order: seed, noise: seed },
            train_rows: self.train_rows.clone(),
            validation_rows: Vec::new(),
            test_rows: self.test_rows.clone(),
            labels: None,
            chooses: false,
        }
    }

    /// The share of test rows that each lane gets wrong; `None` where it diverged.
    fn errors(&self, lanes: &[Lane]) -> Result<Vec<Option<f64>>> {
        let (machine, metrics) = (Machine::default(), [Metric::Accuracy]);
        let endings = train_lanes(&self.dataset, lanes, &metrics, false, &machine, &|| false);
        let each = endings.context("nothing stops a training here")?.into_iter();
        let error = |ending| match ending {
            Ending::Complete(outcome) => Ok(Some(1.0 - outcome.metrics[0])),
            Ending::Failed { reason: FailReason::Diverged, .. } => Ok(None),
            Ending::Failed { detail, .. } => bail!("a training failed: {detail}"),
        };
        each.map(error).collect()
    }
}

struct Ours {
    searches: Vec<Search>,
    /// Of each search the proposal that is open.
    open: Vec<u32>,
    asks: Times,
}

impl Ours {
    fn new(method: Method, seeds: Range<u64>) -> Result<Self> {
        let log = |low, high| Axis::LogRange { low, high };
        let linear = |low, high| Axis::LinearRange { low, high };
        let axes = [
            ("lr", log(1e-4, 1.0)),
            ("weight_decay", log(1e-6, 1e-1)),
            ("momentum", linear(0.0, 0.99)),
            ("dropout", linear(0.0, 0.6)),
        ];
        let axes = axes.map(|(name, axis)| (name.to_string(), axis)).to_vec();
        let space = Space { axes, ..Space::default() };
        let (budget, data) = (LOOKS[2], Digest::of(b"search"));
        let terms = |seed| Terms { budget, larger_is_better: false, data, seed };
        let searches = seeds.map(|seed| Search::new(space.clone(), method, terms(seed)));
        let searches = searches.collect::<Result<_, _>>()?;
        Ok(Self { searches, open: Vec::new(), asks: Times::default() })
    }
}

impl Studies for Ours {
    fn ask(&mut self) -> Result<Vec<Config>> {
        self.open.clear();
        let mut configs = Vec::with_capacity(self.searches.len());
        for search in &mut self.searches {
            let begun = cpu_s();
            let Asked::Next(proposal) = search.ask() else { bail!("the search ended early") };
            self.asks.note(cpu_s() - begun);
            let numbers = proposal.config.values.iter().filter_map(|(_, value)| value.number());
            let config: Vec<f64> = numbers.collect();
            configs.push(config.as_slice().try_into().context("four axes")?);
            self.open.push(proposal.number);
        }
        Ok(configs)
    }

    fn tell(&mut self, errors: &[Option<f64>]) -> Result<()> {
        for ((search, number), error) in self.searches.iter_mut().zip(&self.open).zip(errors) {
            let score = |value| Told::Score { value, variance: None };
            search.tell(*number, error.map_or(Told::Failed, score))?;
        }
        Ok(())
    }

    fn ended(self) -> Result<Times> {
        Ok(self.asks)
    }
}

/// A process that says a line of configs and is answered with a line of errors.
struct Peers {
    process: Child,
    errors: ChildStdin,
    configs: BufReader<ChildStdout>,
}

impl Peers {
    fn start(python: &str, name: &str, seeds: &Range<u64>) -> Result<Self> {
        let mut process = peers::start(python, name, NAME, seeds)?;
        let errors = process.stdin.take().context("asked for a pipe")?;
        let configs = BufReader::new(process.stdout.take().context("asked for a pipe")?);
        Ok(Self { process, errors, configs })
    }

    fn numbers(&mut self) -> Result<Vec<f64>> {
        let mut line = String::new();
        if self.configs.read_line(&mut line)? == 0 {
            bail!("the peers ended; their error is above");
        }
        peers::numbers(&line)
    }
}

impl Studies for Peers {
    fn ask(&mut self) -> Result<Vec<Config>> {
        let numbers = self.numbers()?;
        numbers.chunks(4).map(|config| config.try_into().context("four axes")).collect()
    }

    fn tell(&mut self, errors: &[Option<f64>]) -> Result<()> {
        let words = errors.iter().map(|error| error.map_or("failed".into(), |e| e.to_string()));
        writeln!(self.errors, "{}", words.collect::<Vec<String>>().join(" "))?;
        Ok(self.errors.flush()?)
    }

    fn ended(mut self) -> Result<Times> {
        let times = self.numbers()?;
        self.process.wait()?;
        Times::said(&times)
    }
}

const EPOCHS: u32 = 10;
/// Seeds that the worth of a config is the mean over.
const FRESH: u64 = 5;
/// The error of guessing one of ten.
const GUESSED: f64 = 0.9;
