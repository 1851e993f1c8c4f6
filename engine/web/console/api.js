// The HTTP API with one key. Owns requests, their faults (RFC 9457), and what is known of the key: a scope that it was once refused
// is not asked for again, so that a limited key meets a sentence rather than a storm of errors. Must not know the page.

const NEEDS = /^this needs the scope (\S+)$/;
const ATTEMPT_MS = 15_000;

/** What a call came to instead of an answer. `name`: that of the problem, or "network". */
export class Fault extends Error {
	constructor({ status = 0, name = "network", title = "", detail = "", request_id = "", errors = [], retry_after_ms = 0 }) {
		super(detail || title || name);
		Object.assign(this, { status, name, title, detail, requestId: request_id, errors, retryAfterMs: retry_after_ms });
		this.scope = status === 403 ? (NEEDS.exec(detail)?.[1] ?? "") : "";
	}
}

/** The path of a room, or of something in it. */
export const roomPath = (room, ...names) => ["/v1/rooms", ...[room, ...names].map(encodeURIComponent)].join("/");

export class Api extends EventTarget {
	/** Scopes that the key turned out not to have. */
	denied = new Set();
	#key;

	constructor(key) {
		super();
		this.#key = key;
	}

	get(path, options) {
		return this.#call("GET", path, options);
	}
	post(path, body, options) {
		return this.#call("POST", path, { body, ...options });
	}
	put(path, body, options) {
		return this.#call("PUT", path, { body, ...options });
	}
	delete(path, options) {
		return this.#call("DELETE", path, options);
	}

	/** A pass for the figures (room null), or as a moderator for a room and its backstage. */
	pass(room) {
		if (room === null) return this.post("/v1/passes", { room }, { scope: "node:read" });
		return this.post(roomPath(room, "passes"), undefined, { scope: "moderate" });
	}

	/** @param scope Which one the call needs. `signal`: aborts it. */
	async #call(method, path, { body, scope = "", signal } = {}) {
		if (this.denied.has(scope)) throw new Fault({ status: 403, name: "forbidden", detail: `this needs the scope ${scope}` });
		const limit = AbortSignal.timeout(ATTEMPT_MS), headers = { Authorization: `Bearer ${this.#key}`, Accept: "application/json" };
		if (body !== undefined) headers["Content-Type"] = "application/json";
		let answer, told;
		try {
			const request = { method, headers, signal: signal ? AbortSignal.any([signal, limit]) : limit, cache: "no-store" };
			answer = await fetch(path, { ...request, body: body === undefined ? undefined : JSON.stringify(body) });
			const text = await answer.text();
			told = text ? JSON.parse(text) : null;
		} catch (error) {
			signal?.throwIfAborted();
			if (error instanceof SyntaxError && !answer.ok) throw this.#fault({ status: answer.status, title: answer.statusText });
			throw this.#fault({ detail: error.name === "TimeoutError" ? "timeout" : "" });
		}
		if (answer.ok) return told;
		throw this.#fault({ name: "internal", request_id: answer.headers.get("X-Request-Id") ?? "", ...told, status: answer.status });
	}

	#fault(told) {
		const fault = new Fault(told), known = this.denied.has(fault.scope);
		if (fault.scope) this.denied.add(fault.scope);
		if (fault.scope && !known) this.dispatchEvent(new Event("denied"));
		if (fault.status === 401) this.dispatchEvent(new CustomEvent("refused", { detail: fault }));
		return fault;
	}
}

/** Do something now and again every so many milliseconds, while somebody looks, until the signal; after a fault later. A fault goes
 * to `failed`. Returns what does it at once. */
export function repeat(run, ms, signal, failed = () => {}) {
	let timer, pause = ms, running = false, again = false;
	async function turn() {
		clearTimeout(timer);
		// Who asks while an answer is under way wants a later one.
		again = running;
		if (running || signal.aborted) return;
		running = true;
		try {
			if (!document.hidden) await run();
			pause = ms;
		} catch (error) {
			if (!signal.aborted && !(error instanceof Fault)) throw error;
			if (!signal.aborted) failed(error);
			pause = Math.min(2 * pause, 8 * ms, 30_000);
		} finally {
			running = false;
			if (!signal.aborted) timer = setTimeout(turn, again ? 0 : pause);
		}
	}
	document.addEventListener("visibilitychange", () => document.hidden || turn(), { signal });
	signal.addEventListener("abort", () => clearTimeout(timer));
	turn();
	return turn;
}
