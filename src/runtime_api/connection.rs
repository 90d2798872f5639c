//! One connection to the Runtime API, driven by whoever waits for its response: no task of its own, nothing that runs while
//! the environment is frozen or a handler is at work.

use super::{Address, Body, Endpoint, Progress};
use crate::{
    causes::Causes,
    clock::{self, timers_run},
};
use bytes::{Bytes, BytesMut};
use http::{Request, response};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{net::TcpStream, time::Sleep};

#[cfg(not(test))]
type Io = TcpStream;
#[cfg(test)]
type Io = tokio_util::either::Either<TcpStream, tokio::io::DuplexStream>;

/// An event has up to 6 MB, and its headers a client context: the same room that `lambda_runtime` gives them.
const READ_BUFFER: usize = 1024 * 1024;

/// A local address answers at once or refuses.
const CONNECTING: Duration = Duration::from_secs(5);

/// Without a sign of the Runtime API for so many intervals a connection is given up. Several, because the environment may
/// have been frozen during one of them.
const INTERVALS: u32 = 6;
const INTERVAL: Duration = Duration::from_secs(10);

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection could be made.
    Unreachable(io::Error),
    /// The connection was closed before anything of the request had left.
    NotSent(Box<Request<Body>>),
    /// The connection broke while a response was waited for.
    Broken(hyper::Error),
    /// The connection broke after the head of the response.
    BodyBroken(Box<response::Parts>, hyper::Error),
    /// Nothing moved for a minute.
    Stalled,
    /// As `Stalled`, after the head of the response.
    BodyStalled(Box<response::Parts>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "connecting failed: {error}"),
            Self::NotSent(_) => f.write_str("the connection was closed"),
            Self::Broken(error) | Self::BodyBroken(_, error) => write!(f, "the connection broke: {}", Causes(error)),
            Self::Stalled | Self::BodyStalled(_) => {
                write!(f, "nothing was received for {} s", (INTERVAL * INTERVALS).as_secs())
            }
        }
    }
}

/// A response that was read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) parts: response::Parts,
    pub(crate) body: Bytes,
}

pub(crate) struct Connection {
    sender: SendRequest<Body>,
    driver: http1::Connection<TokioIo<Io>, Body>,
    over: bool,
}

impl Connection {
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self, Failure> {
        let connecting = connect(endpoint);
        let connected = if timers_run() {
            tokio::time::timeout(CONNECTING, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        } else {
            connecting.await
        };
        let io = TokioIo::new(connected.map_err(Failure::Unreachable)?);
        let handshake = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
            // What is wrong in one header costs that header.
            .ignore_invalid_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .handshake(io);
        let (sender, driver) = handshake.await.map_err(Failure::Broken)?;
        Ok(Self { sender, driver, over: false })
    }

    /// Moves whatever can be moved.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.over {
            self.over = Pin::new(&mut self.driver).poll(cx).is_ready();
        }
    }

    /// False of a connection that the other side has closed, or that is still busy with what it should be done with.
    pub(crate) async fn is_ready(&mut self) -> bool {
        poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(!self.over && matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(()))))
        })
        .await
    }

    /// Sends a request and reads the response to its end. The head of the response is waited for without end where
    /// `long_poll` is set: an event may be hours away.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Body>,
        long_poll: bool,
        progress: Option<&Progress>,
    ) -> Result<Reply, Failure> {
        let mut response = pin!(self.sender.try_send_request(request));
        let mut stall = Stall::new(progress);
        // Written out, because `drive` would borrow the sender as well.
        let (driver, over) = (&mut self.driver, &mut self.over);
        let response = poll_fn(|cx| {
            if !*over {
                *over = Pin::new(&mut *driver).poll(cx).is_ready();
            }
            match response.as_mut().poll(cx) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                    Some(request) => Failure::NotSent(Box::new(request)),
                    None => Failure::Broken(error.into_error()),
                })),
                Poll::Pending if long_poll => Poll::Pending,
                Poll::Pending => stall.poll(cx).map(|()| Err(Failure::Stalled)),
            }
        })
        .await?;
        let (parts, mut body) = response.into_parts();
        let mut stall = Stall::new(None);
        let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
        loop {
            let frame = poll_fn(|cx| {
                // Asked before and after: the first time tells the connection that the next part is wanted.
                for again in [true, false] {
                    if let Poll::Ready(frame) = http_body::Body::poll_frame(Pin::new(&mut body), cx) {
                        return Poll::Ready(Ok(frame));
                    }
                    if again {
                        self.drive(cx);
                    }
                }
                stall.poll(cx).map(|()| Err(()))
            })
            .await;
            match frame {
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    stall.moved();
                    if first.is_empty() {
                        first = data;
                    } else {
                        if rest.is_empty() {
                            rest.extend_from_slice(&first);
                        }
                        rest.extend_from_slice(&data);
                    }
                }
                Ok(None) => break,
                Ok(Some(Err(error))) => return Err(Failure::BodyBroken(Box::new(parts), error)),
                Err(()) => return Err(Failure::BodyStalled(Box::new(parts))),
            }
        }
        let body = if rest.is_empty() { first } else { rest.freeze() };
        Ok(Reply { parts, body })
    }
}

async fn connect(endpoint: &Endpoint) -> io::Result<Io> {
    let stream = match &endpoint.address {
        Address::Socket(address) => TcpStream::connect(address).await?,
        Address::Name(name) => TcpStream::connect(name).await?,
        #[cfg(test)]
        Address::Memory(connections) => {
            let (near, far) = tokio::io::duplex(64 * 1024);
            connections.send(far).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            return Ok(Io::Right(near));
        }
    };
    // A request leaves in more than one piece; waiting for the acknowledgement of the first would cost 40 ms.
    stream.set_nodelay(true)?;
    #[cfg(test)]
    let stream = Io::Left(stream);
    Ok(stream)
}

/// Notices that nothing moves.
struct Stall<'p> {
    progress: Option<&'p Progress>,
    sleep: Option<Pin<Box<Sleep>>>,
    frames: u32,
    intervals: u32,
}

impl<'p> Stall<'p> {
    fn new(progress: Option<&'p Progress>) -> Self {
        Self { progress, sleep: None, frames: 0, intervals: 0 }
    }

    fn moved(&mut self) {
        self.intervals = 0;
        self.sleep = None;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !timers_run() {
            return Poll::Pending;
        }
        loop {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until((clock::now() + INTERVAL).into())));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
            let frames = self.progress.map_or(0, Progress::frames);
            let others = self.progress.is_some_and(Progress::waits_for_the_stream) || frames != self.frames;
            self.frames = frames;
            self.intervals = if others { 0 } else { self.intervals + 1 };
            if self.intervals >= INTERVALS {
                return Poll::Ready(());
            }
        }
    }
}
