// A room's delivery certificate (GET /v1/rooms/{room}/quality): what of what was due arrived, how late, and why viewers had to come
// back. Owns its form, and the file. Reasons are told in words; the numbers behind them stay in sight.

import { make, makeSvg } from "/web/shared/elements.js";

import { fill, mark, write } from "./dom.js";
import { count, DASH, ms, moment, nines, share, short } from "./format.js";
import { button, Facts, panel } from "./panels.js";
import { grade } from "./rooms.js";
import { Table } from "./table.js";
import { t, words } from "./words.js";

const bound = (bucket) => 2 ** (bucket / 4) - 1;

/** A code of a close (1000 and above) or of a refusal, in words. */
export const cause = (code) => (words.has(`code_${code}`) ? t(`code_${code}`) : t(code >= 1000 ? "code_close" : "code_refusal", { code }));

/** How many, by reason; largest first. */
function reasonTable(label, heads, text) {
	const table = new Table({
		label, key: ([name]) => name, sort: "-count", empty: t("none"), columns: [
			{ name: "reason", head: heads, value: ([name]) => text(name), draw: (cell, [name]) => cell.firstChild || cell.append(make("span", {}, text(name)), make("code", { class: "faint" }, name)) },
			{ name: "count", head: t("how_many"), number: true, value: ([, n]) => n, text: ([, n]) => count(n) },
		],
	});
	return { element: table.element, told: (counts) => table.show(Object.entries(counts)) };
}

/** Delays by bucket: bars, and the same as a table for those who do not see them. */
class Histogram {
	element; #bars; #axis; #table; #marks; #empty;

	constructor() {
		this.#bars = makeSvg("svg", { class: "bars", role: "img", preserveAspectRatio: "none", viewBox: "0 0 100 100" });
		this.#axis = make("div", { class: "bars-axis", "aria-hidden": "true" });
		this.#marks = new Facts([t("p50"), t("p90"), t("p99")]);
		this.#table = make("tbody");
		this.#empty = make("p", { class: "empty" }, t("no_reports"));
		const table = make("table", {}, make("caption", {}, t("delays")), make("thead", {}, make("tr", {}, make("th", { scope: "col" }, t("delay")), make("th", { scope: "col" }, t("events")))), this.#table);
		this.element = make("figure", { class: "histogram" }, this.#marks.element, this.#empty, make("div", { class: "bars-box" }, this.#bars, this.#axis), make("div", { class: "unseen" }, table));
	}

	told({ delays, delay_ms: { p50, p90, p99 } }) {
		const buckets = Object.keys(delays).map(Number).filter((bucket) => delays[bucket]).sort((a, b) => a - b);
		this.#empty.hidden = buckets.length > 0;
		this.#bars.parentNode.hidden = !buckets.length;
		this.#marks.told([ms(p50), ms(p90), ms(p99)]);
		if (!buckets.length) return;
		const first = Math.max(buckets[0] - 1, 0), last = Math.max(buckets.at(-1) + 1, first + 11), most = Math.max(...Object.values(delays)), width = 100 / (last - first + 1);
		const bars = [], rows = [];
		for (let bucket = first; bucket <= last; bucket++) {
			const n = delays[bucket] ?? 0, height = n ? Math.max((100 * n) / most, 1.5) : 0;
			bars.push(makeSvg("rect", { x: (bucket - first) * width + width * 0.1, y: 100 - height, width: width * 0.8, height, class: bound(bucket) >= p99 ? "tail" : "" },
				makeSvg("title", {}, `${ms(bound(bucket))} – ${ms(bound(bucket + 1))}: ${count(n)}`)));
			if (n) rows.push(make("tr", {}, make("th", { scope: "row" }, `${ms(bound(bucket))} – ${ms(bound(bucket + 1))}`), make("td", {}, count(n))));
		}
		fill(this.#bars, bars);
		fill(this.#table, rows);
		fill(this.#axis, [0, 0.25, 0.5, 0.75, 1].map((part) => make("span", {}, ms(bound(Math.round(first + part * (last + 1 - first)))))));
		mark(this.#bars, "aria-label", `${t("delays")}: ${t("p50")} ${ms(p50)}, ${t("p90")} ${ms(p90)}, ${t("p99")} ${ms(p99)}`);
	}
}

/** The certificate, as panels; `told(certificate)` each time there is another one. */
export class CertificatePanels {
	element; #now; #rate; #nines; #of; #facts; #networks; #delays; #reconnects; #closed; #withheld; #refused; #span; #wasDelays = "";

	constructor(room) {
		this.#rate = make("p", { class: "arrival" });
		this.#nines = make("p", { class: "nines" });
		this.#of = make("p", { class: "faint" });
		this.#span = make("p", { class: "faint" });
		this.#facts = new Facts([
			[t("sent_rate"), t("sent_rate_hint")], [t("stalls"), t("stalls_hint")], [t("lag_policies"), t("lag_policies_hint")], [t("skipped"), t("skipped_hint")],
			[t("reports"), t("reports_hint")], [t("gaps"), t("gaps_hint")], t("reconnects"), t("events"),
		]);
		this.#networks = new Table({
			label: t("networks"), key: ([name]) => name, sort: "-reports", empty: t("no_reports"), columns: [
				{ name: "network", head: t("network"), value: ([name]) => name, draw: (cell, [name]) => cell.firstChild || cell.append(make("bdi", {}, name)) },
				...[["arrival", ([, n]) => n.arrival_rate, share], ["p50", ([, n]) => n.delay_ms.p50, ms], ["p99", ([, n]) => n.delay_ms.p99, ms]]
					.map(([name, value, format]) => ({ name, head: t(`column_${name}`), number: true, value, text: (row) => format(value(row)) })),
				{ name: "gaps", head: t("gaps"), number: true, value: ([, n]) => n.gaps, text: ([, n]) => count(n.gaps) },
				{ name: "reconnects", head: t("reconnects"), number: true, value: ([, n]) => sum(n.reconnects), text: ([, n]) => count(sum(n.reconnects)) },
				{ name: "reports", head: t("reports"), number: true, value: ([, n]) => n.reports, text: ([, n]) => count(n.reports) },
			],
		});
		this.#delays = new Histogram();
		this.#reconnects = reasonTable(t("reconnect_causes"), t("cause"), cause);
		this.#closed = reasonTable(t("closed_causes"), t("cause"), cause);
		this.#withheld = reasonTable(t("withheld_reasons"), t("reason"), (name) => (words.has(`withheld_${name}`) ? t(`withheld_${name}`) : name));
		this.#refused = reasonTable(t("refused_reasons"), t("reason"), (name) => (words.has(`refused_${name}`) ? t(`refused_${name}`) : name));
		const save = button(t("download"), () => this.#save(room), { name: "download", kind: "small" });
		const part = (head, element) => make("div", { class: "part" }, make("h3", {}, head), element);
		this.element = make("div", { class: "certificate" },
			panel(t("certificate"), { acts: [save], className: "headline" }, make("div", { class: "hero" }, this.#rate, this.#nines, this.#of), this.#facts.element, this.#span),
			panel(t("delays"), {}, this.#delays.element),
			panel(t("networks"), { className: "flush wide" }, this.#networks.element),
			panel(t("reconnect_closed"), { className: "wide" }, make("div", { class: "parts" }, part(t("reconnect_causes"), this.#reconnects.element), part(t("closed_causes"), this.#closed.element))),
			panel(t("not_shown"), { className: "wide" }, make("div", { class: "parts" }, part(t("withheld_reasons"), this.#withheld.element), part(t("refused_reasons"), this.#refused.element))));
	}

	told(now) {
		this.#now = now;
		const { measured, sent } = now, rate = measured.arrival_rate;
		mark(this.#rate, "class", `arrival ${grade(rate)}`);
		write(this.#rate, share(rate));
		write(this.#nines, rate === null ? t("no_reports") : nines(rate) === Infinity ? t("nines_all") : t("nines", { n: nines(rate) }));
		write(this.#of, rate === null ? "" : t("received_of", { received: measured.received, entitled: measured.entitled }));
		this.#facts.told([share(sent.rate), count(sent.stalls), count(sent.lag_policies), short(sent.skipped), count(measured.reports), count(measured.gaps), count(sum(measured.reconnects)), count(now.events)]);
		write(this.#span, t(now.ended ? "span_ended" : "span", { since: moment(now.since), until: moment(now.until), node: now.node, stream: now.stream || DASH }));
		this.#networks.show(Object.entries(now.networks));
		this.#reconnects.told(measured.reconnects);
		this.#closed.told(sent.closed);
		this.#withheld.told(now.withheld);
		this.#refused.told(now.refused);
		const delays = JSON.stringify(measured.delays);
		if (delays !== this.#wasDelays) this.#delays.told(measured);
		this.#wasDelays = delays;
	}

	#save(room) {
		if (!this.#now) return;
		const address = URL.createObjectURL(new Blob([JSON.stringify(this.#now, null, "\t")], { type: "application/json" }));
		const name = `certificate ${room} ${new Date(this.#now.until).toISOString().slice(0, 19)}.json`.replace(/[\\/:*?"<>|\u0000-\u001f\u202a-\u202e\u2066-\u2069]/g, "-");
		make("a", { href: address, download: name }).click();
		setTimeout(() => URL.revokeObjectURL(address), 10_000);
	}
}

const sum = (counts) => Object.values(counts).reduce((total, n) => total + n, 0);
