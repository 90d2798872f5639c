//! The trace map: the services of traces, and which calls which.
//!
//! X-Ray documents neither how it infers the services that send no segment, nor all of their types. This follows what its maps show: a call of
//! the namespace `aws` is a node of the called service, and one of the namespace `remote` a node of the called host, unless the called service
//! sent a segment with the call as its parent.

use super::{Document, Kind, Trace};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Name and type.
type Key = (String, String);

/// The services in the format of `GetTraceGraph`.
pub(super) fn services(traces: &[Trace]) -> Vec<Value> {
    let mut nodes: BTreeMap<Key, usize> = BTreeMap::new();
    let mut edges: Vec<(usize, usize)> = Vec::new();
    let mut place = |key: Key| {
        let next = nodes.len();
        *nodes.entry(key).or_insert(next)
    };
    for trace in traces {
        for document in &trace.documents {
            let Some(key) = key_of(trace, document) else { continue };
            let called = place(key);
            if let Some(caller) = caller_of(trace, document).map(&mut place)
                && caller != called
                && !edges.contains(&(caller, called))
            {
                edges.push((caller, called));
            }
        }
    }
    let is_called = |place: usize| edges.iter().any(|(_, called)| *called == place);
    let service = |((name, kind), place): (&Key, &usize)| {
        let calls = edges.iter().filter(|(caller, _)| caller == place);
        let calls: Vec<Value> = calls.map(|(_, called)| json!({"ReferenceId": called, "Aliases": []})).collect();
        json!({"ReferenceId": place, "Name": name, "Names": [name], "Type": kind, "Root": !is_called(*place), "Edges": calls})
    };
    let mut services: Vec<Value> = nodes.iter().map(service).collect();
    services.sort_by_key(|service| service["ReferenceId"].as_u64());
    services
}

/// The service that a document shows, if it shows one.
fn key_of(trace: &Trace, document: &Document) -> Option<Key> {
    if document.kind == Kind::Segment {
        return Some((document.name.clone(), document.origin.clone().unwrap_or_else(|| "client".to_owned())));
    }
    // The called service sent its own segment.
    if trace.children(&document.id).iter().any(|child| child.kind == Kind::Segment) {
        return None;
    }
    let resource = |key: &str| document.aws.get(key).and_then(Value::as_str).map(str::to_owned);
    match document.namespace.as_deref()? {
        "aws" => Some(match (resource("queue_url"), resource("table_name")) {
            (Some(queue), _) => (queue, "AWS::SQS::Queue".to_owned()),
            (_, Some(table)) => (table, "AWS::DynamoDB::Table".to_owned()),
            _ => (document.name.clone(), format!("AWS::{}", document.name)),
        }),
        "remote" => Some((document.name.clone(), "remote".to_owned())),
        _ => None,
    }
}

/// The service whose segment a document is below.
fn caller_of(trace: &Trace, document: &Document) -> Option<Key> {
    let mut above = document.parent_id.as_deref().and_then(|id| trace.document(id))?;
    // Parents may form a circle.
    for _ in 0..trace.documents.len() {
        if above.kind == Kind::Segment {
            return key_of(trace, above);
        }
        above = above.parent_id.as_deref().and_then(|id| trace.document(id))?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xray::TraceStore;

    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

    fn graph(documents: &[Value]) -> Vec<(String, String, Vec<u64>)> {
        let store = TraceStore::new();
        for document in documents {
            let mut document = document.clone();
            document["trace_id"] = json!(ROOT);
            document["start_time"] = json!(1.0);
            document["end_time"] = json!(2.0);
            store.put_fetched(document);
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let calls = |service: &Value| {
            let edges = service["Edges"].as_array().cloned().unwrap_or_default();
            edges.iter().filter_map(|edge| edge["ReferenceId"].as_u64()).collect()
        };
        let services = services(&store.traces());
        services.iter().map(|service| (text(&service["Name"]), text(&service["Type"]), calls(service))).collect()
    }

    #[test]
    fn a_call_to_a_queue_is_a_node_that_the_function_calls() {
        let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders";
        let call = json!({"id": "00000000000000c1", "name": "SQS", "start_time": 1.0, "end_time": 2.0, "namespace": "aws",
            "aws": {"operation": "SendMessage", "queue_url": url}});
        let own = json!({"id": "00000000000000b1", "parent_id": "00000000000000a2", "name": "api", "type": "subsegment",
            "subsegments": [call]});
        let graph = graph(&[
            json!({"id": "00000000000000a1", "name": "api", "origin": "AWS::Lambda"}),
            json!({"id": "00000000000000a2", "parent_id": "00000000000000a1", "name": "api", "origin": "AWS::Lambda::Function"}),
            own,
        ]);
        let node = |name: &str, kind: &str, calls: &[u64]| (name.to_owned(), kind.to_owned(), calls.to_vec());
        assert_eq!(
            graph,
            [node("api", "AWS::Lambda", &[1]), node("api", "AWS::Lambda::Function", &[2]), node(url, "AWS::SQS::Queue", &[])]
        );
    }

    #[test]
    fn a_called_service_with_a_segment_is_that_segment() {
        let graph = graph(&[
            json!({"id": "00000000000000a1", "name": "one", "origin": "AWS::Lambda::Function"}),
            json!({"id": "00000000000000b1", "parent_id": "00000000000000a1", "name": "two.example", "type": "subsegment",
                "namespace": "remote"}),
            json!({"id": "00000000000000c1", "parent_id": "00000000000000b1", "name": "two", "origin": "AWS::Lambda"}),
        ]);
        let names: Vec<&str> = graph.iter().map(|(name, _, _)| name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(graph[0].2, [1]);
    }
}
