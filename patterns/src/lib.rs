//! Patterns of messaging, on top of [`ampe`]: what most programs need, and an engine should not decide.
//!
//! | | |
//! |---|---|
//! | [`Dialer`] | a connection that is made again when it ends |
//! | [`service`] | requests for workers, answers in any order, an end in good order |
//! | [`publish`] | topics for those who want them, and an account of what each has missed |
//! | [`work_queue`] | jobs for workers that may die: each ends done, failed, or maybe done |
//! | `body` | bodies from types, and back: JSON and postcard |
//!
//! Nothing is lost without a word: a request is answered or refused, a publication posted or counted as dropped, a job
//! done, failed or told as unknown; and a message that was posted again, or is given to another, is never one that may
//! have arrived, unless that is said. What each of them may hold in memory is bounded, and its page says by what.
//!
//! The application may post to their channels as well, and call. The message ids from 2^63 on are the patterns' there: the
//! engine gives none of them, and who [chooses ids](ampe::Post::with_id) is to choose others.
//!
//! # In threads and in tasks
//!
//! Each is a plain value that is shown the events of a group's inbox and says what they mean: there are no
//! callbacks, and no runtime. In a thread its `recv` waits for the next event. In a task, or another loop, show each event to
//! `observe`, and call `advance` when it is `due`, though none has come (of a [`Dialer`], `dial_if_due`). With `smol`,
//! for example:
//!
//! ```
//! use std::time::Instant;
//! use ampe::Inbox;
//! use ampe_patterns::service::{Served, Service, ServiceAccount};
//! use smol::{Timer, future};
//!
//! /// Serves in a task until it is drained.
//! async fn serve(mut service: Service, mut inbox: Inbox) -> Result<ServiceAccount, ampe::Ended> {
//!     loop {
//!         service.advance(Instant::now());
//!         if let Some(account) = service.drained() {
//!             return Ok(account);
//!         }
//!         let event = async { inbox.recv_async().await.map(Some) };
//!         let event = match service.due() {
//!             None => event.await?,
//!             Some(due) => future::or(event, async { Timer::at(due).await; Ok(None) }).await?,
//!         };
//!         match event.and_then(|event| service.observe(event)) {
//!             Some(Served::Hello(hello)) => service.accept(hello),
//!             Some(Served::Request(request)) => smol::spawn(async { request.echo() }).detach(),
//!             _ => {}
//!         }
//!     }
//! }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use ampe::{Engine, GroupOptions, Options};
//! # use std::time::Duration;
//! # let engine = Engine::start(Options::default())?;
//! # let (server, mut inbox) = engine.group(GroupOptions::default())?;
//! # server.listen(&"tcp://127.0.0.1:0".parse()?)?;
//! # let mut service = Service::new(server);
//! # let Served::Listening(it) = service.recv(&mut inbox)? else { panic!("it listens") };
//! # let stopper = service.stopper();
//! # let serving = std::thread::spawn(|| smol::block_on(serve(service, inbox)));
//! # let (group, inbox) = engine.group(GroupOptions::default())?;
//! # let channel = group.connect(it.address())?;
//! # group.call(channel, group.message(), Instant::now() + Duration::from_secs(60)).wait()?;
//! # stopper.drain(Duration::from_millis(100)); // and its client does not answer the goodbye
//! # let account = serving.join().unwrap()?;
//! # assert_eq!((account.answered, account.let_go), (1, 1));
//! # drop(inbox);
//! # Ok(()) }
//! ```
//!
//! They take the time from [`ampe::now`]: on the simulated network of `ampe::testing` pauses, patience and deadlines are
//! of its virtual clock. What a dialer's pauses owe to chance is its own; with [`Pauses::seed`] it is the same in each run.
//!
//! Whole programs are in the folder `examples`: `cargo run -p ampe-patterns --example service`.
//!
//! # Features
//!
//! None is on by default: `json` and `postcard` have the module `body`. With `postcard` do not read recursive types from
//! peers: nothing bounds their depth.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(any(feature = "json", feature = "postcard"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "json", feature = "postcard"))))]
pub mod body;
pub mod publish;
pub mod service;
pub mod work_queue;

mod dialer;
mod ids;
mod let_go;
mod nudge;
mod time;

pub use dialer::{Dialed, Dialer, Down, Pauses};
