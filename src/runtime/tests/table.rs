//! Endpoint × fault × one worker and eight: for every fault of an endpoint, a line names the cause and everything else continues.

use super::{
    Log,
    api::{Fake, Wrong},
    faults::patiently,
    serve,
};
use crate::runtime::snapstart;
use lambda_runtime::{BoxFuture, Error, SnapStartResource};
use std::sync::Arc;

const ALL: [Wrong; 22] = [
    Wrong::Close,
    Wrong::CloseEarly,
    Wrong::HalfAHead,
    Wrong::StallInHead,
    Wrong::HalfABody,
    Wrong::StallInBody,
    Wrong::Reset,
    Wrong::Stall,
    Wrong::Hesitate,
    Wrong::Late,
    Wrong::Garbage,
    Wrong::Status(100),
    Wrong::Status(204),
    Wrong::Status(302),
    Wrong::Status(400),
    Wrong::Status(403),
    Wrong::Status(410),
    Wrong::Status(413),
    Wrong::Status(500),
    Wrong::Status(503),
    Wrong::StatusHalfABody(500),
    Wrong::CloseAfter,
];

/// Faults that the loop need not log, because nothing is lost.
fn is_harmless(endpoint: &str, wrong: Wrong) -> bool {
    match wrong {
        Wrong::Late | Wrong::CloseAfter | Wrong::Status(204) => true,
        // The status was read, and the rest of the response is not needed.
        Wrong::HalfABody | Wrong::StallInBody => endpoint != "next",
        _ => false,
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_at_fault_is_logged_and_every_worker_serves_on() {
    for workers in [1, 8] {
        for endpoint in ["next", "response", "error"] {
            // A request for an event that gets no response only means that no event has arrived yet.
            for wrong in ALL.into_iter().filter(|wrong| (endpoint, *wrong) != ("next", Wrong::Stall)) {
                let case = format!("{endpoint} × {wrong:?} × {workers}");
                let (log, _guard) = Log::start();
                let (fake, watch, running) = serve(workers);
                fake.wrong(endpoint, [wrong, wrong]);
                let body = if endpoint == "error" { r#"{"do":"fail"}"# } else { "1" };
                for event in 0..4 {
                    fake.event(&format!("e{event}"), &[], body);
                }
                for event in 0..2 * workers {
                    fake.event(&format!("after-{event}"), &[], "2");
                }
                for event in 0..2 * workers {
                    let posted = fake.request(|request| request.line.ends_with(&format!("/after-{event}/response")));
                    assert_eq!(patiently(posted, &case).await.text(), "2", "{case}");
                }
                assert!(!running.is_finished(), "{case}");
                // Longer than any wait.
                tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
                assert_eq!(watch.count(), fake.lock().handed_out.len(), "{case}");
                let lines = log.of("level").iter().filter(|level| ["WARN", "ERROR"].contains(&level.as_str())).count();
                let failures = if endpoint == "error" { 4 } else { 0 };
                assert!(lines < 20 && (lines > failures || is_harmless(endpoint, wrong)), "{case}: {lines} lines");
                running.abort();
            }
        }
    }
}

/// A hook that fails at a given step.
struct Hook {
    fails: bool,
}

impl SnapStartResource for Hook {
    fn after_restore(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { if self.fails { Err("no connection".into()) } else { Ok(()) } })
    }
}

async fn restored(fake: &Fake, shared: &super::Shared, fails: bool, case: &str) -> Result<(), Error> {
    fake.event("restored", &[], "1");
    let resources: [Arc<dyn SnapStartResource>; 1] = [Arc::new(Hook { fails })];
    patiently(snapstart::restore(shared, &resources), case).await
}

#[tokio::test(start_paused = true)]
async fn a_restore_at_fault_is_logged_and_goes_on_or_ends_with_its_reason() {
    for wrong in ALL.into_iter().filter(|wrong| *wrong != Wrong::Stall) {
        let case = format!("restore/next × {wrong:?}");
        let (log, _guard) = Log::start();
        let (fake, shared) = super::api(1);
        fake.wrong("next", [wrong]);
        let ended = restored(&fake, &shared, false, &case).await;
        match wrong {
            Wrong::Status(100) => {
                assert!(ended.is_ok() && log.faults() == ["runtime_api_connection_broken"], "{case}: {ended:?}")
            }
            Wrong::Status(204) => assert!(ended.is_ok(), "{case}: {ended:?}"),
            // The error ends the process and is logged there.
            Wrong::Status(_) | Wrong::StatusHalfABody(_) => {
                assert!(ended.is_err_and(|error| error.to_string().contains("status")), "{case}")
            }
            _ => {
                assert!(ended.is_ok(), "{case}: {ended:?}");
                assert!(!log.faults().is_empty() || is_harmless("restore/next", wrong), "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_hook_comes_back_whatever_becomes_of_its_post() {
    for wrong in ALL {
        let case = format!("restore/error × {wrong:?}");
        let (log, _guard) = Log::start();
        let (fake, shared) = super::api(1);
        fake.wrong("error", [wrong]);
        let ended = restored(&fake, &shared, true, &case).await.expect_err("an error");
        assert_eq!(ended.to_string(), "no connection", "{case}");
        let success = matches!(wrong, Wrong::Late | Wrong::CloseAfter | Wrong::Status(204));
        assert_eq!(log.faults().is_empty(), success, "{case}");
    }
}
