// All rooms. Owns the list: of the busiest rooms nodes tell every second; the others, and those of a key that may not read nodes'
// figures, are asked for.

import { make } from "/web/shared/elements.js";

import { repeat } from "./api.js";
import { mark, write } from "./dom.js";
import { count, DASH, ms, rate, share } from "./format.js";
import { Place, searchField } from "./panels.js";
import { Table } from "./table.js";
import { t } from "./words.js";

const EVERY_MS = 3_000, PAGE = 1_000, PAGES = 5;

/** What a share of arrivals is to the eye. */
export const grade = (value) => (value === null || value === undefined || Number.isNaN(value) ? "" : value >= 0.9999 ? "good" : value >= 0.99 ? "warn" : "bad");

const number = (name, format, value = (row) => row[name], hint = null) => ({ name, head: t(`column_${name}`), number: true, value, text: (row) => format(value(row)), hint });

/** @param brief The columns of a glance. */
export function roomTable({ brief = false } = {}) {
	const name = {
		name: "room", head: t("room"), value: (row) => row.name, draw: (cell, row) => {
			if (cell.firstChild) return;
			cell.append(make("a", { href: `#/rooms/${encodeURIComponent(row.name)}`, title: row.name }, make("bdi", {}, row.name)));
		},
	};
	const arrival = {
		...number("arrival", share), draw: (cell, row) => {
			if (!cell.firstChild) cell.append(make("span"));
			mark(cell.firstChild, "class", `grade ${grade(row.arrival)}`);
			write(cell.firstChild, share(row.arrival));
		},
	};
	const held = {
		...number("held", count, ({ held }) => held, t("held_hint")), draw: (cell, { held }) => {
			if (!cell.firstChild) cell.append(make("span"));
			mark(cell.firstChild, "class", held > 0 ? "badge warn" : null);
			write(cell.firstChild, count(held));
		},
	};
	const columns = [
		name, number("viewers", count), number("rate", rate), arrival, number("p50", ms), number("p99", ms),
		number("laggards", count), number("lag", (value) => (value ? ms(1000 * value) : value === 0 ? ms(0) : DASH)),
		held, number("withheld", count), ...(brief ? [] : [number("refused", count)]),
	];
	return new Table({
		label: t(brief ? "busiest_rooms" : "rooms"), columns, key: (row) => row.name, sort: "-viewers", className: "rooms",
		matches: (row, text) => row.name.toLowerCase().includes(text), empty: t("no_rooms"),
	});
}

export function rooms(context) {
	const { api, figures, signal } = context;
	const table = roomTable(), place = new Place(), told = make("p", { class: "faint" });
	let listed = new Set();
	const draw = () => {
		const rows = [...figures.rooms.values()].filter((row) => listed.has(row.name) || Date.now() - row.arrived < 10_000);
		write(told, t("rooms_open", { n: rows.length }));
		table.show(rows);
	};
	repeat(async () => {
		const found = new Set();
		let after = "";
		for (let page = 0; page < PAGES && after !== null; page++) {
			const answer = await api.get(`/v1/rooms?limit=${PAGE}&after=${encodeURIComponent(after)}`, { scope: "rooms:read", signal });
			for (const line of answer.rooms) {
				found.add(line.room);
				figures.tell("", line, Date.now());
			}
			after = answer.next;
		}
		listed = found;
		place.clear();
		draw();
	}, EVERY_MS, signal, (fault) => place.fault(fault));
	figures.addEventListener("change", draw, { signal });
	draw();
	const search = searchField(t("find_room"), (text) => table.filter(text));
	return make("div", { class: "section" }, make("div", { class: "head" }, make("h1", {}, t("rooms")), told, make("div", { class: "head-acts" }, search)), place.element,
		make("section", { class: "panel flush", "aria-label": t("rooms") }, table.element));
}
