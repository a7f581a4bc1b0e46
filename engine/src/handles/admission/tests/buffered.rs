use proptest::prelude::*;

use super::*;
use crate::between::queue::Batch as _;
use crate::between::registry::Registry;
use crate::error::Ended;
use crate::handles::RUN_BYTES;
use crate::message::MessageError;
use crate::signal_buffer::SignalBuffer;
use crate::wire::Header;

/// What a signal was: the number of its channel, its id, and its content.
type Posted = (u16, u64, Vec<u8>, Vec<u8>);

fn posted(reactor: &Reactor) -> Vec<Posted> {
    let batches = std::mem::take(&mut *reactor.batches.lock().unwrap());
    let was = |it: Submission| match it {
        Submission::Post { channel, post, .. } => {
            assert_eq!(post.op_code(), OpCode::Signal);
            let (text_headers, body) = (post.message.text_headers(), post.message.body());
            (
                channel.number(),
                post.id(),
                text_headers.as_bytes().to_vec(),
                body.to_vec(),
            )
        }
        _ => panic!("not a post"),
    };
    batches.into_iter().flatten().map(was).collect()
}

/// Has the reactor take what is left in the batch.
fn take_rest(reactor: &Reactor) -> Vec<Posted> {
    reactor.wake();
    posted(reactor)
}

fn used(shared: &Shared) -> usize {
    shared.queue.with_registry(|registry| registry.used())
}

fn buffer(bodies: &[Vec<u8>]) -> SignalBuffer {
    let mut buffer = SignalBuffer::new();
    for body in bodies {
        buffer.push(body).unwrap();
    }
    buffer
}

/// Bodies of these lengths, each with bytes of its own.
fn bodies(lens: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    let body = |(index, len)| (0..len).map(|at| (index * 31 + at) as u8).collect();
    lens.into_iter().enumerate().map(body).collect()
}

proptest! {
    #[test]
    fn a_buffer_is_as_signals_that_are_posted_one_by_one(
        lens in prop::collection::vec(prop_oneof![4 => 0..300usize, 1 => 0..=8192usize], 1..400),
    ) {
        let bodies = bodies(lens);
        let outcomes = [true, false].map(|in_buffer| {
            let (shared, reactor) = engine();
            let group = GroupShared::new(1, 0, 0);
            let (channel, other) = (open(&shared), open(&shared));
            let before = Message::new(&shared.pool).signal(other);
            shared.post(&group, before).unwrap();
            if in_buffer {
                let mut buffer = buffer(&bodies);
                assert_eq!(buffer.len(), bodies.len());
                let (mut next, mut noted) = (2, 0);
                let note = |first, count| {
                    assert_eq!(first, next);
                    next += u64::from(count);
                    noted += count as usize;
                };
                shared.post_signals(&group, channel, &mut buffer, note).unwrap();
                assert_eq!((noted, buffer.len(), buffer.bytes()), (bodies.len(), 0, 0));
            } else {
                for body in &bodies {
                    let message = Message::new(&shared.pool).with_body(body).unwrap();
                    shared.post(&group, message.signal(channel)).unwrap();
                }
            }
            let used = used(&shared);
            let progress = shared.queue.with_registry(|it| it.progress(channel, 1)).unwrap();
            let posted = take_rest(&reactor);
            shared.pool.close();
            (posted, used, progress.posted)
        });
        let [buffered, singly] = outcomes;
        prop_assert_eq!(buffered, singly);
    }
}

#[test]
fn what_a_full_channel_refuses_stays_in_the_buffer_and_goes_on_from_there() {
    let (shared, reactor) = engine();
    let group = GroupShared::new(1, 0, 0);
    let channel = open(&shared);
    let cost = queued_cost_of(16 + 1000);
    let fits = shared.options.outbound_bytes_per_channel / cost;
    let bodies = bodies(std::iter::repeat_n(1000, fits + 300));
    let mut buffer = buffer(&bodies);
    let (mut got, full) = (Vec::new(), Err(PostError::Full(Budget::Channel)));
    let outcome = shared.post_signals(&group, channel, &mut buffer, |_, _| ());
    assert_eq!((outcome, buffer.len()), (full, 300));
    assert_eq!(buffer.bytes(), 300 * (16 + 1000));
    assert_eq!(used(&shared), fits * cost);
    got.extend(take_rest(&reactor));
    let again = shared.post_signals(&group, channel, &mut buffer, |_, _| ());
    assert_eq!((again, buffer.len()), (full, 300));
    shared.queue.with_registry(|registry| {
        registry.release(channel, 200 * cost);
    });
    let again = shared.post_signals(&group, channel, &mut buffer, |_, _| ());
    assert_eq!((again, buffer.len()), (full, 100));
    buffer.push(b"one more").unwrap();
    shared.queue.with_registry(|registry| {
        registry.release(channel, 200 * cost);
    });
    let again = shared.post_signals(&group, channel, &mut buffer, |_, _| ());
    assert_eq!((again, buffer.is_empty()), (Ok(()), true));
    got.extend(take_rest(&reactor));
    let all = bodies.iter().map(Vec::as_slice).chain([&b"one more"[..]]);
    assert!(got.iter().map(|it| &it.3[..]).eq(all));
    assert!(got.iter().map(|it| it.1).eq(1..=bodies.len() as u64 + 1));
    shared.pool.close();
}

#[test]
fn a_buffer_is_refused_for_the_same_reasons_as_a_post() {
    let (shared, _reactor) = engine();
    let group = GroupShared::new(1, 0, 0);
    let ended = open(&shared);
    shared.queue.with_registry(|registry| registry.close(ended));
    let parting = open(&shared);
    let bye = Message::new(&shared.pool).bye(parting);
    shared.post(&group, bye).unwrap();
    let listen = |registry: &mut Registry| registry.open(1, Kind::Listener);
    let listener = shared.queue.with_registry(listen).unwrap();
    let cases = [
        (ended, 1, PostError::ChannelClosed),
        (parting, 1, PostError::ByePosted),
        (listener, 1, PostError::IsListener),
        (open(&shared), 2, PostError::OtherGroup),
    ];
    for (channel, group, why) in cases {
        let group = GroupShared::new(group, 0, 0);
        let mut buffer = buffer(&bodies([3, 4]));
        let outcome = shared.post_signals(&group, channel, &mut buffer, |_, _| ());
        assert_eq!((outcome, buffer.len()), (Err(why), 2));
    }
    let mut empty = SignalBuffer::new();
    let outcome = shared.post_signals(&group, ended, &mut empty, |_, _| ());
    assert_eq!(outcome, Ok(()), "there is nothing to refuse");
    let channel = open(&shared);
    let mut buffer = buffer(&bodies([3, 4]));
    let mut refused = |why| {
        let outcome = shared.post_signals(&group, channel, &mut buffer, |_, _| ());
        assert_eq!((outcome, buffer.len()), (Err(why), 2));
    };
    shared.queue.with_registry(|registry| group.close(registry));
    refused(PostError::GroupClosed);
    shared.end(Ended::EngineStopped);
    refused(PostError::EngineEnded);
}

#[test]
fn a_message_goes_with_its_text_headers_and_its_shared_body() {
    let (shared, reactor) = engine();
    let group = GroupShared::new(1, 0, 0);
    let channel = open(&shared);
    let message = Message::new(&shared.pool).with_header("Unit", "K").unwrap();
    let mut message = message.with_body(b"293").unwrap();
    let mut buffer = SignalBuffer::new();
    buffer.push_message(&message).unwrap();
    message.share_body();
    buffer.push_message(&message).unwrap();
    shared
        .post_signals(&group, channel, &mut buffer, |_, _| ())
        .unwrap();
    let content = (b"Unit:K\r\n".to_vec(), b"293".to_vec());
    let got = take_rest(&reactor);
    assert!(
        got.into_iter()
            .map(|it| (it.2, it.3))
            .eq([content.clone(), content])
    );
    shared.pool.close();
}

#[test]
fn a_signal_that_is_too_long_is_told_and_leaves_the_buffer_as_it_is() {
    let (shared, _reactor) = engine();
    let mut buffer = SignalBuffer::new();
    buffer.push(&[7; 8192]).unwrap();
    let too_long = |len| Err(MessageError::TooLongForBuffer { len });
    assert_eq!(buffer.push(&[7; 8193]), too_long(8193));
    let message = Message::new(&shared.pool).with_header("Unit", "K").unwrap();
    let message = message.with_body(&[7; 8192 - 7]).unwrap();
    assert_eq!(buffer.push_message(&message), too_long(8193));
    assert_eq!((buffer.len(), buffer.bytes()), (1, 16 + 8192));
    buffer.clear();
    assert_eq!((buffer.len(), buffer.bytes()), (0, 0));
    shared.pool.close();
}

/// The reactor and all other posters wait for it.
#[test]
fn the_lock_is_taken_for_64_kib_and_for_1024_signals_at_most() {
    for (len, most) in [(0, 1024), (1000, RUN_BYTES / 1016)] {
        let (shared, _reactor) = engine();
        let group = GroupShared::new(1, 0, 0);
        let channel = open(&shared);
        let mut buffer = buffer(&bodies(std::iter::repeat_n(len, most + 1)));
        let mut counts = Vec::new();
        let note = |_, count| counts.push(count as usize);
        shared
            .post_signals(&group, channel, &mut buffer, note)
            .unwrap();
        assert_eq!(counts, [most, 1]);
        shared.pool.close();
    }
}

/// Those that are many are not copied: the buffer gets other memory.
#[test]
fn what_is_posted_leaves_memory_for_what_is_written_next() {
    let (shared, reactor) = engine();
    let group = GroupShared::new(1, 0, 0);
    let channel = open(&shared);
    for len in [100, 1000, 8000] {
        for _ in 0..20 {
            let bodies = bodies([len; 8]);
            let mut buffer = buffer(&bodies);
            shared
                .post_signals(&group, channel, &mut buffer, |_, _| ())
                .unwrap();
            let got = take_rest(&reactor);
            assert!(got.iter().map(|it| &it.3).eq(&bodies));
        }
    }
    shared.pool.close();
}

/// It is not copied, and what was sent is filled anew.
#[test]
fn a_long_buffer_is_handed_over_where_it_lies_for_memory_that_is_used_next() {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(&self) {}
    }
    let shared = Shared::new(Options::default(), |_| Box::new(Nobody));
    shared.queue.with_registry(|it| it.open_group(1, 0));
    let (group, channel) = (GroupShared::new(1, 0, 0), open(&shared));
    let (mut buffer, mut batch) = (SignalBuffer::new(), Batch::default());
    let write = |buffer: &mut SignalBuffer| {
        let bodies = bodies([8000; 5]);
        bodies.iter().for_each(|body| buffer.push(body).unwrap());
        buffer.first_mut().unwrap().unposted().as_ptr()
    };
    let mut places = Vec::new();
    for _ in 0..3 {
        let written = write(&mut buffer);
        let outcome = shared.post_signals(&group, channel, &mut buffer, |_, _| ());
        outcome.unwrap();
        shared.queue.exchange(&mut batch, |_| ());
        assert_eq!(batch.len(), 5);
        let Some(Submission::Frames(run)) = batch.take().0.next() else {
            panic!("not a run");
        };
        assert_eq!(run.bytes.as_ptr(), written);
        places.push(written);
        let give = |_: &mut Registry, posted: &mut Batch| posted.spare.give(run.bytes);
        shared.queue.submit(give).unwrap();
    }
    assert_eq!(places[2], places[0], "the second post got it in exchange");
    shared.pool.close();
}

#[test]
fn headers_say_from_which_channel_a_signal_comes_and_its_id() {
    let mut buffer = buffer(&bodies([3, 0, 5]));
    let run = buffer.first_mut().unwrap();
    run.number(run.unposted().len() - 21, 77, 9);
    let mut frames = run.unposted();
    for (channel_number, message_id) in [(77, 9), (77, 10), (0, 0)] {
        let header = Header::decode(frames.first_chunk().unwrap()).unwrap();
        assert_eq!(
            (header.channel_number, header.message_id),
            (channel_number, message_id)
        );
        assert_eq!((header.op_code, header.more), (OpCode::Signal, false));
        frames = &frames[header.frame_len()..];
    }
    assert!(frames.is_empty());
}
