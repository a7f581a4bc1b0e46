mod withdrawing;

use std::sync::Arc;

use super::*;
use crate::between::wake::Wake;
use crate::channel::Channel;
use crate::storage::Pool;
use crate::wire::test_frames::header;

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// What is queued for one channel.
struct Queued {
    nodes: Nodes,
    fifo: Fifo,
    pool: Arc<Pool>,
}

impl Queued {
    /// Frames of these lengths.
    fn new(lens: impl IntoIterator<Item = usize>) -> Queued {
        let mut it = Queued {
            nodes: Nodes::new(),
            fifo: Fifo::new(),
            pool: Arc::new(Pool::new(1 << 20, Box::new(Nobody))),
        };
        for len in lens {
            let body = vec![7; len - crate::wire::Header::LEN];
            let message = Message::new(&it.pool).with_body(&body).unwrap();
            it.push(message);
        }
        it
    }

    fn push(&mut self, message: Message) {
        let outgoing = Outgoing {
            message,
            op_code: OpCode::Signal,
            more: false,
            id: 0,
            cost: 0,
            queued_at: 0,
        };
        self.nodes.push(&mut self.fifo, outgoing);
    }

    /// How long the slices are that are written at once, and how much of that was copied.
    fn gathered(&self) -> (Vec<usize>, usize) {
        let mut scratch = Vec::new();
        let gather = self.nodes.gather(&self.fifo, &mut scratch);
        let slices: Vec<usize> = gather.slices().iter().map(|it| it.len()).collect();
        assert_eq!(gather.bytes(), slices.iter().sum::<usize>());
        (slices, scratch.len())
    }
}

#[test]
fn small_frames_are_packed_and_large_ones_go_from_where_they_lie() {
    let it = Queued::new([100, 4096, 4097, 200, 300]);
    assert_eq!(it.gathered(), (vec![4196, 4097, 500], 4696));
}

#[test]
fn what_is_left_of_a_large_frame_is_packed_once_it_is_small() {
    let mut it = Queued::new([5000, 100]);
    assert!(it.nodes.advance(&mut it.fifo, 904).0.is_none());
    assert_eq!(it.gathered(), (vec![4196], 4196));
}

#[test]
fn a_write_takes_no_frame_more_once_it_has_half_a_mebibyte() {
    let it = Queued::new([32 * 1024; 20]);
    assert_eq!(it.gathered(), (vec![32 * 1024; 16], 0), "exactly as much");
    let it = Queued::new([60_000; 20]);
    assert_eq!(it.gathered().0.len(), 9, "the last goes beyond");
}

#[test]
fn a_write_packs_no_more_than_the_scratch_buffer_holds() {
    let it = Queued::new([4096; 40]);
    assert_eq!(it.gathered(), (vec![SCRATCH_BYTES], SCRATCH_BYTES));
    let it = Queued::new([4000; 40]);
    assert_eq!(it.gathered(), (vec![32 * 4000], 32 * 4000));
}

#[test]
fn a_write_has_so_many_slices_and_packs_into_the_last_of_them() {
    let it = Queued::new([5000; 40]);
    assert_eq!(it.gathered(), (vec![5000; SLICES], 0));
    let lens = (0..20).flat_map(|_| [5000, 100]).chain([100, 100]);
    let (slices, packed) = Queued::new(lens).gathered();
    assert_eq!((slices.len(), packed), (SLICES, 16 * 100));
    let lens = (0..16).flat_map(|_| [5000, 100]).chain([100, 5000]);
    let (slices, packed) = Queued::new(lens).gathered();
    assert_eq!((slices.len(), packed), (SLICES, 17 * 100));
}

/// Queues a message whose body is shared, with a text header if it is to have one.
fn shared(it: &mut Queued, header: Option<&str>, body: &[u8]) {
    let mut message = Message::new(&it.pool).with_body(body).unwrap();
    message.share_body();
    if let Some(value) = header {
        message.add_header("Name", value).unwrap();
    }
    it.push(message);
}

#[test]
fn a_large_shared_body_goes_from_where_it_lies_behind_its_packed_header() {
    let mut it = Queued::new([100]);
    shared(&mut it, None, &[7; 5000]);
    shared(&mut it, None, &[7; 2000]);
    assert_eq!(it.gathered(), (vec![116, 5000, 2016], 116 + 2016));
    let long = "x".repeat(5000);
    let mut it = Queued::new([]);
    shared(&mut it, Some(&long), &[7; 5000]);
    let headers = 16 + "Name:\r\n".len() + 5000;
    assert_eq!(it.gathered(), (vec![headers, 5000], 0));
}

/// Wherever the system stops, it goes on there.
#[test]
fn frames_in_two_pieces_are_sent_byte_for_byte_however_little_is_taken_at_a_time() {
    for step in [1, 7, 15, 16, 17, 5000, 5016, 1 << 20] {
        let mut it = Queued::new([30]);
        let bodies: [&[u8]; 4] = [&[1; 5000], b"", &[2; 4096], &[3; 9]];
        let headers = [None, Some("a"), Some("b"), None];
        let mut expected = vec![7; 30];
        expected[..16].fill(0);
        for (body, header) in bodies.into_iter().zip(headers) {
            shared(&mut it, header, body);
            expected.extend([0; 16]);
            let line = header.map(|value| format!("Name:{value}\r\n"));
            expected.extend(line.unwrap_or_default().as_bytes());
            expected.extend(body);
        }
        let (mut sent, mut frames) = (Vec::new(), 0);
        while !it.fifo.is_empty() {
            let mut scratch = Vec::new();
            let gather = it.nodes.gather(&it.fifo, &mut scratch);
            let slices = gather.slices().iter().flat_map(|slice| slice.iter());
            let taken: Vec<u8> = slices.copied().take(step).collect();
            let mut left = taken.len();
            while left > 0 {
                let (done, rest) = it.nodes.advance(&mut it.fifo, left);
                frames += usize::from(done.is_some());
                left = rest;
            }
            sent.extend(taken);
        }
        assert!(sent == expected, "{step} at a time");
        assert_eq!(frames, 5);
        it.pool.close();
    }
}

#[test]
fn places_in_queues_are_used_again() {
    let mut it = Queued::new([]);
    for _ in 0..100 {
        let other = Queued::new([100, 100]);
        let Queued {
            mut nodes,
            mut fifo,
            ..
        } = other;
        let mut cache = Cache::new(Arc::clone(&it.pool));
        while let Some(outgoing) = nodes.pop(&mut fifo, &mut cache) {
            it.nodes.push(&mut it.fifo, outgoing);
        }
        while it.nodes.pop(&mut it.fifo, &mut cache).is_some() {}
    }
    assert_eq!(it.nodes.nodes.len(), 2);
}

#[test]
fn many_places_in_queues_are_given_back_once_nothing_is_queued() {
    let mut it = Queued::new([100; NODES_KEPT + 1]);
    let mut cache = Cache::new(Arc::clone(&it.pool));
    for left in (0..=NODES_KEPT).rev() {
        assert!(it.nodes.nodes.capacity() > NODES_KEPT);
        assert!(it.nodes.pop(&mut it.fifo, &mut cache).is_some());
        assert_eq!(it.nodes.linked, left);
    }
    assert!(it.nodes.nodes.capacity() <= NODES_KEPT);
    for len in [100, 200] {
        let body = vec![7; len - Header::LEN];
        let message = Message::new(&it.pool).with_body(&body).unwrap();
        it.push(message);
    }
    assert_eq!(it.gathered(), (vec![300], 300), "and others are queued");
}

/// Frames posted by value, with bodies of these lengths; each body's bytes are its place.
fn by_value(it: &mut Queued, lens: impl IntoIterator<Item = u8>, now: u32) {
    for (place, len) in (0u64..).zip(lens) {
        let header = Header {
            more: place == 1,
            ..header(OpCode::Request, 100 + place, len.into())
        };
        let frame = [&header.encode()[..], &vec![place as u8; usize::from(len)]].concat();
        let frames = Frames {
            channel: Channel::new(1, 1),
            bytes: frame,
            counts: FrameCounts::of(header.op_code),
        };
        it.nodes.push_frames(&mut it.fifo, frames, now);
    }
}

#[test]
fn frames_by_value_are_one_slice_and_sent_one_by_one_or_all_at_once() {
    let mut it = Queued::new([]);
    by_value(&mut it, [10, 0, 30], 5);
    assert_eq!(
        it.gathered(),
        (vec![88], 88),
        "small runs are packed as well"
    );
    assert_eq!(it.nodes.first_queued_at(&it.fifo), Some(5));
    let (sent, rest) = it.nodes.advance(&mut it.fifo, 26 + 4);
    assert_eq!((requests(sent), rest), (Some((1, 26)), 4));
    assert!(
        it.nodes.advance(&mut it.fifo, 4).0.is_none(),
        "a part of a header"
    );
    assert!(!it.fifo.is_between_frames());
    assert_eq!(it.gathered().0, [58]);
    let (sent, rest) = it.nodes.advance(&mut it.fifo, 57);
    assert_eq!((requests(sent), rest), (Some((1, 16)), 45));
    let (sent, rest) = it.nodes.advance(&mut it.fifo, rest);
    assert_eq!((requests(sent), rest), (None, 0));
    let (sent, rest) = it.nodes.advance(&mut it.fifo, 1);
    assert_eq!((requests(sent), rest), (Some((1, 46)), 0));
    assert!(it.fifo.is_empty());
    let kept = it.nodes.spare().take().capacity();
    assert!(kept >= 88, "its buffer is kept");
    by_value(&mut it, [10, 0, 30], 5);
    let (sent, rest) = it.nodes.advance(&mut it.fifo, 88 + 9);
    assert_eq!((requests(sent), rest), (Some((3, 88)), 9));
    assert!(it.fifo.is_empty());
    by_value(&mut it, [10, 0, 30], 5);
    assert!(it.nodes.advance(&mut it.fifo, 3).0.is_none());
    let (sent, rest) = it.nodes.advance(&mut it.fifo, 85);
    assert_eq!(
        (requests(sent), rest),
        (Some((3, 88)), 0),
        "all that is left"
    );
}

/// How many Requests were wholly sent that were posted by value, and their bytes.
fn requests(sent: Option<Sent>) -> Option<(u32, usize)> {
    match sent? {
        Sent::Frames { counts, bytes } => {
            assert_eq!(counts.messages, counts.requests);
            Some((counts.requests, bytes))
        }
        Sent::Message(_) | Sent::Shared(_) => panic!("it was posted by value"),
    }
}

#[test]
fn frames_by_value_come_back_as_the_messages_that_they_were() {
    let mut it = Queued::new([]);
    by_value(&mut it, [10, 0, 30], 5);
    assert!(
        it.nodes.advance(&mut it.fifo, 3).0.is_none(),
        "sent in part"
    );
    let mut cache = Cache::new(Arc::clone(&it.pool));
    for (place, len) in [(0, 10), (1, 0), (2, 30)] {
        let outgoing = it.nodes.pop(&mut it.fifo, &mut cache).unwrap();
        let (op_code, id, more) = (outgoing.op_code, outgoing.id, outgoing.more);
        assert_eq!(
            (op_code, id, more),
            (OpCode::Request, 100 + place, place == 1)
        );
        assert_eq!(outgoing.message.body(), vec![place as u8; len]);
        assert_eq!(outgoing.cost, 16 + len + QUEUED_COST);
        assert_eq!(outgoing.returned_cost(), outgoing.message.cost());
        assert!(it.fifo.is_between_frames());
    }
    assert!(it.nodes.pop(&mut it.fifo, &mut cache).is_none());
    it.pool.close();
}

/// How long something has waited is told of each run; a run is no longer than one write takes.
#[test]
fn frames_of_another_time_and_behind_many_others_begin_a_run() {
    let mut it = Queued::new([]);
    by_value(&mut it, [10], 5);
    by_value(&mut it, [10], 6);
    assert_eq!(it.nodes.nodes.len(), 2);
    let sent = it.nodes.advance(&mut it.fifo, 26).0;
    assert!(sent.is_some());
    assert_eq!(it.nodes.first_queued_at(&it.fifo), Some(6));
    by_value(&mut it, [240; 600], 6);
    assert_eq!(it.gathered().0.iter().sum::<usize>(), 26 + 600 * 256);
    let longest = it.nodes.nodes.iter().filter_map(|node| match &node.queued {
        Some(super::Queued::Run(run)) => Some(run.bytes.len()),
        _ => None,
    });
    assert!(longest.max().unwrap() <= RUN_BYTES);
}

#[test]
fn messages_and_frames_by_value_keep_their_order() {
    let mut it = Queued::new([5000]);
    by_value(&mut it, [1, 2], 0);
    let mut cache = Cache::new(Arc::clone(&it.pool));
    let Queued {
        mut nodes,
        mut fifo,
        pool,
    } = Queued::new([300]);
    let outgoing = nodes.pop(&mut fifo, &mut cache).unwrap();
    it.nodes.push(&mut it.fifo, outgoing);
    by_value(&mut it, [3], 0);
    let lens: Vec<usize> = std::iter::from_fn(|| it.nodes.pop(&mut it.fifo, &mut cache))
        .map(|outgoing| outgoing.message.frame_len())
        .collect();
    assert_eq!(lens, [5000, 17, 18, 300, 19]);
    pool.close();
    it.pool.close();
}

impl Nodes {
    /// What they take beyond frames that are not sent.
    fn unused_by_all(&self) -> usize {
        let runs = self.nodes.iter().filter_map(|node| match &node.queued {
            Some(super::Queued::Run(run)) => Some(run.unused()),
            _ => None,
        });
        runs.sum()
    }

    /// What the buffers of queued runs take.
    fn taken(&self) -> usize {
        let runs = self.nodes.iter().filter_map(|node| match &node.queued {
            Some(super::Queued::Run(run)) => Some(run.bytes.capacity()),
            _ => None,
        });
        runs.sum()
    }
}

/// All but the last frame of a long run is sent, for each of many channels.
#[test]
fn what_was_sent_of_a_run_is_not_kept_with_the_rest() {
    let mut it = Queued::new([]);
    let mut fifos = vec![Fifo::new(); 500];
    for fifo in &mut fifos {
        by_value(&mut it, [240; 200], 0);
        *fifo = std::mem::replace(&mut it.fifo, Fifo::new());
        let mut left = 199 * 256 + 7;
        while left > 0 {
            left = it.nodes.advance(fifo, left).1;
        }
        it.nodes.cut_first(fifo);
    }
    assert!(it.nodes.taken() <= UNUSED_BYTES + 70_000 + 500 * 256);
    let mut cache = Cache::new(Arc::clone(&it.pool));
    for fifo in &mut fifos {
        let outgoing = it.nodes.pop(fifo, &mut cache).unwrap();
        assert_eq!((outgoing.id, outgoing.message.body_len()), (299, 240));
        assert!(fifo.is_empty());
    }
    assert_eq!(it.nodes.unused, 0);
    it.pool.close();
}

/// The same where all but one were withdrawn.
#[test]
fn what_was_withdrawn_of_a_run_is_not_kept_with_the_rest() {
    let mut it = Queued::new([]);
    let mut cache = Cache::new(Arc::clone(&it.pool));
    let mut fifos = vec![Fifo::new(); 500];
    for fifo in &mut fifos {
        by_value(&mut it, [240; 200], 0);
        *fifo = std::mem::replace(&mut it.fifo, Fifo::new());
        for id in 100..299 {
            let withdrawn = it
                .nodes
                .withdraw(fifo, 0, id, Withdrawn::Request, &mut cache);
            assert!(withdrawn.is_some());
        }
        assert!(it.nodes.unused <= UNUSED_BYTES + RUN_BYTES);
    }
    it.pool.close();
}

/// One small frame each for many channels, in buffers that were large: they are not kept for that.
#[test]
fn large_buffers_are_not_kept_by_small_frames() {
    let mut nodes = Nodes::new();
    let mut fifos = vec![Fifo::new(); 1000];
    let frames = || {
        let mut bytes = Vec::with_capacity(RUN_BYTES);
        bytes.extend_from_slice(&header(OpCode::Request, 1, 10).encode());
        bytes.extend_from_slice(&[7; 10]);
        Frames {
            channel: Channel::new(1, 1),
            bytes,
            counts: FrameCounts::of(OpCode::Request),
        }
    };
    for fifo in &mut fifos {
        nodes.push_frames(fifo, frames(), 0);
    }
    assert!(nodes.taken() <= UNUSED_BYTES + 1000 * 26);
    for fifo in &mut fifos {
        assert!(nodes.advance(fifo, 26).0.is_some());
    }
    assert_eq!((nodes.taken(), nodes.unused), (0, 0));
}

/// So many channels that not each may have a buffer that is longer than its frames: those that come later are joined to
/// the ones before all the same.
#[test]
fn copies_for_very_many_channels_are_bounded_and_still_joined() {
    const CHANNELS: usize = 8000;
    const FRAMES: usize = 20;
    let mut nodes = Nodes::new();
    let mut fifos = vec![Fifo::new(); CHANNELS];
    let frame = [&header(OpCode::Request, 1, 10).encode()[..], &[7; 10]].concat();
    for place in 0..FRAMES * CHANNELS {
        let fifo = &mut fifos[place % CHANNELS];
        nodes.push_stretch(fifo, &frame, FrameCounts::of(OpCode::Request), 0);
        assert!(nodes.unused <= UNUSED_BYTES + COPY_LONG);
    }
    let places = nodes.nodes.len();
    assert!(places <= CHANNELS * FRAMES / 2, "{places} places");
    let (mut sent, mut bytes) = (0, 0);
    for fifo in &mut fifos {
        let mut left = FRAMES * 26;
        while left > 0 {
            let (frames, rest) = nodes.advance(fifo, left);
            let (requests, len) = requests(frames).unwrap();
            (sent, bytes, left) = (sent + requests, bytes + len, rest);
        }
    }
    assert_eq!(
        (sent as usize, bytes),
        (FRAMES * CHANNELS, 26 * FRAMES * CHANNELS)
    );
    assert_eq!((nodes.taken(), nodes.unused), (0, 0));
}

#[test]
fn what_is_copied_gets_a_long_buffer_where_it_is_long_or_behind_more_of_the_same() {
    let mut it = Queued::new([5000]);
    let frame = vec![7; COPY_SHORT + 1];
    let counts = FrameCounts::of(OpCode::Request);
    it.nodes.push_stretch(&mut it.fifo, &frame[..26], counts, 0);
    assert_eq!(it.nodes.taken(), COPY_SHORT, "a message tells nothing");
    it.nodes.push_stretch(&mut it.fifo, &frame[..26], counts, 1);
    assert_eq!(it.nodes.taken(), COPY_SHORT + COPY_LONG);
    let mut other = Fifo::new();
    it.nodes.push_stretch(&mut other, &frame, counts, 0);
    assert_eq!(it.nodes.taken(), COPY_SHORT + 2 * COPY_LONG);
}

/// Frames that lie among those of other channels are copied to buffers of the queues' own, which stay there.
#[test]
fn buffers_that_frames_are_copied_to_are_used_again_for_the_same() {
    let mut nodes = Nodes::new();
    let mut fifos = vec![Fifo::new(); 10];
    let frame = [&header(OpCode::Request, 1, 10).encode()[..], &[7; 10]].concat();
    for _ in 0..3 {
        for place in 0..40 {
            nodes.push_stretch(
                &mut fifos[place % 10],
                &frame,
                FrameCounts::of(OpCode::Request),
                0,
            );
        }
        assert_eq!(nodes.taken(), 10 * COPY_SHORT);
        for fifo in &mut fifos {
            let (sent, rest) = nodes.advance(fifo, 4 * 26);
            assert_eq!((requests(sent), rest), (Some((4, 4 * 26)), 0));
        }
        assert_eq!((nodes.taken(), nodes.unused), (0, 0));
        assert_eq!(nodes.spare().take().capacity(), 0, "posters need none");
    }
    assert_eq!(kept_in(&mut nodes.copies_short), 10 * COPY_SHORT);
    let fifo = &mut fifos[0];
    for _ in 0..1000 {
        nodes.push_stretch(fifo, &frame, FrameCounts::of(OpCode::Request), 0);
    }
    let runs = (1000 - COPY_SHORT / 26).div_ceil(COPY_LONG / 26);
    assert_eq!(
        nodes.taken(),
        COPY_SHORT + runs * COPY_LONG,
        "none of them grows"
    );
    let mut left = 1000 * 26;
    while left > 0 {
        left = nodes.advance(fifo, left).1;
    }
    assert_eq!(kept_in(&mut nodes.copies_long), runs * COPY_LONG);
}

/// The bytes of all buffers that are kept, which are taken.
fn kept_in(spare: &mut Spare) -> usize {
    let kept = std::iter::repeat_with(|| spare.take().capacity());
    kept.take_while(|&it| it > 0).sum()
}

/// As a small goodbye: it goes though there is no budget left.
#[test]
fn what_was_charged_nothing_is_charged_nothing_when_it_comes_back() {
    let mut it = Queued::new([100]);
    let mut cache = Cache::new(Arc::clone(&it.pool));
    let outgoing = it.nodes.pop(&mut it.fifo, &mut cache).unwrap();
    assert_eq!((outgoing.cost, outgoing.returned_cost()), (0, 0));
    it.pool.close();
}
