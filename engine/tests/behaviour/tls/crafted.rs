//! Records that no TLS library makes: empty ones, of other kinds, sealed by hand with a session's own keys.

use std::io::Write;
use std::net::TcpStream;

use rustls::crypto::cipher::{AeadKey, Iv, MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::{ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite};

use super::raw::RawClient;

pub(crate) struct Crafted {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
    pub(crate) tcp: TcpStream,
}

/// What seals the records of one end, with the number of the next.
pub(crate) fn encrypter(
    suite: SupportedCipherSuite,
    (sequence, secrets): (u64, ConnectionTrafficSecrets),
) -> (Box<dyn MessageEncrypter>, u64) {
    let (key, iv): (AeadKey, Iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("a suite that this test does not know"),
    };
    let suite = suite.tls13().expect("TLS 1.3");
    (suite.aead_alg.encrypter(key, iv), sequence)
}

impl Crafted {
    /// Goes on by hand with a connection past its handshake.
    pub(crate) fn from(peer: RawClient) -> Self {
        let suite = peer.tls.negotiated_cipher_suite().unwrap();
        let secrets = peer.tls.dangerous_extract_secrets().unwrap();
        let (encrypter, sequence) = encrypter(suite, secrets.tx);
        Crafted {
            encrypter,
            sequence,
            tcp: peer.tcp,
        }
    }

    pub(crate) fn record(&mut self, typ: ContentType, content: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::from(content),
        };
        let record = self.encrypter.encrypt(message, self.sequence).unwrap();
        self.sequence += 1;
        record.encode()
    }

    pub(crate) fn data(&mut self, content: &[u8]) -> Vec<u8> {
        self.record(ContentType::ApplicationData, content)
    }

    /// Whether it was taken: not where the other end has closed.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.tcp.write_all(bytes).is_ok()
    }
}
