//! How a command fails, and with which exit code.

use std::process::ExitCode;

/// Why a command ends without success. The message says what happened and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was asked for cannot be: an address, an option, a size.
    #[error("{0}")]
    Usage(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
    /// It failed, and what there is to say was said where it happened.
    #[error("failed")]
    Told,
    /// What was waited for did not come in time.
    #[error("{0}")]
    Late(String),
    /// As [`Late`](Failure::Late), and what there is to say was said where it happened.
    #[error("no answer in time")]
    ToldLate,
    /// SIGINT, SIGTERM or SIGHUP came.
    #[error("interrupted")]
    Interrupted,
    /// As [`Interrupted`](Failure::Interrupted), of what has printed its results and only ended early.
    #[error("interrupted")]
    Stopped,
}

impl Failure {
    /// A failure of something that was tried.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Failure::Failed(message.into())
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Failed(_) | Failure::Told => 1,
            Failure::Usage(_) => 2,
            // As timeout(1) has it.
            Failure::Late(_) | Failure::ToldLate => 124,
            // 128 and the number of SIGINT, as shells have it.
            Failure::Interrupted | Failure::Stopped => 130,
        })
    }
}
