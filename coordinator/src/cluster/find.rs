//! Replicas that find each other by name: an empty folder joins the cluster that others have, or founds it.
//!
//! No second cluster is ever founded: an empty replica founds only when its name is the least of all, in
//! whatever order they are given, and all others have said twice, in one life each and each in another,
//! that they have none. So there is a moment at which nobody has a log, and only this one may begin one.
//! Who does not answer is waited for; names that lead to one process, or back to this one, too.
//!
//! Floor: shell.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::id::{ClusterId, ReplicaId};
use common::wire::message::Role;
use link::{
    Arrival, Authority, Gate, Identity, Inquiry, JoinAttempt, JoinToken, LinkError, Listener, Who,
};
use tokio::task::JoinHandle;

use super::join::{self, JoinError, PEER_FOLDER};
use super::{ClusterError, Join, Named, random};
use crate::peers::jittered;

/// What became of an empty folder.
pub enum Found {
    /// Nobody has a cluster, and this one founds it.
    Nobody,
    /// It is a replica; where the others are.
    Joined(BTreeMap<ReplicaId, String>),
}

/// Looks for the cluster until it is found, or is to be founded here. Others are told meanwhile that
/// there is none here.
pub async fn find(folder: &Path, named: &Named, level: u16) -> Result<Found, ClusterError> {
    let life = random()?;
    let porch = Porch::open(named, life)?;
    let found = look(folder, named, life, level).await;
    porch.close().await;
    found
}

async fn look(
    folder: &Path,
    named: &Named,
    life: [u8; 16],
    level: u16,
) -> Result<Found, ClusterError> {
    let own = folder.join(PEER_FOLDER);
    let token = named.secret.token(Role::Peer).map_err(JoinError::from)?;
    let others: Vec<String> =
        named.cluster.iter().filter(|other| **other != named.me).cloned().collect();
    let own_place = Place { first: named.cluster.iter().min() == Some(&named.me), life };
    let way = Join { addresses: others.clone(), token: Some(token.clone()) };
    let (mut before, mut told) = (Vec::new(), String::new());
    loop {
        if Identity::load(&own).map_err(JoinError::from)?.is_some() {
            match join::join(folder, &way, named.me.clone(), level).await {
                Ok(replicas) => return Ok(Found::Joined(replicas)),
                Err(JoinError::Link(error)) if is_of_no_use(&error) => {
                    tracing::warn!(%error, "an earlier join is given up");
                    let path = own.clone();
                    std::fs::remove_dir_all(&own)
                        .map_err(|source| JoinError::File { path, source })?;
                }
                Err(error @ (JoinError::Link(_) | JoinError::NoLeader { .. })) => {
                    tracing::warn!(%error, "not joined yet");
                }
                Err(error) => return Err(error.into()),
            }
        }
        let answers = inquire(&others, &token, &own).await?;
        match step(&own_place, &before, &answers) {
            Step::Found => return Ok(Found::Nobody),
            Step::Joined => continue,
            Step::Wait => tell(&others, &answers, life, &mut told),
        }
        before = answers;
        tokio::time::sleep(jittered(BETWEEN_ROUNDS)).await;
    }
}

/// This process among the others.
struct Place {
    /// Whether founding is for it.
    first: bool,
    life: [u8; 16],
}

/// One other replica, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
enum Other {
    /// It has a cluster, and this one's certificate is kept.
    Admitted,
    /// It has a cluster.
    Founded,
    /// It has none, says the process that drew this number.
    Empty([u8; 16]),
    Silent(String),
}

#[derive(Debug, PartialEq)]
enum Step {
    Found,
    Joined,
    Wait,
}

/// What a round of answers means, after the round before.
fn step(own: &Place, before: &[Other], now: &[Other]) -> Step {
    let mut lives: BTreeSet<[u8; 16]> = now.iter().filter_map(Other::empty).collect();
    lives.insert(own.life);
    let all_empty = lives.len() == now.len() + 1;
    match now {
        now if now.contains(&Other::Admitted) => Step::Joined,
        now if own.first && all_empty && now == before => Step::Found,
        _ => Step::Wait,
    }
}

impl Other {
    fn empty(&self) -> Option<[u8; 16]> {
        match self {
            Self::Empty(life) => Some(*life),
            _ => None,
        }
    }
}

async fn inquire(
    others: &[String],
    token: &JoinToken,
    own: &Path,
) -> Result<Vec<Other>, ClusterError> {
    let answers = link::inquire(others, token, own).await.map_err(JoinError::from)?;
    let mut known = Vec::new();
    for answer in answers {
        known.push(match answer {
            Ok(Inquiry::Admitted(identity)) => {
                identity.save(own).map_err(JoinError::from)?;
                Other::Admitted
            }
            Ok(Inquiry::Elsewhere) => Other::Founded,
            Ok(Inquiry::Unfounded(life)) => Other::Empty(life),
            // It has another secret, or refuses this one: waiting would not help.
            Err(error) if error.is_refusal() => return Err(JoinError::from(error).into()),
            Err(error) => Other::Silent(error.to_string()),
        });
    }
    Ok(known)
}

/// A certificate of a cluster that is no more, or in which this replica was removed.
fn is_of_no_use(error: &LinkError) -> bool {
    matches!(
        error,
        LinkError::Revoked { .. }
            | LinkError::UntrustedCoordinator { .. }
            | LinkError::CertificateRefused { .. }
    )
}

/// Once for every change.
fn tell(others: &[String], answers: &[Other], life: [u8; 16], told: &mut String) {
    let line = |(name, answer): (&String, &Other)| match answer {
        Other::Empty(other) if *other == life => {
            format!("{name} leads back to this replica: is it one of its own names?")
        }
        Other::Admitted => format!("{name} let this one in"),
        Other::Founded => format!("{name} has a cluster, without a leader just now"),
        Other::Empty(_) => format!("{name} has no cluster yet"),
        Other::Silent(why) => why.clone(),
    };
    let lines: Vec<String> = others.iter().zip(answers).map(line).collect();
    let text = lines.join("; ");
    if text != *told {
        tracing::info!("no cluster found yet: {text}");
        *told = text;
    }
}

/// Answers whoever asks here while there is no cluster.
struct Porch {
    listener: Arc<Listener>,
    answering: JoinHandle<()>,
}

impl Porch {
    fn open(named: &Named, life: [u8; 16]) -> Result<Self, ClusterError> {
        let now = SystemTime::now();
        let tokens = [Role::Agent, Role::Peer].map(|role| named.secret.token(role));
        // Vouched for like the authority of a cluster, and signs nobody.
        let authority = Authority::found(ClusterId(random()?), now, &named.secret);
        let listen = |authority: Authority, tokens: Vec<JoinToken>| {
            let identity = authority.server_identity(ReplicaId(NonZeroU64::MAX), now)?;
            let socket = named.socket.try_clone().map_err(|source| LinkError::Socket { source })?;
            let listener = Listener::on(socket, &identity, &authority, Arc::new(Nobody))?;
            Ok((Arc::new(listener), tokens))
        };
        let opened = authority.and_then(|authority| {
            let tokens = tokens.into_iter().collect::<Result<Vec<_>, LinkError>>()?;
            listen(authority, tokens)
        });
        let (listener, tokens) = opened.map_err(|error| match error {
            LinkError::Socket { source } => ClusterError::Socket { source },
            source => ClusterError::Authority { source },
        })?;
        let answering = tokio::spawn(answer_all(listener.clone(), tokens, life));
        Ok(Self { listener, answering })
    }

    async fn close(self) {
        self.listener.close("the cluster is found; come again").await;
        self.answering.abort();
    }
}

async fn answer_all(listener: Arc<Listener>, tokens: Vec<JoinToken>, life: [u8; 16]) {
    while let Some(arrival) = listener.accept().await {
        if let Arrival::Join(attempt) = arrival {
            let known = |attempt: &JoinAttempt, token: &JoinToken| {
                (attempt.token_id, attempt.secret_hash) == (token.id, token.secret_hash())
            };
            let good = tokens.iter().any(|token| known(&attempt, token));
            tokio::spawn(async move {
                match good {
                    true => attempt.say_unfounded(life).await,
                    false => attempt.refuse().await,
                }
            });
        }
    }
}

/// Where there is no cluster, nobody is a member.
struct Nobody;

impl Gate for Nobody {
    fn admits(&self, _: &Who) -> bool {
        false
    }
}

const BETWEEN_ROUNDS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Place = Place { first: true, life: [9; 16] };
    const OTHER: Place = Place { first: false, life: [9; 16] };
    const ONE: Other = Other::Empty([1; 16]);
    const TWO: Other = Other::Empty([2; 16]);

    #[test]
    fn only_the_first_founds_and_only_when_all_others_are_empty_twice_in_one_life() {
        let empty = [ONE, TWO];
        assert_eq!(step(&LEAST, &empty, &empty), Step::Found);
        assert_eq!(step(&OTHER, &empty, &empty), Step::Wait);
        assert_eq!(step(&LEAST, &[], &empty), Step::Wait);
        // The second one was started again in between: what it had before is not known.
        assert_eq!(step(&LEAST, &[ONE, Other::Empty([3; 16])], &empty), Step::Wait);
        let silent = Other::Silent("no answer".to_string());
        for not_all in [[ONE, silent], [ONE, Other::Founded]] {
            assert_eq!(step(&LEAST, &not_all, &not_all), Step::Wait);
            assert_eq!(step(&LEAST, &not_all, &empty), Step::Wait);
        }
    }

    #[test]
    fn names_of_one_process_or_of_this_one_are_not_two_replicas() {
        let own = Other::Empty(LEAST.life);
        for same in [[ONE, ONE], [own, ONE]] {
            assert_eq!(step(&LEAST, &same, &same), Step::Wait);
        }
    }

    #[test]
    fn who_is_let_in_joins_whatever_others_say() {
        for own in [LEAST, OTHER] {
            assert_eq!(step(&own, &[], &[ONE, Other::Admitted]), Step::Joined);
        }
    }

    #[test]
    fn one_that_is_alone_founds() {
        assert_eq!(step(&LEAST, &[], &[]), Step::Found);
    }
}
