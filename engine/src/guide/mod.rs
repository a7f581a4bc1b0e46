#![doc = include_str!("mod.md")]

#[doc = include_str!("thinking.md")]
pub mod thinking {}

#[doc = include_str!("server.md")]
pub mod server {}

#[doc = include_str!("client.md")]
pub mod client {}

#[doc = include_str!("failures.md")]
pub mod failures {}

#[doc = include_str!("calls.md")]
pub mod calls {}

#[doc = include_str!("room.md")]
pub mod room {}

#[doc = include_str!("parts.md")]
pub mod parts {}

#[doc = include_str!("tasks.md")]
pub mod tasks {}

#[doc = include_str!("closing.md")]
pub mod closing {}

#[doc = include_str!("tuning.md")]
pub mod tuning {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("observing.md")]
pub mod observing {}

#[doc = include_str!("patterns.md")]
pub mod patterns {}

#[doc = include_str!("from_zeromq.md")]
pub mod from_zeromq {}

#[doc = include_str!("from_nng.md")]
pub mod from_nng {}

#[doc = include_str!("from_tokio.md")]
pub mod from_tokio {}

#[doc = include_str!("from_tofu.md")]
pub mod from_tofu {}

#[doc = include_str!("when_not.md")]
pub mod when_not {}

#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}

#[doc = include_str!("glossary.md")]
pub mod glossary {}
