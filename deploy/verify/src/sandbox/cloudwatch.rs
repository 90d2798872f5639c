//! CloudWatch, with the metrics in the logs of functions: `GetMetricData` and nothing else, in the format of its SDK, which is CBOR.

use crate::metrics::{Metric, written};
use aws_smithy_cbor::{Decoder, Encoder, data::Type, decode::DeserializeError};
use aws_smithy_types::DateTime;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use lambda_lifecycle_sandbox::function::Function;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{net::TcpListener, task::AbortHandle};

const PATH: &str = "/service/GraniteServiceVersion20100801/operation/GetMetricData";
const CBOR: &str = "application/cbor";

#[derive(Debug)]
pub(super) struct CloudWatch {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    task: AbortHandle,
}

/// The logs, and how many calls come before the metrics in them.
#[derive(Debug)]
struct Metrics {
    functions: Vec<Function>,
    early: AtomicUsize,
}

impl CloudWatch {
    pub(super) async fn start(functions: Vec<Function>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let metrics = Arc::new(Metrics { functions, early: AtomicUsize::new(0) });
        let router = Router::new().route(PATH, post(serve)).with_state(Arc::clone(&metrics));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, metrics, task: serving.abort_handle() })
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Finds no metrics in the next `calls`, because they arrive late.
    pub(super) fn delay(&self, calls: usize) {
        self.metrics.early.store(calls, Ordering::Relaxed);
    }
}

impl Drop for CloudWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(State(metrics): State<Arc<Metrics>>, headers: HeaderMap, body: Bytes) -> Response {
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != CBOR) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let is_early = metrics.early.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    let functions = if is_early { &[] } else { metrics.functions.as_slice() };
    match read(&mut Decoder::new(&body)).map_err(|error| error.to_string()).and_then(|request| answer(functions, &request)) {
        Ok(body) => respond(StatusCode::OK, body),
        Err(message) => {
            let mut encoder = Encoder::new(Vec::new());
            encoder.map(2).str("__type").str("com.amazonaws.cloudwatch#InvalidParameterValueException");
            encoder.str("message").str(&message);
            respond(StatusCode::BAD_REQUEST, encoder.into_writer())
        }
    }
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [("content-type", CBOR), ("smithy-protocol", "rpc-v2-cbor")], body).into_response()
}

/// The values of each query, in periods.
fn answer(functions: &[Function], request: &Value) -> Result<Vec<u8>, String> {
    let seconds = |key: &str| request[key].as_f64().ok_or_else(|| format!("{key} is missing"));
    let (from, to) = (seconds("StartTime")?, seconds("EndTime")?);
    let lines = functions.iter().flat_map(Function::logs).filter_map(|line| serde_json::from_str::<Value>(&line.text).ok());
    let written: Vec<_> = lines.flat_map(|line| written(&line)).collect();
    let queries = request["MetricDataQueries"].as_array().ok_or("MetricDataQueries is missing")?;
    let mut encoder = Encoder::new(Vec::new());
    encoder.map(1).str("MetricDataResults").array(queries.len());
    for query in queries {
        let (id, stat) = (text(&query["Id"])?, &query["MetricStat"]);
        let metric = &stat["Metric"];
        let dimensions = metric["Dimensions"].as_array().into_iter().flatten();
        let dimensions = dimensions.map(|one| Ok((text(&one["Name"])?.to_owned(), text(&one["Value"])?.to_owned())));
        let wanted =
            Metric { name: text(&metric["MetricName"])?.to_owned(), dimensions: dimensions.collect::<Result<_, String>>()? };
        let namespace = text(&metric["Namespace"])?;
        let period = stat["Period"].as_i64().filter(|period| *period > 0).ok_or("Period is missing")?;
        let mut periods: BTreeMap<i64, f64> = BTreeMap::new();
        for found in written.iter().filter(|found| found.namespace == namespace && found.metric == wanted) {
            let at = found.at / 1000 / period * period;
            if (from..to).contains(&(at as f64)) {
                *periods.entry(at).or_default() += match text(&stat["Stat"])? {
                    "SampleCount" => found.values.len() as f64,
                    "Sum" => found.values.iter().sum(),
                    stat => return Err(format!("the sandbox knows SampleCount and Sum, not {stat}")),
                };
            }
        }
        encoder.map(4).str("Id").str(id).str("StatusCode").str("Complete");
        encoder.str("Timestamps").array(periods.len());
        // The newest first, as CloudWatch does by default.
        for at in periods.keys().rev() {
            encoder.timestamp(&DateTime::from_secs(*at));
        }
        encoder.str("Values").array(periods.len());
        for value in periods.values().rev() {
            encoder.double(*value);
        }
    }
    Ok(encoder.into_writer())
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("{value} is not a text"))
}

/// A value of CBOR as one of JSON; a time as its seconds.
fn read(decoder: &mut Decoder<'_>) -> Result<Value, DeserializeError> {
    Ok(match decoder.datatype()? {
        Type::String | Type::StringIndef => json!(decoder.str()?),
        Type::Bool => json!(decoder.boolean()?),
        Type::Tag => json!(decoder.timestamp()?.as_secs_f64()),
        Type::F16 | Type::F32 | Type::F64 => json!(decoder.double()?),
        Type::Array | Type::ArrayIndef => {
            let length = decoder.list()?;
            let mut list = Vec::new();
            while has_next(decoder, length, list.len())? {
                list.push(read(decoder)?);
            }
            list.into()
        }
        Type::Map | Type::MapIndef => {
            let length = decoder.map()?;
            let mut map = serde_json::Map::new();
            while has_next(decoder, length, map.len())? {
                let key = decoder.string()?;
                map.insert(key, read(decoder)?);
            }
            map.into()
        }
        Type::Null => {
            decoder.null()?;
            Value::Null
        }
        _ => json!(decoder.long()?),
    })
}

/// Whether a list or a map goes on. One without a length has a mark at its end, which is read.
fn has_next(decoder: &mut Decoder<'_>, length: Option<u64>, read: usize) -> Result<bool, DeserializeError> {
    if let Some(length) = length {
        return Ok((read as u64) < length);
    }
    let is_over = decoder.datatype()? == Type::Break;
    if is_over {
        decoder.skip()?;
    }
    Ok(!is_over)
}
