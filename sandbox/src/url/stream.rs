//! A streamed response in progress.

use super::response::{self, Prelude};
use crate::{Event, FunctionResponse, Invoke, StreamPart};
use axum::{body::Body, response::Response};
use bytes::{Bytes, BytesMut};
use hyper::body::Frame;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{sync::mpsc, task::JoinHandle};

/// How many parts wait for a slow client.
const PARTS: usize = 16;

/// Runs the event. Returns the response as soon as the result is there, or the head of a streamed one.
pub(super) async fn invoke(function: Arc<dyn Invoke>, event: Event) -> Response {
    let (parts, mut stream) = mpsc::channel(PARTS);
    // A client who goes away does not end the invocation.
    let mut response = tokio::spawn(async move { function.invoke_streaming(event, parts).await });
    let Some(StreamPart::Begun { request_id, trace_id }) = stream.recv().await else {
        return match response.await {
            Ok(response) => response::response(&response),
            Err(error) => response::identified(None, &error.to_string(), ""),
        };
    };
    let mut begun = BytesMut::new();
    let (prelude, first) = loop {
        let complete = match stream.recv().await {
            Some(StreamPart::Data(data)) => {
                begun.extend_from_slice(&data);
                false
            }
            Some(StreamPart::Begun { .. }) => false,
            None => true,
        };
        // A failure before the first byte decides the status.
        if complete && let Ok(response) = (&mut response).await {
            return response::response(&response);
        }
        if let Some(split) = Prelude::split(&begun.clone().freeze(), complete) {
            break split;
        }
    };
    let body = Body::new(Streamed { first: Some(first), stream, response: Some(response) });
    response::identified(prelude.into_response(body), &request_id, &trace_id)
}

/// The body after the head.
struct Streamed {
    first: Option<Bytes>,
    stream: mpsc::Receiver<StreamPart>,
    response: Option<JoinHandle<FunctionResponse>>,
}

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        loop {
            match self.stream.poll_recv(context) {
                Poll::Ready(Some(StreamPart::Data(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Poll::Ready(Some(StreamPart::Begun { .. })) => {}
                Poll::Ready(None) => break,
                // A deadline ends the response although the function may continue to stream.
                Poll::Pending => return self.poll_response(context).map(|failed| failed.map(Err)),
            }
        }
        self.poll_response(context).map(|failed| failed.map(Err))
    }
}

impl Streamed {
    /// A failure breaks the connection off, so that the client recognizes an incomplete response.
    fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Error>> {
        let Some(response) = &mut self.response else {
            return Poll::Ready(None);
        };
        let response = ready!(Pin::new(response).poll(context));
        self.response = None;
        Poll::Ready(match response.map(|response| response.result) {
            Ok(Ok(_)) => None,
            Ok(Err(failure)) => Some(io::Error::other(failure)),
            Err(error) => Some(io::Error::other(error)),
        })
    }
}
