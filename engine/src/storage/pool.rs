//! Free storage: taken by size, given back on drop, bounded in bytes.

mod cache;
mod dropped;
mod spare;
mod state;

use std::mem;

use crate::between::decision::Decision;
use crate::between::key::{GroupPlace, RecordKey};
use crate::between::wake::Wake;
use crate::sync::{Arc, Mutex, decide, lock};

#[cfg(test)]
pub(crate) use self::cache::CACHE_BYTES;
pub(crate) use self::cache::Cache;
#[cfg(test)]
pub(crate) use self::dropped::{DROPPED_BYTES, DROPPED_MOST};
pub(crate) use self::dropped::{give_back_dropped, keep_dropped};
#[cfg(test)]
pub(crate) use self::spare::SPARE_MAX;
pub(crate) use self::spare::{give_back_spare, keep_spare};

use self::state::State;

use super::charge::{Charge, Hold};
use super::shared::Shared;
use super::sizes::{SIZES, size_for};

/// What a slot takes on the heap beside the bytes of a message: its record, the end of its last line of
/// the processor's cache, what allocators lose where they begin it with such a line, and what they keep
/// for a second piece.
pub(crate) const SLOT_COST: usize = size_of::<Large>() + size_of::<Large>() + 16;

/// What free storage takes beside its bytes: its slot, and its place in a list that is at least a
/// quarter full.
pub(crate) const FREE_COST: usize = SLOT_COST + 4 * size_of::<Storage>();

/// Lists up to so many places keep them.
const PLACES_KEPT: usize = 384;

/// What the lists of free storage take beside [`FREE_COST`]: the pool's keep so many places each, the
/// cache's may each have had all of it, and be half empty.
#[cfg(test)]
pub(crate) const LISTS_BYTES: usize = {
    let (mut bytes, mut size) = (0, 0);
    while size < SIZES.len() {
        let cached = 2 * CACHE_BYTES / bytes_kept(size);
        bytes += (PLACES_KEPT + cached) * size_of::<Storage>();
        size += 1;
    }
    bytes
};

#[inline]
const fn bytes_kept(size: usize) -> usize {
    SIZES[size] + FREE_COST
}

/// The memory of one message, or none for one without content. Small, since messages are moved from
/// queue to queue.
pub(crate) struct Storage(Memory);

/// Messages go from one processor to another, so what they cost is counted in lines of the cache: a short
/// message with its record is one piece, two lines in all. And how long a short one's memory is, is known
/// without looking there.
enum Memory {
    None,
    Small(Box<Small>),
    Large(Box<Large>),
}

type Small = Slot<[u8; SIZES[0]]>;
type Large = Slot<Box<[u8]>>;

#[repr(C, align(64))]
struct Slot<B> {
    record: Record,
    /// Always initialised, so that reuse writes nothing first.
    bytes: B,
}

// A frame with 64 bytes of content ends where the second line does, or before.
const _: () = assert!(size_of::<Record>() + 16 + 64 <= 128);
const _: () = assert!(size_of::<Small>() <= SIZES[0] + size_of::<Large>());

struct Record {
    /// Free storage keeps its way home too, so that taking it from the pool touches no counter
    /// that threads share. [`Pool::close`] breaks the cycle.
    home: Option<Arc<Pool>>,
    /// In the pool's lists this may be an inbound charge that was released: whoever drops a message need
    /// not write where the reactor writes next. It is cleared where storage is taken from there.
    charge: Charge,
    /// The body of a message that shares it; free storage has none.
    body: Option<Arc<Shared>>,
    /// How long the parts of a message are; in free storage, of its last one. Here, so that a message is moved on in two words, which are in registers:
    /// what is written in parts and moved on as a whole has to be waited for.
    lens: Lens,
}

/// The lengths of a message's text headers and of its body, which may be shared.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lens {
    pub(crate) text_headers: u16,
    pub(crate) body: u16,
}

impl Record {
    /// Lets go of the shared body, which is handed back if nobody else has it.
    #[cold]
    fn take_last_body(&mut self) -> Option<Shared> {
        self.body.take().and_then(Arc::into_inner)
    }
}

impl Storage {
    /// No memory at all: for messages without content.
    pub(crate) const fn none() -> Self {
        Storage(Memory::None)
    }

    /// Whether it has no memory.
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        matches!(self.0, Memory::None)
    }

    /// Storage that no pool knows, for content that is put into a message without storage.
    pub(crate) fn unpooled(len: usize) -> Self {
        Storage::allocate(size_for(len), None)
    }

    fn allocate(size: usize, home: Option<Arc<Pool>>) -> Self {
        let record = Record {
            home,
            charge: Charge::NONE,
            body: None,
            lens: Lens::default(),
        };
        Storage(match size {
            0 => Memory::Small(Box::new(Slot {
                record,
                bytes: [0; SIZES[0]],
            })),
            _ => Memory::Large(Box::new(Slot {
                record,
                bytes: vec![0; SIZES[size]].into_boxed_slice(),
            })),
        })
    }

    /// Gives it back to its pool, which it has.
    fn give_back(self) {
        if let Some(home) = self.home().map(Arc::clone) {
            home.give_back(self);
        }
    }

    /// Frees the memory rather than giving it back.
    fn disown(mut self) {
        if let Some(record) = self.record_mut() {
            record.home = None;
        }
    }

    #[inline]
    fn record(&self) -> Option<&Record> {
        match &self.0 {
            Memory::None => None,
            Memory::Small(slot) => Some(&slot.record),
            Memory::Large(slot) => Some(&slot.record),
        }
    }

    #[inline]
    fn record_mut(&mut self) -> Option<&mut Record> {
        match &mut self.0 {
            Memory::None => None,
            Memory::Small(slot) => Some(&mut slot.record),
            Memory::Large(slot) => Some(&mut slot.record),
        }
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Memory::None => &[],
            Memory::Small(slot) => &slot.bytes,
            Memory::Large(slot) => &slot.bytes,
        }
    }

    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::None => &mut [],
            Memory::Small(slot) => &mut slot.bytes,
            Memory::Large(slot) => &mut slot.bytes,
        }
    }

    #[inline]
    pub(crate) fn home(&self) -> Option<&Arc<Pool>> {
        self.record()?.home.as_ref()
    }

    /// Which of the sizes it has, if it has memory.
    #[inline]
    fn size(&self) -> usize {
        match &self.0 {
            Memory::None | Memory::Small(_) => 0,
            Memory::Large(slot) => size_for(slot.bytes.len()),
        }
    }

    /// Whether content of `len` bytes lies in this storage without more waste than has to be.
    pub(crate) fn fits(&self, len: usize) -> bool {
        self.bytes().len() == SIZES[size_for(len)]
    }

    /// How long the parts of its message are. Without memory there are none.
    #[inline]
    pub(crate) fn lens(&self) -> Lens {
        self.record().map(|record| record.lens).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn set_lens(&mut self, lens: Lens) {
        match self.record_mut() {
            Some(record) => record.lens = lens,
            None => assert!(
                lens.text_headers == 0 && lens.body == 0,
                "content has memory"
            ),
        }
    }

    /// What is charged to the inbound budget, and to whom.
    #[inline]
    pub(crate) fn inbound(&self) -> Option<(RecordKey, usize)> {
        self.record()?.charge.inbound()
    }

    /// Whether it is charged to the outbound budget, as what came back is.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.record().is_some_and(|record| record.charge.is_held())
    }

    /// What is charged to the outbound budget, and which group holds it.
    #[inline]
    pub(crate) fn held(&self) -> Option<(GroupPlace, usize)> {
        self.record()?.charge.held()
    }

    /// Charges this storage to the inbound budget. What it was charged before is to be settled by then.
    #[inline]
    pub(crate) fn charge_inbound(&mut self, key: RecordKey, cost: usize) {
        let record = self.record_mut().expect("what is charged has memory");
        record.charge.set_inbound(key, cost);
    }

    /// Takes a part of an inbound charge away, which passes on to other storage.
    #[inline]
    pub(crate) fn take_inbound(&mut self, cost: usize) -> RecordKey {
        let record = self.record_mut().expect("what is charged has memory");
        record.charge.take_inbound(cost)
    }

    /// Charges this storage to the outbound budget. What it was charged before is to be settled by then.
    pub(crate) fn set_hold(&mut self, hold: Hold) {
        let record = self.record_mut().expect("what is charged has memory");
        record.charge.set_hold(hold);
    }

    /// Takes an outbound charge away, to be settled by the caller.
    pub(crate) fn take_hold(&mut self) -> Option<Hold> {
        self.record_mut()?.charge.take_hold()
    }

    /// Makes it the application's: an inbound charge is settled by then, an outbound one is given back.
    #[inline]
    pub(crate) fn clear_charge(&mut self) {
        if let Some(record) = self.record_mut() {
            record.charge.clear();
        }
    }

    /// The shared body of the message whose text headers are here.
    #[inline]
    pub(crate) fn body(&self) -> Option<&Arc<Shared>> {
        self.record()?.body.as_ref()
    }

    pub(crate) fn set_body(&mut self, body: Arc<Shared>) {
        let record = self.record_mut().expect("who shares a body has memory");
        record.body = Some(body);
    }

    pub(crate) fn take_body(&mut self) -> Option<Arc<Shared>> {
        self.record_mut()?.body.take()
    }

    /// Lets go of the shared body. Apart, as most have none.
    #[cold]
    pub(crate) fn drop_body(&mut self) {
        drop(self.take_body());
    }

    /// Has the processor fetch what another thread has written of it. Asked of many, one right after the
    /// other, it fetches them together; what is used singly is waited for each time.
    pub(crate) fn fetch(&self) {
        std::hint::black_box(self.inbound().is_none());
    }

    /// Takes what was free into use.
    #[inline]
    fn begin(mut self) -> Self {
        if let Some(record) = self.record_mut() {
            record.charge.clear();
            record.lens = Lens::default();
        }
        self
    }

    /// Releases what is charged to the inbound budget: the memory is the application's from now on.
    pub(crate) fn release_inbound(&mut self) {
        if let (Some((key, cost)), Some(home)) = (self.inbound(), self.home()) {
            home.release(key, cost);
            self.clear_charge();
        }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let Some(home) = self.home().map(Arc::as_ptr) else {
            return;
        };
        if self.body().is_some() {
            self.drop_body(); // outside the lock
        }
        let storage = Storage(mem::replace(&mut self.0, Memory::None));
        if let Some(storage) = dropped::keep(storage, home) {
            storage.give_back();
        }
    }
}

/// Free storage, shared by the reactor and every thread that builds or drops messages.
pub(crate) struct Pool {
    state: Mutex<State>,
    /// The most bytes of free storage that are kept, with what each piece takes beside its own.
    limit: usize,
    /// The reactor's, until the pool is closed. Then it is dropped, with the descriptors in it, though storage may live on.
    waker: Mutex<Option<Arc<dyn Wake>>>,
}

impl Pool {
    pub(crate) fn new(limit: usize, waker: Box<dyn Wake>) -> Self {
        let state = State {
            free: std::array::from_fn(|_| Vec::new()),
            free_bytes: 0,
            fullest: 0,
            released: Vec::new(),
            wake_after: None,
            is_closed: false,
        };
        Pool {
            state: Mutex::new(state),
            limit,
            waker: Mutex::new(Some(Arc::from(waker))),
        }
    }

    /// Storage for `len` bytes, allocated if none is free.
    #[inline]
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Storage {
        let size = size_for(len);
        if let Some(spare) = spare::take(self, size) {
            return spare.begin();
        }
        let free = lock(&self.state).take_free(size);
        match free {
            Some(storage) => storage.begin(),
            None => Storage::allocate(size, Some(Arc::clone(self))),
        }
    }

    /// Moves so many pieces of the smallest size to `into`, under one lock; allocated, as far as none are free.
    pub(crate) fn take_smallest(self: &Arc<Self>, count: usize, into: &mut Vec<Storage>) {
        let wanted = into.len() + count;
        self.fetch(0, count, into);
        let allocate = || Storage::allocate(0, Some(Arc::clone(self)));
        into.resize_with(wanted, allocate);
    }

    /// Moves so many free pieces of a size to `into`, or as many as there are.
    fn fetch(&self, size: usize, wanted: usize, into: &mut Vec<Storage>) {
        let before = into.len();
        let mut state = lock(&self.state);
        let kept = state.free[size].len().saturating_sub(wanted);
        into.extend(state.free[size].drain(kept..));
        state.free_bytes -= (into.len() - before) * bytes_kept(size);
        state.shrink(size);
        drop(state);
        // All at once, so that the processor fetches them together.
        for storage in &mut into[before..] {
            storage.clear_charge();
        }
    }

    fn give_back(&self, mut storage: Storage) {
        if storage.is_held() {
            storage.clear_charge(); // outside the lock
        }
        let mut surplus = Vec::new();
        let mut state = lock(&self.state);
        let wake = state.take_in(storage, self.limit, &mut surplus);
        drop(state);
        if wake || !surplus.is_empty() {
            self.see_to(surplus, wake);
        }
    }

    /// Gives many back under one lock, each as [`drop`] does.
    pub(crate) fn give_back_all(self: &Arc<Self>, storages: impl Iterator<Item = Storage>) {
        let (mut surplus, mut others, mut wake) = (Vec::new(), Vec::new(), false);
        let mut bodies = Vec::new();
        let mut state = lock(&self.state);
        for mut storage in storages {
            let Some(record) = storage.record_mut() else {
                continue;
            };
            // The last of those who have a body gives back its memory, and not under the lock.
            if record.body.is_some() {
                bodies.extend(record.take_last_body());
            }
            let is_ours = record.home.as_ref().is_some_and(|it| Arc::ptr_eq(it, self));
            if is_ours && !record.charge.is_held() {
                wake |= state.take_in(storage, self.limit, &mut surplus);
            } else {
                others.push(storage);
            }
        }
        drop(state);
        if wake || !surplus.is_empty() {
            self.see_to(surplus, wake);
        }
        drop((others, bodies)); // as any other, outside the lock
    }

    /// What follows once the lock is free.
    #[cold]
    fn see_to(&self, surplus: Vec<Storage>, wake: bool) {
        surplus.into_iter().for_each(Storage::disown);
        if wake {
            self.wake();
        }
    }

    fn wake(&self) {
        let waker = lock(&self.waker).clone(); // which may be the application's: it is called without the lock
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Gives an inbound charge back whose memory is kept.
    pub(super) fn release(&self, key: RecordKey, cost: usize) {
        let wake = lock(&self.state).release(key, cost);
        if wake {
            self.wake();
        }
    }

    /// Takes what was released since the last call. With `wake_after`, releases after it wake the
    /// reactor: the first if that is 0, or else once they come to as many bytes. In the latter case the
    /// reactor has to look again by itself after a while: so a receiver that drops one message after the
    /// other does not wake it for each. Nothing slips in between, as both happen under the same lock.
    pub(crate) fn take_released(
        &self,
        released: &mut Vec<(RecordKey, usize)>,
        wake_after: Option<usize>,
    ) {
        assert!(released.is_empty(), "what was released before was settled");
        let mut state = lock(&self.state);
        mem::swap(&mut state.released, released);
        state.wake_after = wake_after.filter(|_| decide(Decision::ReactorIsHungry, true));
    }

    /// Lets go of all free storage, and keeps none from now on.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = decide(Decision::PoolIsClosed, true);
        state.free_bytes = 0;
        let free = mem::replace(&mut state.free, std::array::from_fn(|_| Vec::new()));
        state.released = Vec::new();
        drop(state);
        free.into_iter().flatten().for_each(Storage::disown);
        let waker = lock(&self.waker).take();
        drop(waker); // without the lock
    }

    /// Bytes of free storage kept now.
    pub(crate) fn free_bytes(&self) -> usize {
        lock(&self.state).free_bytes
    }

    /// How many pieces of a size are kept now.
    #[cfg(test)]
    pub(crate) fn free(&self, size: usize) -> usize {
        lock(&self.state).free[size].len()
    }

    /// How many places the lists of free storage have.
    #[cfg(test)]
    pub(crate) fn places(&self) -> usize {
        let state = lock(&self.state);
        state.free.iter().map(Vec::capacity).sum()
    }
}
