// A connection of Node's `ws`, driven from outside: one JSON object per line in both directions.
//
//   node viewer.mjs PATH_OF_WS URL SUBPROTOCOLS DEFLATE HEADERS
//
// in:   {"data": BASE64, "binary": BOOLEAN}   {"close": CODE}
// out:  {"kind": "open", "protocol", "extensions"}   {"kind": "message", "data", "binary"}
//       {"kind": "close", "code", "reason"}   {"kind": "refused", "status"}   {"kind": "error", "text"}
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [home, url, subprotocols, deflate, headers] = process.argv.slice(2);
const { WebSocket } = createRequire(home + "/")("ws");
const print = (value) => process.stdout.write(JSON.stringify(value) + "\n");

const socket = new WebSocket(url, subprotocols.split(","), { perMessageDeflate: deflate === "true", headers: JSON.parse(headers) });
socket.on("open", () => print({ kind: "open", protocol: socket.protocol, extensions: socket.extensions }));
socket.on("message", (data, binary) => print({ kind: "message", data: data.toString("base64"), binary }));
socket.on("unexpected-response", (_, response) => {
  print({ kind: "refused", status: response.statusCode });
  socket.terminate();
});
socket.on("error", (error) => print({ kind: "error", text: String(error) }));
socket.on("close", (code, reason) => {
  print({ kind: "close", code, reason: reason.toString() });
  process.stdin.destroy();
});

const input = createInterface({ input: process.stdin });
input.on("line", (line) => {
  const command = JSON.parse(line);
  if ("close" in command) socket.close(command.close);
  else socket.send(Buffer.from(command.data, "base64"), { binary: command.binary });
});
input.on("close", () => socket.terminate());
