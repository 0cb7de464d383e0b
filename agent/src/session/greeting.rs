//! What an agent says first on every connection: who it is, what it holds, and what it may be given.
//!
//! Floor: core.

use common::label::Labels;
use common::time::Timestamp;
use common::wire::message::FromAgent;

use super::{Contact, Effect, Session};

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

    /// Whether the coordinator of the next connection takes checkpoints, and hears of labels and of why
    /// work is given back. One that does not is told less.
    pub fn hands_on(&mut self, hands_on: bool) {
        self.hands_on = hands_on;
    }

    /// All of it comes before any offer, so that nothing is granted by half of it.
    pub(super) fn greet(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.disconnected();
        self.contact = Contact::Registering;
        effects.push(Effect::Send(FromAgent::Register {
            about: self.about.clone(),
            life: self.life,
            holding: self.holding(),
            crashed: self.crashed.iter().copied().collect(),
        }));
        if self.hands_on && !self.labels.is_empty() {
            effects.push(Effect::Send(FromAgent::Labels { labels: self.labels.clone() }));
        }
        if self.programs {
            effects.push(Effect::Send(FromAgent::Skills { programs: true }));
        }
        if self.hands_on {
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
        session.hands_on(true);
        for _ in 0..2 {
            let said = session.step(Input::Connected, Timestamp(0));
            let told = Effect::Send(FromAgent::Labels { labels: labels.clone() });
            let stays = Effect::Send(FromAgent::Stay { left_ms: None });
            assert!(matches!(said[0], Effect::Send(FromAgent::Register { .. })), "{said:?}");
            assert_eq!(said[1..], [told, stays], "and no offer yet");
        }
        session.hands_on(false);
        let said = session.step(Input::Connected, Timestamp(0));
        assert_eq!(said.len(), 1, "a coordinator of before would not know the words: {said:?}");
    }
}
