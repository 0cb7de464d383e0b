//! `report.md`: the page's blocks as Markdown.
//!
//! User text can make neither markup nor a table cell: every character with a meaning in Markdown
//! or HTML is escaped. Deliberately absent: figures, whose tables are written instead.
//!
//! Floor: core.

use super::content::Report;
use super::page::{Block, Sheet, blocks};

pub fn markdown(report: &Report) -> String {
    page(&report.study.name, &blocks(report))
}

/// A whole text under its title.
pub fn page(title: &str, blocks: &[Block]) -> String {
    let mut text = format!("# {}\n\nA random-effects report by seedsweep.\n", escaped(title));
    for block in blocks {
        text.push('\n');
        text += &rendered(block);
    }
    text
}

fn rendered(block: &Block) -> String {
    match block {
        Block::Verdict { kind, text, basis } => {
            format!("> **{}.** {}\n>\n> {}\n", kind.title(), escaped(text), escaped(basis))
        }
        Block::Heading(text) => format!("## {}\n", escaped(text)),
        Block::Text(text) => format!("{}\n", escaped(text)),
        Block::Facts(facts) => {
            facts.iter().map(|(word, value)| item(word, value)).collect::<String>()
        }
        Block::Sheet(sheet) => {
            let legend: String =
                sheet.legend.iter().map(|(word, meaning)| item(word, meaning)).collect();
            format!("### {}\n\n{}\n{legend}", escaped(&sheet.title), table(sheet))
        }
        Block::Figure(figure) => format!(
            "### {}\n\n{}\n\n{}",
            escaped(&figure.sheet.title),
            escaped(&figure.caption),
            table(&figure.sheet)
        ),
        Block::Further { title, blocks } => {
            let blocks: Vec<String> = blocks.iter().map(rendered).collect();
            format!("## {}\n\n{}", escaped(title), blocks.join("\n"))
        }
        Block::Command(text) => format!("```sh\n{}\n```\n", text.replace("```", "")),
        Block::List(items) => items.iter().map(|text| format!("- {}\n", escaped(text))).collect(),
    }
}

fn item(word: &str, value: &str) -> String {
    format!("- **{}**: {}\n", escaped(word), escaped(value))
}

fn table(sheet: &Sheet) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(sheet.columns.iter().map(|(title, _)| escaped(title)).collect());
    text += &line(
        sheet
            .columns
            .iter()
            .map(|(_, number)| if *number { "---:" } else { "---" }.into())
            .collect(),
    );
    for row in &sheet.rows {
        text += &line(row.iter().map(|cell| escaped(cell)).collect());
    }
    text
}

/// Plain text as Markdown that shows it: one line, no control characters, no markup.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for symbol in text.chars() {
        match symbol {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '$' | '!' => {
                safe.push('\\');
                safe.push(symbol);
            }
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            symbol if symbol.is_whitespace() && symbol != '\u{202f}' => safe.push(' '),
            symbol if symbol.is_control() => {}
            symbol => safe.push(symbol),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_cannot_end_its_row() {
        assert_eq!(escaped("a|b\nc"), "a\\|b c");
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("<b>*x*</b> [l](u)\u{1b}"), "&lt;b&gt;\\*x\\*&lt;/b&gt; \\[l\\](u)");
    }
}
