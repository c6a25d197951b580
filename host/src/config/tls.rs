//! The certificate with which the server speaks TLS: read, parsed and tried when the file is.
//!
//! Called by `server`. No message here shows what a key file holds.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use super::problem::Problems;
use super::raw::RawTls;
use super::resolve::Surroundings;

/// The largest file with a certificate or a key, in bytes.
const PEM_BYTES_MAX: u64 = 256 << 10;
/// HTTP/2 and HTTP/1.1 by their names in RFC 7301, the better one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How the server speaks TLS. Equal to what was made of a certificate and a key of the same bytes.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate, key and protocols, ready to answer with.
    pub server: Arc<ServerConfig>,
    /// SHA-256 of both files.
    digest: [u8; 32],
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// The section `[server.tls]`.
pub(super) fn resolve(
    raw: RawTls,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Tls> {
    let at = |name: &str| format!("server.tls.{name}");
    let mut file = |name: &str, text: Option<String>, hint: &str| {
        let text = problems.required(&at(name), text, hint)?;
        let path = around.file(&text);
        let pem = problems.take(at(name), read(&path))?;
        Some((path, pem))
    };
    let certificate = file("certificate", raw.certificate, "a PEM file, as `cert.pem`");
    let key = file("key", raw.key, "a PEM file, as `key.pem`");
    let pems = [&certificate, &key].map(|it| it.as_ref().map_or(&[][..], |(_, pem)| pem));
    let digest = digest(pems);
    let chain =
        certificate.and_then(|(path, pem)| problems.take(at("certificate"), chain(&path, &pem)));
    let key = key.and_then(|(path, pem)| problems.take(at("key"), key_of(&path, &pem)));
    let (chain, key) = chain.zip(key)?;
    let server = problems.take(at("key"), server(chain, key))?;
    Some(Tls {
        server: Arc::new(server),
        digest,
    })
}

/// Of the files' digests, so that where one ends is told as well.
fn digest(pems: [&[u8]; 2]) -> [u8; 32] {
    Sha256::digest(pems.map(Sha256::digest).concat()).into()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error| format!("cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(unreadable)?;
    let mut pem = Vec::new();
    file.take(PEM_BYTES_MAX + 1)
        .read_to_end(&mut pem)
        .map_err(unreadable)?;
    if PEM_BYTES_MAX < pem.len() as u64 {
        return Err(format!(
            "{} is larger than {PEM_BYTES_MAX} bytes",
            path.display()
        ));
    }
    Ok(pem)
}

fn chain(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(format!(
            "no certificate in {}: PEM is wanted, the server's own certificate first",
            path.display()
        )),
        Err(_) => Err(format!("{} is not readable as PEM", path.display())),
    }
}

fn key_of(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        format!(
            "no private key in {}: PEM is wanted, without a passphrase",
            path.display()
        )
    })
}

/// TLS 1.2 and 1.3, with the key tried against the certificate.
fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                "the key does not belong to `server.tls.certificate`".to_owned()
            }
            other => format!("cannot be used with `server.tls.certificate`: {other}"),
        })?;
    server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(server)
}
