//! Bodies of requests, read to their ends, and the body of the usual response.

use crate::StreamPart;
use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

/// What `202 Accepted` says.
pub(super) fn accepted() -> Response {
    (StatusCode::ACCEPTED, [(CONTENT_TYPE, "application/json")], r#"{"status":"OK"}"#).into_response()
}

/// A body that was read to its end.
pub(super) struct Read {
    pub(super) body: Bytes,
    /// How many bytes came; more than the limit when the rest was thrown away.
    pub(super) bytes: usize,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) broken: bool,
}

/// Reads to the end also what is too large: a client that is still writing would not see the refusal.
pub(super) async fn read(body: Body, limit: usize) -> Read {
    read_and_pass_on(body, limit, None).await
}

pub(super) async fn read_and_pass_on(mut body: Body, limit: usize, stream: Option<mpsc::Sender<StreamPart>>) -> Read {
    let mut kept = BytesMut::new();
    let (mut bytes, mut trailers, mut broken) = (0, None, false);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            broken = true;
            break;
        };
        match frame.into_data() {
            Ok(data) => {
                bytes += data.len();
                if bytes <= limit {
                    if let Some(stream) = &stream {
                        // A receiver that has gone does not end the stream.
                        let _ = stream.send(StreamPart::Data(data.clone())).await;
                    }
                    kept.extend_from_slice(&data);
                } else {
                    kept.clear();
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok().or(trailers),
        }
    }
    Read { body: kept.freeze(), bytes, trailers, broken }
}
