// Money: how the ledger fares, what can be given, who gave, and which red packets are open. Owns this section; nothing here books.

import { make } from "/web/shared/elements.js";

import { repeat, roomPath } from "./api.js";
import { count, lasting, ms, rate, short } from "./format.js";
import { choice, Facts, labelled, panel, Place } from "./panels.js";
import { Plot, redrawPlots } from "./plot.js";
import { Table } from "./table.js";
import { t, words } from "./words.js";

const LOOK_MS = 5_000, CATALOGUE_MS = 60_000;
const total = (lanes, name) => lanes.reduce((sum, lane) => sum + (lane[name] ?? 0), 0);
const most = (lanes, name) => lanes.reduce((largest, lane) => Math.max(largest, lane[name] ?? 0), 0);
const number = (name, head, format, value) => ({ name, head, number: true, value, text: (row) => format(value(row)) });
const person = (id, name) => make("span", { class: "person" }, make("bdi", {}, name || id), name ? make("code", { class: "faint" }, make("bdi", {}, id)) : null);

let chosen = "";

function ledger({ figures, signal }) {
	const facts = new Facts([
		[t("booked"), t("booked_hint")], [t("rejected"), t("rejected_hint")], t("waiting"), [t("commit_p50"), t("commit_hint")], [t("commit_p99"), t("commit_hint")],
		[t("per_commit"), t("per_commit_hint")], [t("outbox"), t("outbox_hint")], t("failures"), t("ledger_state"),
	]);
	const { element: plot } = new Plot({ title: t("metric_booked"), lines: [{ series: figures.series.booked, colour: "--series-5" }], format: rate, axis: short, least: 5 }, signal);
	const draw = () => {
		const lanes = [...figures.nodes.values()].map((node) => node.figure.vitals.hub?.money?.lane).filter(Boolean);
		if (!lanes.length) return;
		facts.told([
			count(total(lanes, "booked")), count(total(lanes, "rejected")), count(total(lanes, "waiting")), ms(most(lanes, "commit_p50_ms")), ms(most(lanes, "commit_p99_ms")),
			rate(most(lanes, "group_mean")), count(total(lanes, "outbox")), count(total(lanes, "failures")), [...new Set(lanes.map(({ ledger: how }) => (words.has(`ledger_${how}`) ? t(`ledger_${how}`) : how)))].join(", "),
		]);
		redrawPlots();
	};
	figures.addEventListener("change", draw, { signal });
	draw();
	return make("div", { class: "ledger" }, panel(t("ledger"), {}, facts.element), plot);
}

export function money(context) {
	const { api, figures, signal } = context;
	const names = make("datalist", { id: "room-names" }), place = new Place(), offered = new Place();
	const field = make("input", { class: "field", list: "room-names", value: chosen, maxlength: "128", autocomplete: "off", spellcheck: "false", placeholder: t("find_room") });
	const givers = new Table({
		label: t("leaderboard"), key: (each) => each.user, empty: t("nobody_gave"), columns: [
			{ name: "user", head: t("who"), draw: (cell, each) => cell.replaceChildren(person(each.user, each.name)) },
			number("given", t("given"), count, (each) => each.given),
		],
	});
	const packets = new Table({
		label: t("packets"), key: (each) => `${each.packet}`, sort: "expires", empty: t("no_packets"), columns: [
			{ name: "user", head: t("from"), draw: (cell, each) => cell.firstChild || cell.append(person(each.user, each.name)) },
			number("total", t("amount"), count, (each) => each.total),
			number("shares", t("shares"), count, (each) => each.shares),
			{ name: "state", head: t("state"), text: (each) => (each.opens > Date.now() ? t("opens_in", { v: lasting(each.opens - Date.now()) }) : t("is_open")) },
			{ name: "expires", head: t("ends_in"), number: true, value: (each) => each.expires, text: (each) => lasting(each.expires - Date.now()) },
			{ name: "text", head: t("text"), draw: (cell, each) => cell.firstChild || cell.append(make("bdi", {}, each.phrase || each.text)) },
		],
	});
	const gifts = new Table({
		label: t("catalogue"), key: (each) => each.id, sort: "price", empty: t("no_gifts"), columns: [
			{ name: "name", head: t("gift"), value: (each) => each.name, draw: (cell, each) => cell.replaceChildren(person(each.id, each.name)) },
			number("price", t("price"), count, (each) => each.price),
			{ name: "combo", head: t("combo"), number: true, text: (each) => (each.combo_seconds ? lasting(1000 * each.combo_seconds) : t("none")) },
		],
	});
	const stream = choice([["now", t("present_stream")], ["all", t("all_time")]], "now", () => look());
	const look = repeat(async () => {
		const most = [...figures.rooms.values()].sort((a, b) => b.viewers - a.viewers)[0];
		if (!chosen && most) field.value = chosen = most.name;
		names.replaceChildren(...[...figures.rooms.keys()].slice(0, 100).map((value) => make("option", { value })));
		if (!chosen) return;
		const path = `${roomPath(chosen, "givers")}?limit=50${stream.value === "all" ? "&stream=" : ""}`, options = { scope: "money:read", signal };
		const [board, open] = await Promise.all([api.get(path, options), api.get(roomPath(chosen, "red-packets"), options)]);
		place.clear();
		givers.show(board.givers);
		packets.show(open.packets);
	}, LOOK_MS, signal, (fault) => place.fault(fault));
	repeat(async () => {
		const answer = await api.get("/v1/gifts", { scope: "money:read", signal });
		offered.clear();
		gifts.show(answer.gifts);
	}, CATALOGUE_MS, signal, (fault) => offered.fault(fault));
	field.addEventListener("change", () => {
		chosen = field.value.trim();
		look();
	});
	givers.show([]);
	packets.show([]);
	gifts.show([]);
	return make("div", { class: "section" },
		make("div", { class: "head" }, make("h1", {}, t("money"))),
		ledger(context),
		make("div", { class: "head second" }, make("h2", {}, t("in_room")), make("div", { class: "head-acts" }, labelled(t("room"), field, "inline"), names, labelled(t("time_of"), stream, "inline"))),
		place.element,
		make("div", { class: "columns" }, panel(t("leaderboard"), { className: "flush" }, givers.element), panel(t("packets"), { className: "flush" }, packets.element)),
		panel(t("catalogue"), { className: "flush" }, offered.element, gifts.element));
}
