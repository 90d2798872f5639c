//! The operations of the service, each with the rules that `awsim-sqs` lacks.

use super::{ACCOUNT, REGION, ledger, receive, service::Service};
use awsim_core::{AwsError, Protocol, RequestContext, ServiceHandler};
use serde_json::{Value, json};

tokio::task_local! {
    /// `x-amzn-trace-id` of the HTTP request that is being served.
    pub(super) static TRACE_HEADER: Option<String>;
}

impl Service {
    /// Runs an operation without HTTP.
    pub(super) async fn call(&self, operation: &str, input: Value) -> Result<Value, AwsError> {
        let mut context = RequestContext::new_with_account("sqs", REGION, ACCOUNT);
        context.endpoint_authority = Some(self.authority.clone());
        self.handle(operation, input, &context).await
    }
}

#[async_trait::async_trait]
impl ServiceHandler for Service {
    fn service_name(&self) -> &str {
        self.inner.service_name()
    }

    fn protocol(&self) -> Protocol {
        self.inner.protocol()
    }

    async fn handle(&self, operation: &str, mut input: Value, context: &RequestContext) -> Result<Value, AwsError> {
        // A function may sign for another region than the queue was made in.
        let context = RequestContext { region: REGION.into(), account_id: ACCOUNT.into(), ..context.clone() };
        match operation {
            "ReceiveMessage" => return receive::receive(self, &input).await,
            "SendMessage" => add_trace_header(&mut input),
            "SendMessageBatch" => {
                for entry in input["Entries"].as_array_mut().into_iter().flatten() {
                    add_trace_header(entry);
                }
            }
            _ => {}
        }
        let result = self.inner.handle(operation, input.clone(), &context).await;
        if let Ok(output) = &result {
            for event in ledger::of_operation(operation, &input, output) {
                self.ledger.write(event);
            }
        }
        self.tell();
        result
    }
}

/// "X-Ray and Amazon SQS": the HTTP header counts for messages that have no `AWSTraceHeader` attribute.
fn add_trace_header(message: &mut Value) {
    let header = TRACE_HEADER.try_with(Clone::clone).ok().flatten();
    let (Some(header), Some(message)) = (header, message.as_object_mut()) else {
        return;
    };
    let attributes = message.entry("MessageSystemAttributes").or_insert_with(|| json!({}));
    if attributes.is_null() {
        *attributes = json!({});
    }
    if let Some(attributes) = attributes.as_object_mut() {
        attributes.entry("AWSTraceHeader").or_insert_with(|| json!({"DataType": "String", "StringValue": header}));
    }
}
