//! Passes that a task makes.

use std::task::Waker;

use super::super::in_task::Passed;
use super::*;

#[test]
fn a_task_makes_a_pass_in_its_own_thread() {
    let bench = Bench::new();
    assert!(bench.shared.begin_task());
    let me = thread::current().id();
    bench.step(Step::Nothing);
    let passed = bench.shared.pass_in_task(Waker::noop(), Reads::Yes);
    assert_eq!(passed, Passed::All);
    assert_eq!(bench.next_did(), Did::Waits(me));
    assert_eq!(bench.next_did(), Did::Works(me, Reads::Yes));
    let passed = bench.shared.pass_in_task(Waker::noop(), Reads::No);
    assert_eq!(passed, Passed::All);
    assert_eq!(bench.next_did(), Did::Works(me, Reads::No));
    bench.shared.end_task();
}

#[test]
fn what_is_due_at_once_is_left_to_a_pass_of_the_task() {
    let bench = Bench::new();
    assert!(bench.shared.begin_task());
    *bench.rest.lock().unwrap() = Rest::Until(Some(Instant::now()));
    let passed = bench.shared.pass_in_task(Waker::noop(), Reads::No);
    assert_eq!(passed, Passed::LeavesReady);
    bench.shared.end_task();
}

#[test]
fn a_panic_in_the_pass_of_a_task_ends_the_engine_and_not_the_task() {
    for step in [Step::Panic, Step::Fail] {
        let mut bench = Bench::new();
        assert!(bench.shared.begin_task());
        bench.step(step);
        let pass = || bench.shared.pass_in_task(Waker::noop(), Reads::Yes);
        assert_eq!(pass(), Passed::All, "it was woken to begin");
        assert_eq!(pass(), Passed::Over);
        bench.start_stand_in();
        assert!(matches!(bench.inbox().recv(), Err(Ended::EngineFailed)));
        assert_eq!(bench.post(), Err(PostError::EngineEnded));
        let passed = bench.shared.pass_in_task(Waker::noop(), Reads::Yes);
        assert_eq!(passed, Passed::Over);
        bench.shared.end_task();
    }
}
