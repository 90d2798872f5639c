// Everything that a span has.

import { h, long, show, user } from "./dom.js";
import { bytes, ms, shortId } from "./format.js";
import { modelOf } from "./model.js";
import { store } from "./store.js";
import { state, what } from "./waterfall.js";

function rows(pairs) {
  const there = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  if (!there.length) return null;
  return h("dl", {}, there.map(([key, value]) => [h("dt", {}, user(key, 120)), h("dd", {}, value instanceof Node ? value : text(value))]));
}

function text(value) {
  const whole = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return whole.length > 200 || whole.includes("\n") ? long(whole, 2000) : user(whole, 200);
}

function part(title, ...content) {
  const inside = content.flat().filter(Boolean);
  return inside.length ? h("section", {}, h("h3", {}, title), inside) : null;
}

/** The name of a span in another trace, and a link that leads to it. */
export function link(trace, span, word) {
  const m = modelOf(trace);
  const document = m?.trace.documents.get(span);
  const named = document ? [user(document.name, 60), " ", user(what(document), 60), " in "] : ["a span of "];
  if (!m) return h("span", { class: "link gone" }, word, " ", user(shortId(trace)), h("span", { class: "note" }, " (not in this sandbox)"));
  return h("a", { class: "link", href: `#/trace/${trace}?span=${span}` }, h("span", { class: "arrow", "aria-hidden": "true" }, word === "producer" ? "⇠" : "⇢"),
    h("span", {}, h("strong", {}, word), " ", named, user(m.title, 60), " ", h("span", { class: "id" }, user(shortId(trace)))));
}

function exceptions(cause) {
  if (typeof cause === "string") return h("p", {}, "the exception ", user(cause), " of another span");
  return (cause ?? []).map((one) => h("div", { class: "exception" },
    h("p", {}, h("strong", {}, user(one.type ?? "exception", 200)), one.remote ? h("span", { class: "chip" }, "remote") : null),
    one.message === undefined ? null : long(one.message, 2000),
    one.stack?.length ? h("ol", { class: "stack" }, one.stack.slice(0, 100).map((frame) => h("li", {}, user(frame.label ?? "?", 300), " ",
      frame.path ? h("span", { class: "id" }, user(frame.path, 300), frame.line === undefined ? "" : `:${frame.line}`) : null))) : null));
}

function documentDetails(row, onLines) {
  const { document } = row;
  const consumers = [...(store.consumers.get(document.trace)?.values() ?? [])].filter((one) => one.of === document.id);
  const { xray, ...aws } = document.aws ?? {};
  const lines = onLines();
  return [
    h("h2", { class: `span-title ${row.kind} ${state(document)}` }, h("span", { class: "dot", "aria-hidden": "true" }), user(document.name, 300)),
    row.culprit ? h("p", { class: "culprit-note" }, "This span blocked its thread past the deadline.") : null,
    rows([
      ["state", document.open ? "unfinished" : state(document) || "ok"],
      ["took", document.end === undefined ? undefined : ms(document.end - document.start)],
      ["what", what(document)],
      ["origin", document.origin],
      ["namespace", document.namespace],
    ]),
    part("Links", (document.links ?? []).map((one) => link(one.trace, one.id, "producer")), consumers.map((one) => link(one.trace, one.span, "consumer"))),
    part("Exceptions", exceptions(document.cause)),
    part("Annotations", rows(Object.entries(document.annotations ?? {}))),
    part("Log", lines.length ? lines : null),
    part("HTTP", rows([...Object.entries(document.http?.request ?? {}), ...Object.entries(document.http?.response ?? {})])),
    part("SQL", rows(Object.entries(document.sql ?? {}))),
    part("AWS", rows(Object.entries(aws))),
    Object.entries(document.metadata ?? {}).map(([space, values]) => part(space === "default" ? "Metadata" : `Metadata · ${space}`, typeof values === "object" && values !== null && !Array.isArray(values) ? rows(Object.entries(values)) : text(values))),
    part("Warnings", (document.warnings ?? []).map((one) => h("p", {}, user(one, 400)))),
    part("Document", rows([["id", h("code", {}, user(document.id, 100))], ["parent", document.parent ? h("code", {}, user(document.parent, 100)) : undefined], ["trace", h("code", {}, user(document.trace, 100))],
      ["size", document.bytes ? bytes(document.bytes) : undefined], ["sent by", xray ? `${xray.sdk ?? ""} ${xray.sdk_version ?? ""}`.trim() : document.platform ? "Lambda" : undefined]])),
  ];
}

function traceDetails(m) {
  return [
    h("h2", {}, "Trace"),
    rows([["id", h("code", {}, user(m.id, 100))], ["documents", m.count], ["functions", m.functions.join(", ")]]),
    m.calls.map((call) => part("Invocation", rows([
      ["request id", h("code", {}, user(call.request))], ["event", bytes(call.bytes)], ["sampled", call.sampled ? undefined : "no"],
      ["result", call.step === "failed" ? call.error : call.step === "responded" ? `${bytes(call.size)}${call.streamed ? ", streamed" : ""}` : "running"],
      ["response", call.response ?? undefined],
    ]))),
    h("p", { class: "hint" }, "Choose a span to see its annotations, metadata, links and exceptions."),
  ];
}

/** Shows a span, or the trace as a whole. */
export function details(element, m, row, lines) {
  show(element, row ? documentDetails(row, lines) : traceDetails(m));
}
