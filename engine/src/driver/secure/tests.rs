use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read};

use proptest::prelude::*;

use super::*;
use crate::tls::fake::{self, FakeCodec};

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    bytes: RefCell<VecDeque<u8>>,
    /// How many bytes more it takes.
    room: Cell<usize>,
    /// All that was put in, which is the wire as others see it.
    seen: RefCell<Vec<u8>>,
    is_ended: Cell<bool>,
}

/// One end of a connection.
struct End<'a> {
    from: &'a Pipe,
    to: &'a Pipe,
}

impl Wire for End<'_> {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.from.bytes.borrow_mut().read(buffer)? {
            0 if !self.from.is_ended.get() => Err(ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.to.room.get());
        if len == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.to.room.set(self.to.room.get() - len);
        self.to.bytes.borrow_mut().extend(&bytes[..len]);
        self.to.seen.borrow_mut().extend(&bytes[..len]);
        Ok(len)
    }
}

/// A client and a server past their handshake, with pipes that take everything.
fn shaken<'a>(up: &'a Pipe, down: &'a Pipe) -> [(Secure, End<'a>); 2] {
    let mut client = Secure::new(Box::new(FakeCodec::client()));
    let mut server = Secure::new(Box::new(FakeCodec::server()));
    let (here, there) = (End { from: down, to: up }, End { from: up, to: down });
    up.room.set(usize::MAX);
    down.room.set(usize::MAX);
    let mut cipher = Vec::new();
    assert!(!client.shake(&here, &mut cipher).unwrap());
    assert!(server.take_identity().is_none());
    assert_blocked(server.recv(&there, &mut cipher, &mut [0; 10]));
    assert!(client.shake(&here, &mut cipher).unwrap());
    assert_blocked(server.recv(&there, &mut cipher, &mut [0; 10]));
    assert!(server.take_identity().is_some() && client.take_identity().is_some());
    assert!(server.take_identity().is_none(), "it is told once");
    up.seen.borrow_mut().clear();
    [(client, here), (server, there)]
}

#[track_caller]
fn assert_blocked(outcome: io::Result<usize>) {
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// How much plaintext is in the records that lie whole in these bytes.
fn whole_records(bytes: &[u8]) -> usize {
    fake::whole_records(&mut Vec::new(), bytes).len()
}

impl Secure {
    /// Whether it waits for the system to take more.
    fn wants_more(&self) -> bool {
        self.wanted(Wanted::default()).writable
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8).collect()
}

proptest! {
    /// The account of messages rests on it: what counts as taken is what the peer can read, no less and no
    /// more, however little the system takes at once.
    #[test]
    fn what_counts_as_taken_is_what_lies_in_whole_records(
        len in 1..200_000_usize,
        slice in 1..5000_usize,
        rooms in prop::collection::vec(prop_oneof![0..50_usize, 0..2000_usize, 0..100_000_usize], 1..40),
        reads in prop::collection::vec(1..3000_usize, 1..20),
    ) {
        let (up, down) = (Pipe::default(), Pipe::default());
        let [(mut client, here), (mut server, there)] = shaken(&up, &down);
        let all = content(len);
        let (mut sent, mut cipher, mut received) = (0, Vec::new(), Vec::new());
        for room in rooms.into_iter().chain([usize::MAX; 4]) {
            up.room.set(room);
            let slices: Vec<_> = all[sent..].chunks(slice).map(IoSlice::new).collect();
            match client.send(&here, &slices) {
                Ok(taken) => sent += taken,
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            prop_assert_eq!(sent, whole_records(&up.seen.borrow()));
            prop_assert!(client.staged() <= STAGED_BYTES);
            prop_assert_eq!(client.wants_more(), client.staged() > 0);
            prop_assert!(sent + client.staged() <= len);
        }
        prop_assert_eq!((sent, client.staged()), (len, 0));
        for read in reads.iter().cycle() {
            let mut buffer = vec![0; *read];
            match server.recv(&there, &mut cipher, &mut buffer) {
                Ok(got) => received.extend_from_slice(&buffer[..got]),
                // Nothing is left where no socket tells of it.
                Err(_) => {
                    prop_assert!(!server.is_ready());
                    if up.bytes.borrow().is_empty() {
                        break;
                    }
                }
            }
            prop_assert!(server.input.len() <= READ_MOST);
        }
        prop_assert!(received == all);
    }

    /// A stream that was cut, wherever, never ends in order; what came before it is read.
    #[test]
    fn a_stream_that_is_cut_is_no_orderly_end(len in 0..2000_usize, cut in 0..1001_usize, read in 1..500_usize) {
        let (up, down) = (Pipe::default(), Pipe::default());
        let [(mut client, here), (mut server, there)] = shaken(&up, &down);
        let all = content(len);
        if len > 0 {
            prop_assert_eq!(client.send(&here, &[IoSlice::new(&all)]).unwrap(), len);
        }
        client.close(&here);
        prop_assert!(client.has_said_end());
        let wire = up.bytes.borrow().len();
        let kept = wire * cut / 1000;
        up.bytes.borrow_mut().truncate(kept);
        up.is_ended.set(true);
        let expected = whole_records(&up.seen.borrow()[..kept]);
        let (mut received, mut cipher) = (0, Vec::new());
        let end = loop {
            let mut buffer = vec![0; read];
            match server.recv(&there, &mut cipher, &mut buffer) {
                Ok(got) if got > 0 => received += got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                end => break end,
            }
        };
        prop_assert_eq!(received, expected);
        prop_assert_eq!(end.is_ok(), kept == wire, "{:?}", end);
        prop_assert!(!server.is_ready());
    }
}

#[test]
fn what_is_decrypted_and_not_read_is_told_of_until_it_is_read() {
    let (up, down) = (Pipe::default(), Pipe::default());
    let [(mut client, here), (mut server, there)] = shaken(&up, &down);
    let (all, mut cipher, mut buffer) = (content(1000), Vec::new(), [0; 10]);
    assert_eq!(client.send(&here, &[IoSlice::new(&all)]).unwrap(), 1000);
    client.close(&here);
    for _ in 0..100 {
        assert_eq!(server.recv(&there, &mut cipher, &mut buffer).unwrap(), 10);
        assert!(up.bytes.borrow().is_empty() && server.is_ready());
    }
    assert_eq!(server.recv(&there, &mut cipher, &mut buffer).unwrap(), 0);
    assert!(!server.is_ready());
    assert_eq!(server.input.capacity(), 0, "who is idle holds nothing");
}

#[test]
fn an_answer_goes_behind_what_is_staged_and_waits_until_the_system_takes_it() {
    let (up, down) = (Pipe::default(), Pipe::default());
    let [(mut client, here), (mut server, there)] = shaken(&up, &down);
    let (all, mut cipher) = (content(fake::RECORD_BYTES), Vec::new());
    down.room.set(100);
    assert_eq!(server.send(&there, &[IoSlice::new(&all)]).unwrap(), 0);
    assert_eq!(server.staged(), all.len());
    let mut asking = FakeCodec::client();
    let mut ask = Vec::new();
    asking.take_output(&mut ask);
    ask.clear();
    asking.ping();
    asking.take_output(&mut ask);
    up.bytes.borrow_mut().extend(&ask);
    down.room.set(usize::MAX);
    assert_blocked(server.recv(&there, &mut cipher, &mut [0; 10]));
    server.flush_aside(&there).unwrap();
    assert_eq!(
        server.staged(),
        all.len(),
        "records go when they are asked for"
    );
    assert!(server.wants_more());
    assert_eq!(
        server.send(&there, &[IoSlice::new(&all)]).unwrap(),
        all.len()
    );
    assert!(!server.wants_more() && server.staged() == 0);
    let mut buffer = [0; 1000];
    assert_eq!(
        client.recv(&here, &mut cipher, &mut buffer).unwrap(),
        all.len()
    );
    assert!(down.bytes.borrow().is_empty());
}

#[test]
fn an_orderly_end_is_not_said_behind_a_message_that_was_sent_in_part() {
    let (up, down) = (Pipe::default(), Pipe::default());
    let [(mut client, here), _] = shaken(&up, &down);
    up.room.set(20);
    assert_eq!(client.send(&here, &[IoSlice::new(&[7; 100])]).unwrap(), 0);
    up.room.set(usize::MAX);
    client.close(&here);
    assert_eq!(up.seen.borrow().len(), 20);
    assert!(!client.has_said_end());
}

#[test]
fn a_handshake_without_end_is_given_up() {
    let (up, down) = (Pipe::default(), Pipe::default());
    let mut server = Secure::new(Box::new(FakeCodec::server()));
    let there = End {
        from: &up,
        to: &down,
    };
    // One record of its kind that never becomes whole, over and over, would do as well.
    let mut cipher = Vec::new();
    let end = (0..100).find_map(|_| {
        up.bytes.borrow_mut().extend([5, 0, 0, 0xa5].repeat(1024));
        let outcome = server.recv(&there, &mut cipher, &mut [0; 10]);
        outcome
            .err()
            .filter(|error| error.kind() != ErrorKind::WouldBlock)
    });
    let end = end.expect("an end");
    assert!(end.to_string().contains("28672 bytes"), "{end}");
    assert!(server.input.len() <= READ_MOST);
}

#[test]
fn nothing_is_sent_behind_a_failure() {
    struct Broken(Cell<u32>);
    impl Wire for Broken {
        fn recv(&self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::WouldBlock.into())
        }

        fn send(&self, _: &[u8]) -> io::Result<usize> {
            self.0.set(self.0.get() + 1);
            Err(ErrorKind::ConnectionReset.into())
        }
    }
    let (up, down) = (Pipe::default(), Pipe::default());
    let [(mut client, _), _] = shaken(&up, &down);
    let broken = Broken(Cell::new(0));
    for _ in 0..3 {
        let error = client.send(&broken, &[IoSlice::new(b"lost")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    client.close(&broken);
    assert!(!client.wants_more());
    assert_eq!(broken.0.get(), 1, "the system is not asked again");
}

/// The wire of `count` records that hold nothing.
fn empty_records(count: usize) -> Vec<u8> {
    let kinds = [[2, 0, 0, 0xa5], [5, 0, 0, 0xa5]]; // messages' records, and changes of keys
    (0..count).flat_map(|at| kinds[at % 2]).collect()
}

#[test]
fn records_that_hold_nothing_end_a_connection_where_none_between_them_holds_something() {
    let (up, down) = (Pipe::default(), Pipe::default());
    let [(mut client, here), (mut server, there)] = shaken(&up, &down);
    let mut cipher = Vec::new();
    let most = EMPTY_BYTES / 4;
    let mut sent = 0;
    let mut receive = |server: &mut Secure| {
        loop {
            match server.recv(&there, &mut cipher, &mut [0; 100]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if up.bytes.borrow().is_empty() && !server.is_ready() {
                        return None;
                    }
                }
                Err(error) => return Some(error),
            }
        }
    };
    for _ in 0..3 {
        up.bytes.borrow_mut().extend(empty_records(most - 100));
        assert!(receive(&mut server).is_none());
        assert_eq!(
            client.send(&here, &[IoSlice::new(b"something")]).unwrap(),
            9
        );
        sent += 1;
        assert!(receive(&mut server).is_none(), "{sent}");
    }
    up.bytes.borrow_mut().extend(empty_records(most + 100));
    let end = receive(&mut server).expect("an end");
    assert!(end.to_string().contains("hold nothing"), "{end}");
}

#[test]
fn what_is_read_from_the_wire_is_work_also_where_it_holds_nothing() {
    let (up, down) = (Pipe::default(), Pipe::default());
    let [_, (mut server, there)] = shaken(&up, &down);
    assert!(server.take_read_bytes() > 0, "of the handshake");
    up.bytes.borrow_mut().extend(empty_records(500));
    assert_blocked(server.recv(&there, &mut Vec::new(), &mut [0; 100]));
    assert_eq!(server.take_read_bytes(), 2000);
    assert_eq!(server.take_read_bytes(), 0);
}

/// No socket tells of plaintext that came in one piece with the end of the handshake.
#[test]
fn what_came_with_the_end_of_a_handshake_is_read() {
    let (up, down) = (Pipe::default(), Pipe::default());
    let mut client = Secure::new(Box::new(FakeCodec::client()));
    let here = End {
        from: &down,
        to: &up,
    };
    up.room.set(usize::MAX);
    let mut cipher = Vec::new();
    assert!(!client.shake(&here, &mut cipher).unwrap());
    let hello = [&[1, 0, 2, b'h', b'h', 0xa5][..], &[2, 0, 1, b'!', 0xa5]].concat();
    down.bytes.borrow_mut().extend(&hello);
    assert!(client.shake(&here, &mut cipher).unwrap());
    assert!(client.is_ready());
    assert_eq!(client.recv(&here, &mut cipher, &mut [0; 9]).unwrap(), 1);
}

#[test]
fn an_orderly_end_waits_until_the_system_takes_it() {
    let (up, down) = (Pipe::default(), Pipe::default());
    let [(mut client, here), (mut server, there)] = shaken(&up, &down);
    up.room.set(0);
    client.close(&here);
    assert!(client.is_saying_end() && !client.has_said_end());
    up.room.set(1);
    client.flush_aside(&here).unwrap();
    assert!(client.is_saying_end());
    up.room.set(usize::MAX);
    client.flush_aside(&here).unwrap();
    assert!(client.has_said_end() && !client.is_saying_end());
    let mut cipher = Vec::new();
    assert_eq!(server.recv(&there, &mut cipher, &mut [0; 9]).unwrap(), 0);
}

#[cfg(feature = "tls")]
mod fuzzed {
    use super::super::fuzzing::{changed, client_hello, handshake};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 48 } else { 1000 }))]

        #[test]
        fn bytes_make_no_peer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            handshake(&bytes);
        }

        #[test]
        fn a_hello_that_was_changed_makes_no_peer(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut hello = client_hello();
            for (at, value) in changes {
                let at = at.index(hello.len());
                hello[at] = value;
            }
            handshake(&hello);
            handshake(&hello[..cut.index(hello.len())]);
            handshake(&[&hello[..], &hello].concat());
        }

        #[test]
        fn what_was_changed_on_the_way_is_not_received(
            changes in prop::collection::vec((any::<u8>(), 0..2500_u16, any::<u8>()), 0..3),
        ) {
            let changes = changes.into_iter().flat_map(|(kind, at, value)| {
                let [high, low] = at.to_be_bytes();
                [kind, high, low, value]
            });
            changed(&changes.collect::<Vec<u8>>());
        }
    }
}

/// As of a connection that is to be admitted first: it is not lost, and no socket tells of it.
#[test]
fn what_comes_with_the_end_of_a_handshake_is_kept_until_it_is_received() {
    for len in [10, 700] {
        let (up, down) = (Pipe::default(), Pipe::default());
        let (here, there) = (
            End {
                from: &down,
                to: &up,
            },
            End {
                from: &up,
                to: &down,
            },
        );
        up.room.set(usize::MAX);
        down.room.set(usize::MAX);
        let mut client = Secure::new(Box::new(FakeCodec::client()));
        let mut server = Secure::new(Box::new(FakeCodec::server()));
        let mut cipher = Vec::new();
        assert!(!client.shake(&here, &mut cipher).unwrap());
        assert!(!server.shake(&there, &mut cipher).unwrap());
        assert!(client.shake(&here, &mut cipher).unwrap());
        let all = content(len);
        assert_eq!(client.send(&here, &[IoSlice::new(&all)]).unwrap(), len);
        assert!(server.shake(&there, &mut cipher).unwrap());
        assert!(up.bytes.borrow().is_empty(), "it was read in one");
        assert!(server.is_ready() && server.holds_some());
        let (mut received, mut buffer) = (Vec::new(), [0; 1000]);
        while let Ok(len) = server.recv(&there, &mut cipher, &mut buffer) {
            received.extend_from_slice(&buffer[..len]);
        }
        assert_eq!(received, all);
        assert!(!server.holds_some() && !server.is_ready());
    }
}
