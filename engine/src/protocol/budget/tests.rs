mod bookkeeping;

use super::*;

fn key(index: u32) -> RecordKey {
    RecordKey {
        index,
        generation: 1,
    }
}

fn ask(budget: &mut Budget, index: u32, budget_key: BudgetKey, cost: usize) -> Result<(), Starved> {
    let mut held = 0;
    let asking = Asking {
        key: key(index),
        budget_key,
        held: &mut held,
    };
    budget.charge(asking, cost)
}

#[test]
fn a_newcomer_whose_frame_would_fit_does_not_overtake_who_waits_in_line() {
    let mut budget = Budget::new(100, 1000);
    let group = budget.open(0);
    ask(&mut budget, 1, group, 60).unwrap();
    assert!(matches!(
        ask(&mut budget, 2, group, 50),
        Err(Starved::InLine(_))
    ));
    assert!(matches!(
        ask(&mut budget, 3, group, 10),
        Err(Starved::InLine(_))
    ));
    let other = budget.open(0);
    assert!(matches!(
        ask(&mut budget, 4, other, 10),
        Err(Starved::InLine(_))
    ));
    assert_eq!(budget.serve_next(), None);
    budget.release(group, 60);
    let served = std::iter::from_fn(|| budget.serve_next());
    assert_eq!(
        served.collect::<Vec<_>>(),
        [(key(2), 50), (key(3), 10), (key(4), 10)]
    );
    assert!(!budget.is_starving());
}

#[test]
fn a_group_takes_its_reserve_whatever_the_others_hold() {
    let mut budget = Budget::new(100, 1000);
    let (greedy, modest) = (budget.open(20), budget.open(20));
    ask(&mut budget, 1, greedy, 120).unwrap();
    assert!(ask(&mut budget, 2, greedy, 1).is_err());
    ask(&mut budget, 3, modest, 15).unwrap();
    let waits = ask(&mut budget, 4, modest, 10);
    assert!(
        matches!(waits, Err(Starved::InLine(_))),
        "beyond its reserve"
    );
    budget.release(modest, 15);
    assert_eq!(budget.serve_next(), Some((key(4), 10)), "others wait on");
    assert_eq!(budget.serve_next(), None);
    assert_eq!(budget.used(), 130);
}

#[test]
fn a_large_frame_that_waits_for_the_shared_part_is_not_passed_by_small_ones_for_ever() {
    let mut budget = Budget::new(100, 1000);
    let (one, two) = (budget.open(0), budget.open(0));
    ask(&mut budget, 1, one, 50).unwrap();
    ask(&mut budget, 2, one, 50).unwrap();
    ask(&mut budget, 3, two, 80).unwrap_err();
    ask(&mut budget, 4, one, 10).unwrap_err();
    budget.release(one, 50);
    assert_eq!(budget.serve_next(), None, "the large one came first");
    budget.release(one, 50);
    assert_eq!(budget.serve_next(), Some((key(3), 80)));
    assert_eq!(budget.serve_next(), Some((key(4), 10)));
}

#[test]
fn what_is_larger_than_everything_passes_alone() {
    let mut budget = Budget::new(100, 50);
    let group = budget.open(0);
    ask(&mut budget, 1, group, 500).unwrap();
    ask(&mut budget, 2, group, 1).unwrap_err();
    budget.release(group, 500);
    assert_eq!(budget.serve_next(), Some((key(2), 1)));
}

#[test]
fn an_account_is_anothers_only_once_nothing_is_held_of_it() {
    let mut budget = Budget::new(100, 1000);
    let group = budget.open(30);
    ask(&mut budget, 1, group, 40).unwrap();
    budget.depart(key(1), group, 40);
    budget.close(group);
    let next = budget.open(30);
    assert_ne!(next, group);
    ask(&mut budget, 2, next, 120).unwrap();
    ask(&mut budget, 3, next, 1).unwrap_err();
    budget.release_departed(key(1), 40);
    assert_eq!(budget.serve_next(), Some((key(3), 1)));
    assert_eq!(budget.open(30), group);
}

#[test]
fn who_leaves_the_line_is_not_served() {
    let mut budget = Budget::new(10, 1000);
    let group = budget.open(0);
    ask(&mut budget, 1, group, 10).unwrap();
    let first = ask(&mut budget, 2, group, 5).unwrap_err();
    ask(&mut budget, 3, group, 5).unwrap_err();
    budget.leave(group, first);
    budget.release(group, 10);
    assert_eq!(budget.serve_next(), Some((key(3), 5)));
    assert_eq!(budget.serve_next(), None);
    assert_eq!((budget.starved(), budget.waiting().count()), (0, 0));
}
