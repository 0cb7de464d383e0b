//! Outcomes that a new study takes over from earlier ones of the same cluster.
//!
//! A trial's digest names the training itself, so a study grown from 10 to 20 seeds trains only what
//! is new. What is taken over goes through the log like any outcome: the first one committed stands.
//!
//! Floor: shell.

use std::collections::BTreeMap;

use common::design::Design;
use common::id::{Digest, StudyId, TrialIndex};
use common::study::Study;
use common::wire::message::{OutcomeRow, Request, Response, RowEnd};

use crate::driver::Handle;

/// Gives a new study the outcomes that earlier studies have of its trials; returns how many.
pub async fn reuse(handle: &Handle, id: StudyId) -> u64 {
    let Some(study) = study_of(handle, id).await else { return 0 };
    let Response::Status { studies } = handle.ask_own(Request::Status { study: None }).await else {
        return 0;
    };
    let mut wanted: Option<BTreeMap<Digest, TrialIndex>> = None;
    let mut taken = 0;
    for earlier in studies.iter().rev().filter(|status| status.id != id && status.complete > 0) {
        let Some(other) = study_of(handle, earlier.id).await else { continue };
        if !could_share(&study, &other) {
            continue;
        }
        if wanted.is_none() {
            let study = study.clone();
            wanted = tokio::task::spawn_blocking(move || digests(&study)).await.ok();
        }
        let Some(wanted) = &mut wanted else { return taken };
        taken += take_from(handle, id, earlier.id, &other, wanted).await;
    }
    taken
}

async fn take_from(
    handle: &Handle,
    id: StudyId,
    earlier: StudyId,
    other: &Study,
    wanted: &mut BTreeMap<Digest, TrialIndex>,
) -> u64 {
    let design = Design::of(other);
    let (mut taken, mut from) = (0, Some(TrialIndex(0)));
    while let (Some(first), false) = (from, wanted.is_empty()) {
        let page = handle.outcomes(earlier, first).await;
        let Response::Outcomes { rows, next } = page else { return taken };
        let found: Vec<OutcomeRow> = rows
            .into_iter()
            .filter(|row| matches!(row.end, RowEnd::Complete(_)))
            .filter_map(|row| {
                let digest = design.key(row.trial)?.digest(other);
                wanted.remove(&digest).map(|trial| OutcomeRow { trial, ..row })
            })
            .collect();
        taken += found.len() as u64;
        handle.adopt(id, found).await;
        from = next;
    }
    taken
}

async fn study_of(handle: &Handle, id: StudyId) -> Option<Study> {
    match handle.ask_own(Request::Study { study: id }).await {
        Response::Study { study, .. } => Some(*study),
        _ => None,
    }
}

/// Whether outcomes of one study have the form of the other's.
fn could_share(study: &Study, other: &Study) -> bool {
    study.data.digest == other.data.digest
        && study.metrics == other.metrics
        && study.keeps_rows() == other.keeps_rows()
}

fn digests(study: &Study) -> BTreeMap<Digest, TrialIndex> {
    let design = Design::of(study);
    let trials = design.trials().unwrap_or_default().min(LOOKED_UP_MAX);
    let digest =
        |index| design.key(TrialIndex(index)).map(|key| (key.digest(study), TrialIndex(index)));
    (0..trials).filter_map(digest).collect()
}

/// Trials of a new study that are looked for: about a second, and 100 MB, at most.
const LOOKED_UP_MAX: u64 = 1_000_000;
