use std::time::Duration;

use crate::address::Address;
use crate::between::mailbox::PLACES_KEPT;
use crate::between::registry::WITHDRAWALS_MAX;
use crate::delivery::{Delivery, TOGETHER_BYTES};
use crate::event::{Account, Caller, Event, INCOMING_BYTES};
use crate::handles::{
    BegunCall, RUN_BYTES, SPARE_BYTES, SPARE_MAX, SUBMISSIONS_KEPT, Stretch, Submission,
    UNFILLED_BYTES,
};
use crate::inbox::UNPACKED_MOST;
use crate::peer::PEER_BYTES;
use crate::storage::pool::{CACHE_BYTES, LISTS_BYTES, Storage};
use crate::storage::{SLOT_COST, SMALLEST_COST, cost_of};
use crate::tls::{COMMON_NAME_BYTES, NAMES_BYTES, NAMES_MOST, SubjectName};
use crate::wire::MAX_ABORT_LEN;
use crate::{driver, protocol};

use super::{
    ATTEMPTS_BYTES, CHANNEL_BYTES, EVENT_PLACES_BYTES, FRAME_BUFFER_BYTES, INBOX_BYTES, Options,
    REACTOR_BYTES,
};

/// What the documentation says of an `Incoming`, and of names.
const INCOMING_MOST: usize = 2 * 1024;
const NAMES_SAID: usize = 8 * 1024;

/// The sum in the documentation of `Options`, where it is made of sizes that a program can know.
#[test]
fn the_reactor_keeps_no_more_than_is_said() {
    let buffers = driver::LIMITS.bytes_per_read + protocol::SCRATCH_BYTES;
    let sum = CACHE_BYTES + LISTS_BYTES + buffers;
    println!("cache {CACHE_BYTES}, lists {LISTS_BYTES}, buffers {buffers}: {sum} bytes");
    assert!(
        sum <= REACTOR_BYTES - (512 << 10),
        "half a MiB is for what is small"
    );
}

#[test]
fn buffers_of_small_frames_keep_no_more_than_is_said() {
    // Three of the reactor, and those of either batch; lists may be half empty.
    let lists = 5 * 2 * SPARE_MAX * size_of::<Vec<u8>>();
    let places = size_of::<Submission>() + size_of::<Stretch>() + size_of::<BegunCall>();
    let batches = 2 * SUBMISSIONS_KEPT * places;
    // In the batch that is handled and in the one that fills meanwhile, both of which may be half empty.
    let withdrawals = 4 * WITHDRAWALS_MAX * size_of::<Submission>();
    // The last buffer of a batch may be half empty.
    let unfilled = 2 * (UNFILLED_BYTES + RUN_BYTES);
    let queues = protocol::UNUSED_BYTES + protocol::NODES_BYTES;
    let sum = 5 * SPARE_BYTES + lists + batches + withdrawals + unfilled + queues;
    assert!(sum <= FRAME_BUFFER_BYTES, "{sum} bytes");
}

#[test]
fn places_for_events_take_no_more_than_is_said() {
    // What the reactor fills, what waits, and what was taken.
    assert!(3 * PLACES_KEPT * size_of::<Delivery>() <= EVENT_PLACES_BYTES);
}

#[test]
fn an_inbox_that_is_read_in_part_keeps_no_more_than_is_said() {
    let frames = TOGETHER_BYTES + TOGETHER_BYTES / 16 + SLOT_COST;
    let places = 2 * UNPACKED_MOST * (size_of::<Storage>() + size_of::<Event>());
    let sum = frames + places;
    assert!(sum <= INBOX_BYTES, "{sum} bytes");
}

/// Containers may be half empty, so what is in them counts twice; events and submissions pass
/// through containers on either side of a swap.
#[test]
fn a_channel_takes_no_more_than_is_said() {
    let records = protocol::CONNECTION_BYTES + 2 * protocol::PLACE_BYTES;
    // Listening, Hello or Opened; Room; Closed with an account; what says who the peer is, which they
    // share; and an abort.
    let first = size_of::<Address>().max(size_of::<Caller>()) + 128;
    let boxes = first + PEER_BYTES + size_of::<Account>() + 16;
    let events = 3 * 6 * size_of::<Event>();
    let abort = 4 * size_of::<Submission>() + cost_of(16 + MAX_ABORT_LEN);
    let goodbyes = 2 * SMALLEST_COST;
    let sum = records + boxes + events + abort + goodbyes;
    println!(
        "records {records}, boxes {boxes}, events {events}, abort {abort}, goodbyes {goodbyes}: {sum}"
    );
    assert!(
        sum <= CHANNEL_BYTES,
        "{sum} bytes are said to be {CHANNEL_BYTES}"
    );
    const { assert!(protocol::ATTEMPTS_BYTES <= ATTEMPTS_BYTES) };
    assert_eq!(
        SMALLEST_COST,
        cost_of(256),
        "goodbyes of this length are never refused"
    );
}

/// The event in its containers, what it holds, and who the peer is, also where that is gone.
#[test]
fn a_question_whether_to_admit_takes_no_more_than_is_said() {
    let sum = 6 * size_of::<Event>() + 4 * size_of::<Submission>() + INCOMING_BYTES + PEER_BYTES;
    assert!(sum <= INCOMING_MOST, "{sum} bytes");
}

/// Each name is a piece of memory of its own, with what an allocator needs for it.
#[test]
fn the_names_of_a_certificate_take_no_more_than_is_said() {
    let records = NAMES_MOST * (size_of::<SubjectName>() + 16);
    let sum = records + NAMES_BYTES + COMMON_NAME_BYTES;
    assert!(sum <= NAMES_SAID, "{sum} bytes");
}

#[test]
fn an_option_that_is_too_small_is_named() {
    let name = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        let text = options.check().unwrap_err().to_string();
        text.split_whitespace().nth(1).map(str::to_owned).unwrap()
    };
    assert_eq!(name(|it| it.inbound_bytes = 0), "inbound_bytes");
    assert_eq!(name(|it| it.send_buffer = Some(0)), "send_buffer");
    let too_much = |it: &mut Options| it.receive_buffer = Some(i32::MAX as usize + 1);
    assert_eq!(name(too_much), "receive_buffer");
    assert_eq!(
        name(|it| it.inbound_bytes_per_channel = 0),
        "inbound_bytes_per_channel"
    );
    assert_eq!(name(|it| it.outbound_bytes = 0), "outbound_bytes");
    assert_eq!(
        name(|it| it.outbound_bytes_per_channel = 0),
        "outbound_bytes_per_channel"
    );
    assert_eq!(
        name(|it| it.connections_per_listener = 0),
        "connections_per_listener"
    );
    assert_eq!(name(|it| it.backlog = 0), "backlog");
    assert_eq!(name(|it| it.notifications = 0), "notifications");
    assert_eq!(name(|it| it.notification_bytes = 0), "notification_bytes");
    assert_eq!(
        name(|it| it.keep_alive = Some(Duration::ZERO)),
        "keep_alive"
    );
    let mut options = Options::default();
    (options.pool_bytes, options.keep_alive) = (0, None);
    assert_eq!(options.check(), Ok(()));
}

#[test]
fn by_default_free_storage_is_kept_and_so_many_connections_fill_a_budget() {
    let options = Options::default();
    assert_eq!(options.pool_bytes, 16 << 20);
    let four = 4 * options.inbound_bytes_per_channel;
    assert_eq!(four, options.inbound_bytes);
    let deaf = 64 * options.outbound_bytes_per_channel;
    assert_eq!(deaf, options.outbound_bytes);
}
