//! What every backend has to do, whatever its system: one suite, run in every world.
//!
//! `flawed.rs` plants defects into backends, and shows that the suite fails on each: each is a backend more to
//! compile, so without optimisation there are none.

#[cfg(not(debug_assertions))]
mod flawed;
mod model;
mod readiness;
mod remotes;
mod scale;
mod stages;
mod troubled;
mod wakes;
pub(crate) mod worlds;

use std::time::{Duration, Instant};

use self::worlds::World;
use crate::{Event, Events, Interest, Key, Poller};

/// Says why a test has nothing to do here: past the test runner, which shows it of failures only.
pub(crate) fn skip(reason: &str) {
    use std::io::Write;
    // In one piece: other tests write at the same time.
    let line = format!("skipped: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// A poller in a world.
struct Bench<W: World> {
    world: W,
    poller: Poller<W::Socket, (), W::Backend>,
    events: Events,
    /// Those that the last wait reported as refused, in the order of insertion.
    refused: Vec<Key>,
    /// The last event that it reported.
    last: Option<Event>,
}

impl<W: World> Bench<W> {
    fn new() -> Self {
        let world = W::new();
        Bench {
            poller: world.poller(),
            world,
            events: Events::with_capacity(64),
            refused: Vec::new(),
            last: None,
        }
    }

    fn add(&mut self, socket: W::Socket, interest: Interest) -> Key {
        let key = self.poller.insert(socket).unwrap();
        assert!(self.poller.set_interest(key, interest));
        key
    }

    fn get(&self, key: Key) -> &W::Socket {
        self.poller.get(key).unwrap()
    }

    /// Adds one end of a new connection; the other one is returned.
    fn add_pair(&mut self, interest: Interest) -> (Key, W::Socket) {
        let (ours, theirs) = self.world.pair();
        (self.add(ours, interest), theirs)
    }

    fn declare(&mut self, key: Key, interest: Interest) {
        assert!(self.poller.set_interest(key, interest));
    }

    /// What the next wait reports, in the order of insertion.
    fn wait(&mut self, timeout: Duration) -> Vec<(Key, Interest)> {
        self.poller.wait(&mut self.events, Some(timeout)).unwrap();
        let mut reports = Vec::new();
        self.refused.clear();
        while let Some(event) = self.poller.next_event(&mut self.events) {
            self.last = Some(event);
            let mut readiness = Interest::NONE;
            if event.is_readable() {
                readiness |= Interest::READABLE;
            }
            if event.is_writable() {
                readiness |= Interest::WRITABLE;
            }
            reports.push((event.key(), readiness));
            if let Some(error) = event.error() {
                assert!(error.raw_os_error().is_some(), "{error}");
                self.refused.push(event.key());
            }
        }
        reports.sort_by_key(|(key, _)| key.generation);
        self.refused.sort_by_key(|key| key.generation);
        reports
    }

    /// All of that, and nobody is refused.
    #[track_caller]
    fn assert_reports(&mut self, expected: &[(Key, Interest)]) {
        self.assert_reports_with_refused(expected, &[]);
    }

    #[track_caller]
    fn assert_reports_with_refused(&mut self, expected: &[(Key, Interest)], refused: &[Key]) {
        let start = Instant::now();
        assert_eq!(self.wait(W::PATIENCE), expected);
        assert_eq!(self.refused, refused);
        assert!(
            start.elapsed() < W::PATIENCE,
            "only the timeout ended the wait"
        );
    }

    #[track_caller]
    fn assert_quiet(&mut self) {
        assert_eq!(self.wait(Duration::ZERO), []);
    }

    /// Nothing is reported, and nothing goes round in circles: the wait is one call.
    #[track_caller]
    fn assert_asleep(&mut self) {
        self.assert_quiet();
        let before = self.poller.calls();
        assert_eq!(self.wait(Duration::from_millis(10)), []);
        let calls = self.poller.calls() - before;
        assert!(calls <= 2, "{calls} calls for one sleep");
    }
}

/// Runs each test in each world. A macro, since the tests shall have the names of both.
macro_rules! suite {
    ($($module:ident: { $($test:ident,)* })*) => {
        suite! { @world in_memory InMemory; $($($module $test)*)* }
        suite! { @world afd Simulated<AUTO>; $($($module $test)*)* }
        suite! { @world afd_direct Simulated<DIRECT>; $($($module $test)*)* }
        suite! { @world afd_helper Simulated<HELPER>; $($($module $test)*)* }
        #[cfg(windows)]
        suite! { @world windows_tcp Tcp<AUTO>; $($($module $test)*)* }
        #[cfg(windows)]
        suite! { @world windows_tcp_direct Tcp<DIRECT>; $($($module $test)*)* }
        #[cfg(windows)]
        suite! { @world windows_tcp_helper Tcp<HELPER>; $($($module $test)*)* }
        #[cfg(windows)]
        suite! { @world windows_uds Uds<AUTO>; $($($module $test)*)* }
        #[cfg(windows)]
        suite! { @world windows_uds_helper Uds<HELPER>; $($($module $test)*)* }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        suite! { @world epoll_tcp Sockets<backend::Epoll, TCP>; $($($module $test)*)* }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        suite! { @world epoll_uds Sockets<backend::Epoll, UDS>; $($($module $test)*)* }
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd"))]
        suite! { @world kqueue_tcp Sockets<Kqueue, TCP>; $($($module $test)*)* }
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd"))]
        suite! { @world kqueue_uds Sockets<Kqueue, UDS>; $($($module $test)*)* }
        #[cfg(unix)]
        suite! { @world poll_tcp Sockets<backend::Poll, TCP>; $($($module $test)*)* }
        #[cfg(unix)]
        suite! { @world poll_uds Sockets<backend::Poll, UDS>; $($($module $test)*)* }
        #[cfg(unix)]
        suite! { @world poll_by_pipe Sockets<backend::Poll<Pipe>, UDS>; $($($module $test)*)* }
    };
    (@world $name:ident $world:ty; $($module:ident $test:ident)*) => {
        mod $name {
            #[allow(unused_imports, reason = "each world names its own few")]
            use super::{super::backend, worlds::*};
            #[cfg(unix)]
            #[allow(unused_imports, reason = "each world names its own few")]
            use crate::sys::Pipe;
            #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd"))]
            #[allow(unused_imports, reason = "each world names its own few")]
            use crate::sys::kqueue::Kqueue;

            $(#[test]
            fn $test() {
                match <$world as World>::is_there() {
                    Ok(()) => super::$module::$test::<$world>(),
                    Err(reason) => super::skip(reason),
                }
            })*
        }
    };
}

suite! {
    readiness: {
        what_is_wanted_and_ready_is_reported,
        what_is_left_is_reported_again,
        withdrawn_interest_loses_nothing,
        a_full_stream_is_not_writable_until_drained,
        a_source_without_interest_is_silent_when_its_peer_closes,
        a_source_without_interest_is_silent_when_its_peer_resets,
        hang_up_is_what_is_wanted,
        the_end_of_one_direction_is_readable,
        a_connection_attempt_ends_writable,
        a_refused_connection_attempt_is_ready,
        a_listener_is_readable_while_its_backlog_is_not_empty,
        a_full_backlog_turns_away_until_somebody_is_accepted,
        a_removed_source_has_no_event_left_in_the_batch,
        a_successor_never_gets_its_predecessors_event,
        a_removed_source_can_be_polled_again,
        a_source_that_cannot_be_polled_is_reported_once_with_the_error,
        keys_of_removed_sources_name_nothing,
        a_small_batch_gets_to_everybody,
        a_peers_end_of_sending_is_told_to_who_reads,
        a_reset_is_told_whatever_is_wanted,
        a_failed_attempt_to_connect_is_told,
        nothing_is_told_of_a_connection_that_goes_on,
    }
    wakes: {
        a_wake_before_the_wait_ends_it_at_once,
        a_wake_ends_a_wait_without_end,
        wakes_of_many_threads_are_never_lost,
        wakes_cost_no_call_while_awake,
        a_wake_does_not_hide_readiness,
        a_wake_outlives_the_poller,
        a_zero_timeout_does_not_wait,
        timeouts_are_never_cut_short,
    }
    remotes: {
        what_others_insert_is_polled,
        what_others_declare_counts,
        what_others_let_go_is_given_back_or_closed,
        orders_about_nobody_do_nothing,
        an_order_ends_a_wait_without_end,
        places_are_used_again_whoever_takes_them,
        orders_that_nobody_takes_are_dropped_with_the_poller,
    }
    model: {
        any_sequence_agrees_with_the_model,
    }
    scale: {
        declaring_makes_no_call,
        what_was_taken_back_makes_no_call,
        calls_do_not_grow_with_the_idle,
    }
    stages: {
        connections_are_accepted_as_they_come,
        an_echo_changes_its_interest_with_every_message,
        a_thousand_connections_outlive_storms_of_cancels,
        what_is_polled_stays_while_tables_grow_and_shrink,
        a_thousand_reconnects_are_all_served,
        reconnects_of_several_threads_are_all_served,
        ten_thousand_short_connections_lose_and_confuse_nothing,
    }
}
