// The list of traces, and its filter.

import { h, show, user } from "./dom.js";
import { clock, count, ms, shortId } from "./format.js";
import { Grid } from "./grid.js";
import { parse } from "./filter.js";
import { traces } from "./model.js";
import { store } from "./store.js";

export function flag(m) {
  if (m.fault) return "fault";
  if (m.throttle) return "throttle";
  if (m.error) return "error";
  if (m.partial) return "open";
  return "ok";
}

const GOOD = new Set(["responded"]);

/** How a trace ended, as a word with a color. A response may still be one that had faults on its way. */
export function badge(m) {
  const word = m.outcomes.join(", ") || "–";
  const good = m.outcomes.every((outcome) => GOOD.has(outcome));
  const more = good && flag(m) !== "ok" ? h("span", { class: `badge ${flag(m)}` }, flag(m) === "open" ? "unfinished" : flag(m)) : null;
  const color = !good ? (flag(m) === "ok" ? "open" : flag(m)) : "ok";
  return [h("span", { class: `badge ${color}` }, user(word, 60)), more];
}

function chips(m) {
  const HIDDEN = new Set(["outcome", "version", "trigger", "route", "cold_start", "message_id", "producer_trace_id"]);
  const found = [];
  if (m.annotations.get("cold_start")?.has(true)) found.push(h("span", { class: "chip cold" }, "cold start"));
  if (!m.sampled) found.push(h("span", { class: "chip" }, "not sampled"));
  for (const [key, values] of m.annotations) {
    if (HIDDEN.has(key) || found.length > 5) continue;
    for (const value of [...values].slice(0, 2)) found.push(h("span", { class: "chip" }, user(key, 40), "=", user(String(value), 40)));
  }
  return found;
}

export function tracesView(at) {
  const text = h("input", { type: "search", id: "filter", placeholder: 'annotation[sku] = "tea" AND duration > 0.05', spellcheck: "false", autocomplete: "off",
    value: at.query.get("filter") ?? "", "aria-describedby": "filter-help", oninput: () => remember() });
  const select = (id, label, name) => h("select", { id, "aria-label": label, onchange: () => remember() }, h("option", { value: "" }, name));
  const functions = select("function", "Function", "Every function");
  const outcomes = select("outcome", "Outcome", "Every outcome");
  const faults = h("input", { type: "checkbox", id: "faults", onchange: () => remember(), checked: at.query.get("faults") === "1" });
  const slow = h("input", { type: "number", id: "slow", min: 0, step: "any", "aria-label": "At least this many milliseconds", placeholder: "0", value: at.query.get("ms") ?? "", oninput: () => remember() });
  const help = h("p", { class: "hint", id: "filter-help" });
  const summary = h("p", { class: "count", role: "status" });
  let longest = 1;
  const grid = new Grid({
    label: "Traces", height: 46, className: "traces",
    key: (m) => m.id,
    open: (m) => { location.hash = `#/trace/${m.id}`; },
    render: (m) => [
      h("span", { role: "gridcell", class: "time" }, clock(m.start)),
      h("span", { role: "gridcell", class: "what" }, h("a", { href: `#/trace/${m.id}`, tabindex: -1 }, user(m.title, 120)), h("span", { class: "id" }, user(shortId(m.id)))),
      h("span", { role: "gridcell", class: "who" }, m.functions.map((name) => h("span", { class: "function" }, user(name, 40)))),
      h("span", { role: "gridcell", class: "how" }, badge(m), m.status ? h("span", { class: "status" }, m.status) : null),
      h("span", { role: "gridcell", class: "tags" }, chips(m)),
      h("span", { role: "gridcell", class: "took" }, ms(m.response), h("span", { class: "meter", "aria-hidden": "true" }, h("span", { class: flag(m), style: { width: `${Math.max(1, (100 * m.duration) / longest)}%` } }))),
      h("span", { role: "gridcell", class: "whole" }, ms(m.duration)),
    ],
    choose: () => {},
  });
  const head = h("div", { class: "head traces", "aria-hidden": "true" },
    ["Time", "Trace", "Function", "Outcome", "Annotations", "Response", "In all"].map((name) => h("span", {}, name)));
  const empty = h("div", { class: "empty" });
  const element = h("section", { class: "view list", "aria-label": "Traces" },
    h("h1", { class: "unseen" }, "Traces"),
    h("form", { class: "filter", role: "search", onsubmit: (event) => event.preventDefault() },
      h("label", { class: "grow", for: "filter" }, h("span", { class: "unseen" }, "Filter"), text),
      functions, outcomes,
      h("label", { class: "field" }, h("span", {}, "≥"), slow, h("span", {}, "ms")),
      h("label", { class: "field" }, faults, "Only faults and errors")),
    help, summary, head, grid.element, empty);
  const wanted = { function: at.query.get("function") ?? "", outcome: at.query.get("outcome") ?? "" };

  function options(element, values, chosen) {
    if (element.length === values.length + 1) return;
    show(element, element.options[0], values.map((value) => h("option", { value }, user(value, 80).textContent)));
    element.value = chosen;
  }

  function remember() {
    wanted.function = functions.value;
    wanted.outcome = outcomes.value;
    const query = new URLSearchParams();
    for (const [key, value] of [["filter", text.value], ["function", functions.value], ["outcome", outcomes.value], ["ms", slow.value], ["faults", faults.checked ? "1" : ""]]) if (value) query.set(key, value);
    history.replaceState(null, "", `#/traces${query.size ? `?${query}` : ""}`);
    update();
  }

  function update() {
    const all = traces();
    options(functions, [...new Set(all.flatMap((m) => m.functions))].sort(), wanted.function);
    options(outcomes, [...new Set(all.flatMap((m) => m.outcomes))].sort(), wanted.outcome);
    const { test, error } = parse(text.value);
    text.setAttribute("aria-invalid", error ? "true" : "false");
    show(help, error ? h("span", { class: "wrong" }, `Not a filter expression: ${error}`) :
      "Text, or a filter expression of X-Ray: annotation[key], service(\"name\"), fault, error, throttle, ok, responsetime, duration, http.status, outcome, AND, OR, !");
    const least = Number(slow.value) || 0;
    const rows = all.filter((m) => test(m) && (!wanted.function || m.functions.includes(wanted.function)) && (!wanted.outcome || m.outcomes.includes(wanted.outcome))
      && m.duration >= least && (!faults.checked || m.fault || m.error || m.throttle));
    longest = Math.max(1, ...rows.map((m) => m.duration));
    grid.setRows(rows);
    summary.textContent = rows.length === all.length ? count(all.length, "trace") : `${rows.length} of ${count(all.length, "trace")}`;
    head.hidden = grid.element.hidden = rows.length === 0;
    empty.hidden = rows.length > 0;
    if (!rows.length) show(empty, all.length ? "No trace fits the filter." : ["No traces yet. ", store.facts.functions.length ? h("a", { href: "#/send" }, "Send an event") : null]);
  }
  return { element, update, query: () => {}, title: "Traces" };
}
