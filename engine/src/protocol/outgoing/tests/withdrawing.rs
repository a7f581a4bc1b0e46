//! Withdrawing out of the middle of a queue, against a list.

use proptest::prelude::*;

use super::*;
use crate::handles::{FrameCounts, Frames};
use crate::storage::{Shared, cost_of};

#[derive(Clone, Debug)]
enum Step {
    /// A message that is sent from where it lies.
    Message {
        len: usize,
    },
    /// A frame with a shared body, which is sent from where it lies if it is long.
    Shared {
        len: usize,
    },
    /// Frames by value, posted at this time, alone or among those of other channels.
    Frames {
        lens: Vec<u8>,
        now: u32,
        is_alone: bool,
    },
    /// The system takes so many per mille of what is queued.
    Send {
        part: usize,
    },
    /// The message at so many per mille of the queue, or one that is not there.
    Withdraw {
        at: usize,
        is_there: bool,
        /// In thousandths of what was not sent.
        staged: usize,
    },
    Return,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..5000_usize).prop_map(|len| Step::Message { len }),
        (369..5000_usize).prop_map(|len| Step::Shared { len }),
        (
            prop::collection::vec(any::<u8>(), 1..20),
            0..2_u32,
            any::<bool>()
        )
            .prop_map(|(lens, now, is_alone)| Step::Frames {
                lens,
                now,
                is_alone
            }),
        (0..=1000_usize).prop_map(|part| Step::Send { part }),
        (
            0..1000_usize,
            prop::bool::weighted(0.9),
            prop_oneof![Just(0), 0..=1000_usize]
        )
            .prop_map(|(at, is_there, staged)| Step::Withdraw {
                at,
                is_there,
                staged,
            }),
        Just(Step::Return),
    ]
}

/// A queue, and what is to be in it: ids, and lengths of bodies.
struct Bench {
    it: Queued,
    cache: Cache,
    model: Vec<(u64, usize)>,
    /// How much of the first was sent.
    sent: usize,
    next_id: u64,
}

impl Bench {
    fn new() -> Self {
        let it = Queued::new([]);
        Bench {
            cache: Cache::new(Arc::clone(&it.pool)),
            it,
            model: Vec::new(),
            sent: 0,
            next_id: 1,
        }
    }

    fn header(&mut self, len: usize) -> Header {
        self.model.push((self.next_id, len));
        let header = header(OpCode::Request, self.next_id, len);
        self.next_id += 1;
        header
    }

    fn push_message(&mut self, len: usize) {
        let header = self.header(len);
        let body = vec![header.message_id as u8; len];
        let mut message = Message::new(&self.it.pool).with_body(&body).unwrap();
        message.encode_header(&header);
        let outgoing = Outgoing {
            message,
            op_code: header.op_code,
            more: header.more,
            id: header.message_id,
            cost: cost_of(header.frame_len()),
            queued_at: 0,
        };
        self.it.nodes.push(&mut self.it.fifo, outgoing);
    }

    fn push_shared(&mut self, len: usize) {
        let header = self.header(len);
        let body = vec![header.message_id as u8; len];
        let frame = SharedFrame {
            header: header.encode(),
            body: Arc::new(Shared::owning(body)),
        };
        self.it.nodes.push_shared(&mut self.it.fifo, frame, 0);
    }

    fn push_frames(&mut self, lens: &[u8], now: u32, is_alone: bool) {
        let (mut bytes, mut counts) = (Vec::new(), FrameCounts::default());
        for &len in lens {
            let header = self.header(len.into());
            bytes.extend_from_slice(&header.encode());
            bytes.extend(vec![header.message_id as u8; len.into()]);
            counts.add(FrameCounts::of(header.op_code));
        }
        let fifo = &mut self.it.fifo;
        if !is_alone {
            return self.it.nodes.push_stretch(fifo, &bytes, counts, now);
        }
        let channel = Channel::new(1, 1);
        let frames = Frames {
            channel,
            bytes,
            counts,
        };
        self.it.nodes.push_frames(fifo, frames, now);
    }

    fn send(&mut self, part: usize) {
        let frames = self.model.iter().map(|&(_, len)| Header::LEN + len);
        let all = frames.sum::<usize>() - self.sent;
        let mut left = all * part / 1000;
        let before = self.model.len();
        self.sent += left;
        while let Some(&(_, len)) = self.model.first()
            && self.sent >= Header::LEN + len
        {
            self.sent -= Header::LEN + len;
            self.model.remove(0);
        }
        let mut sent = 0;
        while left > 0 {
            let (one, rest) = self.it.nodes.advance(&mut self.it.fifo, left);
            sent += one.map_or(0, |one| messages(&one));
            left = rest;
        }
        assert_eq!(sent, before - self.model.len());
    }

    /// What is written next is the beginning of what is queued and was not sent.
    fn check_gathered(&self) {
        let frames = self.model.iter().flat_map(|&(id, len)| {
            let header = header(OpCode::Request, id, len).encode();
            header.into_iter().chain(std::iter::repeat_n(id as u8, len))
        });
        let left: Vec<u8> = frames.skip(self.sent).collect();
        let mut scratch = Vec::new();
        let gather = self.it.nodes.gather(&self.it.fifo, &mut scratch);
        let gathered: Vec<u8> = gather.slices().iter().flat_map(|it| it.to_vec()).collect();
        assert_eq!(gathered.is_empty(), left.is_empty());
        assert!(left.starts_with(&gathered));
    }

    fn withdraw(&mut self, at: usize, is_there: bool, staged: usize) {
        let at = at * self.model.len() / 1000;
        let id = match self.model.get(at) {
            Some(&(id, _)) if is_there => id,
            _ => self.next_id,
        };
        let frame_len = |&(_, len): &(u64, usize)| Header::LEN + len;
        let all = self.model.iter().map(frame_len).sum::<usize>() - self.sent;
        let staged = all * staged / 1000;
        let fifo = &mut self.it.fifo;
        let kind = Withdrawn::Request;
        let withdrawn = self
            .it
            .nodes
            .withdraw(fifo, staged, id, kind, &mut self.cache);
        let before = self.model.iter().take(at).map(frame_len).sum::<usize>();
        let may_be = is_there && !self.model.is_empty() && before >= self.sent + staged;
        let expected = may_be.then(|| self.model.remove(at));
        assert_eq!(withdrawn.map(|it| whole(&it)), expected);
    }

    fn pop(&mut self) {
        let popped = self.it.nodes.pop(&mut self.it.fifo, &mut self.cache);
        let expected = (!self.model.is_empty()).then(|| self.model.remove(0));
        assert_eq!(popped.map(|it| whole(&it)), expected);
        self.sent = 0;
    }
}

/// How many messages were sent, all of them Requests.
fn messages(sent: &Sent) -> usize {
    match sent {
        Sent::Message(_) | Sent::Shared(_) => 1,
        Sent::Frames { counts, .. } => {
            assert_eq!(counts.messages, counts.requests);
            counts.messages as usize
        }
    }
}

/// The id and length of a message, which is whole.
fn whole(outgoing: &Outgoing) -> (u64, usize) {
    let body = outgoing.message.body();
    assert_eq!(body, vec![outgoing.id as u8; body.len()]);
    assert_eq!(outgoing.returned_cost(), outgoing.message.cost());
    (outgoing.id, body.len())
}

proptest! {
    #[test]
    fn what_is_withdrawn_comes_back_whole_and_nothing_else_is_touched(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut bench = Bench::new();
        for step in steps {
            match step {
                Step::Message { len } => bench.push_message(len),
                Step::Shared { len } => bench.push_shared(len),
                Step::Frames {
                    lens,
                    now,
                    is_alone,
                } => bench.push_frames(&lens, now, is_alone),
                Step::Send { part } => bench.send(part),
                Step::Withdraw {
                    at,
                    is_there,
                    staged,
                } => bench.withdraw(at, is_there, staged),
                Step::Return => bench.pop(),
            }
            assert_eq!(bench.it.nodes.unused, bench.it.nodes.unused_by_all());
            bench.check_gathered();
        }
        while !bench.model.is_empty() {
            bench.pop();
        }
        assert!(bench.it.fifo.is_empty());
        assert_eq!(bench.it.nodes.unused, 0);
        bench.it.pool.close();
    }
}
