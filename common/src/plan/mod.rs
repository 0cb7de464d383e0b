//! Which config is tried next: searches of a space by asking and telling.
//!
//! A search is a function of its history alone: of what was proposed and what was told, in order.
//! So a new leader that replays the log ([`Search::record`], [`Search::tell`]) goes on as the old one
//! would have, and any number of proposals may be open at once. No config is proposed twice, but to
//! go on from its checkpoint. Deliberately absent: time and budgets in hours (drivers keep those),
//! training, and who runs a trial. Bits are equal on one kind of CPU; what another computed is
//! replayed, never computed again.
//!
//! Floor: common.

mod ascend;
mod book;
pub mod climbing;
mod cmaes;
mod cube;
mod gaussian;
mod ladder;
mod linear;
pub mod sobol;
#[cfg(test)]
mod tests;
mod tpe;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::book::{Book, State};
use self::cmaes::CmaEs;
use self::cube::{Cube, Point};
use self::gaussian::Gaussian;
use self::ladder::{Ladder, Step};
use crate::id::Digest;
use crate::space::{Config, Space, SpaceError};

/// How configs are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Method {
    /// Every config of a finite space, the last axis fastest.
    Grid,
    Random,
    /// Scrambled Sobol points.
    Sobol,
    /// Successive halving: a rung is judged when all of it is told.
    Halving(Rungs),
    /// Asynchronous halving: a config goes on as soon as it is among the best of those told.
    AsyncHalving(Rungs),
    /// Tree-structured Parzen estimators over all axes together.
    Tpe,
    /// A Gaussian process with expected improvement; measured variances are its noise.
    Gaussian,
    /// Covariance matrix adaptation; for spaces whose axes are all numeric and always there.
    CmaEs,
}

/// How long configs are trained before the best of them are trained on.
///
/// The last rung has `epochs_max`; each one before has `keep` times fewer, not below `epochs_min`;
/// one in `keep` goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Rungs {
    pub epochs_min: u32,
    pub epochs_max: u32,
    pub keep: u32,
}

/// What a search is asked to do, beside its space and method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Configs it may try. Going on to another rung is not counted.
    pub budget: u32,
    pub larger_is_better: bool,
    pub data: Digest,
    /// The seed of the `search` stream.
    pub seed: u64,
}

/// One training to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// From 0, in the order proposed.
    pub number: u32,
    /// Which config this is, from 0; a config that goes on keeps its number.
    pub config_number: u32,
    pub config: Config,
    /// For the two halvings alone.
    pub rung: Option<Rung>,
}

/// How far a config is trained.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Rung {
    /// From 0, the shortest.
    pub rung: u32,
    /// In all, those of earlier rungs included.
    pub epochs: u32,
    /// The proposal whose checkpoint is trained on; it is of the rung below.
    pub from: Option<u32>,
}

/// The answer to an ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    Next(Proposal),
    /// Nothing until an open proposal is told.
    Wait,
    /// Nothing any more, whatever is told: the budget is spent, or the space is.
    Over,
}

/// How a proposal ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Told {
    /// The score, in the metric's own direction, and the variance of its error over seeds and folds,
    /// in the score's unit squared: `None` where it was not measured.
    Score {
        value: f64,
        variance: Option<f64>,
    },
    Failed,
}

impl Method {
    /// Whether it asks for whole trainings one after another and learns from their scores.
    pub fn learns(self) -> bool {
        matches!(self, Method::Tpe | Method::Gaussian | Method::CmaEs)
    }

    /// As a study file names it; the two halvings have one name.
    pub fn name(self) -> &'static str {
        match self {
            Method::Grid => "grid",
            Method::Random => "random",
            Method::Sobol => "sobol",
            Method::Halving(_) | Method::AsyncHalving(_) => "halving",
            Method::Tpe => "tpe",
            Method::Gaussian => "gp",
            Method::CmaEs => "cmaes",
        }
    }
}

/// A search under way.
#[derive(Clone, Debug)]
pub struct Search {
    method: Method,
    terms: Terms,
    book: Book,
    engine: Engine,
    proposals: Vec<Made>,
}

/// What is kept of a proposal.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Made {
    config: u32,
    rung: Option<Rung>,
    state: State,
}

#[derive(Clone, Debug)]
enum Engine {
    Grid(Vec<Config>),
    Random,
    Sobol,
    Ladder(Ladder),
    Tpe,
    Gaussian(Box<Gaussian>),
    CmaEs(Box<CmaEs>),
}

impl Search {
    /// A search that has proposed nothing.
    ///
    /// Errors: a space that makes no sense, leaves nothing, or does not suit the method.
    pub fn new(space: Space, method: Method, terms: Terms) -> Result<Self, SearchError> {
        space.check()?;
        let axes = space.axes.len();
        if axes > sobol::AXES_MAX {
            return Err(SearchError::TooManyAxes { axes, most: sobol::AXES_MAX });
        }
        let cube = Cube::new(space);
        let engine = engine(&cube, method)?;
        let book = Book::new(cube, terms.data, terms.seed).ok_or(SearchError::NothingAllowed)?;
        Ok(Self { method, terms, book, engine, proposals: Vec::new() })
    }

    /// The next thing to train, noted as proposed.
    pub fn ask(&mut self) -> Asked {
        let (config_number, rung, point) = match self.step() {
            Ok((number, rung, Some(point))) => (number, rung, point),
            Ok((number, rung, None)) => (number, rung, self.book.points[number as usize].clone()),
            Err(nothing) => return nothing,
        };
        let number = self.proposals.len() as u32;
        let config = self.book.cube.config(&point);
        let proposal = Proposal { number, config_number, config, rung };
        let noted = self.record(&proposal);
        debug_assert_eq!(noted, Ok(()), "a search's own proposal is in its space");
        Asked::Next(proposal)
    }

    /// Notes a proposal of the log as [`Search::ask`] noted it.
    ///
    /// Errors: a number out of turn, or a config that the space does not contain.
    pub fn record(&mut self, proposal: &Proposal) -> Result<(), SearchError> {
        let Proposal { number, config_number, config, rung } = proposal;
        let wanted = self.proposals.len() as u32;
        let configs = self.book.points.len() as u32;
        if *number != wanted || *config_number > configs {
            return Err(SearchError::OutOfTurn { number: *number, wanted });
        }
        if *config_number == configs {
            let point =
                self.book.cube.place(config).ok_or(SearchError::Outside { number: wanted })?;
            self.book.note(point);
        }
        self.proposals.push(Made { config: *config_number, rung: *rung, state: State::Open });
        if let (Engine::Ladder(ladder), Some(rung)) = (&mut self.engine, rung) {
            ladder.note(*number, *config_number, rung);
        }
        Ok(())
    }

    /// Takes note of how a proposal ended.
    ///
    /// Errors: a number that was never proposed or is already told, or a score that is no number.
    pub fn tell(&mut self, number: u32, told: Told) -> Result<(), SearchError> {
        let Some(made) = self.proposals.get_mut(number as usize) else {
            return Err(SearchError::NeverProposed { number });
        };
        if made.state != State::Open {
            return Err(SearchError::ToldTwice { number });
        }
        made.state = state(told, self.terms.larger_is_better, number)?;
        let made = *made;
        match &mut self.engine {
            Engine::Ladder(ladder) => ladder.told(number, made.state.loss()),
            Engine::Gaussian(gaussian) => {
                self.book.tell(number as usize, made.state);
                gaussian.told(&self.book);
            }
            Engine::CmaEs(cmaes) => {
                self.book.tell(number as usize, made.state);
                cmaes.told(&self.book);
            }
            _ => self.book.tell(number as usize, made.state),
        }
        Ok(())
    }

    /// The told proposal with the best score as it was told, of the furthest rung reached; the first
    /// of equals. `None` before any score.
    pub fn best(&self) -> Option<(u32, f64)> {
        let rung = |made: &Made| made.rung.map_or(0, |rung| rung.rung);
        let scored = self.proposals.iter().zip(0u32..);
        let scored =
            scored.filter_map(|(made, number)| Some((rung(made), made.state.loss()?, number)));
        let order = |a: &(u32, f64, u32), b: &(u32, f64, u32)| {
            b.0.cmp(&a.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
        };
        let (_, loss, number) = scored.min_by(order)?;
        Some((number, if self.terms.larger_is_better { -loss } else { loss }))
    }

    /// All proposals of a method that learns nothing from scores, at once and in order.
    ///
    /// Errors: [`SearchError::Learns`] for the others.
    pub fn upfront(mut self) -> Result<Vec<Config>, SearchError> {
        if !matches!(self.method, Method::Grid | Method::Random | Method::Sobol) {
            return Err(SearchError::Learns);
        }
        let next = || match self.ask() {
            Asked::Next(proposal) => Some(proposal.config),
            Asked::Wait | Asked::Over => None,
        };
        Ok(std::iter::from_fn(next).collect())
    }

    /// How many configs to ask for at once where the next ones wait until all of these are told: those
    /// that it begins with, a generation, or few.
    pub fn round(&self) -> u32 {
        let first = self.proposals.is_empty();
        match &self.engine {
            Engine::Tpe if first => tpe::STARTUP as u32,
            Engine::Gaussian(_) if first => gaussian::startup(self.book.cube.axes()) as u32,
            Engine::Tpe | Engine::Gaussian(_) => ROUND,
            Engine::CmaEs(cmaes) => cmaes.generation() as u32,
            Engine::Grid(_) | Engine::Random | Engine::Sobol | Engine::Ladder(_) => {
                self.terms.budget
            }
        }
    }

    pub fn method(&self) -> Method {
        self.method
    }

    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    pub fn space(&self) -> &Space {
        self.book.cube.space()
    }

    /// Proposals that were not told, by number.
    pub fn open(&self) -> impl Iterator<Item = u32> {
        let made = self.proposals.iter().zip(0u32..);
        made.filter(|(made, _)| made.state == State::Open).map(|(_, number)| number)
    }

    /// The config and rung to train next, and its point where the config is new.
    fn step(&self) -> Result<(u32, Option<Rung>, Option<Point>), Asked> {
        let number = self.book.points.len() as u32;
        let spent = number >= self.terms.budget;
        if let Engine::Ladder(ladder) = &self.engine {
            let fresh = || if spent { None } else { self.book.even() };
            return match ladder.step(fresh) {
                Step::Draw(rung, point) => Ok((number, Some(rung), Some(point))),
                Step::GoOn(config, rung) => Ok((config, Some(rung), None)),
                Step::Wait => Err(Asked::Wait),
                Step::Over => Err(Asked::Over),
            };
        }
        let point = if spent { None } else { self.propose() };
        point.map(|point| (number, None, Some(point))).ok_or(Asked::Over)
    }

    fn propose(&self) -> Option<Point> {
        let book = &self.book;
        let chosen = match &self.engine {
            Engine::Grid(configs) => return book.cube.place(configs.get(book.points.len())?),
            Engine::Random => return book.random(),
            Engine::Sobol | Engine::Ladder(_) => return book.even(),
            Engine::Tpe => tpe::propose(book),
            Engine::Gaussian(gaussian) => gaussian.propose(book),
            Engine::CmaEs(cmaes) => cmaes.propose(book),
        };
        chosen.or_else(|| book.even())
    }
}

fn engine(cube: &Cube, method: Method) -> Result<Engine, SearchError> {
    Ok(match method {
        Method::Grid => match cube.space().size() {
            Some(size) if size <= GRID_MAX => Engine::Grid(cube.space().configs()),
            size => return Err(SearchError::NoGrid { size, most: GRID_MAX }),
        },
        Method::Random => Engine::Random,
        Method::Sobol => Engine::Sobol,
        Method::Halving(rungs) => Engine::Ladder(Ladder::new(rungs, true)?),
        Method::AsyncHalving(rungs) => Engine::Ladder(Ladder::new(rungs, false)?),
        Method::Tpe => Engine::Tpe,
        Method::Gaussian => Engine::Gaussian(Box::new(Gaussian::new(cube))),
        Method::CmaEs => {
            let odd = cube.dimensions.iter().position(|dimension| !dimension.ordered);
            if let Some(axis) = odd {
                return Err(SearchError::NotOrdered { axis: cube.name(axis).to_string() });
            }
            if !cube.is_unconditional() {
                return Err(SearchError::Conditional);
            }
            Engine::CmaEs(Box::new(CmaEs::new(cube.axes())))
        }
    })
}

fn state(told: Told, larger_is_better: bool, number: u32) -> Result<State, SearchError> {
    match told {
        Told::Failed => Ok(State::Failed),
        Told::Score { value, variance } => {
            let sound = variance.is_none_or(|variance| variance >= 0.0 && variance.is_finite());
            if !value.is_finite() || !sound {
                return Err(SearchError::NoScore { number });
            }
            let loss = if larger_is_better { -value } else { value };
            Ok(State::Scored { loss, variance })
        }
    }
}

/// Why a search is refused, or what it is given.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SearchError {
    #[error("the space makes no sense")]
    Space {
        #[from]
        source: SpaceError,
    },
    #[error("the space has {axes} axes; a search handles {most}")]
    TooManyAxes { axes: usize, most: usize },
    #[error("no config keeps every constraint; loosen one")]
    NothingAllowed,
    #[error("a grid needs {most} configs or fewer; give ranges `points`, or use another method")]
    NoGrid { size: Option<u64>, most: u64 },
    #[error("cma-es needs numbers in order, which `{axis}` has not; use tpe")]
    NotOrdered { axis: String },
    #[error("cma-es needs axes that always exist; use tpe")]
    Conditional,
    #[error("rungs from {} to {} epochs by {} are none; at least 1 epoch, and 2 for `keep`",
        .0.epochs_min, .0.epochs_max, .0.keep)]
    NoRungs(Rungs),
    #[error("this method learns from scores and cannot be drawn up front")]
    Learns,
    #[error("proposal {number} is out of turn; the next is {wanted}")]
    OutOfTurn { number: u32, wanted: u32 },
    #[error("the config of proposal {number} is not in the space")]
    Outside { number: u32 },
    #[error("proposal {number} was never made")]
    NeverProposed { number: u32 },
    #[error("proposal {number} was told before")]
    ToldTwice { number: u32 },
    #[error("the score of proposal {number} is no number; tell it as failed")]
    NoScore { number: u32 },
}

/// Asked for at once by searches that learn after each.
const ROUND: u32 = 4;
/// Configs of a grid that are listed.
const GRID_MAX: u64 = 1 << 20;
