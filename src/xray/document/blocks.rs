//! The other side of a call in X-Ray's format: name, namespace, flags, and the `http`, `aws` and `sql` blocks.

use std::{borrow::Cow, ops::Range};

use opentelemetry::{Array, Value, trace::SpanKind};

use super::{
    Flags,
    attributes::Slot,
    json::{self, quoted},
    name::NameWriter,
    render::{Level, Render, is_server},
};

/// The place where the work of a span was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Local,
    Aws,
    Remote,
}

impl Origin {
    pub(super) fn namespace(self) -> Option<&'static [u8]> {
        match self {
            Self::Local => None,
            Self::Aws => Some(b"aws"),
            Self::Remote => Some(b"remote"),
        }
    }
}

/// The throttling codes that AWS's SDKs retry. Many have the HTTP status 400.
const THROTTLING: &[&str] = &[
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];

/// Systems of the OpenTelemetry convention whose queries are SQL.
const SQL: &[&str] = &[
    "aws.redshift",
    "cassandra",
    "clickhouse",
    "cloudscape",
    "cockroachdb",
    "db2",
    "derby",
    "firebird",
    "firebirdsql",
    "h2",
    "h2database",
    "hive",
    "hsqldb",
    "ibm.db2",
    "mariadb",
    "microsoft.sql_server",
    "mssql",
    "mysql",
    "oracle",
    "oracle.db",
    "other_sql",
    "postgresql",
    "redshift",
    "sqlite",
    "teradata",
    "trino",
    "vertica",
];

impl<'a> Render<'a> {
    pub(super) fn origin(&self) -> Origin {
        let calls = matches!(self.span.span_kind, SpanKind::Client | SpanKind::Producer);
        if self.mappings.are_unmapped() {
            return if calls { Origin::Remote } else { Origin::Local };
        }
        let system = self.get(Slot::RpcSystem).map(|attribute| &attribute.value);
        let sdk = matches!(system, Some(Value::String(system)) if system.as_str() == "aws-api");
        let named = self.get(Slot::AwsService).is_some() || calls && self.get(Slot::AwsOperation).is_some();
        if !is_server(self.span) && (sdk || named) {
            Origin::Aws
        } else if calls {
            Origin::Remote
        } else {
            Origin::Local
        }
    }

    /// Writes the name of the node in X-Ray's map. Returns true if it is not the span's own name.
    pub(super) fn name(&mut self, origin: Origin) -> bool {
        if origin == Origin::Local {
            let mut writer = NameWriter::new(self.out);
            writer.push(&self.span.name);
            let changed = writer.finish();
            self.report.sanitized += u32::from(changed);
            return changed;
        }
        let mut pieces: [Cow<'a, str>; 3] = match origin {
            Origin::Remote => self.remote_name(),
            _ => [self.aws_name(), Cow::default(), Cow::default()],
        };
        if pieces.iter().all(|piece| piece.is_empty()) {
            pieces[0] = self.span_name();
        }
        let mut writer = NameWriter::new(self.out);
        for piece in &pieces {
            writer.push(piece);
        }
        let changed = writer.finish();
        self.report.sanitized += u32::from(changed);
        let repeated = pieces[1].is_empty() && (pieces[0] == self.span.name || self.is_service_and_operation(origin, &pieces[0]));
        changed || !repeated
    }

    /// `SQS.SendMessage`: the document contains both halves, so the whole needs no separate field.
    fn is_service_and_operation(&self, origin: Origin, service: &str) -> bool {
        let rest = self.span.name.strip_prefix(service).and_then(|rest| rest.strip_prefix(['.', '/']));
        let operation = self.get(Slot::AwsOperation).or_else(|| self.get(Slot::RpcMethod)).map(|attribute| &attribute.value);
        origin == Origin::Aws
            && match (rest, operation) {
                (Some(rest), Some(Value::String(operation))) => operation.as_str() == rest,
                (Some(_), None) => true,
                _ => false,
            }
    }

    pub(super) fn span_name(&self) -> Cow<'a, str> {
        Cow::Borrowed(self.span.name.as_ref())
    }

    /// X-Ray recognizes an AWS service, and the SQS queue behind a call, by the service's name.
    fn aws_name(&mut self) -> Cow<'a, str> {
        for slot in [Slot::PeerService, Slot::AwsService, Slot::RpcService] {
            if let Some(service) = self.text(slot) {
                self.mappings.mark_used(slot);
                return service;
            }
        }
        if let Some(service) = self.service_of_method() {
            let start = service.rfind(['/', '.']).map_or(0, |before| before + 1);
            let end = service.len();
            return slice(service, start..end);
        }
        let name = self.span_name();
        let service = name.find(['.', '/']).unwrap_or(name.len());
        slice(name, 0..service)
    }

    /// The names that X-Ray's SDKs use: `database@host`, the full name of a gRPC service, or the host. The database system, such
    /// as `postgresql`, is not used as a name, because all queries of a function would look alike.
    fn remote_name(&mut self) -> [Cow<'a, str>; 3] {
        let none = Cow::Borrowed("");
        let one = |name| [name, none.clone(), none.clone()];
        if let Some(peer) = self.text(Slot::PeerService) {
            self.mappings.mark_used(Slot::PeerService);
            return one(peer);
        }
        let host = self.host();
        if self.get(Slot::DbSystem).is_some() {
            return match (self.text(Slot::DbNamespace), host.or_else(|| self.url_host(Slot::DbConnection))) {
                (Some(database), Some(host)) => [database, Cow::Borrowed("@"), host],
                (Some(name), None) | (None, Some(name)) => one(name),
                (None, None) => one(none.clone()),
            };
        }
        let part = self.text(Slot::RpcService).or_else(|| self.service_of_method());
        // A temporary destination has a different name every time. Its template is constant.
        let part = part.or_else(|| self.text(Slot::MessagingTemplate)).or_else(|| self.text(Slot::MessagingDestination));
        if let Some(part) = part {
            return one(part);
        }
        if host.is_some() && self.get(Slot::ServerAddress).is_some() {
            self.mappings.mark_used(Slot::ServerAddress);
        }
        one(host.unwrap_or_default())
    }

    fn host(&mut self) -> Option<Cow<'a, str>> {
        if let Some(host) = self.text(Slot::ServerAddress) {
            return Some(host);
        }
        if let Some(host) = self.text(Slot::HttpHost) {
            let end = without_port(&host).len();
            return Some(slice(host, 0..end));
        }
        self.url_host(Slot::HttpUrl)
    }

    fn url_host(&mut self, slot: Slot) -> Option<Cow<'a, str>> {
        let url = self.text(slot)?;
        let mut start = url.find("://")? + 3;
        let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |end| start + end);
        if let Some(user) = url[start..end].rfind('@') {
            start += user + 1;
        }
        let end = start + without_port(&url[start..end]).len();
        (start < end).then(|| slice(url, start..end))
    }

    /// The newest convention includes the service in the method: `SQS/SendMessage`, `shop.Prices/Get`.
    fn service_of_method(&mut self) -> Option<Cow<'a, str>> {
        let method = self.text(Slot::RpcMethod)?;
        let end = method.rfind('/').or_else(|| method.rfind('.'))?;
        Some(slice(method, 0..end))
    }

    /// Known throttling codes first, then the HTTP status, then the span's.
    pub(super) fn flags(&mut self, origin: Origin) -> Flags {
        let mut flags = Flags::default();
        if origin == Origin::Aws && self.throttled() {
            flags.error = true;
            flags.throttle = true;
        } else {
            match self.http_status() {
                Some(429) => (flags.error, flags.throttle) = (true, true),
                Some(400..=499) => flags.error = true,
                Some(500..=599) => flags.fault = true,
                _ => flags.fault = self.status_error(),
            }
        }
        for (name, set) in
            [(quoted!("fault"), flags.fault), (quoted!("error"), flags.error), (quoted!("throttle"), flags.throttle)]
        {
            if set {
                json::key(self.out, name);
                json::boolean(self.out, true);
            }
        }
        flags
    }

    fn http_status(&self) -> Option<i64> {
        match &self.get(Slot::HttpStatus)?.value {
            Value::I64(status) => Some(*status),
            Value::String(status) => status.as_str().trim().parse().ok(),
            _ => None,
        }
    }

    fn throttled(&self) -> bool {
        let codes = [Slot::AwsErrorCode, Slot::ErrorType, Slot::ExceptionType];
        let on_span = codes.into_iter().filter_map(|slot| self.get(slot));
        let on_events = self.span.events.iter().flat_map(|event| &event.attributes);
        let on_events = on_events.filter(|attribute| attribute.key.as_str() == "exception.type");
        on_span.chain(on_events).any(|attribute| {
            let Value::String(code) = &attribute.value else { return false };
            // `com.amazonaws.sqs#ThrottlingException`, `aws_sdk_sqs::types::error::ThrottlingException`
            let code = code.as_str().rsplit(['#', ':', '.']).next().unwrap_or_default();
            THROTTLING.binary_search(&code).is_ok()
        })
    }

    pub(super) fn http(&mut self) {
        use Slot::{HttpHost, HttpLength, HttpMethod, HttpStatus, HttpTarget, HttpUrl, HttpUserAgent, UrlPath, UrlScheme};
        let signs = [HttpMethod, HttpUrl, HttpStatus, HttpTarget, HttpHost, HttpUserAgent, UrlScheme, UrlPath, HttpLength];
        if signs.into_iter().all(|slot| self.get(slot).is_none()) {
            return;
        }
        let http = self.open(quoted!("http" "{"));
        let request = self.open(quoted!("request" "{"));
        self.text_field(quoted!("method"), HttpMethod);
        if !self.text_field(quoted!("url"), HttpUrl) {
            self.composed_url();
        }
        self.text_field(quoted!("user_agent"), HttpUserAgent);
        self.client_ip();
        self.close(&request);
        let response = self.open(quoted!("response" "{"));
        self.number_field(quoted!("status"), HttpStatus);
        self.number_field(quoted!("content_length"), HttpLength);
        self.close(&response);
        self.close(&http);
    }

    fn client_ip(&mut self) {
        if self.get(Slot::ClientIp).is_none() {
            self.text_field(quoted!("client_ip"), Slot::PeerIp);
            return;
        }
        self.text_field(quoted!("client_ip"), Slot::ClientIp);
        // If the client is not the peer, a header named it, which anyone can write.
        let peer = self.get(Slot::PeerIp).map(|attribute| &attribute.value);
        if is_server(self.span) && self.get(Slot::ClientIp).is_some_and(|client| Some(&client.value) != peer) {
            json::key(self.out, quoted!("x_forwarded_for"));
            json::boolean(self.out, true);
        }
    }

    fn composed_url(&mut self) {
        let (target, path) = (self.text(Slot::HttpTarget), self.text(Slot::UrlPath));
        let (host, server) = (self.text(Slot::HttpHost), self.text(Slot::ServerAddress));
        if target.is_none() && path.is_none() && host.is_none() {
            return;
        }
        let scheme = self.text(Slot::UrlScheme);
        let mut url = String::new();
        if let Some(host) = host.as_deref().or(server.as_deref()) {
            let scheme = scheme.as_deref().unwrap_or("http");
            url.push_str(scheme);
            url.push_str("://");
            url.push_str(host);
            let usual = if scheme == "https" { "443" } else { "80" };
            if let Some(port) = self.text(Slot::ServerPort)
                && *port != *usual
                && !host.rsplit_once(':').is_some_and(|(_, end)| end.bytes().all(|byte| byte.is_ascii_digit()))
            {
                url.push(':');
                url.push_str(&port);
            }
        }
        if let Some(target) = target {
            url.push_str(&target);
        } else {
            url.push_str(path.as_deref().unwrap_or("/"));
            if let Some(query) = self.text(Slot::UrlQuery) {
                url.push('?');
                url.push_str(&query);
            }
        }
        json::key(self.out, quoted!("url"));
        if !self.string(&url) {
            for slot in [Slot::HttpTarget, Slot::UrlPath, Slot::UrlQuery, Slot::UrlScheme, Slot::HttpHost] {
                self.mappings.mark_used(slot);
            }
        }
    }

    pub(super) fn aws(&mut self, origin: Origin) {
        let main = self.frame.main || self.frame.segment;
        if self.mappings.are_unmapped() && !main {
            return;
        }
        let aws = self.open(quoted!("aws" "{"));
        if !self.text_field(quoted!("operation"), Slot::AwsOperation) && origin == Origin::Aws {
            self.operation();
        }
        if origin == Origin::Aws {
            self.mappings.mark_used(Slot::RpcSystem);
        }
        for (key, slot) in [
            (quoted!("account_id"), Slot::AwsAccount),
            (quoted!("region"), Slot::AwsRegion),
            (quoted!("request_id"), Slot::AwsRequestId),
            (quoted!("id_2"), Slot::AwsExtendedRequestId),
            (quoted!("queue_url"), Slot::AwsQueueUrl),
            (quoted!("bucket_name"), Slot::AwsBucket),
            (quoted!("key"), Slot::AwsKey),
            (quoted!("topic_arn"), Slot::AwsTopic),
            (quoted!("stream_name"), Slot::AwsStream),
            (quoted!("function_name"), Slot::AwsFunction),
        ] {
            if self.get(slot).is_some() {
                self.text_field(key, slot);
            }
        }
        if origin == Origin::Aws {
            self.number_field(quoted!("retries"), Slot::AwsRetries);
        }
        self.tables();
        if main {
            self.sdk();
        }
        self.log_groups(main);
        self.close(&aws);
    }

    fn operation(&mut self) {
        if let Some(method) = self.text(Slot::RpcMethod) {
            json::key(self.out, quoted!("operation"));
            let operation = method.rsplit(['/', '.']).next().unwrap_or(&method);
            if !self.string(operation) && operation.len() == method.len() {
                self.mappings.mark_used(Slot::RpcMethod);
            }
        } else if let Some((_, operation)) = self.span_name().split_once(['.', '/']) {
            json::key(self.out, quoted!("operation"));
            self.string(operation);
        }
    }

    fn tables(&mut self) {
        let Some(attribute) = self.get(Slot::AwsTable) else { return };
        match &attribute.value {
            Value::Array(Array::String(tables)) if tables.len() == 1 => {
                json::key(self.out, quoted!("table_name"));
                if !self.string(tables[0].as_str()) {
                    self.mappings.mark_used(Slot::AwsTable);
                }
            }
            Value::Array(Array::String(tables)) if !tables.is_empty() => {
                json::key(self.out, quoted!("table_names"));
                let limit = self.string_limit();
                self.value(&attribute.value, limit);
                self.mappings.mark_used(Slot::AwsTable);
            }
            _ => _ = self.text_field(quoted!("table_name"), Slot::AwsTable),
        }
    }

    fn sdk(&mut self) {
        if let Some((name, version)) = &self.options.sdk {
            let xray = self.open(quoted!("xray" "{"));
            json::key(self.out, quoted!("sdk"));
            self.string(name);
            json::key(self.out, quoted!("sdk_version"));
            self.string(version);
            self.close(&xray);
        }
    }

    /// The function's own groups, then those that the span names. An ARN contains the name.
    fn log_groups(&mut self, main: bool) {
        const MOST: usize = 20;
        let (arns, names) = (self.text(Slot::LogGroupArns), self.text(Slot::LogGroups));
        let arns =
            arns.as_deref().map_or_else(Vec::new, |text| split_list(text).map(|arn| (group_of_arn(arn), Some(arn))).collect());
        let by_arn = |group: &&str| arns.iter().any(|(named, _)| named == group);
        let names =
            names.as_deref().map_or_else(Vec::new, |text| split_list(text).filter(|name| !by_arn(name)).collect::<Vec<_>>());
        let options = self.options;
        let own = options.log_groups.iter().filter(|_| main).map(AsRef::as_ref);
        let own = own.filter(|group| !by_arn(group) && !names.contains(group));
        let mut groups =
            own.chain(names.iter().copied()).map(|name| (name, None)).chain(arns.iter().copied()).take(MOST).peekable();
        if groups.peek().is_none() {
            return;
        }
        json::key(self.out, quoted!("cloudwatch_logs" "["));
        for (group, arn) in groups {
            json::comma(self.out);
            self.out.extend_from_slice(b"{\"log_group\":");
            self.string(group);
            if let Some(arn) = arn {
                json::key(self.out, quoted!("arn"));
                self.string(arn);
            }
            self.out.push(b'}');
        }
        self.out.push(b']');
        self.mappings.mark_used(Slot::LogGroups);
        self.mappings.mark_used(Slot::LogGroupArns);
    }

    pub(super) fn sql(&mut self) {
        let Some(Value::String(system)) = self.get(Slot::DbSystem).map(|attribute| &attribute.value) else { return };
        if SQL.binary_search(&system.as_str()).is_err() {
            return;
        }
        let sql = self.open(quoted!("sql" "{"));
        self.text_field(quoted!("database_type"), Slot::DbSystem);
        self.text_field(quoted!("user"), Slot::DbUser);
        self.text_field(quoted!("connection_string"), Slot::DbConnection);
        if let (Some(host), Some(database)) = (self.text(Slot::ServerAddress), self.text(Slot::DbNamespace)) {
            let port = self.text(Slot::ServerPort);
            let (colon, port) = port.as_deref().map_or(("", ""), |port| (":", port));
            json::key(self.out, quoted!("url"));
            if !self.string(&[&*host, colon, port, "/", &*database].concat()) {
                for slot in [Slot::ServerAddress, Slot::ServerPort, Slot::DbNamespace] {
                    self.mappings.mark_used(slot);
                }
            }
        }
        if let Some(query) = self.text(Slot::DbQuery) {
            // The schema has no limit. A statement that is cut at 250 characters would be of little use.
            let limit = if self.level < Level::ShortValues { super::MAX_DOCUMENT } else { 250 };
            json::key(self.out, quoted!("sanitized_query"));
            self.report.cut += u32::from(json::cut_string(self.out, &query, limit));
            self.mappings.mark_used(Slot::DbQuery);
        } else {
            self.query_without_text();
        }
        self.close(&sql);
    }

    /// All queries of one database have the same name. Without their text, a summary distinguishes them.
    fn query_without_text(&mut self) {
        if self.text_field(quoted!("sanitized_query"), Slot::DbSummary) {
            return;
        }
        if let (Some(operation), Some(collection)) = (self.text(Slot::DbOperation), self.text(Slot::DbCollection)) {
            json::key(self.out, quoted!("sanitized_query"));
            self.string(&[&*operation, " ", &*collection].concat());
        }
    }
}

/// Splits an array of strings, or one string separated by `&` as in `OTEL_RESOURCE_ATTRIBUTES`.
fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(['&', ',', '[', ']', '"']).filter(|name| !name.is_empty())
}

/// `arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/orders:*`
fn group_of_arn(arn: &str) -> &str {
    arn.split(':').nth(6).filter(|name| !name.is_empty()).unwrap_or(arn)
}

/// `host` of `host:port`. An IPv6 address in brackets is a host.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => host,
    }
}

/// A part of a text, borrowed where the text is.
fn slice(text: Cow<'_, str>, range: Range<usize>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
        Cow::Owned(text) => Cow::Owned(text[range].to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_lists_are_sorted_for_the_search() {
        assert!(super::THROTTLING.is_sorted());
        assert!(super::SQL.is_sorted());
    }
}
