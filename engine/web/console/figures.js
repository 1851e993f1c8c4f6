// What nodes tell of themselves, each once a second. Owns the history of it: rates from counters that only rise, the sum over the
// nodes, and every room's. Must not know where figures come from, nor the page; times of arrival are arguments.

import { Rate, Series, SlowRate } from "./series.js";

/** After so long without a figure a node has fallen silent. */
export const SILENT_MS = 5_000;
const FORGOTTEN_MS = 600_000, ROOMS = 400;

const total = (table) => Object.values(table ?? {}).reduce((sum, count) => sum + count, 0);
const processes = (vitals) => Object.values(vitals.process ?? {});
const over = (vitals, name) => processes(vitals).reduce((sum, each) => sum + (each[name] ?? 0), 0);
const largest = (values) => values.reduce((most, value) => (value > most || Number.isNaN(most) ? value : most), NaN);
const sum = (values) => values.reduce((all, value) => all + value, 0);

/** Of a node: what is told, from its vitals; `rate`: it is a counter, shown per second, over so many
 * `seconds`, or told seldom, `slow`; `over`: how nodes are put together. */
export const METRICS = {
	viewers: { of: (vitals) => vitals.edge?.viewers ?? 0 },
	rooms: { of: (vitals) => vitals.hub?.rooms ?? 0 },
	events: { rate: true, of: (vitals) => vitals.hub?.events_published ?? 0 },
	deliveries: { rate: true, slow: true, of: ({ hub }) => (hub?.quality?.sent_entitled ?? 0) - (hub?.quality?.sent_skipped ?? 0) },
	cpu: { rate: true, seconds: 5, of: (vitals) => over(vitals, "cpu_seconds") },
	loop: { over: largest, of: (vitals, node) => node.lateness(vitals) },
	memory: { of: (vitals) => over(vitals, "resident_bytes") },
	withheld: { rate: true, of: (vitals) => vitals.hub?.events_withheld ?? 0 },
	refused: { rate: true, seconds: 5, of: (vitals) => total(vitals.hub?.refused) + total(vitals.edge?.refused) },
	booked: { rate: true, of: ({ hub }) => hub?.money?.lane?.booked ?? 0 },
	reconnects: { rate: true, slow: true, of: (vitals) => vitals.hub?.quality?.reconnects ?? 0 },
};
const each = (make) => Object.fromEntries(Object.keys(METRICS).map((name) => [name, make(name)]));

/** One node. */
class NodeFigures {
	series = each(() => new Series());
	now = each(() => NaN);
	processes = new Map();
	#rates = each((name) => (METRICS[name].slow ? new SlowRate() : new Rate(METRICS[name].seconds)));
	#late = { seconds: 0, count: 0, value: 0 };

	constructor(name) {
		this.name = name;
	}

	take(figure, arrived) {
		const { time, vitals } = figure;
		Object.assign(this, { figure, arrived });
		for (const [name, { rate, of }] of Object.entries(METRICS)) {
			const value = of(vitals, this);
			this.now[name] = rate ? this.#rates[name].take(time, value) : value;
			this.series[name].add(time, this.now[name]);
		}
		this.#parts(time, vitals);
	}

	/** Each process: the hub, and every edge; or all in one. */
	#parts(time, { process = {}, edges = [] }) {
		const { edge: _, ...others } = process, seen = this.processes;
		const lines = "node" in process ? [["node", { ...edges[0], ...process.node }]]
			: [...Object.entries(others), ...edges.map((edge) => [`edge ${edge.pid}`, edge])];
		this.processes = new Map(lines.map(([name, line]) => {
			const cpu = seen.get(name)?.cpu ?? new Rate(5);
			cpu.take(time, line.cpu_seconds);
			return [name, { ...line, cpu }];
		}));
	}

	/** Milliseconds by which the loops were late since the last figure, in the mean. */
	lateness(vitals) {
		const tables = processes(vitals).map((each) => each.loop_delays ?? { seconds: 0, counts: {} });
		const seconds = sum(tables.map((table) => table.seconds)), count = sum(tables.map((table) => total(table.counts)));
		const late = this.#late, fresh = count > late.count && late.count;
		const value = fresh ? (1000 * (seconds - late.seconds)) / (count - late.count) : late.value;
		this.#late = { seconds, count, value };
		return value;
	}
}

/** One room, at all nodes that tell of it. */
class RoomFigures {
	series = { viewers: new Series(), rate: new Series(), p50: new Series(), p99: new Series() };
	nodes = new Map();
	#rate = new Rate();
	#epoch = 0;
	#withheld = new Rate();

	constructor(name) {
		this.name = name;
	}

	/** @param line As in a figure, or as much of it as is known. */
	take(node, line, time, arrived) {
		this.nodes.set(node, { ...line, arrived });
		for (const [name, { arrived: then }] of this.nodes) if (arrived - then > SILENT_MS) this.nodes.delete(name);
		if (line.epoch !== this.#epoch) [this.#epoch, this.#rate] = [line.epoch, new Rate()];
		const lines = [...this.nodes.values()], all = (key) => sum(lines.map((each) => each[key] ?? 0));
		const most = (key) => largest(lines.map((each) => each[key] ?? NaN));
		const least = (key) => -largest(lines.map((each) => -(each[key] ?? NaN)));
		Object.assign(this, {
			arrived,
			viewers: most("viewers"),
			offset: most("offset"),
			likes: most("likes"),
			refused: all("refused"),
			laggards: all("laggards"),
			skipped: all("skipped"),
			reports: all("reports"),
			withheld: most("withheld"),
			held: most("held"),
			lag: most("lag_max"),
			arrival: least("arrival_rate"),
			sent: least("sent_rate"),
			p50: most("delay_p50_ms"),
			p99: most("delay_p99_ms"),
		});
		this.rate = this.#rate.take(time, this.offset);
		this.withheldRate = this.#withheld.take(time, this.withheld || 0);
		for (const name of ["viewers", "rate", "p50", "p99"]) this.series[name].add(time, this[name]);
	}
}

/** All that is known. Tells "change" after each figure. */
export class Figures extends EventTarget {
	nodes = new Map();
	rooms = new Map();
	/** Over all nodes. */
	series = each(() => new Series());
	now = each(() => NaN);

	/** A figure as it came. One that is none is left alone: a newer node may tell something else. */
	take(body, arrived = Date.now()) {
		let figure;
		try {
			figure = JSON.parse(body);
		} catch {
			return;
		}
		if (typeof figure?.node !== "string" || !figure.vitals || !Array.isArray(figure.rooms)) return;
		if (!this.nodes.has(figure.node)) this.nodes.set(figure.node, new NodeFigures(figure.node));
		this.nodes.get(figure.node).take(figure, arrived);
		for (const line of figure.rooms) this.#room(line.room).take(figure.node, line, figure.time, arrived);
		this.#sum(figure.time, arrived);
		this.#forget(arrived);
		this.dispatchEvent(new Event("change"));
	}

	/** A room of which no figure tells, from elsewhere. */
	tell(node, line, time, arrived = Date.now()) {
		const known = this.rooms.get(line.room);
		if (known && [...known.nodes].some(([name, { arrived: then }]) => name !== node && arrived - then < SILENT_MS)) return;
		this.#room(line.room).take(node, line, time, arrived);
	}

	#room(name) {
		if (!this.rooms.has(name)) this.rooms.set(name, new RoomFigures(name));
		return this.rooms.get(name);
	}

	#sum(time, arrived) {
		const alive = [...this.nodes.values()].filter((node) => arrived - node.arrived < SILENT_MS);
		for (const [name, { over: put = sum }] of Object.entries(METRICS)) {
			const values = alive.map((node) => node.now[name]).filter((value) => !Number.isNaN(value));
			this.now[name] = values.length ? put(values) : NaN;
			this.series[name].add(time, this.now[name]);
		}
	}

	#forget(arrived) {
		for (const [name, room] of this.rooms) {
			if (arrived - room.arrived > FORGOTTEN_MS || this.rooms.size > ROOMS + 40) this.rooms.delete(name);
			else if (this.rooms.size <= ROOMS) break;
		}
		for (const [name, node] of this.nodes) if (arrived - node.arrived > FORGOTTEN_MS) this.nodes.delete(name);
	}
}
