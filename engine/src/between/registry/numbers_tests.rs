//! Whom a number is given to, whatever others hold.

use proptest::prelude::*;

use crate::between::registry::{Credit, GroupId, Held, Kind, NUMBERS_RESERVED, Numbers, Registry};
use crate::channel::Channel;
use crate::storage::MESSAGE_COST_MAX;

const ALL: usize = 65_534;
const QUARANTINE: usize = 1024;

fn registry(groups: GroupId) -> Registry {
    let mut registry = Registry::new(Credit {
        channel: 2 * MESSAGE_COST_MAX,
        engine: 2 * MESSAGE_COST_MAX,
    });
    for group in 1..=groups {
        registry.open_group(group, 0);
    }
    registry
}

/// Opens channels for a group until there is no number for it.
fn take_all(registry: &mut Registry, group: GroupId) -> Vec<Channel> {
    let open = || registry.open(group, Kind::Connection);
    std::iter::from_fn(open).collect()
}

fn end(registry: &mut Registry, channel: Channel) {
    registry.close(channel);
    registry.forget(channel);
}

/// Its channels end, and it never receives that they have.
#[test]
fn a_group_that_gives_no_number_back_leaves_each_other_group_its_reserve() {
    let mut registry = registry(3);
    let held = take_all(&mut registry, 1);
    assert_eq!(held.len(), ALL - 2 * NUMBERS_RESERVED);
    held.iter().for_each(|&channel| {
        registry.close(channel);
    });
    assert_eq!(take_all(&mut registry, 1), [], "closed, and not received");
    for group in [2, 3] {
        let taken = take_all(&mut registry, group);
        assert_eq!(taken.len(), NUMBERS_RESERVED);
    }
}

/// They go on for ever with what they have, and it is not less for resting.
#[test]
fn what_a_group_gives_back_into_its_reserve_is_its_own_though_it_rests() {
    let mut registry = registry(2);
    let mut busy: Vec<Channel> = Vec::new();
    for _ in 0..2 * QUARANTINE {
        let channel = registry.open(2, Kind::Connection).unwrap();
        end(&mut registry, channel);
    }
    let held = take_all(&mut registry, 1);
    assert_eq!(
        held.len(),
        ALL - NUMBERS_RESERVED,
        "those that rest among them"
    );
    for _ in 0..2 * QUARANTINE {
        busy.extend(registry.open(2, Kind::Connection));
        if busy.len() == NUMBERS_RESERVED {
            assert_eq!(registry.open(2, Kind::Connection), None);
            assert_eq!(registry.open(1, Kind::Connection), None);
            busy.drain(..)
                .for_each(|channel| end(&mut registry, channel));
            assert_eq!(registry.open(1, Kind::Connection), None);
        }
    }
}

#[test]
fn a_group_that_ends_leaves_the_others_its_reserve_and_then_its_numbers() {
    let mut registry = registry(3);
    let mut held = take_all(&mut registry, 1);
    let last = registry.open(3, Kind::Connection).unwrap();
    registry.end_group(2);
    held.extend(take_all(&mut registry, 1));
    assert_eq!(held.len(), ALL - NUMBERS_RESERVED);
    registry.end_group(3);
    held.extend(take_all(&mut registry, 1));
    assert_eq!(held.len(), ALL - 1, "its reserve, but for what it holds");
    assert_eq!(registry.groups(), 2);
    end(&mut registry, last);
    assert_eq!(registry.groups(), 1, "nothing is left of it");
    assert_eq!(take_all(&mut registry, 1).len(), 1);
}

/// What there was when they were opened is shared by those who have least.
#[test]
fn groups_that_come_when_few_numbers_are_left_take_no_others_whole_reserve() {
    let mut registry = registry(2);
    let mut held = take_all(&mut registry, 1);
    registry.open_group(3, 0);
    let late = take_all(&mut registry, 3);
    assert_eq!(late.len(), NUMBERS_RESERVED / 2);
    let early = take_all(&mut registry, 2);
    assert_eq!(early.len(), NUMBERS_RESERVED / 2);

    // What is given back is theirs before it is anybody's.
    for _ in 0..NUMBERS_RESERVED {
        end(&mut registry, held.pop().unwrap());
        assert_eq!(registry.open(1, Kind::Connection), None);
    }
    assert_eq!(take_all(&mut registry, 3).len(), NUMBERS_RESERVED / 2);
    assert_eq!(take_all(&mut registry, 2).len(), NUMBERS_RESERVED / 2);
}

#[test]
fn very_many_groups_reserve_half_of_the_numbers_and_one_each_at_least() {
    for (groups, each) in [(511, 64), (512, 63), (1000, 32), (40_000, 1)] {
        let mut registry = registry(groups);
        let taken = take_all(&mut registry, 1).len();
        let others = groups as usize - 1;
        assert_eq!(taken, ALL - others * each, "of {groups} groups");
    }
    // With more groups than numbers, each is for whoever comes first and has none.
    let mut registry = registry(70_000);
    for group in 1..=ALL as GroupId {
        let first = registry.open(group, Kind::Connection);
        assert!(first.is_some());
        assert_eq!(registry.open(group, Kind::Connection), None);
    }
    assert_eq!(registry.open(70_000, Kind::Connection), None);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    OpenGroup,
    EndGroup(usize),
    Take(usize),
    GiveBack(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::OpenGroup),
        1 => any::<usize>().prop_map(Step::EndGroup),
        12 => (0..3usize).prop_map(Step::Take),
        4 => any::<usize>().prop_map(Step::Take),
        6 => (any::<usize>(), any::<usize>()).prop_map(|(group, at)| Step::GiveBack(group, at)),
    ];
    prop::collection::vec(step, 1..300)
}

const MAX: u16 = 40;
const RESERVE: usize = 6;

/// Groups, with what they hold; the model remembers the numbers themselves.
struct Model {
    numbers: Numbers,
    groups: Vec<(Held, Vec<u16>)>,
    is_open: Vec<bool>,
}

impl Model {
    fn free(&self) -> usize {
        usize::from(MAX)
            - self
                .groups
                .iter()
                .map(|(_, held)| held.len())
                .sum::<usize>()
    }

    fn reserve(&self) -> usize {
        let open = self.is_open.iter().filter(|&&is_open| is_open).count();
        (usize::from(MAX) / 2 / open.max(1)).clamp(1, RESERVE)
    }

    /// How many numbers the open groups lack to have so many each.
    fn lacking(&self, each: usize) -> usize {
        let open = self.groups.iter().zip(&self.is_open).filter(|it| *it.1);
        open.map(|((_, held), _)| each.saturating_sub(held.len()))
            .sum()
    }

    /// What each group can have for sure.
    fn level(&self) -> usize {
        let levels = (0..=self.reserve()).rev();
        let mut enough = levels.filter(|&each| self.lacking(each) <= self.free());
        enough.next().unwrap()
    }

    fn take(&mut self, at: usize) {
        let (level, held) = (self.level(), self.groups[at].1.len());
        let is_left = self.free() > self.lacking(level);
        let is_due = held < level || is_left && (level == self.reserve() || held == level);
        let number = self.numbers.take(&mut self.groups[at].0);
        assert_eq!(number.is_some(), is_due, "{held} held at level {level}");
        let Some(number) = number else { return };
        assert!((1..=MAX).contains(&number));
        let mut taken = self.groups.iter().flat_map(|(_, held)| held);
        assert!(taken.all(|&other| other != number), "{number} was taken");
        self.groups[at].1.push(number);
        assert!(self.level() >= level, "somebody's reserve became less");
    }
}

impl Model {
    fn run(&mut self, step: Step) {
        let pick = |which: usize, len: usize| (len > 0).then(|| which % len);
        let group = |which| pick(which, self.groups.len());
        let open = |which| group(which).filter(|&at| self.is_open[at]);
        match step {
            Step::OpenGroup => {
                self.groups.push((self.numbers.open_group(), Vec::new()));
                self.is_open.push(true);
            }
            Step::EndGroup(which) => {
                if let Some(at) = open(which) {
                    self.is_open[at] = false;
                    self.numbers.end_group(&mut self.groups[at].0);
                }
            }
            Step::Take(which) => {
                if let Some(at) = open(which) {
                    self.take(at);
                }
            }
            Step::GiveBack(which, index) => {
                let Some(at) = group(which) else { return };
                let (held, numbers) = &mut self.groups[at];
                if let Some(index) = pick(index, numbers.len()) {
                    self.numbers.rest(held, numbers.remove(index));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn numbers_go_to_whom_they_are_due(steps in steps()) {
        let numbers = Numbers::with_limits(MAX, 3, RESERVE);
        let mut model = Model { numbers, groups: Vec::new(), is_open: Vec::new() };
        for step in [&[Step::OpenGroup; 2], &steps[..]].concat() {
            model.run(step);
        }
        for (at, (held, numbers)) in model.groups.iter_mut().enumerate() {
            numbers.drain(..).for_each(|number| model.numbers.rest(held, number));
            if model.is_open[at] {
                prop_assert!(!held.is_done());
                model.numbers.end_group(held);
            }
            prop_assert!(held.is_done());
        }
    }
}
