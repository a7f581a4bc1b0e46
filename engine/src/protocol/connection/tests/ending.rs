//! How a connection ends.

use super::*;

fn is_finishing(it: &Alone) -> bool {
    let finishes = |action: &Action| matches!(action, Action::FinishSending { .. });
    it.actions.closing.iter().any(finishes)
}

#[test]
fn who_is_closed_behind_its_goodbye_keeps_its_side_open_until_that_is_answered() {
    let mut it = Alone::new();
    it.post(OpCode::ByeRequest, 5, b"");
    it.write(usize::MAX);
    let deadline = it.now + Duration::from_secs(3);
    it.act(|it, context| it.close(Reason::GroupClosed, deadline, context));
    assert!(!is_finishing(&it), "the peer may ask for a last word still");
    it.receive(OpCode::ByeResponse, 5, b"");
    assert_eq!(it.settle(), []);
    let (reason, account) = it.closed();
    assert_eq!((reason, account.confirmed), (Reason::Bye, 2));
}

#[test]
fn nothing_comes_back_while_more_may_be_admitted() {
    let creditor: Arc<dyn Creditor> = Arc::new(Nobody);
    for fail in [
        Connection::handle_write_error,
        Connection::handle_read_error,
    ] {
        let mut it = Alone::new();
        it.post(OpCode::Signal, 0, b"first");
        it.act(|it, context| fail(it, &broken_pipe(), context));
        assert!(!it.connection.is_unsendable());
        let cost = it.act(|it, context| it.return_unsendable(&creditor, context));
        assert_eq!((cost, it.events.len()), (0, 0));
        it.post(OpCode::Signal, 0, b"admitted before it was closed to posts");
        assert_eq!(it.settle().len(), 2);
    }
}
