//! `report.html`: the page's blocks as one self-contained file.
//!
//! No script, no network: the page's own policy forbids both. Every text goes through [`escaped`];
//! only figures, whose texts are escaped as they are drawn, are put in as they are.
//!
//! Floor: core.

use super::content::{Report, VerdictKind};
use super::figures::Figure;
use super::page::{Block, Sheet, blocks};

pub fn html(report: &Report) -> String {
    let made_from = match &report.ledger {
        Some(_) => "the outcomes and the ledger of looks at them",
        None => "the outcomes alone",
    };
    let digest = report.study.digest.get(..12).unwrap_or_default();
    let subject = format!("Study <code>{}</code>", escaped(digest));
    page(
        &report.study.name,
        &blocks(report),
        &format!("{made_from}: the same ones give the same page. {subject}"),
        report.schema,
    )
}

/// A whole page. `origin`, which is markup, ends the sentence "Made by seedsweep from …".
pub fn page(title: &str, blocks: &[Block], origin: &str, schema: &str) -> String {
    let name = escaped(title);
    let mut text = String::with_capacity(128 << 10);
    text += "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
    text += &format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n");
    text += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    text += "<meta name=\"color-scheme\" content=\"light dark\">\n";
    text += "<meta name=\"referrer\" content=\"no-referrer\">\n";
    text += &format!("<title>{name} – seedsweep report</title>\n<style>\n{STYLE}</style>\n");
    text += "</head>\n<body>\n<main>\n<header>\n";
    text += &format!("<p class=\"kicker\">Random-effects report</p>\n<h1>{name}</h1>\n</header>\n");
    for block in blocks {
        text += &rendered(block);
    }
    text += &format!(
        "<footer><p>Made by seedsweep from {origin}, schema <code>{}</code>.</p></footer>\n</main>\n</body>\n\
         </html>\n",
        escaped(schema),
    );
    text
}

fn rendered(block: &Block) -> String {
    match block {
        Block::Verdict { kind, text, basis } => format!(
            "<section class=\"verdict {}\" aria-label=\"Verdict\">\n<p class=\"kind\">{}</p>\n\
             <p class=\"answer\">{}</p>\n<p class=\"basis\">{}</p>\n</section>\n",
            class(*kind),
            kind.title(),
            escaped(text),
            escaped(basis)
        ),
        Block::Heading(text) => format!("<h2>{}</h2>\n", escaped(text)),
        Block::Text(text) => format!("<p>{}</p>\n", escaped(text)),
        Block::Facts(facts) => format!("<dl class=\"facts\">\n{}</dl>\n", terms(facts)),
        Block::Sheet(sheet) => format!(
            "<section class=\"sheet\">\n<h3>{}</h3>\n{}<dl class=\"legend\">\n{}</dl>\n</section>\n",
            escaped(&sheet.title),
            table(sheet),
            terms(&sheet.legend)
        ),
        Block::Figure(figure) => drawn(figure),
        Block::Further { title, blocks } => format!(
            "<details class=\"further\">\n<summary>{}</summary>\n{}</details>\n",
            escaped(title),
            blocks.iter().map(rendered).collect::<String>()
        ),
        Block::Command(text) => format!("<pre><code>{}</code></pre>\n", escaped(text)),
        Block::List(items) => {
            let items: String =
                items.iter().map(|text| format!("<li>{}</li>\n", escaped(text))).collect();
            format!("<ul>\n{items}</ul>\n")
        }
    }
}

fn drawn(figure: &Figure) -> String {
    format!(
        "<figure id=\"{}\">\n<div class=\"wide\">{}</div>\n<div class=\"narrow\">{}</div>\n\
         <figcaption>{}</figcaption>\n<details><summary>The numbers of this figure</summary>\n{}\
         </details>\n</figure>\n",
        figure.name,
        figure.wide,
        figure.narrow,
        escaped(&figure.caption),
        table(&figure.sheet)
    )
}

fn table(sheet: &Sheet) -> String {
    let cell = |tag: &str, number: bool, text: &str| {
        let class = if number { " class=\"n\"" } else { "" };
        format!("<{tag}{class}>{}</{tag}>", escaped(text))
    };
    let heads: String =
        sheet.columns.iter().map(|(title, number)| cell("th", *number, title)).collect();
    let mut text = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table>\n\
         <thead><tr>{heads}</tr></thead>\n<tbody>\n",
        escaped(&sheet.title)
    );
    for row in &sheet.rows {
        let cells: String = row
            .iter()
            .zip(&sheet.columns)
            .map(|(text, (_, number))| cell("td", *number, text))
            .collect();
        let begins = row.first().is_some_and(|cell| !cell.is_empty());
        text += if begins { "<tr class=\"g\">" } else { "<tr>" };
        text += &cells;
        text += "</tr>\n";
    }
    text + "</tbody>\n</table></div>\n"
}

fn terms(pairs: &[(String, String)]) -> String {
    pairs
        .iter()
        .map(|(word, value)| {
            format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escaped(word), escaped(value))
        })
        .collect()
}

fn class(kind: VerdictKind) -> &'static str {
    match kind {
        VerdictKind::Clear | VerdictKind::Equivalent => "clear",
        VerdictKind::PartlyClear | VerdictKind::NotShown | VerdictKind::Lottery => "open",
        VerdictKind::NotEstimable => "none",
        VerdictKind::Described => "described",
    }
}

/// Text that is only text, in an element or in a quoted attribute. Characters that steer what stands
/// beside them are dropped.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for symbol in text.chars() {
        match symbol {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            symbol if steers(symbol) && symbol != '\n' => {}
            symbol => safe.push(symbol),
        }
    }
    safe
}

/// Whether a character is no letter: control characters, and those that turn the direction of
/// writing or have no width.
pub fn steers(symbol: char) -> bool {
    let unseen = ['\u{200b}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2060}'..='\u{206f}'];
    symbol.is_control() || symbol == '\u{feff}' || unseen.iter().any(|part| part.contains(&symbol))
}

/// Nothing is fetched, nothing runs.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const STYLE: &str = include_str!("style.css");
