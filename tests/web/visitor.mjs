// Rooms of the SDK in Node, driven from outside: one JSON object per line in both directions.
//
//   node visitor.mjs URL_OF_SDK
//
// in:   {"id", "room", "join": [URL, ROOM, OPTIONS]}   {"id", "room", "call": METHOD, "args"}   {"id", "room", "get": FIELD}
//       {"id", "clock": MILLISECONDS}: the clock stands there from now on
// out:  {"id", "result"}   {"id", "error": {"reason", "code", "text"}}   {"room", "item"}   {"room", "iterated"}   {"room", "ended"}
//
// Of the options, "codec": "msgpack" is the codec beside this file, "tokens" what a token function returns, one after the other
// (null: it rejects), "narrow" a text that the codec can neither read nor write, "iterate" that items are told by `for await`, too,
// "opened" what is called as soon as the room is open, each time: [METHOD, ...ARGS].
import { createInterface } from "node:readline";

import * as messagepack from "./messagepack.mjs";

const { join } = await import(process.argv[2]);
const rooms = {};
const plain = (value) =>
  value instanceof Map ? Object.fromEntries(value) : value instanceof Error ? { ...value, message: value.message } : value;
const print = (value) => process.stdout.write(JSON.stringify(value, (_, each) => plain(each)) + "\n");

function optionsOf({ codec, tokens, narrow, iterate, ...options }) {
  if (codec === "msgpack") options.codec = { ...messagepack };
  if (narrow) {
    options.codec.encode = (message) => {
      if (JSON.stringify(message).includes(narrow)) throw new RangeError(`I do not write ${narrow}`);
      return messagepack.encode(message);
    };
    options.codec.decode = (data) => {
      const text = JSON.stringify(messagepack.decode(data));
      if (text.includes(narrow)) throw new RangeError(`I do not read ${narrow}`);
      return JSON.parse(text);
    };
  }
  if (tokens) {
    options.token = async () => {
      const token = tokens.length > 1 ? tokens.shift() : tokens[0];
      if (token === null) throw new TypeError("no token today");
      return token;
    };
  }
  return options;
}

async function iterate(name) {
  try {
    for await (const item of rooms[name]) print({ room: name, iterated: item });
    print({ room: name, ended: null });
  } catch (error) {
    print({ room: name, ended: error });
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, room, join: where, call, args = [], get, clock } = JSON.parse(line);
  const answer = async () => {
    if (clock) Date.now = () => clock;
    else if (where) {
      rooms[room] = join(where[0], where[1], optionsOf(where[2]));
      for (const [method, ...given] of where[2].opened ?? []) {
        rooms[room].on("status", ({ status }) => status === "open" && rooms[room][method](...given));
      }
      rooms[room].on("*", (item) => print({ room, item }));
      if (where[2].iterate) iterate(room);
    } else if (call) return await rooms[room][call](...args);
    else return await rooms[room][get];
  };
  answer().then((result) => print({ id, result: result === rooms[room] ? null : result ?? null }), (error) => print({ id, error }));
}
process.exit();
