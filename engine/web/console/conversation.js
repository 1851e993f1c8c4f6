// What is said in a room, as it comes. Owns the list: bounded, filled five times a second, still while somebody reads above its end. A line
// is chosen with the arrow keys; Enter acts on who said it, Delete removes it.

import { make } from "/web/shared/elements.js";

import { fill, show, write } from "./dom.js";
import { clock, count } from "./format.js";
import { button } from "./panels.js";
import { t, words } from "./words.js";

const MOST = 200, NEAR = 48, EVERY_MS = 200;

/** A user as text, whatever is in the name. */
export function person({ id, name, role }) {
	return make("span", { class: "person" }, make("bdi", { title: id }, name || id), role ? make("span", { class: "badge accent" }, role) : null);
}

const LINES = {
	comment: ({ body }) => make("bdi", { class: "said" }, body),
	notice: ({ body }) => make("bdi", { class: "said notice" }, body),
	gift: ({ gift, count: n, amount }) => make("span", { class: "gave" }, t("line_gift", { gift, n, amount })),
	packet: ({ total, shares }) => make("span", { class: "gave" }, t("line_packet", { total, n: shares })),
	moderated: ({ action, user, reason }) => make("span", { class: "faint" }, words.has(`did_${action}`) ? t(`did_${action}`, { user }) : action, reason ? ` (${reason})` : ""),
};

export class Conversation {
	element; #list; #later; #new = []; #lines = []; #scroll; #unread = 0; #drawing = false; #fresh = true; #act; #delete;

	/** @param act Is called with an author and an offset; `remove` with an offset. */
	constructor({ act, remove }) {
		[this.#act, this.#delete] = [act, remove];
		this.#list = make("ol", { class: "conversation", "aria-label": t("conversation") });
		this.#scroll = make("div", { class: "conversation-scroll", tabindex: "0", role: "region", "aria-label": t("conversation") }, this.#list);
		this.#later = make("button", { class: "button small accent later", type: "button", hidden: true, onclick: () => this.#down() });
		this.element = make("div", { class: "conversation-box" }, this.#scroll, this.#later, make("p", { class: "faint keys" }, t("conversation_keys")));
		this.#scroll.addEventListener("scroll", () => this.#near && this.#read());
		this.#scroll.addEventListener("keydown", (event) => {
			if (event.target !== this.#scroll || event.key !== "ArrowUp") return;
			event.preventDefault();
			this.#list.lastElementChild?.focus();
		});
		this.#list.addEventListener("keydown", (event) => this.#key(event));
		this.#list.addEventListener("click", (event) => event.target.closest("li")?.focus());
	}

	/** Follow a room of the SDK. */
	follow(room) {
		for (const type of Object.keys(LINES)) room.on(type, (event) => this.#add(event));
		room.on("snapshot", ({ recent }) => {
			this.#clear();
			for (const event of recent) if (event.type in LINES) this.#add(event);
		});
		room.on("moderated", (event) => this.#vanish(event));
	}

	get #near() {
		return this.#scroll.scrollHeight - this.#scroll.scrollTop - this.#scroll.clientHeight < NEAR;
	}

	#clear() {
		[this.#new, this.#lines] = [[], []];
		fill(this.#list, []);
	}

	#add(event) {
		this.#new.push(event);
		if (this.#new.length > MOST) this.#new.shift();
		if (this.#drawing) return;
		this.#drawing = true;
		setTimeout(() => requestAnimationFrame(() => this.#draw()), this.#fresh ? 0 : EVERY_MS);
		this.#fresh = false;
	}

	#draw() {
		this.#drawing = false;
		const near = this.#near, fresh = this.#new.splice(0).map((event) => [event, this.#line(event)]);
		this.#list.append(...fresh.map(([, line]) => line));
		this.#lines.push(...fresh);
		if (near || this.#lines.length > 3 * MOST) for (const [, line] of this.#lines.splice(0, Math.max(this.#lines.length - MOST, 0))) line.remove();
		if (near && !this.#list.contains(document.activeElement)) return this.#down();
		this.#unread += fresh.length;
		show(this.#later, this.#unread);
		write(this.#later, t("new_lines", { n: this.#unread }));
	}

	#down() {
		this.#scroll.scrollTop = this.#scroll.scrollHeight;
		this.#read();
	}

	#read() {
		this.#unread = 0;
		show(this.#later, false);
	}

	#line(event) {
		const { type, author, offset, time } = event, own = type === "comment" || type === "notice";
		const acts = own && author.role !== "server" ? [
			button("", () => this.#act(author, offset), { name: "shield", kind: "plain round small", label: t("act_on") }),
			button("", () => this.#delete(offset), { name: "trash", kind: "plain round small", label: t("delete") }),
		] : own ? [button("", () => this.#delete(offset), { name: "trash", kind: "plain round small", label: t("delete") })] : [];
		for (const each of acts) each.tabIndex = -1;
		const line = make("li", { tabindex: "-1", class: `line-${type}`, dataset: { offset, user: author.id } },
			make("time", { title: count(offset) }, clock(time)), make("div", { class: "line-text" }, person(author), " ", LINES[type](event)), acts.length ? make("div", { class: "line-acts" }, ...acts) : null);
		line.event = event;
		return line;
	}

	#vanish({ offsets }) {
		for (const [event, line] of [...this.#lines]) {
			const within = offsets.some((first, at) => at % 2 === 0 && event.offset >= first && event.offset <= offsets[at + 1]);
			if (!within || event.type === "moderated") continue;
			line.classList.add("deleted");
			line.querySelector(".line-acts")?.remove();
			fill(line.querySelector(".line-text"), [person(event.author), make("span", { class: "faint" }, ` ${t("deleted")}`)]);
		}
	}

	#key(event) {
		const line = event.target.closest("li");
		const to = { ArrowUp: line?.previousElementSibling, ArrowDown: line?.nextElementSibling, Home: this.#list.firstElementChild, End: this.#list.lastElementChild }[event.key];
		if (to) to.focus();
		else if (event.key === "Enter" && event.target === line && line.querySelector(".line-acts")) this.#act(line.event.author, line.event.offset);
		else if (event.key === "Delete" && line.querySelector(".line-acts")) this.#delete(line.event.offset);
		else return;
		event.preventDefault();
	}
}
