//! Tests of arbitrary batches, in paused time.

use super::{BatchResponse, Message, NotAnSqsEvent, SqsEvent, SqsRecord, batch};
use crate::{
    Invocation, clock,
    invocation::{CURRENT, Deadline, Facts, Shared},
    xray::TraceHeader,
};
use lambda_runtime::LambdaEvent;
use opentelemetry::{Context, trace::Status};
use proptest::prelude::*;
use serde::Deserialize;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, Once},
    time::Duration,
};
use tokio::time::Instant;
use tower::Service;

const TRACED: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
const PLANNED: &str = "planned panic";

/// An invocation with `left` to live and this trace header. No runtime serves it.
fn invocation(left: Duration, header: &str) -> Invocation {
    let mut context = lambda_runtime::Context::default();
    "test".clone_into(&mut context.request_id);
    let received = clock::now();
    let deadline = Deadline::after(left, received, None, None);
    let facts = Facts {
        context: Box::new(context),
        received,
        deadline: Some(deadline),
        header: TraceHeader::parse(header),
        ..Facts::default()
    };
    Invocation::new(Shared::with_defaults(), facts)
}

/// The handler's work for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Plan {
    Succeed,
    /// Succeeds after this number of milliseconds.
    Wait(u64),
    Fail,
    Panic,
    PanicInDrop,
    Hang,
    Undecodable,
}

#[derive(Deserialize)]
struct Body {
    index: usize,
    plan: Plan,
}

#[derive(Clone, Debug)]
struct Planned {
    plan: Plan,
    group: u8,
    /// The message is in the batch twice.
    twice: bool,
}

#[derive(Clone, Debug)]
struct Case {
    messages: Vec<Planned>,
    fifo: bool,
    traced: bool,
    concurrency: usize,
    seconds: u64,
    budget: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    let plan = prop_oneof![
        60 => Just(Plan::Succeed),
        20 => (0_u64..400).prop_map(Plan::Wait),
        4 => Just(Plan::Fail),
        2 => Just(Plan::Panic),
        1 => Just(Plan::PanicInDrop),
        1 => Just(Plan::Hang),
        2 => Just(Plan::Undecodable),
    ];
    let message = (plan, 0_u8..6, proptest::bool::weighted(0.02)).prop_map(|(plan, group, twice)| Planned { plan, group, twice });
    let messages = prop_oneof![
        20 => proptest::collection::vec(message.clone(), 1..=12),
        5 => proptest::collection::vec(message.clone(), 13..=300),
        1 => proptest::collection::vec(message, 5_000..=10_000),
    ];
    (messages, any::<bool>(), any::<bool>(), 1_usize..40, 1_u64..20, 0_usize..30).prop_map(
        |(messages, fifo, traced, concurrency, seconds, budget)| Case { messages, fifo, traced, concurrency, seconds, budget },
    )
}

fn records(case: &Case) -> Vec<SqsRecord> {
    let suffix = if case.fifo { ".fifo" } else { "" };
    let record = |(index, message): (usize, &Planned)| SqsRecord {
        message_id: format!("m{index}"),
        body: match message.plan {
            Plan::Undecodable => "{\"index\":".to_owned(),
            plan => match plan {
                Plan::Wait(ms) => format!(r#"{{"index":{index},"plan":{{"Wait":{ms}}}}}"#),
                plan => format!(r#"{{"index":{index},"plan":"{plan:?}"}}"#),
            },
        },
        attributes: HashMap::from([("MessageGroupId".to_owned(), format!("g{}", message.group))]),
        event_source_arn: format!("arn:aws:sqs:eu-west-1:123456789012:orders{suffix}"),
        ..SqsRecord::default()
    };
    let times = |message: &Planned| if message.twice { 2 } else { 1 };
    case.messages.iter().enumerate().flat_map(|(index, message)| vec![record((index, message)); times(message)]).collect()
}

/// The messages that the handler saw.
#[derive(Default)]
struct Seen {
    begun: Vec<(usize, Duration)>,
    done: HashSet<usize>,
    at_once: usize,
    most_at_once: usize,
}

struct PanicInDrop;

impl Drop for PanicInDrop {
    fn drop(&mut self) {
        panic!("{PLANNED}");
    }
}

#[derive(Clone)]
struct App {
    seen: Arc<Mutex<Seen>>,
    began: Instant,
}

/// Counts the messages in progress.
struct AtWork<'a>(&'a Mutex<Seen>);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.lock().expect("not poisoned").at_once -= 1;
    }
}

async fn handle(app: App, message: Message<Body>) -> Result<(), String> {
    let seen = &*app.seen;
    {
        let mut seen = seen.lock().expect("not poisoned");
        seen.begun.push((message.body.index, app.began.elapsed()));
        seen.at_once += 1;
        seen.most_at_once = seen.most_at_once.max(seen.at_once);
    }
    let _at_work = AtWork(seen);
    match message.body.plan {
        Plan::Succeed | Plan::Undecodable => {}
        Plan::Wait(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        Plan::Fail => return Err("no stock".to_owned()),
        Plan::Panic => panic!("{PLANNED}"),
        Plan::PanicInDrop => {
            let _bomb = PanicInDrop;
            std::future::pending::<()>().await;
        }
        Plan::Hang => std::future::pending().await,
    }
    seen.lock().expect("not poisoned").done.insert(message.body.index);
    Ok(())
}

fn quiet_planned_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() != Some(PLANNED) {
                usual(info);
            }
        }));
    });
}

/// Runs a batch inside an invocation, like positions A and B.
async fn response<S>(service: &mut S, invocation: &Invocation, records: Vec<SqsRecord>) -> Result<BatchResponse, NotAnSqsEvent>
where
    S: Service<LambdaEvent<SqsEvent>, Response = BatchResponse, Error = NotAnSqsEvent>,
{
    let event = LambdaEvent::new(SqsEvent { records }, lambda_runtime::Context::default());
    let context = Context::new().with_value(invocation.clone());
    let future = CURRENT.sync_scope(invocation.clone(), || service.call(event));
    CURRENT.scope(invocation.clone(), opentelemetry::context::FutureExt::with_context(future, context)).await
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    quiet_planned_panics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let app = App { seen: Arc::clone(&seen), began: Instant::now() };
        let reported = Arc::new(Mutex::new(Vec::new()));
        let hook = Arc::clone(&reported);
        let mut service = batch(handle)
            .with_state(app.clone())
            .concurrency(case.concurrency)
            .span_budget(case.budget)
            .on_failure(move |message| hook.lock().expect("not poisoned").push(message.id.to_owned()));
        let invocation = invocation(Duration::from_secs(case.seconds), if case.traced { TRACED } else { "" });
        let deadline = invocation.timing().expect("a deadline");
        let response = response(&mut service, &invocation, records(case)).await.expect("messages of SQS");
        prop_assert!(Instant::now() < deadline.hard.into(), "responded after {:?}", app.began.elapsed());

        let seen = seen.lock().expect("not poisoned");
        let named: Vec<&str> = response.batch_item_failures.iter().map(|item| item.item_identifier.as_str()).collect();
        let distinct: HashSet<&str> = named.iter().copied().collect();
        prop_assert_eq!(named.len(), distinct.len(), "an id is named twice");
        for index in 0..case.messages.len() {
            let comes_back = distinct.contains(format!("m{index}").as_str());
            prop_assert_eq!(comes_back, !seen.done.contains(&index), "message {}", index);
        }
        prop_assert_eq!(named.len() + seen.done.len(), case.messages.len(), "a name without a message");

        prop_assert_eq!(seen.at_once, 0, "work was left behind");
        prop_assert!(seen.most_at_once <= case.concurrency);
        let begun: HashSet<usize> = seen.begun.iter().map(|(index, _)| *index).collect();
        prop_assert_eq!(begun.len(), seen.begun.len(), "a message was handled twice");
        let soft =
            Duration::from_secs(case.seconds).saturating_sub(Instant::from_std(deadline.kill) - Instant::from_std(deadline.soft));
        prop_assert!(seen.begun.iter().all(|(_, at)| *at < soft), "a message was started after the soft deadline");

        if case.fifo {
            for group in 0..6 {
                let is_of_group = |index: &usize| case.messages[*index].group == group;
                let order: Vec<usize> = seen.begun.iter().map(|(index, _)| *index).filter(is_of_group).collect();
                prop_assert!(order.is_sorted(), "out of order: {:?}", order);
                let all: Vec<usize> = (0..case.messages.len()).filter(is_of_group).collect();
                let first_back = all.iter().position(|index| !seen.done.contains(index)).unwrap_or(all.len());
                prop_assert!(all[first_back..].iter().all(|index| !seen.done.contains(index)), "overtaken in group {}", group);
            }
        }

        // Every message that was handled and is returned to the queue is reported, and has its span, regardless of the budget.
        let reported = reported.lock().expect("not poisoned");
        let undecodable = |index: &usize| case.messages[*index].plan == Plan::Undecodable;
        let failed = (0..case.messages.len()).filter(|index| begun.contains(index) && !seen.done.contains(index)).count();
        let reported_undecodable = reported.iter().filter(|id| id[1..].parse().is_ok_and(|index| undecodable(&index))).count();
        prop_assert_eq!(reported.len(), failed + reported_undecodable);
        prop_assert_eq!(reported.iter().collect::<HashSet<_>>().len(), reported.len(), "reported twice");
        let spans = invocation.spans().take();
        let faults = spans.iter().filter(|span| matches!(span.status, Status::Error { .. })).count();
        let messages = spans.iter().filter(|span| span.name == "process").count();
        if case.traced {
            prop_assert_eq!(faults, reported.len());
            prop_assert!(messages <= case.budget + faults);
            prop_assert_eq!(spans.len(), messages + 1, "the batch's own span is missing");
        } else {
            prop_assert!(spans.is_empty());
        }
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_not_done_comes_back_and_nothing_else(case in cases()) {
        check(&case)?;
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_no_batch_of_messages_is_refused_before_anything_is_handled() {
    let app = App { seen: Arc::default(), began: Instant::now() };
    let mut service = batch(handle).with_state(app.clone());
    let record = SqsRecord { message_id: "m1".into(), body: r#"{"index":1,"plan":"Succeed"}"#.into(), ..SqsRecord::default() };
    let foreign = SqsRecord { event_source: "aws:s3".into(), ..SqsRecord::default() };
    let invocation = invocation(Duration::from_secs(3), "");
    let refused = response(&mut service, &invocation, vec![record, foreign]).await.expect_err("refused");
    assert!(refused.to_string().contains("record 1 of the event has no messageId (its eventSource is \"aws:s3\")"), "{refused}");
    assert!(app.seen.lock().expect("not poisoned").begun.is_empty());
    assert!(serde_json::from_str::<SqsEvent>("{}").is_err_and(|error| error.to_string().contains("`Records`")));
}

#[tokio::test(start_paused = true)]
async fn a_token_cancelled_early_stops_a_batch_in_order() {
    let app = App { seen: Arc::default(), began: Instant::now() };
    let mut service = batch(handle).with_state(app.clone()).concurrency(1);
    let case = Case {
        messages: vec![Planned { plan: Plan::Wait(100), group: 0, twice: false }; 5],
        fifo: false,
        traced: false,
        concurrency: 1,
        seconds: 3,
        budget: 0,
    };
    let invocation = invocation(Duration::from_secs(3), "");
    let token = invocation.cancellation_token();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        token.cancel();
    });
    let response = response(&mut service, &invocation, records(&case)).await.expect("a response");
    let named: Vec<_> = response.batch_item_failures.into_iter().map(|item| item.item_identifier).collect();
    assert_eq!(named, ["m2", "m3", "m4"], "the second message was running and has its time to end");
}
