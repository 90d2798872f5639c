// A list of which only the visible rows are in the page.

import { h } from "./dom.js";

let number = 0;

export class Grid {
  /**
   * `render(row, index)` returns the cells of a row; `key(row)` tells rows apart; `choose(row)` is called for the row that was chosen,
   * `open(row)` on Enter and a double click, `fold(row, wanted)` on the keys left and right.
   */
  constructor({ label, height, render, key, choose, open, fold, role = "grid", describe, className = "" }) {
    Object.assign(this, { height, render, key, choose, open, fold, describe, role });
    this.rows = [];
    this.current = -1;
    this.id = `grid${(number += 1)}`;
    this.space = h("div", { class: "rows", role: "rowgroup" });
    this.element = h("div", {
      class: `grid ${className}`, role, tabindex: 0, "aria-label": label,
      onscroll: () => this.later(), onkeydown: (event) => this.press(event), onclick: (event) => this.click(event, false),
      ondblclick: (event) => this.click(event, true),
    }, this.space);
    new ResizeObserver(() => this.later()).observe(this.element);
  }

  setRows(rows) {
    const chosen = this.chosen;
    this.rows = rows;
    this.current = chosen === undefined ? -1 : rows.findIndex((row) => this.key(row) === chosen);
    this.space.style.setProperty("height", `${rows.length * this.height}px`);
    this.element.setAttribute("aria-rowcount", rows.length);
    this.draw();
  }

  /** Marks the row with this key, and scrolls to it. */
  mark(key, scroll = true) {
    this.chosen = key;
    this.current = this.rows.findIndex((row) => this.key(row) === key);
    if (scroll && this.current >= 0) this.reveal(this.current);
    this.draw();
  }

  reveal(index) {
    const top = index * this.height;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + this.height > scrollTop + clientHeight) this.element.scrollTop = top + this.height - clientHeight;
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    const { scrollTop, clientHeight } = this.element;
    const from = Math.max(0, Math.floor(scrollTop / this.height) - 6);
    const to = Math.min(this.rows.length, Math.ceil((scrollTop + clientHeight) / this.height) + 6);
    const made = [];
    for (let index = from; index < to; index += 1) made.push(this.row(index));
    this.space.replaceChildren(...made);
    if (this.current >= from && this.current < to) this.element.setAttribute("aria-activedescendant", `${this.id}-${this.current}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  row(index) {
    const row = this.rows[index];
    const props = { class: "row", role: "row", id: `${this.id}-${index}`, "aria-rowindex": index + 1, "data-index": index,
      "aria-selected": index === this.current ? "true" : "false", style: { transform: `translateY(${index * this.height}px)`, height: `${this.height}px` } };
    const more = this.describe?.(row) ?? {};
    if (more.class) props.class += ` ${more.class}`;
    for (const [name, value] of Object.entries(more)) if (name !== "class") props[name] = value;
    return h("div", props, this.render(row, index));
  }

  go(index) {
    if (!this.rows.length) return;
    this.current = Math.max(0, Math.min(this.rows.length - 1, index));
    this.chosen = this.key(this.rows[this.current]);
    this.reveal(this.current);
    this.draw();
    this.choose?.(this.rows[this.current]);
  }

  press(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target !== this.element) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.height) - 1);
    const row = this.rows[this.current];
    const moves = { ArrowDown: this.current + 1, ArrowUp: this.current < 0 ? 0 : this.current - 1, PageDown: this.current + page, PageUp: this.current - page, Home: 0, End: this.rows.length - 1 };
    if (event.key in moves) this.go(moves[event.key]);
    else if (event.key === "Enter" && row) this.open?.(row);
    else if (event.key === "ArrowLeft" && row && this.fold) this.fold(row, true);
    else if (event.key === "ArrowRight" && row && this.fold) this.fold(row, false);
    else return;
    event.preventDefault();
  }

  click(event, twice) {
    if (event.target.closest("a, button")) return;
    const element = event.target.closest("[data-index]");
    if (!element) return;
    const index = Number(element.dataset.index);
    if (twice) this.open?.(this.rows[index]);
    else this.go(index);
  }
}
