//! The codec of rustls.

use std::io::{self, IoSlice, Read, Write};

use rustls::{AlertDescription, CertificateError, Connection, Error};

use super::identity::{Identity, Verified};
use super::{Codec, Fault, verify};

/// One end of a TLS connection.
pub(super) struct Records {
    connection: Connection,
    /// How a certificate of the peer's was accepted, if it showed one.
    verified: Verified,
    /// Plaintext has come: what goes wrong from now on has nothing to do with the handshake.
    has_heard: bool,
}

impl Records {
    pub(super) fn new(connection: impl Into<Connection>, verified: Verified) -> Self {
        Records {
            connection: connection.into(),
            verified,
            has_heard: false,
        }
    }

    fn fault(&self, error: &Error) -> io::Error {
        let words = words(error);
        match self.has_heard {
            false => Fault::Handshake(words).of_kind(io::ErrorKind::InvalidData),
            true => io::Error::new(io::ErrorKind::InvalidData, words),
        }
    }
}

impl Codec for Records {
    fn feed(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0); // it would be the end
        }
        let used = self.connection.read_tls(&mut bytes)?;
        match self.connection.process_new_packets() {
            Ok(_) => Ok(used),
            Err(error) => Err(self.fault(&error)),
        }
    }

    fn finish(&mut self) {
        // Reading nothing is how it is told. It refuses while there is plaintext: then again later.
        let _ = self.connection.read_tls(&mut io::empty());
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.connection.reader().read(buffer) {
            Ok(len) => {
                self.has_heard |= len > 0;
                Ok(len)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let words = "the stream was cut: it ended without TLS's close_notify";
                Err(io::Error::new(error.kind(), words))
            }
            Err(error) => Err(error),
        }
    }

    fn holds_plaintext(&mut self) -> bool {
        let state = self.connection.process_new_packets();
        state.is_ok_and(|state| state.plaintext_bytes_to_read() > 0 || state.peer_has_closed())
    }

    fn seal(&mut self, slices: &[IoSlice<'_>], out: &mut Vec<u8>) -> io::Result<usize> {
        let sealed = self.connection.writer().write_vectored(slices)?;
        self.take_output(out);
        Ok(sealed)
    }

    fn take_output(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            if self.connection.write_tls(out).is_err() {
                return; // a vector takes everything
            }
        }
    }

    fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    fn close(&mut self) {
        self.connection.send_close_notify();
    }

    fn identity(&self) -> Option<Identity> {
        let certificate = self.connection.peer_certificates()?.first()?;
        verify::identity(certificate, self.verified)
    }
}

/// What an error means to whoever has to do something about it.
fn words(error: &Error) -> String {
    use AlertDescription as Alert;
    match error {
        Error::InvalidCertificate(error) => format!(
            "the peer's certificate is not accepted: {}",
            of_certificate(error)
        ),
        Error::NoCertificatesPresented | Error::PeerIncompatible(_) => {
            format!("the peer does not offer what is demanded: {error}")
        }
        Error::InvalidMessage(_) => format!("what the peer sent is no TLS: {error}"),
        Error::NoApplicationProtocol => {
            "the peer speaks something else than `ampe/1` over TLS".to_owned()
        }
        Error::AlertReceived(alert) => {
            let why = match alert {
                Alert::ProtocolVersion => "it has no TLS 1.3",
                Alert::CertificateRequired => "it demands a certificate",
                Alert::NoApplicationProtocol => "it speaks something else over TLS",
                Alert::UnknownCA => "it does not trust the authority of our certificate",
                Alert::CertificateExpired => "our certificate has expired",
                Alert::BadCertificate | Alert::CertificateUnknown | Alert::AccessDenied => {
                    "it does not accept our certificate"
                }
                _ => return format!("the peer gave up: {error}"),
            };
            format!("the peer refuses: {why} ({error})")
        }
        _ => error.to_string(),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "none of the authorities that are trusted here issued it".to_owned()
        }
        CertificateError::BadSignature => {
            "it is not signed by the authority that it names".to_owned()
        }
        CertificateError::ApplicationVerificationFailure => {
            "its key is none of those that are pinned".to_owned()
        }
        _ => error.to_string(),
    }
}
