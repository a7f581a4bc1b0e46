//! The simulated kernel's own rules: that it keeps those of Windows, and notices who breaks its own.

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use super::{Kernel, Sim, Socket, Violation};
use crate::nt::{
    AfdPollHandleInfo, AfdPollInfo, Handle, IoStatusBlock, Nt, Packet, Status, Submission, flag,
};

const KEY: usize = 5;

/// A user of the kernel with a port, a socket, and memory for one poll.
struct User {
    kernel: Arc<Kernel>,
    nt: Sim,
    port: Handle,
    socket: Socket,
    memory: Box<(UnsafeCell<IoStatusBlock>, UnsafeCell<AfdPollInfo>)>,
}

fn question(socket: &Socket, events: u32) -> AfdPollInfo {
    AfdPollInfo {
        timeout: i64::MAX,
        number_of_handles: 1,
        exclusive: 0,
        handles: [AfdPollHandleInfo {
            handle: socket.handle(),
            events,
            status: Status::SUCCESS,
        }],
    }
}

impl User {
    fn new() -> User {
        let kernel = Arc::<Kernel>::default();
        let nt = Sim::new(&kernel);
        let socket = Socket::bare(&kernel);
        let info = question(&socket, flag::RECEIVE);
        let status = IoStatusBlock::new(Status::PENDING, 0);
        User {
            port: nt.create_port().unwrap(),
            nt,
            socket,
            memory: Box::new((UnsafeCell::new(status), UnsafeCell::new(info))),
            kernel,
        }
    }

    fn associate(&self, file: Handle) {
        self.nt.associate(file, self.port, KEY).unwrap();
    }

    fn ask(&self, control: Handle, question: AfdPollInfo) -> Status {
        let info = NonNull::new(self.memory.1.get()).unwrap();
        // SAFETY: nothing is in flight.
        unsafe { info.write(question) };
        let submission = Submission {
            control,
            context: 128,
            status: NonNull::new(self.memory.0.get()).unwrap(),
            info,
        };
        // SAFETY: the memory is the user's, who lives as long as the kernel is asked for packets.
        unsafe { self.nt.submit(submission) }
    }

    fn packets(&self) -> Vec<Status> {
        let mut packets = [Packet::EMPTY; 4];
        let found = self
            .nt
            .dequeue(self.port, &mut packets, Some(Duration::ZERO));
        let packets = packets[..found.unwrap()].iter();
        packets.map(|packet| packet.status.status.status).collect()
    }

    fn violations(&self) -> Vec<Violation> {
        std::mem::take(&mut self.kernel.state().violations)
    }
}

#[test]
fn what_is_answered_at_once_queues_a_packet_unless_the_file_skips_it() {
    let user = User::new();
    let socket = user.socket.handle();
    user.associate(socket);
    user.kernel.set_events(socket, flag::RECEIVE);
    let question = question(&user.socket, flag::RECEIVE);
    assert_eq!(user.ask(socket, question), Status::SUCCESS);
    assert_eq!(user.packets(), [Status::SUCCESS]);
    user.nt.skip_packets_on_success(socket).unwrap();
    assert_eq!(user.ask(socket, question), Status::SUCCESS);
    assert_eq!(user.packets(), []);
    user.kernel.set_events(socket, 0);
    assert_eq!(user.ask(socket, question), Status::PENDING);
    user.kernel.set_events(socket, flag::RECEIVE);
    assert_eq!(user.packets(), [Status::SUCCESS]);
    assert_eq!(user.violations(), []);
}

#[test]
fn closing_a_helper_ends_nothing_and_is_noticed() {
    let user = User::new();
    let helper = user.nt.open_helper().unwrap();
    user.associate(helper);
    let question = question(&user.socket, flag::RECEIVE);
    assert_eq!(user.ask(helper, question), Status::PENDING);
    user.nt.close(helper);
    assert_eq!(user.packets(), []);
    assert_eq!(user.violations(), [Violation::ClosesInFlight]);
    let socket = user.socket.handle();
    user.kernel.set_events(socket, flag::RECEIVE);
    assert_eq!(user.packets(), [Status::SUCCESS]);
}

/// One thing that a question must not be, and what is made of it.
type Mistake = (fn(&mut AfdPollInfo), Violation);

#[test]
fn what_is_asked_wrongly_is_noticed() {
    let asks: [Mistake; 5] = [
        (|info| info.timeout = 0, Violation::AsksWrongly),
        (|info| info.number_of_handles = 2, Violation::AsksWrongly),
        (|info| info.exclusive = 1, Violation::AsksWrongly),
        (
            |info| info.handles[0].status = Status::PENDING,
            Violation::AsksWrongly,
        ),
        (
            |info| info.handles[0].events = 0,
            Violation::PollsForNothing,
        ),
    ];
    for (change, violation) in asks {
        let user = User::new();
        let socket = user.socket.handle();
        user.associate(socket);
        let mut question = question(&user.socket, flag::RECEIVE);
        change(&mut question);
        assert_eq!(user.ask(socket, question), Status::PENDING);
        assert_eq!(user.violations(), [violation]);
    }
}

#[test]
fn marks_that_are_missing_or_taken_off_too_early_are_noticed() {
    let user = User::new();
    let socket = user.socket.handle();
    let question = question(&user.socket, flag::RECEIVE);
    assert_eq!(user.ask(socket, question), Status::PENDING);
    assert_eq!(user.violations(), [Violation::PollsWithoutPort]);
    let user = User::new();
    let socket = user.socket.handle();
    user.associate(socket);
    assert_eq!(user.ask(socket, question), Status::PENDING);
    user.nt.dissociate(socket).unwrap_err();
    assert_eq!(user.violations(), [Violation::DissociatesInFlight]);
}
