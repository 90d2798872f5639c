// All execution environments on one time axis, and what happened to them.

import { h, show, user } from "./dom.js";
import { clock, count, ms } from "./format.js";
import { Grid } from "./grid.js";
import { lane, legend } from "./lanes.js";
import { store } from "./store.js";
import { Axis, axisHeader } from "./waterfall.js";

const WINDOWS = [["all", "All of it"], ["1000", "The last second"], ["10000", "The last 10 seconds"], ["60000", "The last minute"]];

export function environmentsView() {
  const axis = new Axis(0, 1);
  const range = h("select", { "aria-label": "Time", onchange: () => update(true) }, WINDOWS.map(([value, name]) => h("option", { value }, name)));
  const lanes = h("div", { class: "lanes all" });
  const ruler = h("div", {});
  const summary = h("p", { class: "count", role: "status" });
  const grid = new Grid({
    label: "Events of the environments", height: 26, className: "events",
    key: (event) => event, choose: () => {},
    open: (event) => { const call = store.calls.get(event.request); if (call) location.hash = `#/trace/${call.trace}`; },
    render: (event) => [
      h("span", { role: "gridcell", class: "time" }, clock(event.at)),
      h("span", { role: "gridcell", class: "who" }, user(event.function, 40), h("span", { class: "id" }, ` #${event.environment}`)),
      h("span", { role: "gridcell", class: "words" }, user(event.text, 200)),
      h("span", { role: "gridcell", class: "id" }, event.request && store.calls.has(event.request) ? h("a", { href: `#/trace/${store.calls.get(event.request).trace}`, tabindex: -1 }, event.request.slice(0, 8)) : event.request?.slice(0, 8)),
    ],
    describe: (event) => ({ class: ["killed", "timed_out", "init_error", "init_timed_out", "out_of_memory"].includes(event.kind) ? "fault" : "" }),
  });
  const element = h("section", { class: "view list", "aria-label": "Environments" }, h("h1", { class: "unseen" }, "Environments"),
    h("form", { class: "filter", onsubmit: (event) => event.preventDefault() }, range, summary), h("div", { class: "axes" }, lanes, ruler), h("h2", { class: "bar-title" }, "Events"), grid.element);
  let seen;
  function update(force = false) {
    if (seen === store.version && !force) return;
    seen = store.version;
    const environments = [...store.environments.values()];
    const events = environments.flatMap((one) => one.events).sort((a, b) => a.at - b.at);
    summary.textContent = `${count(environments.length, "environment")}, ${count(events.length, "event")}`;
    if (!events.length) return void show(lanes, h("p", { class: "empty" }, "No process was started yet."));
    const [first, last] = [events[0].at, events.at(-1).at];
    const from = range.value === "all" ? first : Math.max(first, last - Number(range.value));
    const margin = (last - from) * 0.02;
    axis.fit(from - margin, last + margin);
    const there = environments.filter((one) => one.events.at(-1).at >= from || one.events.at(-1).kind !== "exited");
    show(lanes, there.slice(-40).map((one) => lane(one, axis)), legend());
    show(ruler, axisHeader(axis, `${ms(last - from)} since ${clock(from)}`));
    grid.setRows(events.filter((event) => event.at >= from));
  }
  return { element, update, title: "Environments" };
}
