//! What an agent says first on every connection: who it is, what it holds, and what it may be given.
//!
//! Floor: core.

use common::label::Labels;
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

    /// All of it comes before any offer, so that nothing is granted by half of it.
    pub(super) fn greet(&mut self, effects: &mut Vec<Effect>) {
        self.disconnected();
        self.contact = Contact::Registering;
        effects.push(Effect::Send(FromAgent::Register {
            about: self.about.clone(),
            life: self.life,
            holding: self.holding(),
            crashed: self.crashed.iter().copied().collect(),
        }));
        if !self.labels.is_empty() {
            effects.push(Effect::Send(FromAgent::Labels { labels: self.labels.clone() }));
        }
        if self.programs {
            effects.push(Effect::Send(FromAgent::Skills { programs: true }));
        }
    }
}

#[cfg(test)]
mod tests {
    use common::time::Timestamp;
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
        for _ in 0..2 {
            let said = session.step(Input::Connected, Timestamp(0));
            let told = Effect::Send(FromAgent::Labels { labels: labels.clone() });
            assert!(matches!(said[0], Effect::Send(FromAgent::Register { .. })), "{said:?}");
            assert_eq!(said[1..], [told], "and no offer yet");
        }
    }
}
