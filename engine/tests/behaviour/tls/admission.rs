//! Who connects is admitted by what it has proven, before it says anything.

use std::io::Write as _;
use std::net::TcpStream;

use ampe::{Admission, ListenOptions, Reason, SubjectName};

use super::certificates::Authority;
use super::{any, build, own, side};
use crate::common::{engine, group, next, wait_until};

#[test]
fn who_has_proven_a_name_is_admitted_by_it_and_another_is_not() {
    let (authority, engine) = (Authority::new(), engine());
    let with = |name: &str| {
        let own = own(&authority.issue(name));
        own.authorities_pem(authority.pem.as_bytes()).unwrap()
    };
    let mut server = side(&engine, &build(with("127.0.0.1").require_certificate()));
    let mut options = ListenOptions::default();
    options.admission = Admission::Ask;
    server.0.listen_with(&any(), &options).unwrap();
    let address = expect!(server.1, Listening).address().clone();
    let till = SubjectName::Dns("till.example".into());
    for name in ["till.example", "thief.example", "till.example"] {
        let mut client = side(&engine, &build(with(name)));
        let channel = client.0.connect(&address).unwrap();
        let message = client.0.message().with_body(&[7; 40_000]).unwrap();
        client.0.post(message.request(channel)).unwrap();
        let incoming = expect!(server.1, Incoming);
        let identity = incoming.peer().identity().expect("one is required");
        let is_till = identity.verified().by_authority() && identity.names().contains(&till);
        assert_eq!(is_till, name == "till.example");
        if is_till {
            incoming.admit();
            server.0.post(expect!(server.1, Hello).echo()).unwrap();
            server.0.post(expect!(server.1, Request).echo()).unwrap();
            expect!(client.1, Accepted);
            assert_eq!(expect!(client.1, Response).body(), [7; 40_000]);
            client.0.post(engine.message().bye(channel)).unwrap();
            drop(expect!(server.1, Bye));
            assert_eq!(expect!(server.1, Closed).reason(), Reason::Bye);
        } else {
            incoming.refuse();
            let closed = loop {
                if let ampe::Event::Closed(closed) = next(&mut client.1, "Closed") {
                    break closed;
                }
            };
            assert_eq!(closed.account().confirmed, 0);
            crate::common::assert_nothing(&mut server.1);
        }
    }
}

/// It makes no event, and is ended as where nobody is asked.
#[test]
fn who_does_not_come_through_the_handshake_is_not_asked_about() {
    let (authority, engine) = (Authority::new(), engine());
    let server = own(&authority.issue("127.0.0.1"));
    let mut server = side(&engine, &build(server));
    let mut plain = group(&engine);
    let mut options = ListenOptions::default();
    options.admission = Admission::Ask;
    server.0.listen_with(&any(), &options).unwrap();
    let address = expect!(server.1, Listening).address().clone();
    let port = address.port().unwrap();
    let at = ampe::Address::tcp("127.0.0.1", port).unwrap();
    plain.0.connect(&at).unwrap(); // no TLS
    let mut stream = TcpStream::connect(address.socket_addr().unwrap()).unwrap();
    stream.write_all(&[22, 3, 1, 0, 200, 1]).unwrap();
    drop(stream); // half a handshake
    wait_until("both to be ended", || {
        engine.statistics().ended_before_hello == 2
    });
    crate::common::assert_nothing(&mut server.1);
    assert_eq!(engine.statistics().refused, 0);
    drop(next(&mut plain.1, "what becomes of it"));
}
