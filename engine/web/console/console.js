// The console: who is in, and what is shown. Owns the key's coming and going; everything that runs for one key ends with it.

import { byId } from "/web/shared/elements.js";

import { Api } from "./api.js";
import { fill } from "./dom.js";
import { Figures } from "./figures.js";
import { forgetKey, keepKey, readKey } from "./key.js";
import { Live } from "./live.js";
import { login } from "./login.js";
import { Shell } from "./shell.js";
import { t, words } from "./words.js";

let leave = () => {}, drawn = () => {};

function ask(message = "") {
	leave();
	forgetKey();
	drawn = () => fill(byId("page"), [login(enter, message)]);
	drawn();
}

function enter(key) {
	leave();
	keepKey(key);
	const ending = new AbortController(), { signal } = ending, api = new Api(key), figures = new Figures();
	leave = () => ending.abort();
	api.addEventListener("refused", () => ask(t("wrong_key")), { once: true, signal });
	const live = new Live(api, figures, signal);
	const shell = new Shell({ api, figures, live, signal, leave: () => ask() });
	drawn = () => {
		fill(byId("page"), [shell.element]);
		shell.draw();
	};
	drawn();
}

// A key that came by the address while the page was open.
addEventListener("hashchange", () => location.hash.startsWith("#key=") && enter(readKey()));
document.querySelector(".skip").addEventListener("click", (event) => {
	event.preventDefault();
	byId("main")?.focus();
});
words.onChange(() => drawn());

const key = readKey();
if (key) enter(key);
else ask();
