//! What is wrong with a study file: where, what, and what to change.
//!
//! Checking never stops at the first finding: an [`Inspection`] gathers them all, and in the end
//! they stand in the file's order. Deliberately absent: colours and source lines; the command line
//! draws those from the spans.
//!
//! Floor: common.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::ops::Range;

/// One thing wrong with a study file.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Bytes of the study file that the finding is about.
    pub span: Range<usize>,
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    pub message: String,
    /// What to change.
    pub help: Option<String>,
}

/// Everything wrong with a study file, in the file's order. Never empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// `study.toml:3:9: message` and, where there is one, `  help: …`; one finding after the other.
    pub fn render(&self, file: &str) -> String {
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|finding| {
                format!("{file}:{}:{}: {}", finding.line, finding.column, finding.words())
            })
            .collect();
        lines.join("\n")
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Finding::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl Error for Findings {}

impl Finding {
    fn words(&self) -> String {
        match &self.help {
            Some(help) => format!("{}\n  help: {help}", self.message),
            None => self.message.clone(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.words())
    }
}

/// A study file's text and what was found in it so far.
pub(super) struct Inspection<'t> {
    text: &'t str,
    findings: Vec<Finding>,
}

impl<'t> Inspection<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { text, findings: Vec::new() }
    }

    /// Adds a finding; an empty `help` is none.
    pub fn refuse(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let help = Some(help.into()).filter(|help| !help.is_empty());
        let message = message.into();
        // Where that is in the text is counted out for those alone that are shown.
        self.findings.push(Finding { span: span.clone(), line: 0, column: 0, message, help });
    }

    pub fn text(&self) -> &'t str {
        self.text
    }

    /// Findings so far.
    pub fn count(&self) -> usize {
        self.findings.len()
    }

    /// Whether there are so many that what else is found is not worth looking for advice.
    pub fn is_crowded(&self) -> bool {
        self.findings.len() >= ADVISED_MAX
    }

    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The findings in the file's order; those at one place as they were made. Of one kind, the
    /// first ten, and how many more there are.
    pub fn findings(mut self) -> Findings {
        self.findings.sort_by_key(|finding| finding.span.start);
        let mut of_kind: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
        let mut more: BTreeMap<String, usize> = BTreeMap::new();
        let mut order = Vec::new();
        for finding in self.findings {
            let kind = kind(&finding.message);
            let shown = of_kind.entry(kind.clone()).or_default();
            if shown.len() < KIND_SHOWN_MAX {
                order.push((kind, shown.len()));
                shown.push(finding);
            } else {
                *more.entry(kind).or_default() += 1;
            }
        }
        for (kind, count) in more {
            if let Some(last) = of_kind.get_mut(&kind).and_then(|shown| shown.last_mut()) {
                last.message += &format!("; and {count} more like this");
            }
        }
        let finding = |(kind, place): (String, usize)| {
            let finding = of_kind.get(&kind)?.get(place).cloned()?;
            let (line, column) = position(self.text, finding.span.start);
            Some(Finding { line, column, ..finding })
        };
        Findings(order.into_iter().filter_map(finding).collect())
    }
}

/// A message without what it quotes and counts: messages that differ in nothing else are of one
/// kind, and so is everything that makes a text no TOML.
fn kind(message: &str) -> String {
    if message.starts_with(NOT_TOML) {
        return NOT_TOML.to_string();
    }
    let mut quote = None;
    let mut words = String::new();
    for c in message.chars() {
        match quote {
            Some(mark) if mark == c => quote = None,
            Some(_) => {}
            None if matches!(c, '`' | '"') => quote = Some(c),
            None if c.is_ascii_digit() => {}
            None => words.push(c),
        }
    }
    words
}

/// A value and where the file says it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Range<usize>,
}

/// `did you mean …?`, when a known word is near enough; else empty.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => String::new(),
    }
}

/// [`did_you_mean`], else all that is known.
pub(super) fn mean_or_known(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? Known here: {}", known.join(", ")),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// The known word nearest to `word`, by edits (a swap is one), then by Jaro and Winkler.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let measured = known.into_iter().map(|known| {
        let lower = known.to_lowercase();
        let edits = strsim::damerau_levenshtein(&word, &lower);
        (edits, strsim::jaro_winkler(&word, &lower), known)
    });
    let longest_edits = (word.chars().count() / 3).max(1);
    let near = measured.filter(|&(edits, alike, _)| edits <= longest_edits || alike >= ALIKE_MIN);
    let best = near.min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    best.map(|(_, _, known)| known)
}

/// Line and column of a byte, 1-based, columns in characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

/// How findings of a text that is not TOML begin.
pub(super) const NOT_TOML: &str = "not TOML: ";
const KIND_SHOWN_MAX: usize = 10;
const ADVISED_MAX: usize = 100;
/// Jaro and Winkler's similarity from which two words may be one, misspelt.
const ALIKE_MIN: f64 = 0.88;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted_in_characters() {
        let text = "a = 1\nähm = 2\n";
        assert_eq!(position(text, text.find('2').expect("there")), (2, 7));
        assert_eq!(position(text, 0), (1, 1));
    }

    #[test]
    fn the_nearest_word_is_offered_and_a_far_one_is_not() {
        assert_eq!(did_you_mean("fodls", ["folds", "repeats"]), "did you mean `folds`?");
        assert_eq!(did_you_mean("Stratified", ["folds", "stratify"]), "did you mean `stratify`?");
        assert_eq!(did_you_mean("zebra", ["folds", "repeats"]), "");
    }

    #[test]
    fn ten_findings_of_a_kind_are_shown_and_the_others_counted() {
        let mut inspection = Inspection::new("");
        for number in 0..13 {
            inspection.refuse(&(0..0), format!("column `c{number}` has {number} values"), "");
            inspection.refuse(&(0..0), format!("{number} rows, column \"c{number}\""), "");
        }
        let findings = inspection.findings().0;
        assert_eq!(findings.len(), 20);
        assert_eq!(findings[17].message, "8 rows, column \"c8\"");
        assert_eq!(findings[18].message, "column `c9` has 9 values; and 3 more like this");
    }

    #[test]
    fn findings_print_their_place_words_and_help() {
        let mut inspection = Inspection::new("a = 1\nb = 2\n");
        inspection.refuse(&(6..7), "later", "");
        inspection.refuse(&(0..1), "sooner", "change it");
        let findings = inspection.findings();
        let rendered = "s.toml:1:1: sooner\n  help: change it\ns.toml:2:1: later";
        assert_eq!(findings.render("s.toml"), rendered);
        let shown = "line 1, column 1: sooner\n  help: change it\nline 2, column 1: later";
        assert_eq!(findings.to_string(), shown);
    }
}
