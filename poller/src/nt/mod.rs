//! The handful of NT calls by which the AFD backend polls, and what they pass around.
//!
//! Nothing here decides anything. `trait Nt` is the seam: the real system behind it is Windows,
//! the other one is the simulated kernel. Layouts are asserted when this is compiled,
//! for 64-bit and for 32-bit systems, whatever system compiles it.
//!
//! The values and layouts are those that other users of this undocumented interface have found:
//! the wepoll, mio, polling and libuv projects, and Wine's own tests, which run on Windows too.

use std::io;
use std::mem::{align_of, offset_of, size_of};
use std::ptr::NonNull;
use std::time::Duration;

#[cfg(windows)]
pub(crate) mod event_object;
#[cfg(any(windows, test))]
mod layers;
#[cfg(windows)]
pub(crate) mod real;
#[cfg_attr(not(test), allow(dead_code, reason = "much of it is for tests"))]
#[expect(
    clippy::unwrap_used,
    reason = "a simulation, whose users are of this crate"
)]
pub(crate) mod sim;
#[cfg(windows)]
pub(crate) mod system;
pub(crate) mod verify;

/// A handle of the system's: a socket, a port, a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
#[allow(unreachable_pub, reason = "named by the public trait of backends")]
pub struct Handle(pub(crate) usize);

/// An NTSTATUS. Negative ones are errors.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(crate) struct Status(pub(crate) i32);

impl Status {
    pub(crate) const SUCCESS: Status = Status(0);
    pub(crate) const PENDING: Status = Status(0x103);
    /// The time of an operation is over. Not an error.
    pub(crate) const TIMEOUT: Status = Status(0x102);
    pub(crate) const INVALID_HANDLE: Status = Status(0xC000_0008_u32 as i32);
    pub(crate) const INVALID_PARAMETER: Status = Status(0xC000_000D_u32 as i32);
    pub(crate) const NOT_IMPLEMENTED: Status = Status(0xC000_0002_u32 as i32);
    pub(crate) const NO_MEMORY: Status = Status(0xC000_0017_u32 as i32);
    pub(crate) const INSUFFICIENT_RESOURCES: Status = Status(0xC000_009A_u32 as i32);
    pub(crate) const CANCELLED: Status = Status(0xC000_0120_u32 as i32);
    pub(crate) const NOT_FOUND: Status = Status(0xC000_0225_u32 as i32);

    pub(crate) const fn is_error(self) -> bool {
        self.0 < 0
    }
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Status({:#010x})", self.0)
    }
}

/// What a poll may wait for and what it answers: AFD's flags.
pub(crate) mod flag {
    pub(crate) const RECEIVE: u32 = 0x001;
    pub(crate) const SEND: u32 = 0x004;
    /// The peer will send no more.
    pub(crate) const DISCONNECT: u32 = 0x008;
    /// The connection was reset.
    pub(crate) const ABORT: u32 = 0x010;
    /// The last handle of this process was closed. Answered whether asked for or not.
    pub(crate) const LOCAL_CLOSE: u32 = 0x020;
    pub(crate) const ACCEPT: u32 = 0x080;
    pub(crate) const CONNECT_FAIL: u32 = 0x100;
}

/// How long a poll may take, in units of 100 nanoseconds; negative from its beginning.
pub(crate) mod timeout {
    pub(crate) const ENDLESS: i64 = i64::MAX;
    /// A quarter of a second.
    pub(crate) const BOUNDED: i64 = -2_500_000;
}

/// A time from now as the system counts it: negative, in units of 100 nanoseconds, not ending early. A year is
/// the longest, as the system adds it to its clock: who waits for longer waits again.
#[cfg(any(windows, test))]
fn relative(time: Duration) -> i64 {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    -(time.min(YEAR).as_nanos().div_ceil(100) as i64)
}

/// `IO_STATUS_BLOCK`: written by the kernel when an operation's packet is dequeued, or before.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct IoStatusBlock {
    /// A union with a pointer; the status is its first four bytes.
    pub(crate) status: StatusOrPointer,
    pub(crate) information: usize,
}

/// Four bytes of status in the room of a pointer.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct StatusOrPointer {
    pub(crate) status: Status,
    #[cfg(target_pointer_width = "64")]
    padding: u32,
}

impl StatusOrPointer {
    pub(crate) const fn new(status: Status) -> StatusOrPointer {
        StatusOrPointer {
            status,
            #[cfg(target_pointer_width = "64")]
            padding: 0,
        }
    }
}

impl IoStatusBlock {
    pub(crate) const fn new(status: Status, information: usize) -> IoStatusBlock {
        let status = StatusOrPointer::new(status);
        IoStatusBlock {
            status,
            information,
        }
    }
}

/// `AFD_POLL_HANDLE_INFO`: one socket of a poll.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct AfdPollHandleInfo {
    pub(crate) handle: Handle,
    pub(crate) events: u32,
    pub(crate) status: Status,
}

/// `AFD_POLL_INFO` with room for one socket: the question, and in the same memory the answer.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct AfdPollInfo {
    /// See [`timeout`].
    pub(crate) timeout: i64,
    /// How many sockets are asked about; in the answer, how many are ready.
    pub(crate) number_of_handles: u32,
    /// All 32 bits count.
    pub(crate) exclusive: u32,
    pub(crate) handles: [AfdPollHandleInfo; 1],
}

/// `FILE_IO_COMPLETION_INFORMATION`: a packet as it comes out of a port.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Packet {
    /// What the file was associated with, or what was posted.
    pub(crate) key: usize,
    /// What the operation was submitted with, or what was posted.
    pub(crate) context: usize,
    pub(crate) status: IoStatusBlock,
}

impl Packet {
    pub(crate) const EMPTY: Packet = Packet {
        key: 0,
        context: 0,
        status: IoStatusBlock::new(Status::PENDING, 0),
    };
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<IoStatusBlock>() == 16 && offset_of!(IoStatusBlock, information) == 8);
    assert!(size_of::<AfdPollHandleInfo>() == 16 && align_of::<AfdPollHandleInfo>() == 8);
    assert!(offset_of!(AfdPollHandleInfo, events) == 8);
    assert!(offset_of!(AfdPollHandleInfo, status) == 12);
    assert!(size_of::<Packet>() == 32 && offset_of!(Packet, status) == 16);
};

#[cfg(target_pointer_width = "32")]
const _: () = {
    assert!(size_of::<IoStatusBlock>() == 8 && offset_of!(IoStatusBlock, information) == 4);
    assert!(size_of::<AfdPollHandleInfo>() == 12 && align_of::<AfdPollHandleInfo>() == 4);
    assert!(offset_of!(AfdPollHandleInfo, events) == 4);
    assert!(offset_of!(AfdPollHandleInfo, status) == 8);
    assert!(size_of::<Packet>() == 16 && offset_of!(Packet, status) == 8);
};

const _: () = {
    assert!(offset_of!(AfdPollInfo, number_of_handles) == 8);
    assert!(offset_of!(AfdPollInfo, exclusive) == 12);
    assert!(offset_of!(AfdPollInfo, handles) == 16);
};

// 32-bit Linux aligns 64-bit numbers to four bytes; every Windows aligns them to eight.
#[cfg(any(windows, target_pointer_width = "64"))]
const _: () = assert!(size_of::<AfdPollInfo>() == 32 && align_of::<AfdPollInfo>() == 8);

/// One `IOCTL_AFD_POLL`, about to be submitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Submission {
    /// On which file the operation is issued: the socket itself, or a helper.
    pub(crate) control: Handle,
    /// What the packet will carry. Never zero: such an operation would queue no packet.
    pub(crate) context: usize,
    pub(crate) status: NonNull<IoStatusBlock>,
    /// Question and answer.
    pub(crate) info: NonNull<AfdPollInfo>,
}

/// The calls. None of them blocks but [`dequeue`](Self::dequeue).
///
/// # Safety
///
/// Memory that was given to [`submit`](Self::submit) is used again by what the other calls answer. So
/// an implementation answers an error, or success with packets skipped on success, only if it will not
/// write there any more; and `dequeue` passes on an operation's context only when it is done with it.
/// What others post to the port is theirs to answer for: a context that they were never given names no
/// operation, unless somebody has guessed an address.
pub(crate) unsafe trait Nt: Send + Sync + Sized + 'static {
    /// The system.
    ///
    /// # Errors
    ///
    /// It lacks what polling needs.
    fn new() -> io::Result<Self>;

    /// `NtCreateIoCompletion`.
    fn create_port(&self) -> Result<Handle, Status>;

    /// `NtOpenFile` on a name below `\Device\Afd`.
    fn open_helper(&self) -> Result<Handle, Status>;

    /// `NtClose`.
    fn close(&self, handle: Handle);

    /// The socket below all layers, by `SIO_BASE_HANDLE` or its kin.
    ///
    /// # Errors
    ///
    /// No layer tells. The error names the layered service provider.
    fn base_socket(&self, socket: Handle) -> io::Result<Handle>;

    /// `NtQueryObject`, `ObjectBasicInformation`: how many handles there are for the file that this
    /// one is for, in all processes.
    fn count_handles(&self, file: Handle) -> Result<u32, Status>;

    /// `NtCompareObjects`: whether two handles are of one file.
    ///
    /// # Errors
    ///
    /// One is not open, or the system, one before Windows 10, cannot tell
    /// ([`Status::NOT_IMPLEMENTED`]).
    fn is_same(&self, one: Handle, other: Handle) -> Result<bool, Status>;

    /// `NtSetInformationFile`, `FileCompletionInformation`: the file's packets go to the port, with
    /// this key.
    fn associate(&self, file: Handle, port: Handle, key: usize) -> Result<(), Status>;

    /// `NtSetInformationFile`, `FileReplaceCompletionInformation` with no port.
    fn dissociate(&self, file: Handle) -> Result<(), Status>;

    /// `NtSetInformationFile`, `FileIoCompletionNotificationInformation`, with
    /// `FILE_SKIP_COMPLETION_PORT_ON_SUCCESS`: what succeeds at once queues no packet.
    fn skip_packets_on_success(&self, file: Handle) -> Result<(), Status>;

    /// `NtDeviceIoControlFile` with `IOCTL_AFD_POLL`.
    ///
    /// # Safety
    ///
    /// Unless the answer is an error, or success with packets skipped on success, the kernel may
    /// write through both pointers until the packet with this context was dequeued: until then
    /// they stay valid for writes, and nothing else reads or writes there.
    unsafe fn submit(&self, submission: Submission) -> Status;

    /// `NtCancelIoFileEx` on the file that the operation was issued on. The status block is only
    /// compared with those of pending operations, never followed.
    fn cancel(&self, control: Handle, status: NonNull<IoStatusBlock>) -> Status;

    /// `NtSetIoCompletion`.
    fn post(&self, port: Handle, packet: Packet) -> Status;

    /// `NtRemoveIoCompletionEx`: moves at most as many packets as there is room, at least one
    /// unless the time is over, and says how many. `None` waits without end.
    fn dequeue(
        &self,
        port: Handle,
        packets: &mut [Packet],
        timeout: Option<Duration>,
    ) -> Result<usize, Status>;

    /// The number by which the system's users know an error.
    fn os_error(&self, status: Status) -> i32;

    /// Where the memory is that operations may be told to write to, for a kernel that checks.
    #[cfg(test)]
    fn watch(&self, _held: std::sync::Arc<crate::afd::Held>) {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Status, flag, relative};

    #[test]
    fn no_time_wraps_and_none_ends_early() {
        assert_eq!(relative(Duration::ZERO), 0);
        assert_eq!(relative(Duration::from_nanos(101)), -2);
        assert_eq!(relative(Duration::from_secs(1)), -10_000_000);
        for long in [Duration::from_secs(1 << 40), Duration::MAX] {
            assert_eq!(relative(long), -315_360_000_000_000);
        }
    }

    /// The numbers are the system's.
    #[test]
    fn numbers_are_those_of_windows() {
        let flags = [
            (flag::RECEIVE, 1),
            (flag::SEND, 4),
            (flag::DISCONNECT, 8),
            (flag::ABORT, 16),
            (flag::LOCAL_CLOSE, 32),
            (flag::ACCEPT, 128),
            (flag::CONNECT_FAIL, 256),
        ];
        for (flag, expected) in flags {
            assert_eq!(flag, expected);
        }
        let errors = [
            (Status::INVALID_HANDLE, 0xC000_0008_u32),
            (Status::INVALID_PARAMETER, 0xC000_000D),
            (Status::NOT_IMPLEMENTED, 0xC000_0002),
            (Status::NO_MEMORY, 0xC000_0017),
            (Status::INSUFFICIENT_RESOURCES, 0xC000_009A),
            (Status::CANCELLED, 0xC000_0120),
            (Status::NOT_FOUND, 0xC000_0225),
        ];
        for (status, expected) in errors {
            assert_eq!(status.0.cast_unsigned(), expected);
            assert!(status.is_error());
        }
        for (status, expected) in [
            (Status::SUCCESS, 0),
            (Status::TIMEOUT, 0x102),
            (Status::PENDING, 0x103),
        ] {
            assert_eq!(status.0, expected);
            assert!(!status.is_error());
        }
    }
}
