//! STS, which says who is calling: `GetCallerIdentity` and nothing else.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// The account of the sandbox.
const IDENTITY: &str = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
<Arn>arn:aws:iam::123456789012:user/sandbox</Arn><UserId>AIDASANDBOX</UserId><Account>123456789012</Account>\
</GetCallerIdentityResult><ResponseMetadata><RequestId>sandbox</RequestId></ResponseMetadata></GetCallerIdentityResponse>";

#[derive(Debug)]
pub(super) struct Sts {
    address: SocketAddr,
    task: AbortHandle,
}

impl Sts {
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let serving = async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A caller that goes away misses its response, and nothing else.
                tokio::spawn(async move { drop(respond(stream).await) });
            }
        };
        Ok(Self { address, task: tokio::spawn(serving).abort_handle() })
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Sts {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn respond(mut stream: TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    while !is_complete(&request) {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let is_known = String::from_utf8_lossy(&request).contains("Action=GetCallerIdentity");
    let (status, body) = if is_known { ("200 OK", IDENTITY) } else { ("400 Bad Request", "") };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/xml\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).await?;
    stream.shutdown().await
}

/// Whether the head and the body that it announces are there.
fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    body.len() >= announced.unwrap_or(0)
}
