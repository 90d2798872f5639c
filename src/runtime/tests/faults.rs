//! Every endpoint × every fault × one worker and eight.

use super::{
    Log,
    api::{Dice, Wrong},
    echo, run, serve,
};
use lambda_runtime::service_fn;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Only a hang takes this long. In paused time it costs nothing.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn patiently<T>(what: impl Future<Output = T>, case: &str) -> T {
    timeout(PATIENCE, what).await.unwrap_or_else(|_| panic!("{case}: nothing happens any more"))
}

/// A fault at `/next`, and the `fault` field of its log line.
const AT_NEXT: [(Wrong, &str); 11] = [
    (Wrong::Close, "runtime_api_connection_broken"),
    (Wrong::CloseEarly, "runtime_api_connection_broken"),
    (Wrong::HalfAHead, "runtime_api_connection_broken"),
    (Wrong::Garbage, "runtime_api_connection_broken"),
    (Wrong::Status(400), "runtime_api_refused"),
    (Wrong::Status(403), "runtime_api_refused"),
    (Wrong::Status(404), "runtime_api_refused"),
    (Wrong::Status(410), "runtime_api_refused"),
    (Wrong::Status(500), "runtime_api_refused"),
    (Wrong::Status(302), "runtime_api_refused"),
    (Wrong::NoRequestId, "event_without_request_id"),
];

#[tokio::test(start_paused = true)]
async fn no_fault_at_next_ends_a_worker() {
    for workers in [1, 8] {
        for (wrong, line) in AT_NEXT {
            let case = format!("{wrong:?} × {workers}");
            let (log, _guard) = Log::start();
            let (fake, watch, running) = serve(workers);
            // The most that each worker tolerates in a row. One more in total would be too many.
            let times = if line == "runtime_api_refused" { 4 } else { 3 * workers as usize };
            fake.wrong("next", std::iter::repeat_n(wrong, times));
            for event in 0..times + 3 {
                fake.event(&format!("e{event}"), &[], r#"{"n":1}"#);
            }
            // Events without an id are lost, and the last three are not.
            let last = format!("e{}", times + 2);
            let posted = patiently(fake.posted(&last), &case).await;
            assert_eq!((posted.endpoint(), posted.text().as_str()), ("response", r#"{"n":1}"#), "{case}");
            assert!(!running.is_finished(), "{case}");
            let lines = log.faults();
            assert!(!lines.is_empty() && lines.iter().all(|fault| fault == line), "{case}: {lines:?}");
            assert_eq!(watch.outcome(&last).unwrap_or("unknown"), "unknown", "{case}");
            running.abort();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_breaks_off_gets_an_error_and_has_an_outcome() {
    for workers in [1, 8] {
        for wrong in [Wrong::HalfABody, Wrong::StallInBody] {
            let case = format!("{wrong:?} × {workers}");
            let (log, _guard) = Log::start();
            let (fake, watch, running) = serve(workers);
            fake.wrong("next", [wrong]);
            fake.event("broken", &[("lambda-runtime-invocation-id", "attempt")], r#"{"n":1}"#);
            let posted = patiently(fake.posted("broken"), &case).await;
            assert_eq!(posted.endpoint(), "error", "{case}");
            assert_eq!(posted.header("lambda-runtime-function-error-type"), Some("Lifecycle.TruncatedEvent"), "{case}");
            assert_eq!(posted.header("lambda-runtime-invocation-id"), Some("attempt"), "{case}");
            fake.event("whole", &[], "2");
            assert_eq!(patiently(fake.posted("whole"), &case).await.text(), "2", "{case}");
            assert_eq!(watch.outcome("broken"), Some("undecodable_event"), "{case}");
            assert_eq!(
                (log.faults(), log.of("outcome")),
                (vec!["event_lost".into()], vec!["undecodable_event".into()]),
                "{case}"
            );
            running.abort();
        }
    }
}

/// A fault at a post: how often it occurs, the outcome of the invocation, and whether the response arrives.
const AT_POST: [(Wrong, usize, &str, bool); 19] = [
    (Wrong::Close, 1, "unknown", true),
    (Wrong::CloseEarly, 1, "unknown", true),
    (Wrong::HalfAHead, 4, "unknown", true),
    (Wrong::HalfABody, 1, "unknown", true),
    (Wrong::Garbage, 1, "unknown", true),
    (Wrong::Stall, 1, "unknown", true),
    (Wrong::StallInBody, 1, "unknown", true),
    (Wrong::CloseAfter, 1, "unknown", true),
    (Wrong::Close, 5, "undelivered_response", false),
    (Wrong::Stall, 5, "undelivered_response", false),
    (Wrong::Garbage, 5, "undelivered_response", false),
    (Wrong::ReadSlowly, 1, "unknown", true),
    (Wrong::Status(413), 1, "response_too_large", false),
    (Wrong::StatusHalfABody(413), 1, "response_too_large", false),
    (Wrong::StatusHalfABody(410), 1, "late_response", false),
    (Wrong::Status(410), 1, "late_response", false),
    (Wrong::Status(400), 1, "refused_response", false),
    (Wrong::Status(403), 1, "refused_response", false),
    (Wrong::Status(500), 1, "refused_response", false),
];

#[tokio::test(start_paused = true)]
async fn the_invocation_knows_what_became_of_its_response() {
    for workers in [1, 8] {
        for (wrong, times, outcome, arrives) in AT_POST {
            let case = format!("{wrong:?} {times} times × {workers}");
            let (log, _guard) = Log::start();
            let (fake, watch, running) = serve(workers);
            fake.wrong("response", std::iter::repeat_n(wrong, times));
            fake.event("first", &[], r#"{"n":1}"#);
            patiently(
                async {
                    while watch.outcome("first").is_none() {
                        tokio::time::sleep(Duration::from_secs(1)).await
                    }
                },
                &case,
            )
            .await;
            // Every worker still serves.
            for event in 0..workers {
                fake.event(&format!("after-{event}"), &[], "2");
            }
            for event in 0..workers {
                assert_eq!(patiently(fake.posted(&format!("after-{event}")), &case).await.text(), "2", "{case}");
            }
            assert_eq!(watch.outcome("first"), Some(outcome), "{case}");
            let outcomes = log.of("outcome");
            let expected: Vec<String> = if arrives { Vec::new() } else { vec![outcome.to_owned()] };
            assert_eq!(outcomes, expected, "{case}");
            running.abort();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_not_delivered_leaves_the_outcome() {
    for (wrong, times) in [(Wrong::Close, 5), (Wrong::Status(410), 1), (Wrong::Status(500), 1), (Wrong::Close, 1)] {
        let case = format!("{wrong:?} {times} times");
        let (log, _guard) = Log::start();
        let (fake, watch, running) = serve(1);
        fake.wrong("error", std::iter::repeat_n(wrong, times));
        fake.event("first", &[], r#"{"do":"fail"}"#);
        fake.event("second", &[], "2");
        patiently(fake.posted("second"), &case).await;
        assert_eq!(watch.outcome("first"), Some("failed"), "{case}");
        assert_eq!(log.of("outcome"), ["failed"], "{case}");
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_without_end_end_the_loop_with_their_reason() {
    for workers in [1, 8] {
        let (log, _guard) = Log::start();
        let (fake, _, running) = serve(workers);
        fake.wrong("next", std::iter::repeat_n(Wrong::Status(403), 1_000));
        let ended = patiently(running, "403").await.expect("no panic").expect_err("an error");
        assert!(ended.to_string().contains("403"), "{ended}");
        assert_eq!(log.faults(), ["runtime_api_refused"]);
        let requests = fake.lock().requests.len();
        assert!(requests >= 5 * workers as usize && requests < 12 * workers as usize, "{requests}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_worker_ends_where_the_environment_asks_for_many() {
    let (fake, shared) = super::api(8);
    fake.wrong("next", std::iter::repeat_n(Wrong::Status(403), 1_000));
    let runtime = super::Runtime::with(service_fn(echo), shared);
    let ended = patiently(runtime.run(), "403").await.expect_err("an error");
    assert!(ended.is::<crate::runtime::EventsRefused>(), "{ended}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_waited_for_after_the_last_attempt() {
    let (fake, watch, running) = serve(1);
    fake.wrong("response", std::iter::repeat_n(Wrong::Close, 5));
    let began = Instant::now();
    fake.event("first", &[], "1");
    fake.event("second", &[], "2");
    patiently(fake.posted("second"), "second").await;
    assert_eq!(watch.outcome("first"), Some("undelivered_response"));
    // The four pauses between five attempts.
    assert_eq!(began.elapsed().as_millis() / 10, 35);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn an_api_that_is_gone_for_a_minute_costs_few_attempts_and_lines() {
    for workers in [1, 64] {
        let (log, _guard) = Log::start();
        let (fake, shared) = super::api(workers);
        fake.lock().gone = true;
        let (_, running) = run(service_fn(echo), shared);
        let began = Instant::now();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let (connections, lines) = (fake.lock().connections, log.faults().len());
        assert!(connections < 25 * workers as usize, "{connections} attempts in {:?}", began.elapsed());
        assert!((1..20).contains(&lines), "{lines} lines");
        // The Runtime API is reachable again, and every worker recovers.
        fake.lock().gone = false;
        for event in 0..workers {
            fake.event(&format!("e{event}"), &[], "1");
        }
        for event in 0..workers {
            patiently(fake.posted(&format!("e{event}")), "again").await;
        }
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_event_the_loop_asks_again_and_logs_nothing() {
    let (log, _guard) = Log::start();
    let (fake, _, running) = serve(1);
    fake.wrong("next", std::iter::repeat_n(Wrong::Status(204), 20));
    fake.event("first", &[], "1");
    let began = Instant::now();
    patiently(fake.posted("first"), "204").await;
    assert!(began.elapsed() <= Duration::from_millis(20 * 51), "{:?}", began.elapsed());
    assert_eq!(log.faults(), Vec::<String>::new());
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn each_worker_keeps_its_connection() {
    for workers in [1, 8] {
        let (fake, _, running) = serve(workers);
        for event in 0..100 {
            fake.event(&format!("e{event}"), &[], "1");
            patiently(fake.posted(&format!("e{event}")), "kept").await;
            // Frozen for a day.
            tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
        }
        assert_eq!(fake.lock().connections, workers as usize);
        running.abort();
    }
}

/// One request in four meets one of these.
const AT_RANDOM: [Wrong; 9] = [
    Wrong::Close,
    Wrong::CloseEarly,
    Wrong::HalfAHead,
    Wrong::HalfABody,
    Wrong::Stall,
    Wrong::StallInBody,
    Wrong::Garbage,
    Wrong::CloseAfter,
    Wrong::Status(500),
];

#[tokio::test(start_paused = true)]
async fn under_faults_at_random_every_event_that_was_handed_out_has_one_outcome() {
    for workers in [1, 8] {
        let (fake, watch, running) = serve(workers);
        let mut dice = Dice(20_261_126 + u64::from(workers));
        fake.lock().script = Some(Box::new(move |endpoint| {
            let wrong = AT_RANDOM[dice.roll(AT_RANDOM.len() as u64) as usize];
            // Refusals in a row end the loop, which another test covers, and there is no time limit for an event.
            let fits = endpoint != "next" || !matches!(wrong, Wrong::Status(_) | Wrong::Stall);
            (fits && dice.roll(4) == 0).then_some(wrong)
        }));
        let whats = ["{}", r#"{"do":"fail"}"#, r#"{"do":"panic"}"#, "{"];
        for event in 0..1_000 {
            fake.event(&format!("e{event}"), &[], whats[event % whats.len()]);
        }
        let all_over = async {
            while watch.count() < 1_000 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        patiently(all_over, "at random").await;
        assert!(!running.is_finished());
        let (handed_out, mut ended) = (fake.lock().handed_out.clone(), watch.ids());
        ended.sort_unstable();
        let mut once = handed_out.clone();
        once.sort_unstable();
        assert_eq!(ended, once, "× {workers}");
        assert_eq!(once.iter().collect::<std::collections::HashSet<_>>().len(), 1_000, "× {workers}");
        running.abort();
    }
}
