// The demo room: one viewer's way into it, and what becomes of everything that comes.
//
// Owns the room object, the composer and the page's controls. Must not know how lines, panels and hearts are drawn. Built on the public
// SDK alone: a product's page can do all of this. Nothing that comes is left out: `roomcastDemo` counts events in and handled.

import { join } from "/sdk/roomcast.js";
import { byId, fillIcons, icon, setText } from "../shared/elements.js";
import { keep, kept, switchTheme, theme } from "../shared/i18n.js";
import { Cards, Givers, Packets, Pinned, Polls, Questions, Tray } from "./panels.js";
import { Clock, Hearts, Lanes, Likes } from "./stage.js";
import { Stream } from "./stream.js";
import { endingOf, hueOf, initialOf, nameOf, reasonOf, words } from "./words.js";

const [TICK_MS, PANELS_MS, TOLD_MS, NOTICE_MS, COMBOS] = [500, 250, 8000, 15_000, 200];

const address = new URLSearchParams(location.search);
const field = byId("say"), nameField = byId("name");
const tally = { events: 0, shown: 0, gaps: 0 };
let entrance, room, name = address.get("name") || kept("name"), askedName = name !== null;
let waiting, reply, muted, hostName = "", waitingText, told = { comments: 0, gifts: 0, last: [] };
let hintTimer, bannerTimer, noticeTimer, noticeOffset = 0, panelsDue = false;
let fading = [];
const own = new Map(), combos = new Map();

const stream = new Stream(byId("stream"), byId("rows"), { onReply: (line) => answer(line), onTurn: () => showPause() });
const hearts = new Hearts(byId("hearts")), likes = new Likes(byId("like"), hearts, () => room), lanes = new Lanes(byId("lanes"));
const pinned = new Pinned(byId("pinned")), tray = new Tray(byId("tray"), act);
const polls = new Polls(byId("polls"), act), packets = new Packets(byId("packets"), act);
const panels = [pinned, polls, new Cards(byId("cards")), new Givers(byId("givers")), new Questions(byId("questions"), act), packets];
new Clock(byId("clock"), byId("tenth"), byId("dial"), () => room?.now() ?? Date.now());

// -- into the room

// A reload is the same viewer, and begins with what the screen shows, not where it stopped.
const storage = {
	getItem(key) {
		const { id, taps } = JSON.parse(sessionStorage.getItem(key)) ?? {};
		return id ? JSON.stringify({ id, taps }) : null;
	},
	setItem: (key, text) => sessionStorage.setItem(key, text),
	removeItem: (key) => sessionStorage.removeItem(key),
};

function enter() {
	open();
	room.ready.then(() => tray.load(room), () => {});
}

function open(session) {
	room = join(entrance.url, address.get("room") || entrance.room, { name: name || undefined, session, storage });
	room.on("*", take);
}

function take(item) {
	if (item.raw) tally.events++;
	(TAKEN[item.type] ?? (() => {}))(item);
	if (item.raw) tally.shown++;
}

const TAKEN = {
	status: turned,
	snapshot({ recent }) {
		for (const event of recent) if (!stream.at(event.offset)) LINES[event.type]?.(event);
		counted(room.counters);
		showRoom();
	},
	present: () => showRoom(),
	counters: counted,
	pending(item) {
		const line = own.get(item.ref) ?? { kind: "comment", own: true, author: item.author, text: () => item.body, quote: quoteOf(item) };
		line.state = item.state;
		line.until = item.error?.retryAfterMs ? Date.now() + item.error.retryAfterMs : 0;
		line.mark = markOf(item, line.until);
		line.again = ["sent", "held", "published"].includes(item.state) || item.error?.code >= 100 ? null : () => (drop(line, item.ref), say(item.body, item));
		if (item.error) hint(() => line.mark());
		if (own.has(item.ref)) stream.change(line);
		else own.set(item.ref, stream.add(line));
		if (item.state === "published") own.delete(item.ref);
	},
	comment(item) {
		if (item.replaces) drop(own.get(item.replaces.ref), item.replaces.ref);
		LINES.comment(item);
		told.comments++;
		told.last = [...told.last, `${nameOf(item.author)}: ${item.body}`].slice(-3);
	},
	notice(item) {
		LINES.notice(item);
		setText(byId("notice-text"), item.body);
		byId("notice").hidden = false;
		noticeOffset = item.receipts ? item.offset : 0;
		clearTimeout(noticeTimer);
		if (!item.receipts) noticeTimer = setTimeout(() => (byId("notice").hidden = true), NOTICE_MS);
	},
	gift(item) {
		const { author, gift, combo, comboCount: count, amount } = item, who = nameOf(author);
		told.gifts += item.count;
		lanes.show({ combo, name: who, initial: initialOf(who), hue: hueOf(author.id), text: words.text("row.gift", { gift: tray.nameOf(gift) }), picture: () => tray.pictureOf(gift), count, amount });
		LINES.gift(item);
	},
	packet(item) {
		LINES.packet(item);
		showPanels();
		packets.made(item);
	},
	share(item) {
		packets.share(item, room);
		LINES.share(item);
		soonPanels();
	},
	packetEnd(item) {
		LINES.packetEnd(item);
		soonPanels();
	},
	correction: (item) => LINES.correction(item),
	presence: (item) => LINES.presence(item),
	moderated({ action, user, offsets, until }) {
		if (offsets.length) stream.erase(offsets, "mark.removed");
		if (user && user === room.user && /^(un)?mute$/.test(action)) muted = action === "mute" ? { until } : null;
		if (action === "clear") stream.add({ kind: "system", text: () => words.text("row.clear") });
		showComposer();
	},
	state({ kind }) {
		if (["mode", "life", "attribute"].includes(kind)) showRoom();
		else soonPanels();
	},
	gap({ first, last, reason }) {
		tally.gaps++;
		if (reason === "epoch") stream.renumber();
		const n = last ? last - first + 1 : 0, key = n && words.has(`gap.${reason}`) ? `gap.${reason}` : n ? "gap.other" : "gap.epoch";
		stream.add({ kind: "gap", text: () => words.text(key, { n }) });
	},
	direct: ({ author, body }) => stream.add({ kind: "notice", author, text: () => body }),
	refused: ({ error }) => hint(() => reasonOf(error)),
};

// Lines of the stream, of events that come and of those that were there before.
const LINES = {
	comment(item) {
		const { offset, author, body, mentions, expires } = item, mine = author.id === room.user;
		const line = stream.add({ kind: "comment", offset, author, text: () => body, quote: quoteOf(item), own: mine, forMe: mentions.includes(room.user) });
		seen(author);
		if (expires) fading.push({ offset, expires });
		return line;
	},
	notice: ({ offset, author, body }) => stream.add({ kind: "notice", offset, author, tag: "row.notice", text: () => body }),
	gift({ offset, author, gift, combo, comboCount: count }) {
		const before = combos.get(combo);
		if (before) return (before.count = count), stream.change(before);
		const line = { kind: "gift", offset, author, count };
		line.text = () => words.text(line.count > 1 ? "row.giftMany" : "row.gift", { gift: tray.nameOf(gift), count: line.count });
		combos.set(combo, stream.add(line));
		if (combos.size > COMBOS) combos.delete(combos.keys().next().value);
	},
	packet: ({ offset, author, total, shares }) => stream.add({ kind: "packet", offset, author, text: () => words.text("row.packet", { total, shares }) }),
	share: ({ offset, author, amount }) => stream.add({ kind: "money", offset, author, text: () => words.text("row.share", { amount }) }),
	packetEnd: ({ offset, claimed }) => stream.add({ kind: "system", offset, text: () => words.text("row.packetEnd", { claimed }) }),
	correction: ({ offset, amount }) => stream.add({ kind: "system", offset, text: () => words.text("row.correction", { amount }) }),
	presence: ({ offset, author, present }) => stream.add({ kind: "presence", offset, author, text: () => words.text(present ? "row.came" : "row.left") }),
};

// Who leads the room is known from what it says.
function seen(author) {
	if (author?.role !== "host" || author.name === hostName || !author.name) return;
	hostName = author.name;
	queueMicrotask(showRoom);
}

function quoteOf({ replyTo }) {
	if (!replyTo) return null;
	return () => {
		const line = stream.at(replyTo);
		return line?.author && !line.gone ? `${nameOf(line.author)}: ${line.text().slice(0, 80)}` : words.text("reply.gone");
	};
}

function markOf({ state, error }, until) {
	if (!error) return () => words.text(`mark.${state}`);
	return () => {
		const why = reasonOf(error), seconds = Math.ceil((until - Date.now()) / 1000);
		return seconds > 0 ? words.text("mark.retry", { why, seconds }) : words.text("mark.refused", { why });
	};
}

function drop(line, ref) {
	if (line) stream.remove(line);
	own.delete(ref);
}

// -- the connection

function turned({ status, delayMs, error, resumed }) {
	byId("link").dataset.status = status;
	document.documentElement.dataset.status = status;
	const was = waiting;
	waiting = status === "waiting" ? { until: Date.now() + delayMs, error } : status === "connecting" ? was : null;
	if (status === "open" && was && resumed) banner("good", () => words.text("banner.back"), 4000);
	else if (status === "open") banner();
	else if (status === "closed" && error.reason !== "left") banner("closed", () => words.text("banner.closed", { why: endingOf(error) }));
	else if (status === "connecting" && !was) banner("connecting", () => words.text("banner.connecting"));
	else if (waiting) banner("waiting", waitingFor);
	setText(byId("link-text"), words.text(`status.${status}`));
	showComposer();
}

function waitingFor() {
	const seconds = Math.ceil((waiting.until - Date.now()) / 1000);
	return seconds > 0 ? words.text("banner.waiting", { seconds }) : words.text("banner.now");
}

function banner(status, text, ms) {
	const element = byId("banner");
	clearTimeout(bannerTimer);
	waitingText = status ? text : null;
	element.hidden = !status;
	if (!status) return;
	element.dataset.status = status;
	setText(element, text());
	if (ms) bannerTimer = setTimeout(() => banner(), ms);
}

// -- what the room is

function counted(counters) {
	setText(byId("viewers"), words.short(counters.viewers));
	setText(byId("likes"), words.short(counters.likes));
	likes.counted(counters.likes);
	soonPanels();
}

function soonPanels() {
	if (panelsDue) return;
	panelsDue = true;
	setTimeout(showPanels, PANELS_MS);
}

function showPanels() {
	panelsDue = false;
	for (const panel of panels) panel.show(room);
	byId("more").dataset.news = polls.open ? "news" : "";
}

function showRoom() {
	const title = room.state.get("life:")?.value.title || address.get("room") || entrance.room;
	for (const { kind, value } of room.state.values()) if (kind === "pin") seen(value.event?.author);
	const host = room.state.get("attribute:host")?.value.value || hostName || title;
	setText(byId("title"), title);
	setText(byId("host"), `${host}`);
	setText(byId("host-face"), initialOf(`${host}`));
	document.title = `${title} · Roomcast`;
	showPanels();
	showComposer();
}

// -- the composer

/** Do something in the room; tell what is refused. Resolves to whether it went well. */
async function act(run, thanks) {
	if (!room) return false;
	try {
		await run(room);
		if (thanks) hint(thanks, "good");
		return true;
	} catch (error) {
		if (!error.reason) throw error;
		hint(() => reasonOf(error));
		return false;
	}
}

function hint(text, tone = "bad") {
	clearTimeout(hintTimer);
	byId("hint").dataset.tone = tone;
	setText(byId("hint"), text());
	hintTimer = setTimeout(showComposer, 5000);
}

function showComposer() {
	const mode = room?.state.get("mode:")?.value, life = room?.state.get("life:")?.value.state, viewer = room?.role === "viewer";
	const slow = mode?.slow.viewer;
	let why = "", may = true;
	if (room?.role === "reader") [why, may] = [words.text("say.reader"), false];
	else if (viewer && life === "closed") [why, may] = [words.text("say.closed"), false];
	else if (muted && !(muted.until && muted.until < room.now())) [why, may] = [muted.until ? words.text("say.mutedUntil", { time: words.time(muted.until) }) : words.text("say.muted"), false];
	else if (mode?.mode === "closed") [why, may] = [words.text("say.closedMode"), false];
	else if (viewer && mode?.mode === "staff") [why, may] = [words.text("say.staff"), false];
	else if (viewer && mode?.mode === "followers") why = words.text("say.followers");
	else if (viewer && mode?.mode === "emotes") why = words.text("say.emotes");
	else if (viewer && slow) why = words.text("say.slow", { seconds: slow });
	clearTimeout(hintTimer);
	byId("hint").dataset.tone = "";
	setText(byId("hint"), why);
	field.disabled = byId("send").disabled = !may;
	for (const id of ["gift", "like", "me"]) byId(id).disabled = room?.role === "reader";
	const shown = name || words.text("guest");
	setText(byId("me"), shown);
	byId("me").setAttribute("aria-label", words.text(name ? "name.me" : "name.guest", { name: shown }));
}

function answer(line) {
	reply = line && { offset: line.offset, author: line.author };
	byId("replying").hidden = !line;
	if (line) setText(byId("replying-text"), `${words.text("reply.to", { name: nameOf(line.author) })} · ${line.text()}`);
	if (line) field.focus();
}

function say(body, { replyTo = 0, mentions = [] } = {}) {
	room.say(body, { replyTo, mentions }).catch(() => {}); // "pending" tells
	stream.resume();
}

function submit() {
	const body = field.value.trim();
	if (!body || field.disabled || !room) return;
	if (!askedName) return askName();
	const options = reply ? { replyTo: reply.offset, mentions: [reply.author.id] } : {};
	field.value = "";
	answer(null);
	say(body, options);
}

function askName() {
	byId("naming").hidden = false;
	nameField.value = name ?? "";
	nameField.focus();
}

// Who it is in the room is said at the door: another name goes out and comes back as the same viewer.
function named(chosen) {
	byId("naming").hidden = true;
	askedName = true;
	const before = name;
	name = chosen.trim();
	keep("name", name);
	if ((before || "") !== name) {
		const { session } = room;
		room.off("*", take);
		room.leave();
		open(session);
	}
	showComposer();
	field.focus();
	submit();
}

// -- sheets: the tray, and on phones the shelf

function sheet(opener, element, open, focus) {
	opener.setAttribute("aria-expanded", `${open}`);
	element.dataset.open = open ? "open" : "";
	if (element.id === "tray") element.hidden = !open;
	if (focus) (open ? (element.querySelector(".gift") ?? element.querySelector("button")) : opener).focus();
}
const sheets = [[byId("gift"), byId("tray")], [byId("more"), byId("shelf")]];
const isOpen = ([opener]) => opener.getAttribute("aria-expanded") === "true";

for (const pair of sheets) {
	pair[0].addEventListener("click", () => {
		for (const other of sheets) if (other !== pair && isOpen(other)) sheet(...other, false);
		sheet(...pair, !isOpen(pair), true);
	});
}
byId("shelf-close").addEventListener("click", () => sheet(...sheets[1], false, true));
document.addEventListener("pointerdown", ({ target }) => {
	for (const pair of sheets) if (isOpen(pair) && !pair.some((each) => each.contains(target))) sheet(...pair, false);
});

// -- controls

function showPause() {
	const { paused, fresh } = stream, button = byId("pause"), pill = byId("pill");
	if (button.getAttribute("aria-pressed") !== `${paused}` || !button.firstChild) {
		button.setAttribute("aria-pressed", `${paused}`);
		button.setAttribute("aria-label", words.text(paused ? "pause.off" : "pause"));
		button.replaceChildren(icon(paused ? "play" : "pause"));
	}
	pill.hidden = !paused;
	if (paused) setText(pill.lastChild, fresh ? words.text("pill.new", { n: fresh }) : words.text("pill.live"));
}

function showTheme() {
	byId("theme").replaceChildren(icon(theme() === "dark" ? "sun" : "moon"));
}

function showLanguage() {
	const other = words.language === "en" ? ["中文", "zh-CN"] : ["EN", "en"];
	setText(byId("language"), other[0]);
	byId("language").lang = other[1];
}

fillIcons(document);
byId("pill").append(icon("down"), document.createElement("span"));
byId("composer").addEventListener("submit", (event) => (event.preventDefault(), submit()));
field.addEventListener("keydown", (event) => {
	// While an input method composes, Enter chooses what it offers; Safari says so only by 229.
	if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
	event.preventDefault();
	submit();
});
nameField.addEventListener("keydown", (event) => {
	if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return;
	event.preventDefault();
	named(nameField.value);
});
byId("name-done").addEventListener("click", () => named(nameField.value));
byId("name-skip").addEventListener("click", () => named(""));
byId("me").addEventListener("click", askName);
byId("replying-close").addEventListener("click", () => (answer(null), field.focus()));
byId("pause").addEventListener("click", () => (stream.paused ? stream.resume() : stream.pause()));
byId("pill").addEventListener("click", () => (stream.resume(), field.focus()));
byId("notice-read").addEventListener("click", () => {
	byId("notice").hidden = true;
	if (noticeOffset) room.read(noticeOffset);
	field.focus();
});
byId("theme").addEventListener("click", switchTheme);
document.addEventListener("themechange", showTheme);
byId("language").addEventListener("click", () => words.switch());
likes.holdable(byId("stage"), ({ target }) => !target.closest("button, a, .packet") && !sheets.some(isOpen));
document.addEventListener("keydown", (event) => {
	const { key, target, ctrlKey, metaKey, altKey } = event, open = sheets.find(isOpen);
	if (key === "Escape" && open) sheet(...open, false, true);
	else if (key === "Escape" && !byId("naming").hidden) byId("naming").hidden = true;
	else if (key.toLowerCase() === "l" && !ctrlKey && !metaKey && !altKey && !target.closest("input, textarea, select")) likes.add();
});
words.onChange(() => {
	showLanguage();
	stream.again();
	tray.draw();
	byId("pause").replaceChildren();
	showPause();
	if (!room) return;
	setText(byId("link-text"), words.text(`status.${room.status}`));
	counted(room.counters);
	showRoom();
});

setInterval(() => {
	if (!room || document.hidden) return;
	if (waitingText) setText(byId("banner"), waitingText());
	for (const line of own.values()) if (line.mark) stream.change(line);
	const now = room.now();
	const faded = fading.filter(({ expires }) => expires <= now);
	if (faded.length) {
		stream.erase(faded.flatMap(({ offset }) => [offset, offset]), "mark.expired");
		fading = fading.filter(({ expires }) => expires > now);
	}
	packets.show(room);
	if (polls.open) polls.show(room);
	setText(byId("pace"), stream.rate >= 2 ? words.text("pace", { n: Math.round(stream.rate) }) : "");
}, TICK_MS);

// Who listens is told in a sentence now and then what others see rush by.
setInterval(() => {
	const { comments, gifts, last } = told;
	told = { comments: 0, gifts: 0, last: [] };
	const parts = [comments > 3 ? words.text("told.comments", { n: comments }) : last.join(". "), gifts && words.text("told.gifts", { n: gifts })];
	setText(byId("told"), parts.filter(Boolean).join(" "));
}, TOLD_MS);

/** For tests and the benchmark. */
window.roomcastDemo = {
	get room() { return room; },
	get events() { return tally.events; },
	get shown() { return tally.shown; },
	get gaps() { return tally.gaps; },
	get ownLikes() { return likes.own; },
	get lines() { return stream.size; },
	get added() { return stream.added; },
	get drawn() { return stream.drawn; },
	get rows() { return byId("rows").childElementCount; },
	get hearts() { return hearts.drawn; },
	get flying() { return hearts.flying; },
};

showTheme();
showLanguage();
showPause();
entrance = await fetch("/entrance.json").then((answer) => (answer.ok ? answer.json() : null), () => null);
if (entrance) enter();
else banner("closed", () => words.text("banner.entrance"));
