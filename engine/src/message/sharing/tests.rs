use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::tests::{message, pool, received, released};
use super::*;
use crate::between::key::GroupPlace;
use crate::message::MessageError;
use crate::post::BY_VALUE_SHARED_MAX;
use crate::storage::{Creditor, Hold, MESSAGE_COST_MAX, SHARED_COST, cost_of};

fn place(message: &Message) -> *const u8 {
    message.body().as_ptr()
}

#[test]
fn clones_have_the_very_body_and_text_headers_of_their_own() {
    let mut first = message().with_body(&[7; 5000]).unwrap();
    let before = place(&first);
    let body = first.share_body();
    assert_eq!(place(&first), before, "it was not copied");
    let second = first.clone().with_header("Number", "2").unwrap();
    assert_eq!((place(&second), second.body().len()), (before, 5000));
    assert!(first.text_headers().iter().next().is_none());
    assert_eq!(second.text_headers().get("Number"), Some(&b"2"[..]));
    assert_eq!(second.frame_len(), 16 + "Number:2\r\n".len() + 5000);
    let third = message()
        .with_header("Number", "3")
        .unwrap()
        .with_shared_body(&body);
    assert_eq!(
        place(&third),
        before,
        "wherever the message has its memory from"
    );
    drop((first, second));
    assert_eq!(third.shared_body().unwrap()[..], [7; 5000]);
}

#[test]
fn who_writes_gets_a_copy_and_the_others_see_nothing_of_it() {
    type Change = fn(&mut Message);
    let changes: [(Change, &[u8]); 6] = [
        (|it| it.body_mut()[0] = b'S', b"Shared"),
        (|it| drop(it.resize_body(3)), b"sha"),
        (|it| drop(it.resize_body(8)), b"shared\0\0"),
        (|it| it.set_body(b"another").unwrap(), b"another"),
        (|it| it.write_all(b"!").unwrap(), b"shared!"),
        (|it| it.clear(), b""),
    ];
    for (change, expected) in changes {
        let mut message = message().with_body(b"shared").unwrap();
        let body = message.share_body();
        change(&mut message);
        assert_eq!(message.body(), expected);
        assert!(message.shared_body().is_none());
        assert_eq!(&body[..], b"shared");
    }
}

#[test]
fn text_headers_outlive_a_longer_shared_body_whose_place_another_takes() {
    let body = SharedBody::try_from(vec![7; 60_000]).unwrap();
    for len in [0, 100, 1000, 65_535] {
        let mut message = message().with_header("Name", "value").unwrap();
        message.set_shared_body(&body);
        message.set_body(&vec![8; len]).unwrap();
        assert_eq!(message.text_headers().get("Name"), Some(&b"value"[..]));
        assert_eq!(message.body(), vec![8; len]);
    }
}

#[test]
fn text_headers_come_and_go_in_front_of_a_shared_body() {
    let mut message = message().with_body(&[7; 2000]).unwrap();
    message.share_body();
    for value in ["1", "2"] {
        message.add_header("Number", value).unwrap();
    }
    message.add_header("Long", "x".repeat(3000)).unwrap();
    message.remove_headers("Number");
    assert_eq!(message.text_headers().iter().count(), 1);
    assert_eq!(message.body(), [7; 2000]);
    let [stored, shared] = message.frame();
    assert_eq!(stored.len() + shared.len(), message.frame_len());
    assert_eq!(shared.as_ptr(), place(&message));
}

/// What is queued holds no more than it is charged, though the message that was shared was far longer.
#[test]
fn a_body_is_copied_once_where_it_would_keep_much_more_memory_than_its_own() {
    let mut cut = message().with_body(&[7; 60_000]).unwrap();
    cut.resize_body(2000).unwrap();
    let mut headed = message().with_header("Long", "x".repeat(600)).unwrap();
    headed.set_body(&[7; 2000]).unwrap();
    for mut message in [cut, headed] {
        let before = place(&message);
        let body = message.share_body();
        assert_ne!(place(&message), before);
        assert_eq!(&body[..], [7; 2000]);
        assert_eq!(message.share_body().as_ptr(), body.as_ptr(), "once");
    }
    let mut little = message().with_header("Short", "x").unwrap();
    little.set_body(&[7; 2000]).unwrap();
    let before = place(&little);
    little.share_body();
    assert_eq!(place(&little), before);
    let roomy = SharedBody::try_from({
        let mut body = Vec::with_capacity(1 << 20);
        body.push(7);
        body
    });
    assert_eq!(&roomy.unwrap()[..], [7]);
}

#[test]
fn what_was_received_stays_charged_until_it_is_posted_or_the_last_lets_go_of_it() {
    let pool = pool();
    let cost = cost_of(16 + 2000);
    let received = || received(&pool, b"", &[7; 2000]);
    let mut message = received();
    let body = message.share_body();
    let other = message.clone();
    drop(message);
    drop(body);
    assert_eq!(released(&pool), 0, "another message has it");
    drop(other);
    assert_eq!(released(&pool), cost);

    let mut message = received();
    let body = message.share_body();
    let other = message.clone();
    message.release_shared_inbound();
    other.release_shared_inbound();
    assert_eq!(released(&pool), cost, "once");
    drop((message, other, body));
    assert_eq!(released(&pool), 0, "it was given back before");

    let mut message = received();
    message.share_body();
    message.set_body(b"another").unwrap();
    assert_eq!(released(&pool), cost, "nobody has it any more");
}

#[derive(Default)]
struct Credit(AtomicUsize);

impl Creditor for Arc<Credit> {
    fn release(&self, cost: usize) {
        self.0.fetch_add(cost, Ordering::Relaxed);
    }

    fn group(&self) -> GroupPlace {
        GroupPlace(0)
    }
}

/// It counts as what it was posted as, whatever becomes of its body.
#[test]
fn what_came_back_holds_its_credit_until_the_message_goes() {
    let credit = Arc::new(Credit::default());
    let mut message = message().with_body(&[7; 2000]).unwrap();
    let hold = Hold::new(Arc::clone(&credit).shared(), 2912);
    message.storage_mut().set_hold(hold);
    let body = message.share_body();
    let other = message.clone();
    assert_eq!(credit.0.load(Ordering::Relaxed), 0);
    drop(message);
    assert_eq!(credit.0.load(Ordering::Relaxed), 2912);
    drop((body, other));
    assert_eq!(credit.0.load(Ordering::Relaxed), 2912, "once");
}

#[test]
fn a_small_message_costs_what_a_copy_does_and_a_larger_one_its_second_piece() {
    let cost = |len: usize| {
        let mut message = message().with_body(&vec![7; len - 16]).unwrap();
        let alone = message.cost();
        message.share_body();
        message.cost() - alone
    };
    assert_eq!(cost(BY_VALUE_SHARED_MAX), 0);
    assert_eq!(cost(BY_VALUE_SHARED_MAX + 1), SHARED_COST);
    let mut largest = message().with_body(&[7; 65_535]).unwrap();
    let long = "x".repeat(65_535 - "L:\r\n".len());
    largest.add_header("L", long).unwrap();
    largest.share_body();
    assert_eq!(largest.cost(), MESSAGE_COST_MAX);
}

#[test]
fn an_engine_takes_text_headers_over_and_leaves_a_shared_body_where_it_is() {
    let (ours, theirs) = (pool(), pool());
    let cost = cost_of(16 + 2000);
    let mut message = received(&theirs, b"", &[7; 2000]);
    message.share_body();
    let before = place(&message);
    message.adopt(&ours);
    assert!(!message.is_foreign_to(&ours));
    assert_eq!(place(&message), before);
    message.release_shared_inbound();
    assert_eq!((released(&ours), released(&theirs)), (0, cost));

    let mut small = Message::new(&theirs).with_body(b"small").unwrap();
    small.share_body();
    small.adopt(&ours);
    assert!(small.shared_body().is_none());
    assert_eq!(small.body(), b"small");
}

#[test]
fn a_body_has_the_lengths_that_a_message_can_have() {
    let len = 65_536;
    let refused = SharedBody::try_from(vec![7; len]).unwrap_err();
    assert_eq!(refused, MessageError::BodyTooLong { len });
    assert_eq!(SharedBody::try_from(vec![7; 65_535]).unwrap().len(), 65_535);
    // A message without any storage takes one too, and an empty one is one.
    let empty = Message::empty().share_body();
    assert!(empty.is_empty());
    let body = SharedBody::try_from(vec![7; 3]).unwrap();
    let message = Message::empty().with_shared_body(&body);
    assert_eq!(message.body(), [7; 3]);
    assert_eq!(message.with_shared_body(&empty).frame_len(), 16);
}
