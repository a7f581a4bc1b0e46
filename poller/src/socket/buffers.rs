use std::io;

use socket2::Socket;

/// How many bytes the system may buffer for a socket. None leaves the choice to the system, which for TCP
/// is mostly the better one: it adapts the size to the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Buffers {
    /// `SO_SNDBUF`: what was sent and has not arrived.
    pub send: Option<usize>,
    /// `SO_RCVBUF`: what has arrived and was not received.
    pub receive: Option<usize>,
}

impl Buffers {
    /// # Errors
    ///
    /// The system refuses the option.
    pub(super) fn set(self, socket: &Socket) -> io::Result<()> {
        if let Some(bytes) = self.send {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.receive {
            socket.set_recv_buffer_size(bytes)?;
        }
        Ok(())
    }
}
