// Who may not speak in a room or enter it, and how somebody comes to be among them. Owns the list, and the dialogue that asks what,
// how long and why.

import { make } from "/web/shared/elements.js";

import { repeat, roomPath } from "./api.js";
import { fill, mark, show } from "./dom.js";
import { moment } from "./format.js";
import { button, choice, faultNote, labelled, panel, Place } from "./panels.js";
import { Table } from "./table.js";
import { t } from "./words.js";

const LOOK_MS = 15_000;
const PATHS = { mute: "mutes", "shadow-mute": "shadow-mutes", ban: "bans", "address-ban": "bans" };
const LASTING = [[600, "10_min"], [3600, "1_h"], [86_400, "1_d"], [604_800, "7_d"], [0, "for_good"]];
const ACTS = ["mute", "shadow-mute", "kick", "ban"];

export class Sanctions {
	element; #context; #room; #table; #place = new Place(); #look;

	constructor(context, room) {
		[this.#context, this.#room] = [context, room];
		this.#table = new Table({
			label: t("sanctions"), key: (each) => `${each.kind} ${each.subject} ${each.everywhere}`, sort: "subject", empty: t("no_sanctions"), columns: [
				{ name: "subject", head: t("who"), value: (each) => each.subject, draw: (cell, each) => cell.firstChild || cell.append(make("bdi", {}, each.subject)) },
				{ name: "kind", head: t("what"), value: (each) => each.kind, text: (each) => `${t(`kind_${each.kind}`)}${each.everywhere ? ` (${t("everywhere")})` : ""}` },
				{ name: "until", head: t("until"), value: (each) => each.until || Infinity, text: (each) => (each.until ? moment(each.until) : t("for_good")) },
				{ name: "reason", head: t("reason"), draw: (cell, each) => cell.firstChild || cell.append(make("bdi", { title: each.actor }, each.reason)) },
				{ name: "undo", head: "", draw: (cell, each) => cell.firstChild || cell.append(button(t("undo"), () => this.#undo(each), { name: "undo", label: t("undo_of", { what: t(`kind_${each.kind}`), who: each.subject }) })) },
			],
		});
		const other = button(t("sanction_other"), () => this.ask({ id: "", name: "" }), { name: "shield" });
		this.element = panel(t("sanctions"), { acts: [other], className: "flush" }, this.#place.element, this.#table.element);
		this.#look = repeat(async () => {
			const { sanctions } = await context.api.get(roomPath(room, "sanctions"), { scope: "moderate", signal: context.signal });
			this.#place.clear();
			this.#table.show(sanctions);
		}, LOOK_MS, context.signal, (fault) => this.#place.fault(fault));
	}

	/** Follow the room's backstage. */
	follow(backstage) {
		for (const type of ["snapshot", "gap", "moderated"]) backstage.on(type, () => this.#look());
	}

	async #undo({ kind, subject, everywhere }) {
		const { api, toasts } = this.#context;
		const query = new URLSearchParams({ ...(everywhere && { everywhere: "true" }), ...(kind === "address-ban" && { address: "true" }) });
		try {
			await api.delete(`${roomPath(this.#room, PATHS[kind], subject)}?${query}`, { scope: "moderate" });
			toasts.good(t("undone", { who: subject }));
		} catch (fault) {
			toasts.fault(fault);
		}
		this.#look();
	}

	/** Delete what was said. */
	async remove(offset, reason = "") {
		const { api, toasts } = this.#context;
		try {
			await api.delete(`${roomPath(this.#room, "comments", offset)}?${new URLSearchParams({ reason })}`, { scope: "moderate" });
			toasts.good(t("done_delete"));
		} catch (fault) {
			toasts.fault(fault);
		}
	}

	/** Ask what is to be done about a user, and do it. */
	ask({ id, name }, offset = 0) {
		const { signal } = this.#context, place = make("div");
		const user = make("input", { class: "field", value: id, required: true, maxlength: "64", autocomplete: "off", spellcheck: "false" });
		const acts = ACTS.map((act, at) => labelled(t(`act_${act}`), make("input", { type: "radio", name: "act", value: act, checked: at === 0 }), "radio"));
		const seconds = choice(LASTING.map(([value, text]) => [`${value}`, t(text)]), "600"), reason = make("input", { class: "field", maxlength: "256", autocomplete: "off" });
		const box = (text) => labelled(text, make("input", { type: "checkbox" }), "radio");
		const everywhere = box(t("in_all_rooms")), address = box(t("address_too")), also = box(t("delete_it_too")), lasting = labelled(t("how_long"), seconds);
		const chosen = () => form.querySelector("[name=act]:checked").value, ticked = (each) => !each.hidden && each.querySelector("input").checked;
		const shown = () => {
			show(lasting, chosen() !== "kick");
			show(everywhere, chosen() !== "kick");
			show(address, chosen() === "ban");
		};
		show(also, offset);
		const go = make("button", { class: "button danger", type: "submit" }, t("do_it"));
		const form = make("form", {},
			id ? make("p", {}, make("bdi", { class: "strong" }, name || id), " ", make("code", { class: "faint" }, id)) : labelled(t("user_id"), user),
			make("fieldset", {}, make("legend", {}, t("what")), ...acts), lasting, labelled(t("reason_hint"), reason), everywhere, address, also, place,
			make("div", { class: "dialog-acts" }, button(t("cancel"), () => dialog.close(), { kind: "plain" }), go));
		const dialog = make("dialog", { class: "card", "aria-label": t("act_on") }, make("h2", {}, t("act_on")), form);
		const back = document.activeElement;
		dialog.addEventListener("close", () => (dialog.remove(), back?.isConnected && back.focus()));
		signal.addEventListener("abort", () => dialog.remove());
		form.addEventListener("change", shown);
		form.addEventListener("submit", async (event) => {
			event.preventDefault();
			go.disabled = true;
			const wanted = { act: chosen(), user: user.value.trim(), seconds: Number(seconds.value), reason: reason.value, everywhere: ticked(everywhere), address: ticked(address) };
			try {
				await this.#do(wanted);
				dialog.close();
				if (ticked(also)) await this.remove(offset, wanted.reason);
			} catch (fault) {
				go.disabled = false;
				fill(place, [faultNote(fault)]);
			}
		});
		shown();
		document.body.append(dialog);
		dialog.showModal();
		mark(dialog, "data-for", id);
	}

	async #do({ act, user, seconds, reason, everywhere, address }) {
		const { api, toasts } = this.#context, options = { scope: "moderate" };
		if (act === "kick") await api.post(roomPath(this.#room, "kicks"), { user, reason }, options);
		else await api.put(roomPath(this.#room, PATHS[act], user), { seconds, reason, everywhere, ...(act === "ban" && { address }) }, options);
		toasts.good(t(`done_${act}`, { who: user }));
		this.#look();
	}
}
