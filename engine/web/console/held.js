// Comments that wait for a decision. Owns the queue: it is asked for, and what comes backstage is added or taken away at once. A
// publishes the chosen one, R does not.

import { make } from "/web/shared/elements.js";

import { repeat, roomPath } from "./api.js";
import { fill, show, write } from "./dom.js";
import { clock } from "./format.js";
import { button, panel, Place } from "./panels.js";
import { person } from "./conversation.js";
import { t } from "./words.js";

const LOOK_MS = 20_000, SETTLING_MS = 2_000, SHOWN = 50, REMEMBERED = 10_000, ASKED = 1_000, DECISIONS = ["approve", "reject"];

export class HeldQueue {
	element; #context; #room; #list; #count; #none; #place = new Place(); #held = new Map(); #decided = new Set(); #lines = new Map(); #more; #look; #known = false;

	constructor(context, room) {
		[this.#context, this.#room] = [context, room];
		this.#list = make("ol", { class: "held" });
		this.#list.addEventListener("keydown", (event) => this.#key(event));
		this.#count = make("span", { class: "badge warn", hidden: true });
		this.#none = make("p", { class: "empty" }, t("nothing_held"));
		this.#more = make("p", { class: "faint", hidden: true });
		this.element = panel(t("held"), { acts: [this.#count], className: "held-panel" }, this.#place.element, this.#none, this.#list, this.#more, make("p", { class: "faint keys" }, t("held_keys")));
		this.#look = repeat(async () => {
			const asked = performance.now() - SETTLING_MS;
			const { held } = await context.api.get(`${roomPath(room, "held")}?limit=${ASKED}`, { scope: "moderate", signal: context.signal });
			// The answer may be older than what has come meanwhile.
			const fresh = [...this.#held.values()].filter(({ came }) => came > asked);
			this.#held = new Map([...held, ...fresh].filter(({ offset }) => !this.#decided.has(offset)).map((each) => [each.offset, each]));
			this.#place.clear();
			this.#known = true;
			this.#draw();
		}, LOOK_MS, context.signal, (fault) => {
			this.#known = false;
			this.#place.fault(fault);
		});
	}

	/** How many wait; null: that is not known here. */
	get count() {
		return this.#known && this.#held.size < ASKED ? this.#held.size : null;
	}

	/** Follow the room's backstage. */
	follow(backstage) {
		const take = ({ type, offset, time, event, reason, action, offsets }) => {
			if (type === "held" && !this.#decided.has(offset)) this.#held.set(offset, { offset, time, event, reason, came: performance.now() });
			if (type === "moderated" && DECISIONS.includes(action)) offsets.forEach((each) => this.#gone(each));
		};
		// What happened before it was entered, or is missing since, is asked for.
		for (const type of ["snapshot", "gap"]) backstage.on(type, () => this.#look());
		backstage.on("held", (event) => (take(event), this.#draw()));
		backstage.on("moderated", (event) => (take(event), this.#draw()));
	}

	#gone(offset) {
		this.#decided.add(offset);
		if (this.#decided.size > REMEMBERED) this.#decided.delete(this.#decided.values().next().value);
		this.#held.delete(offset);
	}

	#draw() {
		const all = [...this.#held.values()].sort((a, b) => a.offset - b.offset), shown = all.slice(0, SHOWN);
		const chosen = this.#list.querySelector("[tabindex='0']"), place = chosen ? [...this.#list.children].indexOf(chosen) : 0, here = this.#list.contains(document.activeElement);
		this.#lines = new Map(shown.map((each) => [each.offset, this.#lines.get(each.offset) ?? this.#line(each)]));
		fill(this.#list, this.#lines.values());
		const next = this.#list.children[Math.min(place, shown.length - 1)];
		if (!chosen?.isConnected && next) this.#choose(next, here);
		show(this.#none, !all.length);
		show(this.#count, all.length);
		write(this.#count, `${all.length}`);
		show(this.#more, all.length > shown.length);
		write(this.#more, t("more_held", { n: all.length - shown.length }));
	}

	#line({ offset, time, event, reason }) {
		const acts = DECISIONS.map((decision) => button(t(decision), () => this.#decide(offset, decision), { name: decision === "approve" ? "check" : "close", kind: `small ${decision === "approve" ? "primary" : "danger"}` }));
		return make("li", { tabindex: "-1", dataset: { offset } },
			make("div", { class: "held-head" }, person(event.author), make("time", {}, clock(time))),
			make("bdi", { class: "said" }, event.body ?? ""), make("div", { class: "held-foot" }, make("span", { class: "badge warn", title: t("held_for") }, make("bdi", {}, reason || t("held"))), make("div", { class: "acts" }, ...acts)));
	}

	#choose(line, focus = true) {
		for (const each of this.#list.children) each.tabIndex = each === line ? 0 : -1;
		if (focus) line.focus();
	}

	async #decide(offset, decision) {
		const { api, toasts } = this.#context;
		try {
			await api.post(roomPath(this.#room, "held", offset, decision), undefined, { scope: "moderate" });
			this.#gone(offset);
			toasts.good(t(`done_${decision}`));
		} catch (fault) {
			if (fault.status === 404) this.#gone(offset);
			toasts.fault(fault);
		}
		this.#draw();
	}

	#key(event) {
		const line = event.target.closest("li"), key = event.key.toLowerCase();
		const to = { arrowup: line.previousElementSibling, arrowdown: line.nextElementSibling }[key];
		if (to) this.#choose(to);
		else if ((key === "a" || key === "r") && !event.ctrlKey && !event.metaKey && !event.altKey) this.#decide(Number(line.dataset.offset), key === "a" ? "approve" : "reject");
		else return;
		event.preventDefault();
	}
}
