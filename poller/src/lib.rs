//! Level-triggered readiness polling that owns its sources: sockets in, readiness out.
#![deny(unsafe_code)]
