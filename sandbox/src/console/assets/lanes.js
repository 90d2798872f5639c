// What an execution environment did, on the time axis of a trace.

import { h, user } from "./dom.js";
import { ms } from "./format.js";
import { store } from "./store.js";
import { bar } from "./waterfall.js";

const LABELS = {
  init: "Init", invoke: "invocation, up to the response", after: "after the response (billed)", frozen: "frozen", ready: "ready", ending: "ending", restore: "restore",
};
const MARKS = {
  spawned: "spawned", thawed: "thawed", timed_out: "timed out", killed: "SIGKILL", sigterm: "SIGTERM", out_of_memory: "out of memory", exited: "ended", init_error: "init error", init_timed_out: "init timed out", restored: "restored",
};

/** The phases of an environment, those of its invocations in rows that do not overlap, and its moments. */
export function phases(environment, until) {
  const process = [];
  const invocations = [];
  const moments = [];
  let open;
  const running = new Map();
  const managed = store.facts.functions.find((one) => one.name === environment.function)?.managed;
  const close = (at) => {
    if (open && at >= open.from) process.push({ ...open, to: at });
    open = undefined;
  };
  const finish = (request, at, missing) => {
    const run = running.get(request);
    if (!run) return;
    running.delete(request);
    if (run.response === undefined) invocations.push({ kind: "invoke", request, from: run.from, to: at, missing });
    else {
      invocations.push({ kind: "invoke", request, from: run.from, to: run.response });
      if (!managed) invocations.push({ kind: "after", request, from: run.response, to: at });
    }
  };
  for (const event of environment.events) {
    const { at } = event;
    if (MARKS[event.kind]) moments.push({ kind: event.kind, at, text: event.text, request: event.request });
    if (event.kind === "spawned") { close(at); open = { kind: "init", from: at }; }
    else if (event.kind === "init_done") { close(at); open = managed ? { kind: "ready", from: at } : undefined; }
    else if (event.kind === "restored") { close(at); open = { kind: "restore", from: at }; }
    else if (event.kind === "thawed") close(at);
    else if (event.kind === "event_out") {
      if (!managed) close(at);
      running.set(event.request, { from: at });
      moments.push({ kind: "event_out", at, request: event.request, deadline: event.deadline });
    } else if (event.kind === "response") {
      const run = running.get(event.request);
      if (run) run.response = at;
      if (run && managed) finish(event.request, at);
    } else if (event.kind === "next") finish(event.request, at);
    else if (event.kind === "frozen") {
      for (const request of [...running.keys()]) finish(request, at);
      open = { kind: "frozen", from: at };
    } else if (event.kind === "timed_out" && managed) finish(event.request, at, true);
    else if (event.kind === "sigterm") { if (open?.kind === "frozen") close(at); }
    else if (event.kind === "exited") {
      close(at);
      for (const request of [...running.keys()]) finish(request, at, true);
    }
  }
  for (const request of [...running.keys()]) finish(request, until);
  close(until);
  return { process, rows: pack(invocations), moments };
}

/** Puts phases into as few rows as keep those of different invocations apart. */
function pack(invocations) {
  const byRequest = Map.groupBy(invocations, (one) => one.request);
  const rows = [];
  for (const [, parts] of [...byRequest].sort(([, a], [, b]) => a[0].from - b[0].from)) {
    const [from, to] = [parts[0].from, parts.at(-1).to];
    let row = rows.find((row) => row.until <= from);
    if (!row) rows.push((row = { until: 0, parts: [] }));
    row.until = to;
    row.parts.push(...parts);
  }
  return rows.map((row) => row.parts);
}

/** The deadlines of an invocation: Lambda's, and those that the library derives from it with its defaults. */
export function deadlines(moment) {
  const length = moment.deadline - moment.at;
  const share = Math.min(500, Math.max(50, length * 0.05));
  return [["soft deadline", moment.deadline - 2 * share], ["hard deadline", moment.deadline - share], ["deadline", moment.deadline]];
}

/** The lane of an environment. `mine` tells the invocations that are in focus; the others are pale. */
export function lane(environment, axis, mine) {
  const isMine = mine ?? (() => true);
  const { process, rows, moments } = phases(environment, Math.max(axis.to, environment.events.at(-1)?.at ?? 0));
  const pid = environment.events.find((event) => event.kind === "spawned")?.pid;
  const inside = (at) => at >= axis.from && at <= axis.to;
  const part = (one) => {
    const text = `${LABELS[one.kind]}: ${ms(one.to - one.from)}${one.missing ? ", no response" : ""}`;
    return bar(axis, one.from, one.to, { class: `phase ${one.kind} ${one.request && !isMine(one.request) ? "other" : ""} ${one.missing ? "missing" : ""}`, title: text, "data-kind": one.kind },
      h("span", { class: "word", "aria-hidden": "true" }, one.kind === "after" ? "after response" : one.kind));
  };
  const marks = [];
  let beyond;
  for (const moment of moments) {
    if (moment.kind === "event_out") {
      if (!mine?.(moment.request)) continue;
      for (const [name, at] of deadlines(moment)) {
        if (inside(at)) marks.push([at, name, name.split(" ")[0], name]);
        else if (name === "deadline" && at > axis.to) beyond = moment.deadline - moment.at;
      }
    } else if (moment.kind === "exited" && marks.some(([at, kind]) => kind === "killed" && axis.percent(moment.at) - axis.percent(at) < 8)) {
      // The kill says it.
    } else if (inside(moment.at)) marks.push([moment.at, moment.kind, MARKS[moment.kind], moment.text]);
  }
  const response = rows.flat().filter((one) => one.kind === "invoke" && !one.missing && isMine(one.request)).map((one) => one.to).filter(inside);
  const said = [...process, ...rows.flat()].filter((one) => one.to >= axis.from && one.from <= axis.to && (!one.request || isMine(one.request)))
    .sort((a, b) => a.from - b.from).slice(0, 40).map((one) => `${LABELS[one.kind]} at ${ms(one.from - axis.from)} for ${ms(one.to - one.from)}`);
  const spoken = [...said, ...marks.map(([at, , , text]) => `${text} at ${ms(at - axis.from)}`)].join("; ");
  marks.sort((a, b) => a[0] - b[0]);
  // A word is left out where it would lie on the next one.
  const words = marks.map(([at, , word], index) => {
    const room = index + 1 < marks.length ? axis.percent(marks[index + 1][0]) - axis.percent(at) : 100 - axis.percent(at);
    return room > 1.1 * word.length || (index === marks.length - 1 && axis.percent(at) > 85);
  });
  const height = Math.max(1, rows.length);
  return h("div", { class: "lane", style: { "--rows": Math.min(height, 12) } },
    h("span", { class: "label" }, user(environment.function, 60, { class: "text" }), h("span", { class: "id" }, `#${environment.number}${pid ? ` · pid ${pid}` : ""}${beyond ? ` · deadline ${ms(beyond)}` : ""}`)),
    h("span", { class: "track", role: "img", "aria-label": `Environment ${environment.number} of ${environment.function}: ${spoken}` },
      process.map(part),
      rows.slice(0, 12).map((row, index) => h("span", { class: "invocations", style: { "--row": index } }, row.map(part))),
      response.map((at) => bar(axis, at, at, { class: "moment response", title: "the caller has the response" })),
      marks.map(([at, kind, word, text], index) => bar(axis, at, at, { class: `moment ${kind.replaceAll(" ", "-")}`, title: text, "data-kind": kind }, words[index] ? h("span", { class: `word ${axis.percent(at) > 85 ? "left" : ""}` }, word) : null))));
}

/** The environments that ran these invocations. */
export function environmentsOf(requests) {
  return [...store.environments.values()].filter((one) => one.events.some((event) => event.request && requests.has(event.request)));
}

export function legend() {
  return h("p", { class: "legend", "aria-hidden": "true" },
    ["init", "invoke", "after", "frozen"].map((kind) => h("span", {}, h("span", { class: `swatch ${kind}` }), LABELS[kind])));
}
