//! A model of a Parquet file that is never held: its row groups go into the cross-products one by
//! one.
//!
//! For a formula whose numbers alone are asked for (`--json` without `--out` and without roles); the
//! report looks at every score and holds them.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context, bail};
use common::stats::mixed::{Accumulator, Fit, FitError, Formula, Method, Slice};
use common::table::{Part, TableError, Wanted, parquet_rows};

use super::input::{self, Form};
use super::roles::RESPONSE;
use super::{AnalyzeArgs, Output, ended, method, of_model};
use crate::report::tabled::model;

/// The answer, where the rows need not be held; `None` where they do.
pub fn answer(
    args: &AnalyzeArgs,
    metric: &str,
    output: &Output,
) -> anyhow::Result<Option<ExitCode>> {
    let name = args.table.to_string_lossy();
    let parquet = name != input::STDIN
        && args.format.or_else(|| input::of_path(&name)) == Some(Form::Parquet);
    let plain = output.is_json() && args.out.is_none() && !args.wide;
    let Some(text) = args.formula.as_deref().filter(|_| parquet && plain) else { return Ok(None) };
    if !args.roles.named().is_empty() {
        return Ok(None);
    }
    let formula = Formula::parse(text).context("the formula cannot be read")?;
    let (fit, left_out) = fit(args, &formula, metric, method(args))?;
    if left_out > 0 {
        let word = if left_out == 1 { "row" } else { "rows" };
        output.say(format!("{left_out} {word} with missing cells left out"));
    }
    output.answer(
        "",
        "seedsweep.analyze/1",
        serde_json::to_value(model::of(&fit, left_out, &of_model(args)))?,
    );
    Ok(Some(ended(&fit, output)))
}

fn fit(
    args: &AnalyzeArgs,
    formula: &Formula,
    metric: &str,
    method: Method,
) -> anyhow::Result<(Fit, usize)> {
    let path = &args.table;
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let response = formula.response();
    if response != metric && response != RESPONSE {
        bail!(
            "the formula explains {response:?} but --metric is {metric:?}; write y for the metric"
        );
    }
    let factors = formula.factors();
    let grouping = |name: &str| factors.iter().any(|factor| factor.split(':').any(|f| f == name));
    let mut wanted = BTreeMap::from([(metric.to_string(), Wanted::Numbers)]);
    for variable in formula.variables().into_iter().skip(1) {
        let as_what = if grouping(variable) { Wanted::Levels } else { Wanted::AsStored };
        wanted.insert(variable.to_string(), as_what);
    }
    let mut model = Accumulator::new(formula);
    let streamed = parquet_rows(file, &wanted, |parts| {
        let columns = parts.iter().map(|(name, part)| {
            let slice = match part {
                Part::Numbers(numbers) => Slice::Numbers(numbers),
                Part::Levels { codes, names } => Slice::Levels { codes, names },
            };
            (if *name == metric { response } else { name }, slice)
        });
        Ok::<(), Refused>(model.add(&columns.collect())?)
    });
    let streamed = streamed.map_err(|error| match error {
        Refused::Table(error) => anyhow::Error::new(error).context(path.display().to_string()),
        Refused::Fit(error) => error.into(),
    })?;
    let fit = model.fit(method).with_context(|| format!("the model {formula}"))?;
    Ok((fit, streamed.left_out))
}

/// Why rows did not go through.
enum Refused {
    Table(TableError),
    Fit(FitError),
}

impl From<TableError> for Refused {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

impl From<FitError> for Refused {
    fn from(error: FitError) -> Self {
        Self::Fit(error)
    }
}
