// The way in: a field for an API key. Owns the form and what is said of a key that is none.

import { make } from "/web/shared/elements.js";
import { switchTheme } from "/web/shared/i18n.js";

import { Api } from "./api.js";
import { show, write } from "./dom.js";
import { icon } from "./icons.js";
import { sentence } from "./panels.js";
import { t, words } from "./words.js";

/** What a fault means for who logs in; "": the key is good, if not for everything. */
export function refusal(fault) {
	if (fault.status === 401) return t("wrong_key");
	if (fault.status === 429) return t("wait_then_again", { n: Math.max(Math.ceil(fault.retryAfterMs / 1000), 1) });
	return fault.status === 403 ? "" : sentence(fault);
}

/** @param entered Is given a key that the API knows. `message`: why somebody is here again. */
export function login(entered, message = "") {
	const field = make("input", {
		class: "field", id: "key", type: "password", autocomplete: "off", autocapitalize: "none", spellcheck: "false", placeholder: "rc_…", required: true,
		"aria-describedby": "key-hint key-fault",
	});
	const fault = make("p", { id: "key-fault", class: "login-fault", role: "alert", hidden: !message }, message);
	const go = make("button", { class: "button primary", type: "submit" }, t("log_in"));
	const form = make("form", { class: "login-form" }, make("label", { for: "key" }, t("api_key")), field, fault, go, make("p", { id: "key-hint", class: "faint" }, t("key_hint")));
	form.addEventListener("submit", async (event) => {
		event.preventDefault();
		const key = field.value.trim();
		if (!key || go.disabled) return;
		go.disabled = true;
		const why = await new Api(key).get("/v1/node").then(() => "", refusal);
		go.disabled = false;
		if (!why) return entered(key);
		write(fault, why);
		show(fault, true);
		field.setAttribute("aria-invalid", "true");
		field.select();
	});
	const language = make("button", { class: "button plain small", type: "button", lang: words.language === "en" ? "zh-CN" : "en", onclick: () => words.switch() }, words.language === "en" ? "中文" : "English");
	const theme = make("button", { class: "button plain round small", type: "button", "aria-label": t("switch_theme"), onclick: switchTheme }, icon("moon"));
	const brand = make("div", { class: "login-brand" }, icon("signal"), make("h1", {}, "Roomcast ", make("span", {}, t("console"))));
	const element = make("main", { class: "login", id: "main", tabindex: "-1" }, make("div", { class: "login-box card" }, brand, form), make("div", { class: "login-acts" }, language, theme));
	queueMicrotask(() => field.focus());
	return element;
}
