// What moves over the picture: the clock, hearts, gift banners.
//
// Owns its elements and drawings, and what a tap on them does. Must not know the room but for its likes: it is told the time, how many
// likes came, which gift. Bounded: so many hearts, three banners, whatever comes; and at rest nothing here draws but the clock's last digit.

import { make, makeSvg } from "../shared/elements.js";

const calm = matchMedia("(prefers-reduced-motion: reduce)");

// -- the clock

export class Clock {
	#digits; #tenth; #ticks; #now; #shown = ""; #second = -1;

	/** now(): Unix ms. */
	constructor(digits, tenth, dial, now) {
		this.#digits = digits.appendChild(new Text());
		digits.replaceChildren(this.#digits);
		this.#tenth = tenth.appendChild(new Text());
		this.#now = now;
		this.#ticks = Array.from({ length: 60 }, (_, at) => {
			const long = at % 5 === 0, [x1, y1, x2, y2] = [100, long ? 7 : 9, 100, long ? 16 : 14];
			return makeSvg("line", { x1, y1, x2, y2, transform: `rotate(${at * 6} 100 100)` });
		});
		dial.append(...this.#ticks);
		this.#step();
	}

	#step() {
		const now = this.#now();
		setTimeout(() => this.#step(), 100 - (now % 100));
		if (document.hidden) return;
		const date = new Date(now), two = (number) => `${number}`.padStart(2, "0"), second = date.getSeconds();
		const text = `${two(date.getHours())}:${two(date.getMinutes())}:${two(second)}`;
		if (text !== this.#shown) this.#digits.data = this.#shown = text;
		this.#tenth.data = `.${Math.floor((now % 1000) / 100)}`;
		if (second === this.#second) return;
		this.#second = second;
		this.#ticks.forEach((tick, at) => {
			const on = at <= second ? (at === second ? "now" : "on") : "";
			if (tick.dataset.on !== on) tick.dataset.on = on;
		});
	}
}

// -- hearts

const [HEARTS, LIFE_MS, FRAME_MS] = [36, 2400, 30];
const COLOURS = ["#ff5a76", "#ff8a5c", "#ffc45c", "#43d3b9", "#8fa8ff", "#ff8fb1"];
const HEART = "M12 20.2 4.7 12.9a4.75 4.75 0 0 1 0-6.7 4.75 4.75 0 0 1 6.7 0l.6.6.6-.6a4.75 4.75 0 0 1 6.7 6.7Z";

export class Hearts {
	/** Drawn so far. */
	drawn = 0;

	#canvas; #context; #sprites; #hearts = []; #waiting = 0; #running = false; #last = 0; #next = 0;

	constructor(canvas) {
		this.#canvas = canvas;
		this.#context = canvas.getContext("2d");
		this.#sprites = COLOURS.map((colour) => {
			const sprite = new OffscreenCanvas(48, 48), context = sprite.getContext("2d");
			context.scale(2, 2);
			context.fillStyle = colour;
			context.fill(new Path2D(HEART));
			return sprite;
		});
	}

	get flying() {
		return this.#hearts.length;
	}

	/** So many at once: one's own. */
	rise(count = 1) {
		this.#waiting += count;
		this.#next = 0;
		this.#run();
	}

	/** So many likes of others: fewer hearts than likes, over a second or so. */
	add(likes) {
		this.#waiting = Math.min(this.#waiting + Math.ceil(Math.sqrt(likes)), 12);
		this.#run();
	}

	#run() {
		if (calm.matches || document.hidden) this.#waiting = 0;
		if (this.#running || !this.#waiting) return;
		this.#running = true;
		requestAnimationFrame((now) => this.#frame(now));
	}

	#frame(now) {
		if (now - this.#last >= FRAME_MS) {
			this.#last = now;
			this.#hearts = this.#hearts.filter(({ born }) => now - born < LIFE_MS);
			if (this.#waiting && now >= this.#next && this.#hearts.length < HEARTS) this.#bear(now);
			this.#draw(now);
		}
		this.#running = this.#hearts.length > 0 || this.#waiting > 0;
		if (this.#running) requestAnimationFrame((at) => this.#frame(at));
	}

	#bear(now) {
		this.#waiting--;
		this.#next = now + 70;
		this.drawn++;
		const sprite = this.#sprites[Math.floor(Math.random() * COLOURS.length)];
		this.#hearts.push({ born: now, sprite, sway: Math.random() * 2 - 1, size: 18 + Math.random() * 16, phase: Math.random() * 6 });
	}

	#draw(now) {
		const { width, height } = this.#canvas, context = this.#context;
		context.clearRect(0, 0, width, height);
		for (const { born, sprite, sway, size, phase } of this.#hearts) {
			const age = (now - born) / LIFE_MS, grown = Math.min(age * 8, 1) * size;
			const x = width / 2 + sway * 52 * age ** 0.7 + Math.sin(age * 7 + phase) * 10, y = height - 28 - age * (height - 60);
			context.globalAlpha = age < 0.6 ? 1 : (1 - age) / 0.4;
			context.drawImage(sprite, x - grown / 2, y - grown / 2, grown, grown);
		}
	}
}

const [HOLD_MS, RUN_MS] = [130, 1500];

/** The button, and whatever else one can tap or hold: likes go to the room, hearts rise, of others' likes, too. */
export class Likes {
	/** This visitor's. */
	own = 0;

	#button; #hearts; #room; #seen = null; #unseen = 0; #run = 0; #timer = 0;

	/** room(): in which one is, if any. */
	constructor(button, hearts, room) {
		this.#button = button;
		this.#hearts = hearts;
		this.#room = room;
		this.holdable(button, () => true);
		// By the keyboard; what a pointer does was counted when it went down.
		button.addEventListener("click", (event) => event.detail === 0 && this.add());
	}

	add() {
		const room = this.#room();
		if (!room || room.role === "reader") return;
		room.like();
		this.own++;
		this.#unseen++;
		this.#hearts.rise();
		this.#button.dataset.run = `+${++this.#run}`;
		clearTimeout(this.#timer);
		this.#timer = setTimeout(() => {
			this.#run = 0;
			delete this.#button.dataset.run;
		}, RUN_MS);
	}

	/** The room's total, as it was told. */
	counted(total) {
		const others = this.#seen === null ? 0 : total - this.#seen - this.#unseen;
		this.#unseen = this.#seen === null ? this.#unseen : Math.max(-others, 0);
		this.#seen = total;
		if (others > 0) this.#hearts.add(others);
	}

	holdable(element, allowed) {
		let timer;
		const end = () => clearInterval(timer);
		element.addEventListener("pointerdown", (event) => {
			if (event.button || !allowed(event)) return;
			this.add();
			end();
			timer = setInterval(() => this.add(), HOLD_MS);
		});
		for (const type of ["pointerup", "pointercancel", "pointerleave", "contextmenu"]) element.addEventListener(type, end);
		addEventListener("blur", end);
	}
}

// -- gifts

const GOLD = "#f4c768", ROSE = "#f2607d", LEAF = "#4fae86", INK = "#8fb7ff", EMBER = "#ff8a5c", CREAM = "#f7e2ba";
/** Small pictures: what is painted in which colour, on a grid of 48. By the beginning of a gift's effect or id. */
const PICTURES = {
	rose: [[LEAF, "M23 26h3v17h-3ZM25 38c5-6 10-7 13-6-1 5-6 8-13 8Z"], [ROSE, "M24 5c9 0 14 6 13 13-1 6-6 11-13 11s-12-5-13-11C10 11 15 5 24 5Z"], ["#c93c5c", "M18 14c4-5 10-4 12 0 2 5-2 9-6 9s-7-4-6-9Zm4 2c0 3 4 4 5 1"]],
	heart: [[ROSE, "M24 41 9.4 26.4a9.5 9.5 0 0 1 13.4-13.4L24 14.2l1.2-1.2a9.5 9.5 0 0 1 13.4 13.4Z"], ["#ff9fb0", "M14 18c1-3 3-4 6-4-3 1-4 3-5 6Z"]],
	tea: [[CREAM, "M9 20h26v8c0 7-5 12-13 12S9 35 9 28Z"], [CREAM, "M34 22h4c4 0 4 9-4 10v-3c3-1 3-4 1-4h-1Z"], [LEAF, "M12 20h20v3c-6 3-14 3-20 0Z"], ["#cfe8dd", "M17 16c-3-4 2-5 0-9h2c2 4-3 5 0 9Zm7 0c-3-4 2-5 0-9h2c2 4-3 5 0 9Z"]],
	lantern: [[GOLD, "M20 5h8v4h-8Zm0 30h8v4h-8Zm3 4h2v6h-2Z"], ["#e0402f", "M24 9c11 0 15 6 15 13s-4 13-15 13S9 29 9 22 13 9 24 9Z"], ["#ff7a5c", "M24 9c4 3 6 7 6 13s-2 10-6 13c-4-3-6-7-6-13s2-10 6-13Z"]],
	star: [[GOLD, "m24 5 5.6 12.2 13.4 1.6-9.9 9.1 2.7 13.2L24 34.5l-11.8 6.6 2.7-13.2L5 18.8l13.4-1.6Z"], ["#ffe3a3", "m24 10 3.5 9.5L24 24Z"]],
	rocket: [[EMBER, "m18 34 6 10 6-10Z"], [CREAM, "M24 3c8 7 9 17 7 31H17C15 20 16 10 24 3Z"], [INK, "M24 14a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9Z"], [ROSE, "M16 24c-6 3-8 8-7 14l8-5Zm16 0c6 3 8 8 7 14l-8-5Z"]],
	car: [[ROSE, "M4 29c0-5 4-6 9-7l6-7h14l6 8c4 0 6 2 6 6v5H4Z"], ["#cfe2ff", "M18 22l4-4.5h4V22Zm10-4.5h4l3 4.5h-7Z"], ["#2b3340", "M14 29a5 5 0 1 1 0 10 5 5 0 0 1 0-10Zm21 0a5 5 0 1 1 0 10 5 5 0 0 1 0-10Z"]],
	crown: [[GOLD, "M6 14l9 8 9-14 9 14 9-8-4 24H10Z"], ["#ffe3a3", "M10 33h28l-.8 5H10.8Z"], [ROSE, "M24 22a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7Z"]],
	firework: [[GOLD, "M23 4h2v11h-2Zm0 29h2v11h-2ZM4 23h11v2H4Zm29 0h11v2H33Z"], [ROSE, "m9.5 11 1.5-1.5 7 7-1.5 1.5Zm21 21 1.5-1.5 7 7-1.5 1.5Z"], [INK, "m37.5 9.5 1.5 1.5-7 7-1.5-1.5Zm-21 21 1.5 1.5-7 7L9.5 37.5Z"], [CREAM, "M24 20a4 4 0 1 1 0 8 4 4 0 0 1 0-8Z"]],
	koi: [[EMBER, "M6 24c6-12 20-14 29-2 2-4 5-7 9-8-2 4-2 7-2 10s0 6 2 10c-4-1-7-4-9-8-9 12-23 10-29-2Z"], [CREAM, "M13 18c4-3 9-3 12 0-1 5-2 8 0 13-4 2-9 1-12-2 2-4 2-7 0-11Z"], ["#2b3340", "M11 21.5a1.6 1.6 0 1 1 0 3.2 1.6 1.6 0 0 1 0-3.2Z"], [ROSE, "M20 15c2-5 6-7 11-7-1 4-3 7-5 9Zm1 18c2 4 5 6 9 6-1-4-2-6-4-8Z"]],
	boat: [[ROSE, "M25 6c10 4 14 12 14 22H25Z"], [GOLD, "M22 10c-7 4-10 10-11 18h11Z"], ["#9b5a2c", "M4 31h40c-2 7-6 11-12 11H15C9 42 5 38 4 31Z"], [INK, "M5 43c4-3 7-3 10 0 3 2 6 2 9 0 3-3 6-3 9 0 3 2 6 2 9 0v2c-3 2-6 2-9 0-3-3-6-3-9 0-3 2-6 2-9 0-3-3-6-3-10 0Z"]],
	gift: [[INK, "M8 21h32v20H8Z"], ["#b9ccff", "M6 14h36v8H6Z"], [GOLD, "M21 14h6v27h-6Z"], [GOLD, "M24 14c-2-7-6-9-10-8s-3 8 3 8Zm0 0c2-7 6-9 10-8s3 8-3 8Z"]],
};
const ALSO = { fish: "koi", ship: "boat", dragon: "boat", flower: "rose", 玫瑰: "rose", love: "heart", like: "heart", cup: "tea", 茶: "tea", 灯: "lantern", light: "star", plane: "rocket", 火箭: "rocket", king: "crown", castle: "crown", fire: "firework", 烟花: "firework" };

/** The picture of a gift; a parcel when none is known. */
export function pictureOf(effect, id) {
	const wanted = `${effect} ${id}`.toLowerCase(), found = Object.keys(PICTURES).find((name) => wanted.includes(name));
	const name = found ?? ALSO[Object.keys(ALSO).find((each) => wanted.includes(each))] ?? "gift";
	const paths = PICTURES[name].map(([fill, d]) => makeSvg("path", { fill, d }));
	return makeSvg("svg", { class: "picture", viewBox: "0 0 48 48", "aria-hidden": "true" }, ...paths);
}

const [LANES, STAY_MS, QUEUED] = [3, 3600, 12];

/** Banners of gifts: the same combo counts up where it is; others wait, the largest first. */
export class Lanes {
	#root; #lanes = new Map(); #queue = new Map();

	constructor(root) {
		this.#root = root;
	}

	/** gift: { combo, name, initial, hue, text, picture(), count, amount } */
	show(gift) {
		const lane = this.#lanes.get(gift.combo);
		if (lane) return this.#count(lane, gift);
		this.#queue.set(gift.combo, gift);
		if (this.#queue.size > QUEUED) this.#queue.delete([...this.#queue.values()].sort((a, b) => a.amount - b.amount)[0].combo);
		this.#next();
	}

	#next() {
		while (this.#lanes.size < LANES && this.#queue.size) {
			const gift = [...this.#queue.values()].sort((a, b) => b.amount - a.amount)[0];
			this.#queue.delete(gift.combo);
			const count = make("span", { class: "lane-count" });
			const element = make("div", { class: "lane", dataset: { rank: gift.amount >= 1000 ? "grand" : gift.amount >= 100 ? "fine" : "" } },
				make("span", { class: "face", dataset: { hue: gift.hue } }, gift.initial),
				make("span", { class: "lane-text" }, make("bdi", { class: "lane-name" }, gift.name), make("bdi", { class: "lane-gift" }, gift.text)),
				gift.picture(), count);
			const lane = { element, count, combo: gift.combo, timer: 0 };
			this.#lanes.set(gift.combo, lane);
			this.#root.append(element);
			if (!calm.matches) element.animate([{ opacity: 0, transform: "translateX(-40px)" }, {}], { duration: 260, easing: "cubic-bezier(.2,.7,.2,1)" });
			this.#count(lane, gift);
		}
	}

	#count(lane, { count }) {
		lane.count.textContent = `× ${count}`;
		if (!calm.matches) lane.count.animate([{ transform: "scale(1.7)" }, { transform: "none" }], { duration: 220, easing: "ease-out" });
		clearTimeout(lane.timer);
		lane.timer = setTimeout(() => {
			lane.element.remove();
			this.#lanes.delete(lane.combo);
			this.#next();
		}, STAY_MS);
	}
}
