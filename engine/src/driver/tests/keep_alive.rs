//! Keep-alive and the sizes of buffers, read back from the sockets themselves.

use socket2::SockRef;

use super::*;
use crate::driver::sockets::Socket;

/// Whether it is on, and after which idle time it begins, where the system tells.
fn keep_alive(bench: &Bench, key: RecordKey) -> (bool, Option<Duration>) {
    let Some(Socket::Connected(stream)) = bench.sockets.get(key) else {
        panic!("not connected")
    };
    let socket = SockRef::from(stream);
    #[cfg(target_os = "linux")]
    let idle = socket.tcp_keepalive_time().ok();
    #[cfg(not(target_os = "linux"))]
    let idle = None;
    (socket.keepalive().unwrap(), idle)
}

fn options(keep_alive: Option<Duration>) -> Options {
    Options {
        keep_alive,
        ..Options::default()
    }
}

#[track_caller]
fn assert_keeps_alive(bench: &Bench, key: RecordKey) {
    let idle = cfg!(target_os = "linux").then_some(Duration::from_secs(77));
    assert_eq!(keep_alive(bench, key), (true, idle));
}

fn accepted(bench: &mut Bench) -> (RecordKey, TcpStream) {
    let any = "tcp://127.0.0.1:0".parse().unwrap();
    bench.posting.listen(&any).unwrap();
    let Event::Listening(listening) = bench.event() else {
        panic!("not listening")
    };
    let listener = bench.only_socket();
    let peer = TcpStream::connect(listening.address().socket_addr().unwrap()).unwrap();
    bench.pass_until("a connection", |bench| bench.sockets.keys().len() == 2);
    let keys = bench.sockets.keys();
    (keys.into_iter().find(|&key| key != listener).unwrap(), peer)
}

#[test]
fn an_accepted_socket_keeps_alive() {
    let mut bench = Bench::with(options(Some(Duration::from_secs(77))));
    let (key, _peer) = accepted(&mut bench);
    assert_keeps_alive(&bench, key);
}

#[test]
fn a_dialled_socket_keeps_alive() {
    let mut bench = Bench::with(options(Some(Duration::from_secs(77))));
    let (key, _peer) = connected(&mut bench);
    assert_keeps_alive(&bench, key);
}

#[test]
fn without_the_option_no_socket_does() {
    let mut bench = Bench::with(options(None));
    let (key, _peer) = connected(&mut bench);
    assert!(!keep_alive(&bench, key).0);
    let mut bench = Bench::with(options(None));
    let (key, _peer) = accepted(&mut bench);
    assert!(!keep_alive(&bench, key).0);
}

/// Nor does the system end one that is just slow: that is for the engine to say.
#[cfg(target_os = "linux")]
#[test]
fn what_is_not_acknowledged_is_given_up_no_sooner_than_keep_alive_or_the_engine_would() {
    for (idle, send_timeout, give_up) in [(77, 30, 154), (10, 60, 60)] {
        let mut bench = Bench::with(Options {
            keep_alive: Some(Duration::from_secs(idle)),
            send_timeout: Duration::from_secs(send_timeout),
            ..Options::default()
        });
        let (key, _peer) = connected(&mut bench);
        let Some(Socket::Connected(stream)) = bench.sockets.get(key) else {
            panic!("not connected")
        };
        let timeout = SockRef::from(stream).tcp_user_timeout().unwrap();
        assert_eq!(timeout, Some(Duration::from_secs(give_up)));
    }
}

/// Linux counts its own records as well, for which it doubles the numbers.
#[cfg(target_os = "linux")]
#[test]
fn buffers_have_the_sizes_that_were_asked_for() {
    let with_buffers = || {
        Bench::with(Options {
            send_buffer: Some(50_000),
            receive_buffer: Some(60_000),
            ..Options::default()
        })
    };
    let sizes = |bench: &Bench, key| {
        let Some(Socket::Connected(stream)) = bench.sockets.get(key) else {
            panic!("not connected")
        };
        let socket = SockRef::from(stream);
        let (send, receive) = (socket.send_buffer_size(), socket.recv_buffer_size());
        (send.unwrap(), receive.unwrap())
    };
    let mut bench = with_buffers();
    let (key, _peer) = connected(&mut bench);
    assert_eq!(sizes(&bench, key), (100_000, 120_000));
    let mut bench = with_buffers();
    let (key, _peer) = accepted(&mut bench);
    assert_eq!(sizes(&bench, key), (100_000, 120_000));
}
