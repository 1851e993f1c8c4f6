// Everything at a glance. Owns which plots there are and in which order.

import { make } from "/web/shared/elements.js";

import { adviceStrip } from "./advice.js";
import { fill, show } from "./dom.js";
import { bytes, cores, count, ms, rate, short } from "./format.js";
import { choice, faultNote, panel } from "./panels.js";
import { Plot, redrawPlots } from "./plot.js";
import { roomTable } from "./rooms.js";
import { t } from "./words.js";

const SHOWN_ROOMS = 8;
const PLOTS = [
	{ name: "viewers", format: count, axis: short, colour: "--series-1", wide: true, least: 10 },
	{ name: "deliveries", format: rate, axis: short, colour: "--series-2", wide: true, least: 10 },
	{ name: "events", format: rate, axis: short, colour: "--series-1", least: 5 },
	{ name: "cpu", format: cores, colour: "--series-3", least: 0.5 },
	{ name: "loop", format: ms, colour: "--series-3", least: 5 },
	{ name: "memory", format: bytes, colour: "--series-5", least: 1e6 },
	{ name: "rooms", format: count, axis: short, colour: "--series-1", least: 5 },
	{ name: "withheld", format: rate, axis: short, colour: "--series-4", least: 5 },
	{ name: "refused", format: rate, axis: short, colour: "--series-4", least: 5 },
	{ name: "reconnects", format: rate, axis: short, colour: "--series-4", least: 1 },
];

const sumOf = (list, value) => list.reduce((total, each) => total + (value(each) ?? 0), 0);

/** What stands below a figure: its total or extreme, over these nodes. */
const NOTES = {
	viewers: (nodes) => t("note_connections", { v: count(sumOf(nodes, ({ edge }) => edge?.connections)) }),
	events: (nodes) => t("note_total", { v: short(sumOf(nodes, ({ hub }) => hub?.events_published)) }),
	cpu: (nodes) => t("note_processes", { n: sumOf(nodes, ({ process }) => sumOf(Object.values(process ?? {}), (each) => each.processes)) }),
	loop: (nodes) => t("note_longest", { v: ms(1000 * Math.max(0, ...nodes.flatMap(({ process }) => Object.values(process ?? {}).map((each) => each.loop_delay_max)))) }),
	withheld: (nodes) => t("note_total", { v: short(sumOf(nodes, ({ hub }) => hub?.events_withheld)) }),
	refused: (nodes) => t("note_total", { v: short(sumOf(nodes, ({ hub, edge }) => sumOf([...Object.values(hub?.refused ?? {}), ...Object.values(edge?.refused ?? {})], Number))) }),
	reconnects: (nodes) => t("note_total", { v: short(sumOf(nodes, ({ hub }) => hub?.reconnects_reported)) }),
};

export function overview(context) {
	const { figures, live, signal } = context;
	const grid = make("div", { class: "plots" }), busiest = roomTable({ brief: true });
	const place = make("div"), nodes = make("div", { class: "head-acts" });
	let chosen = "", known = "", ending = new AbortController();
	const source = () => figures.nodes.get(chosen) ?? figures;
	const vitals = () => (figures.nodes.has(chosen) ? [figures.nodes.get(chosen)] : [...figures.nodes.values()]).map((node) => node.figure.vitals);
	function plots() {
		ending.abort();
		ending = new AbortController();
		fill(grid, PLOTS.map(({ name, format, axis, colour, wide, least }) => {
			const lines = [{ series: source().series[name], colour }], note = () => (figures.nodes.size ? (NOTES[name]?.(vitals()) ?? "") : "");
			const { element } = new Plot({ title: t(`metric_${name}`), lines, format, axis, note, least }, AbortSignal.any([signal, ending.signal]));
			if (wide) element.classList.add("wide");
			return element;
		}));
	}
	function choices() {
		const names = [...figures.nodes.keys()].sort();
		if (names.join("\n") === known) return;
		known = names.join("\n");
		if (!names.includes(chosen)) chosen = "";
		const options = [["", t("all_nodes", { n: names.length })], ...names.map((name) => [name, name])];
		fill(nodes, names.length > 1 ? [choice(options, chosen, (value) => (chosen = value, plots()), t("node"))] : []);
	}
	function draw() {
		choices();
		redrawPlots();
		busiest.show([...figures.rooms.values()].sort((a, b) => b.viewers - a.viewers).slice(0, SHOWN_ROOMS));
	}
	function denied() {
		fill(place, live.state === "denied" ? [faultNote(live.fault)] : []);
		show(grid, live.state !== "denied");
	}
	figures.addEventListener("change", draw, { signal });
	live.addEventListener("change", denied, { signal });
	plots();
	draw();
	denied();
	const rooms = panel(t("busiest_rooms"), { className: "flush", acts: [make("a", { class: "more", href: "#/rooms" }, t("all_rooms"))] }, busiest.element);
	return make("div", { class: "section" },
		make("div", { class: "head" }, make("h1", {}, t("overview")), nodes),
		place, adviceStrip(context), grid, rooms);
}
