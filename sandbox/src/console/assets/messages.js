// The messages of the queues: how often each was received, when it is visible again, and where it ended.

import { h, long, show, user } from "./dom.js";
import { bytes, clock, count, ms } from "./format.js";
import { Grid } from "./grid.js";
import { link } from "./details.js";
import { traces } from "./model.js";
import { store } from "./store.js";

const CLASSES = { deleted: "ok", dead: "fault", "in flight": "open", visible: "", delayed: "", "returned to the queue": "error" };

/** The state of a message now: the passing of a visibility timeout is no event. */
function state(message, now) {
  if (message.state === "in flight" && message.visible <= now) return "returned to the queue";
  if (message.state === "visible" && message.visible > now) return "delayed";
  return message.state;
}

function producer(message) {
  const root = /Root=([^;]+)/i.exec(message.header ?? "")?.[1];
  const parent = /Parent=([^;]+)/i.exec(message.header ?? "")?.[1];
  return root ? { trace: root, span: parent } : undefined;
}

function consumers() {
  const found = new Map();
  for (const m of traces()) {
    if (!m.annotations.has("message_id")) continue;
    for (const { document } of m.order) {
      const id = document.annotations?.message_id;
      if (id === undefined) continue;
      if (!found.has(id)) found.set(id, []);
      found.get(id).push({ trace: m.id, span: document.id, fault: document.fault, start: document.start });
    }
  }
  return found;
}

export function messagesView(at) {
  const queue = h("select", { "aria-label": "Queue", onchange: () => update(true) }, h("option", { value: "" }, "Every queue"), store.facts.queues.map((one) => h("option", { value: one.name }, one.name)));
  queue.value = at.query.get("queue") ?? "";
  const left = h("input", { type: "checkbox", onchange: () => update(true) });
  const cards = h("div", { class: "cards" });
  const summary = h("p", { class: "count", role: "status" });
  const panel = h("aside", { class: "details", "aria-label": "Details" }, h("p", { class: "hint" }, "Choose a message to see what happened to it."));
  let handled = new Map();
  let chosen;
  const grid = new Grid({
    label: "Messages", height: 34, className: "messages",
    key: (message) => message.id,
    choose: (message) => { chosen = message; explain(); },
    render: (message) => {
      const now = Date.now();
      const is = state(message, now);
      const from = producer(message);
      return [
        h("span", { role: "gridcell", class: "time" }, clock(message.sent)),
        h("span", { role: "gridcell", class: "who" }, user(message.queue, 40)),
        h("span", { role: "gridcell", class: "how" }, h("span", { class: `badge ${CLASSES[is] ?? ""}` }, is)),
        h("span", { role: "gridcell", class: "received", title: "how often it was received" }, `${message.count}×`),
        h("span", { role: "gridcell", class: "visible" }, is === "in flight" || is === "delayed" ? `visible in ${ms(message.visible - now)}` : ""),
        h("span", { role: "gridcell", class: "words" }, user(message.body ?? "", 120)),
        h("span", { role: "gridcell", class: "links" }, from && store.traces.has(from.trace) ? h("a", { href: `#/trace/${from.trace}?span=${from.span}`, tabindex: -1, title: "the span that sent it" }, "sent") : null,
          (handled.get(message.id) ?? []).slice(0, 4).map((one, index) => h("a", { href: `#/trace/${one.trace}?span=${one.span}`, tabindex: -1, class: one.fault ? "fault" : "", title: one.fault ? "a delivery that failed" : "a delivery" }, `delivery ${index + 1}`))),
      ];
    },
  });
  const head = h("div", { class: "head messages", "aria-hidden": "true" }, ["Sent", "Queue", "State", "Received", "Visible", "Body", "Traces"].map((name) => h("span", {}, name)));
  const empty = h("div", { class: "empty" });
  const element = h("section", { class: "view list split", "aria-label": "Messages" }, h("h1", { class: "unseen" }, "Messages"), cards,
    h("form", { class: "filter", onsubmit: (event) => event.preventDefault() }, queue, h("label", { class: "field" }, left, "Only those that are in a queue"), summary),
    h("div", { class: "beside" }, h("div", { class: "column" }, head, grid.element, empty), panel));
  let seen;

  function card(one, messages, now) {
    const tally = Map.groupBy(messages.filter((message) => message.queue === one.name), (message) => state(message, now));
    const size = (name) => tally.get(name)?.length ?? 0;
    return h("section", { class: "card", "data-queue": one.name, "aria-label": `Queue ${one.name}` }, h("h2", {}, user(one.name, 60), one.fifo ? h("span", { class: "chip" }, "FIFO") : null),
      h("dl", { class: "figures" }, [["visible", size("visible") + size("returned to the queue")], ["in flight", size("in flight")], ["delayed", size("delayed")], ["dead letters", size("dead")], ["deleted", size("deleted")]].map(([name, number]) => h("div", {}, h("dd", {}, number), h("dt", {}, name)))),
      h("p", { class: "hint" }, `visibility timeout ${one.visibility} s`, one.dead_letter ? `, to ${one.dead_letter} after ${one.max_receives} receives` : ""));
  }

  function explain() {
    if (!chosen) return;
    const from = producer(chosen);
    show(panel, h("h2", {}, "Message"), h("p", {}, h("code", {}, user(chosen.id, 80))),
      h("ol", { class: "story" }, chosen.events.map((event) => h("li", {}, h("span", { class: "time" }, clock(event.at)), " ",
        event.kind === "received" ? `received for the ${ordinal(event.count)} time, hidden for ${ms(event.visible - event.at)}` : event.kind === "visible" ? `visible again ${event.visible - event.at < 1 ? "at once" : `after ${ms(event.visible - event.at)}`}` : event.kind === "dead" ? ["moved to ", user(event.to, 60)] : event.kind))),
      from ? h("section", {}, h("h3", {}, "Traces"), link(from.trace, from.span, "producer"), (handled.get(chosen.id) ?? []).map((one) => link(one.trace, one.span, one.fault ? "failed delivery" : "delivery"))) : null,
      h("h3", {}, `Body, ${bytes(chosen.bytes)}`), long(chosen.body ?? "", 2000));
  }

  function update(force = false) {
    if (seen === store.version && !force) return;
    seen = store.version;
    handled = consumers();
    const now = Date.now();
    const all = [...store.messages.values()];
    show(cards, store.facts.queues.map((one) => card(one, all, now)));
    const rows = all.filter((message) => (!queue.value || message.queue === queue.value) && (!left.checked || message.state !== "deleted")).sort((a, b) => b.sent - a.sent);
    grid.setRows(rows);
    summary.textContent = count(rows.length, "message");
    head.hidden = grid.element.hidden = !rows.length;
    empty.hidden = rows.length > 0;
    show(empty, store.facts.queues.length ? "No message fits." : "This sandbox has no queue.");
    explain();
  }
  const timer = setInterval(() => { if ([...store.messages.values()].some((message) => message.visible > Date.now() - 2000 && message.state !== "deleted")) update(true); }, 1000);
  return { element, update, leave: () => clearInterval(timer), title: "Messages" };
}

function ordinal(number) {
  const word = { 1: "first", 2: "second", 3: "third" }[number];
  return word ?? `${number}th`;
}
