//! The root certificates that the HTTP client trusts.

use crate::{
    environment::variable,
    notice::{Problem, Warning},
};
use base64::Engine;
use memchr::memmem;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use std::borrow::Cow;

/// Variables that name a file with root certificates, by precedence: the AWS SDKs' own, and OpenSSL's.
const BUNDLES: [&str; 2] = ["AWS_CA_BUNDLE", "SSL_CERT_FILE"];
/// A variable that names folders with root certificates.
const FOLDERS: &str = "SSL_CERT_DIR";

/// The root certificates that [`HttpsClient`](super::HttpsClient) trusts.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Roots {
    /// Mozilla's root certificates, compiled into the function. Nothing is read from the file system.
    #[default]
    Compiled,
    /// Only the roots of Amazon Trust Services, which sign the endpoints of AWS services: five certificates to read instead of
    /// more than a hundred. Do not use them for other endpoints, such as an emulator or a store that is compatible with S3, nor
    /// for a proxy that inspects TLS.
    Amazon,
    /// The operating system's root certificates.
    Native,
    /// Only these certificates, in PEM format.
    Pem(Vec<u8>),
}

/// The certificates of a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootsError {
    /// The text is not PEM.
    #[error("the bundle of root certificates is not valid PEM: {0}. Expected sections `-----BEGIN CERTIFICATE-----`")]
    NotPem(String),
    /// No section of the text is a certificate that can be used as a root.
    #[error("the bundle has no valid root certificate, of {found} certificates: add the certificate of your CA")]
    NoRoot {
        /// The number of certificates in the bundle.
        found: usize,
    },
}

/// Usable roots. The operating system's are not read before they are needed.
#[derive(Clone, Debug)]
pub(super) enum Trusted {
    Compiled,
    Amazon,
    Native,
    /// Valid certificates, in PEM format.
    Pem(String),
}

impl Trusted {
    pub(super) fn new(roots: Roots) -> Result<Self, RootsError> {
        Ok(match roots {
            Roots::Compiled => Self::Compiled,
            Roots::Amazon => Self::Amazon,
            Roots::Native => Self::Native,
            Roots::Pem(pem) => Self::Pem(valid_part(pem)?),
        })
    }

    /// The roots that the environment selects: a bundle in `AWS_CA_BUNDLE` or `SSL_CERT_FILE`, folders in `SSL_CERT_DIR`, or else
    /// the compiled ones. An unusable bundle is logged by the name of its variable, and the compiled roots are used.
    pub(super) fn from_env() -> Self {
        for name in BUNDLES {
            let Some(path) = variable(name) else { continue };
            let problem = match std::fs::read(&path) {
                Ok(pem) => match valid_part(pem) {
                    Ok(pem) => return Self::Pem(pem),
                    Err(error) => error.to_string(),
                },
                Err(error) => format!("the file cannot be read: {error}"),
            };
            let value = Some(path);
            let invalid = Problem { name: Some(name.to_owned()), value, ..Problem::new(Warning::RootCertificatesInvalid) };
            invalid.because(problem).log_once();
        }
        if variable(FOLDERS).is_some() { Self::Native } else { Self::Compiled }
    }

    /// All valid certificates, in PEM format, which is the only format that the SDK's HTTP client accepts. It panics on invalid
    /// ones.
    pub(super) fn pem(&self) -> Cow<'_, str> {
        Cow::Owned(match self {
            Self::Pem(pem) => return Cow::Borrowed(pem),
            Self::Compiled => compiled(),
            Self::Amazon => encoded(amazon()),
            Self::Native => {
                let mut native = rustls_native_certs::load_native_certs().certs;
                native.retain(is_root);
                if native.is_empty() {
                    Problem::new(Warning::RootCertificatesMissing).log_once();
                    return Cow::Owned(compiled());
                }
                encoded(&native)
            }
        })
    }
}

fn compiled() -> String {
    encoded(webpki_root_certs::TLS_SERVER_ROOT_CERTS)
}

/// Amazon Root CA 1 to 4, and Starfield Services Root Certificate Authority - G2, which Amazon owns too.
fn amazon() -> impl Iterator<Item = &'static CertificateDer<'static>> {
    let of_amazon = |certificate: &&CertificateDer<'_>| {
        [&b"Amazon Root CA"[..], b"Starfield Services Root"].iter().any(|name| memmem::find(certificate, name).is_some())
    };
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter(of_amazon)
}

/// The bundle with only those of its certificates that are valid roots, at least one. This is usually the unchanged bundle.
fn valid_part(pem: Vec<u8>) -> Result<String, RootsError> {
    let mut roots = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| RootsError::NotPem(error.to_string()))?;
    let found = roots.len();
    roots.retain(is_root);
    if roots.is_empty() {
        return Err(RootsError::NoRoot { found });
    }
    let whole = if roots.len() == found { String::from_utf8(pem).ok() } else { None };
    Ok(whole.unwrap_or_else(|| encoded(&roots)))
}

fn is_root(certificate: &CertificateDer<'_>) -> bool {
    webpki::anchor_from_trusted_cert(certificate).is_ok()
}

fn encoded<'c>(certificates: impl IntoIterator<Item = &'c CertificateDer<'c>>) -> String {
    let mut pem = String::new();
    for certificate in certificates {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        base64::engine::general_purpose::STANDARD.encode_string(certificate, &mut pem);
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_compiled_roots_are_valid_and_amazons_are_among_them() {
        for (roots, count) in [(Trusted::Compiled, webpki_root_certs::TLS_SERVER_ROOT_CERTS.len()), (Trusted::Amazon, 5)] {
            let pem = roots.pem().into_owned();
            assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), count);
            assert_eq!(valid_part(pem.clone().into_bytes()).ok(), Some(pem), "all are valid");
        }
    }

    #[test]
    fn a_bundle_counts_by_its_valid_certificates() {
        let invalid = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let mixed = Trusted::new(Roots::Pem(format!("a comment\n{invalid}{}", Trusted::Amazon.pem()).into_bytes()));
        assert_eq!(mixed.expect("it has valid ones").pem(), Trusted::Amazon.pem());
        // A comment that is not UTF-8 is left out, like invalid entries.
        let latin = [b"caf\xe9\n", Trusted::Amazon.pem().as_bytes()].concat();
        assert_eq!(Trusted::new(Roots::Pem(latin)).expect("it has valid ones").pem(), Trusted::Amazon.pem());
        let check = |text: &str| Trusted::new(Roots::Pem(text.as_bytes().to_vec()));
        assert!(matches!(check(invalid), Err(RootsError::NoRoot { found: 1 })));
        assert!(matches!(check(""), Err(RootsError::NoRoot { found: 0 })));
        assert!(matches!(check("-----BEGIN CERTIFICATE-----\n"), Err(RootsError::NotPem(_))));
    }
}
