// One room: how it reaches its viewers, what is said there, and what moderators do. Owns the page; each part is its own.

import { make } from "/web/shared/elements.js";

import { repeat, roomPath } from "./api.js";
import { CertificatePanels } from "./certificate.js";
import { Conversation } from "./conversation.js";
import { mark, show, write } from "./dom.js";
import { count, DASH, ms, rate, share, short } from "./format.js";
import { HeldQueue } from "./held.js";
import { icon } from "./icons.js";
import { enterRoom } from "./live.js";
import { Facts, faultNote, panel, Place } from "./panels.js";
import { Plot, redrawPlots } from "./plot.js";
import { grade } from "./rooms.js";
import { Sanctions } from "./sanctions.js";
import { t } from "./words.js";

const LOOK_MS = 2_000, ABOUT_MS = 10_000;

/** A line as figures have it, of a certificate. */
function lineOf({ room, epoch, last, viewers, withheld, refused, sent, measured }) {
	const sum = (counts) => Object.values(counts).reduce((all, n) => all + n, 0);
	return {
		room, epoch, viewers, offset: last, withheld: sum(withheld), refused: sum(refused), laggards: sent.laggards, lag_max: sent.lag_max, skipped: sent.skipped,
		sent_rate: sent.rate, arrival_rate: measured.arrival_rate, delay_p50_ms: measured.delay_ms.p50, delay_p99_ms: measured.delay_ms.p99, reports: measured.reports,
	};
}

export function room(context, name) {
	const { api, figures, signal } = context;
	const place = new Place(), about = make("div", { class: "about" }), state = make("p", { class: "state", role: "status" }, make("i"), make("span"));
	const arrival = make("span");
	const facts = new Facts([
		t("metric_viewers"), t("metric_events"), t("likes"), t("column_p50"), t("column_p99"), [t("column_laggards"), t("laggards_hint")],
		[t("column_lag"), t("lag_hint")], [t("column_held"), t("held_hint")], t("column_withheld"), t("column_refused"),
	], "strip-facts");
	const plots = make("div", { class: "plots three" }), certificate = new CertificatePanels(name), held = new HeldQueue(context, name);
	let now = null, known = null, live = null;

	function draw() {
		const line = figures.rooms.get(name), waiting = held.count ?? line?.held;
		facts.told([
			count(line?.viewers ?? live?.counters.viewers), rate(line?.rate), short(live?.counters.likes ?? line?.likes), ms(line?.p50), ms(line?.p99),
			count(line?.laggards), line?.lag === undefined ? DASH : ms(1000 * line.lag), [count(waiting), waiting > 0 ? "badge warn" : null], count(line?.withheld), count(line?.refused),
		]);
		mark(arrival, "class", `grade big ${grade(line?.arrival)}`);
		write(arrival, share(line?.arrival));
		if (line && line !== known) plot(known = line);
		redrawPlots();
	}

	function plot({ series }) {
		const made = (title, lines, format, axis, least, note) => new Plot({ title, lines, format, axis, least, note }, signal).element;
		plots.replaceChildren(
			made(t("metric_viewers"), [{ series: series.viewers, colour: "--series-1" }], count, short, 10, () => (now ? t("note_most", { v: count(now.viewers_max) }) : "")),
			made(t("metric_events"), [{ series: series.rate, colour: "--series-2" }], rate, short, 5),
			made(t("delay"), [{ series: series.p99, label: t("p99"), colour: "--series-3" }, { series: series.p50, label: t("p50"), colour: "--series-1" }], ms, ms, 20),
		);
	}

	repeat(async () => {
		now = await api.get(roomPath(name, "quality"), { scope: "rooms:read", signal });
		figures.tell("", lineOf(now), now.until);
		place.clear();
		show(certificate.element, true);
		certificate.told(now);
		draw();
	}, LOOK_MS, signal, (fault) => {
		show(certificate.element, now);
		place.fault(fault);
	});
	repeat(async () => {
		const { life, mode, title, stream, slow } = await api.get(roomPath(name), { scope: "rooms:read", signal });
		const badges = [[t(`life_${life}`), life === "open" ? "good" : "warn"], ...(mode === "open" ? [] : [[t(`mode_${mode}`), "warn"]]), ...(Object.keys(slow).length ? [[t("slow_mode"), "warn"]] : []), ...(stream ? [[stream, "accent"]] : [])];
		about.replaceChildren(...badges.map(([text, kind]) => make("span", { class: `badge ${kind}` }, make("bdi", {}, text))), make("bdi", { class: "faint" }, title));
	}, ABOUT_MS, signal);
	figures.addEventListener("change", draw, { signal });

	const sanctions = new Sanctions(context, name);
	const conversation = new Conversation({ act: (author, offset) => sanctions.ask(author, offset), remove: (offset) => sanctions.remove(offset) });
	const said = new Place(), talk = panel(t("conversation"), { acts: [state], className: "flush talk" }, said.element, conversation.element);
	const told = (status, error) => {
		mark(state, "class", `state ${{ open: "good", waiting: "warn", closed: "bad" }[status] ?? ""}`);
		write(state.lastChild, t(`state_${status === "open" ? "live" : status}`));
		if (status === "closed" && !signal.aborted) said.element.replaceChildren(faultNote({ message: error?.text || error?.message || "", name: "closed", errors: [] }));
	};
	function enter(pause = 1_000) {
		const front = (sdk) => conversation.follow(live = sdk);
		const behind = (sdk) => {
			held.follow(sdk);
			sanctions.follow(sdk);
		};
		enterRoom(api, name, { front, behind, status: told }, signal).then(() => said.clear(), (fault) => {
			if (signal.aborted) return;
			said.fault(fault);
			show(conversation.element, fault.status !== 403);
			if (fault.status !== 403) setTimeout(() => !signal.aborted && enter(Math.min(2 * pause, 10_000)), pause);
		});
	}
	enter();
	draw();
	return make("div", { class: "section room" },
		make("div", { class: "head" }, make("a", { class: "button plain round small", href: "#/rooms", "aria-label": t("back_to_rooms") }, icon("back")),
			make("h1", {}, make("bdi", {}, name)), about, make("div", { class: "head-acts" }, make("span", { class: "faint" }, t("column_arrival")), arrival)),
		place.element, facts.element, plots,
		make("div", { class: "room-columns" }, make("div", { class: "room-talk" }, held.element, talk, sanctions.element), certificate.element));
}
