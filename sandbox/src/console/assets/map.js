// The map of services and queues, drawn as SVG, with the same figures as a table.

import { h, s, show, user, cut } from "./dom.js";
import { clock, ms, percentile } from "./format.js";
import { graph, place } from "./graph.js";
import { linked, modelOf, traces } from "./model.js";
import { badge } from "./traces.js";
import { store } from "./store.js";

const NODE = { width: 206, height: 84, across: 124, down: 36 };
const SIGNS = { function: "λ", queue: "≡", topic: "⋔", aws: "☁", remote: "↗", client: "●" };

function donut(node, x, y, radius) {
  const length = 2 * Math.PI * radius;
  const parts = [["fault", node.fault], ["error", node.error], ["throttle", node.throttle]];
  const ok = node.count - node.fault - node.error - node.throttle;
  parts.push(["ok", node.count ? ok : 1]);
  let done = 0;
  return parts.filter(([, count]) => count > 0).map(([name, count]) => {
    const share = count / Math.max(1, node.count);
    const arc = s("circle", { class: `ring ${node.count ? name : "none"}`, cx: x, cy: y, r: radius, "stroke-dasharray": `${share * length} ${length}`, "stroke-dashoffset": -done * length, transform: `rotate(-90 ${x} ${y})` });
    done += share;
    return arc;
  });
}

function where(node) {
  if (node.kind === "function") return `#/traces?function=${encodeURIComponent(node.name)}`;
  if (node.kind === "queue") return `#/messages?queue=${encodeURIComponent(node.name)}`;
  if (node.kind === "client" || node.kind === "topic") return undefined;
  return `#/traces?filter=${encodeURIComponent(`service("${node.name.split(" ")[0]}")`)}`;
}

function figures(node) {
  if (node.kind === "client") return [`${node.count} requests`, ""];
  const times = node.times.length ? `${ms(percentile(node.times, 0.5))} · p95 ${ms(percentile(node.times, 0.95))}` : "";
  return [`${node.count} ${node.kind === "queue" || node.kind === "topic" ? "sent" : "requests"}`, times];
}

export function mapView(at) {
  const focus = at.query.get("trace");
  const summary = h("p", { class: "count" });
  const picture = h("div", { class: "map", tabindex: 0, role: "group", "aria-label": "Map of services and queues" });
  const table = h("div", { class: "table" });
  const chain = h("div", { class: "chain" });
  const element = h("section", { class: "view", "aria-label": "Map" }, h("h1", { class: "unseen" }, "Map"), summary, picture, chain, table);
  let seen;

  function draw(models) {
    const made = graph(models);
    if (!made.nodes.length) return show(picture, h("p", { class: "empty" }, "No trace names a function or a service."));
    const columns = place(made);
    const from = Math.min(...models.map((m) => m.start));
    const seconds = Math.max(1, (Math.max(...models.map((m) => m.end)) - from) / 1000);
    const tallest = Math.max(1, ...columns.map((column) => column.length));
    const width = columns.length * (NODE.width + NODE.across) - NODE.across + 32;
    const height = tallest * (NODE.height + NODE.down) - NODE.down + 64;
    const spots = new Map();
    columns.forEach((column, x) => column.forEach((node, y) => spots.set(node.id, {
      x: 16 + x * (NODE.width + NODE.across),
      y: height / 2 + (y - (column.length - 1) / 2) * (NODE.height + NODE.down) - NODE.height / 2,
    })));
    const drawing = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": made.edges.map((edge) => `${edge.from} to ${edge.to}: ${edge.count}`).join("; ") },
      s("defs", {}, s("marker", { id: "arrow", viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" }, s("path", { d: "M0 0 10 5 0 10z", class: "arrow-head" }))),
      made.edges.map((edge) => line(edge, spots)), made.nodes.map((node) => box(node, spots.get(node.id), seconds)));
    show(picture, drawing);
    return show(table, figuresTable(made, seconds));
  }

  function line(edge, spots) {
    const [a, b] = [spots.get(edge.from), spots.get(edge.to)];
    const back = b.x <= a.x;
    const start = [a.x + NODE.width, a.y + NODE.height / 2];
    const end = [b.x - 2, b.y + NODE.height / 2];
    const bend = back ? 90 : Math.max(40, (end[0] - start[0]) / 2);
    const middle = [(start[0] + end[0]) / 2, (start[1] + end[1]) / 2];
    const bad = edge.fault ? "fault" : edge.throttle ? "throttle" : edge.error ? "error" : "";
    const time = edge.times.length ? ms(percentile(edge.times, 0.5)) : "";
    return s("g", { class: `edge ${bad}`, "data-from": edge.from, "data-to": edge.to, "data-count": edge.count },
      s("path", { d: `M${start[0]} ${start[1]} C${start[0] + bend} ${start[1]} ${end[0] - bend} ${end[1]} ${end[0]} ${end[1]}`, "marker-end": "url(#arrow)" }),
      s("text", { x: middle[0], y: middle[1] - 8, class: "count" }, `${edge.count}×${edge.fault + edge.error + edge.throttle ? ` · ${edge.fault + edge.error + edge.throttle} failed` : ""}`),
      s("text", { x: middle[0], y: middle[1] + 16, class: "time" }, edge.waits ? `waited ${time}` : time));
  }

  function box(node, { x, y }, seconds) {
    const [first, second] = figures(node);
    const failed = node.fault + node.error + node.throttle;
    const label = `${node.kind} ${node.name}: ${first}, ${second}, ${node.fault} faults, ${node.error} errors, ${node.throttle} throttles`;
    const inside = s("g", { class: `node ${node.kind}`, "data-node": node.id, "data-count": node.count, transform: `translate(${x} ${y})` },
      s("title", {}, cut(label, 400)),
      s("rect", { width: NODE.width, height: NODE.height, rx: 12 }), donut(node, 34, NODE.height / 2, 21), s("text", { x: 34, y: NODE.height / 2 + 6, class: "sign" }, SIGNS[node.kind]),
      s("text", { x: 66, y: 27, class: "name" }, cut(node.name, 17)), s("text", { x: 66, y: 46, class: "figure" }, `${first} · ${(node.count / seconds).toFixed(1)}/s`),
      s("text", { x: 66, y: 64, class: `figure ${failed ? "failed" : ""}` }, failed ? `${failed} failed · ${second.split(" · ")[0]}` : second));
    const href = where(node);
    return href ? s("a", { href, "aria-label": cut(label, 400) }, inside) : inside;
  }

  function figuresTable(made, seconds) {
    const cells = (one) => [one.count, `${(one.count / seconds).toFixed(2)}/s`, ms(percentile(one.times, 0.5)), ms(percentile(one.times, 0.95)), one.error, one.fault, one.throttle];
    const names = new Map(made.nodes.map((node) => [node.id, node.name]));
    const queued = (node) => {
      const all = [...store.messages.values()].filter((one) => one.queue === node.name);
      return node.kind === "queue" && all.length ? ` (${all.filter((one) => one.state !== "deleted").length} in the queue)` : "";
    };
    return h("table", {}, h("caption", { class: "unseen" }, "Figures of the map"), h("thead", {}, h("tr", {}, ["From", "To", "Requests", "Rate", "p50", "p95", "Errors", "Faults", "Throttles"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, made.nodes.filter((node) => node.kind !== "client").map((node) => h("tr", { "data-node": node.id }, h("th", { scope: "row", colspan: 2 }, user(node.name, 60), h("span", { class: "id" }, ` ${node.kind}${queued(node)}`)), cells(node).map((cell) => h("td", {}, cell)))),
        made.edges.map((edge) => h("tr", { class: "edge-row" }, h("td", {}, user(names.get(edge.from), 60)), h("td", {}, user(names.get(edge.to), 60)), cells(edge).map((cell) => h("td", {}, cell))))));
  }

  function update() {
    if (seen === store.version) return;
    seen = store.version;
    const models = focus ? linked(focus) : traces();
    show(summary, focus ? ["The traces that are linked with ", h("a", { href: `#/trace/${focus}` }, user(modelOf(focus)?.title ?? focus, 80)), " · ", h("a", { href: "#/map" }, "all traces")] : `${models.length} traces. Each ring shows the share of responses, errors, faults and throttles.`);
    if (!models.length) return void show(picture, h("p", { class: "empty" }, "No traces yet."));
    draw(models);
    show(chain, focus ? [h("h2", {}, "In the order of their starts"), h("ol", {}, models.map((m) => h("li", {}, h("a", { href: `#/trace/${m.id}` }, user(m.title, 80)), " ", badge(m), h("span", { class: "id" }, ` ${m.functions.join(", ")} · ${clock(m.start)} · ${ms(m.duration)}`))))] : null);
  }
  return { element, update, title: "Map" };
}
