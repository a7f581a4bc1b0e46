//! Who is compared: a file for each, which alone knows its library.

mod ampe;
#[cfg(feature = "zmq")]
mod libzmq;
mod monocoque;
#[cfg(feature = "nng")]
mod nng;
mod omq;
mod rzmq;
mod sockets;
mod tls;
mod tokio_codec;
mod zeromq;

use std::time::Duration;

use anyhow::Result;

use crate::session::Session;
use crate::task::Task;

/// A library at work. Each of its processes takes one side of a [`Session`]: it listens or connects,
/// and does what the task says with bodies that [`Source`](crate::body::Source) numbers and
/// [`Sink`](crate::body::Sink) checks.
pub trait Contestant {
    fn name(&self) -> &'static str;

    /// What is set other than by default, and how it is used: printed before all figures.
    fn settings(&self) -> String;

    /// Why it cannot do this, if it cannot.
    fn cannot(&self, task: &Task) -> Option<&'static str>;

    /// Whether it is compared over TLS.
    fn has_tls(&self) -> bool {
        false
    }

    fn listen(&self, session: Session) -> Result<()>;

    fn connect(&self, session: Session) -> Result<()>;
}

/// All that are built in, the floor second.
pub fn all() -> Vec<Box<dyn Contestant>> {
    vec![
        Box::new(ampe::Ampe::default()),
        Box::new(ampe::Ampe::that_spins()),
        Box::new(ampe::Ampe::that_posts_many()),
        Box::new(ampe::Ampe::that_posts_singly()),
        Box::new(ampe::Ampe::that_receives_in_a_task()),
        Box::new(sockets::Sockets),
        Box::new(tokio_codec::TokioCodec),
        #[cfg(feature = "zmq")]
        Box::new(libzmq::Libzmq),
        #[cfg(feature = "nng")]
        Box::new(nng::Nng),
        Box::new(monocoque::Monocoque),
        Box::new(omq::Omq),
        Box::new(rzmq::Rzmq),
        Box::new(zeromq::Zeromq),
    ]
}

/// Who is known but not built in, and by which feature it would be.
pub const MISSING: &[(&str, &str)] = &[
    #[cfg(not(feature = "zmq"))]
    ("libzmq", "zmq"),
    #[cfg(not(feature = "nng"))]
    ("nng", "nng"),
];

/// Why the sockets of ZeroMQ and its kin have no such thing as this.
const NO_GOODBYE: &str =
    "its connections are its own business: they have no beginning and end to wait for";

/// Why most are not compared over TLS.
pub const NO_TLS: &str = "it is not compared over TLS";

/// Why others do not take part where tasks wait for an answer each.
const NO_CALLS: &str = "which task an answer is for is not its business, or it has no tasks";

/// How much longer than the trips the stream beside them lasts.
const BESIDE: Duration = Duration::from_millis(200);

/// Messages that a queue takes where a library counts them: 16 MiB of bodies, but as many as it
/// takes by default at least, and no more than their authors' own benchmarks ask for.
fn queue_of(task: &Task) -> usize {
    ((16 << 20) / task.size).clamp(1_000, 100_000)
}
