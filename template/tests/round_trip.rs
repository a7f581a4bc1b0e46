use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ampe::{Engine, GroupOptions, Options};

/// A bound to notice a test that hangs by.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn what_is_asked_is_answered_until_the_server_is_stopped() {
    let engine = Engine::start(Options::default()).unwrap();
    let (group, inbox) = engine.group(GroupOptions::default()).unwrap();
    let (tell, told) = mpsc::channel();
    let serving = group.clone();
    let server = thread::spawn(move || {
        let address = "tcp://127.0.0.1:0".parse().unwrap();
        let listening = |address: &ampe::Address| tell.send(address.clone()).unwrap();
        service::serve(&serving, inbox, &address, listening).unwrap();
    });
    let address = told.recv_timeout(PATIENCE).unwrap();

    let (clients, _inbox) = engine.group(GroupOptions::default()).unwrap();
    let channel = clients.connect(&address).unwrap();
    let ask = |what: &[u8]| service::ask(&clients, channel, what, PATIENCE);
    assert_eq!(ask(b"hello").unwrap(), b"HELLO");
    assert!(ask(b"").unwrap_err().to_string().contains("say something"));

    group.notify(group.message()).unwrap();
    server.join().unwrap();
}
