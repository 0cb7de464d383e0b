//! The words of a formula and where they stand.
//!
//! Positions count characters from 1. Deliberately absent: what the words mean.
//!
//! Floor: common.

use super::formula::FormulaError;

/// One word or sign.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub text: String,
    /// In characters, from 1.
    pub position: usize,
    /// Written between backticks, hence a name whatever it holds.
    pub quoted: bool,
}

impl Token {
    pub fn is_name(&self) -> bool {
        self.quoted || self.text.starts_with(|c: char| c.is_alphabetic() || c == '.' || c == '_')
    }

    pub fn unexpected(self, expected: &'static str) -> FormulaError {
        FormulaError::Unexpected { token: self.text, position: self.position, expected }
    }
}

/// Hands out the tokens one by one.
pub(super) struct Reader {
    tokens: Vec<Token>,
    next: usize,
    end: usize,
}

impl Reader {
    pub fn of(text: &str) -> Result<Self, FormulaError> {
        Ok(Self { tokens: tokens(text)?, next: 0, end: text.chars().count() + 1 })
    }

    pub fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    pub fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += usize::from(token.is_some());
        token
    }

    pub fn take_if(&mut self, symbol: &str) -> Option<Token> {
        let next = self.tokens.get(self.next)?;
        if next.quoted || next.text != symbol { None } else { self.take() }
    }

    pub fn symbol(&mut self, symbol: &str, expected: &'static str) -> Result<(), FormulaError> {
        match self.take() {
            Some(token) if !token.quoted && token.text == symbol => Ok(()),
            Some(token) => Err(token.unexpected(expected)),
            None => Err(self.ends(expected)),
        }
    }

    pub fn name(&mut self, expected: &'static str) -> Result<(String, usize), FormulaError> {
        match self.take() {
            Some(token) if token.is_name() => Ok((token.text, token.position)),
            Some(token) => Err(token.unexpected(expected)),
            None => Err(self.ends(expected)),
        }
    }

    pub fn ends(&self, expected: &'static str) -> FormulaError {
        FormulaError::Ends { position: self.end, expected }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, FormulaError> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        let begin = at;
        let first = characters[at];
        at += 1;
        if first.is_whitespace() {
            continue;
        }
        let mut quoted = false;
        if first == '`' {
            while at < characters.len() && characters[at] != '`' {
                at += 1;
            }
            if at == characters.len() {
                let expected = "a closing backtick";
                return Err(FormulaError::Ends { position: at + 1, expected });
            }
            at += 1;
            quoted = true;
        } else if is_word(first) {
            while at < characters.len() && is_word(characters[at]) {
                at += 1;
            }
        } else if first == '|' && characters.get(at) == Some(&'|') {
            at += 1;
        }
        let inside = if quoted { begin + 1..at - 1 } else { begin..at };
        let text = characters[inside].iter().collect();
        tokens.push(Token { text, position: begin + 1, quoted });
    }
    Ok(tokens)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '.'
}
