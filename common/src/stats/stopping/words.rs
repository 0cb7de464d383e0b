//! A decision in sentences, for logs and for people.
//!
//! Floor: common.

use super::super::sources::Reach;
use super::{Aim, Comparison, Decision, End, Next, Rule};

/// What is done, then why: every comparison with its limits, but in a race only those that dropped
/// an arm and those among the arms that are left.
pub fn decision(decision: &Decision, rule: &Rule, names: &[&str]) -> String {
    let blocks = counted(decision.blocks, "seed");
    let mut sentences = vec![match &decision.next {
        Next::GoOn(arms) => {
            let arms: Vec<&str> = arms.iter().map(|arm| named(names, *arm)).collect();
            format!("After {blocks}, go on with {}.", arms.join(", "))
        }
        Next::Stop => format!("Stop after {blocks}."),
    }];
    if rule.aim == Aim::Best {
        let left: Vec<&str> = decision.left().map(|arm| named(names, arm)).collect();
        sentences.push(match left.as_slice() {
            [best] => format!("{best} is the best arm."),
            _ => format!("The best arm is one of {}.", left.join(", ")),
        });
    }
    let out = |arm: usize| decision.arms[arm].lost_to;
    for pair in &decision.comparisons {
        let beaten = out(pair.a) == Some(pair.b) || out(pair.b) == Some(pair.a);
        let left = out(pair.a).is_none() && out(pair.b).is_none();
        if rule.aim == Aim::Baseline || beaten || left {
            sentences.push(comparison(pair, rule, names));
        }
    }
    sentences.push(guarantee(rule, decision.arms.len()));
    sentences.join(" ")
}

fn comparison(pair: &Comparison, rule: &Rule, names: &[&str]) -> String {
    let difference = format!("{} minus {}", named(names, pair.a), named(names, pair.b));
    let Some(look) = pair.look else { return format!("{difference}: too few seeds for a look.") };
    let scale = look.bounds.map_or(look.mean.abs(), |(_, high)| high - look.mean);
    let number = |value: f64| shown(value, scale);
    let limits = match look.bounds {
        Some((low, high)) => format!("limits {} to {}", number(low), number(high)),
        None => "no limits yet".to_string(),
    };
    let after = counted(look.blocks, "seed");
    let start = format!("{difference} is {} after {after}, {limits}", number(look.mean));
    let width = |width: Option<f64>| number(width.unwrap_or_default());
    match pair.end {
        None => format!("{start}: open."),
        Some(End::Differ) => format!("{start}: they differ."),
        Some(End::Equal) => {
            format!("{start}: within {} of 0, equal for all that matters.", width(rule.rope))
        }
        Some(End::Narrow) => {
            format!("{start}: known to {}, as was asked.", width(rule.half_width))
        }
        Some(End::Floor { se, se_floor }) => format!(
            "{start}: more seeds cannot settle it; endless ones would only lower its standard error from {} \
             to {}, the rest is the folds'.",
            shown(se, se),
            shown(se_floor, se)
        ),
        Some(End::NotWorth(expected)) => format!(
            "{start}: further seeds are not worth it; they cost {:.2} and bring {:.2}.",
            expected.cost, expected.value
        ),
        Some(End::Hopeless { chance }) => format!(
            "{start}: the seeds left would settle it with a chance of {:.0} %.",
            100.0 * chance
        ),
        Some(End::Moot) => format!("{start}: one of them is out."),
        Some(End::Planned) => format!("{start}: all planned seeds are there, and it is open."),
    }
}

/// What the limits hold for, and how surely.
fn guarantee(rule: &Rule, arms: usize) -> String {
    let target = match rule.reach {
        Reach::Seeds => {
            "new seeds on these data and folds (T1); whether it holds on other folds no seeds can tell"
        }
        Reach::Folds => "new seeds on new folds that are independent of these",
        Reach::Samples { .. } => "new seeds and a new training sample of the same size (T2)",
    };
    let level = shown(100.0 * (1.0 - rule.alpha), 10.0);
    let of = match (arms, rule.aim) {
        (2, _) => "The limits hold".to_string(),
        (_, Aim::Baseline) => format!("All {} comparisons' limits hold together", arms - 1),
        (_, Aim::Best) => "The best arm stays in".to_string(),
    };
    format!("{of} after every seed at once with {level} %, for {target}.")
}

fn named<'a>(names: &[&'a str], arm: usize) -> &'a str {
    names.get(arm).copied().unwrap_or("?")
}

fn counted(number: u32, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// With two digits of `scale`.
fn shown(value: f64, scale: f64) -> String {
    let places = if scale > 0.0 { (1.0 - scale.log10().floor()).clamp(0.0, 12.0) } else { 4.0 };
    format!("{value:.*}", places as usize)
}
