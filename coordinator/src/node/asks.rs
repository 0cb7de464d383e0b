//! An operator's questions and commands.
//!
//! Commands go to the leader and answer when their entry is applied. Questions are answered from the
//! applied state of whatever replica is asked; what only the leader knows of studies it tells the
//! others every second.
//!
//! Floor: core.

use common::design::Design;
use common::id::{MemberId, StudyId, TrialIndex};
use common::ledger::not_a_claim;
use common::name::{NAME_MAX, is_name};
use common::wire::message::{
    AgentStatus, Answer, Ask, Control, MemberStatus, NewToken, Request, Response, Role, StudyState,
    StudyStatus, TokenStatus,
};

use super::agents::Session;
use super::reads::Question;
use super::{Asker, Node, Now, Output, RequestId, Room};
use crate::planted::planted;
use crate::scheduler::CLOSED;
use crate::scheduler::TRIALS_MAX;
use crate::scheduler::command::{Command, LEDGER_LEVEL, Origin};
use crate::scheduler::state::StudyRecord;

impl Node {
    pub(super) fn asked(&mut self, id: RequestId, who: MemberId, ask: Ask, now: Now) {
        let Ask { client, number, at_least, fresh, request } = ask;
        let command = match self.command_of(who, request, now) {
            Ok(command) => command,
            Err(request) => {
                return self.read(Question { id, who, request }, at_least, fresh, now);
            }
        };
        if !self.soft.leading {
            return self.elsewhere(id);
        }
        if matches!(command, Ok(Command::Look { .. })) && !self.state.has_ledgers() {
            // While a cluster is upgraded outcomes are shown as before.
            return self.answer(id, Response::Looked { number: None });
        }
        if let Err(why) = command.and_then(|command| self.allowed(command)).map(|command| {
            let origin = Origin { client, number };
            self.propose_for(Some(origin), command, Asker::Request(id));
        }) {
            self.refuse(id, why);
        }
    }

    /// The command that a request asks for, or why there is none; a question is given back.
    fn command_of(
        &self,
        who: MemberId,
        request: Request,
        now: Now,
    ) -> Result<Result<Command, String>, Request> {
        let at = now.wall;
        Ok(match request {
            Request::Submit { study, text } => Ok(Command::Submit { study, text, at }),
            Request::Control { study, control } => Ok(Command::Control { study, control, at }),
            Request::CreateToken(token) => Ok(Command::CreateToken { token, at }),
            Request::RevokeToken { id } => match token_id(&id) {
                Some(id) => Ok(Command::RevokeToken { id }),
                None => Err("a token's id is 12 hexadecimal digits".to_string()),
            },
            Request::RemoveMember { member } => Ok(Command::RemoveMember { member }),
            Request::RemoveReplica { replica } => Ok(Command::RemoveReplica { replica }),
            Request::Look { study, purpose } => Ok(Command::Look { study, who, purpose, at }),
            Request::Seal { study } => Ok(Command::Seal { study, who, at }),
            Request::Register { study, claim } => match not_a_claim(&claim) {
                None => Ok(Command::Register { study, who, claim, at }),
                Some(why) => Err(why),
            },
            question => return Err(question),
        })
    }

    /// Nothing that some replica's program could not apply gets into the log.
    pub(super) fn within_level(&self, command: &Command) -> Result<(), String> {
        let level = command.level();
        if level > self.state.level && !planted!(self.settings.planted, Level) {
            return Err(format!(
                "not every replica may use this command yet, which needs level {level}: {}",
                self.held_back_by(level)
            ));
        }
        Ok(())
    }

    /// The command, unless it should not get into the log.
    fn allowed(&self, command: Command) -> Result<Command, String> {
        if let Room::Nothing { why } = &self.room {
            return Err(why.clone());
        }
        self.within_level(&command)?;
        match &command {
            Command::Submit { study, .. } => {
                let trials = Design::try_of(study).and_then(|design| design.trials());
                if trials.is_none_or(|trials| trials > TRIALS_MAX) || study.metrics.is_empty() {
                    let why = format!("a study has a metric and between 1 and {TRIALS_MAX} trials");
                    return Err(why);
                }
                if !study.has_sound_limits() {
                    return Err(
                        "the study's limits and its rule for stopping cannot be kept".into()
                    );
                }
                if !study.is_well_named() {
                    return Err(format!(
                        "a study and its arms have names of 1 to {NAME_MAX} letters, digits, dots, \
                         dashes and underscores, no dot first, and its data lie beneath its file"
                    ));
                }
                let known = self.state.studies.contains_key(&study.id());
                self.room_for(if known { 0 } else { trials.unwrap_or_default() })?;
            }
            Command::Control { study, control: Control::Extend { seeds, .. }, .. } => {
                if let Some(record) = self.state.studies.get(study)
                    && let [factor] = record.study.seeds.factors.as_slice()
                {
                    let mut grown = record.study.clone();
                    grown.seeds.factors[0].count = (*seeds).max(factor.count);
                    let trials = Design::of(&grown).trials().unwrap_or(u64::MAX);
                    self.room_for(trials.saturating_sub(record.planned()))?;
                }
            }
            Command::Control { control: Control::Retry { .. }, .. } => self.room_for(0)?,
            Command::CreateToken { token: NewToken { role, label, .. }, .. } => {
                if !label.is_empty() && !is_name(label) {
                    let what = "letters, digits, dots, dashes and underscores, no dot first";
                    return Err(format!("a token's label has 1 to {NAME_MAX} {what}"));
                }
                if *role == Role::Peer {
                    self.room_for_a_replica()?;
                }
            }
            Command::RemoveReplica { replica } => self.could_remove(*replica)?,
            _ => {}
        }
        Ok(command)
    }

    /// Whether so many more trials can be kept, on the disk and in memory.
    fn room_for(&self, trials: u64) -> Result<(), String> {
        if let Room::OutcomesOnly { why } = &self.room {
            return Err(format!("{why}; outcomes are still taken"));
        }
        let kept = self.state.planned();
        if kept + trials > TRIALS_KEPT_MAX {
            return Err(format!(
                "this coordinator keeps {kept} trials; more than {TRIALS_KEPT_MAX} do not fit: \
                 start another one in a new folder"
            ));
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, id: RequestId, response: Response) {
        let (applied, addresses) = (self.state.applied, self.state.addresses());
        let answer = Answer { applied, response, addresses };
        self.outputs.push(Output::Answer { id, answer });
    }

    /// Answers a question from what is applied here.
    pub(super) fn look_up(&mut self, question: Question, now: Now) {
        let Question { id, who, request } = question;
        let response = match request {
            Request::Status { study } => self.status(study, now),
            Request::Study { study } => match self.state.studies.get(&study) {
                Some(record) => Response::Study {
                    // What a sealed study's searches proposed would show where scores were good.
                    study: Box::new(match self.state.is_closed(study) {
                        true => record.study.unsearched(),
                        false => record.study.clone(),
                    }),
                    text: record.text.clone(),
                    submitted: record.submitted,
                    violations: record.violations.clone(),
                },
                None => unknown_study(study),
            },
            Request::WouldRetry { study, trials } => match self.state.studies.get(&study) {
                Some(record) => {
                    let trials = record.retried(&trials);
                    Response::Retried { count: trials.len() as u64, trials: first_of(&trials) }
                }
                None => unknown_study(study),
            },
            Request::Outcomes { .. } if self.state.has_ledgers() => {
                Response::Refused { why: OLD_READER.to_string() }
            }
            // The driver reads the rows; here it is only seen to that they may be shown, and are no
            // older.
            Request::Outcomes { .. } => Response::Done,
            Request::OutcomesFor { study, look, .. } => {
                match self.state.may_show(study, look, who) {
                    Err(why) if !planted!(self.settings.planted, Unlooked) => {
                        Response::Refused { why }
                    }
                    _ => Response::Done,
                }
            }
            Request::Ledger { study } => self.ledger(study),
            Request::Decided { study } => self.decided(study),
            Request::Tokens => Response::Tokens { tokens: self.tokens() },
            Request::Members => Response::Members { members: self.members() },
            Request::Replicas => Response::Replicas { replicas: self.replicas(now) },
            // Only the leader knows who is connected, and what is leased to whom.
            _ if !self.soft.leading => return self.elsewhere(id),
            Request::Explain { study, trial } => self.explain(study, trial, now),
            Request::Log { study, .. } if self.state.is_closed(study) => Response::Refused {
                why: format!("a program's output may hold scores, and {CLOSED}"),
            },
            Request::Log { study, trial, from } => {
                return self.ask_for_log(id, (study, trial, from), now);
            }
            Request::Agents => Response::Agents { agents: self.agents() },
            Request::Labels => self.labels(),
            Request::Stays => self.stays(),
            // Whoever trains a trial again and says 0 would be told its score.
            Request::Repeat { study, .. } if self.state.is_closed(study) => {
                Response::Refused { why: CLOSED.to_string() }
            }
            // No look: which trials are meant is drawn without their outcomes, and of two outcomes
            // only their distance is told. Nobody could choose an arm or a test row by it, so a
            // ledger that counted it would cry wolf. Who is shown the finding's digests sees no score.
            Request::Repeat { study, number, trials } => self.repeat(study, number, trials, now),
            // The driver answers the others from its folders.
            _ => Response::Refused { why: "this question is not for the log".to_string() },
        };
        self.answer(id, response);
    }

    fn ledger(&self, study: StudyId) -> Response {
        if !self.state.studies.contains_key(&study) {
            return unknown_study(study);
        }
        if !self.state.has_ledgers() {
            let why = format!(
                "not every replica keeps a ledger yet, which needs level {LEDGER_LEVEL}: {}",
                self.held_back_by(LEDGER_LEVEL)
            );
            return Response::Refused { why };
        }
        let ledger = Box::new(self.state.ledgers.get(&study).cloned().unwrap_or_default());
        match self.state.sealings.get(&study) {
            Some(sealing) => Response::LedgerSealed { ledger, sealing: Box::new(sealing.clone()) },
            None => Response::Ledger(ledger),
        }
    }

    fn status(&self, study: Option<StudyId>, now: Now) -> Response {
        let mut chosen: Vec<(&StudyId, &StudyRecord)> = self
            .state
            .studies
            .iter()
            .filter(|(id, _)| study.is_none_or(|study| study == **id))
            .collect();
        if let (Some(study), true) = (study, chosen.is_empty()) {
            return unknown_study(study);
        }
        chosen.sort_by_key(|(_, record)| record.order);
        let status = |(id, record): (&StudyId, &StudyRecord)| self.study_status(*id, record, now);
        Response::Status { studies: chosen.into_iter().map(status).collect() }
    }

    /// Of every study.
    pub(super) fn statuses(&self, now: Now) -> Vec<StudyStatus> {
        let studies = self.state.studies.iter();
        studies.map(|(id, record)| self.study_status(*id, record, now)).collect()
    }

    fn study_status(&self, id: StudyId, record: &StudyRecord, now: Now) -> StudyStatus {
        let progress = self.study_progress(id, record, now);
        let open = record.trained() - record.complete - record.failed - record.given_up();
        let leased = progress.leased.min(open);
        StudyStatus {
            id,
            name: record.study.name.clone(),
            state: record.state,
            priority: record.priority,
            planned: record.trained(),
            complete: record.complete,
            failed: record.failed,
            cancelled: record.given_up(),
            waiting: open - leased,
            leased,
            failures: record
                .failures
                .iter()
                .map(|(reason, count)| (reason.name().to_string(), *count))
                .collect(),
            poison: record.poison.iter().take(POISON_NAMED).copied().collect(),
            differing: record.differing,
            seconds_left: match record.state {
                StudyState::Active => progress.seconds_left,
                StudyState::Paused => None,
                _ => Some(0),
            },
            rate: if record.state.goes_on() { progress.rate } else { 0.0 },
            submitted: record.submitted,
            finished: record.finished,
        }
    }

    fn agents(&self) -> Vec<AgentStatus> {
        let status = |session: &Session, connected: bool| {
            session.about.as_ref().map(|about| AgentStatus {
                member: session.member,
                about: about.clone(),
                address: session.address.clone(),
                leased: self.soft.leases.held_by(session.member),
                complete: session.complete,
                failed: session.failed,
                heard: session.heard,
                connected,
                set_aside: self.health_of(session.member).and_then(|h| h.set_aside.clone()),
            })
        };
        let here = self.sessions.values().filter_map(|session| status(session, true));
        let gone = self.soft.gone.values().filter_map(|session| status(session, false));
        here.chain(gone).collect()
    }

    fn tokens(&self) -> Vec<TokenStatus> {
        let status = |(id, token): (&[u8; 6], &crate::scheduler::state::Token)| TokenStatus {
            id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            role: token.role,
            label: token.label.clone(),
            uses_left: token.uses_left,
            expires: token.expires,
        };
        self.state.tokens.iter().map(status).collect()
    }

    fn members(&self) -> Vec<MemberStatus> {
        let members = self.state.members.iter();
        members
            .map(|(id, member)| MemberStatus {
                member: *id,
                role: member.role,
                label: member.label.clone(),
                joined: member.joined,
            })
            .collect()
    }
}

pub(super) fn unknown_study(study: StudyId) -> Response {
    Response::Refused { why: format!("there is no study {study}; `coordinator list` shows them") }
}

/// As many trials as are named one by one.
pub(super) fn first_of(trials: &[TrialIndex]) -> Vec<TrialIndex> {
    trials.iter().take(TRIALS_NAMED).copied().collect()
}

fn token_id(text: &str) -> Option<[u8; 6]> {
    if text.len() != 12 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let number = u64::from_str_radix(text, 16).ok()?;
    number.to_be_bytes()[2..].try_into().ok()
}

const OLD_READER: &str = "outcomes are shown only for a look in the study's ledger, and the program \
                          that asks for them is of before there was one; install the newer version";

/// Trials of all studies of a coordinator: a snapshot holds ten bytes of each.
const TRIALS_KEPT_MAX: u64 = 50_000_000;
const TRIALS_NAMED: usize = 1_000;
const POISON_NAMED: usize = 20;
