//! Events of other services, as they would arrive.

use serde_json::{Value, json};

/// An SQS event with a message for each body: a text, or a `serde_json::Value`, whose text is its JSON. The ids of the messages are `1`,
/// `2` and so on.
///
/// ```
/// use lambda_lifecycle::{Error, Invocation, sqs::{self, Message}, testing};
///
/// async fn place(message: Message<u64>) -> Result<(), Error> {
///     tracing::info_span!("place").in_scope(|| if message.body == 7 { Err("sold out".into()) } else { Ok(()) })
/// }
///
/// # fn main() { tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// let test = Invocation::test().begin();
/// let response = test.call(sqs::batch(place), testing::sqs_event([6, 7])).await.unwrap();
/// assert_eq!(response["batchItemFailures"].as_array().unwrap().len(), 1);
/// assert_eq!(response["batchItemFailures"][0]["itemIdentifier"], "2");
/// assert_eq!(test.spans().iter().filter(|span| span.name == "place").count(), 2);
/// # }) }
/// ```
pub fn sqs_event<B: ToString>(bodies: impl IntoIterator<Item = B>) -> Value {
    let records: Vec<Value> = bodies
        .into_iter()
        .enumerate()
        .map(|(index, body)| {
            json!({
                "messageId": (index + 1).to_string(),
                "receiptHandle": format!("receipt-{}", index + 1),
                "body": body.to_string(),
                "attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": "0", "SenderId": "test", "ApproximateFirstReceiveTimestamp": "0" },
                "messageAttributes": {},
                "md5OfBody": "",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:test",
                "awsRegion": "eu-west-1",
            })
        })
        .collect();
    json!({ "Records": records })
}
