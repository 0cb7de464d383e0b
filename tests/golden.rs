//! Bytes keep their meaning: one value of everything that crosses a socket or a disk, as it was
//! written when its format was fixed.
//!
//! A golden line is never changed to make a test pass: who reads the bytes may be of an older
//! version, and so may a disk. After a format got another number on purpose, `SEEDSWEEP_GOLDEN=write`
//! writes all files anew.
//!
//! Floor: wiring.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use agent::spool::Spool;
use common::study::Study;
use common::wire::codec;
use proptest::prelude::*;
use tests::targets::values::{self, Sample};

#[test]
fn messages_are_written_and_read_as_ever() {
    holds("connection", values::connection());
    holds("agents", [values::from_agent(), values::to_agent()].concat_all());
    holds("operators", [values::asks(), values::answers(), values::responses()].concat_all());
    holds("peers", [values::peer_messages(), values::parts()].concat_all());
}

#[test]
fn log_entries_are_written_and_read_as_ever() {
    holds("entries", values::entries());
}

#[test]
fn states_and_what_lies_beside_them_are_written_and_read_as_ever() {
    holds("state", values::states());
    holds("disk", values::disk());
}

#[test]
fn a_spool_of_every_record_is_written_and_read_as_ever() {
    let file = values::spool();
    let path = PathBuf::from("spool.log");
    let said = Spool::read(&file, &path).expect("whole");
    assert_eq!((said.crashed.len(), said.reports.len(), said.cut_bytes), (1, 5, 0));
    let is = move |bytes: &[u8]| Spool::read(bytes, &path).is_ok_and(|back| back == said);
    holds("spool", vec![Sample { name: "Spool".to_string(), bytes: file, is: Box::new(is) }]);
}

/// The kept bytes of each value are those it has now, and read as that value.
fn holds(file: &str, samples: Vec<Sample>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("data/golden/{file}.hex"));
    if std::env::var("SEEDSWEEP_GOLDEN").is_ok_and(|how| how == "write") {
        let line = |sample: &Sample| format!("{} {}\n", sample.name, hex(&sample.bytes));
        fs::write(&path, samples.iter().map(line).collect::<String>()).expect("written");
    }
    let text = fs::read_to_string(&path).expect("readable");
    let kept: Vec<(&str, &str)> =
        text.lines().map(|line| line.split_once(' ').expect("a name and bytes")).collect();
    let names: Vec<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
    assert_eq!(kept.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names, "in {file}.hex");
    for ((name, kept), sample) in kept.into_iter().zip(&samples) {
        let bytes = unhex(kept);
        assert!((sample.is)(&bytes), "{name} of {file}.hex reads as something else");
        assert_eq!(hex(&sample.bytes), kept, "{name} is written otherwise than in {file}.hex");
        assert!(!(sample.is)(&[bytes.as_slice(), &[0]].concat()), "{name} with a byte behind it");
        assert!(!(sample.is)(&bytes[..bytes.len() - 1]), "{name} without its last byte");
    }
}

trait ConcatAll {
    fn concat_all(self) -> Vec<Sample>;
}

impl<const N: usize> ConcatAll for [Vec<Sample>; N] {
    fn concat_all(self) -> Vec<Sample> {
        self.into_iter().flatten().collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("memory");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(pair).collect()
}

/// Whatever decodes encodes to the same bytes, and reads as the same value.
fn is_canonical<T>(value: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = codec::encode(value).expect("encodes");
    assert_eq!(codec::decode::<T>(&bytes).expect("decodes"), *value);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn messages_of_raft_are_read_as_they_were_written(
        numbers in any::<[u64; 9]>(),
        data in proptest::collection::vec(any::<u8>(), 0..300),
        flags in any::<[bool; 3]>(),
        kind in 0usize..12,
    ) {
        use common::wire::message::peer::{
            EntryKind, LogEntry, PeerMessage, RaftMessage, SnapshotMeta, Voters,
        };
        let [to, from, term, log_term, index, commit, commit_term, hint, voter] = numbers;
        let entry = LogEntry {
            index, term, kind: if flags[0] { EntryKind::Command } else { EntryKind::Membership },
            context: data.clone(), data: data.clone(),
        };
        let voters = Voters { voters: vec![voter], learners: vec![to, from] };
        is_canonical(&PeerMessage::Raft(Box::new(RaftMessage {
            kind: values::raft_messages()[kind].kind,
            to, from, term, log_term, index, commit, commit_term,
            entries: vec![entry; usize::from(flags[1])],
            snapshot: flags[2].then_some(SnapshotMeta { index, term, voters }),
            request_snapshot: hint, reject: flags[0], reject_hint: hint,
            context: data, priority: voter as i64,
        })));
    }

    #[test]
    fn outcomes_are_read_as_they_were_written(
        metrics in proptest::collection::vec(-1e300f64..1e300, 0..8),
        rows in proptest::collection::vec(-1e30f32..1e30, 0..300),
        numbers in any::<[u64; 5]>(),
        device in ".{0,40}",
    ) {
        use common::id::{LeaseId, StudyId, TrialIndex};
        use common::trial::{Attempt, Ending, Outcome, Report};
        let [study, trial, term, counter, duration_us] = numbers;
        let attempt = Attempt {
            study: StudyId(study),
            trial: TrialIndex(trial),
            lease: LeaseId { term, counter },
        };
        let outcome = Outcome { metrics, rows, epochs: trial as u32, duration_us, device, curve: None };
        let report = Report { attempt, ending: Ending::Complete(outcome) };
        is_canonical(&common::wire::message::FromAgent::Reports { reports: vec![report] });
    }

    #[test]
    fn texts_are_read_as_they_were_written(why in "\\PC{0,200}", label in "[A-Za-z0-9._-]{1,64}") {
        use common::wire::message::{Greeting, NewToken, Request, Response, Role};
        is_canonical(&Greeting::Refused { why: why.clone() });
        is_canonical(&Response::Refused { why });
        is_canonical(&Request::CreateToken(NewToken {
            id: [1; 6], secret_hash: [2; 32], role: Role::Agent, ttl_ms: 1, uses: None, label,
        }));
        is_canonical::<Study>(&values::study());
    }
}
