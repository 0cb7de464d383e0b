//! The formula of a mixed model, in the notation of lme4.
//!
//! `y ~ 1 + x + arm + (1 | a) + (1 | b / c)`: `a / b` stands for `a` and `a:b`. A parsed formula
//! names each term once. Deliberately absent: interactions and functions of fixed covariates, and
//! random slopes; each is refused by name and position.
//!
//! Floor: common.

use std::fmt;

use thiserror::Error;

/// A formula that was read. Which of its variables are numbers, only the columns know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formula {
    text: String,
    response: String,
    pub(super) intercept: bool,
    pub(super) fixed: Vec<String>,
    /// The variables of each grouping factor; more than one for an interaction.
    pub(super) random: Vec<Vec<String>>,
}

/// Why a formula is refused. Positions count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FormulaError {
    #[error("`{token}` at position {position} is not understood; expected {expected}")]
    Unexpected { token: String, position: usize, expected: &'static str },
    #[error("the formula ends at position {position}; expected {expected}")]
    Ends { position: usize, expected: &'static str },
    #[error(
        "`{token}` at position {position} asks for a random slope; only random intercepts such \
         as `(1 | seed)` are fitted"
    )]
    RandomSlope { token: String, position: usize },
    #[error("the term `{term}` at position {position} is already in the formula; name it once")]
    Repeated { term: String, position: usize },
    #[error("the response `{response}` at position {position} is on the right-hand side too")]
    ResponseExplainsItself { response: String, position: usize },
}

impl Formula {
    /// Reads a formula such as `score ~ arm + (1 | seed) + (1 | fold)`.
    ///
    /// Names are letters, digits, `_` and `.`, not beginning with a digit; any other name goes
    /// between backticks. `0` or `- 1` drops the fixed intercept.
    ///
    /// Errors: [`FormulaError`] names the first token that does not fit, and where it stands.
    pub fn parse(text: &str) -> Result<Self, FormulaError> {
        let mut reader = Reader { tokens: tokens(text)?, next: 0, end: text.chars().count() + 1 };
        let response = reader.name("the name of the response")?.0;
        reader.symbol("~", "`~` after the response")?;
        let mut formula = Self {
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            response,
            intercept: true,
            fixed: Vec::new(),
            random: Vec::new(),
        };
        formula.read_term(&mut reader, true)?;
        while let Some(token) = reader.take() {
            match token.text.as_str() {
                "+" if !token.quoted => formula.read_term(&mut reader, true)?,
                "-" if !token.quoted => formula.read_term(&mut reader, false)?,
                _ => return Err(token.unexpected("`+` between terms")),
            }
        }
        Ok(formula)
    }

    pub fn response(&self) -> &str {
        &self.response
    }

    /// Every variable once, the response first, in the order of the formula.
    pub fn variables(&self) -> Vec<&str> {
        let mut names = vec![self.response.as_str()];
        for name in self.fixed.iter().chain(self.random.iter().flatten()) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// Names of the grouping factors: `a`, or `a:b` for an interaction.
    pub fn factors(&self) -> Vec<String> {
        self.random.iter().map(|variables| variables.join(":")).collect()
    }

    fn read_term(&mut self, reader: &mut Reader, added: bool) -> Result<(), FormulaError> {
        let Some(token) = reader.take() else {
            return Err(reader.ends("a term"));
        };
        match (token.text.as_str(), added) {
            ("1", _) if !token.quoted => self.intercept = added,
            ("0", true) if !token.quoted => self.intercept = false,
            ("(", true) if !token.quoted => self.read_random(reader)?,
            (_, true) if token.is_name() => self.add_fixed(token)?,
            (_, true) => {
                return Err(token.unexpected("a variable, `0`, `1`, or a term in parentheses"));
            }
            (_, false) => return Err(token.unexpected("`1`: only the intercept can be dropped")),
        }
        Ok(())
    }

    fn add_fixed(&mut self, token: Token) -> Result<(), FormulaError> {
        let position = token.position;
        if token.text == self.response {
            return Err(FormulaError::ResponseExplainsItself { response: token.text, position });
        }
        if self.fixed.contains(&token.text) {
            return Err(FormulaError::Repeated { term: token.text, position });
        }
        self.fixed.push(token.text);
        Ok(())
    }

    /// The rest of `(1 | a / b:c)`, after its opening parenthesis.
    fn read_random(&mut self, reader: &mut Reader) -> Result<(), FormulaError> {
        let Some(token) = reader.take() else {
            return Err(reader.ends("`1 |` and a grouping factor"));
        };
        if token.is_name() || token.text == "0" {
            return Err(FormulaError::RandomSlope { token: token.text, position: token.position });
        }
        if token.quoted || token.text != "1" {
            return Err(token.unexpected("`1 |` and a grouping factor"));
        }
        if let Some(plus) = reader.take_if("+") {
            let (text, position) = match reader.take() {
                Some(slope) => (slope.text, slope.position),
                None => (plus.text, plus.position),
            };
            return Err(FormulaError::RandomSlope { token: text, position });
        }
        reader.symbol("|", "`|` before the grouping factor")?;
        let mut variables = Vec::new();
        loop {
            let position = self.read_interaction(reader, &mut variables)?;
            if self.random.contains(&variables) {
                return Err(FormulaError::Repeated { term: variables.join(":"), position });
            }
            self.random.push(variables.clone());
            if reader.take_if("/").is_none() {
                break;
            }
        }
        reader.symbol(")", "`)` after the grouping factor")
    }

    /// Appends `a:b:c` to `variables`; returns where it began.
    fn read_interaction(
        &self,
        reader: &mut Reader,
        variables: &mut Vec<String>,
    ) -> Result<usize, FormulaError> {
        let mut first = None;
        loop {
            let (name, position) = reader.name("the name of a grouping factor")?;
            if name == self.response {
                return Err(FormulaError::ResponseExplainsItself { response: name, position });
            }
            if variables.contains(&name) {
                return Err(FormulaError::Repeated { term: name, position });
            }
            variables.push(name);
            let begin = *first.get_or_insert(position);
            if reader.take_if(":").is_none() {
                return Ok(begin);
            }
        }
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    /// In characters, from 1.
    position: usize,
    /// Written between backticks, hence a name whatever it holds.
    quoted: bool,
}

impl Token {
    fn is_name(&self) -> bool {
        self.quoted || self.text.starts_with(|c: char| c.is_alphabetic() || c == '.' || c == '_')
    }

    fn unexpected(self, expected: &'static str) -> FormulaError {
        FormulaError::Unexpected { token: self.text, position: self.position, expected }
    }
}

struct Reader {
    tokens: Vec<Token>,
    next: usize,
    end: usize,
}

impl Reader {
    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += usize::from(token.is_some());
        token
    }

    fn take_if(&mut self, symbol: &str) -> Option<Token> {
        let next = self.tokens.get(self.next)?;
        if next.quoted || next.text != symbol { None } else { self.take() }
    }

    fn symbol(&mut self, symbol: &str, expected: &'static str) -> Result<(), FormulaError> {
        match self.take() {
            Some(token) if !token.quoted && token.text == symbol => Ok(()),
            Some(token) => Err(token.unexpected(expected)),
            None => Err(self.ends(expected)),
        }
    }

    fn name(&mut self, expected: &'static str) -> Result<(String, usize), FormulaError> {
        match self.take() {
            Some(token) if token.is_name() => Ok((token.text, token.position)),
            Some(token) => Err(token.unexpected(expected)),
            None => Err(self.ends(expected)),
        }
    }

    fn ends(&self, expected: &'static str) -> FormulaError {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_grouping_stands_for_itself_and_the_interaction() {
        let formula = Formula::parse("y ~ x+arm + (1|a/b) + (1 | c:d)").unwrap();

        assert_eq!(formula.response(), "y");
        assert_eq!(formula.fixed, ["x", "arm"]);
        assert_eq!(formula.factors(), ["a", "a:b", "c:d"]);
        assert_eq!(formula.variables(), ["y", "x", "arm", "a", "b", "c", "d"]);
        assert!(formula.intercept);
    }

    #[test]
    fn zero_and_minus_one_drop_the_intercept() {
        assert!(!Formula::parse("y ~ 0 + x + (1|a)").unwrap().intercept);
        assert!(!Formula::parse("y ~ x - 1 + (1|a)").unwrap().intercept);
        assert!(Formula::parse("y ~ 1 + (1|a)").unwrap().intercept);
    }

    #[test]
    fn backticks_quote_any_name() {
        let formula = Formula::parse("`Dice (mean)` ~ (1|`outer fold`)").unwrap();

        assert_eq!(formula.variables(), ["Dice (mean)", "outer fold"]);
    }

    #[test]
    fn error_names_the_token_and_its_position() {
        let token = |text: &str| match Formula::parse(text).unwrap_err() {
            FormulaError::Unexpected { token, position, .. } => (token, position),
            other => panic!("{other}"),
        };

        assert_eq!(token("y ~ x * z + (1|a)"), ("*".into(), 7));
        assert_eq!(token("y x"), ("x".into(), 3));
        assert_eq!(token("y ~ log(x)"), ("(".into(), 8));
        assert_eq!(token("y ~ (1||a)"), ("||".into(), 7));
        assert_eq!(token("y ~ (2|a)"), ("2".into(), 6));
        assert_eq!(token("y ~ (1|a b)"), ("b".into(), 10));
        assert_eq!(token("y ~ 2 + (1|a)"), ("2".into(), 5));
        assert_eq!(token("y ~ x - z"), ("z".into(), 9));
    }

    #[test]
    fn an_unfinished_formula_says_what_is_missing() {
        let ends = |text: &str| {
            matches!(Formula::parse(text), Err(FormulaError::Ends { position, .. })
                if position == text.chars().count() + 1)
        };

        assert!(ends(""));
        assert!(ends("y ~"));
        assert!(ends("y ~ x +"));
        assert!(ends("y ~ (1|a"));
        assert!(ends("y ~ (1|"));
        assert!(ends("y ~ `x"));
    }

    #[test]
    fn random_slopes_are_refused_by_name() {
        let slope = |text: &str| {
            matches!(Formula::parse(text), Err(FormulaError::RandomSlope { token, position })
                if token == "x" && text.chars().nth(position - 1) == Some('x'))
        };

        assert!(slope("y ~ (x|a)"));
        assert!(slope("y ~ (1 + x|a)"));
        assert!(matches!(
            Formula::parse("y ~ (0 + x|a)"),
            Err(FormulaError::RandomSlope { position: 6, .. })
        ));
    }

    #[test]
    fn a_term_named_twice_is_refused() {
        for text in ["y ~ x + x", "y ~ (1|a) + (1|a)", "y ~ (1|a/b) + (1|a:b)", "y ~ (1|a:a)"] {
            assert!(matches!(Formula::parse(text), Err(FormulaError::Repeated { .. })), "{text}");
        }
        assert!(matches!(
            Formula::parse("y ~ x + (1|y)"),
            Err(FormulaError::ResponseExplainsItself { position: 12, .. })
        ));
    }
}
