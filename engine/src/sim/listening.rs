//! Listeners that applications open by chance.

use crate::address::Address;
use crate::options::{Admission, ListenOptions};
use crate::post::Post;

use super::net::REFUSING_PORT;
use super::world::World;

impl World {
    pub(super) fn listen(&mut self, index: usize) {
        if self.members[index].listeners.len() >= 2 {
            return;
        }
        let secured = self.net.borrow().temper.secured;
        let is_tls = self.rng.chance(secured);
        let at = if is_tls { Address::tls } else { Address::tcp };
        let address = match self.rng.below(6) {
            0 => Address::uds(format!("/run/{}", self.rng.below(4))),
            1 => at("127.0.0.1", REFUSING_PORT),
            2 => at("plain.example", 2000 + self.rng.below(3) as u16),
            _ => at("127.0.0.1", 0),
        };
        let address = address.unwrap();
        let mut options = ListenOptions::default();
        if self.rng.chance(40) {
            options.admission = Admission::Ask;
        }
        self.with_member(index, |member, context| {
            let message = member.posting.message();
            let post = Post::welcome(&address, message).listening_with(&options);
            let listener = member.post(context, post);
            if options.admission == Admission::Ask {
                member.asking.extend(listener);
            }
            if let Some(listener) = listener.filter(|_| context.rng.chance(5)) {
                member.post(context, Post::abort(listener));
                member.post(context, Post::abort(listener));
            }
        });
    }
}
