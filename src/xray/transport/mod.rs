//! Sends documents out of the process.

mod address;
#[cfg(all(test, target_os = "linux"))]
mod link;
mod pacer;
mod stdout;
mod udp;

use self::pacer::{Pace, Pacer};
pub use self::{
    address::{AddressError, DAEMON_ADDRESS_VARIABLE, DaemonAddress},
    stdout::StdoutEmitter,
    udp::{Sent, UdpEmitter, UdpError, UdpLoss, UdpStats},
};

/// The prefix of a document in its datagram.
pub const DAEMON_HEADER: &[u8] = b"{\"format\":\"json\",\"version\":1}\n";

/// The most bytes a UDP datagram carries over IPv4.
pub(crate) const MAX_DATAGRAM: usize = 65_507;
