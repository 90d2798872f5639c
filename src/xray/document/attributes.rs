//! Maps OpenTelemetry's semantic conventions, current and previous ones, to X-Ray's fields.

use opentelemetry::KeyValue;

/// A part of a document that an attribute can fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Slot {
    HttpMethod,
    HttpUrl,
    HttpUserAgent,
    HttpStatus,
    HttpLength,
    HttpHost,
    HttpTarget,
    ClientIp,
    PeerIp,
    UrlScheme,
    UrlPath,
    UrlQuery,
    ServerAddress,
    ServerPort,
    PeerService,
    RpcSystem,
    RpcService,
    RpcMethod,
    AwsService,
    AwsOperation,
    AwsAccount,
    AwsRegion,
    AwsRequestId,
    AwsExtendedRequestId,
    AwsQueueUrl,
    AwsTable,
    AwsBucket,
    AwsKey,
    AwsTopic,
    AwsStream,
    AwsFunction,
    AwsRetries,
    AwsErrorCode,
    DbSystem,
    DbNamespace,
    DbQuery,
    DbSummary,
    DbOperation,
    DbCollection,
    DbUser,
    DbConnection,
    MessagingDestination,
    MessagingTemplate,
    ErrorType,
    ExceptionType,
    ExceptionMessage,
    ExceptionStack,
    User,
    LogGroups,
    LogGroupArns,
    Annotations,
}

/// The number of slots.
pub(super) const SLOTS: usize = Slot::Annotations as usize + 1;
// Slots are bits of a word.
const _: () = assert!(SLOTS <= 64);

/// The slot of a key, and whether the key is the current name, which takes precedence over previous ones.
#[rustfmt::skip]
pub(super) fn slot(key: &str, server: bool) -> Option<(Slot, bool)> {
    use Slot::{
        Annotations, AwsAccount, AwsBucket, AwsErrorCode, AwsExtendedRequestId, AwsFunction, AwsKey, AwsOperation,
        AwsQueueUrl, AwsRegion, AwsRequestId, AwsRetries, AwsService, AwsStream, AwsTable, AwsTopic, ClientIp, DbCollection,
        DbConnection, DbNamespace, DbOperation, DbQuery, DbSummary, DbSystem, DbUser, ErrorType, ExceptionMessage,
        ExceptionStack, ExceptionType, HttpHost, HttpLength, HttpMethod, HttpStatus, HttpTarget, HttpUrl, HttpUserAgent,
        LogGroupArns, LogGroups, MessagingDestination, MessagingTemplate, PeerIp, PeerService, RpcMethod, RpcService,
        RpcSystem, ServerAddress, ServerPort, UrlPath, UrlQuery, UrlScheme, User,
    };
    let dot = key.bytes().position(|byte| byte == b'.')?;
    let (group, name) = (&key[..dot], &key[dot + 1..]);
    Some(match group {
        "http" => match name {
            "request.method" => (HttpMethod, true),
            "method" => (HttpMethod, false),
            "response.status_code" => (HttpStatus, true),
            "status_code" => (HttpStatus, false),
            "url" => (HttpUrl, false),
            "target" => (HttpTarget, true),
            "host" => (HttpHost, true),
            "scheme" => (UrlScheme, false),
            "user_agent" => (HttpUserAgent, false),
            "client_ip" => (ClientIp, false),
            "server_name" if server => (ServerAddress, false),
            "response.body.size" => (HttpLength, true),
            "response.size" | "response_content_length" => (HttpLength, false),
            "request.resend_count" => (AwsRetries, false),
            _ => return None,
        },
        "url" => match name {
            "full" => (HttpUrl, true),
            "scheme" => (UrlScheme, true),
            "path" => (UrlPath, true),
            "query" => (UrlQuery, true),
            _ => return None,
        },
        "user_agent" if name == "original" => (HttpUserAgent, true),
        "client" if name == "address" => (ClientIp, true),
        "network" if name == "peer.address" => (PeerIp, true),
        "server" => match name {
            "address" => (ServerAddress, true),
            "port" => (ServerPort, true),
            _ => return None,
        },
        "net" => match name {
            "peer.ip" | "sock.peer.addr" => (PeerIp, false),
            "peer.name" if !server => (ServerAddress, false),
            "host.name" if server => (ServerAddress, false),
            "peer.port" if !server => (ServerPort, false),
            "host.port" if server => (ServerPort, false),
            _ => return None,
        },
        "peer" if name == "service" => (PeerService, false),
        "service" if name == "peer.name" => (PeerService, true),
        "rpc" => match name {
            "system.name" => (RpcSystem, true),
            "system" => (RpcSystem, false),
            "service" => (RpcService, true),
            "method" => (RpcMethod, true),
            _ => return None,
        },
        "aws" => match name {
            "service" => (AwsService, true),
            "operation" => (AwsOperation, true),
            "account_id" => (AwsAccount, true),
            "region" => (AwsRegion, true),
            "request_id" => (AwsRequestId, true),
            "requestId" | "request.id" => (AwsRequestId, false),
            "extended_request_id" => (AwsExtendedRequestId, true),
            "sqs.queue.url" => (AwsQueueUrl, true),
            "queue_url" | "queue.url" => (AwsQueueUrl, false),
            "dynamodb.table_names" => (AwsTable, true),
            "table_name" | "table.name" => (AwsTable, false),
            "s3.bucket" => (AwsBucket, true),
            "bucket.name" | "bucket_name" => (AwsBucket, false),
            "s3.key" => (AwsKey, true),
            "sns.topic.arn" => (AwsTopic, true),
            "kinesis.stream_name" => (AwsStream, true),
            "stream.name" | "stream_name" => (AwsStream, false),
            "retries" => (AwsRetries, true),
            "xray.retries" => (AwsRetries, false),
            "error.code" | "error_code" => (AwsErrorCode, true),
            "log.group.names" => (LogGroups, true),
            "log.group.arns" => (LogGroupArns, true),
            "xray.annotations" => (Annotations, true),
            _ => return None,
        },
        "cloud" => match name {
            "region" => (AwsRegion, false),
            "account.id" => (AwsAccount, false),
            _ => return None,
        },
        "faas" if name == "invoked_name" => (AwsFunction, true),
        "db" => match name {
            "system.name" => (DbSystem, true),
            "system" => (DbSystem, false),
            "namespace" => (DbNamespace, true),
            "name" => (DbNamespace, false),
            "query.text" => (DbQuery, true),
            "statement" => (DbQuery, false),
            "query.summary" => (DbSummary, true),
            "operation.name" => (DbOperation, true),
            "operation" => (DbOperation, false),
            "collection.name" => (DbCollection, true),
            "sql.table" => (DbCollection, false),
            "user" => (DbUser, false),
            "connection_string" => (DbConnection, false),
            _ => return None,
        },
        "messaging" => match name {
            "url" => (AwsQueueUrl, false),
            "destination.name" => (MessagingDestination, true),
            "destination" => (MessagingDestination, false),
            "destination.template" => (MessagingTemplate, true),
            _ => return None,
        },
        "error" if name == "type" => (ErrorType, true),
        "exception" => match name {
            "type" => (ExceptionType, true),
            "message" => (ExceptionMessage, true),
            "stacktrace" => (ExceptionStack, true),
            _ => return None,
        },
        "user" if name == "id" => (User, true),
        "enduser" if name == "id" => (User, false),
        _ => return None,
    })
}

/// The place of an attribute in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapping {
    /// A separate field, if that field is written.
    Field(Slot),
    /// An annotation or metadata.
    Unmapped,
    /// Written as an annotation.
    Annotation,
    /// Set again later. The last value counts, as OpenTelemetry specifies.
    Superseded,
}

/// The places of one span's attributes. It belongs to the writer so that its memory is reused.
#[derive(Debug)]
pub(super) struct Mappings {
    pub(super) of: Vec<Mapping>,
    /// Which attribute fills a slot. Counts only where the slot is filled.
    slots: [u32; SLOTS],
    filled: u64,
    /// The slots that a current name has filled.
    current: u64,
    used: u64,
}

impl Default for Mappings {
    fn default() -> Self {
        Self { of: Vec::new(), slots: [0; SLOTS], filled: 0, current: 0, used: 0 }
    }
}

impl Mappings {
    pub(super) fn sort(&mut self, attributes: &[KeyValue], server: bool) {
        self.of.clear();
        (self.filled, self.current) = (0, 0);
        // A set bit means that a key of this kind was seen before. Only then are the earlier keys compared.
        let mut seen = [0_u64; 4];
        for (at, attribute) in attributes.iter().enumerate() {
            let key = attribute.key.as_str();
            let mark = mark(key.as_bytes());
            let (word, bit) = (usize::from(mark >> 6), 1_u64 << (mark & 63));
            if seen[word] & bit != 0
                && let Some(earlier) = attributes[..at].iter().rposition(|earlier| earlier.key.as_str() == key)
            {
                self.of[earlier] = Mapping::Superseded;
            }
            seen[word] |= bit;
            let Some((slot, current)) = slot(key, server) else {
                self.of.push(Mapping::Unmapped);
                continue;
            };
            let slot_bit = 1 << slot as u8;
            if !current && self.current & slot_bit != 0 {
                self.of.push(Mapping::Unmapped);
                continue;
            }
            self.current |= if current { slot_bit } else { 0 };
            let holder = std::mem::replace(&mut self.slots[slot as usize], at as u32);
            if self.filled & slot_bit != 0
                && let mapping @ Mapping::Field(_) = &mut self.of[holder as usize]
            {
                *mapping = Mapping::Unmapped;
            }
            self.filled |= slot_bit;
            self.of.push(Mapping::Field(slot));
        }
    }

    /// Forgets the written fields, for another attempt at the same span.
    pub(super) fn restart(&mut self) {
        self.used = 0;
        for mapping in &mut self.of {
            if *mapping == Mapping::Annotation {
                *mapping = Mapping::Unmapped;
            }
        }
    }

    pub(super) fn get<'a>(&self, attributes: &'a [KeyValue], slot: Slot) -> Option<&'a KeyValue> {
        if self.filled & 1 << slot as u8 == 0 {
            return None;
        }
        attributes.get(self.slots[slot as usize] as usize)
    }

    /// No attribute has a separate field, as in most spans of the user's code.
    pub(super) fn are_unmapped(&self) -> bool {
        self.filled == 0
    }

    /// The field contains the whole attribute, so the metadata need not repeat it.
    pub(super) fn mark_used(&mut self, slot: Slot) {
        self.used |= 1 << slot as u8;
    }

    pub(super) fn is_used(&self, slot: Slot) -> bool {
        self.used & (1 << slot as u8) != 0
    }
}

fn mark(key: &[u8]) -> u8 {
    let last = key.last().copied().unwrap_or_default();
    let middle = key.get(key.len() / 2).copied().unwrap_or_default();
    (key.len() as u8).wrapping_mul(37) ^ last.wrapping_mul(11) ^ middle.wrapping_mul(91)
}
