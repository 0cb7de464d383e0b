//! Looks at a study's outcomes, entered into its ledger, and who may see outcomes by which look.
//!
//! Outcomes are shown for a look that is in the ledger, to whoever took it. What agents, replicas and
//! new studies are given is no look: nobody sees a score.
//!
//! Floor: core.

use common::id::{MemberId, StudyId};
use common::ledger::{Look, Purpose};
use common::time::Timestamp;

use super::Applied;
use super::state::{LOCAL_OPERATOR, State};

impl State {
    pub(super) fn look(
        &mut self,
        study: StudyId,
        who: MemberId,
        purpose: Purpose,
        at: Timestamp,
    ) -> Applied {
        let Some(record) = self.studies.get(&study) else {
            return Applied::Refused { why: "there is no such study" };
        };
        let label = match self.members.get(&who) {
            Some(member) => member.label.clone(),
            None if who == LOCAL_OPERATOR => LOCAL.to_string(),
            None => String::new(),
        };
        let ledger = self.ledgers.entry(study).or_default();
        let number = ledger.looks() + 1;
        ledger.add(Look {
            number,
            at,
            who,
            label,
            purpose,
            outcomes: record.complete,
            study: record.study.digest(),
            split: record.study.split_digest(),
        });
        Applied::Looked { study, number }
    }

    /// Whether outcomes of a study may be shown to `who` for look `number`, or why not.
    pub fn may_show(&self, study: StudyId, number: u64, who: MemberId) -> Result<(), String> {
        let look = self.ledgers.get(&study).and_then(|ledger| ledger.look(number));
        match look {
            Some(look) if look.who == who => Ok(()),
            Some(look) => Err(format!("look {number} at study {study} was taken by {}", look.who)),
            None => Err(format!(
                "look {number} at study {study} is not among the latest of its ledger: look again"
            )),
        }
    }
}

/// Whoever works on a coordinator's own machine.
const LOCAL: &str = "local";
