// The records of the sandbox, as they come: a snapshot first, then what is added to it.

export const store = {
  facts: { functions: [], queues: [], samples: [] },
  traces: new Map(), // trace id → { id, documents: id → document, calls, version }
  calls: new Map(), // request id → call
  environments: new Map(), // function#number → { function, number, events }
  lines: [],
  messages: new Map(), // message id → message
  consumers: new Map(), // trace id → links from other traces
  version: 0,
  live: "connecting",
};

const listeners = new Set();
let scheduled = false;

/** Calls back when something was added, once a frame at most. */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function changed() {
  store.version += 1;
  if (scheduled) return;
  scheduled = true;
  // A page in the background has no frames.
  const run = () => {
    scheduled = false;
    for (const listener of [...listeners]) listener();
  };
  if (document.visibilityState === "visible") requestAnimationFrame(run);
  else setTimeout(run, 200);
}

function trace(id) {
  let found = store.traces.get(id);
  if (!found) store.traces.set(id, (found = { id, documents: new Map(), calls: new Map(), lines: [], version: 0 }));
  found.version += 1;
  return found;
}

function addDocument(document) {
  const documents = trace(document.trace).documents;
  const known = documents.get(document.id);
  // UDP keeps no order: the news that something started does not undo that it ended.
  if (known && document.open && !known.open) return;
  documents.set(document.id, document);
  for (const link of document.links ?? []) {
    if (link.trace === document.trace) continue;
    let consumers = store.consumers.get(link.trace);
    if (!consumers) store.consumers.set(link.trace, (consumers = new Map()));
    const key = `${document.trace} ${document.id} ${link.id}`;
    if (!consumers.has(key)) {
      consumers.set(key, { trace: document.trace, span: document.id, of: link.id, name: document.name });
      if (store.traces.has(link.trace)) trace(link.trace);
    }
  }
}

function addEvent(event) {
  const key = `${event.function}#${event.environment}`;
  let found = store.environments.get(key);
  if (!found) store.environments.set(key, (found = { key, function: event.function, number: event.environment, events: [] }));
  found.events.push(event);
  const request = event.request && store.calls.get(event.request);
  if (request) trace(request.trace);
}

function addLine(line) {
  line.index = store.lines.length;
  if (!line.request && line.output !== "platform") line.request = running(line);
  if (!line.trace && line.request) line.trace = store.calls.get(line.request)?.trace;
  store.lines.push(line);
  if (line.trace) trace(line.trace).lines.push(line);
}

/** The invocation that an environment ran when it wrote a line without ids; none where there may be several. */
function running(line) {
  const fact = store.facts.functions.find((one) => one.name === line.function);
  if (fact?.managed) return undefined;
  const events = store.environments.get(`${line.function}#${line.environment}`)?.events ?? [];
  let request;
  for (const event of events) {
    if (event.at > line.at) break;
    if (event.kind === "event_out") request = event.request;
    if (event.kind === "frozen") request = undefined;
  }
  return request;
}

function addCall(call) {
  const known = store.calls.get(call.request);
  const whole = known ?? { function: call.function, request: call.request, trace: call.trace, at: call.at };
  if (call.step === "received") Object.assign(whole, { bytes: call.bytes, sampled: call.sampled ?? false });
  else Object.assign(whole, { step: call.step, ended: call.at, error: call.error, response: call.response, size: call.bytes });
  store.calls.set(call.request, whole);
  trace(call.trace).calls.set(call.request, whole);
}

function addMessage(event) {
  let message = store.messages.get(event.message);
  if (!message) {
    message = { id: event.message, queue: event.queue, sent: event.at, state: "visible", count: 0, events: [], visible: event.at };
    store.messages.set(event.message, message);
  }
  if (event.kind === "sent" && message.events.some((one) => one.kind === "sent")) return;
  message.events.push(event);
  if (event.visible !== undefined) message.visible = event.visible;
  if (event.kind === "sent") Object.assign(message, { body: event.body ?? "", bytes: event.bytes, group: event.group, header: event.header, queue: event.queue });
  if (event.kind === "received") Object.assign(message, { count: event.count, state: "in flight" });
  if (event.kind === "deleted") message.state = "deleted";
  if (event.kind === "dead") Object.assign(message, { state: "dead", queue: event.to, from: event.queue });
}

const ADDERS = { documents: addDocument, calls: addCall, events: addEvent, lines: addLine, messages: addMessage };

/** Takes what was added. Calls and events come before lines, which are assigned to them. */
export function apply(added) {
  for (const [key, add] of Object.entries(ADDERS)) for (const one of added[key] ?? []) add(one);
  changed();
}

function setLive(state) {
  if (store.live === state) return;
  store.live = state;
  changed();
}

export async function connect() {
  const response = await fetch("api/snapshot");
  if (!response.ok) throw new Error(`the sandbox responded with ${response.status}: ${await response.text()}`);
  const snapshot = await response.json();
  store.facts = snapshot.facts;
  apply(snapshot);
  const updates = new EventSource(`api/updates?since=${encodeURIComponent(snapshot.cursor)}`);
  updates.onopen = () => setLive("live");
  updates.onmessage = (message) => apply(JSON.parse(message.data));
  updates.onerror = () => setLive("ended");
  // Another sandbox listens at this address now.
  updates.addEventListener("reset", () => location.reload());
}

/** Asks the sandbox to do something; the error is its message. */
export async function act(path, body) {
  const response = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const result = await response.json().catch(() => ({ error: `the sandbox responded with ${response.status}` }));
  if (!response.ok) throw new Error(result.error ?? `the sandbox responded with ${response.status}`);
  return result;
}
