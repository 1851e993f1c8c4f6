// The nodes and their processes, and when they were last heard of. Owns this table.

import { make } from "/web/shared/elements.js";

import { mark, write } from "./dom.js";
import { SILENT_MS } from "./figures.js";
import { bytes, cores, count, lasting, ms, rate } from "./format.js";
import { icon } from "./icons.js";
import { Place } from "./panels.js";
import { Table } from "./table.js";
import { t } from "./words.js";

const LOOK_MS = 1_000;
const number = (name, head, format, value) => ({ name, head, number: true, value, text: (row) => format(value(row)) });
const partName = (part) => part.replace(/^\w+/, (name) => t(`part_${name}`));
const most = (node, name) => Object.values(node.figure.vitals.process ?? {}).reduce((most, each) => Math.max(most, each[name] ?? 0), 0);

export function nodes({ figures, live, signal }) {
	const age = (node) => Date.now() - node.arrived;
	const heard = {
		name: "age", head: t("last_figure"), value: (node) => node.arrived, draw: (cell, node) => {
			const silent = age(node) > SILENT_MS;
			if (!cell.firstChild) cell.append(make("span", { class: "badge" }, icon("check"), make("span")));
			if (cell.dataset.silent !== `${silent}`) {
				cell.dataset.silent = `${silent}`;
				mark(cell.firstChild, "class", `badge ${silent ? "bad" : "good"}`);
				cell.firstChild.firstChild.replaceWith(icon(silent ? "fault" : "check"));
			}
			write(cell.firstChild.lastChild, t(silent ? "silent_for" : "ago", { v: lasting(age(node)) }));
		},
	};
	const table = new Table({
		label: t("nodes"), key: (node) => node.name, sort: "node", empty: t("nothing_yet"), columns: [
			{ name: "node", head: t("node"), value: (node) => node.name, text: (node) => node.name },
			heard,
			{ name: "version", head: t("version"), value: (node) => node.figure.version, text: (node) => node.figure.version },
			number("workers", t("workers"), count, (node) => node.figure.workers),
			number("viewers", t("metric_viewers"), count, (node) => node.now.viewers),
			number("rooms", t("metric_rooms"), count, (node) => node.now.rooms),
			number("events", t("metric_events"), rate, (node) => node.now.events),
			number("cpu", t("metric_cpu"), cores, (node) => node.now.cpu),
			number("memory", t("metric_memory"), bytes, (node) => node.now.memory),
			number("loop", t("loop_longest"), ms, (node) => 1000 * most(node, "loop_delay_max")),
			number("laggards", t("column_laggards"), count, (node) => node.figure.vitals.edge?.laggards ?? 0),
		],
	});
	const of = (name) => ({ process }) => process[name];
	const parts = new Table({
		label: t("processes"), key: ({ node, part }) => `${node.name}\n${part}`, sort: "part", empty: t("nothing_yet"), columns: [
			{ name: "part", head: t("process"), value: ({ node, part }) => `${node.name} ${part}`, text: ({ node, part }) => `${node.name} · ${partName(part)}` },
			number("cpu", t("metric_cpu"), cores, ({ process }) => process.cpu.value),
			number("memory", t("metric_memory"), bytes, of("resident_bytes")),
			number("descriptors", t("descriptors"), count, of("descriptors")),
			number("connections", t("connections"), count, of("connections")),
			number("stalls", t("stalls"), count, of("stalls")),
			number("longest", t("loop_longest"), ms, ({ process }) => 1000 * process.loop_delay_max),
		],
	});
	const denied = new Place();
	const draw = () => {
		const all = [...figures.nodes.values()];
		if (live.state === "denied") denied.fault(live.fault);
		table.show(all);
		parts.show(all.flatMap((node) => [...node.processes].map(([part, process]) => ({ node, part, process }))));
	};
	const look = setInterval(draw, LOOK_MS);
	signal.addEventListener("abort", () => clearInterval(look));
	figures.addEventListener("change", draw, { signal });
	draw();
	return make("div", { class: "section" }, make("div", { class: "head" }, make("h1", {}, t("nodes"))), denied.element,
		make("section", { class: "panel flush", "aria-label": t("nodes") }, table.element),
		make("h2", { class: "between" }, t("processes")),
		make("section", { class: "panel flush", "aria-label": t("processes") }, parts.element));
}
