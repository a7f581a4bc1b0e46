//! File transfer on top of messages. The conversation is specified in `docs/file-transfer.md`.

mod attributes;
pub(crate) mod connection;
mod conversation;
pub(crate) mod digest;
pub(crate) mod directory;
pub(crate) mod incoming;
pub(crate) mod names;
pub(crate) mod outgoing;
pub(crate) mod partial;
pub(crate) mod path;
pub(crate) mod protocol;
pub(crate) mod receiver;
pub(crate) mod sender;
pub(crate) mod source;
mod space;
pub(crate) mod tree;

use std::time::Duration;

use ampe::Options;

/// The content of a file travels in bodies of this length: close to the largest that a message can
/// carry, and whole pages, so that reads and writes of files stay aligned.
pub(crate) const BODY_LEN: usize = 15 * 4096;

/// How long a connection may be silent before it says hello: a sender does that at once.
const HELLO: Duration = Duration::from_secs(5);

/// The limits of an engine that transfers files. All budgets together stay far below 64 MiB however
/// large the files are; 8 MiB under way is more than loopback or a fast network needs.
pub(crate) fn options(timeout: Duration) -> Options {
    let mut options = Options::default();
    options.inbound_bytes = 8 << 20;
    options.inbound_bytes_per_channel = 4 << 20;
    options.outbound_bytes = 8 << 20;
    options.outbound_bytes_per_channel = 4 << 20;
    options.pool_bytes = 8 << 20;
    // Those that have not said hello have places beside the senders', for a short time each.
    options.connections_per_listener = 512;
    options.hello_timeout = timeout.min(HELLO);
    options.connect_timeout = timeout;
    // What is late in a conversation is noticed by us, who know what is waited for: these come later.
    for limit in [
        &mut options.frame_timeout,
        &mut options.send_timeout,
        &mut options.bye_timeout,
    ] {
        *limit = (*limit).max(2 * timeout);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_budgets_together_are_enough_for_a_fast_network_and_far_below_64_mib() {
        let options = options(Duration::from_secs(8));
        let budgets = [
            options.inbound_bytes,
            options.outbound_bytes,
            options.pool_bytes,
        ];
        assert!(budgets.iter().all(|&bytes| bytes >= 4 << 20), "{budgets:?}");
        assert!(budgets.iter().sum::<usize>() <= 32 << 20, "{budgets:?}");
        for of_a_channel in [
            options.inbound_bytes_per_channel,
            options.outbound_bytes_per_channel,
        ] {
            assert!((2 << 20..=8 << 20).contains(&of_a_channel));
        }
    }

    #[test]
    fn a_body_is_whole_pages_and_close_to_the_largest() {
        let largest = ampe::wire::MAX_BODY_LEN;
        assert_eq!(BODY_LEN % 4096, 0);
        assert!((largest - 4096..=largest).contains(&BODY_LEN));
    }

    #[test]
    fn the_time_limit_is_that_of_connecting_and_of_saying_hello() {
        let short = options(Duration::from_millis(300));
        let limits = (short.connect_timeout, short.hello_timeout);
        assert_eq!(
            limits,
            (Duration::from_millis(300), Duration::from_millis(300))
        );
        let long = options(Duration::from_secs(60));
        assert_eq!(long.connect_timeout, Duration::from_secs(60));
        assert_eq!(
            long.hello_timeout, HELLO,
            "strangers are not waited for as long"
        );
        for later in [long.frame_timeout, long.send_timeout, long.bye_timeout] {
            assert!(later > Duration::from_secs(60), "{later:?}");
        }
    }
}
