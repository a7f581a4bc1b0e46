//! What messages carry: their identity, and content that follows from it.

use ampe::{Message, Post};

use super::book::Identity;

/// The text header that carries the identity of a message whose body is too short for it.
const HEADER: &str = "Ledger";

/// Process, poster, sequence and length, at the start of a body.
const IN_BODY: usize = 11;

/// Marks an id that is an identity: the engine counts its own from 1.
const IN_ID: u64 = 1 << 63;

const PERIOD: usize = 251;

/// What fills bodies: starts at a place that depends on the message's number.
static FILLING: [u8; 65_536 + PERIOD] = {
    let mut bytes = [0; 65_536 + PERIOD];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at % PERIOD) as u8;
        at += 1;
    }
    bytes
};

fn filling(identity: Identity, len: usize) -> &'static [u8] {
    let start = identity.sequence as usize % PERIOD;
    &FILLING[start..start + len]
}

/// A message with a body of this length, in which, or in a text header, it says who it is. `is_bare`
/// leaves an empty one without: it is then for its id to say, see [`name`].
pub(crate) fn fill(message: &mut Message, identity: Identity, len: usize, is_bare: bool) {
    let body = message.resize_body(len).expect("within the limit");
    let (start, rest) = body.split_at_mut(if len < IN_BODY { 0 } else { IN_BODY });
    rest.copy_from_slice(filling(identity, rest.len()));
    if !start.is_empty() {
        start[..2].copy_from_slice(&identity.process.to_be_bytes());
        start[2] = identity.poster;
        start[3..7].copy_from_slice(&identity.sequence.to_be_bytes());
        start[7..].copy_from_slice(&(len as u32).to_be_bytes());
    } else if len > 0 || !is_bare {
        let value = identity.to_string();
        message.add_header(HEADER, &value).expect("a short header");
    }
}

/// Gives a post that opens or asks its identity as id.
pub(crate) fn name(post: Post, identity: Identity) -> Post {
    let Identity {
        process,
        poster,
        sequence,
    } = identity;
    let id = u64::from(process) << 40 | u64::from(poster) << 32 | u64::from(sequence);
    post.with_id(IN_ID | id)
}

/// Adds the identity to a post whose content the engine made.
pub(crate) fn mark(post: &mut Post, identity: Identity) {
    let value = identity.to_string();
    post.add_header(HEADER, &value).expect("a short header");
}

/// Who a message is, if it says; or what is wrong with its content.
pub(crate) fn identify(message: &Message, id: u64) -> Result<Option<Identity>, String> {
    let body = message.body();
    let (identity, rest) = match message.text_headers().get(HEADER) {
        Some(value) => {
            let value = String::from_utf8_lossy(value);
            (value.parse::<Identity>()?, body)
        }
        None if body.len() >= IN_BODY => {
            let number = |from: usize, to: usize| {
                body[from..to]
                    .iter()
                    .fold(0_u32, |sum, &byte| sum << 8 | u32::from(byte))
            };
            if number(7, IN_BODY) as usize != body.len() {
                return Err(format!(
                    "a body of {} says {}",
                    body.len(),
                    number(7, IN_BODY)
                ));
            }
            let identity = Identity {
                process: number(0, 2) as u16,
                poster: body[2],
                sequence: number(3, 7),
            };
            (identity, &body[IN_BODY..])
        }
        None if id & IN_ID != 0 => {
            let identity = Identity {
                process: (id >> 40) as u16,
                poster: (id >> 32) as u8,
                sequence: id as u32,
            };
            (identity, body)
        }
        None => return Ok(None),
    };
    match rest == filling(identity, rest.len()) {
        true => Ok(Some(identity)),
        false => Err(format!(
            "{identity} has other content than it was made with"
        )),
    }
}
