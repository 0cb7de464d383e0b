//! The rows a model is fitted to, checked and in canonical order.
//!
//! Rows and random levels are ordered by what they hold, never by how they arrived or are called,
//! so sums over them come out with the same bits. Only where two levels hold the same responses
//! does the name decide. Deliberately absent: arithmetic on the response.
//!
//! Floor: common.

use std::cmp::Ordering;
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

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Levels { codes, .. } => codes.len(),
        }
    }
}

pub(super) struct Rows {
    /// [n], in canonical order, as every column below.
    pub response: Vec<f64>,
    pub fixed: FixedDesign,
    /// Most levels first; equal numbers in the order of the formula.
    pub factors: Vec<Factor>,
}

/// A grouping factor.
pub(super) struct Factor {
    pub name: String,
    /// Its place in the formula.
    pub place: usize,
    /// Names in canonical order.
    pub levels: Vec<String>,
    /// Ranks of the levels by name: `by_name[r]` is the level whose name comes at place r.
    pub by_name: Vec<u32>,
    /// [n], indices into `levels`.
    pub codes: Vec<u32>,
}

/// The fixed-effects matrix X [n, p], a few numbers a row.
pub(super) struct FixedDesign {
    /// lme4's names of the columns, [p].
    pub names: Vec<String>,
    /// Columns that sum to one in every row; empty without an intercept of any kind.
    pub ones: Vec<usize>,
    pub intercept: bool,
    pub covariates: Vec<Covariate>,
}

pub(super) struct Covariate {
    /// Column of its first coefficient.
    pub column: usize,
    pub values: Values,
}

pub(super) enum Values {
    Numbers(Vec<f64>),
    /// Ranks by name; `reference` is true when rank 0 has no column of its own.
    Levels {
        codes: Vec<u32>,
        reference: bool,
    },
}

impl Rows {
    pub fn read(formula: &Formula, columns: &BTreeMap<String, Column>) -> Result<Self, FitError> {
        let response = numbers(columns, formula.response())?;
        check_columns(formula, columns, response.len())?;
        let mut fixed = FixedDesign::read(formula, columns)?;
        let rows = response.len();
        if rows <= fixed.names.len() {
            return Err(FitError::TooFewRows { rows, coefficients: fixed.names.len() });
        }
        let mut by_response: Vec<usize> = (0..rows).collect();
        by_response.sort_unstable_by(|&a, &b| response[a].total_cmp(&response[b]));
        let mut factors = Vec::with_capacity(formula.random.len());
        for (place, variables) in formula.random.iter().enumerate() {
            factors.push(Factor::read(place, variables, columns, &response, &by_response)?);
        }
        factors.sort_by_key(|factor| std::cmp::Reverse(factor.levels.len()));
        check_distinct(&factors)?;

        let mut order: Vec<usize> = (0..rows).collect();
        order.sort_unstable_by(|&a, &b| {
            let by_level = factors.iter().map(|factor| factor.codes[a].cmp(&factor.codes[b]));
            by_level
                .chain(fixed.covariates.iter().map(|covariate| covariate.compare(a, b)))
                .find(|ordering| ordering.is_ne())
                .unwrap_or_else(|| response[a].total_cmp(&response[b]))
        });
        for factor in &mut factors {
            factor.codes = permuted(&factor.codes, &order);
        }
        for covariate in &mut fixed.covariates {
            match &mut covariate.values {
                Values::Numbers(values) => *values = permuted(values, &order),
                Values::Levels { codes, .. } => *codes = permuted(codes, &order),
            }
        }
        Ok(Self { response: permuted(&response, &order), fixed, factors })
    }
}

impl Factor {
    fn read(
        place: usize,
        variables: &[String],
        columns: &BTreeMap<String, Column>,
        response: &[f64],
        by_response: &[usize],
    ) -> Result<Self, FitError> {
        let name = variables.join(":");
        let (mut codes, mut levels) = levels_of(columns, &variables[0])?;
        for variable in &variables[1..] {
            let (inner, inner_levels) = levels_of(columns, variable)?;
            (codes, levels) = interaction(&codes, &levels, &inner, &inner_levels);
        }
        if levels.len() < 2 {
            return Err(FitError::OneLevel { variable: name });
        }
        if levels.len() == response.len() {
            return Err(FitError::LevelPerRow { factor: name, rows: response.len() });
        }
        let mut held: Vec<Vec<f64>> = vec![Vec::new(); levels.len()];
        for &row in by_response {
            held[codes[row] as usize].push(response[row]);
        }
        let mut order: Vec<u32> = (0..levels.len() as u32).collect();
        order.sort_by(|&a, &b| compare_all(&held[a as usize], &held[b as usize]));
        let by_name = inverse(&order);
        codes.iter_mut().for_each(|code| *code = by_name[*code as usize]);
        Ok(Self { name, place, levels: permuted_u32(&levels, &order), by_name, codes })
    }
}

impl FixedDesign {
    fn read(formula: &Formula, columns: &BTreeMap<String, Column>) -> Result<Self, FitError> {
        let intercept = formula.intercept;
        let mut design =
            Self { names: Vec::new(), ones: Vec::new(), intercept, covariates: Vec::new() };
        if intercept {
            design.names.push("(Intercept)".to_owned());
            design.ones.push(0);
        }
        for variable in &formula.fixed {
            let column = design.names.len();
            let values = match columns.get(variable) {
                Some(Column::Numbers(_)) => {
                    design.names.push(variable.clone());
                    Values::Numbers(numbers(columns, variable)?)
                }
                _ => {
                    let (codes, levels) = levels_of(columns, variable)?;
                    if levels.len() < 2 {
                        return Err(FitError::OneLevel { variable: variable.clone() });
                    }
                    let reference = !design.ones.is_empty();
                    let named = levels.iter().skip(usize::from(reference));
                    design.names.extend(named.map(|level| format!("{variable}{level}")));
                    if !reference {
                        design.ones = (column..design.names.len()).collect();
                    }
                    Values::Levels { codes, reference }
                }
            };
            design.covariates.push(Covariate { column, values });
        }
        if design.names.is_empty() {
            return Err(FitError::NothingFixed);
        }
        Ok(design)
    }
}

impl Covariate {
    fn compare(&self, a: usize, b: usize) -> Ordering {
        match &self.values {
            Values::Numbers(values) => values[a].total_cmp(&values[b]),
            Values::Levels { codes, .. } => codes[a].cmp(&codes[b]),
        }
    }
}

fn check_columns(
    formula: &Formula,
    columns: &BTreeMap<String, Column>,
    rows: usize,
) -> Result<(), FitError> {
    for variable in formula.variables() {
        let column = columns
            .get(variable)
            .ok_or_else(|| FitError::NoColumn { variable: variable.to_owned() })?;
        if column.len() != rows {
            let variable = variable.to_owned();
            return Err(FitError::UnequalLengths { variable, length: column.len(), rows });
        }
    }
    Ok(())
}

/// Two factors that group the rows alike share one variance, which cannot be divided.
fn check_distinct(factors: &[Factor]) -> Result<(), FitError> {
    for (i, a) in factors.iter().enumerate() {
        for b in &factors[i + 1..] {
            let mut partner = vec![u32::MAX; a.levels.len()];
            let alike = a.levels.len() == b.levels.len()
                && a.codes.iter().zip(&b.codes).all(|(&code, &other)| {
                    let seen = &mut partner[code as usize];
                    let new = *seen == u32::MAX;
                    if new {
                        *seen = other;
                    }
                    new || *seen == other
                });
            if alike {
                return Err(FitError::SameFactor { a: a.name.clone(), b: b.name.clone() });
            }
        }
    }
    Ok(())
}

fn numbers(columns: &BTreeMap<String, Column>, variable: &str) -> Result<Vec<f64>, FitError> {
    match columns.get(variable) {
        None => Err(FitError::NoColumn { variable: variable.to_owned() }),
        Some(Column::Levels { .. }) => Err(FitError::NotNumbers { variable: variable.to_owned() }),
        Some(Column::Numbers(values)) => {
            if let Some(row) = values.iter().position(|value| !value.is_finite()) {
                return Err(FitError::NotFinite { variable: variable.to_owned(), row });
            }
            // Adding zero turns -0 into 0, which sorts apart from it but is the same number.
            Ok(values.iter().map(|value| value + 0.0).collect())
        }
    }
}

/// Codes by sorted name, and the sorted names that have rows.
fn levels_of(
    columns: &BTreeMap<String, Column>,
    variable: &str,
) -> Result<(Vec<u32>, Vec<String>), FitError> {
    match columns.get(variable) {
        None => Err(FitError::NoColumn { variable: variable.to_owned() }),
        Some(Column::Numbers(_)) => Err(FitError::NotLevels { variable: variable.to_owned() }),
        Some(Column::Levels { codes, names }) => {
            let mut used = vec![false; names.len()];
            for (row, &code) in codes.iter().enumerate() {
                match used.get_mut(code as usize) {
                    Some(used) => *used = true,
                    None => {
                        let variable = variable.to_owned();
                        return Err(FitError::NoSuchLevel { variable, row, code });
                    }
                }
            }
            let mut ranks: BTreeMap<&str, u32> = BTreeMap::new();
            for (name, _) in names.iter().zip(&used).filter(|(_, used)| **used) {
                ranks.insert(name, 0);
            }
            for (rank, value) in ranks.values_mut().enumerate() {
                *value = rank as u32;
            }
            let rank_of: Vec<u32> =
                names.iter().map(|name| ranks.get(name.as_str()).copied().unwrap_or(0)).collect();
            let sorted = ranks.keys().map(|&name| name.to_owned()).collect();
            Ok((codes.iter().map(|&code| rank_of[code as usize]).collect(), sorted))
        }
    }
}

/// The observed pairs of two sets of levels, ordered by the first, then the second.
fn interaction(
    outer: &[u32],
    outer_levels: &[String],
    inner: &[u32],
    inner_levels: &[String],
) -> (Vec<u32>, Vec<String>) {
    let width = inner_levels.len() as u64;
    let pair = |row: usize| u64::from(outer[row]) * width + u64::from(inner[row]);
    let mut pairs: Vec<u64> = (0..outer.len()).map(pair).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let codes = (0..outer.len())
        .map(|row| pairs.binary_search(&pair(row)).unwrap_or_default() as u32)
        .collect();
    let names = pairs
        .iter()
        .map(|pair| {
            let (outer, inner) = ((pair / width) as usize, (pair % width) as usize);
            format!("{}:{}", outer_levels[outer], inner_levels[inner])
        })
        .collect();
    (codes, names)
}

fn compare_all(a: &[f64], b: &[f64]) -> Ordering {
    let pairs = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
    pairs.into_iter().find(|ordering| ordering.is_ne()).unwrap_or(a.len().cmp(&b.len()))
}

fn permuted<T: Copy>(values: &[T], order: &[usize]) -> Vec<T> {
    order.iter().map(|&index| values[index]).collect()
}

fn permuted_u32<T: Clone>(values: &[T], order: &[u32]) -> Vec<T> {
    order.iter().map(|&index| values[index as usize].clone()).collect()
}

fn inverse(order: &[u32]) -> Vec<u32> {
    let mut inverse = vec![0; order.len()];
    for (place, &index) in order.iter().enumerate() {
        inverse[index as usize] = place as u32;
    }
    inverse
}
