//! Peers that reset their connection, at every stage of it.

use ampe::{Address, Reason};
use ampe_poller::socket::{SocketAddress, Stream};

use super::target;
use crate::common::peer::{BYE_REQUEST, REQUEST, SIGNAL, frame, hello_to, raw_transports};
use crate::common::{Transport, wait_until};

/// A connection whose end is a reset, whatever was read of it. Unix sockets cannot do that.
struct Resetting(Stream);

impl Resetting {
    fn connect(address: &Address) -> Resetting {
        let address = SocketAddress::Tcp(address.socket_addr().unwrap());
        let stream = Stream::connect(&address).unwrap();
        wait_until("the connection", || stream.finish_connect().unwrap());
        Resetting(stream)
    }

    fn send(&self, bytes: &[u8]) {
        let sent = self.0.send_vectored(&[std::io::IoSlice::new(bytes)]);
        assert_eq!(sent.unwrap(), bytes.len(), "that little fits any buffer");
    }

    fn wait_for_bytes(&self, count: usize) {
        let mut received = 0;
        wait_until("bytes from the engine", || {
            received += self.0.recv(&mut [0; 64]).unwrap_or(0);
            received == count
        });
    }

    fn reset(self) {
        self.0.set_abortive().unwrap();
    }
}

#[test]
fn a_reset_is_survived_at_every_stage() {
    let mut it = target(Transport::Tcp);
    let hello = hello_to(&it.address, 1).bytes();
    for (index, cut) in [0, 1, 15, 16, 17, hello.len() - 1].into_iter().enumerate() {
        let peer = Resetting::connect(&it.address);
        peer.send(&hello[..cut]);
        // A connection that was reset before it was accepted is none.
        wait_until("accept", || {
            it.engine.statistics().accepted == 1 + index as u64
        });
        peer.reset();
        it.wait_for_unheard(1 + index as u64);
    }
    let started = frame(SIGNAL, 1).with_body(vec![0; 50_000]).bytes();
    for cut in [0, 1, 15, 16, 17, 40_000] {
        let peer = Resetting::connect(&it.address);
        peer.send(&hello);
        let channel = expect!(it.server.1, Hello).channel();
        peer.send(&started[..cut]);
        peer.reset();
        it.check_reset(channel, &format!("{cut} bytes of a frame"));
    }
    it.serves_well();
}

#[test]
fn a_reset_is_survived_at_every_stage_of_a_goodbye() {
    let mut it = target(Transport::Tcp);
    let hello = hello_to(&it.address, 1).bytes();
    // Before its goodbye is answered.
    let peer = Resetting::connect(&it.address);
    peer.send(&[hello.clone(), frame(BYE_REQUEST, 2).bytes()].concat());
    let channel = expect!(it.server.1, Hello).channel();
    let bye = expect!(it.server.1, Bye);
    peer.reset();
    it.check_reset(channel, "");
    drop(bye); // nobody is owed an answer any more

    // Behind the answer: some peers end every conversation that way.
    let peer = Resetting::connect(&it.address);
    peer.send(&[hello.clone(), frame(BYE_REQUEST, 2).bytes()].concat());
    let channel = expect!(it.server.1, Hello).channel();
    drop(expect!(it.server.1, Bye));
    peer.wait_for_bytes(16);
    peer.reset();
    assert_eq!(it.closed(channel), Reason::Bye);

    // Instead of an answer to ours.
    let peer = Resetting::connect(&it.address);
    peer.send(&hello);
    let channel = expect!(it.server.1, Hello).channel();
    it.server.0.post(it.engine.message().bye(channel)).unwrap();
    peer.wait_for_bytes(16);
    peer.reset();
    it.check_reset(channel, "");
    it.serves_well();
}

#[test]
fn a_peer_that_closes_with_our_answer_unread_ends_its_channel_alone() {
    for transport in raw_transports() {
        let mut it = target(transport);
        let (mut peer, channel) = it.greeted();
        peer.send(&[frame(REQUEST, 2).bytes(), frame(REQUEST, 3).bytes()].concat());
        // Posted at once, the answers are written at once: the first is read, the second is there.
        let answers = [expect!(it.server.1, Request), expect!(it.server.1, Request)];
        let mut answers = answers.map(|request| request.echo()).into();
        it.server
            .0
            .post_many(&mut answers, &mut Vec::new())
            .unwrap();
        assert_eq!(peer.receive().id, 2);
        drop(peer);
        it.check_reset(channel, &format!("{transport:?}"));
        it.serves_well();
    }
}
