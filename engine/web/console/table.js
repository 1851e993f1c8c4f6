// A table that stays while its rows change every second. Owns order, filter, and how many rows are shown. Must not know what is in
// it. A real table: rows have a heading, columns say how they are sorted.

import { make } from "/web/shared/elements.js";

import { fill, mark, show, write } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./words.js";

const PAGE = 100;
const collator = new Intl.Collator(undefined, { numeric: true });

export class Table {
	element; #columns; #key; #body; #more; #empty; #heads = new Map(); #rows = new Map(); #order; #limit = PAGE; #data = []; #filter = "";

	/** @param columns `[{ name, head, text(row), value(row), number, draw(cell, row), hint }]`: the first one heads the row; without
	 * `value` it does not sort; `draw` instead of `text` fills a cell itself. `key(row)` tells rows apart, `matches(row, text)` filters;
	 * `sort`: name of the column, descending if it begins with "-". */
	constructor({ label, columns, key, sort = "", matches = () => true, empty = t("nothing"), className = "" }) {
		[this.#columns, this.#key, this.matches] = [columns, key, matches];
		this.#order = { name: sort.replace(/^-/, ""), down: sort.startsWith("-") };
		this.#body = make("tbody");
		this.#empty = make("p", { class: "empty" }, empty);
		this.#more = make("button", { class: "button small", type: "button", hidden: true });
		this.#more.addEventListener("click", () => {
			this.#limit += PAGE;
			this.show(this.#data);
		});
		const table = make("table", { class: className }, make("caption", { class: "unseen" }, label), this.#head(), this.#body);
		const scroll = make("div", { class: "table-scroll", role: "region", "aria-label": label, tabindex: "0" }, table);
		this.element = make("div", { class: "table" }, scroll, this.#empty, this.#more);
	}

	#head() {
		const cells = this.#columns.map(({ name, head, value, number, hint }) => {
			const cell = make("th", { scope: "col", class: number ? "number" : null, title: hint });
			if (!value) cell.append(head.length ? head : make("span", { class: "unseen" }, t("acts")));
			else {
				const sorts = make("button", { type: "button", class: "sorts" }, make("span", {}, head), icon("down"));
				sorts.addEventListener("click", () => this.#sort(name, number));
				cell.append(sorts);
				this.#heads.set(name, cell);
			}
			return cell;
		});
		return make("thead", {}, make("tr", {}, ...cells));
	}

	#sort(name, number) {
		const order = this.#order;
		this.#order = { name, down: order.name === name ? !order.down : Boolean(number) };
		this.show(this.#data);
	}

	filter(text) {
		this.#filter = text.trim().toLowerCase();
		this.#limit = PAGE;
		this.show(this.#data);
	}

	/** @param rows In any order. */
	show(rows) {
		this.#data = rows;
		const found = this.#sorted(rows.filter((row) => !this.#filter || this.matches(row, this.#filter))), shown = found.slice(0, this.#limit);
		for (const [name, cell] of this.#heads) {
			mark(cell, "aria-sort", name !== this.#order.name ? null : this.#order.down ? "descending" : "ascending");
		}
		const lines = new Map(shown.map((row) => [this.#key(row), this.#line(row)]));
		this.#rows = lines;
		fill(this.#body, lines.values());
		show(this.#empty, !shown.length);
		show(this.#more, found.length > shown.length);
		write(this.#more, t("more_rows", { n: found.length - shown.length }));
	}

	#sorted(rows) {
		const { name, down } = this.#order, value = this.#columns.find((column) => column.name === name)?.value;
		if (!value) return rows;
		const least = (row) => {
			const found = value(row);
			return found === null || found === undefined || Number.isNaN(found) ? undefined : found;
		};
		const compared = (a, b) => (typeof a === "string" ? collator.compare(a, b) : a - b);
		return rows.map((row) => [least(row), row]).sort(([a, one], [b, two]) => {
			// What is not known stands last either way.
			if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
			return (down ? compared(b, a) : compared(a, b)) || collator.compare(this.#key(one), this.#key(two));
		}).map(([, row]) => row);
	}

	#line(row) {
		const key = this.#key(row);
		let line = this.#rows.get(key);
		if (!line) {
			const cells = this.#columns.map(({ number, name }, at) =>
				make(at ? "td" : "th", { scope: at ? null : "row", class: [number ? "number" : "", `of-${name}`].join(" ").trim() }));
			line = make("tr", {}, ...cells);
		}
		for (const [at, { text, draw }] of this.#columns.entries()) {
			if (draw) draw(line.children[at], row);
			else write(line.children[at], text(row));
		}
		return line;
	}
}
