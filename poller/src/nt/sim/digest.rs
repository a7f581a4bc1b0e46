//! What of the kernel decides what can happen next, in bytes, for an exploration of all states.
//!
//! Files are named by the order in which the handles and operations name them, slots by their place
//! in the port that is explored. Counters are left out.

use super::network::Connection;
use super::{Answered, Kernel, Kind, Queued, Stage, State};

impl Kernel {
    /// Appends the kernel's part of a state. `slot` names the slot of an address.
    pub(crate) fn digest(&self, bytes: &mut Vec<u8>, slot: &dyn Fn(usize) -> [u8; 2]) {
        let state = self.state();
        let mut ranks = Vec::new();
        for handle in &state.handles {
            let rank = handle.map_or(0, |file| rank(&mut ranks, file));
            bytes.push(rank);
        }
        bytes.push(0xFF);
        for operation in state.operations.values() {
            bytes.push(rank(&mut ranks, operation.control));
            bytes.push(rank(&mut ranks, operation.target));
            bytes.extend(slot(operation.context));
            bytes.push(operation.mask as u8);
            bytes.push(u8::from(operation.is_endless) | u8::from(operation.is_told_to_end) << 1);
            bytes.push((operation.mask >> 8) as u8);
            let (stage, status, events) = match operation.stage {
                Stage::Pending if operation.is_stuck => (3, 0, 0),
                Stage::Pending => (0, 0, 0),
                Stage::InTransit(status, events) => (1, status.0, events),
                Stage::Queued(status, events) => (2, status.0, events),
            };
            bytes.extend([stage, status as u8, events as u8, (events >> 8) as u8]);
        }
        bytes.push(0xFF);
        // Grows while it is walked: a port is named by no handle but its own.
        let mut at = 0;
        while at < ranks.len() {
            digest_file(&state, ranks[at], bytes, slot);
            at += 1;
        }
    }
}

fn digest_file(state: &State, file: u32, bytes: &mut Vec<u8>, slot: &dyn Fn(usize) -> [u8; 2]) {
    let Some(file) = state.files[file as usize].as_ref() else {
        return bytes.push(0xFE);
    };
    bytes.push(u8::from(file.port.is_some()) | u8::from(file.skips_packets) << 1);
    bytes.push(u8::from(file.is_elsewhere) | u8::from(file.is_told_of) << 1);
    match &file.kind {
        Kind::Port(queue) => {
            bytes.push(0xFD);
            for packet in queue {
                digest_packet(packet, bytes, slot);
            }
            bytes.push(0xFF);
        }
        Kind::Helper => bytes.push(0xFC),
        Kind::Other => bytes.push(0xFB),
        Kind::Endpoint(endpoint) => {
            let is_bare = matches!(endpoint.connection, Connection::Bare);
            assert!(is_bare, "connections are not explored");
            bytes.extend([endpoint.events as u8, (endpoint.events >> 8) as u8]);
            // What the oracles go by.
            let Answered { flags, has_failed } = endpoint.answered;
            bytes.extend([flags as u8, (flags >> 8) as u8, u8::from(has_failed)]);
        }
    }
}

fn digest_packet(packet: &Queued, bytes: &mut Vec<u8>, slot: &dyn Fn(usize) -> [u8; 2]) {
    bytes.push(packet.key as u8);
    bytes.push(u8::from(packet.operation.is_some()));
    bytes.extend(slot(packet.context));
    bytes.push(packet.status.0 as u8);
}

/// The file's place in the order of naming, after 1.
fn rank(ranks: &mut Vec<u32>, file: u32) -> u8 {
    let known = ranks.iter().position(|other| *other == file);
    let at = known.unwrap_or_else(|| {
        ranks.push(file);
        ranks.len() - 1
    });
    at as u8 + 1
}
