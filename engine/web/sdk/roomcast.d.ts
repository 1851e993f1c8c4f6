// Types of roomcast.js, and what everything in it does.
//
//   import { join } from "./roomcast.js";
//   const room = join("wss://live.example.com/ws", "大厅", { name: "小明" });
//   room.on("comment", ({ author, body }) => (line.textContent = `${author.name}: ${body}`));
//   await room.say("你好 👋");
//   room.like();
//
// Works from <script type="module"> and from npm tooling, in browsers of 2024 and later (Chromium 125, Firefox 124, Safari 17.4)
// and in Node ≥ 22. Names, texts and attributes are other people's strings: put them into textContent, never into innerHTML.
//
// Times are Unix milliseconds of the server's clock (`Room.now`), amounts whole numbers of the product's smallest unit. An
// offset is an event's place in the room: within an epoch they count from 1 without holes, and each comes exactly once: as an
// event, in an "omitted" item, or covered by a "gap".

/** Enter a room. Returns at once, so that nothing is missed: listen first, then await `room.ready` if you like. Comes back by
 * itself when the connection is lost, until `leave` or until the server wants no return.
 * @param url Such as "wss://live.example.com/ws"; relative to the page, and http: stands for ws:.
 * @throws TypeError The URL is none. */
export function join(url: string | URL, room: string, options?: Options): Room;

export interface Options {
  /** Says who this is and what it may do (JWT); none for a guest. A function is asked for each connection, and in time before
   * the last token expires; when it rejects it is asked again later. With a text the viewer is sent out when it expires. */
  token?: string | (() => string | Promise<string>);
  /** Shown with what this viewer says. */
  name?: string;
  /** Up to 8 small strings, shown likewise. */
  attributes?: Record<string, string>;
  /** One of the operator's feeds; "": everything. */
  feed?: string;
  /** Be the viewer of an earlier room object, and continue where it stopped (`Room.session`); or only its id. */
  session?: Session | string;
  /** Where the session is kept while the page is reloaded, such as `sessionStorage`; none: a reload is another viewer. After a
   * reload events continue, and a snapshot comes only after a gap: read what was on the screen with `history`. */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem">;
  /** MessagePack, such as the module @msgpack/msgpack; none: JSON. When it cannot read a message, the room goes on in JSON. */
  codec?: Codec;
  /** Tell by itself that a notice that asks for it has come. Default true. */
  receipts?: boolean;
  /** Failed attempts in a row after which the room gives up. Default: never. */
  attempts?: number;
  /** First and largest ceiling of the pause before an attempt: 250 and 20,000. Pauses are random below it. */
  baseMs?: number;
  capMs?: number;
  /** Likes and reactions are summed for this long. Default 500. */
  likeMs?: number;
  /** From the first packet to being in the room. Default 10,000. */
  connectMs?: number;
  /** For an answer, when the network or the page has just changed. Default 4,000. */
  probeMs?: number;
  /** Share of pages that report to the server what `Room.quality` counts, and about how often: also at once after a return, and
   * when the page is hidden or left. Default 0.05 and 30,000. */
  quality?: number;
  qualityMs?: number;
}

export interface Codec {
  encode(value: unknown): Uint8Array<ArrayBuffer>;
  decode(data: Uint8Array): unknown;
}

/** Plain data. A secret: whoever has it is this viewer. taps: likes (under "") and reactions given; told: those of them that a
 * server was told. */
export interface Session {
  id: string | null;
  epoch?: number;
  offset?: number;
  taps?: Record<string, number>;
  told?: Record<string, number>;
}

export interface Position {
  readonly epoch: number;
  readonly offset: number;
}

/** One viewer in one room; made by `join`.
 *
 * Requests wait for their answer; those made without a connection are sent later, and one that was under way when it was lost is
 * sent again under the same ref, which the server recognises, so nothing happens twice. They reject with RoomcastError. What
 * publishes something resolves to its offset, or to 0 as long as a moderator has to decide. */
export class Room implements AsyncIterable<Item> {
  constructor(url: string | URL, name: string, options?: Options);

  /** Resolves when in the room; rejects when there is no way in. */
  readonly ready: Promise<Room>;
  readonly status: Status["status"];
  /** Id under which this viewer's events appear, and what it may do; "" before it is in. */
  readonly user: string;
  readonly role: string;
  /** After the last item handed out; null before the first snapshot, and after a gap without a known end. */
  readonly position: Position | null;
  /** What was tapped goes out when it is read. */
  readonly session: Session;
  readonly counters: Counters;
  /** What the room is (cards, polls, pins, mode, life, attributes, questions, open packets), by `kind:key`. */
  readonly state: ReadonlyMap<string, Entry>;
  /** Whether `state` lacks nothing: not after a gap, until it was read again ("present"). */
  readonly certain: boolean;
  /** Own comments that have not come back, by ref. */
  readonly pending: ReadonlyMap<number, Pending>;
  /** Events handed out; offsets that came again after a return and were dropped; gaps; returns. */
  readonly statistics: { readonly events: number; readonly overlap: number; readonly gaps: number; readonly reconnects: number };

  /** Call `run` with each item of a type, "*": of all; in order. Returns what ends that. */
  on<T extends Item["type"]>(type: T, run: (item: Extract<Item, { type: T }>) => void): () => void;
  on(type: "*", run: (item: Item) => void): () => void;
  off(type: Item["type"] | "*", run: (item: never) => void): void;
  /** All items from now on. Ends after `leave`; throws why there is no way back, or "unread" past 10,000 items. */
  [Symbol.asyncIterator](): AsyncGenerator<Item, void, void>;

  /** The server's clock. */
  now(): number;
  /** Say something. A "pending" item shows it at once; the "comment" that comes back names it in `replaces`. */
  say(body: string, options?: { replyTo?: number; mentions?: readonly string[]; lifetimeMs?: number }): Promise<number>;
  /** Add likes or reactions, up to 16 different ones: totals go out at most every `likeMs`, and when the page is hidden. What is
   * on its way when a connection breaks is counted if the viewer comes back to the same server, and lost at another one. */
  like(count?: number): void;
  react(name: string, count?: number): void;
  /** Vote in a "poll" for an option, from 0, or for a "question". */
  vote(kind: string, key: string, choice?: number): Promise<number>;
  /** Ask the host something that others can vote for. */
  question(body: string): Promise<number>;
  /** The notice at this offset was read; false: it only came. */
  read(offset: number, read?: boolean): void;

  /** Give something; to: id of a user, "": the host. */
  give(gift: string, count?: number, to?: string): Promise<Paid>;
  /** A red packet for the room: `total` in so many shares. Its entry is its number. */
  pack(total: number, shares: number, options?: PackOptions): Promise<Paid>;
  /** A share of a red packet, by its entry. Refused with 120 when nothing is left. */
  claim(packet: number): Promise<Paid>;
  /** Who gave most. stream: null: the present broadcast; "": of all time. */
  givers(stream?: string | null, after?: number, limit?: number): Promise<{ stream: string; after: number; givers: Giver[] }>;
  gifts(): Promise<Offer[]>;

  /** A page of the past: the newest events below `before` (0: up to the newest). The one before it: `before: page.first`. */
  history(options?: { before?: number; limit?: number }): Promise<Page>;
  /** Read the state again; done by itself after a gap. */
  refresh(): Promise<void>;
  /** Another feed from the next batch on. */
  choose(feed: string): Promise<void>;
  ping(): Promise<{ rttMs: number; serverTime: number }>;
  quality(): Quality;

  /** For hosts and moderators. actions: engine/schema/requests.py; kinds of state: engine/hub/kinds.py; null deletes. */
  notice(body: string, options?: { receipts?: boolean; deadlineMs?: number }): Promise<number>;
  set(kind: string, key: string, value: object | null, options?: { expect?: number; onLeave?: boolean }): Promise<number>;
  moderate(action: string, options?: ModerateOptions): Promise<number>;
  custom(name: string, body: string): Promise<number>;
  direct(user: string, body: string): Promise<number>;

  /** Say goodbye. */
  leave(): void;
}

/** What this viewer got of what it was entitled to, since the beginning. */
export interface Quality {
  /** Offsets that passed, by its position, those of gaps included. */
  readonly entitled: number;
  /** Offsets that came, counted one by one: events, and what stands in an event's place. Without gaps: equal. */
  readonly received: number;
  readonly gaps: number;
  /** How often it had to come back, by cause: the code of the close (1006: a connection that broke) or of the refusal. */
  readonly reconnects: Readonly<Record<string, number>>;
  /** From the server to the page, within a tenth, of events that came live: not of what is caught up after a return, nor while
   * the page was hidden. Null before there was one. */
  readonly delayP50Ms: number | null;
  readonly delayP99Ms: number | null;
}

export interface PackOptions {
  split?: "random" | "equal";
  opensMs?: number;
  lastsMs?: number;
  followers?: boolean;
  phrase?: string;
  text?: string;
}

export interface ModerateOptions {
  user?: string;
  offset?: number;
  seconds?: number;
  reason?: string;
  everywhere?: boolean;
}

/** What went wrong.
 * "refused": the server said no, with a code of engine/errors.py; "closed": the connection ended, with a close code; "violation":
 * the server broke the protocol; "uncertain": sent, but not known whether carried out; "unread": an iteration did not keep up;
 * "left": the room object was left. */
export class RoomcastError extends Error {
  constructor(reason: RoomcastError["reason"], code?: number, text?: string, retryAfterMs?: number);
  readonly reason: "refused" | "closed" | "violation" | "uncertain" | "unread" | "left";
  readonly code: number;
  readonly text: string;
  readonly retryAfterMs: number;
  /** Whether the same may succeed later. */
  readonly retriable: boolean;
}

/** An event's array as it is on the wire, as an item. */
export function readEvent(epoch: number, offset: number, time: number, raw: readonly unknown[]): RoomEvent;

// -- items

export type Item = RoomEvent | Omitted | Gap | Snapshot | Present | CountersItem | Direct | Pending | Refused | Status;

export type RoomEvent =
  | Comment
  | Custom
  | State
  | Notice
  | Moderated
  | Held
  | Presence
  | Gift
  | Combo
  | Correction
  | Packet
  | Share
  | PacketEnd
  | Unknown;

export interface Author {
  readonly id: string;
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  /** "" for a viewer. */
  readonly role: string;
  readonly level: number;
}

interface Base extends Position {
  readonly time: number;
  /** Its array as it came. */
  readonly raw: readonly unknown[];
}

interface By extends Base {
  readonly author: Author;
}

export interface Comment extends By {
  readonly type: "comment";
  readonly ref: number;
  readonly body: string;
  readonly replyTo: number;
  readonly mentions: readonly string[];
  /** When it is to vanish; 0: it stays. */
  readonly expires: number;
  /** The optimistic copy that it replaces. */
  readonly replaces?: Pending;
}

/** An event of the product's own making. */
export interface Custom extends By {
  readonly type: "custom";
  readonly ref: number;
  readonly name: string;
  readonly body: string;
}

/** `Room.state` has changed; value null: the entry is gone. */
export interface State extends By {
  readonly type: "state";
  readonly ref: number;
  readonly kind: string;
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>> | null;
  readonly version: number;
}

export interface Notice extends By {
  readonly type: "notice";
  readonly ref: number;
  readonly body: string;
  readonly receipts: boolean;
}

export interface Moderated extends By {
  readonly type: "moderated";
  readonly action: string;
  readonly user: string;
  /** First and last of each stretch of events that are to vanish, one after the other. */
  readonly offsets: readonly number[];
  readonly until: number;
  readonly reason: string;
}

/** Backstage: a comment that waits for a decision. */
export interface Held extends By {
  readonly type: "held";
  readonly session: string;
  readonly ref: number;
  readonly event: RoomEvent;
  readonly reason: string;
}

/** Somebody notable has come, or gone. */
export interface Presence extends By {
  readonly type: "presence";
  readonly present: boolean;
}

/** About money; what comes again under an entry that has come is "omitted". */
interface Money extends By {
  readonly entry: number;
}

export interface Gift extends Money {
  readonly type: "gift";
  readonly ref: number;
  readonly gift: string;
  readonly count: number;
  readonly amount: number;
  readonly to: string;
  /** Entry of the first gift of its combo; the combo so far; how long it can be continued. */
  readonly combo: number;
  readonly comboCount: number;
  readonly comboMs: number;
  /** All that the author has given in this stream. */
  readonly given: number;
  readonly stream: string;
}

/** A combo is over: its totals. */
export interface Combo extends Money {
  readonly type: "combo";
  readonly combo: number;
  readonly gift: string;
  readonly to: string;
  readonly count: number;
  readonly amount: number;
}

export interface Correction extends Money {
  readonly type: "correction";
  readonly corrected: number;
  readonly user: string;
  readonly amount: number;
  readonly given: number;
  readonly reason: string;
  readonly stream: string;
}

/** A red packet; while it is open also in `Room.state`, as `packet:${entry}`. */
export interface Packet extends Money {
  readonly type: "packet";
  readonly ref: number;
  readonly total: number;
  readonly shares: number;
  readonly split: string;
  readonly opens: number;
  readonly expires: number;
  readonly followers: boolean;
  readonly phrase: string;
  readonly text: string;
  readonly commitment: string;
}

export interface Share extends Money {
  readonly type: "share";
  readonly packet: number;
  readonly number: number;
  readonly amount: number;
}

export interface PacketEnd extends Money {
  readonly type: "packetEnd";
  readonly packet: number;
  /** emptied, expired or cancelled. */
  readonly reason: string;
  readonly claimed: number;
  readonly rest: number;
  readonly seed: string;
}

/** Of a kind that this version does not know. */
export interface Unknown extends Base {
  readonly type: "unknown";
  readonly kind: number;
  readonly fields: readonly unknown[];
}

/** `first..last` carry no event. 1: deleted, 2: expired, 3: the feed leaves them out, 4: money that has come before. */
export interface Omitted {
  readonly type: "omitted";
  readonly epoch: number;
  readonly first: number;
  readonly last: number;
  readonly reason: number;
  readonly time: number;
}

/** `first..last` will not come ("lag", "history", "epoch"); last 0: the end is not known, and a snapshot follows. */
export interface Gap {
  readonly type: "gap";
  readonly epoch: number;
  readonly first: number;
  readonly last: number;
  readonly reason: string;
}

/** The room after `offset`; `recent` is for the screen, not part of what follows. */
export interface Snapshot extends Position {
  readonly type: "snapshot";
  readonly room: string;
  readonly time: number;
  readonly counters: Counters;
  readonly state: ReadonlyMap<string, Entry>;
  readonly recent: readonly RoomEvent[];
}

/** The room's whole state, read again. */
export interface Present extends Position {
  readonly type: "present";
  readonly state: ReadonlyMap<string, Entry>;
}

/** For this user only. */
export interface Direct {
  readonly type: "direct";
  readonly author: Author;
  readonly body: string;
  readonly time: number;
}

/** An own comment that has not come back; told again under the same ref when it will not: "held" for a moderator,
 * "published" where this viewer is not shown it, else why it failed, with `error`. */
export interface Pending {
  readonly type: "pending";
  readonly state: "sent" | "held" | "published" | RoomcastError["reason"];
  readonly ref: number;
  readonly author: Author;
  readonly body: string;
  readonly replyTo: number;
  readonly mentions: readonly string[];
  readonly time: number;
  readonly offset?: number;
  readonly error?: RoomcastError;
}

/** Something that has no answer of its own (likes) was refused. */
export interface Refused {
  readonly type: "refused";
  readonly error: RoomcastError;
}

/** The connection. "waiting": lost, the next attempt begins after `delayMs`; "closed": for good; both with why. */
export interface Status {
  readonly type: "status";
  readonly status: "connecting" | "open" | "waiting" | "closed";
  readonly resumed?: boolean;
  readonly delayMs?: number;
  readonly error?: RoomcastError;
}

/** Totals of the room; told whenever one has changed. */
export interface Counters {
  readonly likes: number;
  readonly viewers: number;
  readonly peak: number;
  readonly unique: number;
  /** Likes a second. */
  readonly rate: number;
  readonly withheld: Readonly<Record<string, number>>;
  readonly reactions: Readonly<Record<string, number>>;
  /** Of each poll's options, or of a question, by `kind:key`. */
  readonly votes: Readonly<Record<string, readonly number[]>>;
  /** Of each notice by its offset: to how many it came, how many read it. */
  readonly receipts: Readonly<Record<string, readonly number[]>>;
  readonly givers: readonly Giver[];
}

export interface CountersItem extends Counters {
  readonly type: "counters";
}

// -- answers

/** `version`: for `Room.set` to build on. A pin's event is in `value.event`, as an item. */
export interface Entry {
  readonly kind: string;
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
  readonly version: number;
}

/** It is in the ledger under `entry` and in the room at `offset`. */
export interface Paid {
  readonly entry: number;
  readonly offset: number;
  readonly amount: number;
}

export interface Giver {
  readonly user: string;
  readonly name: string;
  readonly given: number;
}

export interface Offer {
  readonly id: string;
  readonly name: string;
  readonly price: number;
  readonly effect: string;
  readonly comboMs: number;
}

/** `first..last`, complete; last is first - 1 when nothing older is kept. */
export interface Page {
  readonly epoch: number;
  readonly first: number;
  readonly last: number;
  readonly events: readonly (RoomEvent | Omitted)[];
}

// -- why roomcast.js is as it is (there, each comment is a few bytes that every page loads)
//
// Nobody else may use a session that is in use, so it is in `storage` only while the page is hidden: a duplicated tab is
// another viewer. After a return the likes that were told are told again, even none, before anything else can be sent: there
// another edge begins to count. Handlers of "open" run last, so that what they ask for or like comes after what waited. A claim
// waits until the stream has told of its packet, before which the server drops it; that a packet is over only the room is told.
// Ranges join exactly; only the first one after a return may begin earlier, because frames are shared. A codec that cannot read
// what people send is given up: JSON takes all. A page that was frozen finds its alarm late, and then asks whether anybody is
// there. The clock is measured by pings that were sent and answered while the page was looked at, and delays only of events
// since then (#since): others waited for the page, not on their way. A report (kind 6) has the sums (#sums: entitled, received,
// gaps, and delays by bucket) less those that the last one had; a pong to the ping behind it says that it arrived, and after a
// return what has not is told again.
