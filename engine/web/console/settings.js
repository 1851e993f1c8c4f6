// The settings in force, which of them deviate from the defaults, and reading them again. Owns this section; what deviates, and what
// may change while viewers stay, is for the node to say.

import { make } from "/web/shared/elements.js";

import { repeat } from "./api.js";
import { fill, show, write } from "./dom.js";
import { bytes, lasting } from "./format.js";
import { icon } from "./icons.js";
import { button, faultNote, labelled, Place, searchField } from "./panels.js";
import { t } from "./words.js";

const LOOK_MS = 30_000, SECRET = "***", NONE = ["\"\"", "[]", "{}"];

/** A value as the config file has it. */
export function tomlValue(value) {
	if (Array.isArray(value)) return `[${value.map(tomlValue).join(", ")}]`;
	if (value && typeof value === "object") {
		const parts = Object.entries(value).map(([name, each]) => `${name} = ${tomlValue(each)}`);
		return parts.length ? `{ ${parts.join(", ")} }` : "{}";
	}
	return value === null ? "" : typeof value === "number" ? `${value}` : JSON.stringify(value);
}

/** What it would be if nobody had set it. */
function byDefault(value) {
	const text = tomlValue(value);
	return NONE.includes(text) ? make("span", { class: "default" }, t("default_none")) : make("span", { class: "default" }, t("default_is"), " ", make("code", {}, text));
}

/** A number that nobody reads at a glance, once more. */
function readable(name, value) {
	if (name.endsWith("_bytes") && value >= 10_000) return make("span", {}, bytes(value));
	return name.endsWith("_seconds") && value >= 300 ? make("span", {}, lasting(1000 * value)) : null;
}

const pathsOf = (told) => Object.entries(told).flatMap(([section, values]) =>
	values && typeof values === "object" && !Array.isArray(values) ? Object.entries(values).map(([name, value]) => [section, name, value]) : [["", section, values]]);

/** What came of reading them again. */
function outcome({ changed, restart }) {
	const part = (kind, drawing, text, paths) => make("div", { class: `note ${kind}` }, icon(drawing), make("div", {}, make("p", {}, text), paths.length ? make("ul", {}, ...paths.map((path) => make("li", {}, make("code", {}, path)))) : null));
	const told = [];
	if (changed.length) told.push(part("good", "check", t("reload_changed", { n: changed.length }), changed));
	if (restart.length) told.push(part("warn", "limit", t("reload_restart", { n: restart.length }), restart));
	return told.length ? told : [part("", "hint", t("reload_nothing"), [])];
}

export function settings({ api, signal }) {
	const place = new Place(), answer = make("div", { class: "reload-answer", role: "status" }), list = make("div", { class: "settings" }), none = make("p", { class: "empty", hidden: true }, t("no_setting"));
	const only = make("input", { type: "checkbox", role: "switch", onchange: () => draw() }), many = labelled("", only, "radio");
	let all = [], defaults = new Map(), wanted = "", marked = new Set(), drawn = "";
	/** Its default, if it is another one; tables by name stand under one path. */
	const originOf = (section, path) => (defaults.has(path) ? defaults.get(path) : defaults.get(section));
	function draw() {
		const sections = new Map();
		for (const [section, name, value] of all) {
			const path = section ? `${section}.${name}` : name, text = tomlValue(value), origin = originOf(section, path);
			if (only.checked && origin === undefined) continue;
			if (wanted && !`${path} ${text}`.toLowerCase().includes(wanted)) continue;
			const kind = ["setting", origin === undefined ? "" : "deviates", marked.has(path) ? "changed" : ""].join(" ").trim();
			sections.set(section, [...(sections.get(section) ?? []), make("div", { class: kind },
				make("dt", {}, make("code", {}, name), marked.has(path) ? make("span", { class: "badge good" }, t("changed")) : null),
				make("dd", { class: NONE.includes(text) ? "faint" : null }, value === SECRET ? t("is_set") : make("code", {}, text), readable(name, value), origin === undefined ? null : byDefault(origin)))]);
		}
		write(many.firstChild, t("only_changed", { n: all.filter(([section, name]) => originOf(section, section ? `${section}.${name}` : name) !== undefined).length }));
		fill(list, [...sections].map(([section, lines]) => make("section", { class: "panel setting-section", "aria-label": section || t("top_level") },
			make("h2", {}, make("code", {}, section ? `[${section}]` : t("top_level"))), make("dl", {}, ...lines))));
		show(none, all.length && !sections.size);
		write(none, t(wanted ? "no_setting" : "all_default"));
	}
	const look = repeat(async () => {
		const told = await api.get("/v1/node/settings", { scope: "node:read", signal });
		const { deviations } = await api.get("/v1/node/settings/deviations", { scope: "node:read", signal });
		place.clear();
		const now = JSON.stringify([told, deviations]);
		if (now === drawn) return;
		drawn = now;
		[all, defaults] = [pathsOf(told), new Map(deviations.map((each) => [each.path, each.default]))];
		draw();
	}, LOOK_MS, signal, (fault) => place.fault(fault));
	const again = button(t("reload"), async () => {
		again.disabled = true;
		write(answer, t("reloading"));
		try {
			const told = await api.post("/v1/node/reload", undefined, { scope: "node:write", signal });
			marked = new Set(told.changed);
			fill(answer, outcome(told));
			drawn = "";
			look();
		} catch (fault) {
			if (signal.aborted) return;
			fill(answer, [faultNote(fault)]);
		}
		again.disabled = false;
	}, { name: "refresh", kind: "small primary" });
	const search = searchField(t("find_setting"), (text) => {
		wanted = text.trim().toLowerCase();
		draw();
	});
	return make("div", { class: "section" }, make("div", { class: "head" }, make("h1", {}, t("settings")), make("p", { class: "faint" }, t("settings_hint")), make("div", { class: "head-acts" }, many, search, again)),
		answer, place.element, none, list);
}
