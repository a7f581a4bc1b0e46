use super::*;
use crate::between::queue::Batch as _;
use crate::message::Message;
use crate::post::Post;
use crate::storage::Storage;
use crate::wire::test_frames;

/// The post that a frame was.
pub(super) fn decode(channel: Channel, frame: &[u8]) -> Submission {
    let header = Header::decode(frame.first_chunk().unwrap()).unwrap();
    let storage = Storage::unpooled(frame.len());
    let mut message = Message::receiving(storage, &header);
    message.content_mut().copy_from_slice(&frame[Header::LEN..]);
    let cost = message.cost();
    Submission::Post {
        channel,
        group: 0,
        post: Post::to(channel, header.op_code, header.message_id, message),
        cost,
    }
}

/// What frames are that lie one behind the other.
pub(super) fn counts_of(bytes: &[u8]) -> FrameCounts {
    let mut counts = FrameCounts::default();
    for frame in one_by_one(bytes) {
        let header = Header::decode(frame.first_chunk().unwrap()).unwrap();
        counts.add(FrameCounts::of(header.op_code));
    }
    counts
}

/// Frames that lie one behind the other.
pub(super) fn one_by_one(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = (!bytes.is_empty()).then(|| Header::frame_len_of(bytes))?;
        bytes.split_off(..len)
    })
}

fn header(body_len: usize) -> Header {
    test_frames::header(OpCode::Signal, 1, body_len)
}

#[test]
fn frames_come_out_as_they_went_in_channel_by_channel() {
    let mut batch = Batch::default();
    let channels = [
        Channel::new(7, 1),
        Channel::new(7, (1 << 48) - 1),
        Channel::new(9, 2),
    ];
    let contents: [&[u8]; 4] = [b"", b"a", b"bc", b"def"];
    let place = [0, 0, 1, 2];
    for (content, place) in contents.iter().zip(place) {
        let channel = channels[place];
        let header = Header {
            channel_number: channel.number(),
            ..header(content.len())
        };
        batch.push_frame(channel, &header, [content, &[]]);
    }
    assert_eq!(batch.len(), 4);
    let (mut submissions, mut stretches) = batch.take();
    let Some(Submission::Mixed(mixed)) = submissions.next() else {
        panic!("short ones of several channels lie together");
    };
    let mut found = Vec::new();
    mixed.for_each(&mut stretches, |stretch, bytes| {
        let contents: Vec<_> = one_by_one(bytes)
            .map(|it| it[Header::LEN..].to_vec())
            .collect();
        assert_eq!(stretch.counts.messages as usize, contents.len());
        found.push((stretch.channel, contents));
    });
    let expected = [&contents[..2], &contents[2..3], &contents[3..]]
        .map(|contents| contents.iter().map(|it| it.to_vec()).collect());
    let expected: Vec<(Channel, Vec<Vec<u8>>)> = channels.into_iter().zip(expected).collect();
    assert_eq!(found, expected);
    assert!(submissions.next().is_none() && stretches.next().is_none());
}

/// What of a batch is copied once more, and what is handed over in its own buffer.
fn parts_of(batch: &mut Batch) -> Vec<Part> {
    let (submissions, mut stretches) = batch.take();
    let mut parts = Vec::new();
    for submission in submissions {
        match submission {
            Submission::Frames(run) => {
                parts.push(Part::Whole(run.channel.number(), run.bytes.len()));
            }
            Submission::Mixed(mixed) => mixed.for_each(&mut stretches, |stretch, bytes| {
                parts.push(Part::Mixed(stretch.channel.number(), bytes.len()));
            }),
            _ => parts.push(Part::Other),
        }
    }
    assert!(stretches.next().is_none());
    parts
}

#[derive(PartialEq, Eq, Debug)]
enum Part {
    Whole(u16, usize),
    Mixed(u16, usize),
    Other,
}

/// Frames of 200 bytes for these channels.
fn small(batch: &mut Batch, channels: impl IntoIterator<Item = u16>) {
    for number in channels {
        batch.push_frame(Channel::new(number, 1), &header(184), [&[7; 100], &[8; 84]]);
    }
}

#[test]
fn long_runs_have_buffers_of_their_own_and_short_ones_of_several_channels_share_one() {
    let mut batch = Batch::default();
    for _ in 0..2 {
        small(&mut batch, [1, 1, 2]);
        let short = [Part::Mixed(1, 400), Part::Mixed(2, 200)];
        assert_eq!(parts_of(&mut batch), short);
        small(&mut batch, [1; 21].into_iter().chain([2, 2, 3]));
        assert_eq!(
            parts_of(&mut batch),
            [
                Part::Whole(1, 4200),
                Part::Mixed(2, 400),
                Part::Mixed(3, 200)
            ],
            "what is long is not copied"
        );
        small(&mut batch, [2].into_iter().chain([1; 50]).chain([3]));
        assert_eq!(
            parts_of(&mut batch),
            [
                Part::Mixed(2, 200),
                Part::Mixed(1, 4000),
                Part::Whole(1, 6000),
                Part::Whole(3, 200)
            ],
            "what becomes long goes on in a buffer of its own"
        );
        let long = header(MIXED_MAX);
        for number in [1, 2] {
            batch.push_frame(Channel::new(number, 1), &long, [&[7; MIXED_MAX], &[]]);
        }
        let len = long.frame_len();
        let whole = [Part::Whole(1, len), Part::Whole(2, len)];
        assert_eq!(parts_of(&mut batch), whole, "nor are long frames");
    }
}

/// Many posts for one channel ask for a place once, and fill it.
#[test]
fn a_place_among_other_channels_takes_no_more_than_is_copied() {
    let mut batch = Batch::default();
    let header = header(300);
    let len = header.frame_len();
    batch.push_frame(Channel::new(1, 1), &header, [&[7; 300], &[]]);
    let mut place = batch.frames_for(Channel::new(2, 1), len);
    let mut frames = 0;
    while place.has_room(len) {
        place.push(&header, [&[7; 300], &[]]);
        frames += 1;
    }
    assert_eq!(frames, JOINED_MAX / len);
    let parts = [Part::Mixed(1, len), Part::Mixed(2, frames * len)];
    assert_eq!(parts_of(&mut batch), parts);
}

#[test]
fn the_buffer_that_several_channels_share_is_no_longer_than_any_other() {
    let mut batch = Batch::default();
    small(&mut batch, (0..1000).map(|place| place % 2));
    let (submissions, mut stretches) = batch.take();
    let mut frames = 0;
    for submission in submissions {
        let Submission::Mixed(mixed) = submission else {
            panic!("all are short");
        };
        assert!(mixed.bytes.len() <= RUN_BYTES);
        mixed.for_each(&mut stretches, |stretch, bytes| {
            assert_eq!((stretch.channel.number(), bytes.len()), (frames % 2, 200));
            frames += 1;
        });
    }
    assert_eq!(frames, 1000);
}

#[test]
fn what_lies_between_frames_of_several_channels_is_handled_between_them() {
    let mut batch = Batch::default();
    small(&mut batch, [1, 2]);
    batch.push(Submission::Stop {
        deadline: std::time::Instant::now(),
    });
    small(&mut batch, [2, 1]);
    let mixed = |number| Part::Mixed(number, 200);
    assert_eq!(
        parts_of(&mut batch),
        [mixed(1), mixed(2), Part::Other, mixed(2), mixed(1)]
    );
}

#[test]
fn the_frames_of_a_run_are_counted_and_a_run_is_no_longer_than_it_may_be() {
    let mut batch = Batch::default();
    let kinds = [OpCode::Request, OpCode::Signal, OpCode::Response];
    for op_code in kinds.into_iter().cycle().take(300) {
        let header = Header {
            op_code,
            ..header(1000)
        };
        batch.push_frame(Channel::new(7, 1), &header, [&[7; 1000], &[]]);
    }
    assert_eq!(batch.len(), 300);
    let submissions = batch.take().0;
    let mut all = FrameCounts::default();
    for submission in submissions {
        let Submission::Frames(run) = submission else {
            panic!("nothing else was put in");
        };
        assert!(run.bytes.len() <= RUN_BYTES);
        assert_eq!(one_by_one(&run.bytes).count(), run.counts.messages as usize);
        all.add(run.counts);
    }
    let expected = FrameCounts {
        messages: 300,
        requests: 100,
    };
    assert_eq!(all, expected);
}

#[test]
fn frames_and_other_submissions_keep_their_order() {
    let mut batch = Batch::default();
    let channel = Channel::new(7, 1);
    let stop = || Submission::Stop {
        deadline: std::time::Instant::now(),
    };
    batch.push_frame(channel, &header(1), [b"a", b""]);
    batch.push(stop());
    batch.push_frame(channel, &header(1), [b"b", b""]);
    batch.push_frame(channel, &header(1), [b"c", b""]);
    let counts: Vec<usize> = batch
        .take()
        .0
        .map(|submission| match submission {
            Submission::Frames(run) => one_by_one(&run.bytes).count(),
            _ => 0,
        })
        .collect();
    assert_eq!(counts, [1, 0, 2]);
}

/// What was posted goes out as one piece, though each of the requests is a call.
#[test]
fn calls_do_not_part_the_frames_of_their_requests() {
    let mut batch = Batch::default();
    let channel = Channel::new(7, 1);
    for id in [1, 2] {
        batch.push_frame(channel, &header(1), [b"a", b""]);
        batch.push_call(true).id = id;
    }
    assert_eq!(batch.len(), 2, "a call and its request are one");
    batch.push_call(false).id = 3;
    assert_eq!(batch.len(), 3, "what waits for room is told of too");
    assert!(batch.take_calls().map(|call| call.id).eq([1, 2, 3]));
    let submissions: Vec<Submission> = batch.take().0.collect();
    assert!(matches!(&submissions[..], [Submission::Frames(run)] if run.counts.messages == 2));
    assert_eq!(batch.len(), 0);
}

/// Whatever the lengths, and wherever runs of frames end: a buffer grows by doubling.
#[test]
fn buffers_take_little_more_than_the_frames_in_them() {
    let body = [7; 1024];
    let seventeen = |last: usize| (0..17).map(move |place| if place < 16 { 1024 } else { last });
    let runs: [Vec<usize>; 3] = [
        seventeen(0).collect(),
        vec![1024, 1024, 0],
        std::iter::repeat_n(200, 200).collect(),
    ];
    for run in runs {
        let mut batch = Batch::default();
        for number in (1..=400).cycle().take(2000) {
            for &len in &run {
                batch.push_frame(Channel::new(number, 1), &header(len), [&body[..len], &[]]);
            }
        }
        let buffers = batch.submissions.iter().map(|it| match it {
            Submission::Frames(run) => &run.bytes,
            Submission::Mixed(mixed) => &mixed.bytes,
            _ => unreachable!("only frames were put in"),
        });
        let unfilled: usize = buffers.map(|it| it.capacity() - it.len()).sum();
        assert!(unfilled <= UNFILLED_BYTES + RUN_BYTES, "{unfilled} bytes");
        drop(batch.take());
        assert_eq!(batch.unfilled, 0);
    }
}

#[test]
fn places_for_much_that_was_posted_at_once_are_given_back() {
    let mut batch = Batch::default();
    let most = 4 * SUBMISSIONS_KEPT;
    let id = 7;
    for number in (1..=400).cycle().take(most) {
        let channel = Channel::new(number, 1);
        batch.push_frame(channel, &header(1), [b"a", b""]);
        batch.push_call(true);
    }
    for _ in 0..most {
        let channel = Channel::new(1, 1);
        batch.push(Submission::Withdraw { channel, id });
    }
    let places = |batch: &Batch| {
        [
            batch.submissions.capacity(),
            batch.calls.capacity(),
            batch.mixed.capacity(),
        ]
    };
    assert!(places(&batch).iter().all(|&it| it >= most));
    drop(batch.take_calls());
    drop(batch.take());
    batch.shrink();
    assert_eq!(places(&batch), [SUBMISSIONS_KEPT; 3]);
}
