//! What agents are known by: labels given to the agent in this process, and warnings of what waits for
//! others.
//!
//! Floor: wiring.

use std::time::{Duration, Instant};

#[cfg(feature = "embedded")]
use anyhow::bail;
#[cfg(feature = "embedded")]
use common::label::{Label, Labels, OWN, Requires};
#[cfg(feature = "embedded")]
use common::study::Study;
use common::wire::message::{StudyState, StudyStatus, Wanting};

use super::output::Output;
use crate::client::Client;

/// What waits for labels that no agent here has; asked only where something waits.
pub async fn wanting(client: &Client, studies: &[StudyStatus]) -> Vec<Wanting> {
    let waits = |study: &StudyStatus| study.state == StudyState::Active && study.waiting > 0;
    if !studies.iter().any(waits) {
        return Vec::new();
    }
    // A coordinator of before there were labels does not know the question; it is only a warning.
    let told = client.labels().await.map(|(_, wanting)| wanting).unwrap_or_default();
    told.into_iter().filter(|want| studies.iter().any(|study| study.id == want.study)).collect()
}

/// `wdbc: arms a and b wait for an agent with site=east; 2 agents are here, none may train it`.
/// One that has the labels may still allow no programs.
pub fn in_words(want: &Wanting, studies: &[StudyStatus]) -> String {
    let study = studies.iter().find(|study| study.id == want.study);
    let name = study.map_or_else(|| want.study.to_string(), |study| study.name.clone());
    let (arms, wait) = match want.arms.as_slice() {
        [arm] => (format!("arm {arm}"), "waits"),
        arms => (format!("arms {}", arms.join(", ")), "wait"),
    };
    let needs = format!("an agent with {}", want.requires);
    let said = common::label::none_may_train(&needs, want.agents);
    format!("{name}: {arms} {wait} for {said}")
}

/// Says while a study is followed what nobody here may train, and that again only when it has changed.
pub struct Warnings {
    asked: Instant,
    said: Vec<Wanting>,
}

impl Warnings {
    pub fn new() -> Self {
        Self { asked: Instant::now(), said: Vec::new() }
    }

    pub async fn look(&mut self, client: &Client, study: &StudyStatus, output: &Output) {
        if self.asked.elapsed() < BETWEEN_LOOKS {
            return;
        }
        self.asked = Instant::now();
        let study = std::slice::from_ref(study);
        let mut now = wanting(client, study).await;
        // That nobody is here at all is said anyway.
        now.retain(|want| want.agents > 0);
        for want in now.iter().filter(|want| !self.said.contains(want)) {
            output.warn(in_words(want, study));
        }
        self.said = now;
    }
}

/// That the agent in this process, known by `given` too, has what each arm requires.
#[cfg(feature = "embedded")]
pub fn check_here(study: &Study, given: &[Label]) -> anyhow::Result<()> {
    if !study.has_requires() {
        return Ok(());
    }
    let here: Labels = crate::embedded::device()?.labels().with(given.to_vec())?;
    let lacks = study.arms.iter().map(|arm| (&arm.name, arm.requires.lacking(&here)));
    let lacking: Vec<(&String, Requires)> = lacks.filter(|(_, lack)| !lack.is_empty()).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let each: Vec<String> = lacking.iter().map(|(arm, lack)| format!("{arm} {lack}")).collect();
    let own = |lack: &Requires| lack.iter().any(|(key, _)| OWN.contains(&key.as_str()));
    let help = if lacking.iter().any(|(_, lack)| own(lack)) {
        "submit it to a coordinator (`coordinator start`) that such a machine joins"
    } else {
        "if it has it, say so with --label KEY=VALUE; else submit the study to a coordinator that such \
         a machine joins"
    };
    bail!("this study requires what this machine has not: {}; {help}", each.join("; "))
}

const BETWEEN_LOOKS: Duration = Duration::from_secs(5);
