//! What the port says that it has called is what the kernel was asked, and how little that is.

use std::sync::Arc;
use std::time::Duration;

use super::super::defects::Sound;
use super::super::helpers::Helpers;
use super::super::poll_file::OPERATION_KEY;
use super::super::port::{PollingMode, Port};
use super::bare::Bare;
use crate::event::Event;
use crate::nt::sim::{Kernel, Sim, Socket};
use crate::nt::{Handle, Nt, Status, flag};
use crate::sys::{Backend, Fate};
use crate::{Events, Interest, Poller};

const READ: Interest = Interest::READABLE;

#[test]
fn a_directly_polled_source_costs_its_marks_once() {
    let mut bare = Bare::new(PollingMode::Direct);
    let mut resting = None;
    assert_eq!(
        bare.cost(|bare| resting = Some(bare.add(Interest::NONE))),
        0
    );
    assert_eq!(bare.cost(Bare::pass), 1, "the dequeue");
    let (key, socket) = bare.add(READ);
    assert_eq!(
        bare.cost(Bare::pass),
        5,
        "a look at the socket, two marks, a poll, the dequeue"
    );
    bare.kernel.set_events(socket.handle(), flag::RECEIVE);
    assert_eq!(bare.cost(|bare| assert_eq!(bare.pass(), (1, false))), 1);
    // The answer is there at once: the port is left alone.
    assert_eq!(bare.cost(|bare| assert_eq!(bare.pass(), (1, false))), 1);
    bare.kernel.set_events(socket.handle(), 0);
    assert_eq!(bare.cost(Bare::pass), 2);
    // Wanted for more: a cancel, its packet, and the wider poll.
    bare.port.declare(key, Interest::BOTH);
    assert_eq!(bare.cost(|bare| assert_eq!(bare.pass(), (0, false))), 3);
    // Wanted for less.
    bare.port.declare(key, Interest::NONE);
    assert_eq!(bare.cost(Bare::pass), 1);
    assert_eq!(
        bare.cost(|bare| bare.port.deregister(key, Fate::Kept)),
        3,
        "a cancel, its packet, and the mark that can be taken off"
    );
    assert_eq!(bare.cost(Bare::pass), 1);
}

#[test]
fn taking_back_what_is_not_in_flight_costs_its_mark() {
    let mut bare = Bare::new(PollingMode::Direct);
    let (key, socket) = bare.add(READ);
    bare.pass();
    bare.kernel.set_events(socket.handle(), flag::RECEIVE);
    assert_eq!(bare.pass(), (1, false));
    assert_eq!(bare.cost(|bare| bare.port.deregister(key, Fate::Kept)), 1);
    // What is in flight is cancelled; what is at rest or was never polled costs nothing.
    let (in_flight, _socket) = bare.add(READ);
    bare.pass();
    let (at_rest, _socket) = bare.add(READ);
    bare.kernel.set_events(_socket.handle(), flag::RECEIVE);
    assert_eq!(bare.pass(), (1, false));
    let (never, _socket) = bare.add(READ);
    let cost = bare.cost(|bare| {
        bare.port.deregister(in_flight, Fate::Closed);
        bare.port.deregister(at_rest, Fate::Closed);
        bare.port.deregister(never, Fate::Kept);
        bare.port.deregister(never, Fate::Kept);
    });
    assert_eq!(cost, 1);
}

#[test]
fn who_goes_with_nothing_in_flight_gives_back_slot_and_helper_at_once() {
    for (mode, helpers) in [
        (PollingMode::Direct, &[][..]),
        (PollingMode::Helper, &[Some(0)]),
    ] {
        for fate in [Fate::Kept, Fate::Closed] {
            let mut bare = Bare::new(mode);
            let (key, socket) = bare.add(READ);
            bare.kernel.set_events(socket.handle(), flag::RECEIVE);
            assert_eq!(bare.pass(), (1, false));
            assert_eq!(bare.port.slots.taken().len(), 1);
            bare.port.deregister(key, fate);
            assert_eq!(bare.port.slots.taken(), [], "{mode:?}, {fate:?}");
            assert!(bare.port.helpers.users().eq(helpers.iter().copied()));
        }
    }
}

#[test]
fn a_packet_that_comes_late_leaves_the_marks() {
    let mut bare = Bare::new(PollingMode::Direct);
    let (key, _socket) = bare.add(READ);
    bare.pass();
    bare.kernel.state().mood.is_slow = true;
    let cost = bare.cost(|bare| bare.port.deregister(key, Fate::Kept));
    assert_eq!(cost, 2, "a cancel, and a look for its packet");
    bare.kernel.deliver(0);
    assert_eq!(bare.cost(Bare::pass), 1);
    assert_eq!(bare.port.slots.in_flight(), 0);
    assert_eq!(bare.port.strays, 0);
}

#[test]
fn a_shared_helper_is_paid_for_once() {
    let mut bare = Bare::new(PollingMode::Helper);
    let mut sources = vec![bare.add(READ)];
    assert_eq!(
        bare.cost(Bare::pass),
        6,
        "a look at the socket, a helper, two marks, a poll, the dequeue"
    );
    for _ in 1..32 {
        sources.push(bare.add(READ));
        let cost = bare.cost(Bare::pass);
        assert_eq!(cost, 3, "a look at the socket, a poll, the dequeue");
    }
    sources.push(bare.add(READ));
    assert_eq!(bare.cost(Bare::pass), 6);
    let (last, _socket) = sources.pop().unwrap();
    assert_eq!(
        bare.cost(|bare| bare.port.deregister(last, Fate::Kept)),
        1,
        "the cancel"
    );
    assert_eq!(
        bare.cost(Bare::pass),
        1,
        "nobody uses the second helper, which is kept"
    );
    for (key, _) in &sources {
        assert_eq!(bare.cost(|bare| bare.port.deregister(*key, Fate::Kept)), 1);
    }
    assert_eq!(bare.cost(Bare::pass), 2, "nor the first one: it is closed");
    // The other one is used again and again.
    for _ in 0..3 {
        let (key, _socket) = bare.add(READ);
        assert_eq!(bare.cost(Bare::pass), 3);
        bare.port.deregister(key, Fate::Kept);
        assert_eq!(bare.cost(Bare::pass), 1);
    }
    assert_eq!(bare.cost(|bare| bare.port.shut_down().unwrap()), 1);
}

#[test]
fn closing_what_a_helper_polls_costs_nothing() {
    let mut bare = Bare::new(PollingMode::Auto);
    let (_resting, _socket) = bare.add(READ);
    bare.pass();
    for round in 0..40 {
        let (key, socket) = bare.add(READ);
        // The dequeue, before which the poll is not begun that may be of the socket that was closed.
        assert_eq!(bare.cost(Bare::pass), 3, "round {round}");
        assert_eq!(bare.port.slots.in_flight(), 2);
        assert_eq!(bare.cost(|bare| bare.port.deregister(key, Fate::Closed)), 0);
        drop(socket);
    }
    assert_eq!(bare.cost(Bare::pass), 1);
    assert_eq!(bare.port.slots.in_flight(), 1);
    assert_eq!(bare.port.zombies.closing(), (vec![], 0), "nothing is left");
}

/// As by references to one socket.
#[test]
fn sources_that_share_a_handle_share_a_poll() {
    let mut bare = Bare::new(PollingMode::Auto);
    let socket = Socket::bare(&bare.kernel);
    let keys = [(); 3].map(|()| bare.insert(&socket, READ));
    assert_eq!(bare.cost(Bare::pass), 6);
    assert_eq!(bare.port.slots.in_flight(), 1);
    bare.kernel.set_events(socket.handle(), flag::RECEIVE);
    assert_eq!(bare.pass(), (3, false));
    bare.kernel.set_events(socket.handle(), 0);
    bare.pass();
    for (gone, key) in keys.iter().enumerate() {
        assert_eq!(bare.port.slots.in_flight(), 1, "{gone} are gone");
        let cost = bare.cost(|bare| bare.port.deregister(*key, Fate::Kept));
        assert_eq!(
            cost,
            u64::from(gone == 2),
            "the last one's poll is cancelled"
        );
        bare.pass();
    }
    assert_eq!(bare.port.slots.in_flight(), 0);
    assert_eq!(bare.kernel.state().violations, []);
}

/// Who has further handles is compared with all others.
#[test]
fn a_duplicate_costs_a_comparison_with_each_other_source() {
    let mut bare = Bare::new(PollingMode::Auto);
    let sources: Vec<_> = (0..5).map(|_| bare.add(READ)).collect();
    bare.pass();
    let duplicate = sources[4].1.duplicate();
    bare.insert(&duplicate, READ);
    let cost = bare.cost(Bare::pass);
    assert_eq!(
        cost,
        1 + 5 + 1 + 1,
        "a look, comparisons, another look, a dequeue"
    );
    assert_eq!(bare.port.slots.in_flight(), 5);
    let (_, elsewhere) = bare.add(READ);
    bare.kernel.share(elsewhere.handle(), true);
    assert_eq!(
        bare.cost(Bare::pass),
        1 + 5 + 1 + 1,
        "a look, comparisons, a poll, a dequeue"
    );
}

#[test]
fn what_closing_does_not_end_costs_a_cancel() {
    let mut bare = Bare::new(PollingMode::Auto);
    let (key, socket) = bare.add(READ);
    bare.pass();
    let _duplicate = socket.duplicate();
    assert_eq!(bare.cost(|bare| bare.port.deregister(key, Fate::Closed)), 0);
    drop(socket);
    assert_eq!(bare.cost(Bare::pass), 2, "the dequeue and the cancel");
    assert_eq!(bare.cost(Bare::pass), 1);
    assert_eq!(bare.port.slots.in_flight(), 0);
}

#[test]
fn what_is_refused_on_the_way_to_a_poll_is_counted_too() {
    let mut bare = Bare::new(PollingMode::Auto);
    bare.keep_packets(true);
    let (key, socket) = bare.add(READ);
    // A look, a helper, its two marks, its end; two marks, of which one is taken off. Answers are there.
    assert_eq!(
        bare.cost(|bare| assert_eq!(bare.pass(), (1, false))),
        1 + 4 + 3
    );
    bare.keep_packets(false);
    bare.port.deregister(key, Fate::Kept);
    // Somebody else's port has the socket.
    let other = Sim::new(&bare.kernel);
    let port = other.create_port().unwrap();
    other.associate(socket.handle(), port, 5).unwrap();
    bare.insert(&socket, READ);
    assert_eq!(bare.cost(Bare::pass), 1 + 3 + 2);
    let mut bare = Bare::new(PollingMode::Direct);
    let (_, socket) = bare.add(READ);
    let other = Sim::new(&bare.kernel);
    let port = other.create_port().unwrap();
    other.associate(socket.handle(), port, 5).unwrap();
    assert_eq!(bare.cost(|bare| assert_eq!(bare.pass(), (1, false))), 2);
    // No helper to be had.
    let mut bare = Bare::new(PollingMode::Helper);
    bare.kernel.state().mood.has_no_helpers = true;
    let _source = bare.add(READ);
    assert_eq!(bare.cost(|bare| assert_eq!(bare.pass(), (1, false))), 2);
    // A poll that is refused.
    let mut bare = Bare::new(PollingMode::Direct);
    bare.kernel.state().mood.refuses_submit = Some(Status::INSUFFICIENT_RESOURCES);
    let _source = bare.add(READ);
    assert_eq!(bare.cost(|bare| assert_eq!(bare.pass(), (1, false))), 4);
}

#[test]
fn a_helper_that_no_port_takes_is_closed() {
    let kernel = Arc::<Kernel>::default();
    let mut helpers = Helpers::default();
    let joined = helpers.join(&Sim::new(&kernel), Handle(4000));
    assert_eq!(joined, Err(Status::INVALID_HANDLE));
    let calls = kernel.state().counts.calls;
    assert_eq!(
        (helpers.calls, calls),
        (3, 3),
        "opened, not associated, closed"
    );
    assert_eq!(kernel.handles(), 0);
}

#[test]
fn the_end_costs_a_cancel_for_each_poll_and_a_dequeue_for_all() {
    for (mode, helpers) in [(PollingMode::Direct, 0), (PollingMode::Helper, 2)] {
        let mut bare = Bare::new(mode);
        let sources: Vec<_> = (0..40).map(|_| bare.add(READ)).collect();
        bare.pass();
        let idle = &sources[0].1;
        bare.kernel.set_events(idle.handle(), flag::RECEIVE);
        assert_eq!(bare.pass(), (1, false));
        // One is told to end already.
        bare.kernel.state().mood.is_slow = true;
        bare.port.deregister(sources[1].0, Fate::Kept);
        let cost = bare.cost(|bare| bare.port.shut_down().unwrap());
        let dequeues = 1;
        assert_eq!(cost, 38 + dequeues + helpers, "{mode:?}");
        assert_eq!(
            bare.cost(|bare| bare.port.shut_down().unwrap()),
            0,
            "it is the end"
        );
    }
}

#[test]
fn the_end_dequeues_as_often_as_packets_come_and_no_more() {
    let mut bare = Bare::new(PollingMode::Direct);
    let _sources: Vec<_> = (0..40).map(|_| bare.add(READ)).collect();
    bare.pass();
    bare.kernel.state().mood.batch = 1;
    let cost = bare.cost(|bare| bare.port.shut_down().unwrap());
    assert_eq!(cost, 40 + 40);
}

/// Batches that are full of strangers' packets say nothing of ours.
#[test]
fn the_end_goes_through_all_that_others_have_posted() {
    let mut bare = Bare::new(PollingMode::Auto);
    let _source = bare.add(READ);
    bare.pass();
    let batches = 30;
    for _ in 0..256 * batches {
        bare.kernel
            .post_foreign(OPERATION_KEY, usize::MAX / 256 * 128);
    }
    let cost = bare.cost(|bare| bare.port.shut_down().unwrap());
    assert_eq!(cost, 1 + batches + 1 + 1, "a cancel, dequeues, the helper");
    assert_eq!(bare.port.slots.in_flight(), 0);
}

/// A handle was closed behind the port's back while the socket has another one: the poll goes on, and
/// there is nothing left to cancel it on.
#[test]
fn the_end_gives_up_after_ten_dequeues_without_a_packet_of_ours() {
    let mut bare = Bare::new(PollingMode::Direct);
    let (_, orphan) = bare.add(READ);
    bare.pass();
    let _duplicate = orphan.duplicate();
    drop(orphan);
    for _ in 0..3 {
        let nobody = usize::MAX / 256 * 128;
        bare.kernel.post_foreign(OPERATION_KEY, nobody);
    }
    bare.kernel.state().mood.batch = 1;
    let cost = bare.cost(|bare| {
        let error = bare.port.shut_down().unwrap_err().to_string();
        assert!(error.starts_with("1 polls could not be ended"), "{error}");
    });
    assert_eq!(cost, 1 + 10, "a cancel in vain, and the dequeues");
    assert_eq!(bare.port.slots.in_flight(), 0, "left behind");
    assert_eq!(bare.cost(|bare| bare.port.shut_down().unwrap()), 0);
}

#[test]
fn a_poll_that_ends_with_nothing_reports_nothing_and_is_armed_again() {
    for mode in [PollingMode::Direct, PollingMode::Helper] {
        let mut bare = Bare::new(mode);
        let (_, socket) = bare.add(READ);
        bare.pass();
        bare.kernel.end_polls(socket.handle(), Status::SUCCESS);
        assert_eq!(
            bare.cost(|bare| assert_eq!(bare.pass(), (0, false))),
            2,
            "a dequeue and another poll"
        );
        assert_eq!(bare.port.slots.in_flight(), 1);
    }
}

#[test]
fn whatever_has_the_pass_look_at_it_a_refused_source_rests_until_it_is_declared_again() {
    let trouble = Status::INSUFFICIENT_RESOURCES;
    for is_refused_at_once in [true, false] {
        let mut bare = Bare::new(PollingMode::Auto);
        let (key, socket) = bare.add(READ);
        if is_refused_at_once {
            bare.kernel.state().mood.refuses_submit = Some(trouble);
        } else {
            bare.pass();
            bare.kernel.end_polls(socket.handle(), trouble);
        }
        assert_eq!(bare.pass(), (1, false));
        let object = bare.port.table.at(key.index).unwrap().object;
        bare.port.table.touch(object);
        let cost = bare.cost(|bare| assert_eq!(bare.pass(), (0, false)));
        assert_eq!(cost, 1, "the dequeue");
        bare.port.declare(key, READ);
        assert_eq!(bare.cost(Bare::pass), 2, "a poll");
    }
}

#[test]
fn a_wait_that_was_woken_leaves_the_rest_to_the_next() {
    let mut bare = Bare::new(PollingMode::Auto);
    let (key, _socket) = bare.add(READ);
    bare.pass();
    bare.port.declare(key, Interest::BOTH);
    bare.port.signal().send().unwrap();
    // A cancel and a dequeue that yields its packet too.
    assert_eq!(bare.cost(|bare| assert_eq!(bare.pass(), (0, true))), 2);
    assert_eq!(bare.cost(Bare::pass), 2, "the wider poll");
}

#[test]
fn sixteen_waits_running_may_leave_the_port_alone() {
    let mut bare = Bare::new(PollingMode::Auto);
    let (_, socket) = bare.add(READ);
    bare.kernel.set_events(socket.handle(), flag::RECEIVE);
    bare.pass();
    let costs: Vec<u64> = (0..35).map(|_| bare.cost(Bare::pass)).collect();
    let expected = (0..35).map(|at| if at == 15 || at == 32 { 2 } else { 1 });
    assert_eq!(costs, expected.collect::<Vec<_>>());
}

#[test]
fn an_answer_with_nothing_is_reported_as_a_refusal_and_not_asked_for_again() {
    let kernel = Arc::<Kernel>::default();
    kernel.state().mood.answers_nothing = true;
    let port = Port::<_, Sound>::with_mode(Sim::new(&kernel), PollingMode::Auto).unwrap();
    let mut poller = Poller::<_, (), _>::over(port);
    let mut events = Events::with_capacity(64);
    let key = poller.insert(Socket::bare(&kernel)).unwrap();
    for _ in 0..2 {
        poller.set_interest(key, READ);
        for expected in [Some(Status::INVALID_HANDLE), None, None] {
            poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
            let expected = expected.map(|status| Event::refused(key, READ, status.0));
            assert!(events.iter().copied().eq(expected), "{events:?}");
        }
    }
}

/// A refusal would not come again by itself, and the batch with it is not delivered.
#[test]
fn who_was_refused_in_a_wait_that_fails_is_tried_again_in_the_next() {
    let kernel = Arc::<Kernel>::default();
    let port = Port::<_, Sound>::with_mode(Sim::new(&kernel), PollingMode::Auto).unwrap();
    let mut poller = Poller::<_, (), _>::over(port);
    let mut events = Events::with_capacity(64);
    let add = |poller: &mut Poller<_, (), _>| {
        let socket = Socket::bare(&kernel);
        kernel.set_events(socket.handle(), flag::RECEIVE);
        let key = poller.insert(socket).unwrap();
        poller.set_interest(key, READ);
        key
    };
    let ready = add(&mut poller);
    // So many waits leave the port alone.
    for _ in 0..16 {
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
    }
    let refused = add(&mut poller);
    kernel.state().mood.refuses_submit = Some(Status::INSUFFICIENT_RESOURCES);
    kernel.state().mood.refuses_dequeue = Some(Status::NO_MEMORY);
    assert!(poller.wait(&mut events, Some(Duration::ZERO)).is_err());
    poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
    let mut reported: Vec<Event> = events.iter().copied().collect();
    reported.sort_by_key(|event| event.key() == refused);
    assert_eq!(reported, [ready, refused].map(|key| Event::new(key, READ)));
}
