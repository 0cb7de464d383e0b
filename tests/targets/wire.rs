//! Frames, and every message that crosses a socket.
//!
//! A message that is read has one spelling: it encodes to the bytes it was read from.
//!
//! Floor: wiring.

use std::fmt::Debug;

use common::wire::codec;
use common::wire::frame::{self, FIRST_FRAME_MAX, FRAME_MAX, HEADER_BYTES};
use common::wire::message::peer::{Enrolment, Leadership, PeerMessage, Private, SnapshotPart};
use common::wire::message::{
    Answer, Ask, Bulk, FromAgent, Greeting, Hello, Open, Renewal, Response, ToAgent,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::values::{self, Sample};
use super::{Read, kept};

/// An agent's stream: what opens it, then its messages, until one is refused.
pub(super) fn frames(input: &[u8]) -> Read {
    let (open, mut rest) = frame::<Open>(input, FIRST_FRAME_MAX)?;
    let mut messages = Vec::new();
    while let Some((message, behind)) = frame::<FromAgent>(rest, FRAME_MAX) {
        messages.push(message);
        rest = behind;
    }
    kept((open, messages))
}

fn frame<T: DeserializeOwned + Serialize>(bytes: &[u8], bytes_max: usize) -> Option<(T, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let length = frame::body_length(*header, bytes_max).ok()?;
    assert!(length <= bytes_max);
    let (body, behind) = rest.split_at_checked(length)?;
    let message: T = frame::decode_body(body).ok()?;
    let again = frame::encode(&message).expect("what was read can be sent");
    assert!(again == bytes[..HEADER_BYTES + length], "a frame with two spellings");
    Some((message, behind))
}

/// The first byte says which message the others are.
pub(super) fn message(input: &[u8]) -> Read {
    let (which, body) = input.split_first()?;
    KINDS[usize::from(*which) % KINDS.len()].1(body)
}

fn read<T>(body: &[u8]) -> Read
where
    T: DeserializeOwned + Serialize + Debug + 'static,
{
    let message: T = codec::decode(body).ok()?;
    assert!(codec::encode(&message).expect("encodes") == body, "a message with two spellings");
    kept(message)
}

fn hello(body: &[u8]) -> Read {
    let hello: Hello = codec::decode(body).ok()?;
    if let Ok(agreed) = Hello::ours().agree(&hello) {
        assert!((hello.protocol_min..=hello.protocol_max).contains(&agreed), "{hello:?}");
    }
    read::<Hello>(body)
}

/// The cluster's authority is shown to nobody.
fn enrolment(body: &[u8]) -> Read {
    let enrolment: Enrolment = codec::decode(body).ok()?;
    if let Enrolment::Enrolled { authority: Private(secret), .. } = &enrolment
        && secret.len() >= 4
    {
        let list = format!("{secret:?}");
        assert!(!format!("{enrolment:?}").contains(&list[1..list.len() - 1]));
    }
    read::<Enrolment>(body)
}

type Reader = fn(&[u8]) -> Read;

/// In the order of the first byte; new ones come last, since the corpus has the numbers.
const KINDS: [(&str, Reader); 14] = [
    ("Hello", hello),
    ("Greeting", read::<Greeting>),
    ("Open", read::<Open>),
    ("FromAgent", read::<FromAgent>),
    ("ToAgent", read::<ToAgent>),
    ("Ask", read::<Ask>),
    ("Answer", read::<Answer>),
    ("PeerMessage", read::<PeerMessage>),
    ("SnapshotPart", read::<SnapshotPart>),
    ("Enrolment", enrolment),
    ("Renewal", read::<Renewal>),
    ("Bulk", read::<Bulk>),
    ("Leadership", read::<Leadership>),
    ("Response", read::<Response>),
];

pub(super) fn frame_seeds() -> Vec<(String, Vec<u8>)> {
    let framed = |body: &[u8]| [&(body.len() as u32).to_be_bytes()[..], body].concat();
    let open = framed(&codec::encode(&Open::Agent).expect("short"));
    let messages = values::from_agent();
    let seed = |message: &Sample| {
        (message.name.clone(), [open.as_slice(), &framed(&message.bytes)].concat())
    };
    let mut seeds: Vec<_> = messages.iter().map(seed).collect();
    let all = messages.iter().flat_map(|message| framed(&message.bytes));
    seeds.push(("all".to_string(), open.iter().copied().chain(all).collect()));
    seeds
}

pub(super) fn message_seeds() -> Vec<(String, Vec<u8>)> {
    let mut samples = values::connection();
    for more in [
        values::from_agent(),
        values::to_agent(),
        values::asks(),
        values::answers(),
        values::responses(),
        values::peer_messages(),
        values::parts(),
    ] {
        samples.extend(more);
    }
    let seed = |sample: Sample| {
        let (kind, _) = sample.name.split_once('.').unwrap_or((&sample.name, ""));
        let number = KINDS.iter().position(|(name, _)| *name == kind)? as u8;
        Some((sample.name.clone(), [&[number], sample.bytes.as_slice()].concat()))
    };
    samples.into_iter().filter_map(seed).collect()
}
