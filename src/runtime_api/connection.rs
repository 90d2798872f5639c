//! One connection to the Runtime API. The task that waits for a response drives it, so nothing runs while the environment is
//! frozen or a handler is running.

use super::{
    Address, Body, Endpoint, Progress,
    counted::{Counted, Moved},
};
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
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{net::TcpStream, task::unconstrained, time::Sleep};

#[cfg(not(test))]
type Io = TcpStream;
#[cfg(test)]
type Io = tokio_util::either::Either<TcpStream, tokio::io::DuplexStream>;

/// An event has up to 6 MB, and its headers contain a client context. `lambda_runtime` uses the same size.
const READ_BUFFER: usize = 1024 * 1024;

/// A local address accepts or refuses a connection at once.
const CONNECTING: Duration = Duration::from_secs(5);

/// The number of intervals without data after which a connection is given up. There are several, because the environment may have
/// been frozen during one of them.
const INTERVALS: u32 = 6;
const INTERVAL: Duration = Duration::from_secs(10);

/// The reason why no response arrived.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection could be made for the request.
    Unreachable(Box<Request<Body>>, io::Error),
    /// The connection was closed before any of the request was sent.
    NotSent(Box<Request<Body>>),
    /// The connection broke while waiting for a response.
    Broken(hyper::Error),
    /// The connection broke after the head of the response.
    BodyBroken(Box<response::Parts>, hyper::Error),
    /// No data was sent or received for a minute.
    Stalled,
    /// Like `Stalled`, after the head of the response.
    BodyStalled(Box<response::Parts>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(_, error) => write!(f, "connecting failed: {error}"),
            Self::NotSent(_) => f.write_str("the connection was closed"),
            Self::Broken(error) | Self::BodyBroken(_, error) => write!(f, "the connection broke: {}", Causes(error)),
            Self::Stalled | Self::BodyStalled(_) => {
                write!(f, "nothing was sent or received for {} s", (INTERVAL * INTERVALS).as_secs())
            }
        }
    }
}

/// A response that was read completely.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) parts: response::Parts,
    pub(crate) body: Bytes,
}

pub(crate) struct Connection {
    sender: SendRequest<Body>,
    driver: Driver,
    moved: Arc<Moved>,
}

struct Driver {
    /// Kept after its end, because it owns the stream that was being sent. Boxed, because otherwise it would enlarge each future
    /// that holds it.
    connection: Option<Box<http1::Connection<TokioIo<Counted<Io>>, Body>>>,
    over: bool,
}

impl Driver {
    /// Reads and writes as much as possible.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = self.connection.as_mut().filter(|_| !self.over) {
            self.over = Pin::new(connection).poll(cx).is_ready();
        }
    }
}

impl Connection {
    pub(crate) async fn open(endpoint: &Endpoint) -> io::Result<Self> {
        let connecting = connect(endpoint);
        let connected = if timers_run() {
            tokio::time::timeout(CONNECTING, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        } else {
            connecting.await
        };
        let moved = Arc::default();
        let io = TokioIo::new(Counted::new(connected?, Arc::clone(&moved)));
        let handshake = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
            // A malformed header is ignored instead of failing the connection.
            .ignore_invalid_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .handshake(io);
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        Ok(Self { sender, driver: Driver { connection: Some(Box::new(connection)), over: false }, moved })
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.driver.drive(cx);
        if self.driver.over {
            return Poll::Ready(false);
        }
        self.sender.poll_ready(cx).map(|ready| ready.is_ok())
    }

    /// False for a connection that the other side has closed, or that is still busy with the previous request.
    pub(crate) async fn is_ready(&mut self) -> bool {
        // Polled once and unconstrained, so that a task without remaining budget does not see a false `Pending`.
        unconstrained(poll_fn(|cx| Poll::Ready(matches!(self.poll_ready(cx), Poll::Ready(true))))).await
    }

    /// Sends the rest of a streamed request whose response came early. Returns false if the connection ended before that.
    pub(crate) async fn finish(&mut self, progress: &Progress) -> Result<bool, Failure> {
        let moved = Arc::clone(&self.moved);
        let mut stall = Stall::new(&moved, Some(progress));
        poll_fn(|cx| match self.poll_ready(cx) {
            Poll::Ready(ready) => Poll::Ready(Ok(ready)),
            Poll::Pending => stall.poll(cx).map(|()| Err(Failure::Stalled)),
        })
        .await
    }

    /// Sends a request and reads the whole response. With `long_poll` there is no time limit for the first byte of the response,
    /// because the next event may come hours later.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Body>,
        long_poll: bool,
        progress: Option<&Progress>,
    ) -> Result<Reply, Failure> {
        // Unconstrained, so that `Pending` always means that no response has arrived, and never that the task has used up its
        // budget.
        let mut response = pin!(unconstrained(self.sender.try_send_request(request)));
        let mut stall = Stall::new(&self.moved, progress);
        let read_before = self.moved.read();
        let (driver, moved) = (&mut self.driver, &self.moved);
        let response = poll_fn(|cx| {
            driver.drive(cx);
            let mut polled = response.as_mut().poll(cx);
            if polled.is_pending() && driver.over && driver.connection.take().is_some() {
                // The connection ended before it took the request, which is returned.
                polled = response.as_mut().poll(cx);
            }
            match polled {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                    Some(request) => Failure::NotSent(Box::new(request)),
                    None => Failure::Broken(error.into_error()),
                })),
                Poll::Pending if long_poll && moved.read() == read_before => Poll::Pending,
                Poll::Pending => stall.poll(cx).map(|()| Err(Failure::Stalled)),
            }
        })
        .await?;
        let (parts, mut body) = response.into_parts();
        let mut stall = Stall::new(&self.moved, None);
        let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
        loop {
            let frame = poll_fn(|cx| {
                // Polled twice: the first poll requests the next part, which `drive` then reads.
                for again in [true, false] {
                    if let Poll::Ready(frame) = http_body::Body::poll_frame(Pin::new(&mut body), cx) {
                        return Poll::Ready(Ok(frame));
                    }
                    if again {
                        self.driver.drive(cx);
                    }
                }
                stall.poll(cx).map(|()| Err(()))
            })
            .await;
            match frame {
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
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
        Address::Memory(connections, refusals) => {
            use std::sync::atomic::Ordering;
            let refused = |left: u32| left.checked_sub(1);
            if refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refused).is_ok() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = tokio::io::duplex(64 * 1024);
            connections.send(far).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            return Ok(Io::Right(near));
        }
    };
    // A request is sent in several pieces, and waiting for the first one's acknowledgement would take 40 ms.
    stream.set_nodelay(true)?;
    #[cfg(test)]
    let stream = Io::Left(stream);
    Ok(stream)
}

/// Detects that no data is sent or received.
struct Stall<'p> {
    moved: &'p Moved,
    progress: Option<&'p Progress>,
    sleep: Option<Pin<Box<Sleep>>>,
    before: u64,
    intervals: u32,
}

impl<'p> Stall<'p> {
    fn new(moved: &'p Moved, progress: Option<&'p Progress>) -> Self {
        Self { moved, progress, sleep: None, before: moved.all(), intervals: 0 }
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
            let moved = self.moved.all();
            let goes_on = self.progress.is_some_and(Progress::waits_for_the_stream) || moved != self.before;
            self.before = moved;
            self.intervals = if goes_on { 0 } else { self.intervals + 1 };
            if self.intervals >= INTERVALS {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn memory() -> (Endpoint, tokio::sync::mpsc::UnboundedReceiver<tokio::io::DuplexStream>) {
        let (connect, connections) = tokio::sync::mpsc::unbounded_channel();
        (Endpoint::in_memory(connect, Arc::default()), connections)
    }

    fn request() -> Request<Body> {
        let mut request = Request::new(Body::Whole(Bytes::from_static(b"1")));
        *request.method_mut() = Method::POST;
        request
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_comes_back_from_a_connection_that_is_closed_in_the_meantime() {
        for long_poll in [true, false] {
            let (endpoint, mut connections) = memory();
            let mut connection = Connection::open(&endpoint).await.expect("in memory");
            let mut far = connections.recv().await.expect("a connection");
            // The connection has served a request before. Otherwise hyper reports its end as an error and returns the request
            // with it.
            let serves = async {
                far.read_exact(&mut [0; 4]).await?;
                far.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await
            };
            let (reply, served) = tokio::join!(connection.exchange(request(), long_poll, None), serves);
            assert!(reply.is_ok() && served.is_ok());
            assert!(connection.is_ready().await);
            drop(far);
            let ended = tokio::time::timeout(Duration::from_secs(24 * 3600), connection.exchange(request(), long_poll, None));
            let ended = ended.await.expect("an end");
            assert!(matches!(&ended, Err(Failure::NotSent(request)) if request.method() == Method::POST), "{ended:?}");
            assert!(!connection.is_ready().await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_connection_is_not_ready_to_a_task_that_has_used_up_its_turn() {
        let (endpoint, mut connections) = memory();
        let mut connection = Connection::open(&endpoint).await.expect("in memory");
        assert!(connection.is_ready().await);
        drop(connections.recv().await);
        poll_fn(|cx| {
            // As much work as Tokio allows a task in one poll.
            while let Poll::Ready(worked) = tokio::task::coop::poll_proceed(cx) {
                worked.made_progress();
            }
            assert!(matches!(pin!(connection.is_ready()).poll(cx), Poll::Ready(false)));
            Poll::Ready(())
        })
        .await;
    }
}
