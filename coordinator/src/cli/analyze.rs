//! `coordinator analyze`: a mixed model on any table.
//!
//! Floor: wiring.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use common::stats::mixed::{self, Column, Component, Fit, Formula, Method, Part};
use common::study::Format;
use common::table::{self, Table, Values};
use serde_json::{Value, json};

use super::output::{self, Output};

/// Fit a mixed model to a table.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator analyze scores.csv --metric dice --formula \"y ~ 1 + (1|seed) + (1|fold)\"\n  coordinator analyze trials.parquet --metric auroc --formula \"y ~ arm + (1|seed) + (1|partition/fold)\" --json\n\n`y`, or the column's own name, stands for the metric. Factors: (1|a) crossed, (1|a/b) b nested in a, (1|a:b) their combinations, (1+x|a) slopes of x that differ between levels of a, (x||a) the same without correlation."
)]
pub struct AnalyzeArgs {
    /// A CSV, TSV or Parquet file with a header; one row an observation.
    table: PathBuf,
    /// The column to explain.
    #[arg(long, value_name = "COL")]
    metric: String,
    /// The model, in lme4's syntax.
    #[arg(long)]
    formula: String,
    /// Maximum likelihood; default: restricted (REML).
    #[arg(long)]
    ml: bool,
}

/// `coordinator analyze TABLE --metric COL --formula F`.
pub fn analyze(args: AnalyzeArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let table = read(&args.table)?;
    let formula = Formula::parse(&args.formula).context("the formula cannot be read")?;
    let (columns, left_out) = columns(&table, &formula, &args.metric)?;
    if left_out > 0 {
        let rows = if left_out == 1 { "row" } else { "rows" };
        output.say(format!("{left_out} {rows} with missing cells left out"));
    }
    let method = if args.ml { Method::Ml } else { Method::Reml };
    let fit = mixed::fit(&formula, &columns, method)?;
    output.answer(&people(&fit, &args.metric), "seedsweep.analyze/1", programs(&fit, left_out));
    if !fit.converged {
        output.warn("the fit did not converge; look at the table for a factor that hardly varies");
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<Table> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.to_string_lossy();
    let Some(format) = Format::of_path(&name) else {
        bail!("{name} is not a table this program knows; it reads .csv, .tsv and .parquet");
    };
    Table::read(format, &bytes).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{name}: {}", lines.join("; "))
    })
}

/// The columns that the formula names, without the rows where one of them is missing.
fn columns(
    table: &Table,
    formula: &Formula,
    metric: &str,
) -> anyhow::Result<(BTreeMap<String, Column>, usize)> {
    let response = formula.response();
    if response != metric && table.find(response).is_some() {
        bail!(
            "the formula explains {response:?} but --metric is {metric:?}; write y for the metric"
        );
    }
    let factors = formula.factors();
    let grouping: BTreeSet<&str> = factors.iter().flat_map(|name| name.split(':')).collect();
    let mut chosen = Vec::new();
    for variable in formula.variables() {
        let name = if variable == response { metric } else { variable };
        let Some(place) = table.find(name) else {
            let known: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
            bail!("the table has no column {name:?}; it has {}", known.join(", "));
        };
        chosen.push((variable.to_string(), &table.columns[place]));
    }
    if chosen.first().is_some_and(|(_, column)| matches!(column.values, Values::Text(_))) {
        bail!("the column {metric:?} holds text; a metric is a number");
    }
    let whole: Vec<usize> = (0..table.rows)
        .filter(|&row| chosen.iter().all(|(_, column)| !column.is_missing(row)))
        .collect();
    let left_out = table.rows - whole.len();
    let columns = chosen
        .into_iter()
        .map(|(variable, written)| {
            let as_levels = grouping.contains(variable.as_str());
            let column = model_column(written, &whole, as_levels);
            (variable, column)
        })
        .collect();
    Ok((columns, left_out))
}

fn model_column(written: &table::Column, rows: &[usize], as_levels: bool) -> Column {
    match &written.values {
        Values::Numbers(numbers) if !as_levels => {
            Column::Numbers(rows.iter().map(|&row| numbers[row]).collect())
        }
        _ => {
            let texts: Vec<String> =
                rows.iter().map(|&row| written.text(row).unwrap_or_default()).collect();
            let names: BTreeSet<&String> = texts.iter().collect();
            let names: Vec<String> = names.into_iter().cloned().collect();
            let code = |text: &String| names.binary_search(text).unwrap_or_default() as u32;
            Column::Levels { codes: texts.iter().map(code).collect(), names: names.clone() }
        }
    }
}

fn programs(fit: &Fit, left_out: usize) -> Value {
    let one = |component: &Component, part: Part| {
        let (lower, upper) = mixed::profile_interval(fit, part, 0.95);
        json!({
            "factor": component.factor,
            "term": component.term,
            "levels": component.levels,
            "variance": component.variance,
            "sd": component.sd,
            "share": component.share,
            "at_boundary": component.at_boundary,
            "ci_sd": [lower, upper],
        })
    };
    let fixed: Vec<Value> = fit
        .fixed
        .iter()
        .map(|f| json!({ "name": f.name, "estimate": f.estimate, "se": f.se }))
        .collect();
    let components: Vec<Value> = fit
        .components
        .iter()
        .enumerate()
        .map(|(index, component)| one(component, Part::Component(index)))
        .collect();
    let correlations: Vec<Value> = fit
        .correlations
        .iter()
        .map(|pair| {
            json!({
                "factor": pair.factor,
                "terms": pair.terms,
                "covariance": pair.covariance,
                "correlation": pair.correlation,
                "share": pair.share,
            })
        })
        .collect();
    let between: Vec<Value> = fit
        .between
        .iter()
        .map(|effect| json!({ "fixed": effect.fixed, "factors": effect.factors }))
        .collect();
    json!({
        "formula": fit.formula,
        "method": method_name(fit.method),
        "n": fit.n,
        "left_out": left_out,
        "criterion": fit.criterion,
        "fixed": fixed,
        "components": components,
        "correlations": correlations,
        "between": between,
        "residual": one(&fit.residual, Part::Residual),
        "fit": {
            "evaluations": fit.evaluations,
            "converged": fit.converged,
            "gradient_norm": fit.gradient_norm,
        },
    })
}

fn people(fit: &Fit, metric: &str) -> String {
    let parts = fit
        .components
        .iter()
        .enumerate()
        .map(|(index, component)| (component, Part::Component(index)))
        .chain([(&fit.residual, Part::Residual)]);
    let rows = parts
        .map(|(component, part)| {
            let (lower, upper) = mixed::profile_interval(fit, part, 0.95);
            let boundary = if component.at_boundary { "  (at the boundary)" } else { "" };
            vec![
                source(component),
                component.levels.to_string(),
                format!("{:.5}", component.sd),
                format!("{lower:.5} to {upper:.5}"),
                format!("{:.1} %{boundary}", component.share * 100.0),
            ]
        })
        .collect();
    let fixed = fit
        .fixed
        .iter()
        .map(|f| vec![f.name.clone(), format!("{:.5}", f.estimate), format!("{:.5}", f.se)])
        .collect();
    format!(
        "{}, {} rows of {metric}; {} = {:.4}\n\nsources of spread\n{}\n\nfixed effects\n{}{}",
        fit.formula,
        fit.n,
        method_name(fit.method),
        fit.criterion,
        output::table(
            &["source", "levels", "sd", "95 % interval of the sd", "share of the variance"],
            rows
        ),
        output::table(&["name", "estimate", "standard error"], fixed),
        notes(fit),
    )
}

/// A factor, and the covariate whose slopes differ between its levels.
fn source(component: &Component) -> String {
    match component.term.as_str() {
        "" | "(Intercept)" => component.factor.clone(),
        term => format!("{}, slope of {term}", component.factor),
    }
}

/// Lines on pairs of effects that may be correlated, and on effects told between levels alone.
fn notes(fit: &Fit) -> String {
    let mut notes = String::new();
    for pair in &fit.correlations {
        let [first, second] = &pair.terms;
        let how = match pair.correlation {
            Some(correlation) => format!("{correlation:.3}"),
            None => "not defined, a variance is zero".to_string(),
        };
        notes += &format!("\n\ncorrelation of {first} and {second} in {}: {how}", pair.factor);
    }
    for effect in &fit.between {
        notes += &format!(
            "\n\n{} is told by comparing different levels of {}, never within one",
            effect.fixed,
            effect.factors.join(" and ")
        );
    }
    notes
}

fn method_name(method: Method) -> &'static str {
    match method {
        Method::Reml => "REML",
        Method::Ml => "ML",
    }
}
