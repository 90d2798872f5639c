//! `Publish` and `PublishBatch` in the form of AWS's query protocol.

use std::collections::BTreeMap;

/// One message as it was published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Published {
    /// Names it within a batch.
    pub(super) id: String,
    pub(super) message: String,
    pub(super) subject: Option<String>,
    pub(super) group: Option<String>,
    pub(super) deduplication: Option<String>,
    /// Name, type and value.
    pub(super) attributes: Vec<(String, String, String)>,
}

/// A call, its parameters by name.
pub(super) struct Call(BTreeMap<String, String>);

impl Call {
    pub(super) fn read(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The published messages: one, or the entries of a batch.
    pub(super) fn messages(&self) -> Vec<Published> {
        if self.get("Action") == Some("Publish") {
            return vec![self.message("")];
        }
        let entries = (1..).map(|number| format!("PublishBatchRequestEntries.member.{number}."));
        entries.take_while(|prefix| self.get(&format!("{prefix}Id")).is_some()).map(|prefix| self.message(&prefix)).collect()
    }

    fn message(&self, prefix: &str) -> Published {
        let field = |name: &str| self.get(&format!("{prefix}{name}")).map(str::to_owned);
        let attributes = (1..).map_while(|number| {
            let entry = format!("MessageAttributes.entry.{number}");
            let name = field(&format!("{entry}.Name"))?;
            let kind = field(&format!("{entry}.Value.DataType")).unwrap_or_default();
            let value = field(&format!("{entry}.Value.StringValue")).or_else(|| field(&format!("{entry}.Value.BinaryValue")));
            Some((name, kind, value.unwrap_or_default()))
        });
        Published {
            id: field("Id").unwrap_or_default(),
            message: field("Message").unwrap_or_default(),
            subject: field("Subject"),
            group: field("MessageGroupId"),
            deduplication: field("MessageDeduplicationId"),
            attributes: attributes.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_entry_by_entry() {
        let call = Call::read(
            b"Action=PublishBatch&TopicArn=t&PublishBatchRequestEntries.member.1.Id=a&PublishBatchRequestEntries.member.1.Message=%7B%7D\
              &PublishBatchRequestEntries.member.1.MessageAttributes.entry.1.Name=k\
              &PublishBatchRequestEntries.member.1.MessageAttributes.entry.1.Value.DataType=String\
              &PublishBatchRequestEntries.member.1.MessageAttributes.entry.1.Value.StringValue=v\
              &PublishBatchRequestEntries.member.2.Id=b&PublishBatchRequestEntries.member.2.Message=2",
        );
        let messages = call.messages();
        assert_eq!(messages.iter().map(|message| &*message.id).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(messages[0].attributes, [("k".to_owned(), "String".to_owned(), "v".to_owned())]);
        assert_eq!(messages[1].message, "2");
    }
}
