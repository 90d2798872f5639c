// One trace: its environments, its spans, its log lines, and the details of what is chosen.

import { h, show, user } from "./dom.js";
import { clock, count, ms } from "./format.js";
import { details } from "./details.js";
import { environmentsOf, lane, legend } from "./lanes.js";
import { lineDetails, logGrid, words, level } from "./logs.js";
import { linked, modelOf } from "./model.js";
import { Axis, axisHeader, Waterfall } from "./waterfall.js";
import { badge } from "./traces.js";
import { again } from "./send.js";

export function traceView(at) {
  const [id] = at.rest;
  let span = at.query.get("span");
  let together = at.query.get("linked") === "1";
  let zoomed;
  let menu;
  let seen;
  const axis = new Axis(0, 1);
  const head = h("header", { class: "trace-head" });
  const lanes = h("div", { class: "lanes", role: "group", "aria-label": "Environments" });
  const ruler = h("div", {});
  const panel = h("aside", { class: "details", "aria-label": "Details", tabindex: -1 });
  const logTitle = h("h2", { class: "bar-title" });
  const waterfall = new Waterfall({
    axis,
    choose: (row) => (row.document ? choose(row.document.id, row.trace) : undefined),
    zoom: (row) => row.document && zoom(row.document.start, row.document.end ?? axis.to),
  });
  const logs = logGrid({ choose: chooseLine, withFunction: false });
  const picture = h("div", { class: "picture" }, lanes, ruler, waterfall.element);
  const logPart = h("section", { class: "trace-logs", "aria-label": "Log" }, logTitle, logs.element);
  const element = h("section", { class: "view trace", "aria-label": "Trace" }, head, h("div", { class: "beside" }, h("div", { class: "column" }, picture, logPart), panel));

  function models() {
    return together ? linked(id) : [modelOf(id)].filter(Boolean);
  }

  function find(document, trace = undefined) {
    for (const m of models()) {
      if (trace && m.id !== trace) continue;
      const row = m.order.find((one) => one.document.id === document);
      if (row) return { m, row: { ...row, culprit: m.culprit === document } };
    }
    return undefined;
  }

  function linesOf(document) {
    return models().flatMap((m) => m.trace.lines).filter((line) => line.span === document);
  }

  function remember() {
    const query = new URLSearchParams();
    if (span) query.set("span", span);
    if (together) query.set("linked", "1");
    history.replaceState(null, "", `#/trace/${id}${query.size ? `?${query}` : ""}`);
  }

  function showDetails() {
    const found = span && find(span);
    const m = found?.m ?? modelOf(id);
    if (!m) return;
    details(panel, m, found?.row, () => linesOf(span).slice(0, 50).map((line) =>
      h("button", { type: "button", class: `line ${level(line)}`, onclick: () => { logs.mark(line.index); chooseLine(line); } }, h("span", { class: "time" }, clock(line.at)), h("span", { class: "words" }, words(line)))));
  }

  function choose(document, trace, lines = true) {
    span = document;
    remember();
    const found = find(document, trace);
    if (!found) return;
    waterfall.grid.mark(`${found.m.id}/${document}`);
    if (lines) {
      const first = linesOf(document)[0];
      logs.mark(first?.index);
    }
    showDetails();
  }

  function chooseLine(line) {
    show(panel, lineDetails(line));
    if (!line.span || !find(line.span)) return;
    span = line.span;
    remember();
    const found = find(span);
    waterfall.grid.mark(`${found.m.id}/${span}`);
  }

  function zoom(from, to) {
    const margin = Math.max((to - from) * 0.05, 0.05);
    zoomed = [from - margin, to + margin];
    draw();
  }

  function header(all, m) {
    const links = linked(id);
    // Made once: it may be open while the trace changes.
    if (m.calls.length) menu ??= again(m);
    const total = links.length;
    show(head,
      h("div", { class: "row" }, h("a", { class: "back", href: "#/traces", "aria-label": "All traces" }, "←"), h("h1", {}, user(m.title, 160)), badge(m), m.status ? h("span", { class: "status" }, m.status) : null,
        m.partial ? h("span", { class: "chip" }, "unfinished") : null, h("span", { class: "id grow" }, user(m.id, 80))),
      h("div", { class: "row facts" }, h("span", {}, clock(m.start)), h("span", {}, "response ", h("strong", {}, ms(m.response))), h("span", {}, "in all ", h("strong", {}, ms(m.duration))), h("span", {}, count(m.count, "document")),
        m.functions.map((name) => h("span", { class: "function" }, user(name, 60))), h("span", { class: "grow" }),
        total > 1 ? h("button", { type: "button", id: "linked", "aria-pressed": String(together), onclick: () => { together = !together; zoomed = undefined; remember(); update(true); } }, `Linked traces (${total})`) : null,
        total > 1 ? h("a", { class: "button", href: `#/map?trace=${id}` }, "Map") : null,
        zoomed ? h("button", { type: "button", onclick: () => { zoomed = undefined; draw(); } }, "Show all") : null,
        menu));
  }

  function draw() {
    const all = models();
    const m = modelOf(id);
    const from = Math.min(...all.map((one) => one.start));
    const to = Math.max(...all.map((one) => one.end));
    const margin = Math.max((to - from) * 0.015, 0.02);
    axis.fit(...(zoomed ?? [from - margin, to + margin]));
    header(all, m);
    const requests = new Set(all.flatMap((one) => [...one.calls.map((call) => call.request), ...one.order.flatMap(({ document }) => document.platform && document.aws?.request_id ? [document.aws.request_id] : [])]));
    const environments = environmentsOf(requests);
    show(lanes, environments.map((one) => lane(one, axis, (request) => requests.has(request))), environments.length ? legend() : null);
    show(ruler, axisHeader(axis, "Span"));
    const byTrace = all.flatMap((one) => one.trace.lines).sort((a, b) => a.at - b.at);
    waterfall.set(all, Map.groupBy(byTrace.filter((line) => line.span), (line) => line.span));
    logs.setRows(byTrace);
    logPart.hidden = !byTrace.length;
    logPart.style.setProperty("--lines", byTrace.length);
    show(logTitle, "Log ", h("span", { class: "id" }, count(byTrace.length, "line")));
    showDetails();
  }

  function update(force = false) {
    const all = models();
    if (!all.length) return show(panel, h("p", { class: "empty" }, "The sandbox has no trace with this id."));
    const version = all.map((one) => `${one.id}${one.version}`).join();
    if (seen === version && !force) return undefined;
    const first = seen === undefined;
    seen = version;
    draw();
    if (first && span) choose(span);
    return undefined;
  }

  function query(wanted) {
    span = wanted.get("span");
    if (span) choose(span);
    else showDetails();
  }
  return { element, update, query, title: modelOf(id)?.title };
}
