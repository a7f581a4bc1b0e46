//! Random sequences against a registry that remembers everything and computes what it needs.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Wake, Waker};

use proptest::prelude::*;

use crate::between::key::GroupPlace;
use crate::between::registry::{
    Credit, Denied, GroupId, Holding, Kind, RESERVE_FOR_DATA, Registry, ReturnedCost, Role,
};
use crate::between::waiting::RoomWait;
use crate::channel::Channel;
use crate::storage::{MESSAGE_COST_MAX, SMALLEST_COST, cost_of};

use super::registry_steps::{By, LENS, Step, reserves, steps};

const CREDIT: Credit = Credit {
    channel: 3 * MESSAGE_COST_MAX,
    engine: 5 * MESSAGE_COST_MAX,
};
const QUARANTINE: usize = 2;
const GROUPS: [GroupId; 2] = [1, 2];

/// What a channel has come through.
#[derive(Clone, Debug)]
struct Life {
    channel: Channel,
    group: GroupId,
    kind: Kind,
    is_closed: bool,
    is_forgotten: bool,
    posted: Vec<Role>,
    /// Costs of messages that were admitted and neither sent nor returned.
    queued: Vec<usize>,
    /// The least cost that was refused for want of credit since it was told of room.
    wanted: Option<usize>,
    /// The cost that was refused last.
    refused_last: Option<usize>,
    /// Told of room, and the application has not taken that.
    is_unread: bool,
}

/// A task that waits for a channel's room.
struct Task {
    /// Which of the channels.
    at: usize,
    group: GroupId,
    id: Option<RoomWait>,
    /// For what it waits.
    wanted: usize,
    /// How often its waker was called.
    wakes: Arc<Wakes>,
    is_waiting: bool,
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Life {
    fn used(&self) -> usize {
        self.queued.iter().sum()
    }

    /// Whether so much is within what others cannot deny.
    fn is_in_reserve(&self, cost: usize) -> bool {
        self.used() + cost <= RESERVE_FOR_DATA
    }

    /// For what an event is due.
    fn wanted_by_event(&self) -> Option<usize> {
        self.wanted.filter(|_| !self.is_unread && !self.is_closed)
    }
}

struct Model {
    registry: Registry,
    reserves: [usize; 2],
    lives: Vec<Life>,
    /// Whom each was returned to, and its cost.
    returned: Vec<(GroupId, usize)>,
    forgotten: Vec<u16>,
    tasks: Vec<Task>,
}

fn place(group: GroupId) -> GroupPlace {
    GroupPlace(group as u32 - 1)
}

/// Room, or what is promised of it, in what each group has and in what they share.
#[derive(Clone, Copy, Debug)]
struct Pools {
    own: [usize; 2],
    shared: usize,
}

impl Pools {
    fn of(&self, group: GroupId) -> usize {
        self.own[group as usize - 1] + self.shared
    }

    fn all(&self) -> [usize; 3] {
        [self.own[0], self.own[1], self.shared]
    }

    fn without(&self, promised: &Pools) -> Pools {
        let own = |at: usize| self.own[at].saturating_sub(promised.own[at]);
        Pools {
            own: [own(0), own(1)],
            shared: self.shared.saturating_sub(promised.shared),
        }
    }
}

impl Model {
    fn new(reserves: [usize; 2]) -> Model {
        let mut registry = Registry::with_quarantine(CREDIT, QUARANTINE);
        for (group, reserve) in GROUPS.into_iter().zip(reserves) {
            assert_eq!(registry.open_group(group, reserve), place(group));
        }
        Model {
            registry,
            reserves,
            lives: Vec::new(),
            returned: Vec::new(),
            forgotten: Vec::new(),
            tasks: Vec::new(),
        }
    }

    fn used_by(&self, group: GroupId) -> usize {
        let lives = self.lives.iter().filter(|life| life.group == group);
        let returned = self.returned.iter().filter(|(to, _)| *to == group);
        lives.map(Life::used).sum::<usize>() + returned.map(|(_, cost)| cost).sum::<usize>()
    }

    fn used(&self) -> usize {
        GROUPS.map(|group| self.used_by(group)).into_iter().sum()
    }

    /// What room there is when this was given back.
    fn room_without(&self, held: Option<(GroupId, usize)>) -> Pools {
        let used = GROUPS.map(|group| {
            let held = held.filter(|&(of, _)| of == group);
            self.used_by(group) - held.map_or(0, |(_, cost)| cost)
        });
        let beyond = |at: usize| used[at].saturating_sub(self.reserves[at]);
        let own = |at: usize| self.reserves[at].saturating_sub(used[at]);
        Pools {
            own: [own(0), own(1)],
            shared: CREDIT.engine.saturating_sub(beyond(0) + beyond(1)),
        }
    }

    fn promised(&self) -> Pools {
        let own = GROUPS.map(|group| self.registry.promised_of(place(group)));
        let shared = self.registry.promised() - own[0] - own[1];
        Pools { own, shared }
    }

    fn by(&self, at: usize, by: By) -> GroupId {
        let group = self.lives[at].group;
        match by {
            By::Own => group,
            By::Other => 3 - group,
        }
    }

    fn open(&mut self, group: GroupId, kind: Kind) {
        let channel = self.registry.open(group, kind).expect("few are open");
        let taken = self.lives.iter().filter(|life| !life.is_forgotten);
        for life in taken {
            assert_ne!(
                life.channel.number(),
                channel.number(),
                "the number was taken"
            );
        }
        if let Some(last) = self.lives.last() {
            assert!(last.channel.generation() < channel.generation());
        }
        let rested = self.forgotten.iter().position(|&it| it == channel.number());
        if let Some(at) = rested {
            assert_eq!(at, 0, "the oldest first");
            assert!(self.forgotten.len() > QUARANTINE, "rested too little");
            self.forgotten.remove(0);
        }
        self.lives.push(Life {
            channel,
            group,
            kind,
            is_closed: false,
            is_forgotten: false,
            posted: Vec::new(),
            queued: Vec::new(),
            wanted: None,
            refused_last: None,
            is_unread: false,
        });
    }

    fn expected(
        &self,
        at: usize,
        group: GroupId,
        role: Role,
        cost: usize,
        held: Option<(GroupId, usize)>,
    ) -> Result<(), Denied> {
        let life = &self.lives[at];
        let has = |role| life.posted.contains(&role);
        let is_done = has(Role::ByeResponse) || has(Role::ByeRequest) && role != Role::ByeResponse;
        let is_small_bye = role != Role::Data && cost <= SMALLEST_COST;
        let fits_channel = life.used() + cost <= CREDIT.channel;
        let fits_engine =
            cost <= self.room_without(held).of(life.group) || life.is_in_reserve(cost);
        match role {
            _ if life.is_closed => Err(Denied::Closed),
            _ if life.group != group => Err(Denied::OtherGroup),
            Role::ByeSignal => Ok(()),
            _ if life.kind == Kind::Listener => Err(Denied::IsListener),
            _ if is_done => Err(Denied::ByePosted),
            _ if is_small_bye => Ok(()),
            _ if !fits_channel => Err(Denied::ChannelFull),
            _ if !fits_engine => Err(Denied::EngineFull),
            _ => Ok(()),
        }
    }

    /// Posts a new message of `cost` bytes, or the returned one that `again` says.
    fn post(&mut self, at: usize, group: GroupId, role: Role, cost: usize, again: Option<usize>) {
        let held = again.map(|again| self.returned[again]);
        let expected = self.expected(at, group, role, cost, held);
        let life = &mut self.lives[at];
        let held = held.map(|(group, cost)| {
            let group = place(group);
            Holding { group, cost }
        });
        let outcome = self.registry.admit(life.channel, group, role, cost, held);
        assert_eq!(outcome, expected);
        if let Err(Denied::ChannelFull | Denied::EngineFull) = outcome {
            life.wanted = Some(life.wanted.map_or(cost, |before| before.min(cost)));
            life.refused_last = Some(cost);
        }
        if outcome.is_ok() && role != Role::ByeSignal {
            life.posted.push(role);
            life.queued.push(cost);
            again.map(|at| self.returned.remove(at));
            self.expect_woken(|_| false);
            self.registry.tell_goodbyes();
            self.expect_woken(|task| task.at == at && role != Role::Data);
        }
    }

    fn close(&mut self, at: usize) {
        let life = &mut self.lives[at];
        if !std::mem::replace(&mut life.is_closed, true) {
            self.registry.close(life.channel);
            self.expect_woken(|task| task.at == at);
        }
    }

    fn forget(&mut self, at: usize) {
        let life = &mut self.lives[at];
        if !life.is_closed || !life.queued.is_empty() {
            return;
        }
        self.registry.forget(life.channel);
        if !std::mem::replace(&mut life.is_forgotten, true) {
            self.forgotten.push(life.channel.number());
        }
    }

    /// What a group's reserve and the engine's credit take.
    fn free(&self, at: usize) -> usize {
        self.room_without(None).of(self.lives[at].group)
    }

    fn has_room(&self, at: usize, wanted: usize, free: usize) -> bool {
        let life = &self.lives[at];
        life.used() <= CREDIT.channel / 2 && (wanted <= free || life.is_in_reserve(wanted))
    }

    /// The least for which somebody waits on a channel.
    fn wanted(&self, at: usize) -> Option<usize> {
        let tasks = self.tasks.iter();
        let tasks = tasks.filter(|task| task.is_waiting && task.at == at);
        let by_tasks = tasks.map(|task| task.wanted);
        let by_event = self.lives[at].wanted_by_event();
        by_event.into_iter().chain(by_tasks).min()
    }

    /// As many are told as there is room for, and nobody is left for whom there is.
    fn tell(&mut self) -> bool {
        let mut told = Vec::new();
        let (room, before) = (self.room_without(None), self.promised());
        self.registry.take_room(&mut told);
        let after = self.promised();
        let (free, left) = (room.without(&before), room.without(&after));
        let unique: HashSet<_> = told.iter().collect();
        assert_eq!(unique.len(), told.len(), "told twice");
        self.registry.take_told().into_iter().for_each(Waker::wake);
        let mut used = 0;
        for at in 0..self.lives.len() {
            let (wanted, life) = (self.wanted(at), &self.lives[at]);
            let is_told = told.contains(&life.channel);
            let mut tasks = self.tasks.iter();
            let is_woken =
                tasks.any(|task| task.at == at && task.wakes.0.load(Ordering::Relaxed) > 0);
            let Some(wanted) = wanted else {
                assert!(!is_told && !is_woken, "did not wait: {life:?}");
                continue;
            };
            if is_told || is_woken {
                let free = free.of(life.group);
                assert!(self.has_room(at, wanted, free), "told of nothing: {life:?}");
                assert_eq!(is_told, life.wanted_by_event().is_some());
                used += if life.is_in_reserve(wanted) {
                    0
                } else {
                    wanted
                };
            } else {
                let left = left.of(life.group);
                assert!(!self.has_room(at, wanted, left), "not told: {life:?}");
            }
        }
        // A channel that is told again has its promise replaced, so others may be told of the old one.
        let mut pools = room.all().into_iter().zip(before.all()).zip(after.all());
        let are_backed = pools.all(|((room, before), after)| after <= room.max(before));
        let promised = self.registry.promised();
        assert!(
            used <= promised && are_backed,
            "{used} bytes, {after:?} of {room:?}"
        );
        let woken: HashSet<usize> = (0..self.tasks.len())
            .filter(|&which| self.tasks[which].wakes.0.load(Ordering::Relaxed) > 0)
            .map(|which| self.tasks[which].at)
            .collect();
        for life in &mut self.lives {
            if told.contains(&life.channel) {
                life.wanted = None;
                life.is_unread = true;
            }
        }
        self.expect_woken(|task| woken.contains(&task.at));
        !told.is_empty() || !woken.is_empty()
    }

    fn take_room(&mut self, at: usize) {
        let life = &mut self.lives[at];
        if !std::mem::replace(&mut life.is_unread, false) {
            return;
        }
        let (channel, wanted) = (life.channel, life.wanted_by_event());
        let wakes = self.registry.room_taken(channel);
        let is_due = wanted.is_some_and(|wanted| self.has_room(at, wanted, self.free(at)));
        assert!(wakes || !is_due, "nobody would tell");
    }

    /// Expects exactly these of the waiting tasks to be woken, each once.
    fn expect_woken(&mut self, is_woken: impl Fn(&Task) -> bool) {
        self.registry.take_told().into_iter().for_each(Waker::wake);
        for task in &mut self.tasks {
            let expected = task.is_waiting && is_woken(task);
            let wakes = task.wakes.0.swap(0, Ordering::Relaxed);
            assert_eq!(wakes, usize::from(expected), "{:?}", self.lives[task.at]);
            task.is_waiting &= !expected;
        }
    }

    fn poll(&mut self, which: usize) {
        let task = &self.tasks[which];
        let life = &self.lives[task.at];
        let wanted = match task.id {
            Some(_) => task.wanted,
            None => life.refused_last.unwrap_or(MESSAGE_COST_MAX),
        };
        let expected = match () {
            () if life.is_closed => Poll::Ready(Err(Denied::Closed)),
            () if life.group != task.group => Poll::Ready(Err(Denied::OtherGroup)),
            () if life.kind == Kind::Listener => Poll::Ready(Err(Denied::IsListener)),
            () if life.posted.contains(&Role::ByeResponse) => Poll::Ready(Err(Denied::ByePosted)),
            () if self.has_room(task.at, wanted, self.free(task.at)) => Poll::Ready(Ok(())),
            () => Poll::Pending,
        };
        let (channel, group) = (life.channel, task.group);
        let task = &mut self.tasks[which];
        task.wanted = wanted;
        let was_waiting = std::mem::replace(&mut task.is_waiting, expected.is_pending());
        let mut waker = Some(Waker::from(Arc::clone(&task.wakes)));
        let polled = self
            .registry
            .poll_room(channel, group, &mut task.id, &mut waker);
        assert_eq!(polled, expected);
        assert_eq!(waker.is_some(), was_waiting || expected.is_ready());
        if polled.is_ready() {
            task.is_waiting = was_waiting;
            self.leave(which);
        }
    }

    fn leave(&mut self, which: usize) {
        let task = &mut self.tasks[which];
        let channel = self.lives[task.at].channel;
        let waker = task
            .id
            .take()
            .and_then(|id| self.registry.leave(channel, id));
        assert_eq!(waker.is_some(), task.is_waiting);
        task.is_waiting = false;
    }

    fn run(&mut self, step: Step) {
        let pick = |which: usize, len: usize| (len > 0).then(|| which % len);
        let life = |which| pick(which, self.lives.len());
        match step {
            Step::Open(group, kind) => self.open(group, kind),
            Step::Post(which, by, role, len) => {
                if let Some(at) = life(which) {
                    self.post(at, self.by(at, by), role, cost_of(len), None);
                }
            }
            Step::PostAgain(which, by, role, again) => {
                if let (Some(at), Some(again)) = (life(which), pick(again, self.returned.len())) {
                    let (_, cost) = self.returned[again];
                    self.post(at, self.by(at, by), role, cost, Some(again));
                }
            }
            Step::Send(which) | Step::Return(which) => {
                let Some(at) = life(which) else { return };
                let life = &mut self.lives[at];
                let Some(at) = pick(which, life.queued.len()) else {
                    return;
                };
                let cost = life.queued.remove(at);
                if matches!(step, Step::Send(_)) {
                    self.registry.release(life.channel, cost);
                } else {
                    // Some were queued for less than they are charged now: for the same or more, as much as the most that
                    // those in a line for room want, as all that is posted here.
                    let more = LENS.map(cost_of).into_iter().filter(|&it| it >= cost);
                    let returned = more.take(1 + at % 2).last().unwrap_or(cost);
                    let queued = cost;
                    self.registry
                        .release_returned(life.channel, ReturnedCost { queued, returned });
                    self.returned.push((life.group, returned));
                }
            }
            Step::DropReturned(which) => {
                if let Some(at) = pick(which, self.returned.len()) {
                    let (group, cost) = self.returned.remove(at);
                    self.registry.release_group(place(group), cost);
                }
            }
            Step::Close(which) => life(which).into_iter().for_each(|at| self.close(at)),
            Step::Forget(which) => life(which).into_iter().for_each(|at| self.forget(at)),
            Step::Tell => {
                self.tell();
            }
            Step::Lapse => self.registry.lapse_promises(),
            Step::TakeRoom(which) => life(which).into_iter().for_each(|at| self.take_room(at)),
            Step::Wait(which, by) => {
                if let Some(at) = life(which) {
                    self.wait(at, self.by(at, by));
                }
            }
            Step::PollAgain(which) => {
                let which = pick(which, self.tasks.len());
                which.into_iter().for_each(|which| self.poll(which));
            }
            Step::Leave(which) => {
                let which = pick(which, self.tasks.len());
                which.into_iter().for_each(|which| self.leave(which));
            }
            Step::CloseGroup(group) => {
                self.registry.tell_group(group);
                self.expect_woken(|task| task.group == group);
            }
        }
    }

    fn wait(&mut self, at: usize, group: GroupId) {
        self.tasks.push(Task {
            at,
            group,
            id: None,
            wanted: 0,
            wakes: Arc::default(),
            is_waiting: false,
        });
        self.poll(self.tasks.len() - 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_registry_does_what_its_history_says(reserves in reserves(), steps in steps()) {
        let mut model = Model::new(reserves);
        model.open(1, Kind::Connection);
        for step in steps {
            model.run(step);
            prop_assert_eq!(model.registry.used(), model.used());
            prop_assert!(model.registry.lined_up() <= model.lives.len());
            let waiting = model.tasks.iter().filter(|task| task.is_waiting).count();
            prop_assert_eq!(model.registry.waiting(), waiting);
        }
        // Once all is sent and dropped, whoever still waits is told, and nothing is charged.
        for at in 0..model.lives.len() {
            for cost in std::mem::take(&mut model.lives[at].queued) {
                model.registry.release(model.lives[at].channel, cost);
            }
        }
        for (group, cost) in std::mem::take(&mut model.returned) {
            model.registry.release_group(place(group), cost);
        }
        for at in 0..model.lives.len() {
            model.take_room(at);
        }
        while model.tell() {
            model.registry.lapse_promises();
        }
        let waits = model.lives.iter().find(|life| life.wanted_by_event().is_some());
        prop_assert!(waits.is_none(), "never told: {:?}", waits);
        prop_assert!(!model.tasks.iter().any(|task| task.is_waiting), "never woken");
        prop_assert_eq!(model.registry.waiting(), 0);
        prop_assert_eq!(model.registry.used(), 0);
        for at in 0..model.lives.len() {
            model.close(at);
            model.forget(at);
        }
        for group in GROUPS {
            model.registry.end_group(group);
        }
        prop_assert_eq!(model.registry.groups(), 0, "something is left of a group");
    }
}
