//! The learning curve of a program: one value of each line that it wrote, by step.
//!
//! The value is the study's primary metric where two lines have it, else the one that comes first in
//! the first line, by name. A line without a step counts as the step after the last one. Deliberately
//! absent: what the lines mean for the outcome (`results`).
//!
//! Floor: shell.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use common::curve::{Curve, Quantity, Trace, is_well_named};

use super::results::{Line, Said, json_line};

/// Gathers the curve line by line, in memory that does not grow with their number.
#[derive(Clone, Debug)]
pub struct Told {
    primary: (String, Trace),
    /// The first value of the first line that has any.
    first: Option<(String, Trace)>,
    step: Option<u32>,
}

impl Told {
    /// `primary`: the name of the study's primary metric.
    pub fn of(primary: &str) -> Self {
        Self { primary: (primary.to_string(), Trace::default()), first: None, step: None }
    }

    pub fn take(&mut self, line: &Line) {
        let step = match line.get(STEP) {
            Some(Said::Number(step)) if (0.0..=f64::from(u32::MAX)).contains(step) => *step as u32,
            _ => self.step.map_or(1, |step| step.saturating_add(1)),
        };
        self.step = Some(step);
        if self.first.is_none() {
            let named = |(name, said): (&String, &Said)| {
                let number = matches!(said, Said::Number(value) if value.is_finite());
                (number && name != STEP && is_well_named(name)).then(|| name.clone())
            };
            self.first = line.iter().find_map(named).map(|name| (name, Trace::default()));
        }
        for (name, trace) in [Some(&mut self.primary), self.first.as_mut()].into_iter().flatten() {
            if let Some(Said::Number(value)) = line.get(name) {
                trace.push(step, *value, None);
            }
        }
    }

    pub fn curve(&self) -> Option<Curve> {
        let both = [Some(&self.primary), self.first.as_ref()];
        both.into_iter()
            .flatten()
            .find_map(|(name, trace)| trace.curve(Quantity::Named(name.clone())))
    }
}

/// The curve of the lines in a file, of its first [`BYTES_MAX`] bytes; `None` where it has none.
/// `like`: whose primary metric is meant.
pub fn of_file(path: &Path, like: Told) -> Option<Curve> {
    let mut told = Told::of(&like.primary.0);
    let mut file = BufReader::new(File::open(path).ok()?.take(BYTES_MAX));
    let mut line = Vec::new();
    loop {
        line.clear();
        // One that is longer than a line may be is read in pieces, none of which is JSON.
        let read = file.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).ok()?;
        if read == 0 {
            return told.curve();
        }
        let text = String::from_utf8_lossy(&line);
        if let Ok(line) = json_line(text.trim()) {
            told.take(&line);
        }
    }
}

const STEP: &str = "step";
const LINE_MAX: u64 = 64 << 10;
/// Much more than programs tell; what a file goes on with is not looked at.
const BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<(Quantity, Vec<(u32, f32)>)> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("out.jsonl");
        std::fs::write(&path, text).expect("written");
        let curve = of_file(&path, Told::of("auroc"))?;
        let points = curve.points().map(|point| (point.at, point.value)).collect();
        Some((curve.of.clone(), points))
    }

    #[test]
    fn the_primary_metric_is_shown_where_two_lines_have_it() {
        let lines = "{\"loss\": 2, \"step\": 1}\n\nno json\n{\"step\": 2, \"auroc\": 0.5}\n\
                     {\"step\": 5, \"auroc\": 0.75}\n{\"step\": 4, \"auroc\": 0.1}";
        let named = |name: &str| Quantity::Named(name.to_string());
        assert_eq!(of(lines), Some((named("auroc"), vec![(2, 0.5), (5, 0.75)])));
        let lines = "{\"b\": \"x\", \"loss\": 2}\n{\"loss\": 1, \"auroc\": 0.5}\n{\"loss\": NaN}\n\
                     {\"loss\": 0.5}\n";
        assert_eq!(of(lines), Some((named("loss"), vec![(1, 2.0), (2, 1.0), (4, 0.5)])));
    }

    #[test]
    fn one_line_or_none_is_no_curve() {
        assert_eq!(of("{\"step\": 2, \"auroc\": 0.5}\n"), None);
        assert_eq!(of(""), None);
        assert_eq!(
            of(&format!("{{\"x\": \"{}\"}}\n{{\"auroc\": 1}}\n", "x".repeat(200_000))),
            None
        );
    }
}
