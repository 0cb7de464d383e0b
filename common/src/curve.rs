//! Learning curves: what a training said of itself while it ran, thinned to a few points.
//!
//! A curve belongs to an outcome and to nothing else: no verdict, no digest and no choice of weights
//! rests on it. However long a training was, its curve has at most [`POINTS_MAX`] points, the first
//! and the last of it among them, and is the same whenever the same values were said.
//!
//! Floor: common.

use serde::{Deserialize, Serialize};

/// Values by epoch, or by a program's step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Claimed")]
pub struct Curve {
    pub of: Quantity,
    /// Ascending, from 1; a program's steps may begin at 0. From 2 to [`POINTS_MAX`] of them.
    at: Vec<u32>,
    /// One a point, finite.
    values: Vec<f32>,
    /// The same by the validation rows; empty where none were held out.
    held_out: Vec<f32>,
}

/// What the values of a curve are.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Quantity {
    /// The loss that the training lowers, its mean over the rows met in the epoch.
    Loss,
    /// What a program calls so.
    Named(String),
}

/// One point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub at: u32,
    pub value: f32,
    /// By the validation rows.
    pub held_out: Option<f32>,
}

impl Curve {
    pub fn points(&self) -> impl Iterator<Item = Point> + '_ {
        self.at.iter().enumerate().map(|(place, &at)| Point {
            at,
            value: self.values[place],
            held_out: self.held_out.get(place).copied(),
        })
    }
}

/// Gathers a curve while a training runs, in memory that does not grow with its length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Gathered")]
pub struct Trace {
    /// Those whose number is a multiple of `2^halved`.
    kept: Vec<Point>,
    halved: u32,
    /// The newest point, kept or not.
    last: Option<Point>,
    pushed: u64,
}

impl Trace {
    /// The next point. What does not come after the last one, or is not finite, is no point of it.
    pub fn push(&mut self, at: u32, value: f64, held_out: Option<f64>) {
        let point = Point { at, value: value as f32, held_out: held_out.map(|value| value as f32) };
        let finite = point.value.is_finite() && point.held_out.is_none_or(f32::is_finite);
        if !finite || self.last.is_some_and(|last| last.at >= at) {
            return;
        }
        if self.pushed.is_multiple_of(1 << self.halved) {
            self.kept.push(point);
        }
        if self.kept.len() > KEPT_MAX {
            let mut place = 0;
            self.kept.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.halved += 1;
        }
        self.pushed += 1;
        self.last = Some(point);
    }

    /// The curve of what was pushed; `None` of fewer than two points.
    pub fn curve(&self, of: Quantity) -> Option<Curve> {
        let mut all = self.kept.clone();
        let last = self.last?;
        if all.last().is_some_and(|kept| kept.at < last.at) {
            all.push(last);
        }
        let (points, end) = (all.len().min(POINTS_MAX), all.len() - 1);
        if points < 2 {
            return None;
        }
        // Even steps through the places, rounded to the nearest; distinct since there are enough.
        let place = |step: usize| (2 * step * end + points - 1) / (2 * (points - 1));
        let chosen: Vec<Point> = (0..points).map(|step| all[place(step)]).collect();
        let held_out: Option<Vec<f32>> = chosen.iter().map(|point| point.held_out).collect();
        Some(Curve {
            of,
            at: chosen.iter().map(|point| point.at).collect(),
            values: chosen.iter().map(|point| point.value).collect(),
            held_out: held_out.unwrap_or_default(),
        })
    }
}

/// A [`Trace`] as somebody says it is.
#[derive(Deserialize)]
struct Gathered {
    kept: Vec<Point>,
    halved: u32,
    last: Option<Point>,
    pushed: u64,
}

impl TryFrom<Gathered> for Trace {
    type Error = &'static str;

    fn try_from(gathered: Gathered) -> Result<Self, Self::Error> {
        let Gathered { kept, halved, last, pushed } = gathered;
        if halved >= u64::BITS || kept.len() > KEPT_MAX || (kept.len() as u64) > pushed {
            return Err("a trace holds a thinned part of what was pushed");
        }
        let all = || kept.iter().chain(&last);
        if !kept.is_sorted_by(|a, b| a.at < b.at)
            || kept.last().map(|point| point.at) > last.map(|point| point.at)
        {
            return Err("the points of a trace ascend");
        }
        let finite =
            |point: &Point| point.value.is_finite() && point.held_out.is_none_or(f32::is_finite);
        if !all().all(finite) {
            return Err("the values of a trace are finite");
        }
        Ok(Self { kept, halved, last, pushed })
    }
}

/// A [`Curve`] as somebody says it is.
#[derive(Deserialize)]
struct Claimed {
    of: Quantity,
    at: Vec<u32>,
    values: Vec<f32>,
    held_out: Vec<f32>,
}

impl TryFrom<Claimed> for Curve {
    type Error = &'static str;

    fn try_from(claimed: Claimed) -> Result<Self, Self::Error> {
        let Claimed { of, at, values, held_out } = claimed;
        if !(2..=POINTS_MAX).contains(&at.len()) {
            return Err("a curve has from 2 to 32 points");
        }
        let beside = held_out.is_empty() || held_out.len() == at.len();
        if values.len() != at.len() || !beside {
            return Err("a curve has one value a point");
        }
        if !at.is_sorted_by(|a, b| a < b) {
            return Err("the points of a curve ascend");
        }
        if !values.iter().chain(&held_out).all(|value| value.is_finite()) {
            return Err("the values of a curve are finite");
        }
        if matches!(&of, Quantity::Named(name) if !is_well_named(name)) {
            return Err("what a curve shows has a short name");
        }
        Ok(Self { of, at, values, held_out })
    }
}

/// Whether a program's name for a value may be that of a curve.
pub fn is_well_named(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Points of a curve.
pub const POINTS_MAX: usize = 32;

const NAME_BYTES_MAX: usize = 64;

/// Points that are held while a training runs; more than a curve has, so that its last point is no
/// further from the one before than others are.
const KEPT_MAX: usize = 8 * POINTS_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::{decode, encode};

    fn traced(points: u32) -> Option<Curve> {
        let mut trace = Trace::default();
        (1..=points).for_each(|at| trace.push(at, 1.0 / f64::from(at), Some(f64::from(at))));
        trace.curve(Quantity::Loss)
    }

    #[test]
    fn a_curve_is_thinned_evenly_and_keeps_its_ends() {
        assert_eq!((traced(0), traced(1)), (None, None));
        for points in [2, 3, 31, 32, 33, 60, 256, 257, 1_000, 100_003] {
            let curve = traced(points).expect("enough");
            let at: Vec<u32> = curve.points().map(|point| point.at).collect();
            assert_eq!(at.len(), (points as usize).min(POINTS_MAX));
            assert_eq!((at[0], at[at.len() - 1]), (1, points));
            let gaps: Vec<u32> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
            // Even but for the rounding of both ends: of one place, or of the stretch that was thinned
            // on the way.
            let stretch = 1 + points / 64;
            assert!(most - least <= stretch, "{points}: {gaps:?}");
            assert!(curve.points().all(|point| {
                point.value == 1.0 / point.at as f32 && point.held_out == Some(point.at as f32)
            }));
        }
    }

    #[test]
    fn what_goes_back_or_is_no_number_is_no_point() {
        let mut trace = Trace::default();
        for (at, value) in [(3, 1.0), (3, 9.0), (2, 9.0), (4, f64::NAN), (5, 1e300), (6, 2.0)] {
            trace.push(at, value, None);
        }
        let curve = trace.curve(Quantity::Named("auroc".into())).expect("two");
        let said: Vec<(u32, f32)> = curve.points().map(|point| (point.at, point.value)).collect();
        assert_eq!(said, [(3, 1.0), (6, 2.0)]);
        assert_eq!(curve.points().next().unwrap().held_out, None);
    }

    #[test]
    fn a_trace_that_was_written_down_goes_on_as_it_would_have() {
        for (before, all) in [(0, 9), (1, 40), (256, 600), (257, 700), (1_000, 1_001)] {
            let push = |trace: &mut Trace, range: std::ops::RangeInclusive<u32>| {
                range.for_each(|at| trace.push(at, f64::from(at), None));
            };
            let mut trace = Trace::default();
            push(&mut trace, 1..=before);
            let mut read: Trace = decode(&encode(&trace).unwrap()).unwrap();
            assert_eq!(read, trace);
            push(&mut trace, before + 1..=all);
            push(&mut read, before + 1..=all);
            assert_eq!(read.curve(Quantity::Loss), trace.curve(Quantity::Loss));
        }
        let mut good = Trace::default();
        (1..=300).for_each(|at| good.push(at, 1.0, None));
        let bad = [
            Trace { halved: 64, ..good.clone() },
            Trace { pushed: 3, ..good.clone() },
            Trace { last: None, ..good.clone() },
            Trace { kept: vec![good.kept[0]; 2], ..good.clone() },
            Trace {
                kept: (0..257).map(|at| Point { at, ..good.kept[0] }).collect(),
                ..good.clone()
            },
            Trace { last: Some(Point { at: 400, value: f32::NAN, held_out: None }), ..good },
        ];
        for trace in bad {
            assert!(decode::<Trace>(&encode(&trace).unwrap()).is_err(), "{trace:?}");
        }
    }

    #[test]
    fn a_curve_that_is_none_is_refused() {
        let good = traced(32).expect("a curve");
        assert_eq!(decode::<Curve>(&encode(&good).unwrap()).unwrap(), good);
        let named = |name: &str| Curve { of: Quantity::Named(name.into()), ..good.clone() };
        assert!(decode::<Curve>(&encode(&named("val_loss")).unwrap()).is_ok());
        let cut = |points: usize| Curve {
            of: Quantity::Loss,
            at: good.at[..points].to_vec(),
            values: good.values[..points].to_vec(),
            held_out: Vec::new(),
        };
        let longer = Curve {
            at: (0..33).collect(),
            values: vec![0.0; 33],
            held_out: Vec::new(),
            of: Quantity::Loss,
        };
        let mut endless = cut(3);
        endless.values[1] = f32::INFINITY;
        let mut back = cut(3);
        back.at[2] = back.at[1];
        let mut short = cut(3);
        short.held_out = vec![0.0; 2];
        let bad = [cut(1), longer, endless, back, short, named(""), named(&"x".repeat(65))];
        for curve in bad {
            assert!(decode::<Curve>(&encode(&curve).unwrap()).is_err(), "{curve:?}");
        }
    }
}
