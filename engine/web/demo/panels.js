// What stands beside the stream: poll, products, supporters, questions, what is pinned, the gift tray, red packets.
//
// Owns the elements of these. Must not know the stream, nor how the page is laid out. Each panel is told the room as it is and shows
// that; what a visitor does there goes through `act`, which tells why when it is refused.

import { icon, keyed, make, setText } from "../shared/elements.js";
import { pictureOf } from "./stage.js";
import { hueOf, initialOf, nameOf, span, words } from "./words.js";

const [SHOWN_GIVERS, SHOWN_QUESTIONS, SHOWN_CARDS] = [5, 4, 4];

const entries = (room, kind) => [...room.state.values()].filter((entry) => entry.kind === kind);
const face = (id, name) => make("span", { class: "face", "aria-hidden": "true", dataset: { hue: hueOf(id) } }, initialOf(name));

/** A panel's head, and the list below it. */
function furnish(root, name, picture) {
	const title = make("h3", { id: `${name}-title`, class: "panel-title" }, icon(picture), make("span", { dataset: { text: name } }, words.text(name)));
	const body = make("div", { class: "panel-body" });
	root.replaceChildren(title, body);
	return body;
}

export class Polls {
	#root; #body; #act; #mine = new Map();

	/** act(run): call run(room), and tell what is refused; resolves to whether it went well. */
	constructor(root, act) {
		this.#root = root;
		this.#body = furnish(root, "polls", "poll");
		this.#act = act;
	}

	/** Whether one is open. */
	open = false;

	show(room) {
		const now = room.now();
		const polls = entries(room, "poll").map(({ key, value }) => {
			const votes = value.options.map((_, at) => room.counters.votes[`poll:${key}`]?.[at] ?? 0);
			const open = value.open && !(value.closes > 0 && value.closes <= now);
			return { key, value, votes, open, left: value.closes - now, reader: room.role === "reader" };
		});
		polls.sort((a, b) => b.open - a.open);
		this.open = polls.some((poll) => poll.open);
		this.#root.hidden = !polls.length;
		keyed(this.#body, polls.slice(0, 2), ({ key }) => key, (poll) => this.#make(poll), (element, poll) => this.#fill(element, poll));
	}

	#make({ key, value }) {
		const options = value.options.map((option, at) => {
			const vote = () => this.#vote(key, at);
			return make("li", {}, make("button", { class: "option", type: "button", onclick: vote },
				make("span", { class: "option-bar" }), make("bdi", { class: "option-text" }, option), make("span", { class: "option-share" })));
		});
		return make("div", { class: "poll" }, make("p", { class: "poll-question", dir: "auto" }), make("ol", { class: "options" }, ...options), make("p", { class: "poll-foot" }));
	}

	#fill(element, { key, value, votes, open, left, reader }) {
		const [question, options, foot] = element.children, sum = votes.reduce((all, each) => all + each, 0), mine = this.#mine.get(key);
		const most = Math.max(...votes);
		setText(question, value.question);
		[...options.children].forEach(({ firstChild: button }, at) => {
			const share = sum ? votes[at] / sum : 0, [bar, , percent] = button.children;
			bar.style.transform = `scaleX(${share.toFixed(3)})`;
			setText(percent, words.percent(share, 0));
			button.setAttribute("aria-pressed", `${mine === at}`);
			button.setAttribute("aria-disabled", `${!open || reader || mine !== undefined}`);
			button.dataset.lead = most > 0 && votes[at] === most ? "lead" : "";
			const label = `${words.text("poll.choose", { option: value.options[at] })}: ${words.percent(share, 0)}`;
			if (button.getAttribute("aria-label") !== label) button.setAttribute("aria-label", label);
		});
		const rest = open ? (value.closes ? words.text("poll.left", { time: span(left) }) : "") : words.text("poll.closed");
		setText(foot, [words.text("poll.votes", { n: sum }), rest].filter(Boolean).join(" · "));
	}

	async #vote(key, at) {
		if (this.#mine.has(key)) return;
		this.#mine.set(key, at);
		const vote = (room) => (this.show(room), room.vote("poll", key, at));
		if (!(await this.#act(vote))) this.#mine.delete(key);
	}
}

export class Cards {
	#root; #body;

	constructor(root) {
		this.#root = root;
		this.#body = furnish(root, "cards", "bag");
	}

	show(room) {
		const cards = entries(room, "card").reverse().sort((a, b) => b.value.now - a.value.now || b.value.on_sale - a.value.on_sale);
		this.#root.hidden = !cards.length;
		keyed(this.#body, cards.slice(0, SHOWN_CARDS), ({ key }) => key, (card) => this.#make(card), (element, { value }) => this.#fill(element, value));
	}

	#make({ value }) {
		return make("div", { class: "product" },
			make("span", { class: "product-picture", "aria-hidden": "true", dataset: { hue: hueOf(value.title) } }, initialOf(value.title)),
			make("div", { class: "product-text" }, make("p", { class: "product-title", dir: "auto" }), make("p", { class: "product-line" }, make("span", { class: "product-price" }), make("span", { class: "product-stock" }))),
			make("span", { class: "badge" }), make("a", { class: "button small primary", target: "_blank", rel: "noopener noreferrer" }));
	}

	#fill(element, { title, price, stock, url, on_sale: sells, now }) {
		const [picture, { children: [name, { children: [cost, left] }] }, badge, link] = element.children;
		element.dataset.now = now ? "now" : "";
		setText(picture, initialOf(title));
		setText(name, title);
		setText(cost, price);
		setText(left, !sells ? words.text("card.off") : stock === 0 ? words.text("card.sold") : stock > 0 ? words.text("card.stock", { n: stock }) : "");
		setText(badge, words.text("card.now"));
		badge.hidden = !now;
		// The server lets only paths and the web's addresses in; here nothing else gets out, either.
		const address = url && URL.canParse(url, location.href) ? new URL(url, location.href) : null;
		link.hidden = !address?.protocol.startsWith("http") || !sells;
		if (!link.hidden && link.href !== address.href) link.href = address.href;
		setText(link, words.text("card.see"));
	}
}

export class Givers {
	#body; #none;

	constructor(root) {
		this.#body = furnish(root, "givers", "trophy");
		this.#none = make("p", { class: "panel-none", dataset: { text: "givers.none" } }, words.text("givers.none"));
		this.#body.append(this.#none, make("ol", { class: "ranks" }));
	}

	show(room) {
		const givers = room.counters.givers.slice(0, SHOWN_GIVERS).map((giver, at) => ({ ...giver, at, mine: giver.user === room.user }));
		this.#none.hidden = givers.length > 0;
		keyed(this.#body.lastChild, givers, ({ user }) => user, ({ user, name }) => {
			return make("li", { class: "rank" }, make("span", { class: "rank-number" }), face(user, nameOf({ id: user, name })), make("bdi", { class: "rank-name" }), make("span", { class: "rank-given" }));
		}, (element, { user, name, given, at, mine }) => {
			const [number, , who, sum] = element.children;
			element.dataset.mine = mine ? "mine" : "";
			setText(number, `${at + 1}`);
			setText(who, nameOf({ id: user, name }));
			setText(sum, words.short(given));
		});
	}
}

export class Questions {
	#body; #none; #act; #mine = new Set();

	constructor(root, act) {
		this.#body = furnish(root, "questions", "question");
		this.#act = act;
		this.#none = make("p", { class: "panel-none", dataset: { text: "questions.none" } }, words.text("questions.none"));
		const field = make("input", { class: "field", maxlength: 200, dir: "auto", dataset: { hint: "question.hint", label: "question.hint" }, placeholder: words.text("question.hint"), "aria-label": words.text("question.hint") });
		const form = make("form", { class: "ask" }, field, make("button", { class: "button", dataset: { text: "question.ask" } }, words.text("question.ask")));
		form.addEventListener("submit", async (event) => {
			event.preventDefault();
			const body = field.value.trim();
			if (body && (await act((room) => room.question(body)))) field.value = "";
		});
		this.#body.append(this.#none, make("ol", { class: "questions" }), form);
	}

	show(room) {
		const questions = entries(room, "question").map(({ key, value }) => ({ key, value, votes: room.counters.votes[`question:${key}`]?.[0] ?? 0 }));
		questions.sort((a, b) => a.value.answered - b.value.answered || b.votes - a.votes);
		this.#none.hidden = questions.length > 0;
		keyed(this.#body.children[1], questions.slice(0, SHOWN_QUESTIONS), ({ key }) => key, ({ key }) => {
			const vote = async () => {
				if (this.#mine.has(key)) return;
				this.#mine.add(key);
				const going = (now) => (this.show(now), now.vote("question", key));
				if (!(await this.#act(going))) this.#mine.delete(key);
			};
			return make("li", { class: "question" }, make("button", { class: "button small", type: "button", onclick: vote }), make("bdi", { class: "question-body" }), make("span", { class: "badge good" }));
		}, (element, { key, value, votes }) => {
			const [button, body, badge] = element.children;
			setText(button, words.short(votes));
			button.setAttribute("aria-pressed", `${this.#mine.has(key)}`);
			button.setAttribute("aria-label", `${words.text("question.vote", { body: value.body })}: ${votes}`);
			setText(body, value.body);
			setText(badge, words.text("question.answered"));
			badge.hidden = !value.answered;
		});
	}
}

/** What the host keeps in sight: the newest pin, and an announcement (the attribute of that name). */
export class Pinned {
	#root;

	constructor(root) {
		this.#root = root;
	}

	show(room) {
		const pins = entries(room, "pin").slice(-1).filter(({ value }) => value.event?.body).map(({ key, value }) => ({ key: `pin ${key}`, title: "pin", author: value.event.author, text: value.event.body }));
		const said = entries(room, "attribute").filter(({ key, value }) => key === "announcement" && value.value).map(({ value }) => ({ key: "announcement", title: "announcement", author: null, text: `${value.value}` }));
		keyed(this.#root, [...said, ...pins], ({ key }) => key, ({ title }) => {
			return make("div", { class: "pin" }, icon(title === "pin" ? "pin" : "notice"), make("p", {}, make("span", { class: "pin-title" }), make("bdi", { class: "pin-name" }), make("bdi", { class: "pin-text" })));
		}, ({ lastChild: { children: [label, who, body] } }, { title, author, text }) => {
			setText(label, words.text(title));
			setText(who, author ? nameOf(author) : "");
			setText(body, text);
		});
	}
}

// -- money

const COUNTS = [1, 10, 66];

export class Tray {
	/** What can be given, by id. */
	offers = new Map();

	#root; #act; #count = COUNTS[0];

	constructor(root, act) {
		this.#root = root;
		this.#act = act;
	}

	async load(room) {
		try {
			this.offers = new Map((await room.gifts()).map((gift) => [gift.id, gift]));
		} catch (error) {
			if (!error.reason) throw error;
		}
		this.draw();
	}

	nameOf(id) {
		return this.offers.get(id)?.name || id;
	}

	pictureOf(id) {
		return pictureOf(this.offers.get(id)?.effect ?? "", id);
	}

	draw() {
		const gifts = [...this.offers.values()].map((gift) => {
			const { id, name, price } = gift, give = () => this.#give(gift, button);
			const button = make("button", { class: "gift", type: "button", onclick: give, "aria-label": words.text("gifts.give", { gift: name || id, price: words.text("coins", { n: price }) }) },
				this.pictureOf(id), make("bdi", { class: "gift-name" }, name || id), make("span", { class: "gift-price" }, words.text("coins", { n: price })));
			return make("li", {}, button);
		});
		const counts = COUNTS.map((count) => make("button", { class: "count", type: "button", "aria-pressed": `${count === this.#count}`, onclick: ({ target }) => this.#choose(count, target) }, `× ${count}`));
		this.#root.replaceChildren(
			make("div", { class: "tray-top" }, make("h3", {}, words.text("gifts")), make("div", { class: "counts", role: "group", "aria-label": words.text("gifts.count") }, ...counts)),
			gifts.length ? make("ul", { class: "gift-list" }, ...gifts) : make("p", { class: "panel-none" }, words.text("gifts.none")));
	}

	#choose(count, button) {
		this.#count = count;
		for (const each of button.parentNode.children) each.setAttribute("aria-pressed", `${each === button}`);
	}

	async #give({ id }, button) {
		const count = this.#count;
		button.animate([{ transform: "scale(.92)" }, { transform: "none" }], 160);
		await this.#act((room) => room.give(id, count), () => words.text("gifts.thanks", { gift: this.nameOf(id), count }));
	}
}

const OVER_MS = 8000;

/** Red packets, the next to do something with in front: it opens, one claims, sees what everybody got, and it goes. */
export class Packets {
	#root; #act; #packets = new Map(); #parts = null;

	constructor(root, act) {
		this.#root = root;
		this.#act = act;
	}

	/** Packets that are in the room's state. */
	show(room) {
		for (const { key, value } of entries(room, "packet")) {
			if (!this.#packets.has(+key)) this.#packets.set(+key, { entry: +key, ...value, won: [], known: false, mine: null, over: 0, hidden: false });
		}
		for (const [entry, packet] of this.#packets) {
			if (!packet.over && room.certain && !room.state.has(`packet:${entry}`)) packet.over = room.now();
			if (packet.over && room.now() > packet.over + OVER_MS) this.#packets.delete(entry);
		}
		this.#draw(room);
	}

	/** One was made while this page was there: all its shares will be seen. */
	made({ entry }) {
		const packet = this.#packets.get(entry);
		if (packet) packet.known = true;
	}

	share({ packet: entry, author, amount }, room) {
		const packet = this.#packets.get(entry);
		if (!packet) return;
		packet.won.push({ id: author.id, name: nameOf(author), amount });
		if (author.id === room.user) packet.mine = amount;
	}

	#draw(room) {
		const now = room.now(), rank = ({ mine, over, opens }) => (over ? 2 : mine !== null ? 3 : opens <= now ? 0 : 1);
		const [packet] = [...this.#packets.values()].filter((each) => !each.hidden).sort((a, b) => rank(a) - rank(b) || a.opens - b.opens);
		this.#root.hidden = !packet;
		if (!packet) return;
		this.#parts ??= this.#make();
		this.#parts.packet = packet;
		this.#fill(packet, now, room);
	}

	#make() {
		const close = make("button", { class: "packet-close", type: "button", "aria-label": words.text("close"), dataset: { label: "close" }, onclick: () => {
			this.#parts.packet.hidden = true;
			this.#root.hidden = true;
		} }, icon("close"));
		const parts = {
			from: make("bdi", { class: "packet-from" }), text: make("bdi", { class: "packet-text" }),
			seal: make("button", { class: "packet-seal", type: "button", onclick: () => this.#claim(this.#parts.packet) }),
			result: make("p", { class: "packet-result", role: "status" }), foot: make("p", { class: "packet-foot" }), won: make("ol", { class: "packet-won" }),
		};
		parts.card = make("section", { class: "packet", "aria-label": words.text("packet"), dataset: { label: "packet" } },
			close, parts.from, parts.text, parts.seal, parts.result, parts.foot, parts.won);
		this.#root.replaceChildren(parts.card);
		return parts;
	}

	#fill(packet, now, room) {
		const { card, from, text, seal, result, foot, won } = this.#parts, { author: [id, name], opens, shares, mine, over, missed } = packet;
		const waits = opens > now, best = packet.won.reduce((most, each) => (each.amount > (most?.amount ?? 0) ? each : most), null);
		const done = mine !== null || over || missed;
		card.dataset.state = mine !== null ? "won" : done ? "over" : waits ? "waits" : packet.claiming ? "claiming" : "open";
		setText(from, words.text("packet.from", { name: nameOf({ id, name }) }));
		setText(text, packet.text || words.text("packet"));
		seal.hidden = done;
		seal.disabled = waits || packet.claiming || room.role === "reader";
		setText(seal, waits ? span(opens - now) : words.text(packet.claiming ? "packet.opening" : "packet.open"));
		const outcome = mine !== null ? words.text("packet.won", { n: mine }) : missed ? words.text("packet.missed") : over ? words.text("packet.ended") : "";
		setText(result, outcome);
		const conditions = [packet.phrase && words.text("packet.phrase", { phrase: packet.phrase }), packet.followers && words.text("packet.followers")];
		const left = !packet.known ? "" : packet.won.length >= shares ? words.text("packet.over", { shares }) : words.text("packet.left", { left: shares - packet.won.length, shares });
		const winner = over && best ? words.text("packet.best", { name: best.name, amount: best.amount }) : "";
		setText(foot, (done ? [winner || left] : [...conditions, waits ? words.text("packet.total", { total: packet.total, shares }) : left]).filter(Boolean).join(" · "));
		const lines = packet.won.slice(-3).reverse();
		keyed(won, lines, (line) => `${packet.entry} ${line.id}`, () => make("li", {}, make("bdi", {}), make("span", {})), ({ children: [who, sum] }, line) => {
			setText(who, line.name);
			setText(sum, words.number(line.amount));
		});
	}

	async #claim(packet) {
		packet.claiming = true;
		const went = await this.#act(async (room) => {
			this.#draw(room);
			try {
				packet.mine = (await room.claim(packet.entry)).amount;
			} catch (error) {
				if (error.code !== 120) throw error;
				packet.missed = true;
			}
		});
		packet.claiming = false;
		if (went && !packet.missed) this.#parts.result.animate([{ transform: "scale(.5)", opacity: 0 }, {}], { duration: 320, easing: "cubic-bezier(.2,.7,.2,1)" });
	}
}
