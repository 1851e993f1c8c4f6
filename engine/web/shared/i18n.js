// What the visitor chose: a language with its words, numbers and times as they are written there; dark or light.
//
// Owns lang and data-theme on <html>, texts that a page marks in its HTML, and the names in localStorage ("roomcast.…"). Must not
// know any page: a page brings its words. Load it early, so that the first paint has the right theme:
//   <script type="module" async blocking="render" src="/web/shared/i18n.js"></script>
//
//   const words = new Words({ en: { viewers: "{n} viewer|{n} viewers" }, zh: { viewers: "{n} 位观众" } });
//   words.text("viewers", { n: 3 });            // one or more, by n; numbers are written as the language does
//   <button data-text="send"></button>          // textContent; data-label: aria-label; data-hint: placeholder; data-title: title
//   words.onChange(() => draw(), signal);       // after another was chosen; texts marked so have changed already

/** What was kept under a name in an earlier visit; null: nothing. A browser that keeps nothing is one that forgets, no error. */
export function kept(name) {
	try {
		return localStorage.getItem(`roomcast.${name}`);
	} catch {
		return null;
	}
}

export function keep(name, value) {
	try {
		localStorage.setItem(`roomcast.${name}`, value);
	} catch {
		// Forbidden or full: it holds for this visit.
	}
}

// -- theme

const system = matchMedia("(prefers-color-scheme: dark)");
const retold = () => document.dispatchEvent(new Event("themechange"));

/** "dark" or "light", as it is shown. The document hears "themechange". */
export function theme() {
	return document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light");
}

/** The other one from now on. */
export function switchTheme() {
	const chosen = theme() === "dark" ? "light" : "dark";
	document.documentElement.dataset.theme = chosen;
	keep("theme", chosen);
	retold();
}

const chosen = kept("theme");
if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
system.addEventListener("change", retold);

// -- language

export const LANGUAGES = { en: "English", zh: "中文" };
const LOCALES = { en: "en", zh: "zh-CN" };
const MARKS = [
	["text", (element, text) => (element.textContent = text)],
	["label", (element, text) => element.setAttribute("aria-label", text)],
	["hint", (element, text) => element.setAttribute("placeholder", text)],
	["title", (element, text) => element.setAttribute("title", text)],
];

const wanted = [kept("language"), ...navigator.languages].map((each) => each?.slice(0, 2).toLowerCase());

export class Words {
	/** "en" or "zh". */
	language = wanted.find((each) => Object.hasOwn(LANGUAGES, each)) ?? "en";

	#words; #runs = new Set(); #formats = new Map();

	constructor(words) {
		this.#words = words;
		this.apply();
	}

	/** A text by its key; {name} stands for what `values` has. Of "one|more", n decides. An unknown key is shown as it is. */
	text(key, values = {}) {
		const text = this.#words[this.language][key] ?? this.#words.en[key] ?? key;
		const forms = text.split("|");
		const form = forms.length > 1 && values.n !== 1 ? forms[1] : forms[0];
		return form.replace(/\{(\w+)\}/g, (mark, name) => this.#written(values[name] ?? mark));
	}

	/** Whether there is such a text. */
	has(key) {
		return Object.hasOwn(this.#words.en, key);
	}

	#written(value) {
		return typeof value === "number" ? this.number(value) : `${value}`;
	}

	#format(kind, options) {
		const key = `${this.language} ${kind.name} ${JSON.stringify(options)}`;
		if (!this.#formats.has(key)) this.#formats.set(key, new kind(LOCALES[this.language], options));
		return this.#formats.get(key);
	}

	/** 12,345.6; options as of Intl.NumberFormat. */
	number(value, options = { maximumFractionDigits: 1 }) {
		return this.#format(Intl.NumberFormat, options).format(value);
	}

	/** 12.3K, 1.2万: for what is looked at rather than counted. */
	short(value) {
		return this.number(value, { notation: value < 10_000 ? "standard" : "compact", maximumFractionDigits: value < 100 ? 0 : 1 });
	}

	/** 99.98 %; from a share. */
	percent(share, digits = 1) {
		return this.number(share, { style: "percent", maximumFractionDigits: digits });
	}

	/** 21:36:40, from Unix ms. */
	time(ms) {
		return this.#format(Intl.DateTimeFormat, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false }).format(ms);
	}

	/** Another language from now on. */
	choose(language) {
		if (!Object.hasOwn(LANGUAGES, language) || language === this.language) return;
		this.language = language;
		keep("language", language);
		this.apply();
		for (const run of this.#runs) run();
	}

	/** The other one. */
	switch() {
		this.choose(this.language === "en" ? "zh" : "en");
	}

	/** Run after another language was chosen, until the signal if there is one. */
	onChange(run, signal) {
		this.#runs.add(run);
		signal?.addEventListener("abort", () => this.#runs.delete(run));
	}

	/** Fill in what is marked, in the page or a part that was just made. */
	apply(root = document) {
		document.documentElement.lang = LOCALES[this.language];
		for (const [mark, fill] of MARKS) {
			for (const element of root.querySelectorAll(`[data-${mark}]`)) fill(element, this.text(element.dataset[mark]));
		}
	}
}
