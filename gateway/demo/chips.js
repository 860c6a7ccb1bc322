// A row of removable names with a field to add one: used for channels and for event types.

import { make } from "./frames.js";

export class Chips {
  #list;
  #names;
  #options;

  /**
   * `check(name)` returns what is wrong with a name, or null. `changed(names)` is called after each
   * change by hand. `fixed` names can't be removed. `hue(name)` gives a colour's number.
   */
  constructor({ list, form, error }, names, { check, changed, fixed = [], hue = () => "", noun }) {
    this.#list = list;
    this.#names = [...names];
    this.#options = { changed, fixed, hue, noun };
    const field = form.querySelector("input");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const name = field.value.trim();
      if (!name) return;
      const problem = check(name) ?? (this.#names.includes(name) ? `“${name}” is there already.` : null);
      error.textContent = problem ?? "";
      field.setAttribute("aria-invalid", String(Boolean(problem)));
      if (problem) return;
      field.value = "";
      this.add(name);
    });
    field.addEventListener("input", () => {
      error.textContent = "";
      field.removeAttribute("aria-invalid");
    });
    this.#show();
  }

  get names() {
    return [...this.#names];
  }

  add(name) {
    if (this.#names.includes(name)) return;
    this.#names.push(name);
    this.#show();
    this.#options.changed(this.names);
  }

  /** Marks a name as ended: it stays, crossed out, until it is removed. */
  end(name) {
    this.#list.querySelector(`[data-name="${CSS.escape(name)}"]`)?.setAttribute("data-ended", "");
  }

  #remove(name) {
    const index = this.#names.indexOf(name);
    this.#names.splice(index, 1);
    this.#show();
    const buttons = this.#list.querySelectorAll("button");
    (buttons[Math.min(index, buttons.length - 1)] ?? this.#list).focus();
    this.#options.changed(this.names);
  }

  #show() {
    const { fixed, hue, noun } = this.#options;
    this.#list.replaceChildren(...this.#names.map((name) => {
      const chip = make("li.chip", { "data-name": name, "data-hue": hue(name) }, make("span", {}, name));
      if (!fixed.includes(name)) {
        const remove = make("button", { type: "button", "aria-label": `Remove ${noun} ${name}` }, "×");
        remove.addEventListener("click", () => this.#remove(name));
        chip.append(remove);
      }
      return chip;
    }));
  }
}
