//! Groups whose ends prove who they are, or trust those that do.

use ampe::{Address, Engine, GroupOptions, Tls, TlsOptions};

use super::certificates::{Authority, Holder};
use crate::common::Side;

/// A group of an engine that proves and trusts as these options say.
pub(crate) fn side(engine: &Engine, tls: &Tls) -> Side {
    let mut options = GroupOptions::default();
    options.tls = Some(tls.clone());
    engine.group(options).unwrap()
}

pub(crate) fn build(options: TlsOptions) -> Tls {
    options.build().unwrap()
}

pub(crate) fn own(holder: &Holder) -> TlsOptions {
    let options = TlsOptions::new();
    options
        .certificate_pem(holder.chain.as_bytes(), holder.key.as_bytes())
        .unwrap()
}

pub(crate) fn trusting(authority: &Authority) -> TlsOptions {
    let options = TlsOptions::new();
    options.authorities_pem(authority.pem.as_bytes()).unwrap()
}

pub(crate) fn any() -> Address {
    "tls://127.0.0.1:0".parse().unwrap()
}
