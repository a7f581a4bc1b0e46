use std::sync::Arc;

use super::*;
use crate::between::wake::Wake;
use crate::storage::Pool;

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
            let outgoing = Outgoing {
                message: Message::new(&it.pool).body(&body).unwrap(),
                op_code: OpCode::Signal,
                more: false,
                id: 0,
                cost: 0,
                queued_at: 0,
            };
            it.nodes.push(&mut it.fifo, outgoing);
        }
        it
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
        while let Some(outgoing) = nodes.pop(&mut fifo) {
            it.nodes.push(&mut it.fifo, outgoing);
        }
        while it.nodes.pop(&mut it.fifo).is_some() {}
    }
    assert_eq!(it.nodes.nodes.len(), 2);
}
