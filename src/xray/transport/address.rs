//! The address of the daemon.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
};

use thiserror::Error;

/// The environment variable that names the daemon; Lambda sets it.
pub const DAEMON_ADDRESS_VARIABLE: &str = "AWS_XRAY_DAEMON_ADDRESS";

const DEFAULT: &str = "127.0.0.1:2000";

/// An invalid address of the daemon.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Neither `host:port` nor `tcp:host:port udp:host:port`.
    #[error("`{0}` is not a valid daemon address; write `host:port`, or `tcp:host:port udp:host:port` in either order")]
    Malformed(String),
    /// The name has no address.
    #[error("the X-Ray daemon's host `{host}` cannot be resolved; set AWS_XRAY_DAEMON_ADDRESS to an IP address and a port")]
    Unresolved {
        /// The name, unchanged.
        host: String,
        /// The resolver's error.
        source: io::Error,
    },
}

/// The daemon's two addresses, by the rules of AWS's X-Ray SDKs: `host:port` for both, or `tcp:host:port udp:host:port` in either
/// order. A single prefixed address is used for both too. Hosts are IPv4 addresses, IPv6 addresses in brackets, or names.
///
/// ```
/// use lambda_lifecycle::xray::DaemonAddress;
///
/// let address = DaemonAddress::parse("tcp:127.0.0.1:2001 udp:[::1]:2002")?;
/// assert_eq!((address.udp(), address.tcp()), ("[::1]:2002", "127.0.0.1:2001"));
/// # Ok::<_, lambda_lifecycle::xray::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonAddress {
    udp: Box<str>,
    tcp: Box<str>,
}

impl DaemonAddress {
    /// Parses an address without resolving it.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(text.to_owned());
        let (mut udp, mut tcp, mut both) = (None, None, None);
        for part in text.split_ascii_whitespace() {
            let (door, address) = match part.split_once(':') {
                Some((scheme, rest)) if scheme.eq_ignore_ascii_case("udp") => (&mut udp, rest),
                Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tcp") => (&mut tcp, rest),
                _ => (&mut both, part),
            };
            if door.is_some() || !is_host_and_port(address) {
                return Err(malformed());
            }
            *door = Some(address);
        }
        let (udp, tcp) = match (udp, tcp, both) {
            (Some(udp), Some(tcp), None) => (udp, tcp),
            (Some(one), None, None) | (None, Some(one), None) | (None, None, Some(one)) => (one, one),
            _ => return Err(malformed()),
        };
        Ok(Self { udp: udp.into(), tcp: tcp.into() })
    }

    /// Reads `AWS_XRAY_DAEMON_ADDRESS`. If it is unset or empty, the daemon's default applies: `127.0.0.1:2000`.
    pub fn from_env() -> Result<Self, AddressError> {
        match std::env::var(DAEMON_ADDRESS_VARIABLE) {
            Ok(text) if !text.trim().is_empty() => Self::parse(&text),
            Err(std::env::VarError::NotUnicode(text)) => Err(AddressError::Malformed(text.to_string_lossy().into_owned())),
            _ => Ok(Self::default()),
        }
    }

    /// The address for documents: `host:port`.
    pub fn udp(&self) -> &str {
        &self.udp
    }

    /// The address for sampling rules: `host:port`.
    pub fn tcp(&self) -> &str {
        &self.tcp
    }

    /// Resolves the address for documents. If a name has both kinds, the IPv4 address is used. Resolving a name blocks the
    /// thread, so do it once, in the Init phase.
    pub fn resolve(&self) -> Result<SocketAddr, AddressError> {
        let unresolved = |source| AddressError::Unresolved { host: self.udp.to_string(), source };
        preferred(self.udp.to_socket_addrs().map_err(unresolved)?).ok_or_else(|| unresolved(io::ErrorKind::NotFound.into()))
    }
}

impl Default for DaemonAddress {
    fn default() -> Self {
        Self { udp: DEFAULT.into(), tcp: DEFAULT.into() }
    }
}

impl From<SocketAddr> for DaemonAddress {
    fn from(address: SocketAddr) -> Self {
        let text = address.to_string().into_boxed_str();
        Self { udp: text.clone(), tcp: text }
    }
}

impl fmt::Display for DaemonAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.udp == self.tcp { out.write_str(&self.udp) } else { write!(out, "udp:{} tcp:{}", self.udp, self.tcp) }
    }
}

impl std::str::FromStr for DaemonAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// A name such as `localhost` may have addresses of both kinds. The daemon listens on IPv4 by default.
fn preferred(found: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
    let mut first = None;
    for address in found {
        if address.is_ipv4() {
            return Some(address);
        }
        first = first.or(Some(address));
    }
    first
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        // A host of this name could not be distinguished from the prefix.
        None if host.eq_ignore_ascii_case("udp") || host.eq_ignore_ascii_case("tcp") => false,
        None => !host.is_empty() && !host.contains([':', '[', ']', '/']),
    };
    host && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_name_with_both_kinds_of_addresses_the_ipv4_one_counts() {
        let (six, four) = (SocketAddr::from(([0_u16; 8], 2000)), SocketAddr::from(([127, 0, 0, 1], 2000)));
        assert_eq!(preferred([six, four].into_iter()), Some(four));
        assert_eq!(preferred([six].into_iter()), Some(six));
        assert_eq!(preferred([].into_iter()), None);
    }
}
