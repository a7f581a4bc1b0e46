//! What the documentation says that a connection with TLS takes is what it takes.

use std::io::{Read, Write};
use std::net::TcpStream;

use ampe::{Address, Engine, GroupOptions, TlsOptions};

use crate::certificates::Authority;
use crate::common::{Side, listen, wait_until};
use crate::raw;

const COUNT: usize = 40;

/// See the table of `Options`: what a channel takes that is idle without TLS is apart from it, and each end counts here.
const IDLE: usize = 12 * 1024;

/// One before the end of its handshake.
const HALF: usize = 64 * 1024;

/// What a pair of channels takes, past their hellos.
fn connect_all(server: &mut Side, client: &mut Side, address: &Address) -> usize {
    let region = crate::region();
    for _ in 0..COUNT {
        crate::connect(server, client, address);
    }
    crate::held(&region) / COUNT
}

#[test]
fn a_connection_takes_no_more_than_is_said() {
    let _alone = crate::alone();
    let authority = Authority::new();
    let holder = authority.issue("127.0.0.1");
    let (chain, key) = (holder.chain.as_bytes(), holder.key.as_bytes());
    let trust = authority.pem.as_bytes();
    let tls = TlsOptions::new().certificate_pem(chain, key).unwrap();
    let tls = tls.authorities_pem(trust).unwrap().build().unwrap();
    let engine = Engine::start(ampe::Options::default()).unwrap();
    let mut options = GroupOptions::default();
    options.tls = Some(tls);
    let (mut server, mut client) = (
        engine.group(options.clone()).unwrap(),
        engine.group(options).unwrap(),
    );
    let any = ["tcp://127.0.0.1:0", "tls://127.0.0.1:0"];
    let [plain, secured] = any.map(|any| {
        let (_, address) = listen(&server.0, &mut server.1, &any.parse().unwrap());
        connect_all(&mut server, &mut client, &address); // what is allocated once
        (connect_all(&mut server, &mut client, &address), address)
    });
    let both = secured.0.saturating_sub(plain.0);
    println!(
        "two idle ends take {both} bytes more than the {} without TLS",
        plain.0
    );
    assert!(both <= 2 * IDLE, "{both} bytes");

    // A handshake's beginning that says it is as long as any can be, and stops before it is too long.
    let mut long = vec![22, 3, 1, 0x3f, 0xff, 1, 0, 0xff, 0xff];
    long.resize(5 + 0x3fff, 0);
    long.extend([22, 3, 1, 0x3f, 0x80]);
    long.resize(28_600, 0);
    let accepted = engine.statistics().accepted;
    let region = crate::region();
    let streams: Vec<_> = (0..COUNT)
        .map(|_| {
            let mut stream = TcpStream::connect(secured.1.socket_addr().unwrap()).unwrap();
            stream.write_all(&long).unwrap();
            stream
        })
        .collect();
    wait_until("all to be accepted", || {
        engine.statistics().accepted == accepted + COUNT as u64
    });
    // What they sent has been read once others have had their turn several times.
    for _ in 0..3 {
        crate::connect(&mut server, &mut client, &secured.1);
    }
    assert_eq!(engine.statistics().ended_before_hello, 0);
    let half = crate::held(&region) / COUNT;
    println!("one in the middle of its handshake takes {half} bytes");
    assert!(half <= HALF, "{half} bytes");
    drop(streams);
    wait_until("all to end", || {
        engine.statistics().ended_before_hello == COUNT as u64
    });

    // One that was answered and says no more.
    let mut hello = Vec::new();
    raw::session(&authority).write_tls(&mut hello).unwrap();
    let region = crate::region();
    let streams: Vec<_> = (0..COUNT)
        .map(|_| {
            let mut stream = raw::connect(&secured.1);
            stream.write_all(&hello).unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
            stream
        })
        .collect();
    let answered = crate::held(&region) / COUNT;
    println!("one that waits for the end of its handshake takes {answered} bytes");
    assert!(answered <= HALF, "{answered} bytes");
    drop(streams);
}
