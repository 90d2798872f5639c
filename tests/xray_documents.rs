//! The rules for documents, first of all the ways in which `opentelemetry-aws` loses spans.

#![allow(clippy::format_collect)]

mod xray_support;

use std::borrow::Cow;

use lambda_lifecycle::xray::{DocumentOptions, DocumentWriter, Frame, MAX_DOCUMENT, Redaction, Report};
use opentelemetry::{
    Array, KeyValue,
    trace::{Event, SpanId, SpanKind, Status},
};
use opentelemetry_sdk::trace::SpanData;
use serde_json::{Value, json};
use xray_support::{TRACE, exception, link, millis, span, span_of, translate, translate_with, with_events, with_links};

fn text(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, value.to_owned())
}

fn strings(key: &'static str, values: &[&str]) -> KeyValue {
    let values = values.iter().map(|value| (*value).to_owned().into()).collect();
    KeyValue::new(key, opentelemetry::Value::Array(Array::String(values)))
}

mod spans_that_opentelemetry_aws_loses {
    use super::*;

    #[test]
    fn a_route_in_braces_as_name() {
        let document = translate(&span("GET /orders/{id}"));
        assert_eq!(document["name"], "GET /orders/id");
        assert_eq!(document["metadata"]["otel"]["name"], "GET /orders/{id}");
    }

    #[test]
    fn a_root_that_is_no_server() {
        for kind in [SpanKind::Internal, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer] {
            let mut span = span_of(kind, []);
            span.parent_span_id = SpanId::INVALID;
            let document = translate(&span);
            assert_eq!((&document["type"], &document["parent_id"]), (&Value::Null, &Value::Null));
        }
    }

    #[test]
    fn a_url_of_more_than_250_characters() {
        let url = format!("https://example.com/{}", "ü".repeat(300));
        let span = span_of(SpanKind::Client, [text("url.full", &url), text("http.request.method", "GET")]);
        let (document, written) = translate_with(DocumentOptions::new(), &span, &Frame::of(&span));
        assert_eq!(document["http"]["request"]["url"].as_str().unwrap().chars().count(), 250);
        assert_eq!(document["metadata"]["default"]["url.full"], url, "the whole of it is metadata");
        assert_eq!(written.report.cut, 1);
    }

    #[test]
    fn an_exception_without_an_error_status() {
        let span = with_events(span("price"), vec![exception(vec![text("exception.message", "boom")])]);
        let document = translate(&span);
        assert_eq!(document["cause"]["exceptions"][0]["message"], "boom");
        assert_eq!((&document["fault"], &document["error"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn links_and_what_is_beyond_twenty() {
        let links = (1..=25).map(|id| link(TRACE, id, vec![text("message.id", "m")])).collect();
        let span = with_links(span("batch"), links);
        let (document, written) = translate_with(DocumentOptions::new(), &span, &Frame::of(&span));
        assert_eq!(document["links"].as_array().unwrap().len(), 20);
        assert_eq!(document["links"][0]["attributes"], json!({"message.id": "m"}));
        assert_eq!(document["metadata"]["otel"]["dropped_links"], 5);
        assert_eq!(written.report.left_out, 5);
    }

    #[test]
    fn messaging_attributes() {
        let attributes = [
            text("messaging.system", "aws_sqs"),
            text("messaging.operation.type", "process"),
            KeyValue::new("messaging.batch.message_count", 3),
            text("messaging.message.id", "059f36b4"),
        ];
        let document = translate(&span_of(SpanKind::Consumer, attributes));
        assert_eq!(
            document["metadata"]["default"],
            json!({
                "messaging.system": "aws_sqs", "messaging.operation.type": "process",
                "messaging.batch.message_count": 3, "messaging.message.id": "059f36b4",
            })
        );
        assert_eq!(document["namespace"], Value::Null);
    }
}

#[test]
fn names_are_cut_cleaned_and_never_empty() {
    let name = |name: &str| translate(&span(name))["name"].as_str().unwrap().to_owned();
    assert_eq!(name(""), "span");
    assert_eq!(name("\n\t"), "span");
    assert_eq!(name("a\nb|😀"), "a b");
    assert_eq!(name(&"é".repeat(300)), "é".repeat(200));
    assert_eq!(name("C:\\x\"y"), "C:xy");
}

#[test]
fn a_clock_that_stepped_back_is_clamped() {
    let mut span = span("price");
    span.end_time = millis(5);
    let (document, written) = translate_with(DocumentOptions::new(), &span, &Frame::of(&span));
    assert_eq!(document["end_time"], document["start_time"]);
    let mut expected = Report::default();
    expected.clamped = 1;
    assert_eq!(written.report, expected);
    span.start_time = std::time::UNIX_EPOCH - std::time::Duration::from_secs(1);
    assert_eq!(translate(&span)["start_time"], 0.0);
}

#[test]
fn an_sqs_send_has_what_the_map_needs_to_draw_the_queue() {
    let attributes = [
        text("rpc.system", "aws-api"),
        text("rpc.service", "SQS"),
        text("rpc.method", "SendMessage"),
        text("aws.region", "eu-west-1"),
        text("aws.sqs.queue.url", "https://sqs/orders"),
        text("aws.request_id", "r1"),
        KeyValue::new("http.response.status_code", 200),
    ];
    let mut span = span_of(SpanKind::Producer, attributes);
    span.name = "SQS.SendMessage".into();
    let document = translate(&span);
    assert_eq!((&document["name"], &document["namespace"]), (&json!("SQS"), &json!("aws")));
    assert_eq!(
        document["aws"],
        json!({"operation": "SendMessage", "region": "eu-west-1", "request_id": "r1", "queue_url": "https://sqs/orders"})
    );
    assert_eq!(document["metadata"], Value::Null, "nothing is recorded twice");
}

#[test]
fn the_newest_rpc_convention_has_the_service_in_the_method() {
    let attributes = [text("rpc.system.name", "aws-api"), text("rpc.method", "DynamoDB/GetItem")];
    let document = translate(&span_of(SpanKind::Client, attributes));
    assert_eq!((&document["name"], &document["aws"]["operation"]), (&json!("DynamoDB"), &json!("GetItem")));
}

#[test]
fn throttling_comes_as_400_too() {
    let flags = |attributes: Vec<KeyValue>| {
        let document = translate(&span_of(SpanKind::Client, attributes));
        (document["error"] == true, document["throttle"] == true, document["fault"] == true)
    };
    let call = |code: &str| {
        vec![text("rpc.system", "aws-api"), text("error.type", code), KeyValue::new("http.response.status_code", 400)]
    };
    assert_eq!(flags(call("ThrottlingException")), (true, true, false));
    assert_eq!(flags(call("com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException")), (true, true, false));
    assert_eq!(flags(call("ValidationException")), (true, false, false));
    let not_aws = vec![text("error.type", "ThrottlingException"), KeyValue::new("http.status_code", "503")];
    assert_eq!(flags(not_aws), (false, false, true));
}

#[test]
fn remote_calls_are_named_after_the_other_side() {
    let named = |attributes: Vec<KeyValue>| {
        let document = translate(&span_of(SpanKind::Client, attributes));
        assert_eq!(document["namespace"], "remote");
        document["name"].clone()
    };
    assert_eq!(named(vec![text("peer.service", "payments"), text("server.address", "10.0.0.1")]), "payments");
    assert_eq!(named(vec![text("url.full", "https://user@api.example.com:8443/x?y=1")]), "api.example.com");
    assert_eq!(named(vec![text("url.full", "http://[::1]:80/")]), "::1");
    assert_eq!(named(vec![text("net.peer.name", "old.example.com")]), "old.example.com");
    assert_eq!(named(vec![text("http.host", "example.com:8080"), text("http.target", "/x")]), "example.com");
    assert_eq!(named(vec![]), "call");
}

/// The document of a client span with this name and these attributes.
fn client(name: &str, attributes: &[KeyValue]) -> Value {
    let document = translate(&SpanData { name: name.to_owned().into(), ..span_of(SpanKind::Client, attributes.to_vec()) });
    assert_eq!(document["namespace"], "remote");
    document
}

#[test]
fn a_database_is_named_as_by_xrays_sdks_and_its_queries_differ() {
    let named = |attributes: &[KeyValue]| client("SELECT books", attributes)["name"].clone();
    let (system, database, host) =
        (text("db.system.name", "postgresql"), text("db.namespace", "shop"), text("server.address", "db.internal"));
    assert_eq!(named(std::slice::from_ref(&system)), "SELECT books", "the system alone would name every query alike");
    assert_eq!(named(&[text("db.system", "redis")]), "SELECT books");
    assert_eq!(named(&[system.clone(), database.clone()]), "shop");
    assert_eq!(named(&[system.clone(), host.clone()]), "db.internal");
    assert_eq!(named(&[system.clone(), database.clone(), host.clone()]), "shop@db.internal");
    for url in ["mysql://user:pass@db.example.com:3306/shop", "jdbc:mysql://db.example.com:3306"] {
        assert_eq!(named(&[system.clone(), text("db.name", "shop"), text("db.connection_string", url)]), "shop@db.example.com");
    }

    let located = |more: &[KeyValue]| client("SELECT books", &[&[system.clone(), database.clone(), host.clone()], more].concat());
    let query = |more: &[KeyValue]| located(more)["sql"]["sanitized_query"].clone();
    assert_eq!(located(&[])["metadata"]["otel"]["name"], "SELECT books");
    assert_eq!(located(&[])["sql"]["url"], "db.internal/shop");
    let summary = text("db.query.summary", "SELECT books shelves");
    assert_eq!(
        query(&[text("db.query.text", "select * from books where id = ?"), summary.clone()]),
        "select * from books where id = ?"
    );
    assert_eq!(query(&[summary]), "SELECT books shelves");
    assert_eq!(query(&[text("db.operation.name", "SELECT"), text("db.collection.name", "books")]), "SELECT books");
    assert_eq!(query(&[text("db.operation", "UPDATE"), text("db.sql.table", "books")]), "UPDATE books");
    assert_eq!(query(&[text("db.operation.name", "SELECT")]), Value::Null);
}

#[test]
fn the_services_and_topics_of_one_server_have_different_names() {
    let host = text("server.address", "10.0.0.5");
    let named = |attributes: &[KeyValue]| client("call", &[attributes, std::slice::from_ref(&host)].concat())["name"].clone();
    let grpc = text("rpc.system", "grpc");
    assert_eq!(named(&[grpc.clone(), text("rpc.service", "shop.Prices"), text("rpc.method", "Get")]), "shop.Prices");
    assert_eq!(named(&[text("rpc.system.name", "grpc"), text("rpc.method", "shop.Prices/Get")]), "shop.Prices");
    assert_eq!(named(&[grpc, text("rpc.method", "Get")]), "10.0.0.5");
    let kafka = text("messaging.system", "kafka");
    assert_eq!(named(&[kafka.clone(), text("messaging.destination.name", "orders")]), "orders");
    let temporary = [text("messaging.destination.name", "reply-8d2f"), text("messaging.destination.template", "reply-id")];
    assert_eq!(named(&[&[kafka], &temporary[..]].concat()), "reply-id");
    assert_eq!(named(&[]), "10.0.0.5");
}

#[test]
fn a_span_that_names_an_aws_service_is_a_call_of_it() {
    for kind in [SpanKind::Client, SpanKind::Producer, SpanKind::Internal] {
        let mut span =
            span_of(kind, [text("aws.service", "DynamoDB"), text("aws.operation", "GetItem"), text("aws.region", "eu-west-1")]);
        span.name = "DynamoDB.GetItem".into();
        let document = translate(&span);
        assert_eq!((&document["name"], &document["namespace"]), (&json!("DynamoDB"), &json!("aws")));
        assert_eq!(document["aws"], json!({"operation": "GetItem", "region": "eu-west-1"}));
        assert_eq!(document["metadata"], Value::Null);
    }
    let both = [text("aws.service", "S3"), text("rpc.system", "aws-api"), text("rpc.service", "AmazonS3")];
    assert_eq!(translate(&span_of(SpanKind::Client, both))["name"], "S3");
    let server = translate(&span_of(SpanKind::Server, [text("aws.service", "S3")]));
    assert_eq!((&server["name"], &server["namespace"]), (&json!("call"), &Value::Null));
    assert_eq!(server["metadata"]["default"], json!({"aws.service": "S3"}));
}

#[test]
fn log_groups_are_named_by_arn_and_by_name() {
    let arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/orders:*";
    let groups = |attributes: &[KeyValue], main: bool| {
        let span = span_of(SpanKind::Internal, attributes.to_vec());
        let frame = if main { Frame::of(&span).invocation() } else { Frame::of(&span) };
        let document = translate_with(DocumentOptions::new().log_groups(["/aws/lambda/orders"]), &span, &frame).0;
        assert_eq!(document["metadata"], Value::Null);
        document["aws"]["cloudwatch_logs"].clone()
    };
    let orders = json!({"log_group": "/aws/lambda/orders", "arn": arn});
    let other = "arn:aws:logs:eu-west-1:123456789012:log-group:other";
    assert_eq!(groups(&[text("aws.log.group.arns", arn)], false), json!([orders]));
    assert_eq!(groups(&[text("aws.log.group.arns", arn)], true), json!([orders]), "the function's own group is written once");
    assert_eq!(
        groups(
            &[strings("aws.log.group.arns", &[arn, other]), strings("aws.log.group.names", &["/aws/lambda/orders", "third"])],
            true
        ),
        json!([{"log_group": "third"}, orders, {"log_group": "other", "arn": other}])
    );
    assert_eq!(groups(&[text("aws.log.group.arns", &format!("{arn}&{other}"))], false)[1]["log_group"], "other");
    assert_eq!(groups(&[text("aws.log.group.arns", "nonsense")], false), json!([{"log_group": "nonsense", "arn": "nonsense"}]));
}

#[test]
fn sql_has_a_block_and_other_databases_have_metadata() {
    let query = text("db.query.text", "select 1");
    let sql = translate(&span_of(SpanKind::Client, [text("db.system.name", "postgresql"), query.clone()]));
    assert_eq!(sql["sql"], json!({"database_type": "postgresql", "sanitized_query": "select 1"}));
    assert_eq!(sql["metadata"]["default"], Value::Null);
    let other = translate(&span_of(SpanKind::Client, [text("db.system", "mongodb"), query]));
    assert_eq!(other["sql"], Value::Null);
    assert_eq!(other["metadata"]["default"], json!({"db.system": "mongodb", "db.query.text": "select 1"}));
}

#[test]
fn an_error_has_its_chain_and_its_stack() {
    let stack = "   0: shop::place::h0011223344556677\n             at ./src/main.rs:10:5\n   1: main\n";
    let attributes = vec![
        text("exception.type", "PlaceError"),
        text("exception.message", "no order"),
        text("exception.stacktrace", stack),
        strings("error.chain", &["connection refused", "os error 111"]),
    ];
    let mut span = with_events(span("place"), vec![exception(attributes)]);
    span.status = Status::error("no order");
    let document = translate(&span);
    let exceptions = document["cause"]["exceptions"].as_array().unwrap();
    let messages: Vec<_> = exceptions.iter().map(|exception| exception["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["no order", "connection refused", "os error 111"]);
    assert_eq!(exceptions[0]["cause"], exceptions[1]["id"]);
    assert_eq!(exceptions[1]["cause"], exceptions[2]["id"]);
    assert_eq!(exceptions[0]["stack"], json!([{"path": "./src/main.rs", "line": 10, "label": "shop::place"}, {"label": "main"}]));
    assert_eq!((&document["fault"], &document["metadata"]), (&json!(true), &Value::Null), "nothing is recorded twice");
}

#[test]
fn what_tracing_opentelemetry_records_for_an_error_is_one_exception() {
    let error =
        || vec![text("exception.message", "no order"), strings("exception.stacktrace", &["refused"]), text("error", "no order")];
    let mut span = with_events(span("place"), vec![Event::new("placing failed", millis(1), error(), 0)]);
    span.attributes = error();
    let document = translate(&span);
    let messages: Vec<_> = document["cause"]["exceptions"].as_array().unwrap().iter().map(|one| &one["message"]).collect();
    assert_eq!(messages, ["no order", "refused"]);
    assert_eq!(document["metadata"]["otel"]["events"], json!([{"name": "placing failed", "time": 0.001}]));
}

#[test]
fn a_logged_error_is_an_exception_with_its_message() {
    let logged = |more: &[KeyValue]| {
        let attributes = [&[text("level", "ERROR"), text("target", "orders")], more].concat();
        translate(&with_events(span("place"), vec![Event::new("disk full", millis(1), attributes, 0)]))
    };
    let document = logged(&[]);
    let exceptions = document["cause"]["exceptions"].as_array().unwrap();
    assert_eq!((exceptions.len(), &exceptions[0]["message"]), (1, &json!("disk full")));
    assert_eq!(document["metadata"], Value::Null);
    let document = logged(&[text("error", "EIO"), KeyValue::new("sector", 7)]);
    assert_eq!(document["cause"]["exceptions"][0]["message"], "disk full");
    let event = json!({"name": "disk full", "time": 0.001, "attributes": {"error": "EIO", "sector": 7}});
    assert_eq!(document["metadata"]["otel"]["events"], json!([event]));
    let document = translate(&with_events(span("place"), vec![Event::new("slow", millis(1), vec![text("level", "WARN")], 0)]));
    assert_eq!(document["cause"], Value::Null);
}

#[test]
fn an_unreadable_stack_is_kept_whole_and_a_long_one_is_counted() {
    let event = |stack: &str| exception(vec![text("exception.message", "m"), text("exception.stacktrace", stack)]);
    let document = translate(&with_events(span("s"), vec![event("Traceback: somewhere")]));
    assert_eq!(document["cause"]["exceptions"][0]["stack"], json!([{"label": "Traceback: somewhere"}]));
    let long: String = (0..300).map(|at| format!("{at:4}: f{at}\n             at /src/lib.rs:{at}:1\n")).collect();
    let document = translate(&with_events(span("s"), vec![event(&long)]));
    let exception = &document["cause"]["exceptions"][0];
    assert_eq!((exception["stack"].as_array().unwrap().len(), &exception["truncated"]), (100, &json!(200)));
}

#[test]
fn a_status_says_why_when_no_exception_does() {
    let mut span = span("s");
    span.status = Status::error("deadline exceeded");
    let document = translate(&span);
    assert_eq!(document["cause"]["exceptions"][0]["message"], "deadline exceeded");
    let document = translate(&with_events(span, vec![exception(vec![text("exception.message", "other")])]));
    assert_eq!(document["metadata"]["otel"]["status_description"], "deadline exceeded");
}

#[test]
fn annotations_are_chosen_in_three_ways_and_limited() {
    let mut attributes = vec![
        strings("aws.xray.annotations", &["order.id"]),
        text("order.id", "o-1"),
        KeyValue::new("annotation.total", 2.5),
        KeyValue::new("tenant", true),
        KeyValue::new("nan", f64::NAN),
        strings("list", &["a"]),
        text("plain", "p"),
    ];
    let options = || DocumentOptions::new().annotations(["tenant", "nan", "list"]);
    let span = span_of(SpanKind::Internal, attributes.clone());
    let (document, written) = translate_with(options(), &span, &Frame::of(&span));
    assert_eq!(document["annotations"], json!({"order_id": "o-1", "total": 2.5, "tenant": true, "nan": "NaN"}));
    assert_eq!(document["metadata"]["default"], json!({"list": ["a"], "plain": "p"}));
    assert_eq!((written.report.moved, written.report.sanitized), (1, 1));

    attributes = (0..60).map(|at| KeyValue::new(format!("annotation.k{at}"), at)).collect();
    attributes.push(KeyValue::new("annotation.k.0", 1));
    attributes.push(KeyValue::new("annotation.k_0", 2));
    let document = translate(&span_of(SpanKind::Internal, attributes));
    assert_eq!(document["annotations"].as_object().unwrap().len(), 50);
    assert_eq!(document["metadata"]["default"].as_object().unwrap().len(), 12);
}

#[test]
fn the_last_value_of_a_key_counts_and_the_current_name_beats_the_old() {
    let attributes = [
        text("k", "first"),
        text("http.request.method", "GET"),
        text("http.method", "get"),
        text("k", "last"),
        text("AWS.x", "y"),
    ];
    let document = translate(&span_of(SpanKind::Client, attributes));
    assert_eq!(document["http"]["request"]["method"], "GET");
    assert_eq!(document["metadata"]["default"], json!({"k": "last", "http.method": "get", "_AWS.x": "y"}));
}

#[test]
fn the_invocations_document_names_logs_library_and_what_is_missing() {
    let span = span("orders");
    let options = DocumentOptions::new().log_groups(["/aws/lambda/orders"]).sdk("lambda-lifecycle", "0.1.0");
    let (document, _) = translate_with(options, &span, &Frame::of(&span).invocation().left_out(7));
    assert_eq!(
        document["aws"],
        json!({
            "xray": {"sdk": "lambda-lifecycle", "sdk_version": "0.1.0"},
            "cloudwatch_logs": [{"log_group": "/aws/lambda/orders"}],
        })
    );
    assert_eq!(document["metadata"]["lambda_lifecycle"]["spans_left_out"], 7);
}

#[test]
fn a_document_is_shed_in_order_until_it_fits() {
    let shed = |span| {
        let (document, written) = translate_with(DocumentOptions::new(), &span, &Frame::of(&span));
        assert!(written.len <= MAX_DOCUMENT);
        assert_eq!(written.report.truncated, 1);
        (document["metadata"]["lambda_lifecycle"]["truncated"].clone(), document)
    };
    let (truncated, document) = shed(span_of(SpanKind::Internal, [text("body", &"x".repeat(100_000)), text("k", "v")]));
    assert_eq!(truncated, json!(["values"]));
    assert_eq!(document["metadata"]["default"]["k"], "v", "one huge value does not cost the others");

    let many = (0..1_000).map(|at| KeyValue::new(format!("key{at}"), "x".repeat(400)));
    let annotated = [text("annotation.kept", "yes")];
    let (truncated, document) = shed(span_of(SpanKind::Internal, many.chain(annotated)));
    assert_eq!(truncated, json!(["values", "metadata"]));
    assert_eq!(document["annotations"], json!({"kept": "yes"}));

    let stack: String = (0..100).map(|at| format!("{at}: {}\n", "f".repeat(250))).collect();
    let event = || exception(vec![text("exception.message", "boom"), text("exception.stacktrace", &stack)]);
    let (truncated, document) = shed(with_events(span("s"), (0..10).map(|_| event()).collect()));
    assert_eq!(truncated, json!(["values", "metadata", "stacks"]));
    assert_eq!(document["cause"]["exceptions"].as_array().unwrap().len(), 10);

    let huge = (0..50).map(|at| KeyValue::new(format!("annotation.{at}"), "\u{1}".repeat(1_000)));
    let (truncated, document) = shed(with_links(span_of(SpanKind::Internal, huge), vec![link(TRACE, 1, vec![])]));
    assert_eq!(truncated, json!(["values", "metadata", "stacks", "annotations"]));
    assert_eq!(document["links"].as_array().unwrap().len(), 1);
}

#[test]
fn a_span_that_is_too_much_everywhere_still_fits() {
    let worst = "\u{1}".repeat(5_000);
    let mut span =
        with_events(span(&"ü".repeat(300)), (0..200).map(|_| exception(vec![text("exception.message", &worst)])).collect());
    span.status = Status::error(worst.clone());
    span.attributes = [
        "http.request.method",
        "url.full",
        "user_agent.original",
        "client.address",
        "user.id",
        "aws.operation",
        "aws.account_id",
        "aws.region",
        "aws.request_id",
        "aws.extended_request_id",
        "aws.queue_url",
        "aws.s3.bucket",
        "aws.s3.key",
        "aws.sns.topic.arn",
        "aws.kinesis.stream_name",
        "faas.invoked_name",
        "db.user",
        "db.connection_string",
        "db.query.text",
        "server.address",
        "db.namespace",
        "error.type",
    ]
    .map(|key| text(key, &worst))
    .to_vec();
    span.attributes.push(text("db.system", "mysql"));
    span.attributes.push(strings("aws.dynamodb.table_names", &[worst.as_str(); 100]));
    span.attributes.push(strings("aws.log.group.names", &[worst.as_str(); 100]));
    for kind in [SpanKind::Client, SpanKind::Server, SpanKind::Internal] {
        span.span_kind = kind;
        let (document, written) =
            translate_with(DocumentOptions::new(), &span, &Frame::of(&span).invocation().left_out(u32::MAX));
        assert!(written.len <= MAX_DOCUMENT, "{}", written.len);
        assert_eq!(document["metadata"]["lambda_lifecycle"]["truncated"].as_array().unwrap().len(), 6);
    }
}

#[test]
fn no_secret_leaves_by_any_way() {
    const SECRET: &str = "s3cr3t";
    let secret = |key: &'static str| text(key, &format!("a {SECRET} b"));
    let long = format!("{} {SECRET}", "x".repeat(2_000));
    let keys = [
        "plain",
        "annotation.a",
        "url.full",
        "http.request.method",
        "user_agent.original",
        "client.address",
        "server.address",
        "rpc.service",
        "rpc.method",
        "aws.operation",
        "aws.region",
        "aws.request_id",
        "aws.sqs.queue.url",
        "aws.table_name",
        "db.system.name",
        "db.query.text",
        "db.user",
        "db.namespace",
        "peer.service",
        "error.type",
        "user.id",
        "url.path",
        "http.host",
        "url.query",
        "aws.log.group.names",
        "aws.log.group.arns",
        "aws.service",
        "db.query.summary",
        "db.operation.name",
        "db.collection.name",
        "db.connection_string",
        "messaging.destination.template",
        "messaging.destination.name",
        "exception.message",
    ];
    let redact = |_: &str, value: &str| match value.find(SECRET) {
        Some(_) if value.len() > 1_000 => Redaction::Remove,
        Some(_) => Redaction::Replace(Cow::Borrowed("***")),
        None => Redaction::Keep,
    };
    for kind in [SpanKind::Client, SpanKind::Server, SpanKind::Internal] {
        for only in keys.iter().map(Some).chain([None]) {
            let mut span =
                span_of(kind.clone(), keys.iter().filter(|key| only.is_none_or(|only| only == *key)).map(|key| secret(key)));
            span.attributes.push(strings("list", &["fine", SECRET]));
            span.attributes.push(KeyValue::new("long", long.clone()));
            span.name = format!("{SECRET} name").into();
            span.status = Status::error(format!("status {SECRET}"));
            let error = vec![
                secret("exception.type"),
                secret("exception.message"),
                text("exception.stacktrace", &format!("0: {SECRET}\n")),
                strings("error.chain", &[SECRET]),
                secret("more"),
            ];
            span.events.events = vec![exception(error), Event::new(SECRET, millis(1), vec![secret("detail")], 0)];
            span.links.links = vec![link(TRACE, 1, vec![secret("linked")])];
            let mut bytes = Vec::new();
            let options = DocumentOptions::new().redact(redact);
            let written = DocumentWriter::new(options).write(&span, &Frame::of(&span), &mut bytes);
            let text = String::from_utf8(bytes).unwrap();
            assert!(!text.contains(SECRET), "{text}");
            assert!(written.report.redacted > 8 && text.contains("fine"), "{text}");
            let (open, _) = translate_with(DocumentOptions::new(), &span, &Frame::of(&span));
            assert!(open.to_string().contains(SECRET), "without a redactor it would have left");
        }
    }
}

#[test]
fn numbers_and_lists_are_shown_to_the_redactor_too() {
    let redact = |_: &str, value: &str| match value {
        "4111" => Redaction::Replace(Cow::Borrowed("card")),
        "true" => Redaction::Remove,
        _ => Redaction::Keep,
    };
    let numbers = opentelemetry::Value::Array(Array::I64(vec![1, 4111]));
    let attributes =
        [KeyValue::new("n", 4111), KeyValue::new("b", true), KeyValue::new("list", numbers), KeyValue::new("kept", 5)];
    let span = span_of(SpanKind::Internal, attributes);
    let document = translate_with(DocumentOptions::new().redact(redact), &span, &Frame::of(&span)).0;
    assert_eq!(document["metadata"]["default"], json!({"n": "card", "list": ["1", "card"], "kept": 5}));
}
