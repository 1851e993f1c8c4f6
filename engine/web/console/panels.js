// What all sections are made of: panels, facts, choices, and how a fault of the API is told where it happened. Owns their form.

import { make } from "/web/shared/elements.js";

import { fill, mark, write } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./words.js";

let numbers = 0;

/** A part of the page with a heading; `acts` stand beside it. */
export function panel(title, { acts = [], className = "" } = {}, ...children) {
	const id = `heading-${(numbers += 1)}`;
	const head = make("header", { class: "panel-head" }, make("h2", { id }, title), ...(acts.length ? [make("div", { class: "acts" }, ...acts)] : []));
	return make("section", { class: `panel ${className}`.trim(), "aria-labelledby": id }, head, ...children);
}

export function button(text, onclick, { name = null, kind = "small", label = null, title = null } = {}) {
	return make("button", { class: `button ${kind}`, type: "button", onclick, "aria-label": label, title: title ?? label }, name && icon(name), text || null);
}

/** Names and figures. `told(figures)` writes them: texts in the same order, or `[text, class]`. */
export class Facts {
	element; #values;

	/** @param heads `[text, hint]` or text. */
	constructor(heads, className = "") {
		this.#values = heads.map(() => make("dd"));
		const pairs = heads.map((head, at) => make("div", { title: Array.isArray(head) ? head[1] : null }, make("dt", {}, [head].flat()[0]), this.#values[at]));
		this.element = make("dl", { class: `facts ${className}`.trim() }, ...pairs);
	}

	told(texts) {
		for (const [at, told] of texts.entries()) {
			const [text, kind = null] = [told].flat();
			write(this.#values[at], text);
			mark(this.#values[at], "class", kind);
		}
	}
}

/** A field with its name. */
export function labelled(text, field, className = "") {
	return make("label", { class: `labelled ${className}`.trim() }, make("span", {}, text), field);
}

export function choice(options, value, onchange, label = null) {
	const field = make("select", { class: "field choice", "aria-label": label, onchange: () => onchange?.(field.value) });
	field.append(...options.map(([name, text]) => make("option", { value: name }, text)));
	field.value = value;
	return field;
}

export function searchField(hint, oninput) {
	const field = make("input", { class: "field", type: "search", placeholder: hint, "aria-label": hint, autocomplete: "off", spellcheck: "false" });
	field.addEventListener("input", () => oninput(field.value));
	return make("div", { class: "search" }, icon("search"), field);
}

/** What went wrong, as a sentence. */
export function sentence(fault) {
	if (fault.scope) return t("needs_scope", { scope: fault.scope });
	if (fault.name === "network") return t(fault.detail === "timeout" ? "no_answer_in_time" : "no_answer");
	return fault.message;
}

/** A fault in place of what should be here. */
export function faultNote(fault) {
	const list = (fault.errors ?? []).map(({ path, problem }) => make("li", {}, make("code", {}, path), " ", problem));
	const locked = fault.status === 403;
	return make("div", { class: `note ${locked ? "locked" : "bad"}`, role: locked ? null : "alert" }, icon(locked ? "lock" : "fault"), make("div", {},
		make("p", {}, sentence(fault)), list.length ? make("ul", {}, ...list) : null,
		fault.requestId ? make("p", { class: "faint" }, t("request_id"), " ", make("code", {}, fault.requestId)) : null));
}

/** A place that holds a fault, or nothing. */
export class Place {
	element = make("div", { class: "place" });
	#told = "";

	fault(fault) {
		const told = sentence(fault);
		// Said once, however often it is asked again.
		if (told === this.#told) return;
		this.#told = told;
		fill(this.element, [faultNote(fault)]);
	}
	clear() {
		this.#told = "";
		fill(this.element, []);
	}
}
