//! An operator's questions and commands.
//!
//! Commands answer when their entry is applied; questions are answered from the applied state.
//!
//! Floor: core.

use common::design::Design;
use common::id::StudyId;
use common::wire::message::{
    AgentStatus, MemberStatus, Request, Response, StudyState, StudyStatus, TokenStatus,
};

use super::{Asker, Node, Now, Output, RequestId, Session};
use crate::scheduler::command::Command;
use crate::scheduler::state::StudyRecord;

impl Node {
    pub(super) fn asked(&mut self, id: RequestId, request: Request, now: Now) {
        if !self.soft.leading {
            return self.refuse(id, "this coordinator does not lead yet; try again");
        }
        match request {
            Request::Submit { study, text } => {
                let trials = Design::of(&study).trials();
                if trials.is_none_or(|trials| trials > TRIALS_MAX) {
                    return self.refuse(id, format!("a study has at most {TRIALS_MAX} trials"));
                }
                let kept: u64 = self.state.studies.values().map(StudyRecord::planned).sum();
                let known = self.state.studies.contains_key(&study.id());
                if !known && kept + trials.unwrap_or_default() > TRIALS_KEPT_MAX {
                    let why = format!(
                        "this coordinator keeps {kept} trials; more than {TRIALS_KEPT_MAX} do not \
                         fit: start another one in a new folder"
                    );
                    return self.refuse(id, why);
                }
                self.propose(Command::Submit { study, text, at: now.wall }, Asker::Request(id));
            }
            Request::Cancel { study } => {
                self.propose(Command::Cancel { study, at: now.wall }, Asker::Request(id));
            }
            Request::RevokeToken { id: token } => match token_id(&token) {
                Some(token) => {
                    self.propose(Command::RevokeToken { id: token }, Asker::Request(id));
                }
                None => self.refuse(id, "a token's id is 12 hexadecimal digits"),
            },
            Request::RemoveMember { member } => {
                self.propose(Command::RemoveMember { member }, Asker::Request(id));
            }
            question => {
                let response = self.look_up(question, now);
                self.outputs.push(Output::Answer { id, response });
            }
        }
    }

    fn look_up(&self, question: Request, now: Now) -> Response {
        match question {
            Request::Status { study } => self.status(study, now),
            Request::Study { study } => match self.state.studies.get(&study) {
                Some(record) => Response::Study {
                    study: Box::new(record.study.clone()),
                    text: record.text.clone(),
                    submitted: record.submitted,
                },
                None => unknown_study(study),
            },
            Request::Agents => Response::Agents { agents: self.agents() },
            Request::Tokens => Response::Tokens { tokens: self.tokens() },
            Request::Members => Response::Members { members: self.members() },
            // The driver answers these from its folders.
            _ => Response::Refused { why: "this question is not for the log".to_string() },
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

    fn study_status(&self, id: StudyId, record: &StudyRecord, now: Now) -> StudyStatus {
        let leased = self.soft.leases.leased(id).min(record.open());
        let progress = self.soft.progress.get(&id);
        let active = record.state == StudyState::Active;
        StudyStatus {
            id,
            name: record.study.name.clone(),
            state: record.state,
            planned: record.planned(),
            complete: record.complete,
            failed: record.failed,
            cancelled: record.cancelled,
            waiting: record.open() - leased,
            leased,
            failures: record
                .failures
                .iter()
                .map(|(reason, count)| (reason.name().to_string(), *count))
                .collect(),
            differing: record.differing,
            seconds_left: match (active, progress) {
                (false, _) => Some(0),
                (true, Some(progress)) => progress.seconds_left(record.open(), now.mono),
                (true, None) => None,
            },
            rate: progress.filter(|_| active).map_or(0.0, |progress| progress.rate(now.mono)),
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

fn unknown_study(study: StudyId) -> Response {
    Response::Refused { why: format!("there is no study {study}; `coordinator list` shows them") }
}

fn token_id(text: &str) -> Option<[u8; 6]> {
    if text.len() != 12 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let number = u64::from_str_radix(text, 16).ok()?;
    number.to_be_bytes()[2..].try_into().ok()
}

/// Trials of all studies of a coordinator: a snapshot holds ten bytes of each.
const TRIALS_KEPT_MAX: u64 = 50_000_000;

/// As the study file's checks allow.
pub const TRIALS_MAX: u64 = 10_000_000;
