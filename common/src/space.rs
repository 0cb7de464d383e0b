//! Where configs are drawn from, and what one config is.
//!
//! A space is the product of its axes, less what its conditions and constraints take away. The size
//! of the product is known before a point of it exists, so a space too large is refused without
//! being listed. Deliberately absent: which hyperparameters there are (`study::grammar` knows), and
//! which points are tried (`plan` decides).
//!
//! Floor: common.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One hyperparameter's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Layer widths.
    Ints(Vec<i64>),
}

impl Value {
    /// What constraints compare; `None` for words, lists and truths.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            Value::Bool(_) | Value::Text(_) | Value::Ints(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value}"),
            Value::Text(value) => f.write_str(value),
            Value::Ints(values) => {
                let words: Vec<String> = values.iter().map(i64::to_string).collect();
                write!(f, "[{}]", words.join(", "))
            }
        }
    }
}

/// One point of an arm's hyperparameters: what its space varies, by name in the file's order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    pub values: Vec<(String, Value)>,
}

impl Config {
    /// The value of a hyperparameter; `None` where the config has none of that name.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl fmt::Display for Config {
    /// `lr=0.01 dropout=0.3`; `-` where the arm varies nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.values.is_empty() {
            return f.write_str("-");
        }
        let words: Vec<String> =
            self.values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&words.join(" "))
    }
}

/// The values one hyperparameter takes, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Axis {
    List(Vec<Value>),
    /// Evenly spaced logarithms, both ends included: 0 < low < high, points ≥ 2.
    Log {
        low: f64,
        high: f64,
        points: u32,
    },
    /// Evenly spaced, both ends included: low < high, points ≥ 2.
    Linear {
        low: f64,
        high: f64,
        points: u32,
    },
    /// `low`, `low + step`, … up to and with `high`: low ≤ high, step ≥ 1.
    Int {
        low: i64,
        high: i64,
        step: i64,
    },
    /// Every number between, drawn evenly by its logarithm: 0 < low < high.
    LogRange {
        low: f64,
        high: f64,
    },
    /// Every number between, drawn evenly: low < high.
    LinearRange {
        low: f64,
        high: f64,
    },
}

impl Axis {
    /// Number of values; `None` for a range without points.
    pub fn size(&self) -> Option<u64> {
        match self {
            Axis::List(values) => Some(values.len() as u64),
            Axis::Log { points, .. } | Axis::Linear { points, .. } => Some(u64::from(*points)),
            Axis::Int { low, high, step } => {
                Some((high.abs_diff(*low) / step.unsigned_abs()).saturating_add(1))
            }
            Axis::LogRange { .. } | Axis::LinearRange { .. } => None,
        }
    }

    /// The values in order; none of a range without points, which cannot be listed.
    pub fn values(&self) -> Vec<Value> {
        (0..self.size().unwrap_or(0)).map(|index| self.nth(index)).collect()
    }

    /// The value number `index` < [`Axis::size`] of a finite axis.
    ///
    /// Drawn points are rounded to twelve significant digits: they read as a person would write
    /// them (0.001, not 0.0010000000000000002), and no two machines' logarithms can differ.
    pub fn nth(&self, index: u64) -> Value {
        match *self {
            Axis::List(ref values) => values[index as usize].clone(),
            Axis::Log { low, high, points } | Axis::Linear { low, high, points } => match index {
                0 => Value::Float(low),
                _ if index + 1 == u64::from(points) => Value::Float(high),
                _ => Value::Float(rounded(self.at(index as f64 / f64::from(points - 1)))),
            },
            Axis::Int { low, step, .. } => {
                Value::Int(low.wrapping_add((index as i64).wrapping_mul(step)))
            }
            Axis::LogRange { .. } | Axis::LinearRange { .. } => {
                unreachable!("a range without points has no numbered values")
            }
        }
    }

    /// The value at `part` in [0, 1] of the way; of a finite axis, of its equal cells the one that
    /// `part` lies in. Numbers of ranges have twelve significant digits and never leave the range.
    pub fn along(&self, part: f64) -> Value {
        match (self, self.size()) {
            (_, Some(size)) => self.nth(((part * size as f64) as u64).min(size - 1)),
            (Axis::LogRange { low, high } | Axis::LinearRange { low, high }, None) => {
                Value::Float(rounded(self.at(part)).clamp(*low, *high))
            }
            _ => unreachable!("only ranges have no size"),
        }
    }

    /// Where a value lies, as [`Axis::along`] would be told it: the middle of its cell on a finite
    /// axis. `None` for a value that the axis does not take.
    pub fn place(&self, value: &Value) -> Option<f64> {
        match (self, value) {
            (Axis::LogRange { low, high }, Value::Float(number)) => {
                let within = low <= number && number <= high;
                within.then(|| ((number / low).ln() / (high / low).ln()).clamp(0.0, 1.0))
            }
            (Axis::LinearRange { low, high }, Value::Float(number)) => {
                let within = low <= number && number <= high;
                within.then(|| ((number - low) / (high - low)).clamp(0.0, 1.0))
            }
            (Axis::Int { low, step, .. }, Value::Int(number)) if number >= low => {
                let (apart, step) = (number.abs_diff(*low), step.unsigned_abs());
                let index = apart / step;
                let size = self.size()?;
                (apart % step == 0 && index < size).then(|| (index as f64 + 0.5) / size as f64)
            }
            (Axis::LogRange { .. } | Axis::LinearRange { .. } | Axis::Int { .. }, _) => None,
            (Axis::List(_) | Axis::Log { .. } | Axis::Linear { .. }, _) => {
                let size = self.size()?;
                let index = (0..size).find(|index| self.nth(*index) == *value)?;
                Some((index as f64 + 0.5) / size as f64)
            }
        }
    }

    /// Whether neighbours on the axis are alike: every axis but a list that does not rise or fall.
    pub fn is_ordered(&self) -> bool {
        let Axis::List(values) = self else { return true };
        let numbers: Option<Vec<f64>> = values.iter().map(Value::number).collect();
        numbers.is_some_and(|numbers| {
            numbers.windows(2).all(|pair| pair[0] < pair[1])
                || numbers.windows(2).all(|pair| pair[0] > pair[1])
        })
    }

    /// Whether each value is a number, so that a constraint may name the axis.
    pub fn is_numeric(&self) -> bool {
        match self {
            Axis::List(values) => values.iter().all(|value| value.number().is_some()),
            _ => true,
        }
    }

    fn at(&self, part: f64) -> f64 {
        match *self {
            Axis::Log { low, high, .. } | Axis::LogRange { low, high } => {
                let (from, to) = (low.log10(), high.log10());
                10f64.powf(from + part * (to - from))
            }
            Axis::Linear { low, high, .. } | Axis::LinearRange { low, high } => {
                low + part * (high - low)
            }
            Axis::List(_) | Axis::Int { .. } => unreachable!("only spaced numbers are computed"),
        }
    }

    fn is_sound(&self) -> bool {
        match *self {
            Axis::List(ref values) => !values.is_empty(),
            Axis::Log { low, high, points } => 0.0 < low && rises(low, high) && points >= 2,
            Axis::Linear { low, high, points } => rises(low, high) && points >= 2,
            Axis::Int { low, high, step } => low <= high && step >= 1,
            Axis::LogRange { low, high } => 0.0 < low && rises(low, high),
            Axis::LinearRange { low, high } => rises(low, high),
        }
    }
}

/// An axis exists only where another one has one of these values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The axis that may be absent.
    pub axis: String,
    /// The axis it depends on: finite, and earlier in the space. Where that one is absent, so is this.
    pub on: String,
    pub values: Vec<Value>,
}

/// The sum or product of some numeric axes is at most a number, as in `width * layers <= 512`.
///
/// A config that lacks one of the axes is not bound by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constraint {
    pub form: Form,
    pub axes: Vec<String>,
    pub most: f64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Form {
    Sum,
    Product,
}

impl Constraint {
    /// Whether it holds for these values of its axes.
    pub fn holds(&self, numbers: impl Iterator<Item = f64>) -> bool {
        let total: f64 = match self.form {
            Form::Sum => numbers.sum(),
            Form::Product => numbers.product(),
        };
        total <= self.most
    }
}

/// The product of some axes, by hyperparameter in the file's order, less what is ruled out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Space {
    pub axes: Vec<(String, Axis)>,
    /// An axis with several exists where all of them hold.
    pub conditions: Vec<Condition>,
    pub constraints: Vec<Constraint>,
}

impl Space {
    /// Number of configs: 1 for a space without axes, `None` when 64 bits do not hold it or an axis
    /// is a range without points. Conditions and constraints leave that many at most.
    pub fn size(&self) -> Option<u64> {
        self.axes.iter().try_fold(1u64, |product, (_, axis)| product.checked_mul(axis.size()?))
    }

    /// Every config of a finite space, the last axis fastest; each once.
    pub fn configs(&self) -> Vec<Config> {
        let mut configs = vec![Config::default()];
        for (name, axis) in &self.axes {
            let values = axis.values();
            let longer = |config: &Config, value: &Value| {
                let mut values = config.values.clone();
                values.push((name.clone(), value.clone()));
                Config { values }
            };
            configs = configs
                .into_iter()
                .flat_map(|config| match self.exists(name, &config) {
                    true => values.iter().map(|value| longer(&config, value)).collect(),
                    false => vec![config],
                })
                .collect();
        }
        configs.retain(|config| self.allows(config));
        configs
    }

    /// Whether an axis exists, given the values of the axes before it.
    pub fn exists(&self, axis: &str, before: &Config) -> bool {
        let own = self.conditions.iter().filter(|condition| condition.axis == axis);
        own.into_iter().all(|condition| {
            before.value(&condition.on).is_some_and(|value| condition.values.contains(value))
        })
    }

    /// Whether every constraint holds.
    pub fn allows(&self, config: &Config) -> bool {
        self.constraints.iter().all(|constraint| {
            let value = |axis: &String| config.value(axis).and_then(Value::number);
            let numbers: Option<Vec<f64>> = constraint.axes.iter().map(value).collect();
            numbers.is_none_or(|numbers| constraint.holds(numbers.into_iter()))
        })
    }

    /// Whether the config is one of this space: the axes that exist, in order, each with a value of
    /// its own, and every constraint kept.
    pub fn contains(&self, config: &Config) -> bool {
        let mut values = config.values.iter();
        let all =
            self.axes.iter().filter(|(name, _)| self.exists(name, config)).all(|(name, axis)| {
                let next = values.next();
                next.is_some_and(|(given, value)| given == name && axis.place(value).is_some())
            });
        all && values.next().is_none() && self.allows(config)
    }

    /// Whether names, ranges, conditions and constraints make sense together.
    ///
    /// Errors: the first thing that does not. Whether any config is left is not asked.
    pub fn check(&self) -> Result<(), SpaceError> {
        for (number, (name, axis)) in self.axes.iter().enumerate() {
            if self.axes[..number].iter().any(|(other, _)| other == name) {
                return Err(SpaceError::RepeatedAxis { axis: name.clone() });
            }
            if !axis.is_sound() {
                return Err(SpaceError::EmptyAxis { axis: name.clone() });
            }
        }
        self.conditions.iter().try_for_each(|condition| self.check_condition(condition))?;
        self.constraints.iter().try_for_each(|constraint| {
            constraint.axes.iter().try_for_each(|name| {
                let (_, axis) = self.find(name)?;
                let numeric = axis.is_numeric();
                numeric.then_some(()).ok_or_else(|| SpaceError::NotNumeric { axis: name.clone() })
            })
        })
    }

    fn check_condition(&self, condition: &Condition) -> Result<(), SpaceError> {
        let Condition { axis, on, values } = condition;
        let (own, _) = self.find(axis)?;
        let (other, values_of) = self.find(on)?;
        if own <= other {
            return Err(SpaceError::Later { axis: axis.clone(), on: on.clone() });
        }
        if values_of.size().is_none() {
            return Err(SpaceError::Continuous { axis: axis.clone(), on: on.clone() });
        }
        match values.iter().find(|value| values_of.place(value).is_none()) {
            Some(value) => Err(SpaceError::NeverTaken {
                axis: axis.clone(),
                on: on.clone(),
                value: value.to_string(),
            }),
            None => Ok(()),
        }
    }

    fn find(&self, name: &str) -> Result<(usize, &Axis), SpaceError> {
        let found = self.axes.iter().enumerate().find(|(_, (known, _))| known == name);
        let found = found.map(|(number, (_, axis))| (number, axis));
        found.ok_or_else(|| SpaceError::UnknownAxis { axis: name.to_string() })
    }
}

/// Why a space makes no sense.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SpaceError {
    #[error("the axis `{axis}` is there twice; every axis needs a name of its own")]
    RepeatedAxis { axis: String },
    #[error("the axis `{axis}` has no values; its low end must lie below its high end")]
    EmptyAxis { axis: String },
    #[error("there is no axis `{axis}`; conditions and constraints name axes of the space")]
    UnknownAxis { axis: String },
    #[error("the axis `{axis}` depends on `{on}`, which must come before it")]
    Later { axis: String, on: String },
    #[error("the axis `{axis}` depends on `{on}`, a range without points; list its values instead")]
    Continuous { axis: String, on: String },
    #[error("the axis `{axis}` waits for `{on}` to be {value}, which it never is")]
    NeverTaken { axis: String, on: String, value: String },
    #[error("a constraint names the axis `{axis}`, whose values are not all numbers")]
    NotNumeric { axis: String },
}

fn rises(low: f64, high: f64) -> bool {
    low < high && low.is_finite() && high.is_finite()
}

fn rounded(number: f64) -> f64 {
    format!("{number:.11e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(axis: &Axis) -> Vec<f64> {
        let float = |value| match value {
            Value::Float(float) => float,
            other => panic!("{other} is no float"),
        };
        axis.values().into_iter().map(float).collect()
    }

    #[test]
    fn log_points_are_the_powers_of_ten_themselves() {
        let axis = Axis::Log { low: 1e-4, high: 1e-1, points: 4 };
        assert_eq!(floats(&axis), [1e-4, 1e-3, 1e-2, 1e-1]);
        let axis = Axis::Log { low: 0.003, high: 0.3, points: 3 };
        assert_eq!(floats(&axis), [0.003, 0.03, 0.3]);
    }

    #[test]
    fn linear_points_read_as_written() {
        let axis = Axis::Linear { low: 0.0, high: 0.4, points: 5 };
        assert_eq!(floats(&axis), [0.0, 0.1, 0.2, 0.3, 0.4]);
    }

    #[test]
    fn whole_ranges_include_their_end_where_a_step_meets_it() {
        let range = |high, step| Axis::Int { low: 10, high, step };
        assert_eq!(range(30, 10).values(), [10, 20, 30].map(Value::Int));
        assert_eq!(range(29, 10).values(), [10, 20].map(Value::Int));
        assert_eq!(range(10, 1).values(), [Value::Int(10)]);
    }

    #[test]
    fn huge_spaces_are_counted_unlisted() {
        let axis = Axis::Int { low: i64::MIN + 1, high: i64::MAX, step: 1 };
        assert_eq!(axis.size(), Some(u64::MAX));
        let space = product([("a", axis.clone()), ("b", axis)]);
        assert_eq!(space.size(), None);
    }

    #[test]
    fn configs_are_the_product_with_the_last_axis_fastest() {
        let axis = |values: [i64; 2]| Axis::List(values.map(Value::Int).to_vec());
        let space = product([("a", axis([1, 2])), ("b", axis([3, 4]))]);
        let configs: Vec<String> = space.configs().iter().map(Config::to_string).collect();
        assert_eq!(configs, ["a=1 b=3", "a=1 b=4", "a=2 b=3", "a=2 b=4"]);
        assert_eq!(Space::default().configs(), [Config::default()]);
    }

    #[test]
    fn a_range_gives_back_where_a_value_lies() {
        for axis in [
            Axis::LogRange { low: 1e-4, high: 0.3 },
            Axis::LinearRange { low: -1.0, high: 5.0 },
            Axis::Int { low: -3, high: 40, step: 4 },
            Axis::Log { low: 1e-4, high: 1e-1, points: 7 },
            Axis::List(vec![Value::Bool(true), Value::Text("a".into())]),
        ] {
            for part in [0.0, 0.2, 0.5, 0.77, 1.0] {
                let value = axis.along(part);
                let place = axis.place(&value).expect("its own value");
                assert_eq!(axis.along(place), value, "{axis:?} at {part}");
                assert!(axis.size().is_some() || (place - part).abs() < 1e-10);
            }
        }
        assert_eq!(Axis::LogRange { low: 1e-4, high: 0.3 }.place(&Value::Float(0.4)), None);
        assert_eq!(Axis::Int { low: 0, high: 9, step: 2 }.place(&Value::Int(3)), None);
    }

    #[test]
    fn conditions_and_constraints_thin_a_grid() {
        let words = |words: [&str; 2]| Axis::List(words.map(|w| Value::Text(w.into())).to_vec());
        let numbers = |from, to| Axis::Int { low: from, high: to, step: 1 };
        let mut space = product([
            ("optimizer", words(["sgd", "adam"])),
            ("momentum", numbers(1, 2)),
            ("layers", numbers(1, 2)),
        ]);
        space.conditions.push(Condition {
            axis: "momentum".into(),
            on: "optimizer".into(),
            values: vec![Value::Text("sgd".into())],
        });
        let axes = vec!["momentum".into(), "layers".into()];
        space.constraints.push(Constraint { form: Form::Product, axes, most: 3.0 });
        assert_eq!(space.check(), Ok(()));
        let configs = space.configs();
        let written: Vec<String> = configs.iter().map(Config::to_string).collect();
        assert_eq!(
            written,
            [
                "optimizer=sgd momentum=1 layers=1",
                "optimizer=sgd momentum=1 layers=2",
                "optimizer=sgd momentum=2 layers=1",
                "optimizer=adam layers=1",
                "optimizer=adam layers=2",
            ]
        );
        assert!(configs.iter().all(|config| space.contains(config)));
        space.constraints.clear();
        assert_eq!(space.configs().len(), 6);
    }

    #[test]
    fn a_space_that_makes_no_sense_is_refused() {
        let axis = || Axis::LinearRange { low: 0.0, high: 1.0 };
        let mut space = product([("a", axis()), ("b", axis())]);
        assert_eq!((space.check(), space.size()), (Ok(()), None));
        let on = |axis: &str, on: &str| Condition {
            axis: axis.into(),
            on: on.into(),
            values: vec![Value::Float(0.5)],
        };
        space.conditions = vec![on("a", "b")];
        assert!(matches!(space.check(), Err(SpaceError::Later { .. })));
        space.conditions = vec![on("b", "a")];
        assert!(matches!(space.check(), Err(SpaceError::Continuous { .. })));
        space.axes[0].1 = Axis::List(vec![Value::Bool(true)]);
        assert!(matches!(space.check(), Err(SpaceError::NeverTaken { .. })));
        space.conditions.clear();
        let axes = vec!["a".into()];
        space.constraints = vec![Constraint { form: Form::Sum, axes, most: 1.0 }];
        assert!(matches!(space.check(), Err(SpaceError::NotNumeric { .. })));
    }

    fn product<const N: usize>(axes: [(&str, Axis); N]) -> Space {
        let axes = axes.map(|(name, axis)| (name.to_string(), axis)).to_vec();
        Space { axes, ..Space::default() }
    }
}
