//! The page of a report on a table, as blocks.
//!
//! Floor: core.

use super::super::content::{Interval, Scores};
use super::super::figures;
use super::super::number::{beside, count, decimals, p, percent, places, significant};
use super::super::page::{Block, Sheet, columns, legend};
use super::content::{ArmPart, ContrastPart, FixedPart, PairPart, SpreadPart, Tabled};
use super::words;

/// Every block after the title, in reading order.
pub fn blocks(report: &Tabled) -> Vec<Block> {
    let mut list = vec![
        Block::Verdict {
            kind: report.verdict.kind,
            text: report.verdict.text.clone(),
            basis: report.verdict.basis.clone(),
        },
        Block::Facts(facts(report)),
    ];
    if !report.understood.is_empty() {
        list.push(Block::List(report.understood.clone()));
    }
    list.push(Block::Heading("How good is each arm?".into()));
    let scores: Vec<Option<&Scores>> = report.arms.iter().map(|arm| Some(&arm.scores)).collect();
    let figure = figures::distribution_of(
        (report.metric.as_str(), report.goal, "folds"),
        &report.drawn,
        &scores,
    );
    list.extend(figure.map(Block::Figure));
    list.push(Block::Sheet(arms(report)));
    if !report.comparisons.is_empty() {
        list.push(Block::Heading("Is one better than another?".into()));
        if report.comparisons.len() > 1 && report.comparisons.len() <= PAIRS_SPELLED {
            let spelled = report.comparisons.iter().map(|pair| {
                let (kind, text) = words::of_pair(report, pair);
                Block::Text(format!("{}. {text}", kind.title()))
            });
            list.extend(spelled);
        }
        list.push(Block::Sheet(pairs(report)));
        list.extend(other_tests(report).map(Block::Sheet));
    }
    list.push(Block::Heading("Where does the spread come from?".into()));
    list.extend(figures::variance_of(&report.components).map(Block::Figure));
    list.push(Block::Sheet(spread(report)));
    list.push(Block::Sheet(fixed(report)));
    list.extend(contrasts(report).map(Block::Sheet));
    list.extend(redrawn(report).map(Block::Sheet));
    list.extend(notes(report).map(Block::List));
    list.push(Block::Heading("Methods".into()));
    list.push(Block::Text(report.methods.clone()));
    list.push(Block::List(report.references.iter().map(ToString::to_string).collect()));
    list.push(Block::Heading("Do it again".into()));
    list.push(Block::Command(report.reproduce.clone()));
    list
}

fn facts(report: &Tabled) -> Vec<(String, String)> {
    let fact = |word: &str, value: String| (word.to_string(), value);
    let mut list = vec![
        fact("Table", report.table.clone()),
        fact("Metric", format!("{} ({})", report.metric, report.goal)),
    ];
    list.extend(report.roles.iter().map(|(role, column)| {
        let mut title = role.clone();
        title.get_mut(..1).map(str::make_ascii_uppercase);
        fact(&title, format!("column {column}"))
    }));
    list.push(fact("Model", report.model.formula.clone()));
    list.push(fact("Rows", format!("{} used, {} left out", report.model.n, report.model.left_out)));
    list
}

fn span(interval: Option<&Interval>, scale: f64) -> String {
    interval.map_or("–".into(), |ci| {
        format!("{} to {}", beside(ci.low, scale), beside(ci.high, scale))
    })
}

fn arms(report: &Tabled) -> Sheet {
    let row = |arm: &ArmPart| {
        let s = &arm.scores;
        let sd = s.sd.unwrap_or(0.0);
        vec![
            arm.arm.clone(),
            count(arm.n),
            beside(s.mean, sd / 3.0),
            s.sd.map_or("–".into(), significant),
            beside(s.median, sd),
            beside(s.iqm, sd),
            format!("{} to {}", beside(s.min, sd), beside(s.max, sd)),
            span(s.ci_t1.as_ref(), sd / 3.0),
            span(s.ci_t2.as_ref(), sd / 3.0),
        ]
    };
    Sheet {
        title: format!("Scores of each arm ({}, {})", report.metric, report.goal),
        columns: columns(
            &[
                "Arm",
                "Rows",
                "Mean",
                "SD",
                "Median",
                "IQM",
                "Range",
                "T1: new seeds",
                "T2: new samples",
            ],
            1,
        ),
        rows: report.arms.iter().map(row).collect(),
        legend: legend(&[
            ("SD", "How far a single row lies from the mean, typically."),
            ("IQM", "The mean of the middle half of the rows, which extremes do not move."),
            (
                "T1: new seeds",
                "95 % interval of the mean for other seeds on the same rows and folds.",
            ),
            (
                "T2: new samples",
                "95 % interval of the mean if another sample of the same size were drawn.",
            ),
        ]),
    }
}

fn pairs(report: &Tabled) -> Sheet {
    let row = |pair: &PairPart| {
        let mut cells = vec![format!("{} − {}", pair.a, pair.b)];
        match &pair.contrast {
            Some(c) => cells.extend([
                beside(c.difference, c.se),
                span(Some(&c.ci), c.se),
                p(c.p),
                p(c.p_holm),
                percent(c.p_a_beats_b),
            ]),
            None => cells.extend(vec!["–".to_string(); 5]),
        }
        cells.push(pair.mixed.as_ref().map_or("–".into(), estimate));
        cells.push(words::of_pair(report, pair).0.title().to_string());
        cells
    };
    Sheet {
        title: format!("Differences in {} (first arm minus second)", report.metric),
        columns: columns(
            &[
                "Arms",
                "Difference",
                "95 % interval",
                "p",
                "p, Holm",
                "First wins",
                "Model below",
                "Verdict",
            ],
            1,
        ),
        rows: report.comparisons.iter().map(row).collect(),
        legend: legend(&[
            (
                "Difference",
                "Mean difference on the same folds and seeds; with several seeds by the mixed model.",
            ),
            (
                "95 % interval",
                "Where the difference lies for new samples of this size (T2). It allows for what seeds and folds add by chance, and for folds that share training rows.",
            ),
            ("p, Holm", "Allowing for the number of comparisons made; the verdict rests on it."),
            ("First wins", "Share of pairs with the same seed and fold; ties count half."),
            (
                "Model below",
                "The same difference by the model of all rows, with its 95 % interval; it takes folds as independent, which overlapping training rows are not.",
            ),
        ]),
    }
}

/// What plainer tests say of the same differences.
fn other_tests(report: &Tabled) -> Option<Sheet> {
    let rows: Vec<Vec<String>> = (report.comparisons.iter())
        .filter_map(|pair| Some((pair, pair.contrast.as_ref()?)))
        .map(|(pair, c)| {
            vec![
                format!("{} − {}", pair.a, pair.b),
                span(Some(&c.ci_naive), c.se),
                p(c.p_naive),
                span(Some(&c.ci_corrected), c.se),
                p(c.p_corrected),
            ]
        })
        .collect();
    (!rows.is_empty()).then(|| Sheet {
        title: "What plainer tests say of the same differences".into(),
        columns: columns(&["Arms", "Naive t", "p", "Corrected t", "p"], 1),
        rows,
        legend: legend(&[
            (
                "Naive t",
                "A paired t-test over folds: too narrow, and shown so that it can be recognised elsewhere.",
            ),
            (
                "Corrected t",
                "The corrected resampled t-test (Nadeau and Bengio). It is wider than the interval above where the folds' own share of the difference was estimated at zero, so that there was nothing to correct.",
            ),
        ]),
    })
}

fn estimate(fixed: &FixedPart) -> String {
    match fixed.ci {
        Some([low, high]) => format!(
            "{} ({} to {})",
            beside(fixed.estimate, fixed.se),
            beside(low, fixed.se),
            beside(high, fixed.se)
        ),
        None => beside(fixed.estimate, fixed.se),
    }
}

fn spread(report: &Tabled) -> Sheet {
    let model = &report.model;
    let digits = places(model.residual.sd) + 1;
    let end = |value: f64| {
        if value.is_finite() { decimals(value, digits) } else { "no bound".to_string() }
    };
    let row = |part: &SpreadPart| {
        vec![
            part.title(),
            count(part.levels as u64),
            decimals(part.sd, digits),
            part.ci_sd.map_or("–".into(), |[low, high]| format!("{} to {}", end(low), end(high))),
            percent(part.share),
            part.p_exact.or(part.p).map_or("–".into(), p),
        ]
    };
    Sheet {
        title: format!("Variance components ({})", model.method),
        columns: columns(
            &["Source", "Levels", "SD", "95 % interval of SD", "Share", "p of zero"],
            1,
        ),
        rows: model.components.iter().chain([&model.residual]).map(row).collect(),
        legend: legend(&[
            ("SD", "How far this source alone moves a score, in the metric's own unit."),
            ("Share", "Its part of the variance of an average row."),
            ("p of zero", "Chance of a variance this far from zero when there is none."),
        ]),
    }
}

fn fixed(report: &Tabled) -> Sheet {
    let row = |fixed: &FixedPart| {
        let ci = fixed.ci.map_or("–".into(), |[low, high]| {
            format!("{} to {}", beside(low, fixed.se), beside(high, fixed.se))
        });
        vec![
            fixed.name.clone(),
            beside(fixed.estimate, fixed.se),
            significant(fixed.se),
            ci,
            fixed.df.map_or("–".into(), |df| decimals(df, 1)),
            fixed.t.map_or("–".into(), |t| decimals(t, 2)),
            fixed.p.map_or("–".into(), p),
        ]
    };
    Sheet {
        title: "Fixed effects".into(),
        columns: columns(
            &["Name", "Estimate", "Standard error", "95 % interval", "df", "t", "p"],
            1,
        ),
        rows: report.model.fixed.iter().map(row).collect(),
        legend: legend(&[(
            "Estimate",
            "An arm's effect is its difference from the first arm, whose mean the intercept is.",
        )]),
    }
}

/// Differences of arms by the model, allowing for how many there are.
fn contrasts(report: &Tabled) -> Option<Sheet> {
    let list = &report.model.contrasts;
    let method = list.first()?.method;
    let row = |contrast: &ContrastPart| {
        let test = &contrast.test;
        let ends = contrast.ci_adjusted.or(test.ci).map_or("–".into(), |[low, high]| {
            format!("{} to {}", beside(low, test.se), beside(high, test.se))
        });
        vec![
            test.name.clone(),
            beside(test.estimate, test.se),
            ends,
            test.p.map_or("–".into(), p),
            p(contrast.p_adjusted),
        ]
    };
    Some(Sheet {
        title: "Differences of arms by this model".into(),
        columns: columns(&["Arms", "Difference", "95 % interval", "p", &format!("p, {method}")], 1),
        rows: list.iter().map(row).collect(),
        legend: legend(&[(
            "95 % interval",
            match method {
                "Dunnett" => "Of all of them together, by Dunnett's method.",
                _ => "Of each difference alone; p by Holm's method allows for their number.",
            },
        )]),
    })
}

/// Intervals by the parametric bootstrap.
fn redrawn(report: &Tabled) -> Option<Sheet> {
    let model = &report.model;
    let drawn = model.bootstrap?;
    let digits = places(model.residual.sd) + 1;
    let row = |part: &SpreadPart| {
        vec![
            part.title(),
            part.ci_sd_bootstrap.map_or("–".into(), |[low, high]| {
                format!("{} to {}", decimals(low, digits), decimals(high, digits))
            }),
            part.ci_share_bootstrap.map_or("–".into(), |[low, high]| {
                format!("{} to {}", percent(low), percent(high))
            }),
        ]
    };
    Some(Sheet {
        title: format!("Parametric bootstrap ({} refits)", count(drawn.draws as u64)),
        columns: columns(&["Source", "95 % interval of SD", "95 % interval of share"], 1),
        rows: model.components.iter().chain([&model.residual]).map(row).collect(),
        legend: legend(&[(
            "95 % interval",
            "Percentiles of refits to responses drawn from the fitted model.",
        )]),
    })
}

/// On correlated effects, effects told between levels alone, and a search that did not end well.
fn notes(report: &Tabled) -> Option<Vec<String>> {
    let model = &report.model;
    let mut list: Vec<String> = Vec::new();
    list.extend(model.bootstrap_absent.iter().map(|why| format!("There is no bootstrap: {why}.")));
    list.extend(model.intervals_absent.iter().map(|why| format!("Of this model {why}.")));
    list.extend(
        model
            .inference_absent
            .iter()
            .map(|why| format!("Fixed effects have no degrees of freedom: {why}.")),
    );
    list.extend(model.correlations.iter().map(|pair| {
        let how = pair.correlation.map_or("not defined".to_string(), |value| decimals(value, 3));
        let ends = pair.ci.map_or(String::new(), |[low, high]| {
            format!(" (95 % interval {} to {})", decimals(low, 3), decimals(high, 3))
        });
        format!("Correlation of {} in {}: {how}{ends}.", pair.terms.join(" and "), pair.factor)
    }));
    list.extend(model.between.iter().map(|effect| {
        format!(
            "{} is told by comparing different levels of {}, never within one.",
            effect.fixed,
            effect.factors.join(" and ")
        )
    }));
    if !model.fit.converged {
        list.push("The fit did not converge: its numbers are not to be trusted.".to_string());
    }
    (!list.is_empty()).then_some(list)
}

/// Comparisons up to which each has its verdict spelled out above the table.
const PAIRS_SPELLED: usize = 10;
