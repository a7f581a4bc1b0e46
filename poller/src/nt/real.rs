//! The calls themselves, and no decisions.

use std::ffi::c_void;
use std::io;
use std::mem::{size_of, transmute, zeroed};
use std::os::windows::io::{AsRawSocket, AsSocket};
use std::ptr::{NonNull, null, null_mut};
use std::sync::OnceLock;
use std::time::Duration;

use windows_sys::Wdk::Foundation::{NtQueryObject, OBJECT_ATTRIBUTES, ObjectBasicInformation};
use windows_sys::Wdk::Storage::FileSystem as file;
use windows_sys::Wdk::System::IO::NtDeviceIoControlFile;
use windows_sys::Win32::Foundation::{
    CloseHandle, HANDLE, NTSTATUS, RtlNtStatusToDosError, UNICODE_STRING,
};
use windows_sys::Win32::Networking::WinSock as winsock;
use windows_sys::Win32::Storage::FileSystem::{FILE_SHARE_READ, FILE_SHARE_WRITE, SYNCHRONIZE};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};

use super::layers::{Question, base_of};
use super::{AfdPollInfo, Handle, IoStatusBlock, Nt, Packet, Status, Submission};
use crate::poller::Source;
use crate::sys::SealedSource;

/// The control code of AFD's poll.
const IOCTL_AFD_POLL: u32 = 0x0001_2024;
/// `IO_COMPLETION_ALL_ACCESS`.
const PORT_ACCESS: u32 = 0x001F_0003;
/// `FILE_SKIP_COMPLETION_PORT_ON_SUCCESS`.
const SKIP_PORT_ON_SUCCESS: u32 = 1;
/// `STATUS_NOT_SAME_OBJECT`.
const NOT_SAME_OBJECT: Status = Status(0xC000_01AC_u32 as i32);
/// Any name below the device opens a handle that is about no socket.
const DEVICE: &str = "\\Device\\Afd\\ampe";

windows_link::link!("ntdll.dll" "system" fn NtCreateIoCompletion(port: *mut HANDLE, access: u32, attributes: *const OBJECT_ATTRIBUTES, threads: u32) -> NTSTATUS);
windows_link::link!("ntdll.dll" "system" fn NtSetIoCompletion(port: HANDLE, key: usize, context: usize, status: NTSTATUS, information: usize) -> NTSTATUS);
windows_link::link!("ntdll.dll" "system" fn NtRemoveIoCompletionEx(port: HANDLE, packets: *mut Packet, count: u32, removed: *mut u32, timeout: *const i64, alertable: u8) -> NTSTATUS);

impl<S: AsSocket> SealedSource<Handle> for S {}

impl<S: AsSocket> Source<Handle> for S {
    fn handle(&self) -> Handle {
        Handle(self.as_socket().as_raw_socket() as usize)
    }
}

impl Handle {
    fn raw(self) -> HANDLE {
        self.0 as HANDLE
    }

    fn socket(self) -> winsock::SOCKET {
        self.0 as winsock::SOCKET
    }
}

/// Windows, with Winsock started for as long as this lives.
#[derive(Debug)]
pub(crate) struct Windows(());

impl Drop for Windows {
    fn drop(&mut self) {
        // SAFETY: it was started once for this value.
        unsafe { winsock::WSACleanup() };
    }
}

fn checked(status: NTSTATUS) -> Result<(), Status> {
    match Status(status) {
        status if status.is_error() => Err(status),
        _ => Ok(()),
    }
}

/// Sets what a file is told by `NtSetInformationFile`.
fn set<T>(handle: Handle, class: file::FILE_INFORMATION_CLASS, value: &T) -> Result<(), Status> {
    let mut block = empty_block();
    let length = size_of::<T>() as u32;
    // SAFETY: the call is synchronous for these classes: both pointers are used until it returns,
    // and point to live values, the second of that length.
    checked(unsafe {
        file::NtSetInformationFile(
            handle.raw(),
            &raw mut block,
            (&raw const *value).cast(),
            length,
            class,
        )
    })
}

fn empty_block() -> IO_STATUS_BLOCK {
    // SAFETY: it consists of numbers and pointers, for which zero is a value.
    unsafe { zeroed() }
}

/// `OBJECT_BASIC_INFORMATION`, whose public form hides the count among what is reserved.
#[derive(Default)]
#[repr(C)]
struct ObjectInformation {
    attributes: u32,
    access: u32,
    handles: u32,
    pointers: u32,
    reserved: [u32; 10],
}

#[repr(C)]
struct CompletionInformation {
    port: HANDLE,
    key: usize,
}

// SAFETY: these are the system's calls, whose contract it is.
unsafe impl Nt for Windows {
    fn new() -> io::Result<Self> {
        // SAFETY: the structure consists of numbers and pointers, and is written by the call.
        let error = unsafe {
            let mut data: winsock::WSADATA = zeroed();
            winsock::WSAStartup(0x202, &raw mut data)
        };
        match error {
            0 => Ok(Windows(())),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    fn create_port(&self) -> Result<Handle, Status> {
        let mut port = null_mut();
        // SAFETY: the first pointer is to a live value; there are no attributes.
        checked(unsafe { NtCreateIoCompletion(&raw mut port, PORT_ACCESS, null(), 1) })?;
        Ok(Handle(port as usize))
    }

    fn open_helper(&self) -> Result<Handle, Status> {
        let mut name: Vec<u16> = DEVICE.encode_utf16().collect();
        let bytes = (name.len() * size_of::<u16>()) as u16;
        let name = UNICODE_STRING {
            Length: bytes,
            MaximumLength: bytes,
            Buffer: name.as_mut_ptr(),
        };
        // SAFETY: it consists of numbers and pointers, for which zero is a value.
        let mut attributes: OBJECT_ATTRIBUTES = unsafe { zeroed() };
        attributes.Length = size_of::<OBJECT_ATTRIBUTES>() as u32;
        attributes.ObjectName = (&raw const name).cast_mut();
        let (mut helper, mut block) = (null_mut(), empty_block());
        // SAFETY: without FILE_SYNCHRONOUS_IO opening is synchronous all the same; every pointer is
        // to a value that lives until the call returns, the name's buffer among them.
        checked(unsafe {
            file::NtCreateFile(
                &raw mut helper,
                SYNCHRONIZE,
                &raw const attributes,
                &raw mut block,
                null(),
                0,
                FILE_SHARE_READ | FILE_SHARE_WRITE,
                file::FILE_OPEN,
                0,
                null(),
                0,
            )
        })?;
        Ok(Handle(helper as usize))
    }

    fn close(&self, handle: Handle) {
        // SAFETY: the handle is one that this trait's other calls have opened, and nobody uses it
        // any more.
        unsafe { CloseHandle(handle.raw()) };
    }

    fn base_socket(&self, socket: Handle) -> io::Result<Handle> {
        let error = match base_of(socket, query) {
            Ok(base) => return Ok(base),
            Err(error) if error.raw_os_error() == Some(winsock::WSAENOTSOCK) => return Err(error),
            Err(error) => error,
        };
        let provider = provider(socket);
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "the layered service provider {provider:?} hides the socket below it, which has to \
                 be polled ({error}): remove it, or exempt this program from it"
            ),
        ))
    }

    fn count_handles(&self, file: Handle) -> Result<u32, Status> {
        let mut found = ObjectInformation::default();
        // SAFETY: the answer goes to a live value of the length that is stated.
        checked(unsafe {
            NtQueryObject(
                file.raw(),
                ObjectBasicInformation,
                (&raw mut found).cast(),
                size_of::<ObjectInformation>() as u32,
                null_mut(),
            )
        })?;
        Ok(found.handles)
    }

    fn is_same(&self, one: Handle, other: Handle) -> Result<bool, Status> {
        let compare = compare_objects().ok_or(Status::NOT_IMPLEMENTED)?;
        // SAFETY: nothing is pointed to.
        let answer = checked(unsafe { compare(one.raw(), other.raw()) });
        match answer {
            Ok(()) => Ok(true),
            Err(NOT_SAME_OBJECT) => Ok(false),
            Err(status) => Err(status),
        }
    }

    fn associate(&self, file: Handle, port: Handle, key: usize) -> Result<(), Status> {
        let port = port.raw();
        let value = CompletionInformation { port, key };
        set(file, file::FileCompletionInformation, &value)
    }

    fn dissociate(&self, file: Handle) -> Result<(), Status> {
        let value = CompletionInformation {
            port: null_mut(),
            key: 0,
        };
        set(file, file::FileReplaceCompletionInformation, &value)
    }

    fn skip_packets_on_success(&self, file: Handle) -> Result<(), Status> {
        set(
            file,
            file::FileIoCompletionNotificationInformation,
            &SKIP_PORT_ON_SUCCESS,
        )
    }

    unsafe fn submit(&self, submission: Submission) -> Status {
        let info = submission.info.as_ptr().cast::<c_void>();
        let length = size_of::<AfdPollInfo>() as u32;
        // SAFETY: the caller promises the memory until the packet was dequeued. There is no event,
        // so the operation outlives this thread; the context is only carried.
        Status(unsafe {
            NtDeviceIoControlFile(
                submission.control.raw(),
                null_mut(),
                None,
                submission.context as *const c_void,
                submission.status.as_ptr().cast(),
                IOCTL_AFD_POLL,
                info,
                length,
                info,
                length,
            )
        })
    }

    fn cancel(&self, control: Handle, status: NonNull<IoStatusBlock>) -> Status {
        let mut block = empty_block();
        // SAFETY: the operation's block is only compared; the other is a live value.
        Status(unsafe {
            file::NtCancelIoFileEx(control.raw(), status.as_ptr().cast(), &raw mut block)
        })
    }

    fn post(&self, port: Handle, packet: Packet) -> Status {
        let status = packet.status;
        // SAFETY: nothing is pointed to.
        Status(unsafe {
            NtSetIoCompletion(
                port.raw(),
                packet.key,
                packet.context,
                status.status.status.0,
                status.information,
            )
        })
    }

    fn dequeue(
        &self,
        port: Handle,
        packets: &mut [Packet],
        timeout: Option<Duration>,
    ) -> Result<usize, Status> {
        let units = timeout.map(super::relative);
        let timeout = units.as_ref().map_or(null(), |units| &raw const *units);
        let count = u32::try_from(packets.len()).unwrap_or(u32::MAX);
        let mut removed = 0;
        // SAFETY: there is room for as many packets, and every pointer is to a live value.
        let status = Status(unsafe {
            NtRemoveIoCompletionEx(
                port.raw(),
                packets.as_mut_ptr(),
                count,
                &raw mut removed,
                timeout,
                0,
            )
        });
        match status {
            Status::SUCCESS => Ok(removed as usize),
            // Nobody came in time, or somebody else's business interrupted.
            status if !status.is_error() => Ok(0),
            status => Err(status),
        }
    }

    fn os_error(&self, status: Status) -> i32 {
        // SAFETY: nothing is pointed to.
        let error = unsafe { RtlNtStatusToDosError(status.0) };
        i32::try_from(error).unwrap_or(i32::MAX)
    }
}

type CompareObjects = unsafe extern "system" fn(one: HANDLE, other: HANDLE) -> NTSTATUS;

/// `NtCompareObjects`, which systems before Windows 10 do not have.
fn compare_objects() -> Option<CompareObjects> {
    static FOUND: OnceLock<Option<CompareObjects>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: the names end in zero and live for ever; the library stays loaded as long as the
        // process. What has this name is a function of this type.
        unsafe {
            let library = GetModuleHandleA(c"ntdll.dll".as_ptr().cast());
            let found = GetProcAddress(library, c"NtCompareObjects".as_ptr().cast())?;
            Some(transmute::<
                unsafe extern "system" fn() -> isize,
                CompareObjects,
            >(found))
        }
    })
}

/// Asks a socket's layers for a socket.
fn query(socket: Handle, question: Question) -> io::Result<Handle> {
    let mut answer: winsock::SOCKET = winsock::INVALID_SOCKET;
    let mut length = 0;
    // SAFETY: the answer has the length that is stated, and there is no overlapped operation.
    let outcome = unsafe {
        winsock::WSAIoctl(
            socket.socket(),
            question as u32,
            null(),
            0,
            (&raw mut answer).cast(),
            size_of::<winsock::SOCKET>() as u32,
            &raw mut length,
            null_mut(),
            None,
        )
    };
    if outcome == 0 && answer != winsock::INVALID_SOCKET {
        return Ok(Handle(answer as usize));
    }
    // SAFETY: nothing is pointed to.
    Err(io::Error::from_raw_os_error(unsafe {
        winsock::WSAGetLastError()
    }))
}

/// The name of the topmost provider of a socket.
pub(super) fn provider(socket: Handle) -> String {
    // SAFETY: it consists of numbers, for which zero is a value.
    let mut found: winsock::WSAPROTOCOL_INFOW = unsafe { zeroed() };
    let mut length = size_of::<winsock::WSAPROTOCOL_INFOW>() as i32;
    // SAFETY: the value has the length that is stated.
    let outcome = unsafe {
        winsock::getsockopt(
            socket.socket(),
            winsock::SOL_SOCKET,
            winsock::SO_PROTOCOL_INFOW,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    if outcome != 0 {
        return "of unknown name".to_owned();
    }
    name_of(&found)
}

/// What a provider calls itself.
pub(super) fn name_of(provider: &winsock::WSAPROTOCOL_INFOW) -> String {
    let name = provider.szProtocol;
    let end = name.iter().position(|unit| *unit == 0);
    String::from_utf16_lossy(&name[..end.unwrap_or(name.len())])
}
