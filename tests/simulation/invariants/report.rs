//! R9: a study's report is a function of its committed outcomes and looks: every replica writes the same bytes.
//!
//! Floor: wiring.

use common::id::StudyId;
use common::wire::message::{OutcomeRow, RowEnd};
use coordinator::report::{self, Looks, Material};
use coordinator::scheduler::state::{State, TrialState, short_digest};

use super::{Invariant, Plan, Seen, World};
use crate::simulation::disk::Rows;

pub struct ReportIsPure {
    /// Reports take longer than schedules: they are written in some of them.
    writes: bool,
}

impl ReportIsPure {
    pub fn new(plan: &Plan) -> Self {
        Self { writes: plan.seed.is_multiple_of(97) }
    }
}

/// The rows are those of the state.
fn match_state(rows: &Rows, state: &State) -> Result<(), String> {
    for (study, record) in &state.studies {
        for trial in record.in_state(TrialState::Complete) {
            let row = rows.get(&(*study, trial)).map(|row| &row.end);
            let digest = match row {
                Some(RowEnd::Complete(outcome)) => Some(short_digest(&outcome.digest())),
                _ => None,
            };
            if digest != Some(record.digest(trial)) {
                return Err(format!(
                    "trial {trial} of {study} is complete, and its row is {row:?}"
                ));
            }
        }
        let ended = record.complete + record.failed;
        let kept =
            rows.range((*study, common::id::TrialIndex(0))..).take_while(|((s, _), _)| s == study);
        let kept = kept.count() as u64;
        if kept != ended {
            return Err(format!("{study} has {ended} ended trials and {kept} rows"));
        }
    }
    Ok(())
}

fn write(rows: &Rows, state: &State, study: StudyId) -> String {
    let record = &state.studies[&study];
    let rows: Vec<OutcomeRow> =
        rows.iter().filter(|((s, _), _)| *s == study).map(|(_, row)| (**row).clone()).collect();
    let material = Material {
        cancelled: record.cancelled,
        violations: &record.violations,
        differing: record.differing,
        looks: looks(state, study),
        ..Material::of(&record.study, &rows)
    };
    let built = report::build(&material);
    format!("{}{}", report::json(&built), report::html(&built))
}

/// The report that the latest look would be shown.
fn looks(state: &State, study: StudyId) -> Option<Looks<'_>> {
    let ledger = state.ledgers.get(&study)?;
    Some(Looks { ledger, this: ledger.looks(), sealing: None })
}

impl Invariant for ReportIsPure {
    const RULE: &'static str = "R9: the report is a function of the committed outcomes";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Installed { replica, rows, node } => match_state(rows, node.state())
                .map_err(|what| format!("{replica} installed a snapshot: {what}")),
            _ => Ok(()),
        }
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        let mut first: Option<(Rows, Vec<String>)> = None;
        for (replica, process) in world.members() {
            let (rows, state) = (replica.rows(), process.node.state());
            match_state(&rows, state).map_err(|what| format!("{}: {what}", replica.id))?;
            let mut reports = Vec::new();
            if self.writes {
                reports.extend(state.studies.keys().map(|study| write(&rows, state, *study)));
            }
            match &first {
                None => first = Some((rows, reports)),
                Some(first) if *first != (rows, reports) => {
                    return Err(format!("{} would write another report", replica.id));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
