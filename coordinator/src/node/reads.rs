//! Questions that may have to wait: until this replica has seen what their asker has seen, or, for a
//! fresh one, all that was acknowledged before it was asked.
//!
//! A fresh read asks the leader, who asks a majority whether it still leads, for the index to wait
//! for (Ongaro's ReadIndex). The question can vanish around an election: it is asked again.
//!
//! Floor: core.

use common::id::MemberId;
use common::time::Timestamp;
use common::wire::message::Request;

use super::{Node, Now, RequestId};
use crate::planted::planted;
use crate::replica::ReadContext;
use crate::scheduler::state::State;

/// What an operator wants to know.
pub(super) struct Question {
    pub id: RequestId,
    pub who: MemberId,
    pub request: Request,
}

#[derive(Default)]
pub(super) struct Reads {
    waiting: Vec<Waiting>,
    next: u64,
}

struct Waiting {
    question: Question,
    until: Timestamp,
    /// Of a fresh one, whose index is not known yet.
    asking: Option<(ReadContext, Timestamp)>,
    /// What must be applied first.
    index: u64,
}

impl Node {
    pub(super) fn read(&mut self, question: Question, at_least: u64, fresh: bool, now: Now) {
        let fresh = fresh && !planted!(self.settings.planted, StaleRead);
        // Before its first snapshot a new replica knows nothing.
        if self.state.level == 0 {
            return self.elsewhere(question.id);
        }
        let seen = at_least <= self.state.applied;
        if !fresh && seen && !lacks_look(&question, &self.state, self.soft.leading) {
            return self.look_up(question, now);
        }
        let asking = fresh.then(|| {
            self.reads.next += 1;
            let context = ReadContext { run: self.run, number: self.reads.next };
            self.replica.ask_to_read(context);
            (context, now.mono)
        });
        let until = now.mono.plus_ms(PATIENCE_MS);
        self.reads.waiting.push(Waiting { question, until, asking, index: at_least });
    }

    pub(super) fn answer_reads(&mut self, now: Now) {
        for read in self.replica.take_reads() {
            let asked = |waiting: &&mut Waiting| {
                waiting.asking.is_some_and(|(context, _)| context == read.context)
            };
            if let Some(waiting) = self.reads.waiting.iter_mut().find(asked) {
                waiting.asking = None;
                waiting.index = waiting.index.max(read.index);
            }
        }
        let (state, leading) = (&self.state, self.soft.leading);
        let answered = |waiting: &mut Waiting| {
            let seen = waiting.asking.is_none() && waiting.index <= state.applied;
            seen && !lacks_look(&waiting.question, state, leading)
        };
        let ready: Vec<Waiting> = self.reads.waiting.extract_if(.., answered).collect();
        ready.into_iter().for_each(|waiting| self.look_up(waiting.question, now));
    }

    /// Asks again what may have vanished, and sends on whoever waited for too long.
    pub(super) fn ask_reads_again(&mut self, now: Now) {
        for waiting in &mut self.reads.waiting {
            if let Some((context, asked)) = &mut waiting.asking
                && now.mono.since_ms(*asked) >= ASK_AGAIN_MS
            {
                *asked = now.mono;
                self.replica.ask_to_read(*context);
            }
        }
        let over = |waiting: &mut Waiting| waiting.until <= now.mono;
        let late: Vec<Waiting> = self.reads.waiting.extract_if(.., over).collect();
        late.into_iter().for_each(|waiting| self.elsewhere(waiting.question.id));
    }
}

/// Whether the look that outcomes are asked for may still be on its way here. A leader has every look
/// that was answered.
fn lacks_look(question: &Question, state: &State, leading: bool) -> bool {
    match question.request {
        Request::OutcomesFor { study, look, .. } => !leading && look > state.looks(study),
        _ => false,
    }
}

const ASK_AGAIN_MS: u64 = 500;
const PATIENCE_MS: u64 = 5_000;
