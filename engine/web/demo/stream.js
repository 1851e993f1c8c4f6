// The stream of what is said: thousands of lines in memory, a few dozen rows on the screen.
//
// Owns the lines, the rows that show some of them, and whether it follows the room or stands still. Must not know what the lines are
// about, nor the room. A row is made once and used again for another line. Everything that came since the last frame is drawn at
// once, less often when it is too fast to be read anyway. Live, nothing here asks the browser for a layout: the list hangs from the
// bottom of a reversed column, so that its end stays in sight by itself.
//
// Who reads back has an end that stands still: the last line that was shown when it stopped. Whoever comes down to it again is at
// the end, and it follows, however much came meanwhile. An end that moved on with the room would be reached by nobody.

import { make } from "../shared/elements.js";
import { hueOf, nameOf, words } from "./words.js";

const ROWS = 48;
/** Lines kept; the same while somebody reads back. */
const [KEPT, KEPT_PAUSED, SLACK] = [4000, 16_000, 500];
/** Pixels from the end at which somebody has scrolled away, and is there again. */
const [AWAY, THERE] = [48, 4];
/** Share of what is out of sight: with less of it ahead, other rows are brought. */
const NEAR = 0.25;
/** Rows that a key brings. */
const STEP = 16;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** A line's place on the screen. */
class Row {
	constructor() {
		this.quote = make("span", { class: "quote", hidden: true });
		this.tag = make("span", { class: "tag", hidden: true });
		this.name = make("bdi", { class: "name" });
		this.body = make("bdi", { class: "body" });
		this.mark = make("span", { class: "mark", hidden: true });
		this.again = make("button", { class: "again", type: "button", hidden: true, tabindex: "-1" });
		this.element = make("li", { class: "row", tabindex: "-1" }, this.quote, this.tag, this.name, this.body, this.mark, this.again);
		this.line = null;
		this.again.addEventListener("click", () => this.line?.again?.());
	}

	#part(element, text) {
		if (element.textContent !== text) element.textContent = text;
		if (element.hidden === !text) return;
		element.hidden = !text;
	}

	show(line) {
		this.line = line;
		line.row = this;
		const { author, kind, gone } = line, { dataset } = this.element;
		dataset.kind = gone ? "gone" : kind;
		dataset.hue = author ? hueOf(author.id) : "";
		dataset.own = line.own ? "own" : "";
		dataset.me = line.forMe ? "me" : "";
		dataset.state = line.state ?? "";
		dataset.role = author?.role ?? "";
		this.#part(this.quote, gone || !line.quote ? "" : line.quote());
		this.#part(this.tag, author ? tagOf(author) : line.tag ? words.text(line.tag) : "");
		this.#part(this.name, author ? nameOf(author) : "");
		this.#part(this.body, gone ? words.text(gone) : line.text());
		this.#part(this.mark, line.mark?.() ?? "");
		this.#part(this.again, line.again && !(line.until > Date.now()) ? words.text("mark.again") : "");
	}
}

function tagOf({ role, level }) {
	if (words.has(`role.${role}`)) return words.text(`role.${role}`);
	return level > 0 ? words.text("role.level", { level }) : "";
}

export class Stream {
	/** Lines that came, and rows that were filled. */
	added = 0;
	drawn = 0;
	paused = false;

	#scroller; #list; #reply; #onReply; #onTurn;
	#lines = []; #byOffset = new Map(); #from = 0; #to = 0; #end = 0; #below = 0;
	#rows = []; #spare = []; #changed = new Set(); #stamp = 0;
	#due = false; #last = 0; #recent = 0; #rate = 0;

	/** onReply(line): somebody wants to answer; onTurn(): `paused` or `fresh` has changed. */
	constructor(scroller, list, { onReply, onTurn }) {
		this.#scroller = scroller;
		this.#list = list;
		this.#onReply = onReply;
		this.#onTurn = onTurn;
		this.#reply = make("button", { class: "reply", type: "button", tabindex: "-1" });
		this.#reply.addEventListener("click", (event) => this.#answer(event.target));
		scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
		scroller.addEventListener("keydown", (event) => this.#key(event));
		list.addEventListener("pointerover", ({ target }) => this.#offer(target.closest(".row")));
		list.addEventListener("focusin", () => this.pause());
		setInterval(() => this.#measure(), 500);
	}

	/** Lines a second, of late. */
	get rate() {
		return this.#rate;
	}

	/** Lines in memory. */
	get size() {
		return this.#lines.length;
	}

	/** Lines since it stands still. */
	get fresh() {
		return this.paused ? this.#lines.length - this.#end : 0;
	}

	/** The line of an event, if it is kept. */
	at(offset) {
		return this.#byOffset.get(offset);
	}

	/** A line: kind, text(); if it has them: offset, author, tag, quote(), mark(), state, own, forMe, again() and
	 * until when that would be too early (`until`, Unix ms). */
	add(line) {
		this.#lines.push(line);
		if (line.offset) this.#byOffset.set(line.offset, line);
		this.added++;
		this.#recent++;
		if (this.#lines.length > (this.paused ? KEPT_PAUSED : KEPT) + SLACK) this.#forget();
		this.#soon();
		return line;
	}

	/** A line says something else now. */
	change(line) {
		this.#changed.add(line);
		this.#soon();
	}

	remove(line) {
		const at = this.#lines.lastIndexOf(line);
		if (at < 0) return;
		this.#lines.splice(at, 1);
		if (at < this.#from) this.#from--;
		if (at < this.#to) this.#to--;
		if (at < this.#end) this.#end--;
		this.#soon();
	}

	/** What lies in these stretches (first, last, first, last …) is no more; `gone`: key of what is said in its place. */
	erase(stretches, gone) {
		for (const line of this.#lines) {
			for (let at = 0; line.offset && at < stretches.length; at += 2) {
				if (line.offset < stretches[at] || line.offset > stretches[at + 1] || line.gone) continue;
				line.gone = gone;
				line.text = line.quote = null;
				this.#changed.add(line);
			}
		}
		this.#soon();
	}

	/** Offsets begin anew, in another epoch. */
	renumber() {
		for (const line of this.#lines) line.offset = 0;
		this.#byOffset.clear();
	}

	/** All texts anew. */
	again() {
		for (const { line } of this.#rows) this.#changed.add(line);
		this.#soon();
	}

	pause() {
		if (this.paused) return;
		this.paused = true;
		this.#end = this.#to;
		this.#onTurn();
	}

	resume() {
		this.paused = false;
		if (this.#list.contains(document.activeElement)) this.#scroller.focus({ preventScroll: true });
		this.#draw();
		this.#scroller.scrollTop = this.#below = 0;
		this.#onTurn();
	}

	// -- drawing

	#measure() {
		this.#rate = this.#rate * 0.5 + this.#recent;
		this.#recent = 0;
	}

	#soon() {
		if (this.#due) return;
		this.#due = true;
		const pause = this.#rate > 60 ? 100 : this.#rate > 20 ? 50 : 0, wait = this.#last + pause - performance.now();
		if (wait > 0) setTimeout(() => requestAnimationFrame(() => this.#draw()), wait);
		else requestAnimationFrame(() => this.#draw());
	}

	#draw() {
		this.#due = false;
		this.#last = performance.now();
		if (!this.paused) this.#window(this.#lines.length - ROWS, this.#lines.length);
		else this.#window(this.#from, Math.min(this.#from + ROWS, this.#end));
		for (const line of this.#changed) line.row?.show(line);
		this.#changed.clear();
		if (this.paused) this.#onTurn();
	}

	#window(from, to) {
		this.#from = Math.max(from, 0);
		this.#to = Math.min(to, this.#lines.length);
		const lines = this.#lines.slice(this.#from, this.#to), stamp = ++this.#stamp;
		for (const line of lines) line.stamp = stamp;
		for (const row of this.#rows) {
			if (row.line.stamp === stamp) continue;
			row.line.row = null;
			this.#spare.push(row);
		}
		const newest = this.#to === this.#lines.length && !this.paused && this.#rate < 12 && !calm.matches;
		// A row that stays is not moved: one that is loses the focus.
		const leaving = new Set(this.#spare.map(({ element }) => element));
		let place = this.#list.firstChild;
		this.#rows = lines.map((line) => {
			const { row = null } = line, shown = row ?? this.#spare.pop() ?? new Row();
			if (!row) {
				if (shown.element.contains(this.#reply)) this.#reply.remove();
				shown.show(line);
				this.drawn++;
				if (newest) shown.element.animate([{ opacity: 0, transform: "translateY(8px)" }, {}], 160);
			}
			while (leaving.has(place)) place = place.nextSibling;
			if (shown.element === place) place = place.nextSibling;
			else this.#list.insertBefore(shown.element, place);
			return shown;
		});
		for (const { element } of this.#spare) element.remove();
	}

	#forget() {
		for (const { offset } of this.#lines.splice(0, SLACK)) this.#byOffset.delete(offset);
		this.#from = Math.max(this.#from - SLACK, 0);
		this.#to = Math.max(this.#to - SLACK, Math.min(ROWS, this.#lines.length));
		this.#end = Math.max(this.#end - SLACK, this.#to);
	}

	// -- reading back

	// Only a reader's own move brings rows, and only ahead of it: what bringing them moves is none, or either end would ask for the
	// other for ever.
	#scrolled() {
		const { scrollTop, scrollHeight, clientHeight } = this.#scroller, below = -scrollTop, moved = this.#below - below;
		this.#below = below;
		if (below > AWAY) this.pause();
		if (!this.paused || !moved) return;
		const out = scrollHeight - clientHeight, above = out - below;
		if (moved < 0 && above < NEAR * out && this.#from > 0) this.#shift(-this.#hidden((below - above) / 2, true));
		else if (moved > 0 && below < NEAR * out && this.#to < this.#end) this.#shift(this.#hidden((above - below) / 2, false));
		else if (moved > 0 && below < THERE && !this.#list.contains(document.activeElement)) this.resume();
	}

	// How many rows lie in the last or first so many pixels; at least one.
	#hidden(pixels, last) {
		const all = this.#rows.map(({ element }) => element), top = all[0].offsetTop, end = all.at(-1).offsetTop + all.at(-1).offsetHeight;
		const hidden = all.filter(({ offsetTop, offsetHeight }) => (last ? end - offsetTop : offsetTop + offsetHeight - top) <= pixels);
		return Math.max(hidden.length, 1);
	}

	// Other rows, and what is read stays where it is.
	#shift(by) {
		const from = Math.max(Math.min(this.#from + by, this.#end - ROWS), 0);
		const anchor = this.#rows[Math.floor(ROWS / 2)]?.element, before = anchor?.offsetTop;
		this.#window(from, Math.min(from + ROWS, this.#end));
		if (anchor?.isConnected) this.#scroller.scrollTop += anchor.offsetTop - before;
		this.#below = -this.#scroller.scrollTop;
	}

	#key(event) {
		const step = { ArrowUp: -1, ArrowDown: 1 }[event.key], { target } = event;
		const found = this.#rows.findIndex(({ element }) => element === target), at = found < 0 ? this.#rows.length : found;
		// Where nothing is shown there is nothing to read back, and who stood still there would see none of what comes.
		if (step && this.#rows.length) {
			event.preventDefault();
			this.pause();
			// Who reads line by line reads on into what came.
			if (at + step >= this.#rows.length && this.#to === this.#end) this.#end = this.#lines.length;
			if (at + step < STEP / 2 && this.#from > 0) this.#shift(-STEP);
			else if (at + step > ROWS - STEP / 2 && this.#to < this.#end) this.#shift(STEP);
			const now = this.#rows.findIndex(({ element }) => element === target);
			this.#rows[(now < 0 ? this.#rows.length : now) + step]?.element.focus();
		} else if (event.key === "Enter" && found >= 0) {
			event.preventDefault();
			this.#answer(target);
		} else if (event.key === "End" || event.key === "Escape") {
			event.preventDefault();
			this.resume();
		}
	}

	#offer(element) {
		const row = this.#rows.find((each) => each.element === element);
		if (!row || row.line.kind !== "comment" || row.line.gone || !row.line.offset) return this.#reply.remove();
		if (this.#reply.parentNode === element) return;
		this.#reply.textContent = "";
		this.#reply.setAttribute("aria-label", words.text("reply", { name: nameOf(row.line.author) }));
		element.append(this.#reply);
	}

	#answer(target) {
		const line = this.#rows.find(({ element }) => element.contains(target))?.line;
		if (line?.offset && line.kind === "comment" && !line.gone) this.#onReply(line);
	}
}
