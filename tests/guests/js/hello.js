// The bench's hello with the Spin SDK's tools: text of fixed length, a number drawn per request.
import { getRandomU64 } from "wasi:random/random@0.2.3";

addEventListener("fetch", (event) => {
    const number = getRandomU64().toString().padStart(20, "0");
    const text = `Hello from J! Your number is ${number}.\n`;
    const headers = { "content-type": "text/plain", "content-length": String(text.length) };
    event.respondWith(new Response(text, { headers }));
});
