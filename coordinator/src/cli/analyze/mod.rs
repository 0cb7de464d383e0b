//! `coordinator analyze`: the report on any table of scores, whoever trained.
//!
//! Floor: wiring.

mod input;
mod roles;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use common::metric::Metric;
use common::stats::mixed::{DfMethod, Fit, Formula, Method};
use common::table::{Table, Values};

use super::files::{naming, replace};
use super::output::{self, Output};
use crate::report::tabled::content::FitPart;
use crate::report::tabled::model::Asked;
use crate::report::tabled::{self, Known, Observation, Observations, Ratio};
use input::Form;
use roles::{ARM, FOLD, REPEAT, Roles, Rows, SEED};

/// Analyse a table of scores: its report, or with --json the mixed model.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator analyze scores.csv --metric dice --arm model --seed seed --fold fold\n  coordinator analyze wide.tsv --wide --arm model --seed seed --metric dice --out dice\n  coordinator analyze trials.parquet --metric auroc --formula \"y ~ arm + (1|seed) + (1|partition/fold)\" --json\n  cat scores.jsonl | coordinator analyze - --format jsonl --metric dice --seed seed --fold fold\n\nA row is an observation; with --wide the numeric columns that no role names are the levels of the missing role (folds, or seeds).\n`y`, or the column's own name, stands for the metric. Factors: (1|a) crossed, (1|a/b) b nested in a, (1|a:b) their combinations, (1+x|a) slopes of x that differ between levels of a, (x||a) the same without correlation. In a formula arm, seed, fold, repeat and case mean the columns that flags name so."
)]
pub struct AnalyzeArgs {
    /// A CSV, TSV, Parquet or JSON lines file with named columns; `-` is stdin.
    table: PathBuf,
    /// What the file holds; default: by the end of its name.
    #[arg(long)]
    format: Option<Form>,
    /// The column to explain; of a wide table, what its cells are (default: score).
    #[arg(long, value_name = "COL", required_unless_present = "wide")]
    metric: Option<String>,
    /// Which scores are better; default: as the metric's name says, else larger.
    #[arg(long)]
    goal: Option<Goal>,
    #[command(flatten)]
    roles: Roles,
    /// Columns are the levels of a role: one a fold, or one a seed.
    #[arg(long)]
    wide: bool,
    /// The model, in lme4's syntax; default: what the roles suggest.
    #[arg(long)]
    formula: Option<String>,
    /// Maximum likelihood; default: restricted (REML).
    #[arg(long)]
    ml: bool,
    /// Degrees of freedom of the model's fixed effects.
    #[arg(long, value_name = "METHOD", default_value = "satterthwaite")]
    df: Df,
    /// Compare every arm with this one (Dunnett); default: every two arms (Holm).
    #[arg(long, value_name = "ARM", requires = "arm")]
    baseline: Option<String>,
    /// Replicates of a parametric bootstrap of the model, 1,000 or more; default: none.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1_000..))]
    bootstrap: Option<u32>,
    /// Share of the rows that a fold tests, between 0 and 1; default: 1 over the number of folds.
    #[arg(long, value_name = "SHARE")]
    test_share: Option<f64>,
    /// Folder for the report; default: the table's name without its end.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Goal {
    Larger,
    Smaller,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Df {
    Satterthwaite,
    KenwardRoger,
}

/// `coordinator analyze TABLE --metric COL …`.
pub fn analyze(mut args: AnalyzeArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let metric = args.metric.clone().unwrap_or_else(|| "score".to_string());
    if let Some(code) = stream::answer(&args, &metric, output)? {
        return Ok(code);
    }
    let reproduce = command(&args);
    let mut understood = Vec::new();
    let mut table = input::read(&args.table, args.format)?;
    if args.wide {
        let (melted, said) = long(&table, &mut args, &metric)?;
        table = melted;
        understood.push(said);
    }
    let written = args.formula.as_deref().map(Formula::parse).transpose();
    let written = written.context("the formula cannot be read")?;
    if written.is_none() && args.roles.named().is_empty() {
        bail!("say what varies: roles such as --arm, --seed and --fold, or a --formula");
    }
    let rows = Rows::of(&table, &args.roles, written.as_ref(), &metric)?;
    rows.once_each(&args.roles)?;
    if rows.left_out > 0 {
        let word = if rows.left_out == 1 { "row" } else { "rows" };
        output.say(format!("{} {word} with missing cells left out", rows.left_out));
    }
    let formula = match written {
        Some(formula) => formula,
        None => {
            let (text, said) = rows.formula(&args.roles);
            understood.extend(said);
            Formula::parse(&text).with_context(|| format!("the model {text}"))?
        }
    };
    let method = method(&args);
    let fit =
        rows.fit(&formula, method).with_context(|| format!("the model {}", formula_of(&args)))?;
    let observed = observed(&args, &rows, metric, understood, reproduce)?;
    let report = tabled::build(&observed, &fit, rows.left_out, &asked(&args, &observed)?);
    observed.understood.iter().for_each(|line| output.say(line));
    let mut answer = serde_json::to_value(&report.model)?;
    let mut people = people(&report.model, &observed.metric);
    if !output.is_json() || args.out.is_some() {
        let files = write(&report, &args)?;
        answer["files"] = serde_json::to_value(&files)?;
        people = format!("{}\n\n{people}\n\n{}", report.verdict.text, naming(&files));
    }
    output.answer(&people, "seedsweep.analyze/1", answer);
    Ok(ended(&fit, output))
}

fn method(args: &AnalyzeArgs) -> Method {
    if args.ml { Method::Ml } else { Method::Reml }
}

/// What the flags ask of the model.
fn asked(args: &AnalyzeArgs, observed: &Observations) -> anyhow::Result<Asked> {
    let arms = match args.roles.column(ARM) {
        Some(_) => observed.arms.clone(),
        None => Vec::new(),
    };
    if let Some(baseline) = args.baseline.as_ref().filter(|baseline| !arms.contains(baseline)) {
        bail!("--baseline is {baseline:?}, and the arms are {}", arms.join(", "));
    }
    Ok(Asked { arms, baseline: args.baseline.clone(), ..of_model(args) })
}

/// The same, but for arms.
fn of_model(args: &AnalyzeArgs) -> Asked {
    let df = match args.df {
        Df::Satterthwaite => DfMethod::Satterthwaite,
        Df::KenwardRoger => DfMethod::KenwardRoger,
    };
    Asked { df, draws: args.bootstrap.map(|draws| draws as usize), ..Asked::default() }
}

/// Warns where the search did not end.
fn ended(fit: &Fit, output: &Output) -> ExitCode {
    if fit.converged {
        return ExitCode::SUCCESS;
    }
    output.warn("the fit did not converge; look at the table for a factor that hardly varies");
    ExitCode::from(1)
}

/// The formula as it was written, for an error about it.
fn formula_of(args: &AnalyzeArgs) -> &str {
    args.formula.as_deref().unwrap_or("that these roles suggest; write another as --formula")
}

/// A wide table made long, and the role that its columns got.
fn long(table: &Table, args: &mut AnalyzeArgs, metric: &str) -> anyhow::Result<(Table, String)> {
    let formula = args.formula.as_deref().map(Formula::parse).transpose();
    let formula = formula.context("the formula cannot be read")?;
    let roles = args.roles.clone();
    let mut named: BTreeSet<&str> = roles.named().into_iter().map(|(_, column)| column).collect();
    if let Some(formula) = &formula {
        named.extend(formula.variables().into_iter().filter(|name| table.find(name).is_some()));
    }
    let numeric: Vec<&str> = (table.columns.iter())
        .filter(|column| matches!(column.values, Values::Numbers(_)))
        .map(|column| column.name.as_str())
        .filter(|name| !named.contains(name))
        .collect();
    let factor = args.roles.wide(&numeric)?;
    input::long(table, &named, factor, metric)
}

fn observed(
    args: &AnalyzeArgs,
    rows: &Rows,
    metric: String,
    mut understood: Vec<String>,
    reproduce: String,
) -> anyhow::Result<Observations> {
    let larger_is_better = match (args.goal, Metric::from_str(&metric)) {
        (Some(goal), _) => goal == Goal::Larger,
        (None, Ok(known)) => known.larger_is_better(),
        (None, Err(())) => {
            understood.push(format!(
                "A larger {metric} is taken for the better one; --goal smaller says otherwise."
            ));
            true
        }
    };
    let places = |roles: &[&'static str]| -> Vec<u32> {
        let named: Vec<&str> =
            roles.iter().copied().filter(|role| rows.levels.contains_key(*role)).collect();
        rows.partition(&named)
    };
    let arm = args.roles.column(ARM).map(|_| &rows.levels[ARM]);
    let seed = args.roles.column(SEED).map(|_| &rows.levels[SEED]);
    let blocks = places(&[REPEAT, FOLD]);
    let list = (0..rows.whole.len()).map(|at| Observation {
        arm: arm.map_or(0, |arm| arm.codes[at]),
        seed: seed.map_or(0, |seed| seed.codes[at]),
        block: blocks[at],
        score: rows.metric[at],
    });
    let named = args.roles.named();
    Ok(Observations {
        table: called(args),
        metric,
        larger_is_better,
        roles: named.iter().map(|(role, column)| (role.to_string(), column.to_string())).collect(),
        arms: arm.map_or_else(|| vec!["all rows".to_string()], |arm| arm.names.clone()),
        seeds: seed.map_or_else(Vec::new, |seed| seed.names.clone()),
        rows: list.collect(),
        ratio: ratio(args, rows)?,
        understood,
        own_formula: args.formula.is_some(),
        reproduce,
    })
}

/// What the report calls the table: its file's name, wherever that lies.
fn called(args: &AnalyzeArgs) -> String {
    let name = args.table.file_name().filter(|_| args.table.as_os_str() != input::STDIN);
    name.map_or_else(|| "stdin".to_string(), |name| name.to_string_lossy().into_owned())
}

/// Test rows over training rows of a fold: as told, or those of cross-validation.
fn ratio(args: &AnalyzeArgs, rows: &Rows) -> anyhow::Result<Option<Ratio>> {
    if let Some(share) = args.test_share {
        if !(share > 0.0 && share < 1.0) {
            bail!(
                "--test-share is {share}; it is the share of rows that a fold tests, between 0 and 1"
            );
        }
        let known = Known::Told { share };
        return Ok(Some(Ratio { test_over_train: share / (1.0 - share), known }));
    }
    let Some(fold) = args.roles.column(FOLD).map(|_| &rows.levels[FOLD]) else { return Ok(None) };
    let mut folds: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    let repeat = args.roles.column(REPEAT).map(|_| &rows.levels[REPEAT]);
    for (at, code) in fold.codes.iter().enumerate() {
        folds.entry(repeat.map_or(0, |repeat| repeat.codes[at])).or_default().insert(*code);
    }
    let mut counts = folds.values().map(BTreeSet::len);
    let first = counts.next().unwrap_or(0);
    // Repeats of different numbers of folds are no repeats of one cross-validation.
    if first < 2 || counts.any(|count| count != first) {
        return Ok(None);
    }
    let known = Known::Folds { folds: first as u32 };
    Ok(Some(Ratio { test_over_train: 1.0 / (first as f64 - 1.0), known }))
}

fn write(report: &tabled::content::Tabled, args: &AnalyzeArgs) -> anyhow::Result<Vec<PathBuf>> {
    let own = || match args.table.file_stem() {
        Some(stem) if args.table.as_os_str() != input::STDIN => PathBuf::from(stem),
        _ => PathBuf::from("analysis"),
    };
    let out = args.out.clone().unwrap_or_else(own);
    std::fs::create_dir_all(&out).with_context(|| {
        format!("cannot make the folder {}; name another with --out", out.display())
    })?;
    let files = [
        ("report.html", tabled::html(report)),
        ("report.json", tabled::json(report)),
        ("report.md", tabled::markdown(report)),
        ("report.tex", tabled::latex(report)),
    ];
    let mut paths = Vec::new();
    for (name, text) in files {
        let path = out.join(name);
        replace(&path, text.as_bytes())?;
        paths.push(path);
    }
    Ok(paths)
}

/// The command line that gives this report again.
fn command(args: &AnalyzeArgs) -> String {
    let mut words = vec!["coordinator analyze".to_string(), quoted(&args.table.to_string_lossy())];
    let mut flag = |name: &str, value: &str| words.push(format!("--{name} {}", quoted(value)));
    if let Some(format) = args.format.and_then(|format| format.to_possible_value()) {
        flag("format", format.get_name());
    }
    args.metric.iter().for_each(|metric| flag("metric", metric));
    if let Some(goal) = args.goal.and_then(|goal| goal.to_possible_value()) {
        flag("goal", goal.get_name());
    }
    args.roles.named().into_iter().for_each(|(role, column)| flag(role, column));
    args.formula.iter().for_each(|formula| flag("formula", formula));
    args.test_share.iter().for_each(|share| flag("test-share", &share.to_string()));
    if args.df == Df::KenwardRoger {
        flag("df", "kenward-roger");
    }
    args.baseline.iter().for_each(|baseline| flag("baseline", baseline));
    args.bootstrap.iter().for_each(|draws| flag("bootstrap", &draws.to_string()));
    words.extend(args.wide.then(|| "--wide".to_string()));
    words.extend(args.ml.then(|| "--ml".to_string()));
    words.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn people(model: &FitPart, metric: &str) -> String {
    let rows = model
        .components
        .iter()
        .chain([&model.residual])
        .map(|part| {
            let ends = part.ci_sd.map(|[lower, upper]| format!("{lower:.5} to {upper:.5}"));
            let boundary = if part.at_boundary { "  (at the boundary)" } else { "" };
            vec![
                part.title(),
                part.levels.to_string(),
                format!("{:.5}", part.sd),
                ends.unwrap_or_else(|| "–".to_string()),
                format!("{:.1} %{boundary}", part.share * 100.0),
            ]
        })
        .collect();
    let number = |value: Option<f64>, places: usize| {
        value.map_or("–".to_string(), |value| format!("{value:.places$}"))
    };
    let fixed = model
        .fixed
        .iter()
        .map(|f| {
            vec![
                f.name.clone(),
                format!("{:.5}", f.estimate),
                format!("{:.5}", f.se),
                number(f.df, 1),
                f.p.map_or("–".to_string(), |p| match p < 0.0001 {
                    true => "< 0.0001".to_string(),
                    false => format!("{p:.4}"),
                }),
            ]
        })
        .collect();
    format!(
        "{}, {} rows of {metric}; {} = {:.4}\n\nsources of spread\n{}\n\nfixed effects\n{}{}",
        model.formula,
        model.n,
        model.method,
        model.criterion,
        output::table(
            &["source", "levels", "sd", "95 % interval of the sd", "share of the variance"],
            rows
        ),
        output::table(&["name", "estimate", "standard error", "df", "p"], fixed),
        notes(model),
    )
}

/// Lines on pairs of effects that may be correlated, and on effects told between levels alone.
fn notes(model: &FitPart) -> String {
    let mut notes = String::new();
    notes.extend(model.intervals_absent.iter().map(|why| format!("\n\n{why}")));
    for pair in &model.correlations {
        let [first, second] = &pair.terms;
        let how = match pair.correlation {
            Some(correlation) => format!("{correlation:.3}"),
            None => "not defined, a variance is zero".to_string(),
        };
        notes += &format!("\n\ncorrelation of {first} and {second} in {}: {how}", pair.factor);
    }
    for effect in &model.between {
        notes += &format!(
            "\n\n{} is told by comparing different levels of {}, never within one",
            effect.fixed,
            effect.factors.join(" and ")
        );
    }
    notes
}
