//! Datagrams that the kernel dropped.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

/// The drop counter of one UDP socket.
#[derive(Debug)]
pub(super) struct Drops(SocketAddr);

impl Drops {
    pub(super) fn of(socket: SocketAddr) -> Self {
        Self(socket)
    }

    /// Datagrams lost so far. Zero where the system does not say, which only Linux does.
    pub(super) fn count(&self) -> u64 {
        // The counter of the socket itself comes with the next datagram only, and needs `unsafe` code.
        let table = fs::read_to_string("/proc/net/udp").unwrap_or_default();
        drops(&table, self.0).unwrap_or_default()
    }
}

/// The last column of the line whose second column is this address: the bytes as they are in memory, and the port.
fn drops(table: &str, socket: SocketAddr) -> Option<u64> {
    let IpAddr::V4(ip) = socket.ip() else { return None };
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), socket.port());
    let line = table.lines().find(|line| line.split_ascii_whitespace().nth(1) == Some(&local))?;
    line.split_ascii_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_the_last_column_of_the_sockets_line() {
        let table = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            
 7098: 0100007F:B61E 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 15500 2 000000007e665496 0         
 7099: 0100007F:B61F 00000000:0000 07 00000000:00033F00 00:00000000 00000000     0        0 15501 2 000000007e665497 314       
";
        if cfg!(target_endian = "little") {
            assert_eq!(drops(table, "127.0.0.1:46623".parse().unwrap()), Some(314));
            assert_eq!(drops(table, "127.0.0.1:46622".parse().unwrap()), Some(0));
        }
        assert_eq!(drops(table, "127.0.0.1:1".parse().unwrap()), None);
    }
}
