//! What a search has proposed and what it was told: all that its methods may look at.
//!
//! A score is kept as a loss: smaller is better, whatever the metric's direction. A point is noted
//! once. Deliberately absent: rungs, which `ladder` keeps; a method that learns sees whole trials.
//!
//! Floor: common.

use std::collections::BTreeSet;

use super::cube::{Cube, Point};
use super::sobol::Sobol;
use crate::id::Digest;
use crate::seed::{Stream, StreamRng};

#[derive(Clone, Debug)]
pub(super) struct Book {
    pub cube: Cube,
    /// By config number, in the order proposed.
    pub points: Vec<Point>,
    pub states: Vec<State>,
    /// Numbers of the configs that were told, in the order of telling.
    pub told: Vec<usize>,
    tried: BTreeSet<Vec<Option<u64>>>,
    data: Digest,
    seed: u64,
    sobol: Sobol,
    /// The first index of Sobol's sequence that no proposal has used or passed over.
    sobol_next: u32,
    /// Some allowed point, for when chance finds none.
    witness: Point,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    Open,
    /// `variance` is the measured variance of the loss, where it was measured.
    Scored {
        loss: f64,
        variance: Option<f64>,
    },
    Failed,
}

impl State {
    pub fn loss(self) -> Option<f64> {
        match self {
            State::Scored { loss, .. } => Some(loss),
            State::Open | State::Failed => None,
        }
    }
}

impl Book {
    /// `None` where no config that the constraints allow was found among [`WITNESS_TRIES`].
    pub fn new(cube: Cube, data: Digest, seed: u64) -> Option<Self> {
        let mut rng = StreamRng::new(&data, Stream::Search, seed, SCRAMBLE);
        let sobol = Sobol::new(cube.axes(), &mut rng);
        let mut indices = (0..WITNESS_TRIES).map(|index| cube.point(&sobol.point(index)));
        let witness = indices.find(|point| cube.allows(point))?;
        Some(Self {
            cube,
            points: Vec::new(),
            states: Vec::new(),
            told: Vec::new(),
            tried: BTreeSet::new(),
            data,
            seed,
            sobol,
            sobol_next: 0,
            witness,
        })
    }

    /// Randomness of the next config: it depends on the config's number alone.
    pub fn rng(&self) -> StreamRng {
        StreamRng::new(&self.data, Stream::Search, self.seed, self.points.len() as u64)
    }

    pub fn note(&mut self, point: Point) {
        if let Some(index) = self.next_sobol() {
            self.sobol_next = index.saturating_add(1);
        }
        self.tried.insert(key(&point));
        self.points.push(point);
        self.states.push(State::Open);
    }

    pub fn tell(&mut self, number: usize, state: State) {
        self.states[number] = state;
        self.told.push(number);
    }

    /// Whether a point may be proposed: allowed, and not proposed before.
    pub fn is_fresh(&self, point: &Point) -> bool {
        !self.tried.contains(&key(point)) && self.cube.allows(point)
    }

    /// The next fresh point of Sobol's sequence; where that has none left near, a random one.
    pub fn even(&self) -> Option<Point> {
        match self.next_sobol() {
            Some(index) => Some(self.cube.point(&self.sobol.point(index))),
            None => self.random(),
        }
    }

    /// A fresh point, each of them as likely; `None` when all of a finite space were proposed.
    pub fn random(&self) -> Option<Point> {
        let mut rng = self.rng();
        for _ in 0..DRAWS_MAX {
            let point = self.cube.drawn(&mut rng);
            if self.is_fresh(&point) {
                return Some(point);
            }
        }
        let size = self.cube.space().size().filter(|size| *size <= LISTED_MAX);
        let Some(size) = size else {
            return Some(self.witness.clone()).filter(|point| self.is_fresh(point));
        };
        let first = rng.below(size);
        (0..size)
            .map(|step| self.numbered((first + step) % size))
            .find(|point| self.is_fresh(point))
    }

    /// Told scores, in the order of telling.
    pub fn losses(&self) -> impl Iterator<Item = (usize, f64)> {
        self.told.iter().filter_map(|number| Some((*number, self.states[*number].loss()?)))
    }

    /// Configs that were proposed and not told, by number.
    pub fn open(&self) -> impl Iterator<Item = usize> {
        let states = self.states.iter().enumerate();
        states.filter(|(_, state)| **state == State::Open).map(|(number, _)| number)
    }

    pub fn sobol(&self) -> &Sobol {
        &self.sobol
    }

    /// Point number `index` of a finite space, the last axis fastest; as if every axis existed.
    fn numbered(&self, index: u64) -> Point {
        let mut rest = index;
        let mut places = vec![0.0; self.cube.axes()];
        for (axis, dimension) in self.cube.dimensions.iter().enumerate().rev() {
            let cells = dimension.cells.unwrap_or(1);
            places[axis] = ((rest % cells) as f64 + 0.5) / cells as f64;
            rest /= cells;
        }
        self.cube.point(&places)
    }

    fn next_sobol(&self) -> Option<u32> {
        let last = self.sobol_next.saturating_add(DRAWS_MAX);
        let mut indices = self.sobol_next..last;
        indices.find(|index| self.is_fresh(&self.cube.point(&self.sobol.point(*index))))
    }
}

/// Equal for equal configs: a place is computed from its value in one way.
fn key(point: &Point) -> Vec<Option<u64>> {
    point.iter().map(|place| place.map(f64::to_bits)).collect()
}

/// The position of the stream that scrambles; below it are the configs' numbers.
const SCRAMBLE: u64 = 1 << 63;
/// Draws before a search for fresh points looks at every point.
const DRAWS_MAX: u32 = 2_000;
const WITNESS_TRIES: u32 = 1 << 16;
/// Finite spaces up to this size are walked when chance finds nothing new.
const LISTED_MAX: u64 = 1 << 20;
