//! A strict reader of OpenMetrics text, as a monitor reads it: what breaks the format fails the test.
//!
//! Floor: wiring.

use std::collections::{BTreeMap, BTreeSet};

/// A scrape: what each family is, and every sample by its name and labels.
#[derive(Debug, Default)]
pub struct Scrape {
    /// Name → type.
    pub families: BTreeMap<String, String>,
    samples: BTreeMap<(String, Vec<(String, String)>), f64>,
}

impl Scrape {
    pub fn read(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("it ends with its end");
        let mut scrape = Self::default();
        let mut current: Option<(String, String)> = None;
        let mut helped = BTreeSet::new();
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a name and a text");
                assert!(helped.insert(name.to_string()), "{name} is helped twice");
                assert!(help.len() > 3, "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                assert!(helped.contains(name), "{name} has no help before its type");
                let known = scrape.families.insert(name.to_string(), kind.to_string());
                assert!(known.is_none(), "{name} comes twice");
                current = Some((name.to_string(), kind.to_string()));
            } else {
                let (family, kind) = current.as_ref().expect("a type comes first");
                scrape.sample(line, family, kind);
            }
        }
        scrape.buckets_add_up();
        scrape
    }

    fn sample(&mut self, line: &str, family: &str, kind: &str) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("closed")),
            None => (series, ""),
        };
        let suffixes: &[&str] = match kind {
            "gauge" => &[""],
            "counter" => &["_total"],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            other => panic!("{other} is no type that is told"),
        };
        let own = suffixes.iter().any(|suffix| name == format!("{family}{suffix}"));
        assert!(own, "{name} is no sample of the {kind} {family}");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(value.is_finite() && value >= 0.0, "{line}");
        let before = self.samples.insert((name.to_string(), labels_of(labels)), value);
        assert!(before.is_none(), "twice: {line}");
    }

    fn buckets_add_up(&self) {
        for (family, _) in self.families.iter().filter(|(_, kind)| *kind == "histogram") {
            let bucket = format!("{family}_bucket");
            let bound = |labels: &[(String, String)]| {
                let (name, bound) = labels.first().expect("a bound").clone();
                assert_eq!(name, "le");
                bound.replace("+Inf", "inf").parse::<f64>().expect("a bound")
            };
            let buckets = self.samples.iter().filter(|((name, _), _)| *name == bucket);
            let mut buckets: Vec<(f64, f64)> =
                buckets.map(|((_, labels), count)| (bound(labels), *count)).collect();
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{family}: {buckets:?}");
            let (last, all) = *buckets.last().expect("buckets");
            assert!(last.is_infinite() && all == self.one(&format!("{family}_count")), "{family}");
        }
    }

    /// The names under which samples can be asked for.
    pub fn names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> =
            self.samples.keys().map(|(name, _)| name.clone()).collect();
        // One without samples now may have some later.
        let counters = self.families.iter().map(|(name, kind)| match kind.as_str() {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.clone(),
        });
        names.extend(counters);
        names
    }

    /// The names that are documented: of a histogram the family's.
    pub fn documented(&self) -> BTreeSet<String> {
        let names = self.families.iter().map(|(name, kind)| match kind.as_str() {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.clone(),
        });
        names.collect()
    }

    /// Of a sample without labels.
    pub fn one(&self, name: &str) -> f64 {
        self.labelled(name, &[])
    }

    pub fn labelled(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels: Vec<(String, String)> =
            labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let found = self.samples.get(&(name.to_string(), labels.clone()));
        *found.unwrap_or_else(|| panic!("no {name} {labels:?}"))
    }
}

/// `a="b",c="d"`, in this order.
fn labels_of(text: &str) -> Vec<(String, String)> {
    let mut rest = text;
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").expect("a name and a value");
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(!name.is_empty() && name.chars().all(good), "{text}");
        let (value, after) = after.split_once('"').expect("closed");
        assert!(!value.contains(['\\', '\n']), "{text}");
        labels.push((name.to_string(), value.to_string()));
        rest = after.strip_prefix(',').unwrap_or(after);
        assert!(after.is_empty() || after.starts_with(','), "{text}");
    }
    labels
}
