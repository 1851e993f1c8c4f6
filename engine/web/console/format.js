// Figures as people read them. Owns units and how many digits mean something. What is not known is a dash.

import { words } from "./words.js";

export const DASH = "–";
const known = (run) => (value, ...more) => (value === null || value === undefined || Number.isNaN(value) ? DASH : run(value, ...more));
const digits = (value) => (Math.abs(value) < 10 && !Number.isInteger(value) ? (Math.abs(value) < 1 ? 2 : 1) : 0);

/** 12,345: things that are counted. */
export const count = known((value) => words.number(Math.round(value), { maximumFractionDigits: 0 }));

/** 12.3K, 1.2万: things on an axis, or too many to be read one by one. */
export const short = known((value) =>
	words.number(value, { notation: Math.abs(value) < 10_000 ? "standard" : "compact", maximumFractionDigits: Math.abs(value) < 10_000 ? digits(value) : 1 }));

/** Per second, without the unit. */
export const rate = known((value) => (value >= 1e6 ? short(value) : words.number(value, { maximumFractionDigits: value < 10 ? 1 : 0 })));

/** Milliseconds. */
export const ms = known((value) => {
	if (value >= 10_000) return words.text("unit_s", { v: words.number(value / 1000, { maximumFractionDigits: 0 }) });
	if (value >= 1000) return words.text("unit_s", { v: words.number(value / 1000, { maximumFractionDigits: 1 }) });
	return words.text("unit_ms", { v: words.number(value, { maximumFractionDigits: digits(value) }) });
});

const UNITS = ["B", "kB", "MB", "GB", "TB"];
export const bytes = known((value) => {
	const power = value < 1000 ? 0 : Math.min(Math.floor(Math.log10(value) / 3), UNITS.length - 1), scaled = value / 1000 ** power;
	return `${words.number(scaled, { maximumFractionDigits: scaled < 10 && power ? 1 : 0 })} ${UNITS[power]}`;
});

/** Of one core: 1 is 100 %. */
export const cores = known((value) => words.number(value, { style: "percent", maximumFractionDigits: value < 0.1 ? 1 : 0 }));

/** A share that is nearly 1, never rounded up to it: 99.9987 %. */
export const share = known((value) => {
	if (value >= 1 || value <= 0) return words.number(Math.min(Math.max(value, 0), 1), { style: "percent" });
	const places = Math.min(Math.max(Math.ceil(-Math.log10(1 - value)), 1), 7), scale = 10 ** (places + 2);
	return words.number(Math.floor(value * scale) / scale, { style: "percent", minimumFractionDigits: places, maximumFractionDigits: places });
});

/** How many nines a share begins with: 0.9998 has three. */
export const nines = (value) => (value >= 1 ? Infinity : Math.max(Math.floor(-Math.log10(1 - value) + 1e-9), 0));

/** 3 s, 5 min, 2 h, 4 d: how long. */
export const lasting = known((milliseconds) => {
	const seconds = Math.max(milliseconds, 0) / 1000;
	const [value, unit] = [[86_400, "unit_d"], [3600, "unit_h"], [60, "unit_min"], [1, "unit_s"]].map(([size, name]) => [seconds / size, name])
		.find(([amount]) => amount >= 1) ?? [seconds, "unit_s"];
	return words.text(unit, { v: words.number(value, { maximumFractionDigits: value < 10 && unit !== "unit_s" ? 1 : 0 }) });
});

export const clock = known((time) => words.time(time));

/** With its day, unless that is today. */
export const moment = known((time) => {
	const date = new Date(time);
	if (date.toDateString() === new Date().toDateString()) return clock(time);
	return `${date.toLocaleDateString(document.documentElement.lang, { month: "short", day: "numeric" })} ${clock(time)}`;
});
