//! Opens connections before the first invocation needs them.

use crate::{
    budget,
    causes::Causes,
    notice::{self, Data, Warning},
    urls,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{
                BeforeDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextRef,
                BeforeTransmitInterceptorContextMut,
            },
            dyn_dispatch_hint,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::SdkError,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag, retry::RetryConfig};
use std::{convert::Infallible, error::Error, future::Future};

/// Opens the connection that a call needs, in the Init phase, so that the first invocation can use it.
///
/// Pass a call to the host that your handler calls first, with [`ConnectOnly`]. The SDK then resolves the endpoint and the
/// credentials, connects and performs the TLS handshake as for the call, and sends an unsigned `HEAD` to the host instead of the
/// call. That needs no permission, and reads and writes no data:
///
/// ```no_run
/// use lambda_lifecycle::{Error, Lifecycle, aws_sdk::{self, ConnectOnly}};
///
/// # async fn main_() -> Result<(), Error> {
/// let life = Lifecycle::from_env();
/// let queues = aws_sdk_sqs::Client::new(&aws_sdk::config().await);
/// life.init("queues", aws_sdk::connect(queues.list_queues().customize().interceptor(ConnectOnly).send())).await?;
/// # Ok(()) }
/// ```
///
/// Most services have one host for all calls. If the host depends on the call, use the handler's own: the bucket of S3, the table
/// of DynamoDB, which has an endpoint for each account, and the same client.
///
/// Without [`ConnectOnly`] the call is made, and every response of the service counts as connected, including `AccessDenied`.
/// Choose a call that writes nothing, such as `get_queue_attributes`.
///
/// The connection serves the calls of this client, and of every other client with the same configuration, to the same host. A
/// client has a pool of connections for each connect timeout and read timeout, so a client with different timeouts opens another
/// connection.
///
/// Returns whether a connection is open. A failure is logged as a warning and is not an error, so that it does not fail the Init
/// phase; the first invocation then connects. It waits at most 5 seconds, and less if the Init phase has less time left.
///
/// # Errors
/// None.
pub async fn connect<T, E>(call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>) -> Result<bool, Infallible>
where
    E: Error + 'static,
{
    let failure = match budget::within(call).await {
        Ok(Ok(_) | Err(SdkError::ServiceError(_) | SdkError::ResponseError(_))) => return Ok(true),
        Ok(Err(failure)) => Causes(&failure).to_string(),
        Err(limit) => format!("no response arrived within {} ms", limit.as_millis()),
    };
    notice::log(Warning::ConnectionNotOpened, Data::error(&urls::without_secrets(&failure)));
    Ok(false)
}

/// Makes a call open its connection and do nothing else: see [`connect`].
///
/// An interceptor for one call. After the SDK has created and signed the request, it replaces the request by an unsigned `HEAD /`
/// to the same host. Ignore the call's result then. The request is not retried.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectOnly;

#[dyn_dispatch_hint]
impl Intercept for ConnectOnly {
    fn name(&self) -> &'static str {
        "lambda-lifecycle: connect only"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(RetryConfig::disabled());
        Ok(())
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        head(context.request_mut())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let closed = context.response().headers().get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if closed {
            notice::log(Warning::ConnectionClosed, Data::default());
        }
        Ok(())
    }
}

/// Keeps only the host and the user agent of a request.
fn head(request: &mut HttpRequest) -> Result<(), BoxError> {
    let uri: http::Uri = request.uri().parse()?;
    let mut root = uri.into_parts();
    root.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    request.set_uri(http::Uri::from_parts(root)?)?;
    request.set_method("HEAD")?;
    let names: Vec<String> = request.headers().iter().map(|(name, _)| name.to_owned()).collect();
    for name in names.iter().filter(|name| *name != "user-agent") {
        request.headers_mut().remove(name.as_str());
    }
    *request.body_mut() = SdkBody::empty();
    Ok(())
}
