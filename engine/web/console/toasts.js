// Short messages at the edge of the page, for what somebody has just done. Owns how long they stay: a fault until it is put away.

import { make } from "/web/shared/elements.js";

import { faultNote } from "./panels.js";
import { icon } from "./icons.js";
import { t } from "./words.js";

const STAYS_MS = 4_000, MOST = 4;

export class Toasts {
	element = make("div", { class: "toasts", role: "region", "aria-live": "polite", "aria-label": t("messages") });

	/** It was done. */
	good(text) {
		const put = this.#put("good", make("div", { class: "note good", role: "status" }, icon("check"), make("p", {}, text)));
		setTimeout(put, STAYS_MS);
	}

	/** It was not. */
	fault(fault) {
		this.#put("bad", faultNote(fault));
	}

	#put(kind, note) {
		const toast = make("div", { class: `toast ${kind}` }, note);
		const away = () => toast.remove();
		toast.append(make("button", { class: "button plain round small", type: "button", "aria-label": t("put_away"), onclick: away }, icon("close")));
		this.element.append(toast);
		while (this.element.childElementCount > MOST) this.element.firstChild.remove();
		return away;
	}
}
