//! Authorities, and those that they issue certificates to.

use ampe::KeyHash;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData,
    date_time_ymd,
};
use sha2::{Digest, Sha256};

/// One that issues certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate, its authority's behind it, and its key, in PEM.
pub(crate) struct Holder {
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) key_hash: KeyHash,
}

fn holder(chain: String, key: &KeyPair) -> Holder {
    let hash: [u8; 32] = Sha256::digest(key.subject_public_key_info()).into();
    Holder {
        chain,
        key: key.serialize_pem(),
        key_hash: hash.into(),
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Those of one name would be taken for each other.
        let name = key.subject_public_key_info();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("authority {:?}", &name[30..40]));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// For a DNS name or an IP address.
    pub(crate) fn issue(&self, name: &str) -> Holder {
        self.issue_with(name, |_| {})
    }

    pub(crate) fn issue_expired(&self, name: &str) -> Holder {
        self.issue_with(name, |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        })
    }

    fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Holder {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        holder(certificate.pem(), &key)
    }
}

/// One that nobody but itself has issued.
pub(crate) fn self_signed(name: &str) -> Holder {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    holder(params.self_signed(&key).unwrap().pem(), &key)
}
