//! Columns of a table, and the dictionary that makes their levels one over all chunks.
//!
//! A chunk may number its levels in its own way; codes here count names in the order in which rows
//! brought them, and nothing after this file depends on that order. Deliberately absent: products
//! of columns.
//!
//! Floor: common.

use std::collections::BTreeMap;

use super::fit::FitError;
use super::formula::Formula;

/// One column of the table a model is fitted to.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    Numbers(Vec<f64>),
    /// One code a row; codes index `names`. A name without rows is no level.
    Levels {
        codes: Vec<u32>,
        names: Vec<String>,
    },
}

/// Some rows of a column, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum Slice<'a> {
    Numbers(&'a [f64]),
    /// One code a row; codes index `names`, which may differ from one chunk to the next.
    Levels {
        codes: &'a [u32],
        names: &'a [String],
    },
}

impl Column {
    pub fn as_slice(&self) -> Slice<'_> {
        match self {
            Self::Numbers(values) => Slice::Numbers(values),
            Self::Levels { codes, names } => Slice::Levels { codes, names },
        }
    }
}

impl Slice<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Levels { codes, .. } => codes.len(),
        }
    }
}

/// What the rows so far have shown of a variable.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub name: String,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// The largest size seen.
    Numbers { largest: f64 },
    /// Names by code, and codes by name.
    Levels { names: Vec<String>, codes: BTreeMap<String, u32> },
}

/// The rows of a chunk, checked, with codes that hold over all chunks.
pub(super) enum Checked {
    Numbers(Vec<f64>),
    Levels(Vec<u32>),
}

impl Variable {
    /// Every variable of the formula with the kind that its column has; the response first.
    pub fn all(
        formula: &Formula,
        columns: &BTreeMap<&str, Slice<'_>>,
    ) -> Result<Vec<Self>, FitError> {
        let grouping =
            |name: &str| formula.random.iter().any(|t| t.group.iter().any(|g| g == name));
        let mut all = Vec::new();
        for name in formula.variables() {
            let variable = name.to_owned();
            let kind = match columns.get(name) {
                None => return Err(FitError::NoColumn { variable }),
                Some(Slice::Numbers(_)) if grouping(name) => {
                    return Err(FitError::NotLevels { variable });
                }
                Some(Slice::Levels { .. }) if name == formula.response() => {
                    return Err(FitError::NotNumbers { variable });
                }
                Some(Slice::Numbers(_)) => Kind::Numbers { largest: 0.0 },
                Some(Slice::Levels { .. }) => {
                    Kind::Levels { names: Vec::new(), codes: BTreeMap::new() }
                }
            };
            all.push(Self { name: variable, kind });
        }
        Ok(all)
    }

    /// This variable's column of a chunk of `rows` rows.
    ///
    /// `before` rows have come in earlier chunks. With `grow`, names not seen before become
    /// levels; without, they are refused.
    pub fn read(
        &mut self,
        columns: &BTreeMap<&str, Slice<'_>>,
        rows: usize,
        before: usize,
        grow: bool,
    ) -> Result<Checked, FitError> {
        let variable = || self.name.clone();
        let Some(column) = columns.get(self.name.as_str()) else {
            return Err(FitError::NoColumn { variable: variable() });
        };
        if column.len() != rows {
            let length = column.len();
            return Err(FitError::UnequalLengths { variable: variable(), length, rows });
        }
        match (&mut self.kind, column) {
            (Kind::Numbers { largest }, Slice::Numbers(values)) => {
                for (row, value) in values.iter().enumerate() {
                    if !value.is_finite() {
                        return Err(FitError::NotFinite {
                            variable: variable(),
                            row: before + row,
                        });
                    }
                    *largest = largest.max(value.abs());
                }
                Ok(Checked::Numbers(values.to_vec()))
            }
            (Kind::Levels { names: known, codes: by_name }, Slice::Levels { codes, names }) => {
                let mut own: Vec<Option<u32>> = vec![None; names.len()];
                let mut translated = Vec::with_capacity(codes.len());
                for (row, &code) in codes.iter().enumerate() {
                    let row = before + row;
                    let Some(own) = own.get_mut(code as usize) else {
                        return Err(FitError::NoSuchLevel { variable: variable(), row, code });
                    };
                    if own.is_none() {
                        let name = &names[code as usize];
                        *own = by_name.get(name).copied();
                        if own.is_none() && !grow {
                            let (variable, level) = (self.name.clone(), name.clone());
                            return Err(FitError::NewLevel { variable, level });
                        }
                    }
                    translated.push(*own.get_or_insert_with(|| {
                        let new = known.len() as u32;
                        known.push(names[code as usize].clone());
                        by_name.insert(names[code as usize].clone(), new);
                        new
                    }));
                }
                Ok(Checked::Levels(translated))
            }
            (Kind::Numbers { .. }, _) => Err(FitError::NotNumbers { variable: variable() }),
            (Kind::Levels { .. }, _) => Err(FitError::NotLevels { variable: variable() }),
        }
    }
}
