//! `coordinator start`: one replica, listening.
//!
//! On first start it makes its data folder, the cluster's certificate authority and a join token,
//! and prints the line that makes a machine an agent.
//!
//! Floor: wiring.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use clap::Args;
use common::wire::message::{Request, Response, Role};
use link::{JoinToken, Listener};
use serde_json::json;

use super::connect::{ADDRESS_FILE, OPERATOR_FOLDER, data_folder};
use super::output::{Output, parse_duration};
use super::signal::interrupted;
use crate::client::{Client, TokenWish};
use crate::cluster::{self, Cluster, Join, Named, Opening};
use crate::http::{self, Served, Watched};
use crate::node::Settings;
use crate::replica::Margin;
use crate::scheduler::REPLICAS_MAX;
use crate::scheduler::command::LEVEL;
use crate::scheduler::state::LOCAL_OPERATOR;
use crate::serve;

/// Start a coordinator: the first of a cluster, a further replica of one, or one of several that find
/// each other.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator start\n  coordinator start --data /srv/seedsweep --listen 0.0.0.0:7461\n  coordinator start --join 10.0.0.5:7461 --token SW1...\n  coordinator start --cluster a:7461,b:7461,c:7461 --me b:7461 --secret-file cluster-secret\n  coordinator start --http 7462 --log-format json\n\nA token for a further replica: coordinator token create --role peer --uses 1\nA secret for replicas that find each other: coordinator secret DIR"
)]
pub struct StartArgs {
    /// Where agents, operators and other replicas connect (UDP).
    #[arg(long, default_value = "0.0.0.0:7461", value_name = "IP:PORT")]
    listen: SocketAddr,
    /// The address others are told; default: this machine's own.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Become a replica of the cluster at this address; in a folder that is one, it is not used.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    join: Vec<String>,
    /// A token for a replica, needed the first time with --join.
    #[arg(
        long,
        env = "SEEDSWEEP_PEER_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        requires = "join"
    )]
    token: Option<String>,
    /// A file with that token.
    #[arg(long, value_name = "FILE", requires = "join", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    names: NameArgs,
    /// How long an agent may be silent before its trials go to another.
    #[arg(long, default_value = "15s", value_parser = parse_duration, value_name = "TIME")]
    lease: Duration,
    /// Log entries after which a snapshot takes their place. Fewer keep the folder small; a replica
    /// that was away for longer than a quarter of them gets the whole snapshot.
    #[arg(long, default_value_t = Settings::default().snapshot_entries, value_name = "N", value_parser = clap::value_parser!(u64).range(SNAPSHOT_MIN..))]
    snapshot_entries: u64,
    /// A folder that all replicas share, in which each says where it is: for replicas that are started
    /// at another address each time.
    #[arg(long, value_name = "DIR")]
    places: Option<PathBuf>,
    /// Serve /metrics, /healthz and /readyz here, for monitors and probes; a port alone, such as 7462,
    /// is open to this machine alone. Off unless given.
    #[arg(long, env = "SEEDSWEEP_HTTP", value_name = "[IP:]PORT", value_parser = http::address)]
    http: Option<SocketAddr>,
    /// Hold the cluster at this level of the log's entries, so that an older program can take over
    /// again: what needs a higher one is refused. Start without it when an upgrade is final.
    #[arg(long, env = "SEEDSWEEP_LEVEL", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(LEVEL)))]
    level: Option<u16>,
    /// The data folder; made on first start.
    #[arg(long, env = "SEEDSWEEP_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Replicas that find each other.
#[derive(Debug, Args)]
struct NameArgs {
    /// All replicas, the same names for each. An empty folder joins the cluster that others have; where
    /// nobody has one, the one with the least name founds it.
    #[arg(
        long,
        env = "SEEDSWEEP_CLUSTER",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        requires = "secret_file",
        conflicts_with_all = ["join", "advertise"]
    )]
    cluster: Vec<String>,
    /// Which of them this one is, spelt as in the list; default: the one that begins with this machine's
    /// name.
    #[arg(long, value_name = "HOST:PORT", requires = "cluster")]
    me: Option<String>,
    /// A file with the secret they share, made by `coordinator secret`.
    #[arg(long, env = "SEEDSWEEP_SECRET_FILE", value_name = "FILE", requires = "cluster")]
    secret_file: Option<PathBuf>,
}

/// `coordinator start`.
pub async fn start(args: StartArgs, output: &Output) -> anyhow::Result<ExitCode> {
    if args.lease < LEASE_MIN {
        bail!("--lease must be at least {} s: agents renew three times in it", LEASE_MIN.as_secs());
    }
    let folder = data_folder(args.data.as_deref())?;
    let settings = settings(&args);
    // Bound before anything is said of the address: the port may be the system's to choose.
    let socket = UdpSocket::bind(args.listen)
        .with_context(|| format!("cannot listen on {}; name another with --listen", args.listen))?;
    let local = socket.local_addr().context("the socket has no address")?;
    let watched = Arc::new(Watched::default());
    let http = match args.http {
        Some(address) => Some(watch(address, Arc::clone(&watched)).await?),
        None => None,
    };
    let (join, named) = (join_of(&args)?, named_of(&args.names, &socket)?);
    let me = named.as_ref().map(|named| named.me.clone()).or(args.advertise.clone());
    let told = me.unwrap_or_else(|| own_address(local).to_string());
    let joins = join.is_some() || named.is_some();
    match &named {
        Some(named) => output.say(format!("looking for {}", named.cluster.join(", "))),
        None if joins => output.say("joining; this takes a moment"),
        None => {}
    }
    let places = args.places.clone();
    let opening = Opening { settings, address: Some(told.clone()), join, named, places };
    let cluster = tokio::select! {
        cluster = cluster::open(&folder, opening) => cluster?,
        () = interrupted() => return Ok(ExitCode::SUCCESS),
    };
    let listener = listen(&cluster, socket)?;
    let (handle, folder) = (cluster.handle.clone(), cluster.folder.clone());
    watched.serves(Served { handle, refusals: listener.refusals(), folder });
    // A full disk must not keep a coordinator from starting that was here before.
    if let Err(error) = write_operator(&cluster) {
        if cluster.is_new {
            return Err(error);
        }
        tracing::warn!(%error, "the local operator's certificate could not be renewed");
    }
    write_address(&cluster, local)?;
    let serving = serve::serve(&listener, &cluster.handle);
    let telling = async {
        let token = agent_token(&cluster, &told, joins).await?;
        print_start(&cluster, &told, token.as_deref(), http, output);
        std::future::pending::<anyhow::Result<()>>().await
    };
    let renewing = renew(&cluster, &listener);
    let tending = cluster::keep_to_names(cluster.handle.clone(), args.names.cluster.clone());
    tokio::select! {
        () = serving => {}
        () = renewing => {}
        () = tending => {}
        told = telling => told?,
        () = interrupted() => output.say("stopping"),
        why = cluster.handle.ended() => bail!("{why}"),
    }
    watched.stops();
    tokio::select! {
        () = cluster.handle.hand_over() => {}
        () = serve::serve(&listener, &cluster.handle) => {}
        () = interrupted() => {}
    }
    listener.close("the coordinator is stopping").await;
    cluster.handle.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn settings(args: &StartArgs) -> Settings {
    let usual = Settings::default();
    let snapshot_entries = args.snapshot_entries;
    let margin = Margin { entries: usual.margin.entries.min(snapshot_entries / 4), ..usual.margin };
    let level = args.level.unwrap_or(usual.level);
    Settings { lease_ms: args.lease.as_millis() as u64, snapshot_entries, margin, level, ..usual }
}

/// Whom to join, and with what.
fn join_of(args: &StartArgs) -> anyhow::Result<Option<Join>> {
    if args.join.is_empty() {
        return Ok(None);
    }
    let text = match &args.token_file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the token in {}", path.display()))?,
        ),
        None => args.token.clone(),
    };
    let text = text.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let token = text.map(JoinToken::find).transpose().context("the token cannot be read")?;
    Ok(Some(Join { addresses: args.join.clone(), token }))
}

/// Whom to find, and by which secret.
fn named_of(args: &NameArgs, socket: &UdpSocket) -> anyhow::Result<Option<Named>> {
    let Some(path) = &args.secret_file else { return Ok(None) };
    let cluster = args.cluster.clone();
    let me = match &args.me {
        Some(me) if cluster.contains(me) => me.clone(),
        Some(me) => bail!("--me {me} is not in --cluster {}; spell it as there", cluster.join(",")),
        None => me_by_name(&cluster)?,
    };
    if let Some(twice) =
        cluster.iter().find(|name| cluster.iter().filter(|n| n == name).count() > 1)
    {
        bail!("--cluster names {twice} twice; name every replica once");
    }
    if cluster.len() > REPLICAS_MAX {
        bail!("--cluster names {} replicas; {REPLICAS_MAX} is the most", cluster.len());
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the secret in {}", path.display()))?;
    let secret = text.parse().with_context(|| format!("in {}", path.display()))?;
    let socket = Arc::new(socket.try_clone().context("the socket cannot be used twice")?);
    Ok(Some(Named { cluster, me, secret, socket }))
}

/// The one of the replicas that begins with this machine's name.
fn me_by_name(cluster: &[String]) -> anyhow::Result<String> {
    let name = hostname::get().context("this machine has no name; give --me")?;
    let name = name.to_string_lossy();
    let is_me = |address: &&String| {
        let rest = address.strip_prefix(&*name);
        rest.is_some_and(|rest| rest.starts_with(['.', ':']))
    };
    let mut found = cluster.iter().filter(is_me);
    match (found.next(), found.next()) {
        (Some(me), None) => Ok(me.clone()),
        _ => bail!(
            "none of --cluster {} begins with this machine's name, {name}; give --me",
            cluster.join(",")
        ),
    }
}

/// Serves monitors from now on, whatever the node does; where.
async fn watch(address: SocketAddr, watched: Arc<Watched>) -> anyhow::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; name another with --http"))?;
    let local = listener.local_addr().context("the socket has no address")?;
    tokio::spawn(http::serve(listener, watched));
    Ok(local)
}

fn listen(cluster: &Cluster, socket: UdpSocket) -> anyhow::Result<Listener> {
    let authority = cluster.handle.authority();
    let identity = authority.server_identity(cluster.identity.replica, SystemTime::now())?;
    let gate = cluster.handle.gate();
    Ok(Listener::on(socket, &identity, authority, gate)?)
}

/// New certificates, for this coordinator and its own operator, well before the old ones end.
async fn renew(cluster: &Cluster, listener: &Listener) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let authority = cluster.handle.authority();
        let renewed = authority
            .server_identity(cluster.identity.replica, SystemTime::now())
            .and_then(|identity| listener.renew(&identity));
        if let Err(error) = renewed {
            tracing::warn!(%error, "the certificate could not be renewed");
        }
        if let Err(error) = write_operator(cluster) {
            tracing::warn!(%error, "the local operator's certificate could not be renewed");
        }
    }
}

/// The certificate of this machine's own operator.
fn write_operator(cluster: &Cluster) -> anyhow::Result<()> {
    let authority = cluster.handle.authority();
    let identity = authority.client_identity(Role::Operator, LOCAL_OPERATOR, SystemTime::now())?;
    Ok(identity.save(&cluster.folder.join(OPERATOR_FOLDER))?)
}

/// Where this machine's own operator finds the coordinator.
fn write_address(cluster: &Cluster, local: SocketAddr) -> anyhow::Result<()> {
    let reachable = match local.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), local.port()),
        _ => local,
    };
    let (path, text) = (cluster.folder.join(ADDRESS_FILE), reachable.to_string());
    // Written over it would be lost for a moment, and on a full disk for good.
    if std::fs::read_to_string(&path).is_ok_and(|kept| kept == text) {
        return Ok(());
    }
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A valid agent token of this cluster: the one kept from an earlier start, or a new one.
async fn agent_token(cluster: &Cluster, told: &str, joins: bool) -> anyhow::Result<Option<String>> {
    let client = Client::here(cluster.handle.clone());
    let path = cluster.folder.join(TOKEN_FILE);
    let kept = std::fs::read_to_string(&path).ok().and_then(|line| token_in(&line));
    if let Some(token) = kept {
        return Ok(still_good(&client, &token).await.then_some(token.expose()));
    }
    if !cluster.is_new || joins {
        return Ok(None);
    }
    let (role, ttl, uses) = (Role::Agent, FIRST_TOKEN_TTL, None);
    let wish = TokenWish { role, ttl, uses, label: "first-start".to_string() };
    let token = client.create_token(wish).await.context("no join token could be made")?.expose();
    write_secret(&path, &format!("agent join {told} --token {token}\n"))?;
    Ok(Some(token))
}

async fn still_good(client: &Client, token: &JoinToken) -> bool {
    match client.ask(Request::Tokens).await {
        Ok(Response::Tokens { tokens }) => {
            let now = crate::driver::wall_clock();
            tokens.iter().any(|known| known.id == token.id_hex() && known.expires > now)
        }
        // Nobody knows just now; a good one is seldom lost, and a bad one is refused.
        _ => true,
    }
}

fn token_in(line: &str) -> Option<JoinToken> {
    line.split_whitespace().last()?.parse().ok()
}

fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).truncate(true).write(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn print_start(
    cluster: &Cluster,
    told: &str,
    token: Option<&str>,
    http: Option<SocketAddr>,
    output: &Output,
) {
    let join = match token {
        Some(token) => format!("agent join {told} --token {token}"),
        None => format!("agent join {told}"),
    };
    let mut text = format!(
        "coordinator {} of cluster {} on {told}\ndata in {}\nmake a machine an agent with\n  {join}",
        cluster.identity.replica,
        cluster.identity.cluster,
        cluster.folder.display()
    );
    if token.is_none() {
        text.push_str("\n(new machines need a token: coordinator token create)");
    }
    if let Some(http) = http {
        text.push_str(&format!("\nnumbers and probes on http://{http}/metrics"));
    }
    text.push_str("\nsee the replicas with\n  coordinator members");
    let answer = json!({
        "cluster": cluster.identity.cluster.to_string(),
        "replica": cluster.identity.replica.to_string(),
        "address": told,
        "data": cluster.folder,
        "token": token,
        "join": join,
        "http": http.map(|http| http.to_string()),
    });
    output.answer(&text, "seedsweep.start/1", answer);
}

/// The address this machine speaks from, where it listens on all of them. Sends nothing.
fn own_address(local: SocketAddr) -> SocketAddr {
    if !local.ip().is_unspecified() {
        return local;
    }
    let outward = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| {
            // A documentation address: connecting a datagram socket only picks a route.
            socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
            socket.local_addr()
        })
        .map(|address| address.ip())
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    SocketAddr::new(outward, local.port())
}

/// In the data folder, for its owner alone: the line that makes a machine an agent.
pub const TOKEN_FILE: &str = "agent-join";
const FIRST_TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);
const LEASE_MIN: Duration = Duration::from_secs(3);
/// Below it more is spent on snapshots than on the log.
const SNAPSHOT_MIN: u64 = 100;
/// Server certificates last 30 days.
const RENEW_EVERY: Duration = Duration::from_secs(10 * 24 * 3600);
