//! A server, as the test runs it too, and how it is asked.

use std::error::Error;
use std::time::{Duration, Instant};

use ampe::{
    Address, CallError, Channel, ChannelGroup, Event, Inbox, Outbox, Post, PostError, Request,
};

/// What may wait for one client that does not read its answers, in bytes.
const WAITING: usize = 16 << 20;

/// How long the end of the server may take.
const GOODBYE: Duration = Duration::from_secs(5);

/// The answer to one request: this is yours to write.
fn answer(group: &ChannelGroup, request: Request) -> Post {
    if request.body().is_empty() {
        return request.refuse("say something");
    }
    let said = String::from_utf8_lossy(request.body()).to_uppercase();
    match group.message().with_body(said.as_bytes()) {
        Ok(message) => request.reply(message),
        Err(error) => request.refuse(&error.to_string()),
    }
}

/// Answers whoever asks, until somebody notifies the group. `listening` is told the address.
///
/// # Errors
///
/// The address cannot be listened on.
pub fn serve(
    group: &ChannelGroup,
    mut inbox: Inbox,
    address: &Address,
    mut listening: impl FnMut(&Address),
) -> Result<(), Box<dyn Error>> {
    let listener = group.listen(address)?;
    let mut outbox = Outbox::new(group.clone(), WAITING);
    for event in inbox.iter() {
        outbox.observe(&event); // room for what waits, or the end of its channel
        let answer = match event {
            Event::Listening(it) => {
                listening(it.address());
                continue;
            }
            Event::Hello(hello) => hello.accept(group.message()),
            Event::Request(request) => answer(group, request),
            // Behind all answers that wait.
            Event::Bye(bye) => bye.answer(group.message()),
            Event::Closed(closed) if closed.channel() == listener => {
                return Err(closed.to_string().into());
            }
            Event::Closed(closed) => {
                println!("{closed}");
                continue;
            }
            Event::Notified(_) => break,
            _ => continue,
        };
        if let Err(refused) = outbox.post(answer)
            && let (Some(channel), PostError::Full(_)) = (refused.post.channel(), refused.why)
        {
            // This one asks and asks, and reads nothing.
            let _ = group.post(Post::abort(channel)); // refused if it has gone by itself
        }
    }
    let report = inbox.close(GOODBYE);
    println!("stopped; {} answers not sent", report.returned.len());
    Ok(())
}

/// Asks once, for `patience` at most.
///
/// # Errors
///
/// There was no answer. The text says whether the request can have been served.
pub fn ask(
    group: &ChannelGroup,
    server: Channel,
    what: &[u8],
    patience: Duration,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let request = group.message().with_body(what)?;
    match group
        .call(server, request, Instant::now() + patience)
        .wait()
    {
        Ok(answer) => Ok(answer.body().to_vec()),
        Err(CallError::NotSent(it)) => Err(format!("not sent, so ask again: {}", it.why).into()),
        Err(CallError::Refused { why, .. }) => Err(format!("refused: {why}").into()),
        Err(unknown) => Err(format!("it may have been served: {unknown}").into()),
    }
}
