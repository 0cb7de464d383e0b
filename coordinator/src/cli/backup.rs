//! `coordinator backup` and `restore`.
//!
//! A backup is read through after it was written: what is on the disk is what was meant. It is for
//! its owner alone, since it holds the cluster's key.
//!
//! Floor: wiring.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::Target;
use super::connect::{self, data_folder};
use super::output::{Output, bytes};
use crate::backup::{self, BackupError, Contents, Restored, Source};
use crate::disk::DiskError;

/// Write all of a cluster to one file: studies, outcomes, ledgers, members, data files and its key.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator backup --out backups/$(date +%F).seedsweep\n  coordinator backup --out all.seedsweep --offline --data /srv/seedsweep\n\nThe cluster goes on meanwhile; the file is of one moment, and has all that was acknowledged before.\nIt holds the key of the cluster's certificate authority, with which anybody can be let in: its mode is 600,\nand wherever it is copied it must be kept as secret as the coordinator's data folder."
)]
pub struct BackupArgs {
    /// The file; it must not be there yet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Read the data folder itself, while no coordinator uses it.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    target: Target,
}

/// Make a coordinator's data folder from a backup: a cluster of one replica.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coordinator restore all.seedsweep --data /srv/seedsweep && coordinator start --data /srv/seedsweep\n\nIt has the same studies, outcomes, ledgers, tokens and members: agents and operators that were admitted come\nback with the certificates that they have, if it starts at an address that they know. What was acknowledged\nafter the backup is lost, and is trained again; who was let in after it needs a new token, and who was\nremoved after it is a member again. Never start a replica of the lost cluster again: further replicas join\nanew, with tokens and empty folders."
)]
pub struct RestoreArgs {
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data folder, which must be empty or not be there; default: that of this user's coordinator.
    #[arg(long, env = "SEEDSWEEP_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
}

/// `coordinator backup`.
pub async fn backup(args: BackupArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let BackupArgs { out, offline, target } = args;
    if out.exists() {
        bail!("{} is there already; name another file", out.display());
    }
    let (part, file) = Part::begin(&out)?;
    let file = BufWriter::new(file);
    let contents = match offline {
        true => from_folder(&target, &part, file, output).await?,
        false => over_link(&target, &part, file, output).await?,
    };
    part.finish(&out)?;
    let Contents { about, outcomes, bytes: length, .. } = &contents;
    let text = format!(
        "{}: {}, {} studies, {outcomes} outcomes, {} data files, up to entry {} of cluster {}\n\
         It holds the cluster's key: keep it secret.",
        out.display(),
        bytes(*length),
        about.studies,
        about.data.len(),
        about.index,
        about.cluster,
    );
    output.answer(&text, "seedsweep.backup/1", told(&contents, json!({ "file": out })));
    Ok(ExitCode::SUCCESS)
}

/// `coordinator restore`.
pub async fn restore(args: RestoreArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let (file, folder) = (args.file, data_folder(args.data.as_deref())?);
    let length =
        fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?.len();
    let bar = output.bytes_bar(length, "reading");
    let (from, to) = (file.clone(), folder.clone());
    let restored = on_a_thread(&bar, move |read| backup::restore(&from, &to, read)).await?;
    let Restored { contents, replica, members } = &restored;
    let text = format!(
        "{}: replica {replica} of cluster {}, {} studies, {} outcomes, {members} members\n\
         start it with\n  coordinator start --data {0}\n\
         Never start a replica of the lost cluster again; further replicas join this one anew.",
        folder.display(),
        contents.about.cluster,
        contents.about.studies,
        contents.outcomes,
    );
    let own = json!({ "data": folder, "replica": replica.to_string(), "members": members });
    output.answer(&text, "seedsweep.restore/1", told(contents, own));
    Ok(ExitCode::SUCCESS)
}

async fn over_link(
    target: &Target,
    part: &Part,
    mut file: BufWriter<File>,
    output: &Output,
) -> anyhow::Result<Contents> {
    let client = connect::client(target)
        .await
        .context("without a coordinator that runs, --offline reads its folder")?
        .fresh(true);
    let bar = output.bytes_bar(0, "receiving");
    let took = client.backup(|piece, length| {
        bar.inc(piece.len() as u64);
        bar.set_length(length.max(bar.position()));
        file.write_all(piece).map_err(|error| format!("the file cannot be written: {error}"))
    });
    took.await?;
    file.flush().with_context(|| part.unwritten())?;
    bar.finish_and_clear();
    part.check(output).await
}

async fn from_folder(
    target: &Target,
    part: &Part,
    mut file: BufWriter<File>,
    output: &Output,
) -> anyhow::Result<Contents> {
    if !target.coordinator.is_empty() {
        bail!("--offline reads a folder on this machine; leave --coordinator away");
    }
    let folder = data_folder(target.data.as_deref())?;
    let path = folder.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let source = Source::folder(&path)?;
        backup::write(&source, &mut file)
    });
    match writing.await.context("the folder could not be read; this is a fault of the program")? {
        Err(BackupError::Disk(DiskError::Locked { .. })) => {
            bail!("a coordinator uses {}: leave --offline away, or stop it first", folder.display())
        }
        written => drop(written?),
    }
    part.check(output).await
}

/// A file beside the one that is wanted, until it is whole; removed when it never is.
struct Part {
    path: PathBuf,
}

impl Part {
    /// A new file: one that is there may be somebody else's, or lead elsewhere.
    fn begin(out: &Path) -> anyhow::Result<(Self, File)> {
        let mut name = out.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        // Left by one that was killed.
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok((Self { path }, file))
    }

    fn unwritten(&self) -> String {
        format!("cannot write {}", self.path.display())
    }

    /// Reads all of it again.
    async fn check(&self, output: &Output) -> anyhow::Result<Contents> {
        let length = fs::metadata(&self.path).map_or(0, |file| file.len());
        let bar = output.bytes_bar(length, "reading again");
        let path = self.path.clone();
        on_a_thread(&bar, move |read| backup::check(&path, read)).await
    }

    /// It gets its name, for good.
    fn finish(&self, out: &Path) -> anyhow::Result<()> {
        let synced = File::open(&self.path).and_then(|file| file.sync_all());
        synced
            .and_then(|()| fs::rename(&self.path, out))
            .and_then(|()| match out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                Some(parent) => File::open(parent)?.sync_all(),
                None => File::open(".")?.sync_all(),
            })
            .with_context(|| format!("cannot write {}", out.display()))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Fails once it has its name.
        let _ = fs::remove_file(&self.path);
    }
}

/// Works on a thread of its own, and shows how much it has read.
async fn on_a_thread<T: Send + 'static>(
    bar: &ProgressBar,
    work: impl FnOnce(&mut dyn FnMut(u64)) -> Result<T, BackupError> + Send + 'static,
) -> anyhow::Result<T> {
    let read = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&read);
    let mut working = tokio::task::spawn_blocking(move || {
        work(&mut |bytes| {
            read.fetch_add(bytes, Ordering::Relaxed);
        })
    });
    let worked = loop {
        if let Ok(worked) = tokio::time::timeout(BETWEEN_LOOKS, &mut working).await {
            break worked;
        }
        bar.set_position(seen.load(Ordering::Relaxed));
    };
    bar.finish_and_clear();
    Ok(worked.context("this is a fault of the program")??)
}

/// What a backup holds, for programs.
fn told(contents: &Contents, mut own: Value) -> Value {
    let Contents { about, outcomes, bytes, digest } = contents;
    let more = json!({
        "cluster": about.cluster.to_string(),
        "index": about.index,
        "level": about.level,
        "version": about.version,
        "made": about.made.0,
        "studies": about.studies,
        "outcomes": outcomes,
        "data_files": about.data.len(),
        "bytes": bytes,
        "digest": digest.hex(),
    });
    if let (Some(own), Value::Object(more)) = (own.as_object_mut(), more) {
        own.extend(more);
    }
    own
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
