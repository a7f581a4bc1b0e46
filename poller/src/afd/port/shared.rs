//! What the port shares with wakers.

use std::io;
use std::marker::PhantomData;

use super::WAKE_KEY;
use crate::afd::defects::Defects;
use crate::nt::{Handle, IoStatusBlock, Nt, Packet, Status};
use crate::waker::Signal;

/// The completion port, which wakers share: it is closed with the last of them.
pub(super) struct SharedPort<N: Nt, D: Defects> {
    pub(super) nt: N,
    pub(super) handle: Handle,
    pub(super) defects: PhantomData<D>,
}

impl<N: Nt, D: Defects> Signal for SharedPort<N, D> {
    fn send(&self) -> io::Result<()> {
        if D::LOSES_WAKES {
            return Ok(());
        }
        let (key, context) = D::wake().unwrap_or((WAKE_KEY, 0));
        let packet = Packet {
            key,
            context,
            status: IoStatusBlock::new(Status::SUCCESS, 0),
        };
        let status = self.nt.post(self.handle, packet);
        if status.is_error() {
            return Err(io::Error::from_raw_os_error(self.nt.os_error(status)));
        }
        Ok(())
    }
}

impl<N: Nt, D: Defects> Drop for SharedPort<N, D> {
    fn drop(&mut self) {
        self.nt.close(self.handle);
    }
}
