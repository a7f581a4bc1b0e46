//! Random sequences against a registry that remembers everything and computes what it needs.

use std::collections::HashSet;

use proptest::prelude::*;

use crate::channel::Channel;
use crate::pool::{MESSAGE_COST_MAX, SMALLEST_COST, cost_of};
use crate::registry::{Credit, Denied, GroupId, Kind, Registry, Role};

const CREDIT: Credit = Credit {
    channel: 3 * MESSAGE_COST_MAX,
    engine: 5 * MESSAGE_COST_MAX,
};
const QUARANTINE: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Step {
    Open(GroupId, Kind),
    /// A post of a message of this length to one of the channels there were ever.
    Post(usize, GroupId, Role, usize),
    /// A message that was returned is posted again.
    PostAgain(usize, GroupId, Role, usize),
    Send(usize),
    Return(usize),
    DropReturned(usize),
    Close(usize),
    Forget(usize),
    Tell,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let group = prop_oneof![9 => Just(1u64), 1 => Just(2)];
    let kind = prop_oneof![9 => Just(Kind::Connection), 1 => Just(Kind::Listener)];
    let role = || {
        prop_oneof![
            20 => Just(Role::Data),
            1 => Just(Role::ByeRequest),
            1 => Just(Role::ByeResponse),
            1 => Just(Role::ByeSignal),
        ]
    };
    let len = prop_oneof![Just(0), Just(16_000), Just(66_000), Just(131_088)];
    let step = prop_oneof![
        2 => (group.clone(), kind).prop_map(|(group, kind)| Step::Open(group, kind)),
        12 => (any::<usize>(), group.clone(), role(), len)
            .prop_map(|(at, group, role, len)| Step::Post(at, group, role, len)),
        2 => (any::<usize>(), group, role(), any::<usize>())
            .prop_map(|(at, group, role, which)| Step::PostAgain(at, group, role, which)),
        6 => any::<usize>().prop_map(Step::Send),
        2 => any::<usize>().prop_map(Step::Return),
        2 => any::<usize>().prop_map(Step::DropReturned),
        1 => any::<usize>().prop_map(Step::Close),
        1 => any::<usize>().prop_map(Step::Forget),
        4 => Just(Step::Tell),
    ];
    prop::collection::vec(step, 1..200)
}

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
    /// Refused for want of credit since it was told of room.
    is_waiting: bool,
}

impl Life {
    fn used(&self) -> usize {
        self.queued.iter().sum()
    }
}

struct Model {
    registry: Registry,
    lives: Vec<Life>,
    returned: Vec<usize>,
    forgotten: Vec<u16>,
}

impl Model {
    fn used(&self) -> usize {
        self.lives.iter().map(Life::used).sum::<usize>() + self.returned.iter().sum::<usize>()
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
            is_waiting: false,
        });
    }

    fn expected(
        &self,
        at: usize,
        group: GroupId,
        role: Role,
        cost: usize,
        held: usize,
    ) -> Result<(), Denied> {
        let life = &self.lives[at];
        let has = |role| life.posted.contains(&role);
        let is_done = has(Role::ByeResponse) || has(Role::ByeRequest) && role != Role::ByeResponse;
        let fits =
            life.used() + cost <= CREDIT.channel && self.used() - held + cost <= CREDIT.engine;
        match role {
            _ if life.is_closed => Err(Denied::Closed),
            _ if life.group != group => Err(Denied::OtherGroup),
            Role::ByeSignal => Ok(()),
            _ if life.kind == Kind::Listener => Err(Denied::IsListener),
            _ if is_done => Err(Denied::ByePosted),
            _ if !fits && (role == Role::Data || cost > SMALLEST_COST) => Err(Denied::Full),
            _ => Ok(()),
        }
    }

    /// Posts a new message of `cost` bytes, or the returned one that `again` says.
    fn post(&mut self, at: usize, group: GroupId, role: Role, cost: usize, again: Option<usize>) {
        let held = again.map_or(0, |_| cost);
        let expected = self.expected(at, group, role, cost, held);
        let life = &mut self.lives[at];
        let outcome = self.registry.admit(life.channel, group, role, cost, held);
        assert_eq!(outcome, expected);
        life.is_waiting |= outcome == Err(Denied::Full);
        if outcome.is_ok() && role != Role::ByeSignal {
            life.posted.push(role);
            life.queued.push(cost);
            again.map(|at| self.returned.remove(at));
        }
    }

    fn close(&mut self, at: usize) {
        let life = &mut self.lives[at];
        if !std::mem::replace(&mut life.is_closed, true) {
            self.registry.close(life.channel);
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

    fn tell(&mut self) {
        let mut told = Vec::new();
        let engine_has_room = self.used() + MESSAGE_COST_MAX <= CREDIT.engine;
        self.registry.take_room(&mut told);
        let unique: HashSet<_> = told.iter().collect();
        assert_eq!(unique.len(), told.len(), "told twice");
        for life in &mut self.lives {
            let has_room = engine_has_room && life.used() <= CREDIT.channel / 2;
            let expected = life.is_waiting && !life.is_closed && has_room;
            assert_eq!(told.contains(&life.channel), expected, "{life:?}");
            life.is_waiting &= !expected;
        }
    }

    fn run(&mut self, step: Step) {
        let pick = |which: usize, len: usize| (len > 0).then(|| which % len);
        let life = |which| pick(which, self.lives.len());
        match step {
            Step::Open(group, kind) => self.open(group, kind),
            Step::Post(which, group, role, len) => {
                if let Some(at) = life(which) {
                    self.post(at, group, role, cost_of(len), None);
                }
            }
            Step::PostAgain(which, group, role, again) => {
                if let (Some(at), Some(again)) = (life(which), pick(again, self.returned.len())) {
                    self.post(at, group, role, self.returned[again], Some(again));
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
                    self.registry.release_channel(life.channel, cost);
                    self.returned.push(cost);
                }
            }
            Step::DropReturned(which) => {
                if let Some(at) = pick(which, self.returned.len()) {
                    self.registry.release_engine(self.returned.remove(at));
                }
            }
            Step::Close(which) => life(which).into_iter().for_each(|at| self.close(at)),
            Step::Forget(which) => life(which).into_iter().for_each(|at| self.forget(at)),
            Step::Tell => self.tell(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_registry_does_what_its_history_says(steps in steps()) {
        let registry = Registry::with_quarantine(CREDIT, QUARANTINE);
        let mut model = Model { registry, lives: Vec::new(), returned: Vec::new(), forgotten: Vec::new() };
        model.open(1, Kind::Connection);
        for step in steps {
            model.run(step);
            prop_assert_eq!(model.registry.used(), model.used());
            prop_assert!(model.registry.lined_up() <= model.lives.len());
        }
        // Once all is sent and dropped, whoever still waits is told, and nothing is charged.
        for at in 0..model.lives.len() {
            for cost in std::mem::take(&mut model.lives[at].queued) {
                model.registry.release(model.lives[at].channel, cost);
            }
        }
        for cost in std::mem::take(&mut model.returned) {
            model.registry.release_engine(cost);
        }
        model.tell();
        let waits = model.lives.iter().find(|life| life.is_waiting && !life.is_closed);
        prop_assert!(waits.is_none(), "never told: {:?}", waits);
        prop_assert_eq!(model.registry.used(), 0);
        for at in 0..model.lives.len() {
            model.close(at);
            model.forget(at);
        }
    }
}
