// Elements are made of text nodes and attributes alone: nothing on this page parses text as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** An HTML element. */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** An SVG element. */
export function s(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/** Replaces what is in an element. */
export function show(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/** Text of unknown origin, which cannot change the direction of what is around it. Long text is cut. */
export function user(text, limit = 300, props = {}) {
  return h("bdi", props, cut(text, limit));
}

export function cut(text, limit = 300) {
  const whole = typeof text === "string" ? text : JSON.stringify(text) ?? "";
  if (whole.length <= limit) return whole;
  const end = /[\uD800-\uDBFF]/.test(whole[limit - 1]) ? limit - 1 : limit;
  return whole.slice(0, end) + "…";
}

/** Text that is cut, with a button that shows all of it. */
export function long(text, limit = 4000) {
  const whole = typeof text === "string" ? text : JSON.stringify(text, null, 2) ?? "";
  const block = h("pre", { class: "block", dir: "auto", tabindex: 0 }, cut(whole, limit));
  if (whole.length <= limit) return block;
  const more = h("button", { type: "button", class: "quiet", onclick: () => { show(block, whole); more.remove(); } },
    `Show all ${whole.length.toLocaleString("en")} characters`);
  return h("div", {}, block, more);
}
