// Invokes functions: with a sample of an event source, with an event of one's own, or again with the event of a trace, and with a fault.

import { h, show, user } from "./dom.js";
import { clock, ms, shortId } from "./format.js";
import { modelOf } from "./model.js";
import { act, store } from "./store.js";
import { badge } from "./traces.js";

const FAULTS = [
  ["none", "No fault"],
  ["not_sampled", "Not sampled"],
  ["timeout", "Timeout", 1000, "The deadline, in ms after the start"],
  ["kill", "SIGKILL while it runs", 5, "Milliseconds after the event was handed out"],
  ["sigterm", "SIGTERM while it runs", 5, "Milliseconds after the event was handed out"],
  ["duplicate", "Delivered twice"],
  ["daemon_slow", "Slow X-Ray daemon", 1000, "How long after the invocation the daemon stays so, in ms"],
  ["daemon_absent", "No X-Ray daemon", 1000, "How long after the invocation the daemon stays so, in ms"],
];

function faults() {
  return FAULTS.filter(([value]) => store.facts.daemon || !value.startsWith("daemon"));
}

/** What was sent from this page, the newest first. */
const sent = [];

async function invoke(body, word) {
  const { invocations } = await act("api/invoke", body);
  sent.unshift(...invocations.map((one) => ({ ...one, function: body.function, word })));
  sent.length = Math.min(sent.length, 200);
  return invocations;
}

/** The menu that repeats an invocation of a trace. */
export function again(m) {
  const said = h("span", { class: "said", role: "status" });
  const call = m.calls[0];
  const go = async (fault, milliseconds, word) => {
    menu.open = false;
    try {
      const [first] = await invoke({ function: call.function, like: call.request, fault, ms: milliseconds }, word);
      show(said, h("a", { href: `#/trace/${first.trace}`, id: "repeated" }, `${word} → ${shortId(first.trace)}`));
    } catch (error) {
      show(said, h("span", { class: "wrong" }, error.message));
    }
  };
  const menu = h("details", { class: "menu" }, h("summary", { class: "button", id: "again" }, "Invoke again"),
    h("div", { class: "choices", role: "group", "aria-label": "Invoke again" },
      faults().map(([fault, name, milliseconds]) => h("button", { type: "button", "data-fault": fault, onclick: () => go(fault, milliseconds ?? 0, name) }, fault === "none" ? "As it was" : milliseconds ? `${name} (${ms(milliseconds)})` : name)),
      h("a", { class: "button", href: `#/send?function=${encodeURIComponent(call.function)}&request=${call.request}` }, "Change the event …")));
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { menu.open = false; menu.querySelector("summary").focus(); }
  });
  return [said, menu];
}

export function sendView(at) {
  const wanted = at.query.get("function");
  const targets = [...store.facts.functions.map((one) => ({ kind: "function", ...one })), ...store.facts.queues.map((one) => ({ kind: "queue", ...one }))];
  const target = h("select", { id: "target", onchange: () => targetChanged() }, targets.map((one) => h("option", { value: `${one.kind} ${one.name}` }, `${one.name} (${one.kind})`)));
  if (wanted) target.value = `function ${wanted}`;
  const sample = h("select", { id: "sample", onchange: () => fill() });
  const payload = h("textarea", { id: "payload", rows: 16, spellcheck: "false", dir: "ltr" });
  const fault = h("select", { id: "fault", onchange: () => faultChanged() }, faults().map(([value, name]) => h("option", { value }, name)));
  const milliseconds = h("input", { type: "number", id: "ms", min: 0, max: 900_000, value: 1000 });
  const msField = h("label", { class: "labeled", for: "ms" }, h("span", { id: "ms-label" }, ""), milliseconds);
  const times = h("input", { type: "number", id: "times", min: 1, max: 100, value: 1 });
  const group = h("input", { type: "text", id: "group" });
  const groupField = h("label", { class: "labeled", for: "group" }, "Message group", group);
  const wrong = h("p", { class: "wrong", role: "alert" });
  const results = h("ol", { class: "results" });
  const options = h("div", { class: "row" }, h("label", { class: "labeled", for: "fault" }, "Fault", fault), msField, h("label", { class: "labeled", for: "times" }, "At once", times));
  const element = h("section", { class: "view send", "aria-label": "Send event" }, h("h1", {}, "Send an event"),
    targets.length ? null : h("p", { class: "empty" }, "This console shows traces only: it has no function to invoke."),
    h("form", { class: "form", hidden: !targets.length, onsubmit: (event) => { event.preventDefault(); send(); } },
      h("div", { class: "row" }, h("label", { class: "labeled", for: "target" }, "To", target), h("label", { class: "labeled", for: "sample" }, "Sample", sample)),
      h("label", { class: "labeled", for: "payload" }, "Event", payload), options, groupField, wrong, h("div", { class: "row" }, h("button", { type: "submit", class: "primary", id: "send" }, "Send"))),
    h("section", { "aria-label": "Sent" }, h("h2", {}, "Sent from this page"), results));
  let samples = [];

  const chosen = () => targets.find((one) => `${one.kind} ${one.name}` === target.value);

  async function load() {
    const general = await (await fetch("samples.json")).json();
    samples = [...store.facts.samples.map((one) => ({ ...one, own: true })), ...general.map(({ title, event }) => ({ title, event: JSON.stringify(event, null, 2) }))];
    const request = at.query.get("request");
    if (request && wanted) {
      const response = await fetch(`api/event?function=${encodeURIComponent(wanted)}&request=${encodeURIComponent(request)}`);
      const kept = await response.json();
      if (response.ok) samples.unshift({ title: "The event of the trace", target: wanted, own: true, event: pretty(kept.payload), like: request });
      else wrong.textContent = kept.error;
    }
    targetChanged();
  }

  function pretty(text) {
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  }

  function offered() {
    const to = chosen();
    return samples.filter((one) => (one.own ? one.target === to?.name : to?.kind === "function"));
  }

  function targetChanged() {
    const isQueue = chosen()?.kind === "queue";
    options.hidden = isQueue;
    groupField.hidden = !chosen()?.fifo;
    show(sample, offered().map((one, index) => h("option", { value: index }, one.title)), isQueue ? h("option", { value: -1 }, "Empty") : null);
    fill();
    faultChanged();
  }

  function fill() {
    const one = offered()[Number(sample.value)];
    payload.value = one?.event ?? "{}";
  }

  function faultChanged() {
    const [, , usual, label] = FAULTS.find(([value]) => value === fault.value);
    msField.hidden = usual === undefined;
    if (usual !== undefined) {
      milliseconds.value = usual;
      show(document.getElementById("ms-label") ?? msField.firstChild, label);
    }
  }

  async function send() {
    wrong.textContent = "";
    const to = chosen();
    try {
      if (to.kind === "queue") {
        const { message } = await act("api/send", { queue: to.name, body: payload.value, group: to.fifo ? group.value || "group" : undefined });
        sent.unshift({ message, function: to.name, at: Date.now() });
      } else {
        const word = FAULTS.find(([value]) => value === fault.value)[1];
        await invoke({ function: to.name, payload: payload.value, like: offered()[Number(sample.value)]?.like, fault: fault.value, ms: Number(milliseconds.value) || 0, count: Number(times.value) || 1 }, word);
      }
      update();
    } catch (error) {
      wrong.textContent = error.message;
    }
  }

  function update() {
    show(results, sent.map((one) => {
      if (one.message) return h("li", {}, "message ", h("a", { href: `#/messages?queue=${encodeURIComponent(one.function)}` }, one.message.slice(0, 8)), ` to ${one.function}`);
      const call = store.calls.get(one.request);
      const m = modelOf(one.trace);
      const result = call?.step ? (call.step === "failed" ? call.error : "responded") : "running";
      return h("li", { "data-request": one.request }, h("span", { class: "time" }, call ? clock(call.at) : ""), " ", h("span", { class: "function" }, user(one.function, 60)), " ", m ? badge(m) : null, " ", h("a", { href: `#/trace/${one.trace}` }, shortId(one.trace)), " ",
        h("span", { class: "id" }, `${one.word} · ${result}${call?.ended ? ` after ${ms(call.ended - call.at)}` : ""}`));
    }));
    if (!sent.length) show(results, h("li", { class: "hint" }, "Nothing yet."));
  }

  load().catch((error) => { wrong.textContent = error.message; });
  return { element, update, title: "Send event" };
}
