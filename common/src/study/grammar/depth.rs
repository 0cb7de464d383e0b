//! How deep a text of TOML nests, found before it is parsed.
//!
//! The parser bounds the brackets that are open and the parts of one dotted key, each by itself; a
//! document of dotted keys in inline tables nests as deep as their product, and building and dropping
//! it takes a stack to match.
//!
//! Floor: common.

use std::ops::Range;

use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// Where the text nests deeper than [`NESTING_MAX`] for the first time.
pub(super) fn too_deep(text: &str) -> Option<Range<usize>> {
    // What is open: how it closes, and the dots of the key that it is the value of.
    let mut open: Vec<(TokenKind, usize)> = Vec::new();
    let mut dots = 0;
    let mut depth = 0;
    for token in Source::new(text).lex() {
        let closes = match token.kind() {
            TokenKind::LeftSquareBracket => Some(TokenKind::RightSquareBracket),
            TokenKind::LeftCurlyBracket => Some(TokenKind::RightCurlyBracket),
            _ => None,
        };
        if let Some(closes) = closes {
            open.push((closes, dots));
            depth += dots + 1;
            dots = 0;
        }
        match token.kind() {
            TokenKind::Dot => dots += 1,
            TokenKind::Comma => dots = 0,
            TokenKind::Newline if open.is_empty() => dots = 0,
            kind if open.last().is_some_and(|(closes, _)| *closes == kind) => {
                let (_, before) = open.pop().unwrap_or((kind, 0));
                depth -= before + 1;
                dots = 0;
            }
            _ => {}
        }
        if depth + dots > NESTING_MAX {
            return Some(token.span().start()..token.span().end());
        }
    }
    None
}

/// A study file needs four levels.
pub(super) const NESTING_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_brackets_count_together() {
        let dotted = ["a"; 9].join(".");
        let inline = |levels: usize| {
            format!("k = {}1{}", format!("{{ {dotted} = ").repeat(levels), " }".repeat(levels))
        };
        assert_eq!(too_deep(&inline(6)), None);
        assert!(too_deep(&inline(8)).is_some());
    }

    #[test]
    fn what_was_closed_counts_no_more() {
        let wide = format!("k = [{}]\n", "{ a.b = 1.5 }, ".repeat(1000));
        assert_eq!(too_deep(&wide), None);
        assert_eq!(too_deep(&"[a.b.c]\nd.e = [[1.5], [2.5]]\n".repeat(1000)), None);
    }

    #[test]
    fn a_bracket_in_a_text_or_a_comment_opens_nothing() {
        let brackets = "[{".repeat(NESTING_MAX);
        assert_eq!(too_deep(&format!("k = \"{brackets}\" # {brackets}")), None);
    }
}
