//! What is counted, and that nothing of it stays.

use super::*;

#[test]
fn nothing_is_kept_of_a_connection_that_is_gone_once_all_it_held_is_dropped() {
    let mut budget = Budget::new(100, 1000);
    let group = budget.open(0);
    budget.depart(key(1), group, 0);
    assert!(budget.departed.is_empty(), "it held nothing");
    ask(&mut budget, 2, group, 60).unwrap();
    budget.depart(key(2), group, 60);
    budget.release_departed(key(2), 20);
    assert_eq!(budget.departed[&key(2)], (group, 40));
    budget.release_departed(key(2), 40);
    assert!(budget.departed.is_empty());
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_connection_may_hold_all_of_its_share_and_no_more() {
    let budget = Budget::new(1000, 100);
    assert!(budget.share_allows(40, 60));
    assert!(!budget.share_allows(40, 61));
    assert!(budget.share_allows(0, 500), "one message it may hold");
}

#[test]
fn a_newcomer_whose_frame_the_reserve_would_take_does_not_overtake_its_own_group() {
    let mut budget = Budget::new(100, 1000);
    let (other, group) = (budget.open(0), budget.open(50));
    ask(&mut budget, 1, other, 100).unwrap();
    ask(&mut budget, 2, group, 60).unwrap_err();
    ask(&mut budget, 3, group, 10).unwrap_err();
    budget.release(other, 100);
    assert_eq!(budget.serve_next(), Some((key(2), 60)));
    assert_eq!(budget.serve_next(), Some((key(3), 10)));
}

#[test]
fn a_frame_is_charged_by_its_header_while_half_of_the_budget_is_left_then() {
    let mut budget = Budget::new(100, 1000);
    let group = budget.open(0);
    assert!(budget.is_ample(group, 50));
    assert!(!budget.is_ample(group, 51));
    ask(&mut budget, 1, group, 30).unwrap();
    assert!(budget.is_ample(group, 20));
    assert!(!budget.is_ample(group, 21));
}

#[test]
fn the_part_of_a_group_that_ends_with_nothing_held_is_the_next_group_s() {
    let mut budget = Budget::new(100, 1000);
    let group = budget.open(10);
    budget.close(group);
    assert_eq!(budget.open(10), group);
}

#[test]
fn looking_up_is_worth_an_eighth_of_what_a_connection_may_hold() {
    assert_eq!(Budget::new(800, 8000).hunger(), 100);
    assert_eq!(Budget::new(8000, 800).hunger(), 100);
}

#[test]
fn beside_who_waits_nothing_is_allowed_but_what_is_left_of_a_reserve() {
    let mut budget = Budget::new(100, 1000);
    let [one, other, third] = [30, 0, 20].map(|reserve| budget.open(reserve));
    assert_eq!(budget.allowance(one, 0), 130);
    ask(&mut budget, 1, one, 10).unwrap();
    ask(&mut budget, 2, other, 60).unwrap();
    assert_eq!(budget.allowance(one, 10), 60);
    ask(&mut budget, 3, one, 70).unwrap_err();
    assert_eq!(budget.allowance(one, 0), 0, "behind its own");
    assert_eq!(budget.allowance(other, 0), 0);
    assert_eq!(budget.allowance(third, 0), 20);
}

#[test]
fn no_more_is_allowed_to_a_connection_than_its_share() {
    let mut budget = Budget::new(1000, 100);
    let group = budget.open(0);
    assert_eq!(budget.allowance(group, 40), 60);
    assert_eq!(budget.allowance(group, 140), 0);
}
