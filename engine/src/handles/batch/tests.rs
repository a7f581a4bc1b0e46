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
    let mut submissions = batch.take();
    for (channel, contents) in
        channels
            .iter()
            .zip([&contents[..2], &contents[2..3], &contents[3..]])
    {
        let Some(Submission::Frames(run)) = submissions.next() else {
            panic!("frames of one channel that follow each other are together");
        };
        assert_eq!(run.channel, *channel);
        let found: Vec<_> = one_by_one(&run.bytes)
            .map(|it| &it[Header::LEN..])
            .collect();
        assert_eq!(found, contents);
        assert_eq!(run.counts.messages as usize, contents.len());
    }
    assert!(submissions.next().is_none());
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
    let submissions = batch.take();
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
    let submissions = batch.take();
    let counts: Vec<usize> = submissions
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
    let submissions: Vec<Submission> = batch.take().collect();
    assert!(matches!(&submissions[..], [Submission::Frames(run)] if run.counts.messages == 2));
    assert_eq!(batch.len(), 0);
}
