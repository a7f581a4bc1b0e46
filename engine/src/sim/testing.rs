//! Engines on a simulated network, under a virtual clock: for the tests of services (feature `testing`).
//!
//! A service is tested in a network that is slow, breaks connections, and kills its processes, thousands of times
//! in a minute, and each run can be repeated: one seed, one run. The engines are the real ones; what is simulated is
//! what they stand on, the sockets, the clock, and which of them comes first.
//!
//! All of a [`Simulation`] happens in one thread, where nothing can wait. So services are written as tasks, which
//! await: [`Inbox::recv_async`](crate::Inbox::recv_async), [`ChannelGroup::send`](crate::ChannelGroup::send),
//! [`ChannelGroup::call`](crate::ChannelGroup::call). What would block returns at once, with nothing, or panics where it
//! cannot, as in [`Inbox::recv`](crate::Inbox::recv).
//!
//! ```
//! use std::time::Duration;
//! use ampe::testing::{for_each_seed, Simulation};
//! use ampe::{ChannelGroup, Event, GroupOptions, Inbox, Options};
//!
//! /// What is tested: answers each request by itself.
//! async fn serve(group: ChannelGroup, mut inbox: Inbox) {
//!     while let Ok(event) = inbox.recv_async().await {
//!         if let Event::Request(request) = event {
//!             let _ = group.send(request.echo()).await; // refused if the client has gone
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! for_each_seed(100, |mut simulation: Simulation| {
//!     let server = simulation.engine(Options::default()).unwrap();
//!     let client = simulation.engine(Options::default()).unwrap();
//!     let (group, inbox) = server.group(GroupOptions::default()).unwrap();
//!     group.listen(&"tcp://server:7000".parse().unwrap()).unwrap();
//!     simulation.spawn(serve(group, inbox));
//!     simulation.run_for(Duration::from_secs(1)); // by then it listens
//!
//!     let handle = simulation.handle();
//!     simulation.run(async move {
//!         let (group, _inbox) = client.group(GroupOptions::default()).unwrap();
//!         let channel = group.connect(&"tcp://server:7000".parse().unwrap()).unwrap();
//!         let request = group.message().with_body(b"hello").unwrap();
//!         let deadline = handle.now() + Duration::from_secs(60); // of the virtual clock: nobody waits for it
//!         let answer = group.call(channel, request, deadline).await.unwrap();
//!         assert_eq!(answer.body(), b"hello");
//!     });
//! });
//! # Ok(()) }
//! ```
//!
//! # The network
//!
//! Every name is the name of one host, and port and path are where one listens: `tcp://server:7000` and
//! `tcp://127.0.0.1:7000` are the same. All who connect come from one address, `10.0.0.1:40000`. Port 7 refuses every connection, and nobody answers at port 9. How fast and
//! how unkind it is say the [`Conditions`], which are drawn from the seed unless they are given.
//!
//! # The clock
//!
//! Time stands still while anybody can do something, and then is at once when somebody can. [`Handle::now`] says
//! what time it is, [`Handle::sleep`] waits. Deadlines are of this clock; `Instant::now()` is none of its times. What is to be
//! used outside of simulations as well asks [`now`](crate::now), which is the time of either, as `ampe-patterns` do.

mod conditions;
mod node;
mod seeds;
mod simulation;
mod tasks;
#[cfg(test)]
mod tests;

pub use conditions::Conditions;
pub use seeds::for_each_seed;
pub use simulation::{Handle, Simulation, Sleep};
pub use tasks::Task;
