//! A hop between the functions and the daemon, on which documents are changed or lost.

use crate::target::Failure;
use serde_json::{Value, json};
use std::{io, net::Ipv4Addr};
use tokio::{
    net::UdpSocket,
    sync::watch,
    task::{AbortHandle, spawn},
};

/// Larger than any datagram.
const LARGEST: usize = 65_536;

#[derive(Debug)]
pub(crate) struct Relay {
    address: String,
    /// The last mark that was read.
    marks: watch::Receiver<u64>,
    task: AbortHandle,
}

impl Relay {
    /// Passes datagrams on to the daemon, with the fault of this assertion.
    pub(crate) async fn start(assertion: &'static str, daemon: String) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = socket.local_addr()?.to_string();
        let (mark, marks) = watch::channel(0);
        let relaying = async move {
            let mut buffer = vec![0; LARGEST];
            while let Ok((length, _)) = socket.recv_from(&mut buffer).await {
                let datagram = &buffer[..length];
                if let Ok(number) = <[u8; 8]>::try_from(datagram) {
                    mark.send_replace(u64::from_le_bytes(number));
                } else if let Some(changed) = change(assertion, datagram) {
                    // The daemon is on this machine: what is lost shows in the comparison.
                    let _ = socket.send_to(&changed, &daemon).await;
                }
            }
        };
        Ok(Self { address, marks, task: spawn(relaying).abort_handle() })
    }

    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    /// Waits until all that was sent before has been passed on: datagrams to one socket on one machine keep their order.
    pub(crate) async fn settle(&self) -> Result<(), Failure> {
        let number = fastrand::u64(1..);
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        sender.send_to(&number.to_le_bytes(), &self.address).await?;
        self.marks.clone().wait_for(|&mark| mark == number).await?;
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The datagram with the fault; `None` if it is lost.
fn change(assertion: &str, datagram: &[u8]) -> Option<Vec<u8>> {
    let end = datagram.iter().position(|&byte| byte == b'\n')?;
    let mut document: Value = serde_json::from_slice(&datagram[end + 1..]).ok()?;
    change_document(assertion, &mut document).then(|| [&datagram[..=end], document.to_string().as_bytes()].concat())
}

/// Whether the document is kept; small spans are nested in their parents.
fn change_document(assertion: &str, document: &mut Value) -> bool {
    let outcome = document["annotations"]["outcome"].clone();
    match assertion {
        "outcomes" if outcome == "failed" => document["annotations"]["outcome"] = json!("unknown"),
        "faults" if outcome == "failed" => drop(document.as_object_mut().and_then(|fields| fields.remove("fault"))),
        "sent" if document["name"] == "respond" => return false,
        "sqs-node" if document["name"] == "SQS" => document["aws"]["queue_url"] = json!("https://sqs.example/other"),
        // A subsegment of another namespace is no call of a service.
        "sqs-map" if document["name"] == "SQS" => drop(document.as_object_mut().and_then(|fields| fields.remove("namespace"))),
        _ => {}
    }
    if let Some(nested) = document.get_mut("subsegments").and_then(Value::as_array_mut) {
        nested.retain_mut(|nested| change_document(assertion, nested));
    }
    true
}
