//! An event object: what loops on Windows wait for.

use std::io;
use std::os::windows::io::{
    AsHandle, AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle,
};
use std::ptr::null;

use windows_sys::Win32::System::Threading::{CreateEventW, ResetEvent, SetEvent};

pub(crate) struct EventObject {
    handle: OwnedHandle,
}

impl EventObject {
    /// One that is not set, and stays set until it is reset.
    pub(crate) fn new() -> io::Result<EventObject> {
        // SAFETY: no security, and no name, is what null pointers stand for.
        let handle = unsafe { CreateEventW(null(), 1, 0, null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle was made above, and nobody else has it.
        let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
        Ok(EventObject { handle })
    }

    pub(crate) fn set(&self) -> io::Result<()> {
        // SAFETY: the handle is this object's until it is dropped.
        done(unsafe { SetEvent(self.handle.as_raw_handle()) })
    }

    pub(crate) fn reset(&self) -> io::Result<()> {
        // SAFETY: the handle is this object's until it is dropped.
        done(unsafe { ResetEvent(self.handle.as_raw_handle()) })
    }

    #[cfg(test)]
    pub(crate) fn is_set(&self) -> io::Result<bool> {
        use windows_sys::Win32::Foundation::{WAIT_OBJECT_0, WAIT_TIMEOUT};
        use windows_sys::Win32::System::Threading::WaitForSingleObject;
        // SAFETY: the handle is this object's until it is dropped.
        match unsafe { WaitForSingleObject(self.handle.as_raw_handle(), 0) } {
            WAIT_OBJECT_0 => Ok(true),
            WAIT_TIMEOUT => Ok(false),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsHandle for EventObject {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.handle.as_handle()
    }
}

fn done(outcome: i32) -> io::Result<()> {
    match outcome {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
