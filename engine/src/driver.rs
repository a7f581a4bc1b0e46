//! The reactor's loop.
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::error::StartError;
use crate::options::Options;
use crate::shared::Shared;

pub(crate) fn start(_options: Options) -> Result<(Arc<Shared>, JoinHandle<()>), StartError> {
    Err(std::io::Error::from(std::io::ErrorKind::Unsupported).into())
}
