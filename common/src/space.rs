//! Where configs are drawn from, and what one config is.
//!
//! A space is the product of its axes; its size is known before a point of it exists, so a space
//! too large is refused without being listed. Deliberately absent: which hyperparameters there are
//! (`study::grammar` knows).
//!
//! Floor: common.

use std::fmt;

use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, PartialEq)]
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
}

impl Axis {
    /// Number of values.
    pub fn size(&self) -> u64 {
        match self {
            Axis::List(values) => values.len() as u64,
            Axis::Log { points, .. } | Axis::Linear { points, .. } => u64::from(*points),
            Axis::Int { low, high, step } => {
                (high.abs_diff(*low) / step.unsigned_abs()).saturating_add(1)
            }
        }
    }

    /// The values in order.
    ///
    /// Drawn points are rounded to twelve significant digits: they read as a person would write
    /// them (0.001, not 0.0010000000000000002), and no two machines' logarithms can differ.
    pub fn values(&self) -> Vec<Value> {
        let spaced = |points: u32, low: f64, high: f64, at: &dyn Fn(f64) -> f64| {
            let point = |index: u32| match index {
                0 => low,
                _ if index + 1 == points => high,
                _ => rounded(at(f64::from(index) / f64::from(points - 1))),
            };
            (0..points).map(|index| Value::Float(point(index))).collect()
        };
        match *self {
            Axis::List(ref values) => values.clone(),
            Axis::Log { low, high, points } => {
                let (from, to) = (low.log10(), high.log10());
                spaced(points, low, high, &|part| 10f64.powf(from + part * (to - from)))
            }
            Axis::Linear { low, high, points } => {
                spaced(points, low, high, &|part| low + part * (high - low))
            }
            Axis::Int { low, step, .. } => {
                (0..self.size()).map(|index| Value::Int(low + index as i64 * step)).collect()
            }
        }
    }
}

/// The product of some axes, by hyperparameter in the file's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Space {
    pub axes: Vec<(String, Axis)>,
}

impl Space {
    /// Number of configs: 1 for a space without axes, `None` when 64 bits do not hold it.
    pub fn size(&self) -> Option<u64> {
        self.axes.iter().try_fold(1u64, |product, (_, axis)| product.checked_mul(axis.size()))
    }

    /// Every config, the last axis fastest.
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
                .iter()
                .flat_map(|config| values.iter().map(move |value| longer(config, value)))
                .collect();
        }
        configs
    }
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
        assert_eq!(axis.size(), u64::MAX);
        let space = Space { axes: vec![("a".into(), axis.clone()), ("b".into(), axis)] };
        assert_eq!(space.size(), None);
    }

    #[test]
    fn configs_are_the_product_with_the_last_axis_fastest() {
        let axis = |values: [i64; 2]| Axis::List(values.map(Value::Int).to_vec());
        let space = Space { axes: vec![("a".into(), axis([1, 2])), ("b".into(), axis([3, 4]))] };
        let configs: Vec<String> = space.configs().iter().map(Config::to_string).collect();
        assert_eq!(configs, ["a=1 b=3", "a=1 b=4", "a=2 b=3", "a=2 b=4"]);
        assert_eq!(Space::default().configs(), [Config::default()]);
    }
}
