//! The SQS endpoint as the real SDK sees it.

mod sqs_support;

use aws_sdk_sqs::{
    Client,
    error::ProvideErrorMetadata,
    types::{Message, MessageSystemAttributeName as Name, SendMessageBatchRequestEntry},
};
use lambda_lifecycle_sandbox::sqs::{Counts, DeadLetter, Queue, QueueOptions};
use sqs_support::{TRACE_HEADER, client, header, start, system_attribute, within};
use std::time::Duration;

async fn receive(client: &Client, queue: &Queue) -> Vec<Message> {
    let request = client
        .receive_message()
        .queue_url(&queue.url)
        .max_number_of_messages(10)
        .message_system_attribute_names(Name::All)
        .message_attribute_names("All");
    within("receiving", request.send()).await.unwrap().messages.unwrap_or_default()
}

fn attribute(message: &Message, name: &Name) -> Option<String> {
    message.attributes.as_ref()?.get(name).cloned()
}

/// The trace header of each message by its body.
async fn trace_headers(client: &Client, queue: &Queue) -> Vec<(String, Option<String>)> {
    let messages = receive(client, queue).await;
    let mut headers: Vec<_> =
        messages.iter().map(|message| (message.body.clone().unwrap(), attribute(message, &Name::AwsTraceHeader))).collect();
    headers.sort();
    headers
}

async fn send(client: &Client, queue: &Queue, body: &str, group: Option<&str>) {
    let request = client.send_message().queue_url(&queue.url).message_body(body);
    within("sending", request.set_message_group_id(group.map(str::to_owned)).send()).await.unwrap();
}

fn entry(id: &str, trace_header: Option<&str>) -> SendMessageBatchRequestEntry {
    let entry = SendMessageBatchRequestEntry::builder().id(id).message_body(id);
    let entry = match trace_header {
        Some(header) => entry.message_system_attributes(TRACE_HEADER, system_attribute(header)),
        None => entry,
    };
    entry.build().unwrap()
}

#[tokio::test]
async fn a_message_has_the_trace_header_of_its_attribute_or_else_of_the_http_request() {
    let sqs = start().await;
    let client = client(&sqs);
    let queue = sqs.create_queue("q", QueueOptions::default()).await.unwrap();
    for (body, by_attribute, by_http) in
        [("a", None, None), ("b", Some('1'), None), ("c", None, Some('2')), ("d", Some('1'), Some('2'))]
    {
        let mut request = client.send_message().queue_url(&queue.url).message_body(body);
        if let Some(digit) = by_attribute {
            request = request.message_system_attributes(TRACE_HEADER, system_attribute(&header(digit)));
        }
        let request = request.customize().mutate_request(move |request| {
            if let Some(digit) = by_http {
                request.headers_mut().insert("x-amzn-trace-id", header(digit));
            }
        });
        within("sending", request.send()).await.unwrap();
    }
    assert_eq!(
        trace_headers(&client, &queue).await,
        [("a".into(), None), ("b".into(), Some(header('1'))), ("c".into(), Some(header('2'))), ("d".into(), Some(header('1'))),]
    );
}

#[tokio::test]
async fn in_a_batch_the_http_header_counts_for_the_messages_without_an_attribute() {
    let sqs = start().await;
    let client = client(&sqs);
    let queue = sqs.create_queue("q", QueueOptions::default()).await.unwrap();
    let batch = |entries| client.send_message_batch().queue_url(&queue.url).set_entries(Some(entries));

    let plain = batch(vec![entry("a", None), entry("b", Some(&header('1')))]);
    within("sending", plain.send()).await.unwrap();
    let traced = batch(vec![entry("c", None), entry("d", Some(&header('1'))), entry("e", None)]).customize();
    let traced = traced.mutate_request(|request| {
        request.headers_mut().insert("x-amzn-trace-id", header('2'));
    });
    within("sending", traced.send()).await.unwrap();

    assert_eq!(
        trace_headers(&client, &queue).await,
        [
            ("a".into(), None),
            ("b".into(), Some(header('1'))),
            ("c".into(), Some(header('2'))),
            ("d".into(), Some(header('1'))),
            ("e".into(), Some(header('2'))),
        ]
    );
}

#[tokio::test]
async fn a_message_that_comes_again_counts_one_more_and_keeps_its_first_times() {
    let sqs = start().await;
    let client = client(&sqs);
    let queue = sqs.create_queue("q", QueueOptions::default()).await.unwrap();
    send(&client, &queue, "a", None).await;
    let mut first_times = None;
    for count in 1..=4 {
        let messages = receive(&client, &queue).await;
        let [message] = &messages[..] else { panic!("receipt {count}: {messages:?}") };
        assert_eq!(attribute(message, &Name::ApproximateReceiveCount), Some(count.to_string()));
        let times = [Name::SentTimestamp, Name::ApproximateFirstReceiveTimestamp].map(|name| attribute(message, &name));
        assert_eq!(*first_times.get_or_insert(times.clone()), times);
        assert!(receive(&client, &queue).await.is_empty(), "hidden while in flight");
        let handle = message.receipt_handle.clone().unwrap();
        let visible = client.change_message_visibility().queue_url(&queue.url).receipt_handle(handle);
        within("making it visible", visible.visibility_timeout(0).send()).await.unwrap();
    }
}

#[tokio::test]
async fn the_visibility_timeout_makes_a_message_visible_to_a_poll_that_waits() {
    let sqs = start().await;
    let client = client(&sqs);
    let options = QueueOptions { visibility_timeout: Duration::from_millis(700), ..QueueOptions::default() };
    let queue = sqs.create_queue("q", options).await.unwrap();
    send(&client, &queue, "a", None).await;
    assert_eq!(receive(&client, &queue).await.len(), 1);
    let received = std::time::Instant::now();
    let poll = client.receive_message().queue_url(&queue.url).wait_time_seconds(20);
    let again = within("the message again", poll.send()).await.unwrap();
    assert_eq!(again.messages().len(), 1);
    let hidden = received.elapsed();
    // Not before; how much later is the machine's. The queue rounds it up to a second.
    assert!(hidden > Duration::from_millis(700), "hidden for {hidden:?}");
}

#[tokio::test]
async fn a_poll_that_waits_is_woken_by_a_message() {
    let sqs = start().await;
    let client = client(&sqs);
    let queue = sqs.create_queue("q", QueueOptions::default()).await.unwrap();
    let poll = client.receive_message().queue_url(&queue.url).wait_time_seconds(20).send();
    let (polled, ()) = within("the message", Box::pin(async { tokio::join!(poll, send(&client, &queue, "a", None)) })).await;
    assert_eq!(polled.unwrap().messages()[0].body(), Some("a"));
    assert_eq!(queue.counts(), Counts { visible: 0, delayed: 0, in_flight: 1 });
}

#[tokio::test]
async fn a_message_received_too_often_goes_to_the_dead_letter_queue() {
    let sqs = start().await;
    let client = client(&sqs);
    let dead = sqs.create_queue("dead", QueueOptions::default()).await.unwrap();
    let dead_letter = Some(DeadLetter { arn: dead.arn.clone(), max_receive_count: 2 });
    let queue = sqs.create_queue("q", QueueOptions { dead_letter, ..QueueOptions::default() }).await.unwrap();
    send(&client, &queue, "a", None).await;
    for _ in 0..2 {
        let messages = receive(&client, &queue).await;
        let handle = messages[0].receipt_handle.clone().unwrap();
        let visible = client.change_message_visibility().queue_url(&queue.url).receipt_handle(handle);
        within("making it visible", visible.visibility_timeout(0).send()).await.unwrap();
    }
    assert!(dead.peek().is_empty());
    assert!(receive(&client, &queue).await.is_empty());
    assert_eq!(queue.counts(), Counts::default());
    let [message] = &dead.peek()[..] else { panic!("{:?}", dead.peek()) };
    assert_eq!((message.body.as_str(), message.receive_count), ("a", 2));
    let received = receive(&client, &dead).await;
    assert_eq!(attribute(&received[0], &Name::DeadLetterQueueSourceArn), Some(queue.arn));
}

#[tokio::test]
async fn a_fifo_group_waits_for_its_message_in_flight_and_keeps_its_order() {
    let sqs = start().await;
    let client = client(&sqs);
    let options = QueueOptions { fifo: true, content_based_deduplication: true, ..QueueOptions::default() };
    let queue = sqs.create_queue("q.fifo", options).await.unwrap();
    for body in ["a1", "a2", "a3", "b1", "a1"] {
        send(&client, &queue, body, Some(&body[..1])).await;
    }
    assert_eq!(queue.counts().visible, 4, "the second a1 is a duplicate");

    let bodies = |messages: &[Message]| messages.iter().map(|one| one.body.clone().unwrap()).collect::<Vec<_>>();
    let take = |most| client.receive_message().queue_url(&queue.url).max_number_of_messages(most).send();
    let first = within("receiving", take(2)).await.unwrap().messages.unwrap();
    assert_eq!(bodies(&first), ["a1", "a2"]);
    let second = within("receiving", take(10)).await.unwrap().messages.unwrap();
    assert_eq!(bodies(&second), ["b1"], "group a is in flight");

    for message in first.iter().rev() {
        let visible = client.change_message_visibility().queue_url(&queue.url).visibility_timeout(0);
        let visible = visible.receipt_handle(message.receipt_handle.clone().unwrap());
        within("making it visible", visible.send()).await.unwrap();
    }
    let third = within("receiving", take(10)).await.unwrap().messages.unwrap();
    assert_eq!(bodies(&third), ["a1", "a2", "a3"]);
}

#[tokio::test]
async fn errors_are_the_services_own() {
    let sqs = start().await;
    let client = client(&sqs);
    let queue = sqs.create_queue("q", QueueOptions::default()).await.unwrap();
    let receive = client.receive_message().queue_url(format!("{}/000000000000/none", sqs.endpoint()));
    let error = within("the error", receive.send()).await.unwrap_err().into_service_error();
    assert!(error.is_queue_does_not_exist(), "{:?}", error.code());
    let receive = client.receive_message().queue_url(&queue.url).wait_time_seconds(21);
    let error = within("the error", receive.send()).await.unwrap_err();
    assert_eq!(error.code(), Some("InvalidParameterValue"));
    let error = sqs.create_queue("a b", QueueOptions::default()).await.unwrap_err();
    assert_eq!(error.code, "InvalidParameterValue");
}
