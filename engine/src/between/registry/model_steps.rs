//! What may happen to a registry, in any order.

use proptest::prelude::*;

use crate::between::registry::{GroupId, Kind, Role};
use crate::storage::{MESSAGE_COST_MAX, cost_of};

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Open(GroupId, Kind),
    /// A post of a message of this length to one of the channels there were ever, by its own group or
    /// another.
    Post(usize, By, Role, usize),
    /// A message that was returned is posted again.
    PostAgain(usize, By, Role, usize),
    Send(usize),
    Return(usize),
    DropReturned(usize),
    Close(usize),
    Forget(usize),
    Tell,
    /// Who was told had time to post.
    Lapse,
    /// The application takes a Room.
    TakeRoom(usize),
    /// A task waits for room, or one that does is polled again.
    Wait(usize, By),
    PollAgain(usize),
    /// A task's wait is dropped.
    Leave(usize),
    CloseGroup(GroupId),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum By {
    Own,
    Other,
}

/// How long messages are: the most that those in a line for room want. Who wants less may be told a little later.
pub(super) const LENS: [usize; 4] = [256, 16 << 10, 65 << 10, 131_088];

/// What the groups have of their own: nothing, less than a large message takes, or as much.
pub(super) fn reserves() -> impl Strategy<Value = [usize; 2]> {
    let reserve = || prop_oneof![Just(0), Just(cost_of(16 << 10)), Just(MESSAGE_COST_MAX)];
    [reserve(), reserve()]
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let group = prop_oneof![2 => Just(1u64), 1 => Just(2)];
    let by = prop_oneof![9 => Just(By::Own), 1 => Just(By::Other)];
    let kind = prop_oneof![9 => Just(Kind::Connection), 1 => Just(Kind::Listener)];
    let role = || {
        prop_oneof![
            20 => Just(Role::Data),
            1 => Just(Role::ByeRequest),
            1 => Just(Role::ByeResponse),
            1 => Just(Role::ByeSignal),
        ]
    };
    let len = prop::sample::select(LENS.as_slice());
    let step = prop_oneof![
        2 => (group.clone(), kind).prop_map(|(group, kind)| Step::Open(group, kind)),
        12 => (any::<usize>(), by.clone(), role(), len)
            .prop_map(|(at, by, role, len)| Step::Post(at, by, role, len)),
        2 => (any::<usize>(), by.clone(), role(), any::<usize>())
            .prop_map(|(at, by, role, which)| Step::PostAgain(at, by, role, which)),
        6 => any::<usize>().prop_map(Step::Send),
        2 => any::<usize>().prop_map(Step::Return),
        2 => any::<usize>().prop_map(Step::DropReturned),
        1 => any::<usize>().prop_map(Step::Close),
        1 => any::<usize>().prop_map(Step::Forget),
        4 => Just(Step::Tell),
        1 => Just(Step::Lapse),
        2 => any::<usize>().prop_map(Step::TakeRoom),
        3 => (any::<usize>(), by).prop_map(|(at, by)| Step::Wait(at, by)),
        2 => any::<usize>().prop_map(Step::PollAgain),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => group.prop_map(Step::CloseGroup),
    ];
    prop::collection::vec(step, 1..200)
}
