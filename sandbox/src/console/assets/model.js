// What the documents of a trace mean: its tree, its summary, and the traces that it is linked with.

import { store } from "./store.js";

const cache = new WeakMap();

/** Everything derived from a trace, computed again only when it has changed. */
export function model(trace) {
  const known = cache.get(trace);
  if (known?.version === trace.version) return known;
  const made = build(trace);
  cache.set(trace, made);
  return made;
}

export function modelOf(id) {
  const trace = store.traces.get(id);
  return trace && model(trace);
}

function build(trace) {
  const documents = [...trace.documents.values()];
  const children = new Map();
  const roots = [];
  for (const document of documents) {
    if (document.parent && document.parent !== document.id && trace.documents.has(document.parent)) {
      const list = children.get(document.parent);
      if (list) list.push(document);
      else children.set(document.parent, [document]);
    } else roots.push(document);
  }
  const byStart = (a, b) => a.start - b.start || (a.end ?? Infinity) - (b.end ?? Infinity);
  for (const list of children.values()) list.sort(byStart);
  roots.sort(byStart);
  const order = [];
  const seen = new Set();
  // A stack, as a chain of spans may be thousands deep.
  const visit = (root) => {
    const stack = [[root, 0, undefined]];
    while (stack.length) {
      const [document, depth, owner] = stack.pop();
      if (seen.has(document.id)) continue;
      seen.add(document.id);
      const function_ = document.origin === "AWS::Lambda::Function" || document.origin === "AWS::Lambda" ? document.name : owner;
      order.push({ document, depth, function: function_, children: children.get(document.id)?.length ?? 0 });
      const below = children.get(document.id) ?? [];
      for (let index = below.length - 1; index >= 0; index -= 1) stack.push([below[index], depth + 1, function_]);
    }
  };
  roots.forEach(visit);
  // What is left are circles of parents.
  documents.forEach((document) => seen.has(document.id) || visit(document));
  markKinds(order);
  return { id: trace.id, version: trace.version, trace, order, ...summary(trace, documents, order) };
}

/** The kind of a span decides its color. What is below the work after the response is part of it, and so with initializers. */
function markKinds(order) {
  const path = [];
  for (const row of order) {
    path.length = row.depth;
    const parent = path[row.depth - 1];
    row.kind = kind(row.document, parent);
    path[row.depth] = row.kind;
  }
}

function kind(document, parent) {
  if (document.platform || document.origin === "AWS::Lambda" || document.origin === "AWS::Lambda::Function") return "platform";
  if (document.namespace === "aws") return "aws";
  if (document.namespace === "remote") return "remote";
  if (parent === "init" || document.metadata?.default?.["lambda.stage"] === "init") return "init";
  if (parent === "after" || document.name === "after response") return "after";
  return "own";
}

/** The documents that say how an invocation ended. */
export function isInvocation(document) {
  return document.annotations?.outcome !== undefined;
}

function summary(trace, documents, order) {
  let start = Infinity;
  let end = -Infinity;
  let partial = false;
  const annotations = new Map();
  const flags = { fault: false, error: false, throttle: false };
  for (const document of documents) {
    start = Math.min(start, document.start);
    end = Math.max(end, document.end ?? document.start);
    partial ||= document.open === true;
    for (const flag of Object.keys(flags)) flags[flag] ||= document[flag] === true;
    for (const [key, value] of Object.entries(document.annotations ?? {})) {
      if (!annotations.has(key)) annotations.set(key, new Set());
      annotations.get(key).add(value);
    }
  }
  const calls = [...trace.calls.values()];
  for (const call of calls) {
    if (start > call.at) start = call.at;
    if (!documents.length) end = Math.max(end, call.ended ?? call.at);
    if (call.step === "failed") flags.error ||= !flags.fault;
  }
  const invocations = documents.filter(isInvocation);
  const outcomes = new Set(invocations.map((document) => document.annotations.outcome));
  for (const call of calls) if (call.step === "failed" && !invocations.length) outcomes.add(call.error);
  if (!outcomes.size && calls.length) outcomes.add(calls.every((call) => call.step === "responded") ? "responded" : calls.some((call) => call.ended) ? "failed" : "running");
  const functions = [...new Set([
    ...documents.filter((document) => document.origin?.startsWith("AWS::Lambda")).map((document) => document.name),
    ...calls.map((call) => call.function),
    ...(order.length && !order[0].function ? [order[0].document.name] : []),
  ])];
  const service = documents.find((document) => document.origin === "AWS::Lambda" && document.end !== undefined);
  const http = invocations.find((document) => document.http)?.http;
  return {
    start, end, duration: end - start, partial, ...flags, annotations, outcomes: [...outcomes], functions, calls, invocations,
    response: service ? service.end - service.start : calls[0]?.ended ? calls[0].ended - calls[0].at : undefined,
    status: http?.response?.status,
    sampled: documents.length > 0,
    title: title(documents, invocations, calls),
    count: documents.length,
    culprit: culprit(order),
  };
}

function title(documents, invocations, calls) {
  const own = invocations[0];
  const request = own?.http?.request;
  if (request) {
    const route = own.annotations?.route;
    return typeof route === "string" ? route : `${request.method ?? ""} ${path(request.url)}`.trim();
  }
  const batch = documents.find((document) => document.links && !document.origin && document.name.startsWith("process "));
  if (batch) return `${batch.name} · ${batch.links.length === 1 ? "1 message" : `${batch.links.length} messages`}`;
  if (own?.annotations.trigger) return `${own.name} · ${own.annotations.trigger}`;
  return own?.name ?? documents[0]?.name ?? calls[0]?.function ?? "";
}

function path(url) {
  try {
    return new URL(url).pathname;
  } catch {
    return url ?? "";
  }
}

/** The span that blocked its thread past the deadline: the innermost with that exception. */
function culprit(order) {
  let found;
  for (const row of order) {
    if (!Array.isArray(row.document.cause)) continue;
    if (row.document.cause.some((one) => one.type === "Lifecycle.Blocked") && (!found || row.depth >= found.depth)) found = row;
  }
  return found?.document.id;
}

/** The traces that are linked with this one, over any number of links, by their start; a queue that never rests links very many. */
export function linked(id, most = 60) {
  const found = new Set([id]);
  const open = [id];
  while (open.length && found.size < most) {
    const next = open.shift();
    const neighbors = [];
    for (const document of store.traces.get(next)?.documents.values() ?? []) for (const link of document.links ?? []) neighbors.push(link.trace);
    for (const consumer of store.consumers.get(next)?.values() ?? []) neighbors.push(consumer.trace);
    for (const neighbor of neighbors) {
      if (found.has(neighbor) || !store.traces.has(neighbor) || found.size >= most) continue;
      found.add(neighbor);
      open.push(neighbor);
    }
  }
  const models = [...found].map(modelOf).filter(Boolean);
  return models.sort((a, b) => a.start - b.start);
}

/** All traces, the newest first. */
export function traces() {
  return [...store.traces.values()].filter((trace) => trace.documents.size || trace.calls.size).map(model).sort((a, b) => b.start - a.start);
}
