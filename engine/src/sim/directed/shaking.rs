//! Handshakes over a network that takes little at once.

use crate::address::Address;
use crate::options::{Admission, ListenOptions};
use crate::post::Post;

use super::super::world::{World, least_options};
use super::{connect, finish, plain_at, until};

/// Another listener, which has the application asked whom to admit.
fn ask(world: &mut World) -> Address {
    let any = "tls://127.0.0.1:0".parse().expect("an address");
    let options = ListenOptions {
        admission: Admission::Ask,
        ..ListenOptions::default()
    };
    world.with_member(0, |member, context| {
        let post = Post::welcome(&any, member.posting.message()).listening_with(&options);
        let listener = member.post(context, post);
        member.asking.extend(listener);
    });
    until(world, |world| world.members[0].listening.len() == 2);
    world.members[0].listening[1].clone()
}

#[test]
fn a_handshake_of_which_the_system_takes_little_at_once_is_finished() {
    for asks in [false, true] {
        // Less than what either end has to say.
        let options = vec![least_options(), least_options()];
        let (mut world, address) = plain_at("tls://127.0.0.1:0", options, 30);
        let address = match asks {
            true => ask(&mut world),
            false => address,
        };
        connect(&mut world, 1, &address);
        finish(world);
    }
}
