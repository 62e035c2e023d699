// Node's http module with the answer all peers give. usage: node node.mjs PORT
import http from "node:http";

const server = http.createServer((request, response) => {
    const number = String(Math.floor(Math.random() * 1e16)).padStart(20, "0");
    const text = `Hello from N! Your number is ${number}.\n`;
    response.writeHead(200, { "content-type": "text/plain", "content-length": text.length });
    response.end(text);
});
server.listen(Number(process.argv[2]), "127.0.0.1");
