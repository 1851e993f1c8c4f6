// A plot of a few figures over the last minutes, on a canvas. Owns drawing, the cursor that all plots share, and the same in words:
// arrow keys move the cursor and say what is there, and a table has the numbers. Must not know what is plotted.

import { make } from "/web/shared/elements.js";

import { fill, mark, show, write } from "./dom.js";
import { clock } from "./format.js";
import { icon } from "./icons.js";
import { KEPT_SECONDS } from "./series.js";
import { t } from "./words.js";

const [RIGHT, TOP, BOTTOM] = [6, 8, 20], SHORTEST = 60, BROKEN_MS = 4_500, ROWS = 30, WRITTEN_MS = 5_000;
const plots = new Set();
let cursor = NaN, drawing = false, colours = {};

const nice = (value) => {
	const power = 10 ** Math.floor(Math.log10(value)), part = value / power;
	return (part <= 1 ? 1 : part <= 2 ? 2 : part <= 2.5 ? 2.5 : part <= 5 ? 5 : 10) * power;
};
const colour = (name) => (colours[name] ??= getComputedStyle(document.documentElement).getPropertyValue(name).trim() || name);
const resolved = (probe, name) => {
	probe.style.color = `var(${name})`;
	return getComputedStyle(probe).color;
};

function redraw() {
	if (drawing) return;
	drawing = true;
	requestAnimationFrame(() => {
		drawing = false;
		for (const plot of plots) plot.draw();
	});
}
document.addEventListener("themechange", () => {
	colours = {};
	redraw();
});
/** Draw all plots soon. */
export const redrawPlots = redraw;

export class Plot {
	element; #canvas; #value; #note; #said; #table; #box; #size = [0, 0]; #lines; #format; #title; #least; #own = false; #written = 0; #left = 40;

	/** @param lines `[{ series, label, colour: "--series-1" }]`, drawn from the last to the first; only the first is filled.
	 * `format` writes a value, `axis` one on the axis; `note()` stands below the value; `least`: the axis reaches that far. */
	constructor({ title, lines, format, axis = format, note = () => "", least = 1 }, signal) {
		Object.assign(this, { axis, note });
		[this.#lines, this.#format, this.#title, this.#least] = [lines, format, title, least];
		this.#canvas = make("canvas", { role: "img", tabindex: "0" });
		this.#value = make("span", { class: "plot-value" });
		this.#note = make("span", { class: "plot-note" });
		this.#said = make("span", { class: "unseen", "aria-live": "polite" });
		this.#table = make("div", { class: "plot-table", hidden: true, tabindex: "0", role: "region", "aria-label": title });
		this.#box = make("div", { class: "plot-box" }, this.#canvas);
		const toggle = make("button", { class: "plot-toggle", type: "button", "aria-pressed": "false", "aria-label": t("as_table", { what: title }) }, icon("table"));
		toggle.addEventListener("click", () => {
			show(this.#table, this.#table.hidden);
			show(this.#box, this.#table.hidden);
			this.#written = -Infinity;
			mark(toggle, "aria-pressed", `${!this.#table.hidden}`);
			this.draw();
		});
		const head = make("figcaption", {}, make("span", { class: "plot-title" }, title), toggle, this.#value, this.#note);
		this.element = make("figure", { class: "plot panel" }, head, this.#box, this.#table, this.#said);
		const on = (target, type, run) => target.addEventListener(type, run, { signal });
		on(this.#canvas, "pointermove", (event) => this.#point(event.offsetX));
		on(this.#canvas, "pointerleave", () => this.#move(NaN));
		on(this.#canvas, "blur", () => this.#move(NaN));
		on(this.#canvas, "keydown", (event) => this.#key(event));
		const sizes = new ResizeObserver(redraw);
		sizes.observe(this.#box);
		signal.addEventListener("abort", () => {
			plots.delete(this);
			sizes.disconnect();
		});
		plots.add(this);
		redraw();
	}

	get #main() {
		return this.#lines[0].series;
	}

	#span() {
		const { length } = this.#main, end = length ? this.#main.time(length - 1) : Date.now();
		const seconds = length ? (end - this.#main.time(0)) / 1000 : 0;
		const shown = Math.min(Math.max(Math.ceil(seconds / 15) * 15, SHORTEST), KEPT_SECONDS);
		return [end - shown * 1000, end];
	}

	#point(x) {
		const [begin, end] = this.#span(), width = this.#size[0] - this.#left - RIGHT;
		this.#move(Math.min(Math.max(begin + ((x - this.#left) / width) * (end - begin), begin), end), true);
	}

	#move(time, own = false) {
		cursor = time;
		for (const plot of plots) plot.#own = plot === this && own;
		redraw();
	}

	#key(event) {
		const series = this.#main, last = series.length - 1, now = Number.isNaN(cursor) ? last : series.nearest(cursor);
		const to = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 10, PageDown: now + 10, Home: 0, End: last, Escape: -1 }[event.key];
		if (to === undefined || last < 0) return;
		event.preventDefault();
		if (event.key === "Escape") return this.#move(NaN);
		const at = Math.min(Math.max(to, 0), last);
		this.#move(series.time(at), true);
		write(this.#said, `${clock(series.time(at))}: ${this.#told((each) => each.value(at))}`);
	}

	#told(value) {
		const several = this.#lines.length > 1;
		return this.#lines.map(({ series, label }) => `${several ? `${label} ` : ""}${this.#format(value(series))}`).join(", ");
	}

	draw() {
		const at = Number.isNaN(cursor) ? -1 : this.#main.nearest(cursor);
		this.#head(at);
		if (!this.#table.hidden) return this.#numbers();
		const { clientWidth: width, clientHeight: height } = this.#box, ratio = devicePixelRatio || 1;
		if (!width || !height) return;
		const canvas = this.#canvas, [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
		if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
		this.#size = [width, height];
		const pen = canvas.getContext("2d");
		pen.setTransform(ratio, 0, 0, ratio, 0, 0);
		pen.clearRect(0, 0, width, height);
		const [begin, end] = this.#span(), low = height - BOTTOM;
		const [step, top] = this.#scale(begin);
		pen.font = `11px ${colour("--font")}`;
		this.#left = Math.ceil(Math.max(24, pen.measureText(this.axis(top)).width, pen.measureText(this.axis(step)).width)) + 8;
		const x = (time) => this.#left + ((time - begin) / (end - begin)) * (width - this.#left - RIGHT), y = (value) => low - (value / top) * (low - TOP);
		this.#axes(pen, x, y, step, top, begin, end, width);
		for (const [number, line] of [...this.#lines.entries()].reverse()) this.#line(pen, line, x, y, begin, number === 0 ? low : NaN);
		if (at >= 0) this.#cross(pen, at, x, y, low);
	}

	#scale(begin) {
		let most = this.#least;
		for (const { series } of this.#lines) {
			for (let at = series.length - 1; at >= 0 && series.time(at) >= begin; at--) if (series.value(at) > most) most = series.value(at);
		}
		const step = nice(most / 3);
		return [step, Math.ceil(most / step - 1e-9) * step];
	}

	#axes(pen, x, y, step, top, begin, end, width) {
		pen.lineWidth = 1;
		pen.strokeStyle = this.#tint("--line");
		pen.fillStyle = this.#tint("--text-faint");
		pen.textAlign = "right";
		pen.textBaseline = "middle";
		for (let value = 0; value <= top + step / 2; value += step) {
			const at = Math.round(y(value)) + 0.5;
			pen.beginPath();
			pen.moveTo(this.#left, at);
			pen.lineTo(width - RIGHT, at);
			pen.stroke();
			pen.fillText(this.axis(value), this.#left - 7, at);
		}
		pen.textBaseline = "alphabetic";
		const seconds = (end - begin) / 1000, parts = width < 200 ? 1 : width < 300 ? 2 : width < 520 ? 3 : 6;
		const every = [10, 20, 30, 60, 120].find((each) => seconds / each <= parts) ?? 300;
		for (let ago = 0; ago <= seconds; ago += every) {
			const text = ago === 0 ? t("now") : t(ago % 60 ? "ago_s" : "ago_min", { n: ago % 60 ? ago : ago / 60 });
			pen.textAlign = ago === 0 ? "right" : ago === seconds ? "left" : "center";
			pen.fillText(text, x(end - ago * 1000), y(0) + 16);
		}
	}

	#line(pen, { series, colour: name }, x, y, begin, floor) {
		const tint = this.#tint(name), runs = [];
		let run = [];
		for (let at = 0; at < series.length; at++) {
			const time = series.time(at), value = series.value(at), broken = at && time - series.time(at - 1) > BROKEN_MS;
			if ((Number.isNaN(value) || broken) && run.length) run = (runs.push(run), []);
			if (!Number.isNaN(value) && time >= begin - BROKEN_MS) run.push([Math.max(x(time), this.#left), y(value)]);
		}
		if (run.length) runs.push(run);
		pen.lineJoin = "round";
		for (const points of runs) {
			pen.beginPath();
			for (const [px, py] of points) pen.lineTo(px, py);
			pen.strokeStyle = tint;
			pen.lineWidth = 1.75;
			pen.stroke();
			if (points.length === 1) pen.fillStyle = tint, pen.fillRect(points[0][0] - 1.5, points[0][1] - 1.5, 3, 3);
			if (Number.isNaN(floor)) continue;
			pen.lineTo(points.at(-1)[0], floor);
			pen.lineTo(points[0][0], floor);
			const shade = pen.createLinearGradient(0, TOP, 0, floor);
			shade.addColorStop(0, this.#tint(name, 0.28));
			shade.addColorStop(1, this.#tint(name, 0.02));
			pen.fillStyle = shade;
			pen.fill();
		}
	}

	#cross(pen, at, x, y, low) {
		const px = Math.max(x(this.#main.time(at)), this.#left);
		pen.strokeStyle = this.#tint("--line-strong");
		pen.lineWidth = 1;
		pen.beginPath();
		pen.moveTo(Math.round(px) + 0.5, TOP);
		pen.lineTo(Math.round(px) + 0.5, low);
		pen.stroke();
		for (const { series, colour: name } of this.#lines) {
			const value = series.value(series.nearest(this.#main.time(at)));
			if (Number.isNaN(value)) continue;
			pen.beginPath();
			pen.arc(px, y(value), this.#own ? 4 : 3, 0, 2 * Math.PI);
			pen.fillStyle = this.#tint(name);
			pen.fill();
			pen.strokeStyle = this.#tint("--surface");
			pen.lineWidth = 2;
			pen.stroke();
		}
	}

	#tint(name, alpha = 1) {
		const solid = (colours[`${name} solid`] ??= resolved(this.#said, name));
		return alpha === 1 ? solid : solid.replace(/^rgb\((.+)\)$/, (_, parts) => `rgb(${parts.replaceAll(",", "")} / ${alpha})`);
	}

	#head(at) {
		const { length } = this.#main, shown = at >= 0 ? at : length - 1, several = this.#lines.length > 1;
		if (this.#value.childElementCount !== this.#lines.length) {
			fill(this.#value, this.#lines.map(({ label, colour: name }) => {
				const key = make("i", { class: "plot-key", title: several ? label : null });
				key.style.background = several ? `var(${name})` : "none";
				return make("span", {}, several ? key : null, make("b"), several ? make("small", {}, label) : null);
			}));
		}
		for (const [number, { series }] of this.#lines.entries()) {
			const value = shown < 0 ? NaN : number ? series.value(series.nearest(this.#main.time(shown))) : series.value(shown);
			write(this.#value.children[number].querySelector("b"), this.#format(value));
		}
		write(this.#note, at >= 0 ? clock(this.#main.time(at)) : this.note());
		mark(this.#canvas, "aria-label", t("plot_of", { what: this.#title, now: length ? this.#told((each) => each.last) : t("nothing_yet") }));
	}

	#numbers() {
		if (performance.now() - this.#written < WRITTEN_MS) return;
		this.#written = performance.now();
		const series = this.#main, rows = [], step = Math.max(Math.ceil(series.length / ROWS), 1);
		for (let at = series.length - 1; at >= 0; at -= step) {
			const cells = this.#lines.map((line) => make("td", {}, this.#format(line.series.value(line.series.nearest(series.time(at))))));
			rows.push(make("tr", {}, make("th", { scope: "row" }, clock(series.time(at))), ...cells));
		}
		const heads = [t("time"), ...this.#lines.map(({ label }) => label ?? this.#title)].map((text) => make("th", { scope: "col" }, text));
		fill(this.#table, [make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows))]);
	}
}
