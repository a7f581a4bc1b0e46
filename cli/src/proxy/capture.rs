//! A capture for Wireshark: what was read of each connection, as packets of a TCP connection that has
//! nothing but that in it.

use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{SystemTime, UNIX_EPOCH};

/// Packets begin with an IP header.
const LINK_TYPE_RAW: u32 = 101;

/// The server's, whatever its real address: by it the dissector knows what it sees.
const PORT: u16 = 7099;

/// The most content of a packet.
const CONTENT_MAX: usize = 60_000;

const IP_LEN: u16 = 20;
const TCP_LEN: u16 = 20;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// The file. Each packet is written at once.
pub(super) struct Capture {
    file: File,
}

/// A connection in the capture.
pub(super) struct Conversation {
    ends: [SocketAddrV4; 2],
    /// The next sequence number of each end.
    next: [u32; 2],
}

impl Conversation {
    /// The connection with this number. A client that has no IPv4 address gets one that tells connections
    /// apart.
    pub(super) fn new(number: u64, client: Option<SocketAddrV4>) -> Conversation {
        let port = 10_000 + u16::try_from(number % 50_000).unwrap_or(0);
        let client = client.unwrap_or(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT);
        Conversation {
            ends: [client, server],
            next: [0, 0],
        }
    }
}

impl Capture {
    pub(super) fn create(path: &std::path::Path) -> io::Result<Capture> {
        let mut file = File::create(path)?;
        let mut header = Vec::new();
        header.extend(0xa1b2_c3d4_u32.to_le_bytes());
        header.extend(2_u16.to_le_bytes());
        header.extend(4_u16.to_le_bytes());
        header.extend([0; 8]);
        header.extend(65_535_u32.to_le_bytes());
        header.extend(LINK_TYPE_RAW.to_le_bytes());
        file.write_all(&header)?;
        Ok(Capture { file })
    }

    pub(super) fn begin(&mut self, of: &mut Conversation) -> io::Result<()> {
        self.packet(of, 0, SYN, &[])?;
        self.packet(of, 1, SYN | ACK, &[])?;
        self.packet(of, 0, ACK, &[])
    }

    /// Content that end 0 or 1 sent.
    pub(super) fn content(
        &mut self,
        of: &mut Conversation,
        end: usize,
        content: &[u8],
    ) -> io::Result<()> {
        for part in content.chunks(CONTENT_MAX) {
            self.packet(of, end, PSH | ACK, part)?;
        }
        Ok(())
    }

    pub(super) fn end(&mut self, of: &mut Conversation, end: usize) -> io::Result<()> {
        self.packet(of, end, FIN | ACK, &[])
    }

    fn packet(
        &mut self,
        of: &mut Conversation,
        end: usize,
        flags: u8,
        content: &[u8],
    ) -> io::Result<()> {
        let (from, to) = (of.ends[end], of.ends[1 - end]);
        let len = IP_LEN + TCP_LEN + u16::try_from(content.len()).map_err(io::Error::other)?;
        let mut packet = Vec::with_capacity(usize::from(len));
        packet.extend([0x45, 0]);
        packet.extend(len.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        packet.extend(from.ip().octets());
        packet.extend(to.ip().octets());
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(from.port().to_be_bytes());
        packet.extend(to.port().to_be_bytes());
        packet.extend(of.next[end].to_be_bytes());
        packet.extend(of.next[1 - end].to_be_bytes());
        packet.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(content);
        let counted = u32::from(len - IP_LEN - TCP_LEN) + u32::from(flags & (SYN | FIN) != 0);
        of.next[end] = of.next[end].wrapping_add(counted);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let seconds = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        let mut record = Vec::with_capacity(16 + packet.len());
        for word in [seconds, now.subsec_micros(), len.into(), len.into()] {
            record.extend(word.to_le_bytes());
        }
        record.extend(packet);
        self.file.write_all(&record)
    }
}

/// Of an IP header, as RFC 1071 has it.
fn checksum(header: &[u8]) -> u16 {
    let words = header
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_the_numbers_that_tcp_gives_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("capture");
        let mut capture = Capture::create(&path).unwrap();
        let mut of = Conversation::new(3, None);
        capture.begin(&mut of).unwrap();
        capture.content(&mut of, 0, &[7; 100_000]).unwrap();
        capture.end(&mut of, 1).unwrap();
        assert_eq!(of.next, [100_001, 2]);
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(bytes.len(), 24 + 6 * (16 + 40) + 100_000);
        // The header's own checksum is counted: the sum is 0 then.
        assert_eq!(checksum(&bytes[40..60]), 0);
    }
}
