// The spans of one trace or several, each with a bar on one time axis.

import { h, user } from "./dom.js";
import { clock, mark, ms, step } from "./format.js";
import { Grid } from "./grid.js";

/** The times that a picture shows, and where a moment is in it. */
export class Axis {
  constructor(from, to) {
    this.fit(from, to);
  }
  fit(from, to) {
    this.from = from;
    this.to = Math.max(to, from + 0.001);
  }
  get length() {
    return this.to - this.from;
  }
  percent(at) {
    return (100 * (at - this.from)) / this.length;
  }
  marks() {
    const distance = step(this.length, 8);
    const found = [];
    for (let at = 0; at <= this.length; at += distance) found.push(at);
    return found;
  }
}

export function axisHeader(axis, label) {
  return h("div", { class: "axis", "aria-hidden": "true" }, h("span", { class: "label" }, label), h("span", { class: "track" },
    axis.marks().map((at) => h("span", { class: "mark", style: { left: `${axis.percent(axis.from + at)}%` } }, mark(at)))));
}

/** A bar from one moment to another, inside of the axis. */
export function bar(axis, from, to, props, ...children) {
  const left = Math.max(0, axis.percent(from));
  const right = Math.min(100, axis.percent(to));
  if (right < 0 || left > 100) return null;
  return h("span", { ...props, style: { left: `${left}%`, width: `${Math.max(0, right - left)}%` } }, ...children);
}

export function state(document) {
  return document.fault ? "fault" : document.throttle ? "throttle" : document.error ? "error" : "";
}

export function what(document) {
  const operation = document.aws?.operation;
  const resource = ["queue_url", "table_name", "topic_arn", "bucket_name", "function_name"].map((key) => document.aws?.[key]).find((value) => typeof value === "string");
  const parts = [operation, resource?.split(/[/:]/).pop()].filter((part) => typeof part === "string");
  const request = document.http?.request;
  if (!parts.length && request) parts.push(`${request.method ?? ""} ${document.metadata?.default?.["http.route"] ?? request.url ?? ""}`.trim());
  const status = document.http?.response?.status;
  return [parts.join(" · "), status && parts.length ? `→ ${status}` : ""].filter(Boolean).join(" ");
}

export class Waterfall {
  constructor({ axis, choose, zoom }) {
    this.axis = axis;
    this.folded = new Set();
    this.grid = new Grid({
      label: "Spans", role: "treegrid", height: 30, className: "waterfall",
      key: (row) => row.key,
      choose, open: zoom,
      fold: (row, wanted) => row.document && this.fold(row.document.id, wanted),
      render: (row) => (row.document ? this.span(row) : this.title(row)),
      describe: (row) => ({ "aria-level": row.depth + 1, "aria-expanded": row.children ? String(!this.folded.has(row.document?.id)) : undefined,
        class: row.document ? `${row.kind} ${state(row.document)} ${row.culprit ? "culprit" : ""}` : "title" }),
    });
    this.element = this.grid.element;
  }

  /** The rows of these traces: with several, each under a row with its title. */
  set(models, logs) {
    this.models = models;
    this.logs = logs;
    this.refresh();
  }

  refresh() {
    const rows = [];
    for (const m of this.models) {
      const extra = this.models.length > 1 ? 1 : 0;
      if (extra) rows.push({ key: m.id, model: m, depth: 0 });
      let hidden = Infinity;
      for (const row of m.order) {
        if (row.depth > hidden) continue;
        hidden = this.folded.has(row.document.id) ? row.depth : Infinity;
        rows.push({ ...row, depth: row.depth + extra, key: `${m.id}/${row.document.id}`, trace: m.id, culprit: m.culprit === row.document.id });
      }
    }
    this.grid.setRows(rows);
  }

  fold(id, wanted) {
    if (wanted) this.folded.add(id);
    else this.folded.delete(id);
    this.refresh();
  }

  title(row) {
    const m = row.model;
    return h("span", { role: "gridcell", class: "trace-title" }, h("a", { href: `#/trace/${m.id}`, tabindex: -1 }, user(m.title, 80)), h("span", { class: "id" }, m.functions.join(", ")), h("span", { class: "id" }, clock(m.start)));
  }

  span(row) {
    const { document, depth, children } = row;
    const open = document.open === true && document.end === undefined;
    const end = document.end ?? this.axis.to;
    const lines = this.logs.get(document.id) ?? [];
    const folds = children > 0 ? h("button", { type: "button", class: "fold", tabindex: -1, "aria-label": this.folded.has(document.id) ? "Unfold" : "Fold",
      onclick: () => this.fold(document.id, !this.folded.has(document.id)) }, this.folded.has(document.id) ? "▸" : "▾") : h("span", { class: "fold" });
    const duration = open ? "unfinished" : ms(document.end - document.start);
    const [left, right] = [Math.max(0, this.axis.percent(document.start)), Math.min(100, this.axis.percent(end))];
    // Beside the bar, on the side that has room; on the bar where neither has.
    const side = right < 84 ? "right" : left > 16 ? "left" : "inside";
    const place = { right: { left: `${right}%` }, left: { right: `${100 - left}%` }, inside: { right: `${100 - right}%` } }[side];
    return [
      h("span", { role: "gridcell", class: "name", style: { "--depth": depth } }, folds,
        h("span", { class: "dot", "aria-hidden": "true" }), user(document.name, 120, { class: "text" }),
        document.origin ? h("span", { class: "origin" }, user(document.origin.replace("AWS::", ""), 40)) : null,
        row.culprit ? h("span", { class: "badge fault" }, "blocks its thread") : null,
        document.links?.length ? h("span", { class: "mini", title: "has links" }, `⇢${document.links.length > 1 ? document.links.length : ""}`) : null,
        lines.length ? h("span", { class: "mini", title: "log lines" }, `≡${lines.length}`) : null),
      h("span", { role: "gridcell", class: "track" },
        bar(this.axis, document.start, end, { class: `bar ${open ? "open" : ""}` }),
        lines.map((line) => bar(this.axis, line.at, line.at, { class: `tick ${line.level === "ERROR" ? "fault" : line.level === "WARN" ? "error" : ""}` })),
        h("span", { class: `after ${side}`, style: place }, h("span", { class: "duration" }, duration), user(what(document), 60, { class: "what" }))),
    ];
  }
}
