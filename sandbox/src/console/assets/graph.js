// Who calls whom: the services, queues and topics that the documents of traces name, and what their links say.

import { isInvocation } from "./model.js";
import { store } from "./store.js";

function last(text) {
  return String(text).split(/[/:]/).pop();
}

/** The node that a call of an AWS service or of another host leads to. */
function callee(document) {
  const aws = document.aws ?? {};
  if (document.namespace === "remote") return { id: `remote ${document.name}`, kind: "remote", name: document.name };
  if (aws.queue_url) return { id: `queue ${last(aws.queue_url)}`, kind: "queue", name: last(aws.queue_url) };
  if (aws.topic_arn) return { id: `topic ${last(aws.topic_arn)}`, kind: "topic", name: last(aws.topic_arn) };
  const resource = aws.table_name ?? aws.bucket_name ?? aws.function_name;
  const name = resource ? `${document.name} ${last(resource)}` : document.name;
  return { id: `aws ${name}`, kind: "aws", name };
}

export function graph(models) {
  const nodes = new Map();
  const edges = new Map();
  const node = ({ id, kind, name }) => {
    if (!nodes.has(id)) nodes.set(id, { id, kind, name, count: 0, times: [], fault: 0, error: 0, throttle: 0, traces: new Set() });
    return nodes.get(id);
  };
  const edge = (from, to) => {
    const id = `${from}\n${to}`;
    if (!edges.has(id)) edges.set(id, { id, from, to, count: 0, times: [], fault: 0, error: 0, throttle: 0, traces: new Set() });
    return edges.get(id);
  };
  const tally = (target, trace, took, flags) => {
    target.count += 1;
    if (took !== undefined) target.times.push(took);
    if (flags.fault) target.fault += 1;
    else if (flags.throttle) target.throttle += 1;
    else if (flags.error) target.error += 1;
    target.traces.add(trace);
  };
  for (const m of models) {
    const perMessage = m.order.some(({ document }) => document.annotations?.message_id !== undefined);
    let run;
    const finish = () => {
      if (!run) return;
      const target = node({ id: `function ${run.name}`, kind: "function", name: run.name });
      tally(target, m.id, run.took, run.flags);
      if (run.from) tally(edge(run.from, target.id), m.id, run.took, run.flags);
      run = undefined;
    };
    for (const row of m.order) {
      const { document } = row;
      if (run && row.depth <= run.depth) finish();
      if (document.origin === "AWS::Lambda") {
        finish();
        const parent = document.parent && m.trace.documents.get(document.parent);
        const owner = parent && m.order.find((one) => one.document === parent)?.function;
        const from = owner ? `function ${owner}` : document.links?.length ? undefined : node({ id: "client", kind: "client", name: "Client" }).id;
        if (from === "client") node({ id: "client", kind: "client", name: "Client" }).count += 1;
        run = { name: document.name, depth: row.depth, took: document.end === undefined ? undefined : document.end - document.start, from, flags: { ...pick(document) } };
      } else if (run && (isInvocation(document) || document.origin === "AWS::Lambda::Function")) {
        for (const flag of ["fault", "error", "throttle"]) run.flags[flag] ||= document[flag];
      }
      const owner = row.function ? `function ${row.function}` : undefined;
      if (owner && (document.namespace === "aws" || document.namespace === "remote")) {
        node({ id: owner, kind: "function", name: row.function });
        const target = node(callee(document));
        const took = document.end === undefined ? undefined : document.end - document.start;
        tally(target, m.id, took, document);
        tally(edge(owner, target.id), m.id, took, document);
      }
      if (owner && document.links?.length && (perMessage ? document.annotations?.message_id !== undefined : document.origin === "AWS::Lambda")) {
        for (const link of document.links) {
          const producer = store.traces.get(link.trace)?.documents.get(link.id);
          const from = producer ? node(callee(producer)) : node({ id: "unknown", kind: "client", name: "Another sender" });
          node({ id: owner, kind: "function", name: row.function });
          const waited = producer?.end === undefined ? undefined : Math.max(0, document.start - producer.end);
          tally(edge(from.id, owner), m.id, waited, document);
          edge(from.id, owner).waits = true;
        }
      }
    }
    finish();
    if (!m.sampled) for (const call of m.calls) {
      const target = node({ id: `function ${call.function}`, kind: "function", name: call.function });
      tally(target, m.id, call.ended && call.ended - call.at, { error: call.step === "failed" });
    }
  }
  return { nodes: [...nodes.values()], edges: [...edges.values()] };
}

function pick({ fault, error, throttle }) {
  return { fault, error, throttle };
}

/** A column for each node, so that edges lead to the right, and a row in it. */
export function place({ nodes, edges }) {
  const column = new Map(nodes.map((node) => [node.id, 0]));
  // A graph with a circle has no columns without end.
  for (let round = 0; round < nodes.length; round += 1) {
    let moved = false;
    for (const { from, to } of edges) {
      const wanted = column.get(from) + 1;
      if (from !== to && column.get(to) < wanted && wanted < nodes.length) {
        column.set(to, wanted);
        moved = true;
      }
    }
    if (!moved) break;
  }
  const columns = [];
  for (const node of nodes) (columns[column.get(node.id)] ??= []).push(node);
  const filled = columns.filter(Boolean);
  const row = new Map();
  for (const nodes of filled) {
    const wanted = new Map(nodes.map((node) => {
      const before = edges.filter((edge) => edge.to === node.id && row.has(edge.from)).map((edge) => row.get(edge.from));
      return [node.id, before.length ? before.reduce((sum, one) => sum + one, 0) / before.length : 0];
    }));
    nodes.sort((a, b) => wanted.get(a.id) - wanted.get(b.id) || a.name.localeCompare(b.name));
    nodes.forEach((node, index) => row.set(node.id, index - (nodes.length - 1) / 2));
  }
  return filled;
}
