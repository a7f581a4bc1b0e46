//! The sender's own account of a channel that it floods.

use std::collections::{BTreeMap, BTreeSet};

use ampe::{Account, Channel, ChannelGroup, Closed, Event, Inbox, Options, PostError, Reason};

use crate::common::PATIENCE;

pub(crate) const BODY: usize = 3000;

/// The sender's own book: every accepted post by its id, and what became of it.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) posted: BTreeSet<u64>,
    pub(crate) returned: BTreeMap<u64, Reason>,
    pub(crate) closed: Option<Closed>,
}

impl Book {
    /// Posts signals until the budget is used up.
    pub(crate) fn post_until_full(&mut self, group: &ChannelGroup, channel: Channel) {
        loop {
            let mut message = group.message();
            let body = message.resize_body(BODY).unwrap();
            body.fill(self.posted.len() as u8);
            match group.post(message.signal(channel)) {
                Ok(posted) => assert!(self.posted.insert(posted.id), "ids are unique"),
                Err(refused) => {
                    assert!(matches!(refused.why, PostError::Full(_)));
                    assert_eq!(refused.post.message().body().len(), BODY, "it comes back");
                    return;
                }
            }
        }
    }

    /// Takes events until the channel has closed, and checks that nothing follows.
    pub(crate) fn settle(
        &mut self,
        channel: Channel,
        events: impl Iterator<Item = Event>,
    ) -> Account {
        for event in events {
            assert!(
                self.closed.is_none() || event.channel() != Some(channel),
                "Closed is last"
            );
            match event {
                Event::Returned(returned) if returned.channel() == channel => {
                    assert_eq!(returned.message().body().len(), BODY, "comes back whole");
                    let before = self.returned.insert(returned.id(), returned.reason());
                    assert!(before.is_none(), "no message comes back twice");
                    assert!(
                        self.posted.contains(&returned.id()),
                        "what comes back was posted"
                    );
                }
                Event::Closed(closed) if closed.channel() == channel => {
                    self.closed = Some(closed);
                    break;
                }
                Event::Opened(_) | Event::Room(_) | Event::Accepted(_) | Event::Listening(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        let account = self.closed.as_ref().expect("the channel closed").account();
        assert_eq!(
            account.posted,
            self.posted.len() as u64 + 1,
            "and one HelloRequest"
        );
        assert_eq!(account.returned, self.returned.len() as u64);
        assert_eq!(account.posted, account.sent + account.returned);
        account
    }

    pub(crate) fn reason(&self) -> Reason {
        self.closed.as_ref().expect("the channel closed").reason()
    }
}

/// Events until the inbox ends or the test's patience does.
pub(crate) fn events(inbox: &mut Inbox) -> impl Iterator<Item = Event> {
    std::iter::from_fn(|| {
        let deadline = std::time::Instant::now() + PATIENCE;
        inbox
            .recv_until(deadline)
            .ok()
            .map(|event| event.expect("waited in vain"))
    })
}

/// The receiver takes little and the sender may have much under way: more than any socket buffer
/// takes, so that something is left to return.
pub(crate) fn options(outbound: usize) -> Options {
    let mut options = Options::default();
    options.inbound_bytes = 1 << 20;
    options.outbound_bytes_per_channel = outbound;
    options
}

pub(crate) const OUTBOUND: usize = 32 << 20;
