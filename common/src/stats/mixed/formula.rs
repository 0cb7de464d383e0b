//! The formula of a mixed model, in the notation of lme4.
//!
//! `y ~ 1 + x * arm + (1 + x | a) + (1 | b / c)`: `x * arm` stands for `x + arm + x:arm`, `b / c`
//! in a random term for `b` and `b:c`, and `(x || a)` for `(1 | a) + (0 + x | a)`. A parsed formula
//! names each term once, those of fewer variables first, as R does. Deliberately absent: functions
//! of covariates, powers and nesting of fixed effects; each is refused by name and position.
//!
//! Floor: common.

use std::fmt;

use thiserror::Error;

use super::tokens::Reader;

/// A formula that was read. Which of its variables are numbers, only the columns know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formula {
    text: String,
    response: String,
    pub(super) fixed: Effects,
    pub(super) random: Vec<Random>,
}

/// A sum of products of variables: one side of a bar, or the fixed part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    pub intercept: bool,
    /// The variables of each term, in the order in which the formula first names them.
    pub products: Vec<Vec<String>>,
}

/// `(effects | group)`; its effects may be correlated with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Random {
    pub effects: Effects,
    /// The variables of the grouping factor; more than one for an interaction.
    pub group: Vec<String>,
}

/// Why a formula is refused. Positions count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FormulaError {
    #[error("`{token}` at position {position} is not understood; expected {expected}")]
    Unexpected { token: String, position: usize, expected: &'static str },
    #[error("the formula ends at position {position}; expected {expected}")]
    Ends { position: usize, expected: &'static str },
    #[error("the term `{term}` at position {position} is already in the formula; name it once")]
    Repeated { term: String, position: usize },
    #[error("the response `{response}` at position {position} is on the right-hand side too")]
    ResponseExplainsItself { response: String, position: usize },
    #[error("the term before `|` at position {position} holds no effect; write `1 |` or a slope")]
    NoEffect { position: usize },
}

impl Formula {
    /// Reads a formula such as `score ~ arm + (1 | seed) + (1 + dose | fold)`.
    ///
    /// Names are letters, digits, `_` and `.`, not beginning with a digit; any other name goes
    /// between backticks. `0` or `- 1` drops an intercept.
    ///
    /// Errors: [`FormulaError`] names the first token that does not fit, and where it stands.
    pub fn parse(text: &str) -> Result<Self, FormulaError> {
        let mut reader = Reader::of(text)?;
        let response = reader.name("the name of the response")?.0;
        reader.symbol("~", "`~` after the response")?;
        let mut formula = Self {
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            response,
            fixed: Effects::default(),
            random: Vec::new(),
        };
        let mut sum = Sum { intercept: true, ..Sum::default() };
        formula.read_term(&mut reader, &mut sum, true)?;
        while let Some(token) = reader.take() {
            match token.text.as_str() {
                "+" if !token.quoted => formula.read_term(&mut reader, &mut sum, true)?,
                "-" if !token.quoted => formula.read_term(&mut reader, &mut sum, false)?,
                _ => return Err(token.unexpected("`+` between terms")),
            }
        }
        formula.fixed = sum.effects();
        Ok(formula)
    }

    pub fn response(&self) -> &str {
        &self.response
    }

    /// Every variable once, the response first, in the order of the formula.
    pub fn variables(&self) -> Vec<&str> {
        let random = self.random.iter();
        let random =
            random.flat_map(|term| term.effects.products.iter().flatten().chain(&term.group));
        let mut names = vec![self.response.as_str()];
        for name in self.fixed.products.iter().flatten().chain(random) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// Names of the grouping factors, each once: `a`, or `a:b` for an interaction.
    pub fn factors(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for term in &self.random {
            let name = term.group.join(":");
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    fn read_term(
        &mut self,
        reader: &mut Reader,
        sum: &mut Sum,
        added: bool,
    ) -> Result<(), FormulaError> {
        if added && reader.take_if("(").is_some() {
            return self.read_random(reader);
        }
        self.read_summand(reader, sum, added, "a variable, `0`, `1`, or a term in parentheses")
    }

    /// `1`, `0`, a variable, or variables joined by `:` and `*`.
    fn read_summand(
        &self,
        reader: &mut Reader,
        sum: &mut Sum,
        added: bool,
        expected: &'static str,
    ) -> Result<(), FormulaError> {
        let Some(token) = reader.peek().cloned() else {
            return Err(reader.ends("a term"));
        };
        match (token.text.as_str(), added) {
            ("1", _) if !token.quoted => sum.intercept = added,
            ("0", true) if !token.quoted => sum.intercept = false,
            (_, true) if token.is_name() => return self.read_products(reader, sum),
            (_, true) => return Err(token.unexpected(expected)),
            (_, false) => return Err(token.unexpected("`1`: only the intercept can be dropped")),
        }
        reader.take();
        Ok(())
    }

    /// `a`, `a:b`, or `a * b:c`, which stands for `a + b:c + a:b:c`.
    fn read_products(&self, reader: &mut Reader, sum: &mut Sum) -> Result<(), FormulaError> {
        let mut expanded: Vec<Vec<String>> = Vec::new();
        let mut position = None;
        loop {
            let mut product = Vec::new();
            let begin = self.read_interaction(reader, &mut product, "the name of a variable")?;
            let begin = *position.get_or_insert(begin);
            let with: Vec<Vec<String>> = (expanded.iter())
                .map(|before| union(before, &product))
                .chain([product.clone()])
                .collect();
            expanded.extend(with);
            if reader.take_if("*").is_none() {
                return sum.add(expanded, begin);
            }
        }
    }

    /// The rest of `(1 + x | a / b:c)`, after its opening parenthesis.
    fn read_random(&mut self, reader: &mut Reader) -> Result<(), FormulaError> {
        let mut sum = Sum { intercept: true, ..Sum::default() };
        let expected = "`1 |` or a slope, and a grouping factor";
        if reader.peek().is_none() {
            return Err(reader.ends(expected));
        }
        self.read_summand(reader, &mut sum, true, expected)?;
        loop {
            if reader.take_if("+").is_some() {
                self.read_summand(reader, &mut sum, true, "a variable, `0` or `1`")?;
            } else if reader.take_if("-").is_some() {
                self.read_summand(reader, &mut sum, false, "`1`")?;
            } else {
                break;
            }
        }
        let bar = reader.peek().map(|token| token.position);
        let apart = reader.take_if("||").is_some();
        if !apart {
            reader.symbol("|", "`|` before the grouping factor")?;
        }
        let effects = sum.effects();
        if effects == Effects::default() {
            return Err(FormulaError::NoEffect { position: bar.unwrap_or_default() });
        }
        let mut group = Vec::new();
        loop {
            let name = "the name of a grouping factor";
            let position = self.read_interaction(reader, &mut group, name)?;
            for effects in if apart { effects.apart() } else { vec![effects.clone()] } {
                self.add_random(Random { effects, group: group.clone() }, position)?;
            }
            if reader.take_if("/").is_none() {
                break;
            }
        }
        reader.symbol(")", "`)` after the grouping factor")
    }

    fn add_random(&mut self, term: Random, position: usize) -> Result<(), FormulaError> {
        for known in self.random.iter().filter(|known| same(&known.group, &term.group)) {
            let name = term.group.join(":");
            if known.effects.intercept && term.effects.intercept {
                return Err(FormulaError::Repeated { term: name, position });
            }
            let mut products = term.effects.products.iter();
            let twice =
                products.find(|new| known.effects.products.iter().any(|old| same(old, new)));
            if let Some(slope) = twice {
                let term = format!("{} | {name}", slope.join(":"));
                return Err(FormulaError::Repeated { term, position });
            }
        }
        self.random.push(term);
        Ok(())
    }

    /// Appends `a:b:c` to `variables`; returns where it began.
    fn read_interaction(
        &self,
        reader: &mut Reader,
        variables: &mut Vec<String>,
        expected: &'static str,
    ) -> Result<usize, FormulaError> {
        let mut first = None;
        loop {
            let (name, position) = reader.name(expected)?;
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

impl Effects {
    /// Each effect in a term of its own.
    fn apart(&self) -> Vec<Self> {
        let intercept = self.intercept.then(|| Self { intercept: true, products: Vec::new() });
        let slope =
            |product: &Vec<String>| Self { intercept: false, products: vec![product.clone()] };
        intercept.into_iter().chain(self.products.iter().map(slope)).collect()
    }
}

/// A sum that is being read.
#[derive(Default)]
struct Sum {
    intercept: bool,
    /// Each with whether `*` brought it forth.
    products: Vec<(Vec<String>, bool)>,
}

impl Sum {
    /// A product may be named once; where a `*` brings it forth again, nothing is added.
    fn add(&mut self, products: Vec<Vec<String>>, position: usize) -> Result<(), FormulaError> {
        let expanded = products.len() > 1;
        for product in products {
            match self.products.iter().find(|(known, _)| same(known, &product)) {
                None => self.products.push((product, expanded)),
                Some((_, false)) if !expanded => {
                    return Err(FormulaError::Repeated { term: product.join(":"), position });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn effects(self) -> Effects {
        let mut order: Vec<String> = Vec::new();
        for name in self.products.iter().flat_map(|(product, _)| product) {
            if !order.contains(name) {
                order.push(name.clone());
            }
        }
        let place = |name: &String| order.iter().position(|known| known == name);
        let mut products: Vec<Vec<String>> =
            self.products.into_iter().map(|(product, _)| product).collect();
        products.iter_mut().for_each(|product| product.sort_by_key(place));
        products.sort_by_key(Vec::len);
        Effects { intercept: self.intercept, products }
    }
}

/// Whether two products hold the same variables.
pub(super) fn same(a: &[String], b: &[String]) -> bool {
    a.len() == b.len() && a.iter().all(|name| b.contains(name))
}

fn union(a: &[String], b: &[String]) -> Vec<String> {
    let new = b.iter().filter(|name| !a.contains(name));
    a.iter().chain(new).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_grouping_stands_for_itself_and_the_interaction() {
        let formula = Formula::parse("y ~ x+arm + (1|a/b) + (1 | c:d)").unwrap();

        assert_eq!(formula.response(), "y");
        assert_eq!(fixed("y ~ x+arm + (1|a/b)"), "1 + x + arm");
        assert_eq!(formula.factors(), ["a", "a:b", "c:d"]);
        assert_eq!(formula.variables(), ["y", "x", "arm", "a", "b", "c", "d"]);
    }

    #[test]
    fn zero_and_minus_one_drop_the_intercept() {
        assert_eq!(fixed("y ~ 0 + x + (1|a)"), "x");
        assert_eq!(fixed("y ~ x - 1 + (1|a)"), "x");
        assert_eq!(fixed("y ~ 1 + (1|a)"), "1");
        assert_eq!(random("y ~ (x - 1|a)"), ["x | a"]);
    }

    #[test]
    fn a_star_stands_for_all_products() {
        assert_eq!(fixed("y ~ a*b + (1|g)"), "1 + a + b + a:b");
        assert_eq!(fixed("y ~ a*b*c"), "1 + a + b + c + a:b + a:c + b:c + a:b:c");
        assert_eq!(fixed("y ~ a*b + a*c"), "1 + a + b + c + a:b + a:c");
        assert_eq!(fixed("y ~ a*b + a"), "1 + a + b + a:b");
        assert_eq!(fixed("y ~ b:a + c + a"), "1 + c + a + b:a");
    }

    #[test]
    fn random_slopes_bring_an_intercept_unless_it_is_dropped() {
        assert_eq!(random("y ~ (x|a)"), ["1 + x | a"]);
        assert_eq!(random("y ~ (1+x|a)"), ["1 + x | a"]);
        assert_eq!(random("y ~ (0+x|a:b)"), ["x | a:b"]);
        assert_eq!(random("y ~ (x||a)"), ["1 | a", "x | a"]);
        assert_eq!(random("y ~ (0+x+z||a)"), ["x | a", "z | a"]);
        assert_eq!(random("y ~ (1||a)"), ["1 | a"]);
        assert_eq!(random("y ~ (1|a) + (0+x|a)"), ["1 | a", "x | a"]);
        assert_eq!(random("y ~ (x*z|a)"), ["1 + x + z + x:z | a"]);
        assert_eq!(random("y ~ (x|a/b)"), ["1 + x | a", "1 + x | a:b"]);
        assert_eq!(Formula::parse("y ~ (x||a)").unwrap().factors(), ["a"]);
        assert_eq!(Formula::parse("y ~ (x|a)").unwrap().variables(), ["y", "x", "a"]);
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

        assert_eq!(token("y ~ x ^ 2 + (1|a)"), ("^".into(), 7));
        assert_eq!(token("y x"), ("x".into(), 3));
        assert_eq!(token("y ~ log(x)"), ("(".into(), 8));
        assert_eq!(token("y ~ (1|x*a)"), ("*".into(), 9));
        assert_eq!(token("y ~ (2|a)"), ("2".into(), 6));
        assert_eq!(token("y ~ (1|a b)"), ("b".into(), 10));
        assert_eq!(token("y ~ (1 + 2|a)"), ("2".into(), 10));
        assert_eq!(token("y ~ (x - z|a)"), ("z".into(), 10));
        assert_eq!(token("y ~ (x + z)"), (")".into(), 11));
        assert_eq!(token("y ~ x:2"), ("2".into(), 7));
        assert_eq!(token("y ~ 2 + (1|a)"), ("2".into(), 5));
        assert_eq!(token("y ~ x - z"), ("z".into(), 9));
        assert_eq!(
            Formula::parse("y ~ (0|a)"),
            Err(FormulaError::NoEffect { position: 7 }),
            "nothing is left before the bar"
        );
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
        assert!(ends("y ~ x *"));
        assert!(ends("y ~ ("));
        assert!(ends("y ~ (1|a"));
        assert!(ends("y ~ (1|"));
        assert!(ends("y ~ (1 +"));
        assert!(ends("y ~ `x"));
    }

    #[test]
    fn a_term_named_twice_is_refused() {
        for text in [
            "y ~ x + x",
            "y ~ a:b + b:a",
            "y ~ (1|a) + (1|a)",
            "y ~ (1|a) + (x|a)",
            "y ~ (x|a) + (0+x|a)",
            "y ~ (1|a/b) + (1|a:b)",
            "y ~ (1|a:b) + (1|b:a)",
            "y ~ (1|a:a)",
        ] {
            assert!(matches!(Formula::parse(text), Err(FormulaError::Repeated { .. })), "{text}");
        }
        assert_eq!(
            Formula::parse("y ~ (x|a) + (0+x|a)"),
            Err(FormulaError::Repeated { term: "x | a".into(), position: 18 })
        );
        for (text, position) in [("y ~ x + (1|y)", 12), ("y ~ x:y", 7), ("y ~ (y|a)", 6)] {
            let response = "y".into();
            let refusal = Err(FormulaError::ResponseExplainsItself { response, position });
            assert_eq!(Formula::parse(text), refusal, "{text}");
        }
    }

    fn fixed(text: &str) -> String {
        written(&Formula::parse(text).unwrap().fixed)
    }

    fn random(text: &str) -> Vec<String> {
        let terms = Formula::parse(text).unwrap().random;
        terms
            .iter()
            .map(|term| format!("{} | {}", written(&term.effects), term.group.join(":")))
            .collect()
    }

    fn written(effects: &Effects) -> String {
        let intercept = effects.intercept.then(|| "1".to_owned());
        let products = effects.products.iter().map(|product| product.join(":"));
        intercept.into_iter().chain(products).collect::<Vec<_>>().join(" + ")
    }
}
