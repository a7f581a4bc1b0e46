use super::*;

#[test]
fn a_key_from_before_finds_and_removes_nobody() {
    let mut table = Table::new();
    let first = table.insert_with(|_| "first");
    assert_eq!(table.remove(first), Some("first"));
    let second = table.insert_with(|_| "second");
    assert_eq!(second.index, first.index);
    assert_eq!(table.get(first), None);
    assert_eq!(table.get_mut(first), None);
    assert_eq!(table.remove(first), None);
    assert_eq!((table.get(second), table.len()), (Some(&"second"), 1));
}
