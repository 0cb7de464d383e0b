//! The seed lottery of several designs side by side, as a table.
//!
//! Source: Åkesson, Töger & Heiberg (2024), whose table has hold-out beside five-fold
//! cross-validation.
//!
//! Floor: core.

use serde::Serialize;

use super::Report;
use super::number::{count, decimals, percent};

/// One arm under one design.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LotteryRow {
    pub study: String,
    pub arm: String,
    /// `hold-out` or `cross-validation`.
    pub played_on: &'static str,
    /// Rows that each pair of seeds is compared on.
    pub rows: u64,
    pub seeds: u64,
    /// Over seeds, of each one's mean score over the rows.
    pub mean: f64,
    pub sd: f64,
    pub worst: f64,
    pub best: f64,
    /// Of the other seeds, those that the best one beats with p < 0.05.
    pub beats_share_t: f64,
    pub beats_share_wilcoxon: f64,
    /// Of all pairs of seeds, those with p < 0.05.
    pub all_pairs_share: f64,
}

/// A row for each arm whose seeds were compared row by row, in the order of `reports`.
pub fn lottery_rows(reports: &[Report]) -> Vec<LotteryRow> {
    let parts = reports.iter().flat_map(|report| {
        report.lottery.iter().map(move |part| (report, part, part.cases.as_ref()))
    });
    let row = |(report, part, cases): (&Report, _, Option<_>)| {
        let part: &super::content::LotteryPart = part;
        let cases: &super::content::CaseLottery = cases?;
        let means: Vec<f64> = cases.drawn.iter().map(|seed| seed.mean).collect();
        let best = cases.drawn.iter().find(|seed| seed.is_best)?.mean;
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        let squares: f64 = means.iter().map(|value| (value - mean).powi(2)).sum();
        let furthest = |a: &f64, b: &f64| (a - best).abs().total_cmp(&(b - best).abs());
        Some(LotteryRow {
            study: report.study.name.clone(),
            arm: part.arm.clone(),
            played_on: cases.played_on,
            rows: cases.shares.rows,
            seeds: cases.shares.seeds_played,
            mean,
            sd: (squares / (means.len() as f64 - 1.0)).sqrt(),
            worst: means.iter().copied().max_by(furthest)?,
            best,
            beats_share_t: cases.shares.beats_share_t,
            beats_share_wilcoxon: cases.shares.beats_share_wilcoxon,
            all_pairs_share: cases.shares.all_pairs_share,
        })
    };
    parts.filter_map(row).collect()
}

/// The rows as a Markdown table, columns aligned for a terminal.
pub fn lottery_table(rows: &[LotteryRow]) -> String {
    let heads = [
        "study",
        "tested on",
        "seeds",
        "rows",
        "mean",
        "SD",
        "worst",
        "best",
        "best beats, t",
        "best beats, ranks",
        "pairs, t",
    ];
    let mut cells = vec![heads.map(str::to_string)];
    cells.extend(rows.iter().map(|row| {
        let score = |value: f64| decimals(value, 4);
        [
            row.study.clone(),
            row.played_on.to_string(),
            count(row.seeds),
            count(row.rows),
            score(row.mean),
            score(row.sd),
            score(row.worst),
            score(row.best),
            percent(row.beats_share_t),
            percent(row.beats_share_wilcoxon),
            percent(row.all_pairs_share),
        ]
    }));
    let length = |cell: &String| cell.chars().count();
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| cells.iter().map(|row| length(&row[column])).max().unwrap_or(0))
        .collect();
    let line = |row: &[String; 11]| {
        let padded = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        format!("| {} |", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule = widths.iter().enumerate().map(|(column, &width)| {
        if column < 2 { "-".repeat(width) } else { format!("{}:", "-".repeat(width - 1)) }
    });
    let rule = format!("| {} |", rule.collect::<Vec<_>>().join(" | "));
    let mut lines: Vec<String> = cells.iter().map(line).collect();
    lines.insert(1, rule);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(study: &str, beats: f64) -> LotteryRow {
        LotteryRow {
            study: study.to_string(),
            arm: "unet".into(),
            played_on: "hold-out",
            rows: 36,
            seeds: 50,
            mean: 0.8,
            sd: 0.01,
            worst: 0.7,
            best: 0.9,
            beats_share_t: beats,
            beats_share_wilcoxon: 0.5,
            all_pairs_share: 0.25,
        }
    }

    #[test]
    fn a_table_has_a_line_a_row_of_one_length() {
        let table = lottery_table(&[row("a", 1.0), row("a much longer name", 0.0)]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()));
        assert!(lines[2].contains("100 %") && lines[3].contains("a much longer name"), "{table}");
    }
}
