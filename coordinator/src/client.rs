//! An operator's way to a cluster: over sockets, or to the coordinator in this process.
//!
//! A client needs one address and learns them all. Whoever does not lead sends it on; what it does
//! not reach it leaves for the next one, with growing random pauses. A command keeps its number when
//! it is asked again, so that a lost answer never does it twice; and no answer is older than what
//! this client was shown before.
//!
//! Floor: shell.

mod backup;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use common::id::{ClientId, Digest, MemberId, StudyId, TrialIndex};
use common::label::Labels;
use common::ledger::{Ledger, Purpose, Sealing};
use common::study::Study;
use common::time::Timestamp;
use common::wire::message::{
    Answer, Ask, BORROWED_PROTOCOL, Bulk, Decided, NewToken, Open, OutcomeRow, Request, Response,
    Role, Stay, Violation, Wanting,
};
use link::{Identity, JoinToken, Link, LinkError};
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::driver::{CHUNK_BYTES, Handle};
use crate::peers::jittered;
use crate::scheduler::state::LOCAL_OPERATOR;

/// A cluster that can be asked.
pub struct Client {
    way: Way,
    id: ClientId,
    next: AtomicU64,
    /// Log entries that an answer has seen.
    seen: AtomicU64,
    /// Whether questions are answered with all that is acknowledged to anybody.
    fresh: bool,
}

enum Way {
    /// In this process.
    Here(Handle),
    There(Box<Remote>),
}

/// Coordinators at addresses, reconnected to as needed.
struct Remote {
    identity: Identity,
    /// The folder with the identity and the addresses, where they are kept.
    kept: Option<PathBuf>,
    reach: Mutex<Reach>,
}

/// Whom to ask.
struct Reach {
    /// The one to be asked next comes first.
    addresses: VecDeque<String>,
    link: Option<(String, Link)>,
}

/// Why a question has no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("the coordinator at {address} cannot be reached: {source}")]
    Unreachable { address: String, source: LinkError },
    #[error(
        "no coordinator leads at the moment: see `coordinator members`; a majority of the replicas \
         must be up"
    )]
    Leaderless,
    #[error(
        "no coordinator has run in {}; start one with `coordinator start`, or name another \
         machine's with --coordinator HOST:PORT", folder.display()
    )]
    NoCoordinator { folder: PathBuf },
    #[error("{why}")]
    Refused { why: String },
    #[error("the coordinator gave an answer to another question; are both of the same version?")]
    Unexpected,
}

/// A study as the coordinator keeps it.
pub struct StoredStudy {
    pub study: Study,
    pub text: String,
    pub submitted: Timestamp,
    pub violations: Vec<Violation>,
    /// Of a study with limits: what was decided, and the seeds that are bought of each arm.
    pub decided: Vec<Decided>,
    pub seeds: Vec<u32>,
}

/// What one look at a study shows.
pub struct Shown {
    /// In trial order.
    pub rows: Vec<OutcomeRow>,
    /// The look's number, and the ledger with it; `None` while the cluster keeps none.
    pub ledger: Option<(u64, Entered)>,
}

/// A study's ledger, and what stands beside it.
#[derive(Default)]
pub struct Entered {
    pub ledger: Ledger,
    /// Empty where nothing was sealed or claimed.
    pub sealing: Sealing,
}

/// A join token to be made.
pub struct TokenWish {
    pub role: Role,
    pub ttl: Duration,
    /// `None`: any number.
    pub uses: Option<u32>,
    pub label: String,
}

impl Client {
    /// Asks the coordinator in this process.
    pub fn here(handle: Handle) -> Self {
        Self::on(Way::Here(handle))
    }

    /// Connects now, so that an unreachable coordinator is told at once.
    ///
    /// `kept`: the folder with the identity, where a renewed one and further addresses belong.
    pub async fn connect(
        addresses: &[String],
        identity: Identity,
        kept: Option<&Path>,
    ) -> Result<Self, ClientError> {
        let mut known: VecDeque<String> = addresses.iter().cloned().collect();
        let further = kept.map(read_addresses).unwrap_or_default();
        known.extend(further.into_iter().filter(|address| !addresses.contains(address)));
        let tries = known.len();
        let kept = kept.map(Path::to_path_buf);
        let reach = Mutex::new(Reach { addresses: known, link: None });
        let remote = Remote { identity, kept, reach };
        remote.first_link(tries).await?;
        Ok(Self::on(Way::There(Box::new(remote))))
    }

    fn on(way: Way) -> Self {
        let mut bytes = [0; 8];
        // A client without randomness shares its number with others like it: answers could mix.
        let drawn = SystemRandom::new().fill(&mut bytes).is_ok();
        let id =
            ClientId(if drawn { u64::from_be_bytes(bytes) } else { std::process::id().into() });
        Self { way, id, next: AtomicU64::new(1), seen: AtomicU64::new(0), fresh: false }
    }

    /// Drawn anew by every client.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Questions are answered with all that is acknowledged to anybody.
    pub fn fresh(mut self, fresh: bool) -> Self {
        self.fresh = fresh;
        self
    }

    /// Asks; a refusal is an error.
    pub async fn ask(&self, request: Request) -> Result<Response, ClientError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.ask_numbered(number, request).await
    }

    async fn ask_numbered(&self, number: u64, request: Request) -> Result<Response, ClientError> {
        let at_least = self.seen.load(Ordering::Relaxed);
        let ask = Ask { client: self.id, number, at_least, fresh: self.fresh, request };
        let Answer { applied, response, .. } = match &self.way {
            Way::Here(handle) => ask_here(handle, ask).await?,
            Way::There(remote) => remote.ask(&ask).await?,
        };
        self.seen.fetch_max(applied, Ordering::Relaxed);
        match response {
            Response::Refused { why } => Err(ClientError::Refused { why }),
            response => Ok(response),
        }
    }

    /// Sends a study, with its data where they are not there yet. Returns its id and whether it was
    /// known.
    pub async fn submit(
        &self,
        study: Study,
        text: String,
        data: &[u8],
    ) -> Result<(StudyId, bool), ClientError> {
        let digest = study.data.digest;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let request = Request::Submit { study: Box::new(study), text };
        // After a failover the data may have to be sent to the new leader.
        for _ in 0..SUBMIT_TRIES {
            match self.ask_numbered(number, request.clone()).await? {
                Response::Submitted { study, known } => return Ok((study, known)),
                Response::NeedsData => match self.send_data(&digest, data).await {
                    // The next answer tells who leads now, and what that one lacks.
                    Err(ClientError::Unreachable { .. }) => {}
                    sent => sent?,
                },
                _ => return Err(ClientError::Unexpected),
            }
        }
        Err(ClientError::Unexpected)
    }

    async fn send_data(&self, digest: &Digest, data: &[u8]) -> Result<(), ClientError> {
        match &self.way {
            Way::Here(handle) => {
                let kept = handle.content().put(data);
                kept.map(|_| ()).map_err(|error| ClientError::Refused { why: error.to_string() })
            }
            Way::There(remote) => {
                let sent = remote.upload(digest, data).await;
                if let Err(error @ ClientError::Unreachable { .. }) = &sent {
                    remote.give_up_on(error).await;
                }
                sent
            }
        }
    }

    pub async fn study(&self, study: StudyId) -> Result<StoredStudy, ClientError> {
        match self.ask(Request::Study { study }).await? {
            Response::Study { study: stored, text, submitted, violations } => {
                let (decided, seeds) = match stored.budget.is_limited() {
                    true => self.decided(study).await?,
                    false => Default::default(),
                };
                Ok(StoredStudy { study: *stored, text, submitted, violations, decided, seeds })
            }
            _ => Err(ClientError::Unexpected),
        }
    }

    /// What was decided about buying more of a study, and the seeds that are bought of each arm.
    pub async fn decided(&self, study: StudyId) -> Result<(Vec<Decided>, Vec<u32>), ClientError> {
        match self.ask(Request::Decided { study }).await? {
            Response::Decided { decided, seeds } => Ok((decided, seeds)),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// What agents are known by, and what waits for others.
    pub async fn labels(&self) -> Result<(Vec<(MemberId, Labels)>, Vec<Wanting>), ClientError> {
        if !self.knows_agents_well().await? {
            return Ok((Vec::new(), Vec::new()));
        }
        match self.ask(Request::Labels).await? {
            Response::Labels { agents, wanting } => Ok((agents, wanting)),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Every outcome of a study. First the look is entered into the study's ledger; it counts although
    /// what is asked for then may not arrive.
    pub async fn look(&self, study: StudyId, purpose: Purpose) -> Result<Shown, ClientError> {
        let number = match self.ask(Request::Look { study, purpose }).await? {
            Response::Looked { number } => number,
            _ => return Err(ClientError::Unexpected),
        };
        let ledger = match number {
            Some(number) => Some((number, self.ledger(study).await?)),
            None => None,
        };
        let (mut all, mut from) = (Vec::new(), Some(TrialIndex(0)));
        while let Some(first) = from {
            let page = match number {
                Some(look) => Request::OutcomesFor { study, from: first, look },
                None => Request::Outcomes { study, from: first },
            };
            match self.ask(page).await? {
                Response::Outcomes { rows, next } => {
                    all.extend(rows);
                    from = next;
                }
                _ => return Err(ClientError::Unexpected),
            }
        }
        Ok(Shown { rows: all, ledger })
    }

    /// Who was shown outcomes of a study, and what was claimed before.
    pub async fn ledger(&self, study: StudyId) -> Result<Entered, ClientError> {
        match self.ask(Request::Ledger { study }).await? {
            Response::Ledger(ledger) => Ok(Entered { ledger: *ledger, ..Entered::default() }),
            Response::LedgerSealed { ledger, sealing } => {
                Ok(Entered { ledger: *ledger, sealing: *sealing })
            }
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Has outcomes of a study shown to nobody until something is claimed.
    pub async fn seal(&self, study: StudyId) -> Result<(), ClientError> {
        self.done(Request::Seal { study }).await
    }

    /// Registers what a study is claimed to show.
    pub async fn register(&self, study: StudyId, claim: String) -> Result<(), ClientError> {
        self.done(Request::Register { study, claim }).await
    }

    /// For how long agents stay. A coordinator of before that was known says nothing.
    pub async fn stays(&self) -> Result<Vec<Stay>, ClientError> {
        if !self.knows_agents_well().await? {
            return Ok(Vec::new());
        }
        match self.ask(Request::Stays).await? {
            Response::Stays { stays } => Ok(stays),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Whether the coordinator knows of labels, and for how long agents stay.
    async fn knows_agents_well(&self) -> Result<bool, ClientError> {
        Ok(match &self.way {
            Way::There(remote) => remote.link().await?.1.protocol() >= BORROWED_PROTOCOL,
            Way::Here(_) => true,
        })
    }

    async fn done(&self, request: Request) -> Result<(), ClientError> {
        match self.ask(request).await? {
            Response::Done => Ok(()),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Makes a token. Its secret is drawn here and leaves this process only by what is returned.
    pub async fn create_token(&self, wish: TokenWish) -> Result<JoinToken, ClientError> {
        let ca_hash = match &self.way {
            Way::Here(handle) => handle.authority().hash(),
            Way::There(remote) => remote.identity.ca_hash(),
        };
        let token = JoinToken::mint(ca_hash)
            .map_err(|error| ClientError::Refused { why: error.to_string() })?;
        let TokenWish { role, ttl, uses, label } = wish;
        let (id, secret_hash) = (token.id, token.secret_hash());
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let new = NewToken { id, secret_hash, role, ttl_ms, uses, label };
        match self.ask(Request::CreateToken(new)).await? {
            Response::Done => Ok(token),
            _ => Err(ClientError::Unexpected),
        }
    }
}

/// Asks the coordinator at one address, and no other, once; also how long its answer took.
pub async fn ask_at(
    address: &str,
    identity: &Identity,
    request: Request,
) -> Result<(Response, Duration), ClientError> {
    let failed = |source| ClientError::Unreachable { address: address.to_string(), source };
    let link = link::connect(address, identity).await.map_err(failed)?;
    let ask = Ask { client: ClientId(0), number: 0, at_least: 0, fresh: false, request };
    let asked = async {
        let began = Instant::now();
        let (mut sender, mut receiver) = link.open(&Open::Ask).await?;
        sender.send(&ask).await?;
        sender.finish().await?;
        Ok((receiver.receive::<Answer>().await?, began.elapsed()))
    };
    let answered = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
        Err(LinkError::NoAnswer { address: address.to_string(), seconds: PATIENCE.as_secs() })
    });
    let (answer, took) = answered.map_err(failed)?;
    link.close("done");
    answer.map(|answer| (answer.response, took)).ok_or(ClientError::Unexpected)
}

/// The coordinator in this process leads within moments of its start.
async fn ask_here(handle: &Handle, ask: Ask) -> Result<Answer, ClientError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = handle.ask(LOCAL_OPERATOR, ask.clone()).await;
        if !matches!(answer.response, Response::Elsewhere { .. }) {
            return Ok(answer);
        }
        if Instant::now() >= until {
            return Err(ClientError::Leaderless);
        }
        tokio::time::sleep(PAUSE_HERE).await;
    }
}

impl Remote {
    /// A connection to any of the addresses, each tried once.
    async fn first_link(&self, tries: usize) -> Result<(), ClientError> {
        let mut failure = None;
        for _ in 0..tries {
            match self.link().await {
                Ok(_) => return Ok(()),
                // What a coordinator said is worth more than that another address has none.
                Err(error) => {
                    let said = |e: &ClientError| matches!(e, ClientError::Unreachable { source, .. } if source.is_refusal());
                    if failure.as_ref().is_none_or(|old| !said(old)) {
                        failure = Some(error);
                    }
                }
            }
        }
        Err(failure.unwrap_or(ClientError::Leaderless))
    }

    async fn link(&self) -> Result<(String, Link), ClientError> {
        let mut reach = self.reach.lock().await;
        if let Some((address, link)) = reach.link.as_ref() {
            return Ok((address.clone(), link.clone()));
        }
        let Some(address) = reach.addresses.front().cloned() else {
            return Err(ClientError::Leaderless);
        };
        match link::connect(&address, &self.identity).await {
            Ok(link) => {
                reach.link = Some((address.clone(), link.clone()));
                drop(reach);
                self.renew(&link).await;
                Ok((address, link))
            }
            Err(source) => {
                reach.addresses.rotate_left(1);
                Err(ClientError::Unreachable { address, source })
            }
        }
    }

    /// Takes a new certificate well before the old one ends, where one is kept. That it fails is no
    /// reason not to answer: the old one is good for days.
    async fn renew(&self, link: &Link) {
        let due = self.identity.is_due(SystemTime::now()).unwrap_or(false);
        if let (Some(folder), true) = (&self.kept, due) {
            let renewed = link::renew(link, &self.identity).await;
            if let Err(error) = renewed.and_then(|identity| identity.save(folder)) {
                tracing::warn!(%error, "this operator's certificate could not be renewed");
            }
        }
    }

    async fn ask(&self, ask: &Ask) -> Result<Answer, ClientError> {
        let until = Instant::now() + PATIENCE;
        let mut pause = PAUSE_FIRST;
        let mut sent_on = false;
        loop {
            let failed = match self.ask_once(ask).await {
                Ok(answer) => {
                    self.learn(&answer.addresses).await;
                    match &answer.response {
                        Response::Elsewhere { leader } => {
                            self.turn_to(leader.as_deref()).await;
                            sent_on = true;
                            ClientError::Leaderless
                        }
                        _ => return Ok(answer),
                    }
                }
                Err(error @ ClientError::Unreachable { .. }) => {
                    if self.give_up_on(&error).await {
                        return Err(error);
                    }
                    error
                }
                Err(error) => return Err(error),
            };
            if Instant::now() >= until {
                // That one of several is up and knows no leader says more than that others are down.
                return Err(if sent_on { ClientError::Leaderless } else { failed });
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
    }

    /// Leaves a coordinator that was not reached for the next one. True when there is no other and
    /// asking again cannot help.
    async fn give_up_on(&self, error: &ClientError) -> bool {
        let mut reach = self.reach.lock().await;
        if reach.link.take().is_some() {
            reach.addresses.rotate_left(1);
        }
        let refused =
            matches!(error, ClientError::Unreachable { source, .. } if source.is_refusal());
        refused && reach.addresses.len() < 2
    }

    /// The leader, when it is known, else the next one.
    async fn turn_to(&self, leader: Option<&str>) {
        let mut reach = self.reach.lock().await;
        if let Some((_, link)) = reach.link.take() {
            link.close("turning to another");
        }
        match leader {
            Some(leader) => {
                reach.addresses.retain(|address| address != leader);
                reach.addresses.push_front(leader.to_string());
            }
            None => reach.addresses.rotate_left(1),
        }
    }

    /// Remembers further coordinators, for when this one is gone.
    async fn learn(&self, addresses: &[String]) {
        let mut reach = self.reach.lock().await;
        let new = addresses.iter().filter(|address| !reach.addresses.contains(address));
        let new: Vec<String> = new.cloned().collect();
        if new.is_empty() {
            return;
        }
        reach.addresses.extend(new);
        if let Some(folder) = &self.kept {
            let lines: Vec<String> = addresses.iter().map(|a| format!("{a}\n")).collect();
            // Only a convenience: the address that was given still works.
            let _ = std::fs::write(folder.join(ADDRESSES_FILE), lines.concat());
        }
    }

    async fn ask_once(&self, ask: &Ask) -> Result<Answer, ClientError> {
        let (address, link) = self.link().await?;
        let failed = |source| match source {
            // It was reached, and said no.
            LinkError::Closed { why, .. } if why.starts_with("not allowed") => {
                ClientError::Refused { why }
            }
            source => ClientError::Unreachable { address: address.clone(), source },
        };
        let asked = async {
            let (mut sender, mut receiver) = link.open(&Open::Ask).await?;
            sender.send(ask).await?;
            sender.finish().await?;
            receiver.receive::<Answer>().await
        };
        // A coordinator that was cut off answers nobody and does not know it yet.
        let answered = tokio::time::timeout(ANSWER_WITHIN, asked).await;
        let answered = answered.unwrap_or_else(|_| {
            let seconds = ANSWER_WITHIN.as_secs();
            Err(LinkError::NoAnswer { address: address.clone(), seconds })
        });
        answered.map_err(failed)?.ok_or(ClientError::Unexpected)
    }

    async fn upload(&self, digest: &Digest, data: &[u8]) -> Result<(), ClientError> {
        let (address, link) = self.link().await?;
        let failed = |source| ClientError::Unreachable { address: address.clone(), source };
        let open = Open::Upload { digest: *digest, bytes: data.len() as u64 };
        let (mut sender, mut receiver) = link.open(&open).await.map_err(failed)?;
        let offset = match receiver.receive::<Bulk>().await.map_err(failed)? {
            Some(Bulk::Here { bytes }) => bytes as usize,
            Some(Bulk::Refused { why }) => return Err(ClientError::Refused { why }),
            None => return Err(ClientError::Unexpected),
        };
        for chunk in data.get(offset..).unwrap_or_default().chunks(CHUNK_BYTES) {
            sender.send_chunk(chunk).await.map_err(failed)?;
        }
        sender.finish().await.map_err(failed)?;
        match receiver.receive::<Response>().await.map_err(failed)? {
            Some(Response::Done) => Ok(()),
            Some(Response::Refused { why }) => Err(ClientError::Refused { why }),
            _ => Err(ClientError::Unexpected),
        }
    }
}

impl Drop for Remote {
    /// Tells the coordinator, so that it need not wait for the silence to be long enough.
    fn drop(&mut self) {
        if let Some((_, link)) = self.reach.get_mut().link.take() {
            link.close("done");
        }
    }
}

fn read_addresses(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(ADDRESSES_FILE)).unwrap_or_default();
    text.lines().map(str::to_string).collect()
}

/// Beside an operator's identity: every address of its cluster.
const ADDRESSES_FILE: &str = "addresses";
/// An election and the start of a coordinator fit in here.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE_HERE: Duration = Duration::from_millis(20);
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);
/// Data may first be copied to a majority, and a large study's outcomes be taken over.
const ANSWER_WITHIN: Duration = Duration::from_secs(150);
const SUBMIT_TRIES: u32 = 5;
