//! Bodies with numbers in them: who sends fills them in, who receives checks each.

use std::time::{Duration, Instant};

use crate::task::{Measured, Task};
use crate::usage::Usage;

/// The least that a body can be: its number.
pub const SIZE_MIN: usize = 8;

/// In a number, above 48 bits of sequence, stand the sender's lane and whether it is its last.
const LANE_SHIFT: u32 = 48;
const IS_LAST: u64 = 1 << 63;
const SEQUENCE: u64 = (1 << LANE_SHIFT) - 1;
pub const LANES_MAX: usize = 128;

/// How often a sender looks at the clock: a look costs as much as a small message.
const CLOCK_EVERY: u64 = 64;

/// The bodies of one sender, until its time is up or their count is reached.
pub struct Source {
    body: Vec<u8>,
    lane: u64,
    sequence: u64,
    clock_every: u64,
    time: Duration,
    deadline: Option<Instant>,
    count: Option<u64>,
    is_over: bool,
}

impl Source {
    pub fn new(task: &Task, lane: usize) -> Source {
        assert!(lane < LANES_MAX && task.size >= SIZE_MIN);
        Source {
            body: vec![7; task.size],
            lane: lane as u64,
            sequence: 0,
            clock_every: CLOCK_EVERY,
            time: Duration::from_secs_f64(task.seconds),
            deadline: None,
            count: task.count,
            is_over: false,
        }
    }

    /// One that looks at the clock before each body, as who waits for answers does anyway.
    pub fn unhurried(task: &Task) -> Source {
        Source {
            clock_every: 1,
            ..Source::new(task, 0)
        }
    }

    /// One that goes on for longer than the task says, so that what is beside it is never alone.
    pub fn longer(task: &Task, by: Duration) -> Source {
        let source = Source::new(task, 0);
        Source {
            time: source.time + by,
            ..source
        }
    }

    /// The next body, with its number, for the caller to copy; the first starts the time.
    #[inline]
    pub fn next(&mut self) -> Option<&[u8]> {
        if self.is_over {
            return None;
        }
        self.is_over = match self.count {
            Some(count) => self.sequence + 1 >= count,
            None => self.sequence.is_multiple_of(self.clock_every) && self.is_time_up(),
        };
        let last = if self.is_over { IS_LAST } else { 0 };
        let number = self.sequence | self.lane << LANE_SHIFT | last;
        self.body[..SIZE_MIN].copy_from_slice(&number.to_le_bytes());
        self.sequence += 1;
        Some(&self.body)
    }

    fn is_time_up(&mut self) -> bool {
        let now = Instant::now();
        now >= *self.deadline.get_or_insert(now + self.time)
    }

    /// How long each body is.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    pub fn sent(&self) -> u64 {
        self.sequence
    }
}

/// Checks what is received: each body's length, and that its number is its lane's next.
pub struct Sink {
    size: usize,
    lanes: Box<[u64; LANES_MAX]>,
    open: usize,
    messages: u64,
    first: Option<(Instant, Usage)>,
    last: Option<(Instant, Usage)>,
}

impl Sink {
    /// For bodies of so many lanes.
    pub fn new(task: &Task, lanes: usize) -> Sink {
        Sink {
            size: task.size,
            lanes: Box::new([0; LANES_MAX]),
            open: lanes,
            messages: 0,
            first: None,
            last: None,
        }
    }

    /// Takes one body; `true` if it was the last of the last lane. The first one starts the clock.
    #[inline]
    pub fn take(&mut self, body: &[u8]) -> bool {
        if self.messages == 0 {
            self.first = Some((Instant::now(), Usage::now()));
        }
        self.messages += 1;
        assert_eq!(
            body.len(),
            self.size,
            "a body has another length than was sent"
        );
        let mut number = [0; SIZE_MIN];
        number.copy_from_slice(&body[..SIZE_MIN]);
        let number = u64::from_le_bytes(number);
        let lane = usize::from((number >> LANE_SHIFT) as u8 & 0x7f);
        assert_eq!(
            number & SEQUENCE,
            self.lanes[lane],
            "a message of lane {lane} is not its next"
        );
        self.lanes[lane] += 1;
        if number & IS_LAST == 0 {
            return false;
        }
        self.open -= 1;
        if self.open == 0 {
            self.last = Some((Instant::now(), Usage::now()));
        }
        self.open == 0
    }

    /// What the whole process took from the first of all messages to the last.
    pub fn measured(sinks: impl IntoIterator<Item = Sink>) -> Measured {
        let mut measured = Measured::default();
        let (mut first, mut last) = (None::<(Instant, Usage)>, None::<(Instant, Usage)>);
        for sink in sinks {
            let ends = sink.first.zip(sink.last);
            let (begin, end) = ends.expect("a sink is measured once its last message is here");
            measured.messages += sink.messages;
            first = first.filter(|(at, _)| *at <= begin.0).or(Some(begin));
            last = last.filter(|(at, _)| *at >= end.0).or(Some(end));
        }
        if let Some((begin, end)) = first.zip(last) {
            measured.seconds = (end.0 - begin.0).as_secs_f64();
            (end.1 - begin.1).write_to(&mut measured);
        }
        measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Transport, Work};

    fn task(count: u64) -> Task {
        Task {
            count: Some(count),
            ..Task::new(Work::OneWay, Transport::Tcp, 16, 0.0)
        }
    }

    fn bodies(task: &Task, lane: usize) -> Vec<Vec<u8>> {
        let mut source = Source::new(task, lane);
        let next = || source.next().map(<[u8]>::to_vec);
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn lanes_may_interleave_and_end_by_themselves() {
        let task = task(3);
        let (one, other) = (bodies(&task, 0), bodies(&task, 5));
        let mut sink = Sink::new(&task, 2);
        let order = [&one[0], &other[0], &other[1], &other[2], &one[1]];
        assert!(order.into_iter().all(|body| !sink.take(body)));
        assert!(sink.take(&one[2]));
        assert_eq!(Sink::measured([sink]).messages, 6);
    }

    #[test]
    #[should_panic(expected = "not its next")]
    fn a_lost_message_is_noticed() {
        let task = task(3);
        let bodies = bodies(&task, 0);
        let mut sink = Sink::new(&task, 1);
        sink.take(&bodies[0]);
        sink.take(&bodies[2]);
    }

    #[test]
    #[should_panic(expected = "another length")]
    fn a_cut_message_is_noticed() {
        let task = task(3);
        Sink::new(&task, 1).take(&bodies(&task, 0)[0][..15]);
    }

    #[test]
    fn who_has_a_time_ends_with_a_message_that_says_so() {
        let task = Task {
            count: None,
            seconds: 0.001,
            ..task(0)
        };
        let (bodies, mut sink) = (bodies(&task, 0), Sink::new(&task, 1));
        let is_over: Vec<bool> = bodies.iter().map(|body| sink.take(body)).collect();
        assert_eq!(
            is_over.iter().position(|over| *over),
            Some(bodies.len() - 1)
        );
    }
}
