//! `coordinator submit`.
//!
//! Floor: wiring.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::output::Output;
use super::{Target, connect, look, register, study, watch};

/// Send a study to the coordinator.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coordinator submit study.toml --watch\n\nSubmitting the same study again goes on where it stopped."
)]
pub struct SubmitArgs {
    /// The study file.
    study: PathBuf,
    /// Follow it until it ends.
    #[arg(long)]
    watch: bool,
    /// Show nobody its scores until what it should show is registered.
    #[arg(long)]
    sealed: bool,
    #[command(flatten)]
    target: Target,
}

/// `coordinator submit STUDY`: checks the study file, sends its data and it, prints the study's id.
pub async fn submit(args: SubmitArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let Some(read) = study::read(&args.study, output)? else { return Ok(ExitCode::from(1)) };
    let client = connect::client(&args.target).await?;
    read.checked.notes.iter().for_each(|note| output.say(format!("note: {note}")));
    let name = read.checked.study.name.clone();
    let (id, known) = client.submit(read.checked.study, read.checked.text, &read.data).await?;
    if args.sealed {
        let closed = register::sealed(&client, id).await?;
        let told = if closed { register::opened_by(id) } else { "its claim has opened it".into() };
        output.say(format!("{name} is sealed: {told}"));
    }
    if !args.watch {
        let again = if known { " (known already)" } else { "" };
        let text =
            format!("study {name} has id {id}{again}; follow it with `coordinator watch {id}`");
        let answer = json!({ "study": id.to_string(), "name": name, "known": known });
        output.answer(&text, "seedsweep.submit/1", answer);
        return Ok(ExitCode::SUCCESS);
    }
    output.say(format!("study {name} has id {id}; Ctrl-C stops watching, not the study"));
    let last = watch::follow(&client, id, output).await?;
    let why = watch::why_it_ended(&client, id).await?;
    watch::say_why(&last, why.as_ref(), output);
    look::print_status(std::slice::from_ref(&last), &[], output);
    output.say(format!("write its report with `coordinator report {id}`"));
    Ok(watch::exit_code(&last, why.as_ref()))
}
