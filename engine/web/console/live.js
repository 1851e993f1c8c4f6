// The engine's own WebSocket: the figures in #console, and a room as its moderator. Owns passes and the rooms that were entered with
// them. Must not know what is drawn. The SDK comes back by itself, and asks for another pass each time.

import { join } from "/sdk/roomcast.js";

const PASS_MS = 3_000, OPTIONS = { capMs: 5_000, quality: 0, receipts: false };

/** Passes for one room, and for its backstage: one for both if they are entered together. Not kept for as long as it is good: a node
 * that was started again knows none of those before. */
class Passes {
	#api; #room; #pass; #since = -Infinity;

	constructor(api, room) {
		[this.#api, this.#room] = [api, room];
	}

	/** @returns {{url, room, token, expires}} */
	get() {
		if (performance.now() - this.#since > PASS_MS) {
			this.#since = performance.now();
			this.#pass = this.#api.pass(this.#room);
			this.#pass.catch(() => (this.#since = -Infinity));
		}
		return this.#pass;
	}
}

/** Be in a room until the signal. Throws a Fault if there is no way in at all; later on, `status` is told what becomes of it.
 * @param suffix "#backstage" for the room behind it.
 * @param entered Is given each SDK room: another one if the node came back at another address. */
async function be(passes, suffix, entered, status, signal) {
	const first = await passes.get();
	if (signal.aborted) return;
	let url = first.url;
	const token = async () => {
		const pass = await passes.get();
		if (pass.url !== url) queueMicrotask(() => again(pass.url));
		return pass.token;
	};
	let room;
	const enter = () => {
		room = join(url, first.room + suffix, { ...OPTIONS, token });
		room.on("status", ({ status: now, error }) => status(now, error));
		entered(room);
	};
	const again = (moved) => {
		if (signal.aborted || moved === url) return;
		url = moved;
		room.leave();
		enter();
	};
	enter();
	signal.addEventListener("abort", () => room.leave());
}

/** The figures of all nodes, into `figures`. `state`: "connecting", "live", "waiting", "denied" or "closed". Tells "change". */
export class Live extends EventTarget {
	state = "connecting";
	/** Why it is denied. */
	fault = null;

	constructor(api, figures, signal) {
		super();
		this.#begin(api, figures, signal);
	}

	async #begin(api, figures, signal, pause = 1_000) {
		const taken = ({ type, name, body, author, time }, arrived) => {
			if (type === "custom" && name === "figures" && author.role === "server") figures.take(body, arrived ?? time);
		};
		const entered = (room) => {
			room.on("custom", (event) => taken(event, Date.now()));
			room.on("snapshot", ({ recent }) => recent.forEach((event) => taken(event)));
		};
		const status = (now) => !signal.aborted && this.#turn({ open: "live", connecting: this.state }[now] ?? now);
		try {
			await be(new Passes(api, null), "", entered, status, signal);
		} catch (fault) {
			if (signal.aborted || fault.status === 401) return;
			this.fault = fault;
			this.#turn(fault.status === 403 ? "denied" : "waiting");
			if (fault.status !== 403) setTimeout(() => !signal.aborted && this.#begin(api, figures, signal, Math.min(2 * pause, 10_000)), pause);
		}
	}

	#turn(state) {
		if (state === this.state) return;
		this.state = state;
		this.dispatchEvent(new Event("change"));
	}
}

/** Be in a room as its moderator, in front and backstage.
 * @param front Is given the SDK room, and `behind` that of the backstage; `status` what becomes of the one in front. */
export async function enterRoom(api, name, { front, behind, status }, signal) {
	const passes = new Passes(api, name);
	await be(passes, "", front, status, signal);
	if (!signal.aborted) await be(passes, "#backstage", behind, () => {}, signal);
}
