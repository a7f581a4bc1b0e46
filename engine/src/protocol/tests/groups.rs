//! Many groups in one engine: each is found by its id, and its end is nobody else's.

use std::sync::Arc;
use std::time::Duration;

use crate::between::registry::Registry;
use crate::channel::Channel;
use crate::error::Ended;
use crate::event::Event;
use crate::group::ChannelGroup;
use crate::handles::{GroupShared, Submission};
use crate::inbox::Inbox;
use crate::reason::Reason;
use crate::wire::OpCode;
use crate::wire::test_frames::frame;

use super::bench::{Bench, address, open_group, reset};

type Side = (ChannelGroup, Inbox, Arc<GroupShared>);

/// Groups beside the bench's own. The bench goes first: inboxes wait for the end of their groups,
/// also while a failed test unwinds.
struct Several {
    bench: Bench,
    sides: Vec<Side>,
}

impl Several {
    fn new(groups: u64) -> Self {
        let bench = Bench::new();
        let sides = (0..groups).map(|index| open_group(&bench.shared, 2 + index));
        let sides = sides.collect();
        Several { bench, sides }
    }

    fn connect(&mut self, index: usize) {
        self.sides[index].0.connect(&address(7000)).unwrap();
        self.bench.rest();
    }

    fn close(&mut self, index: usize) {
        let group = Arc::clone(&self.sides[index].2);
        let (deadline, id) = (self.bench.now, group.id);
        let submitted = self.bench.shared.queue.submit(|registry, items| {
            group.close(registry);
            items.push(Submission::CloseGroup {
                group: id,
                deadline,
            });
        });
        submitted.unwrap();
        self.bench.rest();
    }

    fn assert_closed(&mut self, index: usize) {
        let inbox = &mut self.sides[index].1;
        assert!(matches!(inbox.try_recv(), Ok(Some(Event::Returned(_)))));
        let closed = inbox.try_recv();
        assert!(
            matches!(&closed, Ok(Some(Event::Closed(it))) if it.reason() == Reason::GroupClosed),
            "{closed:?}"
        );
        assert_eq!(inbox.try_recv().unwrap_err(), Ended::GroupClosed);
    }
}

#[test]
fn a_group_that_closes_takes_its_own_channels_with_it_and_no_others() {
    let mut it = Several::new(4);
    (0..4).for_each(|index| it.connect(index));
    it.close(1);
    it.assert_closed(1);
    it.sides[1] = open_group(&it.bench.shared, 6); // takes the place of the one that closed
    it.connect(1);
    let mut open = vec![0, 1, 2, 3];
    for victim in [2, 1, 0, 3] {
        it.close(victim);
        it.assert_closed(victim);
        open.retain(|&index| index != victim);
        for &index in &open {
            assert!(matches!(it.sides[index].1.try_recv(), Ok(None)));
        }
    }
    assert_eq!(it.bench.core.audit().groups, [it.bench.group.id]);
}

#[test]
fn groups_that_come_and_go_leave_nothing_behind() {
    let mut it = Several::new(1);
    for id in 3..1000 {
        it.connect(0);
        it.close(0);
        it.assert_closed(0);
        it.sides[0] = open_group(&it.bench.shared, id);
    }
    assert_eq!(it.bench.core.group_places(), 2);
}

/// As by a panic between receiving and handing over.
#[test]
fn what_a_pass_that_ended_early_had_received_is_handed_over() {
    let mut bench = Bench::new();
    let (_, key) = bench.connect();
    assert!(bench.feed(key, &frame(OpCode::Signal, 5, b"")).is_empty());
    assert!(bench.events().is_empty(), "the pass goes on");
    bench.core.deliver_last();
    bench.shared.end(Ended::EngineFailed);
    assert!(matches!(bench.event(), Event::Signal(signal) if signal.id() == 5));
    assert_eq!(bench.end_of_group(), Some(Ended::EngineFailed));
}

fn is_forgotten(bench: &Bench, channel: crate::channel::Channel) -> bool {
    let progress = |registry: &mut Registry| registry.progress(channel, bench.group.id);
    bench.shared.queue.with_registry(progress).is_none()
}

/// Nobody takes it, whether it came before the inbox was left or after.
#[test]
fn the_end_of_a_channel_in_an_abandoned_group_counts_as_taken() {
    let mut bench = Bench::new();
    let [(before, one), (after, two)] = [(); 2].map(|()| bench.connect());
    bench.core.handle_read_error(one, &reset(), bench.now);
    bench.rest();
    bench.group.abandon();
    assert!(!is_forgotten(&bench, before), "its inbox may take it yet");
    bench.core.handle_read_error(two, &reset(), bench.now);
    bench.rest();
    assert!(is_forgotten(&bench, before) && is_forgotten(&bench, after));

    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    bench.core.handle_read_error(key, &reset(), bench.now);
    bench.rest();
    bench.group.abandon();
    bench.close_group(Duration::ZERO);
    bench.rest();
    assert!(is_forgotten(&bench, channel));
}

#[test]
fn the_reserve_of_a_group_goes_with_it() {
    let mut bench = Bench::new();
    bench.rest();
    let before = bench.core.audit().inbound_most;
    let group = Arc::new(GroupShared::new(7, 5000, 0));
    bench.shared.open_group(&group).unwrap();
    bench.rest();
    assert_eq!(bench.core.audit().inbound_most, before + 5000);
    bench.submit(Submission::CloseGroup {
        group: 7,
        deadline: bench.now,
    });
    bench.rest();
    assert_eq!(bench.core.audit().inbound_most, before);
}

/// Its number may be another's by then.
#[test]
fn a_channel_that_is_gone_stands_for_nobody() {
    let mut bench = Bench::new();
    let (channel, key) = bench.connect();
    assert_eq!(bench.core.key_of(channel), Some(key));
    let before = Channel::new(channel.number(), channel.generation() - 1);
    assert_eq!(bench.core.key_of(before), None);
}
