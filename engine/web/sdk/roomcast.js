// One viewer in one room (engine/schema). What everything does, and why: roomcast.d.ts.

const EVENTS = [
	["omitted", "reason count"],
	["comment", "ref body replyTo mentions expires"],
	["custom", "ref name body"],
	["state", "ref kind key value version"],
	["notice", "ref body receipts"],
	["moderated", "action user offsets until reason"],
	["held", "session ref event reason"],
	["presence", "present"],
	["gift", "entry ref gift count amount to combo comboCount comboMs given stream"],
	["combo", "entry combo gift to count amount"],
	["correction", "entry corrected user amount given reason stream"],
	["packet", "entry ref total shares split opens expires followers phrase text commitment"],
	["share", "entry packet number amount"],
	["packetEnd", "entry packet reason claimed rest seed"],
];
const DEFAULTS = {
	name: "", role: "", reason: "", user: "", stream: "", phrase: "", text: "", split: "random", value: null, expect: -1,
	level: 0, replyTo: 0, expires: 0, lifetimeMs: 0, deadlineMs: 0, opensMs: 0, lastsMs: 0, offset: 0, until: 0, seconds: 0,
	before: 0, limit: 100, receipts: false, everywhere: false, followers: false, onLeave: false,
	attributes: Object.freeze({}), mentions: Object.freeze([]), offsets: Object.freeze([]),
};
const OPTIONS = {
	attributes: {}, feed: "", receipts: true, attempts: Infinity, baseMs: 250, capMs: 20_000, likeMs: 500,
	connectMs: 10_000, probeMs: 4_000, quality: 0.05, qualityMs: 30_000,
};
const TOTALS = { peak: 0, unique: 0, rate: 0, withheld: {}, reactions: {}, votes: {}, receipts: {}, givers: [] };
const [ABSENT, WAITING, RETURNING, RESUMING, LIVE] = [0, 1, 2, 3, 4];
const AGAIN = /^(4[0-3]\d\d|100[156]|101[1-4])$/, PATIENT = /^(4[23]\d\d|101[13])$/;
const [ENTRIES, UNREAD, LAST] = [20_000, 10_000, 63];

const list = (names, from = {}) => names.split(" ").map((name) => from[name] ?? DEFAULTS[name]);
const named = (names, values) =>
	Object.fromEntries(names.split(" ").map((name, at) => [name, name === "author" ? person(values[at]) : values[at] ?? DEFAULTS[name]]));
const person = (raw) => named("id name attributes role level", raw);
const paid = (raw) => named("entry offset amount", raw.slice(3));
const givers = (lines) => lines.map((line) => named("user name given", line));
const omitted = (epoch, first, last, reason, time) => ({ type: "omitted", epoch, first, last, reason, time });

export class RoomcastError extends Error {
	name = "RoomcastError";
	constructor(reason, code = 0, text = "", retryAfterMs = 0) {
		super(`${reason} ${code} ${text}`);
		Object.assign(this, { reason, code, text, retryAfterMs });
	}
	get retriable() {
		const { reason, code } = this;
		return reason === "refused" ? code < 100 : reason === "closed" && AGAIN.test(code);
	}
}

const refused = ([, , code, , text, retryAfterMs]) => new RoomcastError("refused", code, text, retryAfterMs);
const over = () => new RoomcastError("refused", 120, "over");
const check = (holds, text) => {
	if (!holds) throw Error(text);
};

function tally(causes) {
	const counts = {};
	for (const cause of causes) counts[cause] = (counts[cause] ?? 0) + 1;
	return counts;
}

export function readEvent(epoch, offset, time, raw) {
	const [type, names] = EVENTS[raw[0]] ?? ["unknown", ""];
	const event = { type, epoch, offset, time, raw };
	if (!names) return { ...event, kind: raw[0], fields: raw.slice(1) };
	Object.assign(event, named(`author ${names}`, raw.slice(1)));
	if (event.event) event.event = readEvent(epoch, offset, time, event.event);
	return event;
}

function readEvents(epoch, first, last, raws, times) {
	let offset = first;
	const events = raws.map((raw, at) => {
		const from = offset, omits = raw[0] === 0;
		offset += omits ? raw[2] : 1;
		return omits ? omitted(epoch, from, offset - 1, raw[1], times[at]) : readEvent(epoch, from, times[at], raw);
	});
	check(offset === last + 1, `${offset - 1}, not ${last}`);
	return events;
}

function entryOf(kind, key, value, version) {
	if (kind === "pin" && value.event) value = { ...value, event: readEvent(0, value.offset, 0, value.event) };
	return [`${kind}:${key}`, { kind, key, value, version }];
}

function changeOf({ type, kind, key, value, version, entry, packet, author, ...rest }) {
	if (type === "state") return value ? entryOf(kind, key, value, version) : [`${kind}:${key}`, null];
	if (type === "packetEnd") return [`packet:${packet}`, null];
	if (type !== "packet") return null;
	const { epoch, offset, time, raw, ref, ...fields } = rest;
	return entryOf(type, `${entry}`, { ...fields, author: [author.id, author.name] }, 0);
}

export class Room {
	user = "";
	role = "";
	status = "connecting";
	position = null;
	counters = { likes: 0, viewers: 0, ...TOTALS };
	state = new Map();
	certain = false;
	pending = new Map();
	statistics = { events: 0, overlap: 0, gaps: 0, reconnects: -1 };

	#url; #name; #options; #ready = Promise.withResolvers(); #error; #listeners = {}; #end = new AbortController();
	#socket; #handle; #session; #heartbeatMs; #timers = {}; #attempts = 0; #after = 0; #phase = ABSENT; #next;
	#ref = Date.now() * 1000; #requests = new Map(); #receipts = new Map();
	#upTo = 0; #reading; #taps; #told; #tapped = -Infinity;
	#entries = new Set(); #ahead = 0; #timed;
	#sums = Array(4 + LAST).fill(0); #causes = []; #reported; #arrived; #place; #since;

	constructor(url, name, options) {
		this.#url = new URL(url, globalThis.location?.href).href;
		this.#name = name;
		this.#options = { ...OPTIONS, ...options };
		this.ready = this.#ready.promise;
		this.ready.catch(() => {});
		const session = this.#options.session ?? this.#store();
		const { id = null, epoch, offset, taps = {}, told = taps } = session?.at ? { id: session } : session ?? {};
		this.#session = id;
		if (epoch) this.position = this.#place = { epoch, offset };
		this.#taps = taps;
		this.#told = told;
		if (Math.random() < this.#options.quality) this.#arrived = [[...this.#sums], 0];
		const on = (target, type, run) => target?.addEventListener?.(type, run, { signal: this.#end.signal });
		on(globalThis.document, "visibilitychange", () => (this.#hidden ? this.#stow() : this.#wake()));
		on(globalThis, "pagehide", () => this.#stow());
		on(globalThis, "online", () => this.#wake());
		on(globalThis, "offline", () => this.#probe());
		this.#dial();
	}

	get session() {
		this.#flush(true);
		return { id: this.#session, ...this.position, taps: this.#taps, told: this.#told };
	}

	now() {
		return Date.now() + this.#ahead;
	}

	on(type, run) {
		(this.#listeners[type] ??= new Set()).add(run);
		return () => this.off(type, run);
	}

	off(type, run) {
		this.#listeners[type]?.delete(run);
	}

	async *[Symbol.asyncIterator]() {
		const items = [];
		let wake;
		const off = this.on("*", (item) => (items.push(item), wake?.()));
		try {
			for (;;) {
				while (items.length && items.length < UNREAD) yield items.shift();
				if (items.length) throw new RoomcastError("unread");
				if (this.#error?.reason === "left") return;
				if (this.#error) throw this.#error;
				await new Promise((resolve) => (wake = resolve));
			}
		} finally {
			off();
		}
	}

	#emit(item) {
		for (const run of [...(this.#listeners[item.type] ?? []), ...(this.#listeners["*"] ?? [])]) {
			try {
				run(item);
			} catch (error) {
				setTimeout(() => { throw error; });
			}
		}
	}

	#turned(status, more) {
		this.status = status;
		this.#emit({ type: "status", status, ...more });
	}

	say(body, options) {
		const fields = list("replyTo mentions lifetimeMs", options), [replyTo, mentions] = fields;
		const author = person([this.user, this.#options.name, this.#options.attributes, this.role]);
		const item = { type: "pending", state: "sent", ref: this.#ref, author, body, replyTo, mentions, time: this.now() };
		this.pending.set(item.ref, item);
		this.#emit({ ...item });
		const answer = this.#ask(3, body, ...fields).then(([, , code, offset]) => {
			item.offset = offset;
			if (code) this.#settle(item, "held");
			this.#published();
			return code ? 0 : offset;
		});
		answer.catch((error) => this.#settle(item, error.reason, error));
		return answer;
	}

	#settle(item, state, error) {
		if (this.pending.delete(item.ref)) this.#emit({ ...item, state, error });
	}

	#published() {
		for (const item of this.pending.values()) {
			if (item.offset && !(item.offset > this.position?.offset)) this.#settle(item, "published");
		}
	}

	like(count = 1) {
		this.react("", count);
	}
	react(name, count = 1) {
		const taps = { "": 0, ...this.#taps, [name]: (this.#taps[name] ?? 0) + count };
		if (!(count >= 0) || name.length > 32 || Object.keys(taps).length > 17) throw new RangeError(name);
		this.#taps = taps;
		this.#flush();
	}

	#flush(now) {
		if (this.status !== "open") return;
		for (const receipt of this.#receipts) this.#send(12, this.#handle, ...receipt);
		this.#receipts.clear();
		if (this.#taps === this.#told) return;
		const wait = this.#tapped + this.#options.likeMs - performance.now();
		if (wait > 0 && !now) return this.#in("taps", wait, () => this.#flush());
		this.#tapped = performance.now();
		this.#told = this.#taps;
		this.#tell();
	}

	#tell() {
		const { "": likes = 0, ...reactions } = this.#told;
		this.#send(4, this.#handle, likes, reactions);
	}

	custom(name, body) {
		return this.#do(7, name, body);
	}
	direct(user, body) {
		return this.#do(8, user, body);
	}
	moderate(action, options) {
		return this.#do(9, action, ...list("user offset seconds reason everywhere", options));
	}
	set(kind, key, value, options) {
		return this.#do(10, kind, key, value, ...list("expect onLeave", options));
	}
	notice(body, options) {
		return this.#do(11, body, ...list("receipts deadlineMs", options));
	}
	read(offset, read = true) {
		this.#receipts.set(offset, read);
		this.#flush();
	}
	vote(kind, key, choice = 0) {
		return this.#do(13, kind, key, choice);
	}
	question(body) {
		return this.#do(14, body);
	}
	async choose(feed) {
		await this.#do(17, feed);
		this.#options.feed = feed;
	}
	async give(gift, count = 1, to = "") {
		return paid(await this.#ask(18, gift, count, to));
	}
	async pack(total, shares, options) {
		const fields = list("split opensMs lastsMs followers phrase text", options);
		const done = paid(await this.#ask(20, total, shares, ...fields));
		await this.#reached(done.offset);
		return done;
	}
	async claim(packet) {
		const key = `packet:${packet}`;
		if (!this.state.has(key)) await this.refresh();
		if (!this.state.has(key)) throw over();
		await this.#reached(this.#upTo);
		return paid(await this.#ask(19, packet));
	}
	async #reached(offset) {
		while (!this.#error && this.position?.offset < offset) {
			await new Promise((wake) => { const off = this.on("*", () => (off(), wake())); });
		}
	}
	async givers(stream = null, after = 0, limit = 100) {
		const answer = await this.#ask(21, stream, after, limit);
		return { ...named("stream after", answer.slice(3)), givers: givers(answer[5]) };
	}
	async gifts() {
		return (await this.#ask(22))[3].map((gift) => named("id name price effect comboMs", gift));
	}
	async history(options) {
		const [, , , epoch, first, last, times, raws] = await this.#ask(15, ...list("before limit", options));
		return { epoch, first, last, events: readEvents(epoch, first, last, raws, times) };
	}
	async refresh() {
		await this.#ask(16);
	}
	async ping() {
		const since = this.#since, sent = Date.now(), [, , serverTime] = await this.#ask(5), rttMs = Date.now() - sent;
		if (since === this.#since && !this.#hidden) {
			this.#ahead = serverTime - sent - rttMs / 2;
			this.#since = Math.min(since, sent);
			this.#timed = true;
		}
		return { rttMs, serverTime };
	}

	leave() {
		this.#flush(true);
		this.#report();
		if (this.status === "open") this.#send(2, this.#ref++, this.#handle);
		this.#finish(new RoomcastError("left"));
	}

	async #do(...request) {
		const [, , code, offset] = await this.#ask(...request);
		return code ? 0 : offset;
	}

	#ask(kind, ...fields) {
		if (this.#error) return Promise.reject(this.#error);
		const ref = this.#ref++;
		return new Promise((resolve, reject) => {
			this.#requests.set(ref, { kind, fields, resolve, reject });
			if (this.status === "open") this.#submit(ref);
		});
	}

	#submit(ref) {
		const request = this.#requests.get(ref), { kind, fields } = request;
		request.sent = true;
		try {
			this.#send(kind, ref, ...(kind === 5 || kind === 23 ? [] : [this.#handle]), ...fields);
		} catch (error) {
			this.#answer(ref, new RoomcastError("refused", 100, `${error}`));
		}
	}

	#answer(ref, answer) {
		const request = this.#requests.get(ref);
		this.#requests.delete(ref);
		if (answer[0] === 35 && answer[2] % 200) answer = refused(answer);
		if (answer instanceof Error) request?.reject(answer);
		else request?.resolve(answer);
	}

	#send(...message) {
		this.#socket.send((this.#options.codec?.encode ?? JSON.stringify)(message));
	}

	get #hidden() {
		return globalThis.document?.hidden;
	}

	#in(name, ms, run) {
		clearTimeout(this.#timers[name]);
		this.#timers[name] = setTimeout(run, ms);
	}

	async #dial() {
		const { token: source, codec, name = null, attributes, connectMs } = this.#options, timers = this.#timers;
		const lost = (code, text, ...pause) => {
			if (timers === this.#timers) this.#lost(new RoomcastError("closed", code, text), ...pause);
		};
		this.#turned("connecting");
		this.#watch(connectMs);
		let token = source ?? null;
		try {
			if (typeof source === "function") token = await source();
		} catch (error) {
			return lost(1006, `${error}`);
		}
		if (timers !== this.#timers) return;
		let bye;
		const socket = (this.#socket = new WebSocket(this.#url, `roomcast.v1.${codec ? "msgpack" : "json"}`));
		socket.binaryType = "arraybuffer";
		socket.onopen = () => {
			const { epoch = 0, offset = 0 } = this.position ?? {}, { feed } = this.#options;
			this.#send(1, this.#ref++, this.#name, epoch, offset, this.#session, name, attributes, token, feed);
		};
		socket.onmessage = ({ data }) => {
			if (timers !== this.#timers) return;
			let message;
			try {
				message = codec ? codec.decode(new Uint8Array(data)) : JSON.parse(data);
			} catch (error) {
				this.#options.codec = null;
				return lost(codec ? 4000 : 1007, `${error}`);
			}
			if (message[0] === 37) bye = message.slice(1);
			else this.#take(message, token);
		};
		socket.onclose = ({ code, reason }) => lost(...(bye ?? [code, reason]));
	}

	#watch(ms, asked) {
		const due = Date.now() + ms;
		this.#in("alarm", ms, () => {
			if (this.status === "open" && !asked && Date.now() > due + 2000) this.#probe();
			else this.#lost(new RoomcastError("closed", 1006, "silence"));
		});
	}

	#probe() {
		if (this.status !== "open") return;
		this.ping().catch(() => {});
		this.#watch(this.#options.probeMs, true);
	}

	#wake() {
		this.#store();
		this.#since = Date.now();
		this.#probe();
		const wait = Math.max(this.#after - Date.now(), 0) + Math.random() * this.#options.baseMs;
		if (this.status === "waiting") this.#in("dial", wait, () => this.#dial());
	}

	#drop() {
		Object.values(this.#timers).forEach(clearTimeout);
		this.#timers = {};
		this.#phase = ABSENT;
		this.#socket?.close(1000);
	}

	#lost(error, afterMs = 0, windowMs = 0) {
		const { attempts, baseMs, capMs, token } = this.#options;
		const { code, reason } = error, renewable = /^440[34]$/.test(code) && typeof token === "function";
		if (this.status === "open" || reason === "refused") this.#causes.push(code);
		if (!(error.retriable || renewable) || this.#attempts >= attempts) return this.#finish(error);
		this.#drop();
		const ceiling = Math.min(capMs, baseMs * 2 ** this.#attempts++), part = Math.random();
		const patient = this.#hidden || reason === "refused" || PATIENT.test(code);
		const delayMs = Math.max(afterMs, patient && Math.min(capMs, 8 * ceiling)) + part * Math.max(windowMs, ceiling);
		this.#after = Date.now() + afterMs + part * windowMs;
		this.#in("dial", delayMs, () => this.#dial());
		this.#turned("waiting", { error, delayMs });
	}

	#finish(error) {
		if (this.#error) return;
		this.#error = error;
		this.#drop();
		this.#end.abort();
		this.#ready.reject(error);
		for (const ref of this.#requests.keys()) this.#answer(ref, error);
		this.#turned("closed", { error });
	}

	#take(message, token) {
		this.#watch(2 * this.#heartbeatMs || this.#options.connectMs);
		try {
			const [kind, first, second] = message;
			if (kind === 32) this.#entered(message, token);
			else if (kind === 35 && this.#phase === ABSENT) return this.#lost(refused(message), message[5]);
			else if (kind === 35 && !first) this.#emit({ type: "refused", error: refused(message) });
			else if (kind === 35 || kind === 38) this.#answer(first, message);
			else if (kind > 32 && kind < 45) {
				check(this.#phase && (kind < 40 ? first : second) === this.#handle, "another room");
				this.#follow(kind, message);
			}
		} catch (error) {
			return this.#finish(new RoomcastError("violation", 0, `${error}`));
		}
		if (this.position && this.#phase) this.#ready.resolve(this);
	}

	#entered(message, token) {
		let session, resumed;
		[, , this.#handle, session, this.user, this.role, resumed, this.#heartbeatMs] = message;
		const back = this.#session, other = back && back !== session, uncertain = new RoomcastError("uncertain");
		for (const [ref, { kind, sent }] of this.#requests) if (sent && (other || kind === 5)) this.#answer(ref, uncertain);
		for (const name in other && this.#told) this.#taps = { ...this.#taps, [name]: this.#taps[name] - this.#told[name] };
		if (other) this.#told = {};
		this.#session = session;
		this.#phase = !this.position ? WAITING : resumed ? RESUMING : RETURNING;
		this.#reading = false;
		this.#attempts = 0;
		this.statistics.reconnects++;
		this.status = "open";
		if (back) this.#tell();
		for (const ref of this.#requests.keys()) this.#submit(ref);
		this.#flush();
		this.#renew(token);
		this.#since = Date.now();
		this.ping().catch(() => {});
		this.#reported = this.#arrived;
		this.#reports();
		this.#turned("open", { resumed });
	}

	#follow(kind, message) {
		let items = [];
		const fields = message.slice(2);
		if (kind === 33) items = this.#snapshot(...fields);
		else if (kind === 34) items = this.#batch(...fields);
		else if (kind === 36) items = this.#gap(...fields);
		else if (kind === 39) items = [{ type: "direct", ...named("author body time", fields) }];
		else if (kind === 41) items = this.#present(...fields);
		for (const item of items) {
			this.#count(item);
			if (item.type === "comment" && item.author.id === this.user) {
				item.replaces = this.pending.get(item.ref);
				this.pending.delete(item.ref);
			}
			if (item.receipts === true && this.#options.receipts) this.read(item.offset, false);
			this.#emit(item);
		}
		if (kind > 39) this.#answer(message[1], message);
		for (const [ref, { kind, fields: [packet] }] of this.#requests) {
			if (kind !== 19) continue;
			const share = items.find((item) => item.number && item.packet === packet && item.author.id === this.user);
			if (share) this.#answer(ref, [42, ref, 0, share.entry, share.offset, share.amount]);
			else if (this.certain && !this.state.has(`packet:${packet}`)) this.#answer(ref, over());
		}
		this.#published();
		this.#flush();
		this.#readAgain();
	}

	#begins(epoch, first) {
		const { epoch: now, offset } = this.position ?? {};
		const fits = this.#phase === LIVE ? first === this.#next : first <= offset + 1;
		check(this.#phase > WAITING && epoch === now && fits, `${epoch}:${first} after ${now}:${offset}`);
	}

	#settled(epoch, offset, next) {
		if (epoch === this.#place?.epoch) this.#sums[0] += offset - this.#place.offset;
		this.position = this.#place = { epoch, offset };
		this.#next = next;
		this.#phase = LIVE;
	}

	#snapshot(room, epoch, offset, time, pair, heartbeatMs, totals = {}, lines = [], past = []) {
		const recent = past.flatMap(([at, when, raw]) => (raw[0] ? readEvent(epoch, at, when, raw) : []));
		const seen = this.position ?? { epoch, offset };
		if (this.position) this.#begins(epoch, offset + 1);
		this.#settled(epoch, seen.offset, offset + 1);
		if (offset >= seen.offset || !this.certain) this.#begin(offset, lines);
		if (!this.#timed) this.#ahead = time - Date.now();
		const counted = this.#counted(pair, totals, true);
		return [{ type: "snapshot", room, epoch, offset, time, counters: this.counters, state: this.state, recent }, ...counted];
	}

	#gap(epoch, first, last, reason) {
		this.#begins(epoch, first);
		const { offset } = this.position, phase = this.#phase;
		if (last && reason !== "epoch") {
			this.#settled(epoch, Math.max(last, offset), last + 1);
			if (reason === "history") this.#phase = phase;
			if (last <= offset) return [];
			if (last > this.#upTo) {
				this.certain = false;
				this.#upTo = last;
			}
		} else {
			this.position = null;
			this.#phase = WAITING;
			this.certain = false;
			this.#upTo = 0;
		}
		first = Math.max(first, offset + 1);
		this.statistics.gaps++;
		return [{ type: "gap", epoch, first, last, reason }];
	}

	#batch(epoch, first, last, time, raws, delays = [], pair = [], totals = {}) {
		this.#begins(epoch, first);
		const seen = this.position.offset, { statistics } = this, items = [];
		const events = readEvents(epoch, first, last, raws, raws.map((_, at) => time + (delays[at] ?? 0)));
		this.#settled(epoch, Math.max(last, seen), last + 1);
		for (let event of events) {
			const { type, offset, entry, time } = event, fresh = (event.last ?? offset) > seen, change = changeOf(event);
			if (change && offset > this.#upTo) {
				this.#upTo = offset;
				this.#put(...change);
			}
			if (!fresh) continue;
			if (type === "omitted") {
				event.first = Math.max(event.first, seen + 1);
			} else if (this.#entries.has(entry)) {
				event = omitted(epoch, offset, offset, 4, time);
			} else {
				if (entry) this.#entries.add(entry);
				if (this.#entries.size > ENTRIES) this.#entries.delete(this.#entries.values().next().value);
				statistics.events++;
			}
			items.push(event);
		}
		statistics.overlap += Math.min(last, seen) - Math.min(first - 1, seen);
		return [...items, ...this.#counted(pair, totals)];
	}

	#put(key, entry) {
		if (entry) this.state.set(key, entry);
		else this.state.delete(key), delete this.counters.votes[key];
	}

	#begin(offset, lines) {
		this.state = new Map(lines.map((line) => entryOf(...line)));
		this.#upTo = offset;
		this.certain = true;
	}

	#present(handle, epoch, offset, totals, lines) {
		const counted = this.#counted([], totals, true), place = this.position;
		if (epoch !== place?.epoch || offset < Math.max(this.#upTo, this.certain && place.offset + 1)) return counted;
		this.#begin(offset, lines);
		return [{ type: "present", epoch, offset, state: this.state }, ...counted];
	}

	#readAgain() {
		if (this.#reading || this.certain || this.#phase < RESUMING) return;
		this.#reading = true;
		const again = (ms) => {
			this.#in("read", ms + Math.random() * 4 * this.#options.baseMs, () => {
				this.#reading = false;
				this.#readAgain();
			});
		};
		this.refresh().then(() => again(0), (error) => error.retriable && again(error.retryAfterMs));
	}

	#counted(pair, totals, whole) {
		const before = this.counters, base = whole ? TOTALS : before, now = { ...before, ...base, ...totals };
		if (pair.length) [now.likes, now.viewers] = pair;
		if (totals.givers) now.givers = givers(totals.givers);
		now.votes = { ...base.votes, ...totals.votes };
		now.receipts = { ...base.receipts, ...totals.receipts };
		if (JSON.stringify(now) === JSON.stringify(before)) return [];
		this.counters = now;
		return [{ type: "counters", ...now }];
	}

	#renew(token) {
		const { token: source } = this.#options, timers = this.#timers;
		let left;
		try {
			left = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"))).exp * 1000 - this.now();
		} catch {}
		if (typeof source !== "function" || !(left > 0)) return;
		this.#in("renewal", Math.min(Math.max(left / 2, left - 60_000, 1000), 2e9), async () => {
			try {
				const fresh = await source();
				await this.#ask(23, fresh);
				token = fresh;
			} catch (error) {
				if (error.reason && !error.retriable) return;
			}
			if (timers === this.#timers) this.#renew(token);
		});
	}

	#count({ type, raw, first, last, time }) {
		const sums = this.#sums;
		if (raw) sums[1]++;
		if (type === "omitted") sums[1] += last - first + 1;
		if (type === "gap") sums[2]++;
		if (!raw || !this.#timed || this.#hidden || time - this.#ahead < this.#since) return;
		sums[3 + Math.floor(Math.min(4 * Math.log2(Math.max(this.now() - time, 0) + 1), LAST))]++;
	}

	quality() {
		const [entitled, received, gaps, ...delays] = this.#sums;
		const [delayP50Ms, delayP99Ms] = [0.5, 0.99].map((share) => {
			let rank = share * delays.reduce((sum, count) => sum + count);
			return rank ? 2 ** ((delays.findIndex((count) => (rank -= count) <= 0) + 0.5) / 4) - 1 : null;
		});
		return { entitled, received, gaps, reconnects: tally(this.#causes), delayP50Ms, delayP99Ms };
	}

	#reports() {
		this.#report();
		this.#in("report", this.#options.qualityMs * (0.5 + Math.random()), () => this.#reports());
	}

	#report() {
		const before = this.#reported, now = [[...this.#sums], this.#causes.length];
		if (!before || this.status !== "open" || `${now}` === `${before}`) return;
		const [entitled, received, gaps, ...delays] = this.#sums.map((sum, at) => sum - before[0][at]);
		this.#send(6, this.#handle, entitled, received, gaps, delays, tally(this.#causes.slice(before[1])));
		this.#reported = now;
		this.ping().then(() => (this.#arrived = now), () => {});
	}

	#stow() {
		this.#report();
		this.#store(JSON.stringify(this.session));
	}

	#store(text) {
		const { storage } = this.#options, key = `roomcast ${this.#url} ${this.#name}`, before = storage?.getItem(key);
		storage?.removeItem(key);
		if (text) storage?.setItem(key, text);
		return JSON.parse(before ?? null);
	}
}

export const join = (url, room, options) => new Room(url, room, options);
