//! Labels that agents have, and those that a study's arms require of whoever trains them.
//!
//! Where a trial is trained is not what it is: nothing of this is in an arm as written, nor in a trial's
//! digest. Deliberately absent: who is where, which the coordinator's leader alone knows.
//!
//! Floor: common.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::{NAME_MAX, is_name};

/// What an agent is known by: one value a key.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Labels(BTreeMap<String, String>);

/// One label as a user writes it: `site=east`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Label {
    pub key: String,
    pub value: String,
}

/// Which labels an agent must have: of each key one of some values.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Requires(BTreeMap<String, BTreeSet<String>>);

/// Why a text is no label, or one that an agent cannot have.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum LabelError {
    #[error("{text:?} is no label; write KEY=VALUE, such as site=east")]
    NoPair { text: String },
    #[error(
        "label {text:?} cannot be used: key and value have 1 to {NAME_MAX} letters, digits, dots, dashes \
         and underscores, no dot first"
    )]
    Unusable { text: String },
    #[error("an agent finds out its label `{key}` by itself; give yours another key")]
    Own { key: String },
    #[error("label `{key}` is given twice; an agent has one value of each")]
    Twice { key: String },
    #[error("{count} labels are given; an agent has at most {LABELS_MAX}")]
    TooMany { count: usize },
}

impl Labels {
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// What an agent finds out by itself and what its user gave it.
    ///
    /// Errors: a key that is given twice, or that the agent itself knows; more than [`LABELS_MAX`].
    pub fn with(mut self, given: Vec<Label>) -> Result<Self, LabelError> {
        let mut seen = BTreeSet::new();
        for Label { key, value } in given {
            if OWN.contains(&key.as_str()) {
                return Err(LabelError::Own { key });
            }
            if !seen.insert(key.clone()) {
                return Err(LabelError::Twice { key });
            }
            self.0.insert(key, value);
        }
        match self.0.len() {
            0..=LABELS_MAX => Ok(self),
            count => Err(LabelError::TooMany { count }),
        }
    }

    /// Keeps a label that can be one; any other is left out.
    pub fn insert(&mut self, key: &str, value: &str) {
        if is_name(key) && is_name(value) {
            self.0.insert(key.to_string(), value.to_string());
        }
    }

    /// Those of a text in which characters that no label has are dashes.
    pub fn insert_like(&mut self, key: &str, text: &str) {
        let plain = |c: char| match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') => c,
            _ => '-',
        };
        let value: String = text.chars().take(NAME_MAX).map(plain).collect();
        self.insert(key, &value);
    }

    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first [`LABELS_MAX`] that can be labels; asked of those that came from elsewhere.
    pub fn bounded(self) -> Self {
        let sound = |(key, value): &(String, String)| is_name(key) && is_name(value);
        Self(self.0.into_iter().filter(sound).take(LABELS_MAX).collect())
    }
}

impl fmt::Display for Labels {
    /// `arch=x86_64 device=cpu`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&all.join(" "))
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let text = text.to_string();
        let Some((key, value)) = text.split_once('=') else {
            return Err(LabelError::NoPair { text });
        };
        match is_name(key) && is_name(value) {
            true => Ok(Label { key: key.to_string(), value: value.to_string() }),
            false => Err(LabelError::Unusable { text }),
        }
    }
}

impl Requires {
    /// One of `values` of the label `key` is asked for too.
    pub fn insert(&mut self, key: String, values: BTreeSet<String>) {
        self.0.insert(key, values);
    }

    /// The values that are good of a key; `None`: any, and none at all.
    pub fn values(&self, key: &str) -> Option<&BTreeSet<String>> {
        self.0.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &BTreeSet<String>)> {
        self.0.iter()
    }

    /// Whether any agent will do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an agent with these labels will do.
    pub fn are_met_by(&self, labels: &Labels) -> bool {
        let met = |(key, values): (&String, &BTreeSet<String>)| {
            labels.0.get(key).is_some_and(|value| values.contains(value))
        };
        self.0.iter().all(met)
    }

    /// What of it an agent with these labels lacks.
    pub fn lacking(&self, labels: &Labels) -> Requires {
        let lacks = |(key, values): &(&String, &BTreeSet<String>)| {
            labels.0.get(*key).is_none_or(|value| !values.contains(value))
        };
        let lacking = self.0.iter().filter(lacks);
        Self(lacking.map(|(key, values)| (key.clone(), values.clone())).collect())
    }

    /// Whether it is such as a study file may hold; asked of what came from elsewhere.
    pub fn is_sound(&self) -> bool {
        let sound = |(key, values): (&String, &BTreeSet<String>)| {
            let few = (1..=VALUES_MAX).contains(&values.len());
            is_name(key) && few && values.iter().all(|value| is_name(value))
        };
        self.0.len() <= KEYS_MAX && self.0.iter().all(sound)
    }
}

impl fmt::Display for Requires {
    /// `device=cuda, site=east|west`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |(key, values): (&String, &BTreeSet<String>)| {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            format!("{key}={}", values.join("|"))
        };
        f.write_str(&self.0.iter().map(one).collect::<Vec<_>>().join(", "))
    }
}

/// `an agent with site=east; 2 agents are here, none may train it`, for what waits.
pub fn none_may_train(needs: &dyn fmt::Display, agents: u64) -> String {
    match agents {
        0 => format!("{needs}; no agent is here"),
        1 => format!("{needs}; 1 agent is here, and may not train it"),
        agents => format!("{needs}; {agents} agents are here, none may train it"),
    }
}

/// What trains: `cpu` or `cuda`, as [`DEVICES`] has them.
pub const DEVICE: &str = "device";
/// The machine's own name.
pub const HOST: &str = "host";
/// The processor's kind, such as `x86_64`.
pub const ARCH: &str = "arch";
/// What every agent finds out by itself.
pub const OWN: [&str; 3] = [ARCH, DEVICE, HOST];
pub const DEVICES: [&str; 2] = ["cpu", "cuda"];

/// Labels of one agent.
pub const LABELS_MAX: usize = 32;
/// Keys that one arm may require.
pub const KEYS_MAX: usize = 16;
/// Values of one key that are good.
pub const VALUES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(texts: &[&str]) -> Labels {
        let given = texts.iter().map(|text| text.parse().expect("a label")).collect();
        Labels::none().with(given).expect("labels")
    }

    fn requires(all: &[(&str, &[&str])]) -> Requires {
        let mut requires = Requires::default();
        for (key, values) in all {
            requires.insert(key.to_string(), values.iter().map(|v| v.to_string()).collect());
        }
        requires
    }

    #[test]
    fn all_keys_are_asked_for_and_one_value_of_each() {
        let asked = requires(&[("gpu", &["a100", "h100"]), ("site", &["east"])]);
        assert!(asked.are_met_by(&labels(&["gpu=h100", "site=east", "rack=7"])));
        assert!(!asked.are_met_by(&labels(&["gpu=h100"])));
        assert!(!asked.are_met_by(&labels(&["gpu=t4", "site=east"])));
        assert!(Requires::default().are_met_by(&Labels::none()));
        assert_eq!(asked.to_string(), "gpu=a100|h100, site=east");
        let lacking = asked.lacking(&labels(&["gpu=h100", "site=west"]));
        assert_eq!(lacking, requires(&[("site", &["east"])]));
    }

    #[test]
    fn a_label_is_a_pair_of_names() {
        assert_eq!(
            "gpu=a100".parse(),
            Ok(Label { key: "gpu".to_string(), value: "a100".to_string() })
        );
        for text in ["gpu", "", "=a", "a=", "a=b=c", "a b=c", "a=b c", "a=\u{202e}", "a=é"] {
            assert!(text.parse::<Label>().is_err(), "{text:?}");
        }
        let long = "x".repeat(NAME_MAX + 1);
        assert!(format!("a={long}").parse::<Label>().is_err());
    }

    #[test]
    fn an_agents_own_labels_are_not_for_its_user_to_say() {
        let mut own = Labels::none();
        own.insert(DEVICE, "cpu");
        let given = |text: &str| vec![text.parse().expect("a label")];
        let key = DEVICE.to_string();
        assert_eq!(own.clone().with(given("device=cuda")), Err(LabelError::Own { key }));
        let twice = vec!["a=b".parse().expect("a label"), "a=c".parse().expect("a label")];
        assert!(matches!(own.clone().with(twice), Err(LabelError::Twice { .. })));
        let many = (0..LABELS_MAX).map(|n| format!("a{n}=b").parse().expect("a label")).collect();
        assert_eq!(own.with(many), Err(LabelError::TooMany { count: LABELS_MAX + 1 }));
    }

    #[test]
    fn what_comes_from_elsewhere_is_held_to_the_same_bounds() {
        let mut odd = labels(&["site=east"]);
        odd.0.insert("a\n".to_string(), "b".to_string());
        odd.0.insert("c".to_string(), "\u{1b}[2J".to_string());
        assert_eq!(odd.bounded(), labels(&["site=east"]));
        let many = (0..99).map(|n| (format!("k{n}"), "v".to_string())).collect();
        assert_eq!(Labels(many).bounded().0.len(), LABELS_MAX);
        assert!(!requires(&[("a", &[])]).is_sound());
        assert!(!requires(&[("a b", &["c"])]).is_sound());
        assert!(!requires(&[("a", &["b c"])]).is_sound());
        assert!(requires(&[("a", &["b", "c"])]).is_sound());
    }

    #[test]
    fn a_machines_name_is_a_label_whatever_is_in_it() {
        let mut own = Labels::none();
        own.insert_like(HOST, &format!("rack 7/{}", "x".repeat(99)));
        assert!(own.value(HOST).is_some_and(|host| host.starts_with("rack-7-x")));
        own.insert_like(HOST, "");
        assert!(own.value(HOST).is_some(), "nothing is no name: the old one stays");
    }
}
