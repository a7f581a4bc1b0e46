//! Which Windows this is, and what lies between its sockets and us.

use std::ffi::{CStr, c_char};
use std::io;
use std::mem::{size_of, size_of_val, transmute, zeroed};
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsRawSocket, AsSocket};
use std::path::Path;
use std::ptr::{null, null_mut};

use socket2::{Domain, Socket, Type};
use windows_sys::Wdk::System::SystemServices::RtlGetVersion;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Networking::WinSock as winsock;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_REPARSE_POINT, FindClose, FindFirstFileW, WIN32_FIND_DATAW,
};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::SystemInformation::OSVERSIONINFOW;

use super::real::{Windows, name_of, provider};
use super::{Handle, Nt};

/// On what a TCP socket is polled.
pub(crate) enum Polled {
    OnAHelper,
    OnItself,
    /// Neither is possible, for this reason.
    Not(io::Error),
}

/// On what the poller would poll a TCP socket, and the name of its provider.
pub(crate) fn polling() -> io::Result<(Polled, String)> {
    let windows = Windows::new()?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let handle = Handle(socket.as_raw_socket() as usize);
    let failed = |status| io::Error::from_raw_os_error(windows.os_error(status));
    let port = windows.create_port().map_err(failed)?;
    let fits = |file| {
        windows.associate(file, port, 0)?;
        windows.skip_packets_on_success(file)
    };
    let helped = || {
        let helper = windows.open_helper()?;
        let outcome = fits(helper);
        windows.close(helper);
        outcome
    };
    let polled = match windows.base_socket(handle) {
        Err(error) => Polled::Not(error),
        Ok(base) => match helped() {
            Ok(()) => Polled::OnAHelper,
            Err(_) if base == handle && fits(handle).is_ok() => Polled::OnItself,
            Err(status) => Polled::Not(failed(status)),
        },
    };
    let provider = provider(handle);
    drop(socket);
    windows.close(port);
    Ok((polled, provider))
}

/// Major and minor version, and build.
pub(crate) fn version() -> (u32, u32, u32) {
    // SAFETY: it consists of numbers, for which zero is a value.
    let mut found: OSVERSIONINFOW = unsafe { zeroed() };
    found.dwOSVersionInfoSize = size_of::<OSVERSIONINFOW>() as u32;
    // SAFETY: the structure lives until the call returns and states its own size. It cannot fail.
    unsafe { RtlGetVersion(&raw mut found) };
    (
        found.dwMajorVersion,
        found.dwMinorVersion,
        found.dwBuildNumber,
    )
}

/// Wine's version, where this is Wine.
pub(crate) fn wine_version() -> Option<String> {
    // SAFETY: both names end with a zero byte, and ntdll is loaded in every process.
    let function = unsafe {
        let ntdll = GetModuleHandleA(c"ntdll.dll".as_ptr().cast());
        GetProcAddress(ntdll, c"wine_get_version".as_ptr().cast())?
    };
    // SAFETY: Wine documents this function as one of this type.
    let function: unsafe extern "C" fn() -> *const c_char = unsafe { transmute(function) };
    // SAFETY: it takes nothing and returns a constant string.
    let version = unsafe { CStr::from_ptr(function()) };
    Some(version.to_string_lossy().into_owned())
}

/// Keeps others from binding to the address that a socket is about to bind to, whatever options
/// they set.
pub(crate) fn claim_address(socket: &impl AsSocket) -> io::Result<()> {
    set_option(socket, winsock::SOL_SOCKET, winsock::SO_EXCLUSIVEADDRUSE, 1)
}

/// After how many seconds a TCP connection is aborted whose data the peer does not acknowledge.
pub(crate) fn set_user_timeout(socket: &impl AsSocket, seconds: i32) -> io::Result<()> {
    set_option(socket, winsock::IPPROTO_TCP, winsock::TCP_MAXRT, seconds)
}

/// Whether connections can be accepted from a socket.
pub(crate) fn is_listening(socket: &impl AsSocket) -> io::Result<bool> {
    let (mut value, mut len) = (0_i32, size_of::<i32>() as i32);
    // SAFETY: the socket is open while it is lent, and the value has the length that is stated; both live
    // until the call returns.
    let outcome = unsafe {
        winsock::getsockopt(
            socket.as_socket().as_raw_socket() as winsock::SOCKET,
            winsock::SOL_SOCKET,
            winsock::SO_ACCEPTCONN,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    match outcome {
        0 => Ok(value != 0),
        // SAFETY: nothing is pointed to.
        _ => Err(io::Error::from_raw_os_error(unsafe {
            winsock::WSAGetLastError()
        })),
    }
}

fn set_option(socket: &impl AsSocket, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the socket is open while it is lent, and the value has the length that is stated.
    let outcome = unsafe {
        winsock::setsockopt(
            socket.as_socket().as_raw_socket() as winsock::SOCKET,
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as i32,
        )
    };
    match outcome {
        0 => Ok(()),
        // SAFETY: nothing is pointed to.
        _ => Err(io::Error::from_raw_os_error(unsafe {
            winsock::WSAGetLastError()
        })),
    }
}

windows_link::link!("kernel32.dll" "system" fn GetProcessHandleCount(process: HANDLE, count: *mut u32) -> i32);

/// How many handles this process has.
pub(crate) fn handles() -> Option<u32> {
    let mut count = 0;
    // SAFETY: the handle stands for this process, and the answer goes to a live value.
    let outcome = unsafe { GetProcessHandleCount((-1_isize) as HANDLE, &raw mut count) };
    // Wine 8 says that there are none.
    (outcome != 0 && count > 0).then_some(count)
}

/// The names of Winsock's providers, layers among them, in the order in which they are asked.
pub(crate) fn providers() -> io::Result<Vec<String>> {
    let _winsock = Windows::new()?;
    let mut length = 0;
    // SAFETY: there is no room, which the length says; how much it takes is told.
    unsafe { winsock::WSAEnumProtocolsW(null(), null_mut(), &raw mut length) };
    let size = size_of::<winsock::WSAPROTOCOL_INFOW>();
    // SAFETY: it consists of numbers, for which zero is a value.
    let empty = || unsafe { zeroed::<winsock::WSAPROTOCOL_INFOW>() };
    let mut found: Vec<_> = (0..length as usize / size + 1).map(|_| empty()).collect();
    length = (found.len() * size) as u32;
    // SAFETY: there is as much room as is stated.
    let count = unsafe { winsock::WSAEnumProtocolsW(null(), found.as_mut_ptr(), &raw mut length) };
    let count = usize::try_from(count).map_err(|_| {
        // SAFETY: nothing is pointed to.
        io::Error::from_raw_os_error(unsafe { winsock::WSAGetLastError() })
    })?;
    found.truncate(count);
    Ok(found.iter().map(name_of).collect())
}

/// `IO_REPARSE_TAG_AF_UNIX`.
const SOCKET_TAG: u32 = 0x8000_0023;

/// Whether a file is a Unix socket.
pub(crate) fn is_unix_socket(path: &Path) -> io::Result<bool> {
    let name: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
    // SAFETY: it consists of numbers, for which zero is a value.
    let mut found: WIN32_FIND_DATAW = unsafe { zeroed() };
    // SAFETY: the name ends with a zero, and both live until the call returns.
    let search = unsafe { FindFirstFileW(name.as_ptr(), &raw mut found) };
    if search == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just opened, and nobody else knows it.
    unsafe { FindClose(search) };
    let is_reparsed = found.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT != 0;
    Ok(is_reparsed && found.dwReserved0 == SOCKET_TAG)
}
