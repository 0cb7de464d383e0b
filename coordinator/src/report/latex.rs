//! `report.tex`: the page's blocks as LaTeX, with booktabs tables and the references as BibTeX.
//!
//! One file that pdfLaTeX, XeLaTeX and LuaLaTeX set as it is; each table stands by itself, to be copied
//! into a paper. User text can make no command: every character with a meaning in TeX is escaped.
//! Deliberately absent: figures, whose tables are written instead.
//!
//! Floor: core.

use super::content::Report;
use super::methods::Reference;
use super::page::{Block, Sheet, blocks};

pub fn latex(report: &Report) -> String {
    page(&report.study.name, &blocks(report), &report.references)
}

/// A whole document.
pub fn page(title: &str, blocks: &[Block], references: &[&str]) -> String {
    let references: Vec<&Reference> =
        references.iter().filter_map(|text| Reference::of(text)).collect();
    let mut text = String::from(PREAMBLE);
    text += "\\begin{filecontents*}[overwrite]{\\jobname.bib}\n";
    for reference in &references {
        text += reference.bibtex;
        text.push('\n');
    }
    text += "\\end{filecontents*}\n\n";
    text += &format!("\\title{{{}}}\n", escaped(title));
    text += "\\author{A random-effects report by seedsweep}\n\\date{}\n\n";
    text += "\\begin{document}\n\\maketitle\n";
    for block in blocks {
        text.push('\n');
        text += &rendered(block, &references);
    }
    text += "\n\\bibliographystyle{plain}\n\\bibliography{\\jobname}\n\n\\end{document}\n";
    text
}

fn rendered(block: &Block, references: &[&Reference]) -> String {
    match block {
        Block::Verdict { kind, text, basis } => format!(
            "\\begin{{quote}}\n\\textbf{{{}.}} {}\n\n\\small {}\n\\end{{quote}}\n",
            kind.title(),
            escaped(text),
            escaped(basis)
        ),
        Block::Heading(text) => format!("\\section*{{{}}}\n", escaped(text)),
        Block::Text(text) => format!("{}\n", cited(&escaped(text), references)),
        Block::Facts(facts) => described(facts),
        Block::Sheet(sheet) => format!("{}\n{}", table(sheet), described(&sheet.legend)),
        Block::Figure(figure) => {
            format!("{}\n{}\n", table(&figure.sheet), escaped(&figure.caption))
        }
        Block::Further { title, blocks } => {
            let blocks: Vec<String> =
                blocks.iter().map(|block| rendered(block, references)).collect();
            format!("\\section*{{{}}}\n\n{}", escaped(title), blocks.join("\n"))
        }
        Block::Command(text) => {
            format!("\\begin{{quote}}\\texttt{{{}}}\\end{{quote}}\n", escaped(text))
        }
        // BibTeX sets those.
        Block::List(items) if items.iter().all(|item| Reference::of(item).is_some()) => {
            let keys: Vec<&str> = references.iter().map(|reference| reference.key).collect();
            format!("\\nocite{{{}}}\n", keys.join(","))
        }
        Block::List(items) => {
            let items: String =
                items.iter().map(|text| format!("\\item {}\n", escaped(text))).collect();
            format!("\\begin{{itemize}}\n{items}\\end{{itemize}}\n")
        }
    }
}

fn described(pairs: &[(String, String)]) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let items: String = pairs
        .iter()
        .map(|(word, value)| format!("\\item[{{{}}}] {}\n", escaped(word), escaped(value)))
        .collect();
    format!("\\begin{{description}}\n{items}\\end{{description}}\n")
}

/// A table as wide as the page at most, over several pages where it is long.
fn table(sheet: &Sheet) -> String {
    let form = form(sheet);
    let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
    let heads = line(sheet.columns.iter().map(|(title, _)| escaped(title)).collect());
    let rows: String =
        sheet.rows.iter().map(|row| line(row.iter().map(|cell| escaped(cell)).collect())).collect();
    if sheet.rows.len() > ROWS_OF_A_PAGE {
        return format!(
            "{{\\footnotesize\n\\begin{{longtable}}{{{form}}}\n\\caption*{{{}}}\\\\\n\\toprule\n{heads}\
             \\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n{rows}\\end{{longtable}}}}\n",
            escaped(&sheet.title)
        );
    }
    format!(
        "\\begin{{table}}[htbp]\n\\centering\n\\caption*{{{}}}\n\\begin{{adjustbox}}{{max width=\
         \\textwidth}}\n\\begin{{tabular}}{{{form}}}\n\\toprule\n{heads}\\midrule\n{rows}\
         \\bottomrule\n\\end{{tabular}}\n\\end{{adjustbox}}\n\\end{{table}}\n",
        escaped(&sheet.title)
    )
}

/// How columns are set: numbers to the right, and the longest text over several lines where the table
/// would else be wider than the page, which would make all of it small.
fn form(sheet: &Sheet) -> String {
    let width = |at: usize| {
        let cells = sheet.rows.iter().filter_map(|row| row.get(at));
        let title = &sheet.columns[at].0;
        cells.chain([title]).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..sheet.columns.len()).map(width).collect();
    let texts = (0..widths.len()).filter(|at| !sheet.columns[*at].1);
    let longest = texts.max_by_key(|at| widths[*at]).filter(|at| widths[*at] > LONG_TEXT);
    let all: usize = widths.iter().sum();
    let column = |(at, (_, number)): (usize, &(String, bool))| match number {
        true => "r".to_string(),
        false if Some(at) == longest && all > LINE => {
            let rest = (all - widths[at]) as f64 / LINE as f64;
            format!(
                ">{{\\raggedright\\arraybackslash}}p{{{:.2}\\textwidth}}",
                (1.0 - rest).max(0.35)
            )
        }
        false => "l".to_string(),
    };
    sheet.columns.iter().enumerate().map(column).collect()
}

/// A text with `(Bates et al., 2015)` and the like as citations.
fn cited(text: &str, references: &[&Reference]) -> String {
    references.iter().fold(text.to_string(), |text, reference| {
        let words = escaped(reference.in_text);
        text.replace(&format!("({words})"), &format!("\\cite{{{}}}", reference.key))
    })
}

/// Plain text as TeX that shows it: one line, no control characters, no commands.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 16);
    for symbol in text.chars() {
        match symbol {
            '\\' => safe.push_str("\\textbackslash{}"),
            '{' | '}' | '$' | '&' | '#' | '_' | '%' => {
                safe.push('\\');
                safe.push(symbol);
            }
            '^' => safe.push_str("\\textasciicircum{}"),
            '~' => safe.push_str("\\textasciitilde{}"),
            '<' => safe.push_str("\\textless{}"),
            '>' => safe.push_str("\\textgreater{}"),
            '|' => safe.push_str("\\textbar{}"),
            '"' => safe.push_str("\\textquotedbl{}"),
            // An argument of `\item` or `\\` would begin or end here.
            '[' | ']' => safe.push_str(&format!("{{{symbol}}}")),
            '−' => safe.push_str("$-$"),
            '×' => safe.push_str("$\\times$"),
            '±' => safe.push_str("$\\pm$"),
            '·' => safe.push_str("$\\cdot$"),
            '≤' => safe.push_str("$\\leq$"),
            '≥' => safe.push_str("$\\geq$"),
            '→' => safe.push_str("$\\rightarrow$"),
            '√' => safe.push_str("$\\surd$"),
            'ρ' => safe.push_str("$\\rho$"),
            'Φ' => safe.push_str("$\\Phi$"),
            '⁻' => safe.push_str("\\textsuperscript{$-$}"),
            '⁰' | '⁴'..='⁹' => {
                let digit = symbol as u32 - '⁰' as u32;
                safe.push_str(&format!("\\textsuperscript{{{digit}}}"));
            }
            '¹' => safe.push_str("\\textsuperscript{1}"),
            '²' => safe.push_str("\\textsuperscript{2}"),
            '³' => safe.push_str("\\textsuperscript{3}"),
            '\u{202f}' => safe.push_str("\\,"),
            symbol if symbol.is_whitespace() => safe.push(' '),
            symbol if symbol.is_control() => {}
            symbol => safe.push(symbol),
        }
    }
    safe
}

/// Rows above which a table is set over pages.
const ROWS_OF_A_PAGE: usize = 40;

/// Characters of a line of a table, and of a cell that is set over several.
const LINE: usize = 90;
const LONG_TEXT: usize = 40;

const PREAMBLE: &str = "\
% Set with pdflatex, bibtex, pdflatex, pdflatex; names in other scripts need lualatex and a font.
\\documentclass[11pt,a4paper]{article}
\\usepackage[margin=25mm]{geometry}
\\usepackage[T1]{fontenc}
\\usepackage{textcomp}
\\usepackage{array}
\\usepackage{booktabs}
\\usepackage{longtable}
\\usepackage{caption}
\\usepackage{adjustbox}

";

#[cfg(test)]
mod tests {
    use super::super::number::significant;
    use super::*;

    #[test]
    fn text_cannot_become_a_command() {
        assert_eq!(
            escaped("\\input{a_b} 50 % $x$ ~^ #1 & [x]\n\u{1b}"),
            "\\textbackslash{}input\\{a\\_b\\} 50 \\% \\$x\\$ \\textasciitilde{}\\textasciicircum{} \
             \\#1 \\& {[}x{]} "
        );
    }

    #[test]
    fn numbers_of_any_size_are_set() {
        let small = escaped(&significant(1.2e-38));
        let power = "\\textsuperscript{$-$}\\textsuperscript{3}\\textsuperscript{8}";
        assert_eq!(small, format!("1.20 $\\times$ 10{power}"));
        for exponent in -99..=-5 {
            assert!(escaped(&significant(10f64.powi(exponent))).is_ascii(), "{exponent}");
        }
        assert_eq!(escaped("E ρ² and Φ"), "E $\\rho$\\textsuperscript{2} and $\\Phi$");
    }

    #[test]
    fn the_longest_text_of_a_wide_table_is_set_over_several_lines() {
        let sheet = |seen: &str| Sheet {
            title: "Checks".into(),
            columns: vec![("Check".into(), false), ("n".into(), true), ("Seen".into(), false)],
            rows: vec![vec!["a check".into(), "7".into(), seen.into()]],
            legend: Vec::new(),
        };
        assert_eq!(form(&sheet("short")), "lrl");
        let long = form(&sheet(&"words ".repeat(20)));
        assert_eq!(long, "lr>{\\raggedright\\arraybackslash}p{0.91\\textwidth}");
    }

    #[test]
    fn citations_become_keys() {
        let bates = Reference::of(super::super::methods::BATES).expect("known");
        let text = cited("maximum likelihood (Bates et al., 2015), with", &[bates]);
        assert_eq!(text, "maximum likelihood \\cite{bates2015}, with");
    }
}
