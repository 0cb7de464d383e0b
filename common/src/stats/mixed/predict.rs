//! Fitted values: the fixed effects of a row and the predicted effects of its levels.
//!
//! Floor: common.

use std::collections::BTreeMap;

use super::design::DesignColumn;
use super::fit::{Fit, FitError};
use super::rows::{Checked, Column, Slice, Variable};

impl Fit {
    /// The fitted value of every row, in the order of the rows, in units of the response.
    ///
    /// The response need not be among the columns; where it is, its difference from these values is
    /// the residual. Rows that were not fitted are predicted; every level must be one that was.
    ///
    /// Errors: [`FitError`] when the columns do not suit the formula.
    pub fn fitted(&self, columns: &BTreeMap<String, Column>) -> Result<Vec<f64>, FitError> {
        let columns: BTreeMap<&str, Slice<'_>> =
            columns.iter().map(|(name, column)| (name.as_str(), column.as_slice())).collect();
        let mut variables = self.terms.variables.clone();
        let named = |variable: &Variable| columns.get(variable.name.as_str()).copied();
        let rows = variables.iter().skip(1).find_map(named).or_else(|| named(&variables[0]));
        let rows = match rows {
            Some(Slice::Numbers(values)) => values.len(),
            Some(Slice::Levels { codes, .. }) => codes.len(),
            None => 0,
        };
        let mut checked = vec![Checked::Numbers(Vec::new())];
        for variable in variables.iter_mut().skip(1) {
            checked.push(variable.read(&columns, rows, 0, false)?);
        }
        let mut values = vec![0.0; rows];
        for (column, fixed) in self.terms.columns.iter().zip(&self.fixed) {
            for (row, value) in values.iter_mut().enumerate() {
                *value += fixed.estimate * entry(column, &checked, row);
            }
        }
        for (&(place, column), blups) in self.terms.effects().iter().zip(&self.blups) {
            let block = &self.terms.blocks[place];
            let mut effects = vec![0.0; block.levels.len()];
            for (&level, blup) in block.by_name.iter().zip(blups) {
                effects[level as usize] = blup.mean;
            }
            for (row, value) in values.iter_mut().enumerate() {
                let key = codes(&block.group, &checked, row);
                let Some(&level) = block.level_of.get(&key) else {
                    let (variable, level) = (block.factor.clone(), self.named(&block.group, &key));
                    return Err(FitError::NewLevel { variable, level });
                };
                *value += effects[level as usize] * entry(&block.columns[column], &checked, row);
            }
        }
        Ok(values)
    }

    fn named(&self, group: &[usize], codes: &[u32]) -> String {
        let name = |(&variable, &code): (&usize, &u32)| match &self.terms.variables[variable].kind {
            super::rows::Kind::Levels { names, .. } => names[code as usize].clone(),
            super::rows::Kind::Numbers { .. } => String::new(),
        };
        group.iter().zip(codes).map(name).collect::<Vec<_>>().join(":")
    }
}

/// A column's value in a row.
fn entry(column: &DesignColumn, checked: &[Checked], row: usize) -> f64 {
    if codes(&column.product.levels, checked, row) != column.levels {
        return 0.0;
    }
    let number = |&variable: &usize| match &checked[variable] {
        Checked::Numbers(values) => values[row],
        Checked::Levels(_) => 1.0,
    };
    column.product.numbers.iter().map(number).product()
}

fn codes(variables: &[usize], checked: &[Checked], row: usize) -> Vec<u32> {
    let code = |&variable: &usize| match &checked[variable] {
        Checked::Levels(codes) => Some(codes[row]),
        Checked::Numbers(_) => None,
    };
    variables.iter().filter_map(code).collect()
}
