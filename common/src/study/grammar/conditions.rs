//! What is ruled out of a space: axes that exist only where another one has some value, and configs whose
//! numbers are together too large.
//!
//! Floor: common.

use super::super::finding::{At, Inspection};
use super::walk::{Item, Section};
use crate::space::{Condition, Constraint, Form, Space, Value};

/// Reads a value as the axis that the item is named after takes it.
pub(super) type Read<'r> = &'r dyn Fn(&Item<'_>, &mut Inspection<'_>) -> Option<Value>;

/// The list in `{ values = […], when = { … } }`, called as the axis is. `None` for another table.
pub(super) fn values<'a>(item: &Item<'a>, inspection: &mut Inspection<'_>) -> Option<Item<'a>> {
    item.section_any(&item.name, inspection)?.find("values")?;
    let section = item.section(&item.name, &["values", "when"], inspection)?;
    let mut list = section.find("values")?.clone();
    list.name.clone_from(&item.name);
    Some(list)
}

/// `when = { optimizer = "sgd" }` of an axis, or a list of values; where several are named all must hold.
pub(super) fn when(
    axis: &Item<'_>,
    read: Read<'_>,
    inspection: &mut Inspection<'_>,
) -> Vec<At<Condition>> {
    let table = axis.is_table().then(|| axis.section_any(&axis.name, inspection)).flatten();
    let Some(written) = table.as_ref().and_then(|table| table.find("when")) else {
        return Vec::new();
    };
    let Some(section) = written.section_any("when", inspection) else { return Vec::new() };
    let mut conditions = Vec::new();
    for (span, other) in section.entries() {
        let several =
            if other.is_list() { other.list(inspection) } else { Some(vec![other.clone()]) };
        let several = several.unwrap_or_default();
        let values: Vec<Value> =
            several.iter().filter_map(|value| read(value, inspection)).collect();
        if values.len() == several.len() && !values.is_empty() {
            let (axis, on) = (axis.name.clone(), other.name.clone());
            conditions.push(At { value: Condition { axis, on, values }, span: span.clone() });
        } else if several.is_empty() && other.is_list() {
            let message = format!("`{}` never exists: `when` lists no value", axis.name);
            inspection.refuse(&other.span, message, "list at least one, or take `when` out");
        }
    }
    if section.entries().next().is_none() {
        let help = "write for example: when = { optimizer = \"sgd\" }, or take it out";
        inspection.refuse(&written.span, "`when` names nothing that it depends on", help);
    }
    conditions
}

/// `constraints = [{ product = ["batch", "width"], most = 4096 }]` beside a space.
pub(super) fn constraints(
    arm: &Section<'_>,
    inspection: &mut Inspection<'_>,
) -> Vec<At<Constraint>> {
    let Some(item) = arm.find("constraints") else { return Vec::new() };
    if arm.find("space").is_none() {
        let help = "add a space, or take `constraints` out";
        inspection.refuse(&item.span, "`constraints` are about a space, and there is none", help);
    }
    let mut constraints = Vec::new();
    for item in item.list(inspection).unwrap_or_default() {
        let known = ["sum", "product", "most"];
        let Some(section) = item.section("a constraint", &known, inspection) else { continue };
        let most = section.require("most", "most = 4096", inspection);
        let most = most.and_then(|most| most.number("finite", |_| true, inspection));
        let (form, axes) = match (section.find("sum"), section.find("product")) {
            (Some(sum), None) => (Form::Sum, sum),
            (None, Some(product)) => (Form::Product, product),
            _ => {
                if !section.is_misspelt("sum") && !section.is_misspelt("product") {
                    let message = "a constraint is on a sum or on a product";
                    let help =
                        "write for example: { product = [\"batch\", \"width\"], most = 4096 }";
                    inspection.refuse(&item.span, message, help);
                }
                continue;
            }
        };
        let named: Vec<String> = axes.texts(inspection).into_iter().map(|at| at.value).collect();
        if let (Some(most), false) = (most, named.is_empty()) {
            let value = Constraint { form, axes: named, most: most.value };
            constraints.push(At { value, span: item.span.clone() });
        }
    }
    constraints
}

/// Takes them into the space; refuses each that makes no sense there. `written`: names of the axes as they
/// stand in the file; what is about one that could not be read has its finding already.
pub(super) fn settle(
    space: &mut Space,
    written: &[&str],
    conditions: Vec<At<Condition>>,
    constraints: Vec<At<Constraint>>,
    inspection: &mut Inspection<'_>,
) {
    let broken = |space: &Space, name: &String| {
        written.contains(&name.as_str()) && !space.axes.iter().any(|(axis, _)| axis == name)
    };
    for At { value: condition, span } in conditions {
        if broken(space, &condition.axis) || broken(space, &condition.on) {
            continue;
        }
        space.conditions.push(condition);
        if let Err(error) = space.check() {
            inspection.refuse(&span, error.to_string(), "");
            space.conditions.pop();
        }
    }
    for At { value: constraint, span } in constraints {
        if constraint.axes.iter().any(|axis| broken(space, axis)) {
            continue;
        }
        space.constraints.push(constraint);
        if let Err(error) = space.check() {
            inspection.refuse(&span, error.to_string(), "");
            space.constraints.pop();
        }
    }
}
