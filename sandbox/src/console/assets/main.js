// The views and which of them is shown: the part of the address after # names it.

import { h, show } from "./dom.js";
import { connect, store, subscribe } from "./store.js";
import { tracesView } from "./traces.js";
import { traceView } from "./trace.js";
import { mapView } from "./map.js";
import { environmentsView } from "./environments.js";
import { logsView } from "./logs.js";
import { messagesView } from "./messages.js";
import { sendView } from "./send.js";

const VIEWS = [
  ["traces", "Traces", tracesView],
  ["map", "Map", mapView],
  ["environments", "Environments", environmentsView],
  ["logs", "Logs", logsView],
  ["messages", "Messages", messagesView],
  ["send", "Send event", sendView],
  ["trace", undefined, traceView],
];

const main = document.getElementById("main");
const live = document.getElementById("live");
let view;
let shown;

function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  return { name: name || "traces", rest: rest.map(decodeURIComponent), query: new URLSearchParams(query ?? "") };
}

function navigate() {
  const at = route();
  const found = VIEWS.find(([name]) => name === at.name) ?? VIEWS[0];
  const current = found[0] === "trace" ? "traces" : found[0];
  show(document.getElementById("nav"), VIEWS.filter(([, label]) => label).map(([name, label]) =>
    h("a", { href: `#/${name}`, "aria-current": name === current ? "page" : undefined }, label)));
  const key = `${found[0]}/${at.rest.join("/")}`;
  // The same view with another selection keeps what it shows.
  if (shown === key && view?.query) return view.query(at.query);
  view?.leave?.();
  shown = key;
  view = found[2](at);
  document.title = `${view.title ?? found[1]} · Sandbox console`;
  show(main, view.element);
  view.update?.();
}

const STATES = { connecting: "connecting", live: "live", ended: "the sandbox has ended" };

function refresh() {
  live.textContent = STATES[store.live];
  live.dataset.state = store.live;
  view?.update?.();
}

window.addEventListener("hashchange", () => {
  navigate();
  main.focus({ preventScroll: true });
});
subscribe(refresh);

try {
  await connect();
  navigate();
  refresh();
} catch (error) {
  show(main, h("p", { class: "empty", role: "alert" }, `The console has no data: ${error.message}`));
}
