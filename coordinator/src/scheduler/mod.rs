//! The replicated state machine: what every replica knows after the same entries.
//!
//! `apply` is deterministic: no clock, no randomness, no floating-point arithmetic. Times are stamps
//! the leader put into the entry. A command that a client asks for twice is done once. Leases are
//! absent: they are the leader's soft state (`lease`, `placement`), rebuilt after a failover from
//! what agents say.
//!
//! Floor: core.

pub mod buying;
pub mod choices;
pub mod command;
mod ends;
pub mod lease;
mod looks;
pub mod placement;
pub mod progress;
mod proposals;
mod restored;
pub mod rungs;
mod snapshot;
pub mod state;

use common::design::Design;
use common::id::{MemberId, ReplicaId, StudyId, TrialIndex};
use common::study::{Proposed, Study};
use common::time::Timestamp;
use common::trial::Attempt;
use common::wire::frame::FRAME_MAX;
use common::wire::message::{Control, NewToken, OutcomeRow, Role, StudyState, Which};

pub use looks::CLOSED;

use buying::Buying;
use choices::Chosen;
use command::{Admission, Command, Entry, Item, Origin};
use rungs::Promoted;
use state::{ClientRecord, Member, ReplicaRecord, Reply, State, StudyRecord, Token, TrialState};

/// What applying one entry did, for whoever waits on it and for the disk.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// Nothing changed, and nothing needs to be said.
    Nothing,
    /// It was done before, and was answered so.
    Replied(Reply),
    Submitted {
        study: StudyId,
        known: bool,
    },
    Cancelled {
        study: StudyId,
    },
    Paused {
        study: StudyId,
    },
    Resumed {
        study: StudyId,
    },
    Prioritised {
        study: StudyId,
    },
    /// These failed trials wait again.
    Retried {
        study: StudyId,
        trials: Vec<TrialIndex>,
    },
    Extended {
        study: StudyId,
        gained: u64,
    },
    /// The look is in the ledger under this number.
    Looked {
        study: StudyId,
        number: u64,
    },
    /// Sealed, or its claim is registered; or it was so before.
    Sealed {
        study: StudyId,
    },
    /// These choices are made, and their refits open.
    Chosen {
        study: StudyId,
        chosen: Vec<Chosen>,
    },
    /// These trials are bought, or nothing more is: `over` where nothing is left to train.
    Decided {
        study: StudyId,
        opened: Vec<TrialIndex>,
        over: bool,
    },
    /// These tries are decided, and their trials on inner folds open.
    Proposed {
        study: StudyId,
        proposed: Vec<Proposed>,
    },
    /// These configs reach their rungs, and these trials are open.
    Promoted {
        study: StudyId,
        promoted: Vec<Promoted>,
        opened: Vec<TrialIndex>,
    },
    /// What each item of a report did.
    Reported(Vec<Ended>),
    TokenChanged,
    /// Who was admitted, or `None`: the token is refused.
    Admission {
        admitted: Option<Admitted>,
    },
    MemberRemoved {
        member: MemberId,
    },
    ReplicaPlaced {
        replica: ReplicaId,
    },
    ReplicaRemoved {
        replica: ReplicaId,
    },
    LevelRaised,
    /// To be compared with one's own.
    Digests {
        index: u64,
        of: Vec<(ReplicaId, [u8; 32])>,
    },
    Refused {
        why: &'static str,
    },
}

/// What one ended attempt did.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// The trial has ended with this row, to be kept on disk.
    Trial { attempt: Attempt, row: Box<OutcomeRow>, study_over: bool },
    /// The trial goes back to waiting.
    Again { attempt: Attempt },
    /// The trial had ended before. `differs`: this outcome is not the one that stands.
    Late { attempt: Attempt, differs: bool },
    /// There is no such trial.
    Unknown { attempt: Attempt },
}

/// A key that a token let in.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    pub role: Role,
    /// The member's, or the replica's.
    pub number: u64,
    pub joined: Timestamp,
}

impl State {
    /// Applies one committed entry: the command of entry `index`.
    pub fn apply(&mut self, index: u64, entry: Entry) -> Applied {
        self.pass(index);
        let Some(origin) = entry.origin else { return self.run(entry.command) };
        match self.clients.get(&origin.client) {
            Some(known) if known.number == origin.number => Applied::Replied(known.reply.clone()),
            Some(known) if known.number > origin.number => {
                Applied::Refused { why: "a later command of this client was done before it" }
            }
            _ => {
                let applied = self.run(entry.command);
                self.remember(origin, reply(&applied), index);
                applied
            }
        }
    }

    /// An entry without a command was applied.
    pub fn pass(&mut self, index: u64) {
        assert!(index > self.applied, "entries are applied in order");
        self.applied = index;
    }

    fn remember(&mut self, origin: Origin, reply: Reply, index: u64) {
        self.clients.insert(origin.client, ClientRecord { number: origin.number, reply, index });
        if self.clients.len() > CLIENTS_KEPT {
            let oldest = self.clients.iter().min_by_key(|(_, known)| known.index);
            let oldest = oldest.map(|(client, _)| *client);
            oldest.and_then(|client| self.clients.remove(&client));
        }
    }

    fn run(&mut self, command: Command) -> Applied {
        match command {
            Command::Submit { study, text, at } => self.submit(*study, text, at),
            Command::Control { study, control, at } => self.control(study, control, at),
            Command::Reports { agent, at, items } => {
                let end = |item: Item| self.item(agent, at, item);
                let ended = items.into_iter().map(end).collect();
                self.reported(ended)
            }
            Command::Adopt { study, rows } => {
                let ended = self.adopt(study, rows);
                self.reported(ended)
            }
            Command::CreateToken { token, at } => self.create_token(token, at),
            Command::RevokeToken { id } => match self.tokens.remove(&id) {
                Some(_) => Applied::TokenChanged,
                None => Applied::Refused { why: "there is no such token" },
            },
            Command::Admit(admission) => Applied::Admission { admitted: self.admit(admission) },
            Command::RemoveMember { member } => match self.members.remove(&member) {
                Some(_) => Applied::MemberRemoved { member },
                None => Applied::Refused { why: "there is no such member" },
            },
            Command::Place { replica, address } => match self.replicas.get_mut(&replica) {
                Some(record) => {
                    record.address = Some(address);
                    Applied::ReplicaPlaced { replica }
                }
                None => Applied::Refused { why: "this replica was removed" },
            },
            Command::RemoveReplica { replica } => self.remove_replica(replica),
            Command::RaiseLevel { level } => {
                self.level = self.level.max(level);
                Applied::LevelRaised
            }
            Command::Digests { index, of } => Applied::Digests { index, of },
            Command::Look { study, who, purpose, at } => self.look(study, who, purpose, at),
            Command::Seal { study, who, at } => self.seal(study, who, at),
            Command::Register { study, who, claim, at } => self.register(study, who, claim, at),
            Command::Choose { study, chosen } => self.choose(study, &chosen),
            Command::Decide { study, decided } => self.decide(study, decided),
            Command::Propose { study, proposed } => self.propose(study, proposed),
            Command::Promote { study, promoted } => self.promote(study, promoted),
            Command::Worked { study, ms } => self.worked(study, ms),
        }
    }

    fn reported(&mut self, ended: Vec<Ended>) -> Applied {
        self.note_scores(&ended);
        self.note_work(&ended);
        Applied::Reported(ended)
    }

    fn submit(&mut self, study: Study, text: String, at: Timestamp) -> Applied {
        let id = study.id();
        if let Some(record) = self.studies.get_mut(&id) {
            // Submitting a cancelled study again takes it up where it was left.
            if record.state == StudyState::Cancelled {
                record.reopen();
                self.buy_again(id);
            }
            return Applied::Submitted { study: id, known: true };
        }
        self.studies.insert(id, StudyRecord::new(study, text, at, self.submissions));
        self.submissions += 1;
        self.begin_choices(id);
        self.begin_buying(id);
        Applied::Submitted { study: id, known: false }
    }

    fn control(&mut self, study: StudyId, control: Control, at: Timestamp) -> Applied {
        let Some(record) = self.studies.get_mut(&study) else {
            return Applied::Refused { why: "there is no such study" };
        };
        match control {
            Control::Cancel => {
                if record.state.goes_on() {
                    record.cancel(at);
                }
                Applied::Cancelled { study }
            }
            Control::Pause => match record.state {
                StudyState::Active | StudyState::Paused => {
                    record.state = StudyState::Paused;
                    Applied::Paused { study }
                }
                _ => Applied::Refused { why: "this study has ended; there is nothing to pause" },
            },
            Control::Resume => {
                if record.state == StudyState::Cancelled {
                    return Applied::Refused { why: CANCELLED };
                }
                if record.state == StudyState::Paused {
                    record.state = StudyState::Active;
                }
                Applied::Resumed { study }
            }
            Control::Priority { priority } => {
                record.priority = priority;
                Applied::Prioritised { study }
            }
            Control::Retry { .. } if record.state == StudyState::Cancelled => {
                Applied::Refused { why: CANCELLED }
            }
            Control::Retry { trials } => {
                let trials = record.retried(&trials);
                record.retry(&trials);
                Applied::Retried { study, trials }
            }
            Control::Extend { seeds, text } => self.extend(study, seeds, text, at),
        }
    }

    fn extend(&mut self, study: StudyId, seeds: u32, text: String, at: Timestamp) -> Applied {
        let buying = self.buying.get(&study);
        let Some(record) = self.studies.get_mut(&study) else {
            return Applied::Refused { why: "there is no such study" };
        };
        match record.could_extend(seeds, &text, buying) {
            Ok(false) => Applied::Extended { study, gained: 0 },
            Ok(true) => {
                let before = record.trained();
                record.extend(seeds, text);
                self.buy_grown(study, seeds, at);
                self.choose_again(study);
                let gained = self.studies.get(&study).map_or(before, StudyRecord::trained) - before;
                Applied::Extended { study, gained }
            }
            Err(why) => Applied::Refused { why },
        }
    }

    fn create_token(&mut self, token: NewToken, at: Timestamp) -> Applied {
        let NewToken { id, secret_hash, role, ttl_ms, uses, label } = token;
        let expires = at.plus_ms(ttl_ms);
        self.tokens.insert(id, Token { secret_hash, role, uses_left: uses, expires, label });
        Applied::TokenChanged
    }

    /// Whom this key becomes. Repeating an admission gives the same and spends no second use: an
    /// answer can be lost.
    fn admit(&mut self, admission: Admission) -> Option<Admitted> {
        let Admission { token_id, secret_hash, public_key, at } = admission;
        let token = self.tokens.get_mut(&token_id)?;
        if token.secret_hash != secret_hash || at >= token.expires {
            return None;
        }
        let role = token.role;
        let members = self.members.iter().map(|(id, m)| (id.0, m.public_key, m.token_id, m.joined));
        let replicas = self.replicas.iter();
        let replicas = replicas.map(|(id, r)| (id.0.get(), r.public_key, r.token_id, r.joined));
        let known = match role {
            Role::Peer => replicas.collect::<Vec<_>>(),
            Role::Agent | Role::Operator => members.collect(),
        };
        let same = known.into_iter().find(|(_, key, id, _)| *key == public_key && *id == token_id);
        if let Some((number, _, _, joined)) = same {
            return Some(Admitted { role, number, joined });
        }
        if role == Role::Peer && self.replicas.len() >= REPLICAS_MAX {
            return None;
        }
        if let Some(uses) = &mut token.uses_left {
            *uses = uses.checked_sub(1)?;
        }
        let label = token.label.clone();
        let number = match role {
            Role::Peer => {
                let record = ReplicaRecord { address: None, joined: at, public_key, token_id };
                let number = self.next_replica;
                self.next_replica += 1;
                self.replicas.insert(replica_id(number)?, record);
                number
            }
            Role::Agent | Role::Operator => {
                let member = Member { role, label, joined: at, public_key, token_id };
                let number = self.next_member;
                self.next_member += 1;
                self.members.insert(MemberId(number), member);
                number
            }
        };
        Some(Admitted { role, number, joined: at })
    }

    fn remove_replica(&mut self, replica: ReplicaId) -> Applied {
        if !self.replicas.contains_key(&replica) {
            return Applied::Refused { why: "there is no such replica" };
        }
        if self.replicas.len() == 1 {
            return Applied::Refused { why: "the last replica cannot be removed" };
        }
        self.replicas.remove(&replica);
        Applied::ReplicaRemoved { replica }
    }
}

impl StudyRecord {
    /// Which trials a retry of these opens, in order.
    pub fn retried(&self, which: &Which) -> Vec<TrialIndex> {
        let asked = |trial: &TrialIndex| match which {
            Which::Failed => true,
            Which::Ranges(ranges) => {
                ranges.iter().any(|(first, last)| first <= trial && trial <= last)
            }
        };
        self.in_state(TrialState::Failed).filter(asked).collect()
    }

    /// Whether growing to so many seeds changes anything, or why it cannot be done.
    pub fn could_extend(
        &self,
        seeds: u32,
        text: &str,
        buying: Option<&Buying>,
    ) -> Result<bool, &'static str> {
        let [factor] = self.study.seeds.factors.as_slice() else {
            return Err("only a study with one count of seeds can grow; submit the grown file: \
                        what is known is taken over");
        };
        if self.state == StudyState::Cancelled {
            return Err(CANCELLED);
        }
        // Of one that its rule has ended more may be bought of what was planned.
        let ended =
            buying.filter(|known| known.seeds(0).is_some() && known.open().next().is_none());
        let bought = (0..self.study.arms.len() as u32).filter_map(|arm| ended?.seeds(arm)).max();
        if seeds <= bought.unwrap_or(factor.count) {
            return Ok(false);
        }
        let mut grown = self.study.clone();
        grown.seeds.factors[0].count = seeds.max(factor.count);
        match Design::of(&grown).trials() {
            Some(trials) if trials <= TRIALS_MAX && travels(&grown, text) => Ok(true),
            Some(trials) if trials <= TRIALS_MAX => Err(TOO_MANY_TRIES),
            _ => Err("a study has at most 10,000,000 trials"),
        }
    }
}

/// How a command that did this is answered.
pub fn reply(applied: &Applied) -> Reply {
    match applied {
        Applied::Replied(reply) => reply.clone(),
        Applied::Submitted { study, known } => Reply::Submitted { study: *study, known: *known },
        Applied::Retried { trials, .. } => Reply::Retried { count: trials.len() as u64 },
        Applied::Extended { gained, .. } => Reply::Extended { gained: *gained },
        Applied::Looked { number, .. } => Reply::Looked { number: *number },
        Applied::Refused { why } => Reply::Refused { why: (*why).to_string() },
        _ => Reply::Done,
    }
}

/// Whether a message holds a study that learns when all is tried, its text beside it.
fn travels(study: &Study, text: &str) -> bool {
    let bytes = study.bytes_at_most().saturating_add((text.len() + FRAME_SPARE) as u64);
    !study.learns() || bytes <= FRAME_MAX as u64
}

fn replica_id(number: u64) -> Option<ReplicaId> {
    std::num::NonZeroU64::new(number).map(ReplicaId)
}

const TOO_MANY_TRIES: &str = "with what its searches may propose for further seeds the study is too large; \
                              few seeds that choose for all (tune) need no more of it";

/// Bytes of a message that are not the study or its text.
const FRAME_SPARE: usize = 1 << 10;

const CANCELLED: &str = "this study is cancelled; submit it again to take it up";

/// Losses (agents that vanished, crashes shared with neighbours) after which a trial is failed.
pub const LOSSES_MAX: u32 = 6;

/// Replicas of a cluster.
pub const REPLICAS_MAX: usize = 5;

/// As the study file's checks allow.
pub const TRIALS_MAX: u64 = 10_000_000;

/// Clients whose last command is remembered.
const CLIENTS_KEPT: usize = 1_000;

#[cfg(test)]
mod tests;
