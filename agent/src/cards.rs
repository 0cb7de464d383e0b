//! Which graphics cards this process may use, by what its environment says.
//!
//! CUDA numbers the cards that a process sees from 0 on, whatever they are called outside it. The driver
//! leaves out those that `CUDA_VISIBLE_DEVICES` does not name, and those that a control group keeps from
//! being opened; it tells how many are left. What is read here bounds what is tried, and says in words why
//! a card is not seen. A function of texts; opening cards is `device`'s.
//!
//! Source: NVIDIA, CUDA C++ Programming Guide, "CUDA Environment Variables".
//!
//! Floor: shell.

use std::fmt;
use std::ops::Range;

/// The cards that an environment lets a process see.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Visible {
    /// Whichever the driver shows.
    All,
    /// Of the machine's cards these, which the process knows as 0, 1 and so on.
    Only(Vec<Named>),
}

/// A card as `CUDA_VISIBLE_DEVICES` names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Named {
    Number(u32),
    /// `GPU-…` or `MIG-…`, of which the beginning is enough.
    Identity(String),
}

impl Visible {
    /// `variable`: of `CUDA_VISIBLE_DEVICES`, where it is set. As CUDA does: what follows a name that can
    /// be no card's is not seen, so that an empty text, `-1` and `NoDevFiles` show none.
    pub fn read(variable: Option<&str>) -> Self {
        let Some(text) = variable else { return Visible::All };
        Visible::Only(text.split(',').map_while(|name| named(name.trim())).collect())
    }

    /// The cards to try, as the process numbers them, where the driver tells of so many.
    pub fn numbers(&self, told: u32) -> Range<u32> {
        let named = match self {
            Visible::All => CARDS_MAX,
            Visible::Only(names) => u32::try_from(names.len()).unwrap_or(CARDS_MAX),
        };
        0..told.min(named).min(CARDS_MAX)
    }

    /// Why a card of this number is not seen, where the variable is why.
    pub fn why_not(&self, number: u32) -> Option<String> {
        match (self, self.name(number)) {
            (Visible::Only(names), None) if names.is_empty() => {
                Some("CUDA_VISIBLE_DEVICES names no card".to_string())
            }
            (Visible::Only(names), None) => {
                let names: Vec<String> = names.iter().map(Named::to_string).collect();
                let (count, names) = (names.len(), names.join(", "));
                Some(format!("CUDA_VISIBLE_DEVICES names {count}, numbered from 0: {names}"))
            }
            _ => None,
        }
    }

    /// What the machine calls the card that the process knows as `number`.
    pub fn name(&self, number: u32) -> Option<Named> {
        match self {
            Visible::All => Some(Named::Number(number)),
            Visible::Only(names) => names.get(number as usize).cloned(),
        }
    }
}

fn named(name: &str) -> Option<Named> {
    if let Ok(number) = name.parse() {
        return Some(Named::Number(number));
    }
    let known = ["GPU-", "MIG-"].iter().any(|kind| name.starts_with(kind) && name.len() > 4);
    known.then(|| Named::Identity(name.to_string()))
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Named::Number(number) => write!(f, "card {number}"),
            Named::Identity(identity) => f.write_str(identity),
        }
    }
}

/// More cards than any machine has.
pub const CARDS_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn only(names: &[Named]) -> Visible {
        Visible::Only(names.to_vec())
    }

    #[test]
    fn what_the_variable_names_is_seen_and_nothing_behind_what_is_no_card() {
        let (number, named) = (Named::Number, |name: &str| Named::Identity(name.to_string()));
        for (variable, seen) in [
            (None, Visible::All),
            (Some(""), only(&[])),
            (Some("-1"), only(&[])),
            (Some("NoDevFiles"), only(&[])),
            (Some("0"), only(&[number(0)])),
            (Some("3,1"), only(&[number(3), number(1)])),
            (Some(" 2 , 0 "), only(&[number(2), number(0)])),
            (Some("0,-1,1"), only(&[number(0)])),
            (Some("0,x,1"), only(&[number(0)])),
            (Some("0,,1"), only(&[number(0)])),
            (Some("GPU-5c89"), only(&[named("GPU-5c89")])),
            (Some("MIG-c6d4,MIG-7a1b"), only(&[named("MIG-c6d4"), named("MIG-7a1b")])),
            (Some("MIG-GPU-5c89852c/1/0"), only(&[named("MIG-GPU-5c89852c/1/0")])),
            (Some("GPU-"), only(&[])),
        ] {
            assert_eq!(Visible::read(variable), seen, "{variable:?}");
        }
    }

    #[test]
    fn a_process_numbers_what_it_sees_from_0_on() {
        let seen = Visible::read(Some("3,GPU-0123"));
        assert_eq!(seen.numbers(8), 0..2);
        assert_eq!(seen.numbers(1), 0..1, "a control group leaves one");
        assert_eq!(Visible::All.numbers(8), 0..8);
        assert_eq!(Visible::All.numbers(0), 0..0);
        assert_eq!(Visible::All.numbers(9_999), 0..CARDS_MAX);
        assert_eq!(Visible::read(Some("")).numbers(8), 0..0);
        assert_eq!(seen.name(0), Some(Named::Number(3)));
        assert_eq!(seen.name(1), Some(Named::Identity("GPU-0123".to_string())));
        assert_eq!(seen.name(2), None);
        assert_eq!(Visible::All.name(5), Some(Named::Number(5)));
    }

    #[test]
    fn why_a_card_is_not_seen_is_said() {
        let why = |variable, number| Visible::read(variable).why_not(number);
        assert_eq!(why(None, 7), None, "only the driver knows");
        assert_eq!(why(Some("3,1"), 1), None);
        assert_eq!(why(Some("-1"), 0).as_deref(), Some("CUDA_VISIBLE_DEVICES names no card"));
        let said = why(Some("3,MIG-c6d4"), 2).expect("a reason");
        assert_eq!(said, "CUDA_VISIBLE_DEVICES names 2, numbered from 0: card 3, MIG-c6d4");
    }
}
