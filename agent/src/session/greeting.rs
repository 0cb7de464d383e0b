//! What an agent says first on every connection: who it is, what it holds, and what it may be given.
//!
//! Floor: core.

use common::label::Labels;
use common::time::Timestamp;
use common::wire::message::FromAgent;

use super::{Contact, Effect, Session};

/// What a coordinator understands of what an agent may say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hears {
    pub labels: bool,
    /// It takes checkpoints for other agents, and hears why work is given back.
    pub hands_on: bool,
}

impl Hears {
    /// By a connection's protocol: all of it, or what was known before.
    pub fn all_or_little(all: bool) -> Self {
        Self { labels: all, hands_on: all }
    }

    /// There is no other agent: what this one reached its next life finds in the folder.
    pub fn of_one_process() -> Self {
        Self { labels: true, hands_on: false }
    }
}

impl Session {
    /// The same session, allowed to run programs or not.
    pub fn with_programs(self, programs: bool) -> Self {
        Self { programs, ..self }
    }

    /// The same session, known by these.
    pub fn with_labels(self, labels: Labels) -> Self {
        Self { labels, ..self }
    }

    /// The same session of an agent that ends at this time, if it is known.
    pub fn with_end(self, ends: Option<Timestamp>) -> Self {
        Self { ends, ..self }
    }

    /// What the coordinator of the next connection understands. One of before is told less.
    pub fn hears(&mut self, hears: Hears) {
        self.hears = hears;
    }

    /// All of it comes before any offer, so that nothing is granted by half of it.
    pub(super) fn greet(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.disconnected(Contact::Registering);
        effects.push(Effect::Send(FromAgent::Register {
            about: self.about.clone(),
            life: self.life,
            holding: self.holding(),
            crashed: self.crashed.iter().copied().collect(),
        }));
        if self.hears.labels && !self.labels.is_empty() {
            effects.push(Effect::Send(FromAgent::Labels { labels: self.labels.clone() }));
        }
        if self.programs {
            effects.push(Effect::Send(FromAgent::Skills { programs: true }));
        }
        if self.hears.hands_on {
            let left_ms = self.ends.map(|ends| ends.since_ms(now));
            effects.push(Effect::Send(FromAgent::Stay { left_ms }));
        }
    }
}

#[cfg(test)]
mod tests {
    use common::wire::message::AgentAbout;

    use super::super::Input;
    use super::*;

    #[test]
    fn labels_are_told_on_every_connection_before_anything_is_offered() {
        let about = AgentAbout {
            host: "h".into(),
            device: "cpu".into(),
            model: "m".into(),
            lanes: 8,
            cohort_lanes: 8,
            version: "0".into(),
        };
        let mut labels = Labels::none();
        labels.insert("site", "east");
        let session = Session::new(about, 1, 1, vec![], vec![]);
        let mut session = session.with_labels(labels.clone());
        session.hears(Hears::all_or_little(true));
        for _ in 0..2 {
            let said = session.step(Input::Connected, Timestamp(0));
            let told = Effect::Send(FromAgent::Labels { labels: labels.clone() });
            let stays = Effect::Send(FromAgent::Stay { left_ms: None });
            assert!(matches!(said[0], Effect::Send(FromAgent::Register { .. })), "{said:?}");
            assert_eq!(said[1..], [told, stays], "and no offer yet");
        }
        session.hears(Hears::all_or_little(false));
        let said = session.step(Input::Connected, Timestamp(0));
        assert_eq!(said.len(), 1, "a coordinator of before would not know the words: {said:?}");
    }
}
