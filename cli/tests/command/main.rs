//! The command as a process: what it does, says and leaves behind; a module for each topic.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

mod common;

#[cfg(target_os = "linux")]
mod activation;
mod allowed;
mod broken;
mod demo;
#[cfg(target_os = "linux")]
mod disturbed;
mod doctor;
mod echo;
mod errors;
#[cfg(feature = "tls")]
mod examined;
#[cfg(target_os = "linux")]
mod file_systems;
mod hostile;
#[cfg(feature = "tls")]
mod keyed;
mod messages;
mod proxy;
mod receiver;
mod resume;
mod sender;
#[cfg(feature = "tls")]
mod tls;
mod transfer;
mod trees;
