// Log lines: of one trace beside its spans, or of all functions.

import { h, long, show, user } from "./dom.js";
import { clock, count } from "./format.js";
import { Grid } from "./grid.js";
import { store } from "./store.js";

const LEVELS = { ERROR: "fault", FATAL: "fault", WARN: "error", WARNING: "error", DEBUG: "quiet", TRACE: "quiet" };

export function level(line) {
  return LEVELS[String(line.level ?? "").toUpperCase()] ?? (line.output === "stderr" ? "error" : "");
}

/** The message of a line, and its fields behind it. */
export function words(line) {
  if (line.message === undefined && !line.fields) return [user(line.text, 600)];
  const fields = Object.entries(line.fields ?? {});
  return [user(line.message === undefined ? "" : line.message, 300, { class: "message" }), fields.slice(0, 12).map(([key, value]) =>
    h("span", { class: "pair" }, user(key, 60), "=", user(typeof value === "string" ? value : JSON.stringify(value), 120)))];
}

export function logGrid({ choose, open, height = 26, withFunction = true, label = "Log lines" }) {
  return new Grid({
    label, height, className: "logs", choose, open,
    key: (line) => line.index,
    describe: (line) => ({ class: `${level(line)} ${line.output}` }),
    render: (line) => [
      h("span", { role: "gridcell", class: "time" }, clock(line.at)),
      h("span", { role: "gridcell", class: "level" }, line.output === "platform" ? "Lambda" : user(line.level ?? line.output, 8)),
      withFunction ? h("span", { role: "gridcell", class: "who" }, user(line.function, 40)) : null,
      h("span", { role: "gridcell", class: "words" }, words(line)),
    ],
  });
}

/** The whole of one line. */
export function lineDetails(line) {
  return [
    h("h2", {}, "Log line"),
    h("p", { class: "id" }, clock(line.at), " · ", user(line.function, 60), ` #${line.environment} · ${line.output}`),
    line.trace && store.traces.has(line.trace) ? h("p", {}, h("a", { href: `#/trace/${line.trace}${line.span ? `?span=${line.span}` : ""}` }, "Its span in the trace")) : null,
    line.message === undefined ? null : long(line.message, 4000),
    Object.keys(line.fields ?? {}).length ? h("dl", {}, Object.entries(line.fields).map(([key, value]) => [h("dt", {}, user(key, 120)), h("dd", {}, long(typeof value === "string" ? value : JSON.stringify(value, null, 2), 2000))])) : null,
    h("h3", {}, "As written"), long(line.text, 4000),
  ];
}

export function logsView(at) {
  const text = h("input", { type: "search", id: "log-filter", placeholder: "Text in a line", value: at.query.get("text") ?? "", oninput: () => update() });
  const source = h("select", { "aria-label": "Source", onchange: () => update() }, ["Function and Lambda", "Function", "Lambda"].map((name, index) => h("option", { value: ["", "own", "platform"][index] }, name)));
  const from = h("select", { "aria-label": "Function", onchange: () => update() }, h("option", { value: "" }, "Every function"), store.facts.functions.map((one) => h("option", { value: one.name }, one.name)));
  const summary = h("p", { class: "count", role: "status" });
  const panel = h("aside", { class: "details", "aria-label": "Details" }, h("p", { class: "hint" }, "Choose a line to see all of it."));
  const grid = logGrid({ choose: (line) => show(panel, lineDetails(line)), open: (line) => { if (line.trace) location.hash = `#/trace/${line.trace}${line.span ? `?span=${line.span}` : ""}`; } });
  const empty = h("div", { class: "empty" }, "No log line fits.");
  const element = h("section", { class: "view list split", "aria-label": "Logs" },
    h("h1", { class: "unseen" }, "Logs"),
    h("form", { class: "filter", role: "search", onsubmit: (event) => event.preventDefault() }, h("label", { class: "grow", for: "log-filter" }, h("span", { class: "unseen" }, "Filter"), text), source, from),
    summary, h("div", { class: "beside" }, h("div", { class: "column" }, grid.element, empty), panel));
  let stay = true;
  grid.element.addEventListener("scroll", () => { stay = grid.element.scrollTop + grid.element.clientHeight > grid.element.scrollHeight - 40; });
  function update() {
    const wanted = text.value.toLowerCase();
    const rows = store.lines.filter((line) => (!source.value || (line.output === "platform") === (source.value === "platform")) && (!from.value || line.function === from.value) && (!wanted || line.text.toLowerCase().includes(wanted)));
    grid.setRows(rows);
    summary.textContent = count(rows.length, "line");
    empty.hidden = rows.length > 0;
    grid.element.hidden = !rows.length;
    if (stay) grid.element.scrollTop = grid.element.scrollHeight;
  }
  return { element, update, title: "Logs" };
}
