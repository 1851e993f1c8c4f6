// ws on Node, with the broadcast loop of its own documentation. Usage: node ws_server.mjs PORT
// The module is found by NODE_PATH, which import does not read and require does.
import { createRequire } from "node:module";

const { WebSocket, WebSocketServer } = createRequire(import.meta.url)("ws");
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  backlog: 4096,
  perMessageDeflate: false,
});

server.on("connection", (viewer) => {
  viewer.on("error", () => {});
  viewer.on("message", (data, isBinary) => {
    server.clients.forEach((client) => {
      if (client.readyState === WebSocket.OPEN) {
        client.send(data, { binary: isBinary });
      }
    });
  });
});
