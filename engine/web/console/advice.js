// What limits the node, and what to change. Owns asking for it, and its form; severity is told by a word and a shape, not by colour
// alone. What is advised is for engine/advice to say, in the language of the page.

import { make } from "/web/shared/elements.js";

import { repeat } from "./api.js";
import { fill, show, write } from "./dom.js";
import { icon } from "./icons.js";
import { button, choice, panel, Place } from "./panels.js";
import { t, words } from "./words.js";

const EVERY_MS = 10_000, ORDER = { fault: 0, limit: 1, hint: 2 }, KINDS = { fault: "bad", limit: "warn", hint: "" };
const WINDOWS = [10, 60, 300];

/** Asks again and again, for all who show it. Tells "change". */
export class Adviser extends EventTarget {
	advice = [];
	seconds = null;
	fault = null;
	window = 60;
	/** Ask now. */
	ask;

	constructor(api, signal) {
		super();
		this.ask = repeat(async () => {
			const { since_seconds: seconds, advice } = await api.get(`/v1/node/advice?seconds=${this.window}&language=${words.language}`, { scope: "node:read", signal });
			advice.sort((a, b) => ORDER[a.severity] - ORDER[b.severity]);
			Object.assign(this, { advice, seconds, fault: null });
			this.dispatchEvent(new Event("change"));
		}, EVERY_MS, signal, (fault) => {
			Object.assign(this, { advice: [], fault });
			this.dispatchEvent(new Event("change"));
		});
		words.onChange(this.ask, signal);
	}
}

/** A change as it stands in the config file. */
export function toml({ setting, to }) {
	const at = setting.lastIndexOf(".");
	return at < 0 ? `${setting} = ${to}` : `[${setting.slice(0, at)}]\n${setting.slice(at + 1)} = ${to}`;
}

/** Several of them, each section once. */
function tomlOf(changes) {
	const sections = new Map();
	for (const { setting, to } of changes) {
		const at = setting.lastIndexOf("."), section = setting.slice(0, Math.max(at, 0));
		sections.set(section, [...(sections.get(section) ?? []), `${setting.slice(at + 1)} = ${to}`]);
	}
	return [...sections].map(([section, lines]) => [...(section ? [`[${section}]`] : []), ...lines].join("\n")).join("\n\n");
}

const severity = (each) => make("span", { class: `badge severity ${KINDS[each.severity]}` }, icon(each.severity), t(`severity_${each.severity}`));

function code(text, toasts, of) {
	const copy = button("", async () => {
		await navigator.clipboard.writeText(text);
		toasts.good(t("copied"));
	}, { name: "copy", label: t("copy"), kind: "plain round small" });
	return make("div", { class: "code" }, make("pre", { tabindex: "0", role: "region", "aria-label": `${t("change")}: ${of}` }, make("code", {}, text)), navigator.clipboard ? copy : null);
}

function card(each, toasts) {
	const config = each.changes.filter(({ where }) => where === "config"), others = each.changes.filter(({ where }) => where !== "config");
	const part = (head, ...children) => make("div", { class: "advice-part" }, make("h3", {}, head), ...children);
	return make("article", { class: `panel advice ${each.severity}` },
		make("header", {}, severity(each), make("span", { class: "badge" }, t(`cause_${each.cause}`)), each.room ? make("span", { class: "badge" }, each.room) : null,
			make("code", { class: "rule" }, each.rule)),
		make("h2", {}, each.what),
		make("div", { class: "advice-parts" },
			part(t("evidence"), make("ul", { class: "evidence" }, ...each.evidence.map((line) => make("li", {}, make("code", {}, line))))),
			each.changes.length ? part(t("change"),
				config.length ? code(tomlOf(config), toasts, `${each.rule}, ${t("settings")}`) : null,
				config.length ? make("p", { class: "faint" }, config.map(({ setting, now }) => t("is_now", { setting, now })).join(" · ")) : null,
				config.length ? make("p", { class: "faint" }, t(config.some(({ restart }) => restart) ? "after_restart" : "after_reload")) : null,
				...others.map((change) => make("div", { class: "other" }, make("span", { class: "badge" }, t(`where_${change.where}`)), code(
					change.where === "product" ? change.to || change.setting : `${change.setting} = ${change.to}`, toasts, `${each.rule}, ${change.setting}`))),
			) : null,
			each.effect ? part(t("effect"), make("p", {}, each.effect)) : null));
}

/** The most urgent of it, in a line or two; nothing if there is none. */
export function adviceStrip({ adviser, signal }) {
	const element = make("div", { class: "advice-strip" });
	const draw = () => {
		const urgent = adviser.advice.filter((each) => each.severity !== "hint");
		show(element, urgent.length);
		fill(element, urgent.slice(0, 2).map((each) => make("a", { href: "#/advice", class: `strip ${KINDS[each.severity]}` }, severity(each), make("span", {}, each.what))));
	};
	adviser.addEventListener("change", draw, { signal });
	draw();
	return element;
}

export function advice({ adviser, signal, toasts }) {
	const list = make("div", { class: "advice-list" }), place = new Place(), since = make("p", { class: "faint" });
	const none = panel(t("no_advice"), { className: "calm" }, make("p", {}, t("no_advice_more")));
	let drawn = "";
	const draw = () => {
		if (adviser.fault) place.fault(adviser.fault);
		else place.clear();
		write(since, adviser.seconds === null ? "" : t("looked_at", { n: Math.round(adviser.seconds) }));
		show(none, !adviser.fault && adviser.seconds !== null && !adviser.advice.length);
		const now = JSON.stringify(adviser.advice);
		if (now === drawn) return;
		drawn = now;
		fill(list, adviser.advice.map((each) => card(each, toasts)));
	};
	adviser.addEventListener("change", draw, { signal });
	draw();
	adviser.ask();
	const span = choice(WINDOWS.map((n) => [`${n}`, t("last_seconds", { n })]), `${adviser.window}`, (value) => {
		adviser.window = Number(value);
		adviser.ask();
	}, t("look_at"));
	return make("div", { class: "section" }, make("div", { class: "head" }, make("h1", {}, t("advice")), since, make("div", { class: "head-acts" }, span)), place.element, none, list);
}
