//! A space as the unit cube: one coordinate an axis, each value a place in [0, 1].
//!
//! A finite axis is cut into equal cells, and a value lies in the middle of its own. A point and its
//! config say the same: what is read from a config is what a replay of the log reads. Deliberately
//! absent: which points are good.
//!
//! Floor: common.

use crate::seed::StreamRng;
use crate::space::{Config, Space};

/// A place in [0, 1] for each axis of the space; `None` for an axis that does not exist there.
pub(super) type Point = Vec<Option<f64>>;

#[derive(Clone, Debug)]
pub(super) struct Cube {
    space: Space,
    pub dimensions: Vec<Dimension>,
    gates: Vec<Gate>,
    /// The numbers of the axes that each constraint names.
    bound: Vec<Vec<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dimension {
    /// `None` for a range without points.
    pub cells: Option<u64>,
    /// Whether near places are alike.
    pub ordered: bool,
}

/// Axis number `axis` exists only where axis number `on` is in one of these cells.
#[derive(Clone, Debug)]
struct Gate {
    axis: usize,
    on: usize,
    cells: Vec<u64>,
}

impl Dimension {
    /// The cell that a place lies in; 0 on a range without points.
    pub fn cell(&self, place: f64) -> u64 {
        self.cells.map_or(0, |cells| ((place * cells as f64) as u64).min(cells - 1))
    }

    /// The middle of the cell that a place lies in; the place itself on a range without points.
    pub fn snapped(&self, place: f64) -> f64 {
        match self.cells {
            Some(cells) => (self.cell(place) as f64 + 0.5) / cells as f64,
            None => place,
        }
    }
}

impl Cube {
    /// The cube of a space that [`Space::check`] accepts.
    pub fn new(space: Space) -> Self {
        let number = |name: &str| {
            let found = space.axes.iter().position(|(known, _)| known == name);
            found.unwrap_or_else(|| unreachable!("a checked space names its own axes"))
        };
        let dimension = |axis: &crate::space::Axis| Dimension {
            cells: axis.size(),
            ordered: axis.is_ordered(),
        };
        let dimensions: Vec<Dimension> =
            space.axes.iter().map(|(_, axis)| dimension(axis)).collect();
        let gates = space.conditions.iter().map(|condition| {
            let on = number(&condition.on);
            let place = |value| space.axes[on].1.place(value).map(|at| dimensions[on].cell(at));
            let cells = condition.values.iter().filter_map(place).collect();
            Gate { axis: number(&condition.axis), on, cells }
        });
        let gates = gates.collect();
        let bound = space.constraints.iter();
        let bound = bound.map(|one| one.axes.iter().map(|name| number(name)).collect()).collect();
        Self { space, dimensions, gates, bound }
    }

    pub fn axes(&self) -> usize {
        self.dimensions.len()
    }

    /// Whether each axis exists in every config.
    pub fn is_unconditional(&self) -> bool {
        self.gates.is_empty()
    }

    pub fn name(&self, axis: usize) -> &str {
        &self.space.axes[axis].0
    }

    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The point at these places, [axes]: without the axes that do not exist there, and each finite
    /// axis in the middle of its cell.
    pub fn point(&self, places: &[f64]) -> Point {
        let mut point: Point = Vec::with_capacity(places.len());
        for (axis, place) in places.iter().enumerate() {
            let dimension = &self.dimensions[axis];
            let exists = self.gates.iter().filter(|gate| gate.axis == axis).all(|gate| {
                let on = point.get(gate.on).copied().flatten();
                on.is_some_and(|on| gate.cells.contains(&self.dimensions[gate.on].cell(on)))
            });
            point.push(exists.then(|| dimension.snapped(*place)));
        }
        point
    }

    /// Whether every constraint holds.
    pub fn allows(&self, point: &Point) -> bool {
        self.space.constraints.iter().zip(&self.bound).all(|(constraint, axes)| {
            let number = |axis: &usize| {
                point[*axis].and_then(|place| self.space.axes[*axis].1.along(place).number())
            };
            let numbers: Option<Vec<f64>> = axes.iter().map(number).collect();
            numbers.is_none_or(|numbers| constraint.holds(numbers.into_iter()))
        })
    }

    pub fn config(&self, point: &Point) -> Config {
        let axes = self.space.axes.iter().zip(point);
        let values = axes.filter_map(|((name, axis), place)| {
            place.map(|place| (name.clone(), axis.along(place)))
        });
        Config { values: values.collect() }
    }

    /// The point of a config; `None` when the space does not contain it.
    pub fn place(&self, config: &Config) -> Option<Point> {
        let place = |(name, axis): &(String, crate::space::Axis)| match config.value(name) {
            Some(value) => axis.place(value).map(Some),
            None => Some(None),
        };
        self.space.contains(config).then_some(())?;
        self.space.axes.iter().map(place).collect()
    }

    /// A point drawn evenly over the cube, whether allowed or not.
    pub fn drawn(&self, rng: &mut StreamRng) -> Point {
        let places: Vec<f64> = (0..self.axes()).map(|_| rng.unit_f64()).collect();
        self.point(&places)
    }
}
