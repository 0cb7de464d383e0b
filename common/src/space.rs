//! Where configs are drawn from, and what one config is.
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
