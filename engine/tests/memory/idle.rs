//! What an idle channel takes, and leaves behind, as the table in the documentation of `Options` says of Linux. Other systems' pollers keep
//! other records.

use ampe::{Engine, Options};

use crate::common::{self, PATIENCE, listen};

#[test]
fn an_idle_channel_takes_no_more_than_is_said() {
    let _alone = crate::alone();
    let any = "tcp://127.0.0.1:0".parse().unwrap();
    // Pairs of ends. Tables have places for 4,096, and have just grown beyond that in the other case.
    for (pairs, most) in [(2040, 1024), (2100, 1536)] {
        let engine = Engine::start(Options::default()).unwrap();
        let (mut server, mut client) = (common::group(&engine), common::group(&engine));
        let (_, address) = listen(&server.0, &mut server.1, &any);
        crate::connect(&mut server, &mut client, &address); // what is allocated once
        let region = crate::region();
        for _ in 0..pairs {
            crate::connect(&mut server, &mut client, &address);
        }
        let held = crate::held(&region) / (2 * pairs);
        println!("{held} bytes for each of {pairs} pairs");
        assert!(held <= most, "{held} bytes");
        for (_, inbox) in [client, server] {
            drop(inbox.close(PATIENCE));
        }
        let kept = crate::held(&region) / (2 * pairs);
        println!("{kept} bytes are kept for each");
        assert!(kept <= 1024, "{kept} bytes");
    }
}
