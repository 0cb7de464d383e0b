//! The coordinator's socket: joins, agents' control streams, operators' questions, data.
//!
//! The certificate's role decides what each stream may ask; nothing in a message does.
//!
//! Floor: shell.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::id::{Digest, MemberId};
use common::trial::Attempt;
use common::wire::message::peer::{Enrolment, Leadership, PeerMessage, Private};
use common::wire::message::{Ask, Bulk, CHECKPOINT_BYTES_MAX, Open, Renewal, Response, Role};
use link::{Arrival, FrameReceiver, FrameSender, Gate, JoinAttempt, Link, LinkError, Listener};
use tokio::sync::Semaphore;

use crate::content::{Arriving, ContentError};
use crate::driver::{Admission, Handle, replica_of};
use crate::node;

/// Serves everyone who arrives until the listener closes.
pub async fn serve(listener: &Listener, handle: &Handle) {
    while let Some(arrival) = listener.accept().await {
        let handle = handle.clone();
        match arrival {
            Arrival::Join(attempt) => drop(tokio::spawn(join(attempt, handle))),
            Arrival::Member(link) => drop(tokio::spawn(member(link, handle))),
        }
    }
}

async fn join(attempt: JoinAttempt, handle: Handle) {
    let address = attempt.address;
    let admitted = handle.admit(attempt.token_id, attempt.secret_hash, attempt.public_key).await;
    match admitted {
        Some(Admission::Admitted { role, number, certificate }) => {
            tracing::info!(%address, role = role.name(), number, "joined");
            attempt.admit(certificate).await;
        }
        Some(Admission::Elsewhere(leadership)) => {
            attempt.send_elsewhere(&in_order(&leadership)).await;
        }
        Some(Admission::Refused) => attempt.refuse().await,
        // Dropped undecided: the joiner tries again.
        None => {}
    }
}

/// Where to ask next: the leader first.
fn in_order(leadership: &Leadership) -> Vec<String> {
    let others = leadership.addresses.iter();
    let others = others.filter(|address| Some(*address) != leadership.leader.as_ref());
    leadership.leader.iter().chain(others).cloned().collect()
}

async fn member(link: Link, handle: Handle) {
    let who = link.who();
    handle.connected(link.clone());
    tracing::debug!(member = %who.member, role = who.role.name(), address = %link.address(), "connected");
    loop {
        match link.accept().await {
            Ok(Some((open, sender, receiver))) => {
                let (link, handle) = (link.clone(), handle.clone());
                tokio::spawn(async move {
                    if let Err(error) = stream(&link, open, sender, receiver, &handle).await {
                        tracing::debug!(address = %link.address(), %error, "a stream ended early");
                    }
                });
            }
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(member = %who.member, address = %link.address(), %error, "refused");
                link.close("refused");
                break;
            }
        }
    }
    handle.disconnected(&link);
}

async fn stream(
    link: &Link,
    open: Open,
    sender: FrameSender,
    receiver: FrameReceiver,
    handle: &Handle,
) -> Result<(), LinkError> {
    match (link.who().role, open) {
        (_, Open::Renew) => renew(link, sender, handle).await,
        (Role::Agent, Open::Agent) => agent(link, sender, receiver, handle).await,
        (Role::Agent | Role::Peer, Open::Fetch { digest, offset }) => {
            fetch(sender, handle, digest, offset).await
        }
        (Role::Agent, Open::Checkpoint { attempt, digest, bytes }) => {
            park((link.who().member, attempt), (digest, bytes), sender, receiver, handle).await
        }
        (Role::Operator, Open::Ask) => ask(link, sender, receiver, handle).await,
        (Role::Operator, Open::Backup { at_least }) => {
            crate::backup::send(sender, handle, at_least).await
        }
        (Role::Operator | Role::Peer, Open::Upload { digest, bytes }) => {
            upload(sender, receiver, handle, digest, bytes).await
        }
        (Role::Agent | Role::Operator, Open::Watch) => watch(sender, handle).await,
        (Role::Peer, Open::Peer) => peer(link, receiver, handle).await,
        (Role::Peer, Open::Snapshot) => {
            let from = replica_of(&link.who())?;
            crate::peers::receive_snapshot(from, sender, receiver, handle).await
        }
        (Role::Peer, Open::Enrol { address, level }) => {
            enrol(link, sender, handle, address, level).await
        }
        (role, open) => {
            let address = link.address();
            tracing::warn!(%address, member = %link.who().member, "a member with the role {} asked for {open:?}: refused", role.name());
            link.close(&format!("not allowed: this certificate is for the role {}", role.name()));
            Ok(())
        }
    }
}

/// An agent's control stream: each direction is a loop of its own, so that no half-read frame is lost.
async fn agent(
    link: &Link,
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
    handle: &Handle,
) -> Result<(), LinkError> {
    let (said, mut to_agent) = handle.agent(link.who().member, link.address().to_string());
    let up = async {
        while let Some(message) = receiver.receive().await? {
            said.said(message).await;
        }
        Ok(())
    };
    let down = async {
        while let Some(message) = to_agent.recv().await {
            sender.send(&message).await?;
        }
        // The last message says who leads: closed before it arrives, the agent would have to guess.
        let told = tokio::time::timeout(LAST_WORDS, sender.finish()).await;
        link.close("the coordinator let this connection go; come back");
        told.unwrap_or(Ok(()))
    };
    let ended: Result<(), LinkError> =
        tokio::select! { ended = up => ended, ended = down => ended };
    if let Err(error) = &ended {
        tracing::warn!(address = %link.address(), %error, "an agent's stream was ended");
        link.close("a message was refused");
    }
    ended
}

/// A new certificate for exactly what the member's own certificate says; it can ask for nothing else.
async fn renew(link: &Link, mut sender: FrameSender, handle: &Handle) -> Result<(), LinkError> {
    let who = link.who();
    // A removed member's connections are closed a moment after its removal.
    let answer = if !handle.gate().admits(&who) {
        Renewal::Refused { why: "it is no longer a member".to_string() }
    } else {
        let now = SystemTime::now();
        match handle.authority().issue(&link.public_key(), who.role, who.member, now) {
            Ok(certificate) => Renewal::Renewed { certificate },
            Err(error) => {
                tracing::error!(member = %who.member, %error, "a certificate could not be signed");
                Renewal::Refused { why: "it could not be signed".to_string() }
            }
        }
    };
    if let Renewal::Renewed { .. } = &answer {
        tracing::info!(member = %who.member, address = %link.address(), "certificate renewed");
    }
    sender.send(&answer).await?;
    sender.finish().await
}

async fn ask(
    link: &Link,
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
    handle: &Handle,
) -> Result<(), LinkError> {
    if let Some(ask) = receiver.receive::<Ask>().await? {
        let answer = handle.ask(link.who().member, ask).await;
        sender.send(&answer).await?;
    }
    sender.finish().await
}

/// Tells who leads, now and whenever it changes, for as long as anybody listens.
async fn watch(mut sender: FrameSender, handle: &Handle) -> Result<(), LinkError> {
    let mut leadership = handle.leadership();
    loop {
        let now = leadership.borrow_and_update().clone();
        sender.send(&now).await?;
        if leadership.changed().await.is_err() {
            return sender.finish().await;
        }
    }
}

/// Another replica's messages. Several are worked on at once, in order; not without bound.
async fn peer(link: &Link, mut receiver: FrameReceiver, handle: &Handle) -> Result<(), LinkError> {
    let from = replica_of(&link.who())?;
    let under_way = Arc::new(Semaphore::new(PEER_MESSAGES_AT_ONCE));
    while let Some(message) = receiver.receive::<PeerMessage>().await? {
        if let PeerMessage::Raft(raft) = &message
            && (raft.from != from.0.get() || raft.to != handle.own().0.get())
        {
            tracing::warn!(replica = %from, address = %link.address(), "a message for or from another replica: refused");
            link.close("not allowed: this message is not from or for whom it says");
            return Ok(());
        }
        if !handle.gate().admits(&link.who()) {
            tracing::warn!(replica = %from, address = %link.address(), "a replica that was removed still speaks: refused");
            link.close("revoked");
            return Ok(());
        }
        let Ok(permit) = Arc::clone(&under_way).acquire_owned().await else { return Ok(()) };
        let heard = handle.peer_says(from, message);
        tokio::spawn(async move {
            heard.await;
            drop(permit);
        });
    }
    Ok(())
}

/// Lets a new replica in: it has proved by its certificate that its token made it one.
async fn enrol(
    link: &Link,
    mut sender: FrameSender,
    handle: &Handle,
    address: String,
    level: u16,
) -> Result<(), LinkError> {
    let replica = replica_of(&link.who())?;
    let plausible = address.len() <= ADDRESS_BYTES_MAX && !address.chars().any(char::is_control);
    let answer = if !plausible {
        Enrolment::Refused { why: "this is no address".to_string() }
    } else {
        match handle.enrol(replica, address, level).await {
            Ok(()) => {
                let authority = Private(handle.authority().export().expose().clone());
                let replicas = handle.replicas().await;
                Enrolment::Enrolled { authority, replicas }
            }
            Err(node::Enrolment::Elsewhere(leadership)) => {
                let Leadership { leader, addresses, .. } = leadership;
                Enrolment::Elsewhere { leader, addresses }
            }
            Err(node::Enrolment::Refused { why }) => Enrolment::Refused { why },
        }
    };
    if let Enrolment::Enrolled { .. } = &answer {
        tracing::info!(%replica, address = %link.address(), "enrolled");
    }
    sender.send(&answer).await?;
    sender.finish().await
}

async fn fetch(
    mut sender: FrameSender,
    handle: &Handle,
    digest: Digest,
    offset: u64,
) -> Result<(), LinkError> {
    let read = |offset| {
        let handle = handle.clone();
        async move {
            let read = tokio::task::spawn_blocking(move || handle.read_data(&digest, offset)).await;
            read.unwrap_or_else(|_| Err(ContentError::Absent { digest: digest.hex() }))
        }
    };
    let (mut bytes, length) = match read(offset).await {
        Ok(piece) => piece,
        Err(error) => {
            sender.send(&Bulk::Refused { why: error.to_string() }).await?;
            return sender.finish().await;
        }
    };
    sender.send(&Bulk::Here { bytes: length }).await?;
    let mut sent = offset;
    while !bytes.is_empty() {
        sender.send_chunk(&bytes).await?;
        sent += bytes.len() as u64;
        bytes = read(sent).await.map(|(bytes, _)| bytes).unwrap_or_default();
    }
    sender.finish().await
}

async fn upload(
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
    handle: &Handle,
    digest: Digest,
    bytes: u64,
) -> Result<(), LinkError> {
    let arriving = match place_for(handle, &digest, bytes).await {
        Ok(arriving) => arriving,
        Err(error) => {
            sender.send(&Bulk::Refused { why: error.to_string() }).await?;
            return sender.finish().await;
        }
    };
    let there = arriving.as_ref().map_or(bytes, Arriving::there);
    sender.send(&Bulk::Here { bytes: there }).await?;
    let whole = match arriving {
        Some(arriving) => take(arriving, &mut receiver).await?,
        None => Ok(()),
    };
    let response = match whole {
        Ok(()) => Response::Done,
        Err(error) => Response::Refused { why: error.to_string() },
    };
    sender.send(&response).await?;
    sender.finish().await
}

/// A checkpoint of what an agent holds and gives back.
async fn park(
    (member, attempt): (MemberId, Attempt),
    (digest, bytes): (Digest, u64),
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
    handle: &Handle,
) -> Result<(), LinkError> {
    let allowed = match bytes {
        0..=CHECKPOINT_BYTES_MAX => handle.look(move |node| node.may_park(member, &attempt)).await,
        _ => Some(Err("it is longer than one that travels".to_string())),
    };
    let allowed = allowed.unwrap_or_else(|| Err("the coordinator is stopping".to_string()));
    let parked = handle.parked();
    let place = |()| parked.arrive(&attempt, &digest, bytes).map_err(|error| error.to_string());
    let place = match allowed.and_then(place) {
        Ok(place) => place,
        Err(why) => {
            sender.send(&Bulk::Refused { why }).await?;
            return sender.finish().await;
        }
    };
    let there = if place.is_some() { 0 } else { bytes };
    sender.send(&Bulk::Here { bytes: there }).await?;
    let whole = match place {
        Some((arriving, coming)) => {
            let whole = take_within(PARKED_WITHIN, arriving, &mut receiver).await?;
            whole.map(|()| coming.keep())
        }
        None => Ok(()),
    };
    let response = match whole {
        Ok(()) => {
            handle.park(member, attempt, digest);
            Response::Done
        }
        Err(why) => Response::Refused { why },
    };
    sender.send(&response).await?;
    sender.finish().await
}

/// Where the file is to be written; `None`: it is here already. Who sends what somebody else is
/// sending waits for the end of that.
async fn place_for(
    handle: &Handle,
    digest: &Digest,
    bytes: u64,
) -> Result<Option<Arriving>, ContentError> {
    let until = tokio::time::Instant::now() + OTHERS_WITHIN;
    loop {
        if handle.content().has(digest) {
            return Ok(None);
        }
        match handle.content().arrive(digest, bytes) {
            Err(ContentError::Busy) if tokio::time::Instant::now() < until => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            place => return place.map(Some),
        }
    }
}

async fn take(
    mut arriving: Arriving,
    receiver: &mut FrameReceiver,
) -> Result<Result<(), ContentError>, LinkError> {
    match receive(&mut arriving, receiver).await? {
        Ok(()) => Ok(finish(arriving).await),
        Err(error) => Ok(Err(error)),
    }
}

/// As [`take`], of one that holds room which others wait for: it comes within this time or not at all.
async fn take_within(
    limit: Duration,
    mut arriving: Arriving,
    receiver: &mut FrameReceiver,
) -> Result<Result<(), String>, LinkError> {
    let received = match tokio::time::timeout(limit, receive(&mut arriving, receiver)).await {
        Ok(received) => received?,
        Err(_) => return Ok(Err(format!("it did not come within {} s", limit.as_secs()))),
    };
    let whole = match received {
        Ok(()) => finish(arriving).await,
        Err(error) => Err(error),
    };
    Ok(whole.map_err(|error| error.to_string()))
}

async fn receive(
    arriving: &mut Arriving,
    receiver: &mut FrameReceiver,
) -> Result<Result<(), ContentError>, LinkError> {
    while let Some(chunk) = receiver.chunk().await? {
        if let Err(error) = arriving.append(&chunk) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

async fn finish(arriving: Arriving) -> Result<(), ContentError> {
    let finishing = tokio::task::spawn_blocking(move || arriving.finish());
    finishing.await.unwrap_or(Err(ContentError::Digest))
}

/// Messages of one replica that wait for the disk together.
const PEER_MESSAGES_AT_ONCE: usize = 256;
const ADDRESS_BYTES_MAX: usize = 300;
/// How long an agent may take to read the last message.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Below what an operator waits for an answer.
const OTHERS_WITHIN: Duration = Duration::from_secs(60);
/// What a checkpoint may take to arrive; 64 MiB at 20 Mbit/s.
const PARKED_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use link::Identity;

    use super::*;
    use crate::cluster::{self, Cluster, Opening};
    use crate::scheduler::state::LOCAL_OPERATOR;

    /// A new cluster, what listens for it, and an operator's certificate.
    async fn listening(folder: &Path, issued: SystemTime) -> (Cluster, Listener, Identity) {
        let cluster = cluster::open(folder, Opening::default()).await.expect("opened");
        let (handle, now) = (&cluster.handle, SystemTime::now());
        let authority = handle.authority();
        let server = authority.server_identity(cluster.identity.replica, now).expect("issued");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, &server, authority, handle.gate()).expect("a free port");
        let operator = authority.client_identity(Role::Operator, LOCAL_OPERATOR, issued);
        let operator = operator.expect("issued");
        (cluster, listener, operator)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_announced_and_does_not_come_holds_its_place_for_a_time_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let (cluster, listener, operator) = listening(dir.path(), SystemTime::now()).await;
        let address = listener.local_address().expect("bound").to_string();
        let sending = tokio::spawn(async move {
            let link = link::connect(&address, &operator).await.expect("connected");
            let open = Open::Upload { digest: Digest::of(b"late"), bytes: 4 };
            let stream = link.open(&open).await.expect("opened");
            std::future::pending::<()>().await;
            drop((link, stream));
        });
        let Some(Arrival::Member(link)) = listener.accept().await else { panic!("a member") };
        let stream = link.accept().await.expect("a stream");
        let (_, _sender, mut receiver) = stream.expect("it goes on");
        let digest = Digest::of(b"late");
        let content = cluster.handle.content();
        let arriving = content.arrive(&digest, 4).expect("room");
        let limit = Duration::from_millis(200);
        let taken = take_within(limit, arriving, &mut receiver).await.expect("the link is up");
        assert_eq!(taken, Err("it did not come within 0 s".to_string()));
        assert!(content.arrive(&digest, 4).is_ok(), "another one may send it");
        sending.abort();
        cluster.handle.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_member_is_given_its_own_certificate_anew() {
        let dir = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now();
        let issued = now - Duration::from_secs(21 * 24 * 3600);
        let (cluster, listener, old) = listening(dir.path(), issued).await;
        let handle = cluster.handle.clone();
        let address = listener.local_address().expect("bound").to_string();
        let serving = tokio::spawn({
            let handle = handle.clone();
            async move { serve(&listener, &handle).await }
        });
        let link = link::connect(&address, &old).await.expect("connected");
        let renewed = link::renew(&link, &old).await.expect("renewed");
        assert!(old.is_due(now).expect("dated") && !renewed.is_due(now).expect("dated"));
        assert_eq!(renewed.who().expect("named"), old.who().expect("named"));
        link::connect(&address, &renewed).await.expect("accepted");
        serving.abort();
        handle.stop().await;
    }
}
