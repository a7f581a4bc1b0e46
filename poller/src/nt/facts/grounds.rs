//! The kernels that are asked.

use super::lab::Ground;
use crate::conformance::worlds::{AUTO, Simulated};
use crate::nt::sim::{Sim, Socket};

impl Ground for Simulated<AUTO> {
    type Nt = Sim;
    type Keeper = ();

    fn nt(&self) -> Sim {
        Sim::new(&self.kernel)
    }

    fn duplicate(&self, socket: &Socket) -> Socket {
        socket.duplicate()
    }

    fn share(&self, socket: &Socket) {
        self.kernel.share(socket.handle(), true);
    }

    fn forgive(&self) {
        self.kernel.state().violations.clear();
    }
}

#[cfg(windows)]
mod windows {
    use std::os::windows::io::{AsRawHandle, AsRawSocket, AsSocket};
    use std::process::{Child, Command, Stdio};
    use std::ptr::null_mut;

    use windows_sys::Win32::Foundation as foundation;

    use super::super::lab::Ground;
    use crate::conformance::worlds::{AUTO, Tcp, WindowsSocket};
    use crate::nt::{Nt, real::Windows};
    use crate::platform::is_wine;

    impl Ground for Tcp<AUTO> {
        type Nt = Windows;
        type Keeper = Keeper;

        fn nt(&self) -> Windows {
            Windows::new().unwrap()
        }

        fn duplicate(&self, socket: &WindowsSocket) -> WindowsSocket {
            let socket = socket2::SockRef::from(socket);
            WindowsSocket::Other(socket.try_clone().unwrap())
        }

        fn share(&self, socket: &WindowsSocket) -> Keeper {
            Keeper::of(socket.as_socket().as_raw_socket() as usize)
        }

        fn keeps_port(&self) -> Option<&'static str> {
            is_wine().then_some("Wine takes no file off its port")
        }

        fn keeps_polls_of_shared_sockets(&self) -> Option<&'static str> {
            is_wine().then_some("Wine leaves the polls of a socket that another process keeps")
        }
    }

    /// Another process with a handle of ours, which it keeps until it is let go.
    pub(crate) struct Keeper(Child);

    impl Drop for Keeper {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            let _ = self.0.wait();
        }
    }

    const KEEPER: &str = "AMPE_KEEPS_A_SOCKET";

    impl Keeper {
        fn of(socket: usize) -> Keeper {
            let process = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "nt::facts::grounds::windows::keeps_what_it_was_given",
                ])
                .env(KEEPER, "1")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let mut duplicate = null_mut();
            // SAFETY: both processes are there, the handle is open, the answer goes to a live value.
            let is_given = unsafe {
                foundation::DuplicateHandle(
                    (-1_isize) as foundation::HANDLE,
                    socket as foundation::HANDLE,
                    process.as_raw_handle(),
                    &raw mut duplicate,
                    0,
                    0,
                    foundation::DUPLICATE_SAME_ACCESS,
                )
            };
            let keeper = Keeper(process);
            assert_ne!(is_given, 0, "{}", std::io::Error::last_os_error());
            keeper
        }
    }

    /// What the other process does; nothing in this one.
    #[test]
    fn keeps_what_it_was_given() {
        if std::env::var_os(KEEPER).is_some() {
            let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0]);
        }
    }
}
