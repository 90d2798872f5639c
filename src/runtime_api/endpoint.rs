//! The address of the Runtime API, and the paths of its endpoints.

use http::{HeaderValue, Uri};
use std::{fmt::Write as _, net::SocketAddr};

const VERSION: &str = "2018-06-01";

/// `AWS_LAMBDA_RUNTIME_API`, parsed once.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(super) address: Address,
    pub(super) host: HeaderValue,
    /// The path prefix of all endpoints, which emulators use. It has no slash at its end.
    prefix: String,
}

#[derive(Debug)]
pub(super) enum Address {
    /// The usual case, in which no name has to be resolved.
    Socket(SocketAddr),
    /// `host:port`.
    Name(String),
    /// Connections of a test, which need no network and no real time. The number is that of the next ones to refuse.
    #[cfg(test)]
    Memory(tokio::sync::mpsc::UnboundedSender<tokio::io::DuplexStream>, std::sync::Arc<std::sync::atomic::AtomicU32>),
}

impl Endpoint {
    /// Parses `host:port`, with an optional `http://` before it and an optional path after it.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        // Lambda's own format, without the cost of parsing a URL.
        if let Ok(address) = value.parse() {
            let host = HeaderValue::from_str(value).ok()?;
            return Some(Self { address: Address::Socket(address), host, prefix: String::new() });
        }
        let url = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority().filter(|authority| !authority.host().is_empty())?;
        if uri.scheme_str() != Some("http") {
            return None;
        }
        let host = authority.as_str().rsplit('@').next()?;
        let name = authority.host();
        let port = match host.strip_prefix(name)? {
            "" => 80,
            port => port.strip_prefix(':')?.parse().ok()?,
        };
        let ip = name.trim_start_matches('[').trim_end_matches(']').parse();
        let address =
            ip.map_or_else(|_| Address::Name(format!("{name}:{port}")), |ip| Address::Socket(SocketAddr::new(ip, port)));
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Some(Self { address, host: HeaderValue::from_str(host).ok()?, prefix })
    }

    #[cfg(test)]
    pub(crate) fn in_memory(
        connections: tokio::sync::mpsc::UnboundedSender<tokio::io::DuplexStream>,
        refusals: std::sync::Arc<std::sync::atomic::AtomicU32>,
    ) -> Self {
        Self { address: Address::Memory(connections, refusals), host: HeaderValue::from_static("memory"), prefix: String::new() }
    }

    /// An endpoint of the Runtime API that has no parameter.
    pub(crate) fn runtime(&self, path: &str) -> Uri {
        self.uri(&["/", VERSION, "/runtime/", path].concat())
    }

    /// `/runtime/invocation/{id}/{what}`. The id is used unchanged, except that characters which are invalid in a path are
    /// escaped.
    pub(crate) fn invocation(&self, request_id: &[u8], what: &str) -> Uri {
        let mut path = format!("/{VERSION}/runtime/invocation/");
        for byte in request_id {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => path.push(char::from(*byte)),
                other => drop(write!(path, "%{other:02X}")),
            }
        }
        path.push('/');
        path.push_str(what);
        self.uri(&path)
    }

    /// An endpoint of another API at the same address.
    pub(crate) fn uri(&self, path: &str) -> Uri {
        let whole = if self.prefix.is_empty() { path.to_owned() } else { format!("{}{path}", self.prefix) };
        // The prefix is part of a valid URI, and the rest consists of valid characters.
        whole.parse().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> (String, String, String) {
        let endpoint = Endpoint::parse(value).expect(value);
        let address = match &endpoint.address {
            Address::Socket(socket) => format!("socket {socket}"),
            Address::Name(name) => format!("name {name}"),
            Address::Memory(..) => unreachable!("not parsed"),
        };
        (address, endpoint.host.to_str().expect("ASCII").to_owned(), endpoint.runtime("invocation/next").to_string())
    }

    #[test]
    fn every_form_of_the_variable_is_understood() {
        let next = "/2018-06-01/runtime/invocation/next";
        for (value, address, host, path) in [
            ("127.0.0.1:9001", "socket 127.0.0.1:9001", "127.0.0.1:9001", next.to_owned()),
            ("http://127.0.0.1:9001", "socket 127.0.0.1:9001", "127.0.0.1:9001", next.to_owned()),
            ("http://127.0.0.1:9001/", "socket 127.0.0.1:9001", "127.0.0.1:9001", next.to_owned()),
            ("http://[::1]:9001/.rt", "socket [::1]:9001", "[::1]:9001", format!("/.rt{next}")),
            ("localhost:9001/a/b/", "name localhost:9001", "localhost:9001", format!("/a/b{next}")),
            ("sandbox", "name sandbox:80", "sandbox", next.to_owned()),
            ("HTTP://user:secret@host:1", "name host:1", "host:1", next.to_owned()),
        ] {
            assert_eq!(read(value), (address.to_owned(), host.to_owned(), path), "{value}");
        }
    }

    #[test]
    fn what_is_not_an_address_is_not_understood() {
        for value in
            ["", "https://127.0.0.1:9001", "http://", "127.0.0.1:nine", "127.0.0.1:99999", "a b:1", "unix:///tmp/x", "host:"]
        {
            assert!(Endpoint::parse(value).is_none(), "{value:?}");
        }
    }

    #[test]
    fn an_odd_request_id_makes_a_valid_path() {
        let endpoint = Endpoint::parse("127.0.0.1:1").expect("valid");
        let path = |id: &[u8]| endpoint.invocation(id, "response").path().to_owned();
        let base = "/2018-06-01/runtime/invocation";
        assert_eq!(path(b"8476a536-e9f4-11e8"), format!("{base}/8476a536-e9f4-11e8/response"));
        assert_eq!(path(b"../a b?c#d%\xff"), format!("{base}/..%2Fa%20b%3Fc%23d%25%FF/response"));
    }
}
