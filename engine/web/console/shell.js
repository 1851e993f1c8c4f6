// The frame around the sections: navigation, the state of the connection, language, theme, the way out. Owns which section is open,
// by the part of the address behind the #; a section lives until its signal.

import { make } from "/web/shared/elements.js";
import { switchTheme, theme } from "/web/shared/i18n.js";

import { Adviser, advice } from "./advice.js";
import { fill, mark, show, write } from "./dom.js";
import { SILENT_MS } from "./figures.js";
import { icon } from "./icons.js";
import { money } from "./money.js";
import { nodes } from "./nodes.js";
import { overview } from "./overview.js";
import { room } from "./room.js";
import { rooms } from "./rooms.js";
import { settings } from "./settings.js";
import { Toasts } from "./toasts.js";
import { t, words } from "./words.js";

const SECTIONS = {
	overview: [overview, "overview"],
	advice: [advice, "advice"],
	rooms: [rooms, "chat"],
	money: [money, "money"],
	nodes: [nodes, "server"],
	settings: [settings, "settings"],
};
const STATES = { live: "good", connecting: "", waiting: "warn", closed: "bad", denied: "" };

export const roomLink = (name) => `#/rooms/${encodeURIComponent(name)}`;

function place() {
	const [, name = "", ...rest] = location.hash.split("/");
	try {
		return [name in SECTIONS ? name : "overview", decodeURIComponent(rest.join("/"))];
	} catch {
		return ["overview", ""];
	}
}

export class Shell {
	element = make("div", { class: "shell" });
	#context; #open; #links = {}; #main; #state; #count; #toasts;

	constructor(context) {
		const { api, live, signal } = context;
		this.#context = { ...context, adviser: new Adviser(api, signal) };
		addEventListener("hashchange", () => this.#go(), { signal });
		live.addEventListener("change", () => this.#told(), { signal });
		this.#context.adviser.addEventListener("change", () => this.#told(), { signal });
		document.addEventListener("themechange", () => this.#told(), { signal });
		const look = setInterval(() => this.#told(), 1_000);
		signal.addEventListener("abort", () => (clearInterval(look), this.#open?.abort()));
	}

	/** Everything, as it should be in this language. */
	draw() {
		this.#toasts = new Toasts();
		this.#count = make("span", { class: "count", hidden: true });
		const links = Object.entries(SECTIONS).map(([name, [, drawing]]) => {
			this.#links[name] = make("a", { href: `#/${name}` }, icon(drawing), make("span", {}, t(name)), name === "advice" ? this.#count : null);
			return make("li", {}, this.#links[name]);
		});
		this.#state = make("p", { class: "state", role: "status" }, make("i"), make("span"));
		const language = make("button", { class: "button plain small", type: "button", lang: words.language === "en" ? "zh-CN" : "en", onclick: () => words.switch(), "aria-label": words.language === "en" ? "中文" : "English" },
			icon("language"), make("span", {}, words.language === "en" ? "中文" : "English"));
		const shade = make("button", { class: "button plain small", type: "button", onclick: switchTheme, "aria-label": t("switch_theme"), title: t("switch_theme") }, icon(theme() === "dark" ? "sun" : "moon"));
		document.addEventListener("themechange", () => fill(shade, [icon(theme() === "dark" ? "sun" : "moon")]), { signal: this.#context.signal });
		const out = make("button", { class: "button plain small", type: "button", onclick: this.#context.leave, "aria-label": t("log_out"), title: t("log_out") }, icon("leave"));
		this.#main = make("main", { id: "main", tabindex: "-1" });
		fill(this.element, [
			make("header", { class: "side" },
				make("a", { class: "brand", href: "#/overview" }, icon("signal"), make("span", {}, "Roomcast")),
				make("nav", { "aria-label": t("sections") }, make("ul", {}, ...links)),
				make("div", { class: "side-foot" }, this.#state, make("div", { class: "side-acts" }, language, shade, out))),
			this.#main,
			this.#toasts.element,
		]);
		this.#go();
	}

	#go() {
		this.#open?.abort();
		this.#open = new AbortController();
		const { signal } = this.#open, [name, inside] = place();
		for (const [each, link] of Object.entries(this.#links)) mark(link, "aria-current", each === name ? "page" : null);
		const context = { ...this.#context, signal, toasts: this.#toasts };
		const element = name === "rooms" && inside ? room(context, inside) : SECTIONS[name][0](context);
		fill(this.#main, [element]);
		this.#main.scrollTop = 0;
		scrollTo(0, 0);
		document.title = `${name === "rooms" && inside ? inside : t(name)} · Roomcast`;
		this.#told();
	}

	#told() {
		const { live, figures, adviser } = this.#context;
		const silent = [...figures.nodes.values()].filter((node) => Date.now() - node.arrived > SILENT_MS).length;
		const kind = live.state === "live" && silent ? "warn" : STATES[live.state];
		mark(this.#state, "class", `state ${kind}`);
		write(this.#state.lastChild, live.state === "live" && silent ? t("nodes_silent", { n: silent }) : t(`state_${live.state}`));
		const urgent = adviser.advice.filter(({ severity }) => severity !== "hint").length;
		show(this.#count, urgent);
		write(this.#count, `${urgent}`);
		mark(this.#count, "aria-label", t("advice_count", { n: urgent }));
	}
}
