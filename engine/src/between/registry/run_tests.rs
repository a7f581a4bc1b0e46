//! Posts that are admitted in runs.

use proptest::prelude::*;

use crate::between::registry::{Credit, Kind, Registry, Role, Run};
use crate::channel::Channel;
use crate::storage::SMALLEST_COST;

use super::registry::{CREDIT, GROUP, LARGEST, connection, post};

const COSTS: [usize; 4] = [SMALLEST_COST, 4000, 70_000, LARGEST];

/// A registry in which two channels of a group, which has a reserve or none, have something queued.
fn registry(reserve: usize, queued: [usize; 2]) -> (Registry, [Channel; 2]) {
    let mut registry = Registry::new(Credit {
        channel: CREDIT.channel / 2,
        engine: CREDIT.channel / 2, // so that either of the two is used up first
    });
    registry.open_group(GROUP, reserve);
    let channels = [(); 2].map(|()| connection(&mut registry));
    for (channel, cost) in channels.into_iter().zip(queued) {
        for part in [cost / 2, cost - cost / 2] {
            let part = part.min(LARGEST);
            let _ = registry.admit(channel, GROUP, Role::Data, part, None);
        }
    }
    (registry, channels)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 2000,
        ..ProptestConfig::default()
    })]

    /// Whatever is left of the channel's budget, the group's, the engine's, and the channel's reserve.
    #[test]
    fn a_run_admits_what_would_be_admitted_one_by_one(
        reserve in prop_oneof![Just(0), Just(LARGEST)],
        queued in [0..2 * LARGEST, 0..2 * LARGEST],
        steps in prop::collection::vec((0..20_usize, 0..COSTS.len()), 1..60),
    ) {
        let (mut by_one, channels) = registry(reserve, queued);
        let (mut in_runs, others) = registry(reserve, queued);
        let mut run = None;
        for (draw, cost) in steps {
            let (index, cost) = (draw / 19, COSTS[cost]); // mostly the same channel
            let expected = by_one.admit(channels[index], GROUP, Role::Data, cost, None);
            let of_run = run.as_mut().filter(|run: &&mut Run| run.channel() == others[index]);
            if of_run.is_some_and(|run| run.take(cost)) {
                prop_assert_eq!(expected, Ok(()));
                continue;
            }
            if let Some(run) = run.take() {
                in_runs.end_run(run);
            }
            let admitted = in_runs.admit(others[index], GROUP, Role::Data, cost, None);
            prop_assert_eq!(admitted, expected);
            if admitted.is_ok() {
                run = in_runs.begin_run(others[index]);
            }
        }
        if let Some(run) = run {
            in_runs.end_run(run);
        }
        prop_assert_eq!(in_runs.used(), by_one.used());
        for (one, other) in channels.into_iter().zip(others) {
            let one = by_one.progress(one, GROUP).map(|it| it.posted);
            prop_assert_eq!(in_runs.progress(other, GROUP).map(|it| it.posted), one);
            // What is left of the channel's own budget is the same.
            for cost in COSTS.into_iter().rev() {
                let admitted = in_runs.admit(other, GROUP, Role::Data, cost, None);
                prop_assert_eq!(by_one.admit(channels[usize::from(other == others[1])], GROUP, Role::Data, cost, None), admitted);
            }
        }
    }
}

#[test]
fn a_run_takes_what_there_is_room_for_and_no_more() {
    let (mut registry, [channel, _]) = registry(0, [0; 2]);
    post(&mut registry, channel, Role::Data).unwrap();
    let mut run = registry.begin_run(channel).unwrap();
    assert!(run.take(LARGEST));
    assert!(!run.take(1), "the channel's budget is used up");
    registry.end_run(run);
    assert_eq!(registry.used(), 2 * LARGEST);
    assert!(!registry.begin_run(channel).unwrap().take(1));
}

#[test]
fn behind_a_goodbye_no_run_begins() {
    let (mut registry, [channel, other]) = registry(0, [0; 2]);
    assert!(registry.begin_run(channel).is_some());
    registry
        .admit(channel, GROUP, Role::ByeRequest, SMALLEST_COST, None)
        .unwrap();
    assert!(registry.begin_run(channel).is_none());
    let listener = registry.open(GROUP, Kind::Listener).unwrap();
    assert!(registry.begin_run(listener).is_none());
    registry.close(other);
    assert!(registry.begin_run(other).is_none());
}
