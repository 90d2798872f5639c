//! The internal extension, without which Lambda sends no SIGTERM.

use crate::{
    clock,
    invocation::Work,
    notice::{self, Data, Warning},
    runtime_api::{Body, Client},
};
use bytes::Bytes;
use http::HeaderValue;
use std::time::Duration;
use tokio::sync::oneshot;

/// The Init phase is short, and an emulator may never respond to an unknown request.
const REGISTERING: Duration = Duration::from_secs(1);

/// The pause between two attempts, after the connection broke.
const PAUSE: Duration = Duration::from_millis(100);

const ATTEMPTS: u32 = 3;

const IDENTIFIER: &str = "lambda-extension-identifier";

const NAME: &str = "lambda-lifecycle";

/// Registers an internal extension that subscribes to no events. Returns when it is registered, or when the Init phase has no
/// more time to wait.
pub(super) async fn register() {
    if let Some(client) = Client::from_env() {
        register_with(client).await;
    }
}

async fn register_with(client: Client) {
    let (done, registered) = oneshot::channel();
    // In a task, so that Lambda does not wait for the `next` request of an extension whose registration was confirmed late.
    let extension: Work = Box::pin(run(client, done));
    tokio::spawn(extension);
    tokio::select! {
        biased;
        _ = registered => {}
        () = clock::sleep(REGISTERING) => {
            notice::log(Warning::ExtensionDelayed, Data::default());
        }
    }
}

/// Registers, and requests an event that this extension will never get. The request reports that the extension is ready.
async fn run(client: Client, registered: oneshot::Sender<()>) {
    let id = match identifier(&client).await {
        Ok(id) => id,
        Err(refused) => {
            notice::log(Warning::ExtensionRefused, Data::error(&refused));
            return;
        }
    };
    let _ = registered.send(());
    let mut logged = false;
    loop {
        let mut next = client.get(client.endpoint.uri("/2020-01-01/extension/event/next"));
        next.headers_mut().insert(IDENTIFIER, id.clone());
        // Lambda's Init phase waits for this request, so it must arrive.
        match client.call(next, true).await {
            Ok(reply) if reply.parts.status.is_success() => return,
            // The Extensions API cannot recover from this state, so another request is of no use.
            Ok(reply) => {
                let status = reply.parts.status;
                return notice::log(Warning::ExtensionRefused, Data::error(&format_args!("event/next: status {status}")));
            }
            Err(failure) if !logged => {
                logged = true;
                notice::log(Warning::ExtensionRetried, Data { endpoint: Some("event/next"), ..Data::error(&failure) });
            }
            Err(_) => {}
        }
        clock::sleep(PAUSE).await;
    }
}

async fn identifier(client: &Client) -> Result<HeaderValue, String> {
    let headers = [
        ("lambda-extension-name", HeaderValue::from_static(NAME)),
        ("content-type", HeaderValue::from_static("application/json")),
    ];
    let uri = client.endpoint.uri("/2020-01-01/extension/register");
    let mut attempt = 0;
    loop {
        attempt += 1;
        let body = Body::Whole(Bytes::from_static(br#"{"events":[]}"#));
        match client.call(client.post(uri.clone(), &headers, body), false).await {
            Ok(reply) if reply.parts.status.is_success() => {
                return reply.parts.headers.get(IDENTIFIER).cloned().ok_or_else(|| "no identifier was given".to_owned());
            }
            Ok(reply) => return Err(format!("status {}", reply.parts.status)),
            Err(failure) if attempt == ATTEMPTS => return Err(failure.to_string()),
            Err(failure) => {
                if attempt == 1 {
                    notice::log(Warning::ExtensionRetried, Data { endpoint: Some("register"), ..Data::error(&failure) });
                }
                clock::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        runtime::tests::{
            Log,
            api::{Fake, Wrong},
        },
        runtime_api::Endpoint,
    };
    use tokio::time::{Instant, timeout};

    /// Only a hang takes this long. In paused time it costs nothing.
    const PATIENCE: Duration = Duration::from_secs(24 * 3600);

    fn api() -> (Fake, Client) {
        let (connect, mut connections) = tokio::sync::mpsc::unbounded_channel();
        let fake = Fake::default();
        let server = fake.clone();
        tokio::spawn(async move {
            while let Some(connection) = connections.recv().await {
                tokio::spawn(server.clone().serve(connection));
            }
        });
        let refusals = std::sync::Arc::clone(&fake.refusals);
        (fake, Client::new(Endpoint::in_memory(connect, refusals)))
    }

    /// Waits for this number of requests for an event.
    async fn asked(fake: &Fake, times: usize) {
        let asked = async {
            while fake.lock().requests.iter().filter(|request| request.endpoint() == "next").count() < times {
                tokio::time::sleep(PAUSE).await;
            }
        };
        timeout(PATIENCE, asked).await.expect("the extension asks for its event");
    }

    #[tokio::test(start_paused = true)]
    async fn a_registration_that_is_responded_to_late_holds_up_neither_the_function_nor_lambda() {
        let (fake, client) = api();
        fake.wrong("register", [Wrong::Late]);
        let began = Instant::now();
        register_with(client).await;
        assert_eq!(began.elapsed().as_secs(), REGISTERING.as_secs());
        asked(&fake, 1).await;
        let next = fake.lock().requests.last().cloned().expect("a request");
        assert_eq!(next.header(IDENTIFIER), Some("extension-1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_request_for_the_extensions_event_is_logged() {
        let (log, _guard) = Log::start();
        let (fake, client) = api();
        fake.wrong("next", [Wrong::Status(403)]);
        register_with(client).await;
        asked(&fake, 1).await;
        tokio::time::sleep(PATIENCE).await;
        assert_eq!(fake.lock().requests.len(), 2);
        assert_eq!(log.of("code"), ["extension_refused"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_extensions_requests_are_repeated_when_a_connection_breaks() {
        let (fake, client) = api();
        fake.wrong("register", [Wrong::Close, Wrong::CloseEarly]);
        register_with(client).await;
        asked(&fake, 1).await;
        let (fake, client) = api();
        fake.wrong("next", [Wrong::Close, Wrong::Close]);
        register_with(client).await;
        asked(&fake, 3).await;
    }
}
