// A small app in JavaScript with the Spin SDK's tools: a file, an upload, a stream and a call to
// another server, one function each.
//
// Every request is met by a new sandbox, so there is no state to keep apart and none to lose. What
// a browser has is there by its usual name: fetch, Request, Response, streams, URL. What is WASI's
// or Spin's is imported.
import { getDirectories } from "wasi:filesystem/preopens@0.2.3";
import { get as variable } from "fermyon:spin/variables@2.0.0";

const TEXT = { "content-type": "text/plain; charset=utf-8" };

function readFile(path) {
    const [[root]] = getDirectories();
    const file = root.openAt({}, path, {}, { read: true });
    const [bytes] = file.read(file.stat().size, 0n);
    return bytes;
}

// GET /: a file that came with the app.
function welcome() {
    return new Response(readFile("assets/welcome.txt"), { headers: TEXT });
}

// POST /shout: the body in capitals, sent back while the rest of it still arrives.
function shout(request) {
    const reader = request.body.getReader();
    const capital = (byte) => (byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte);
    const body = new ReadableStream({
        async pull(controller) {
            const { done, value } = await reader.read();
            if (done) controller.close();
            else controller.enqueue(value.map(capital));
        },
    });
    return new Response(body, { headers: TEXT });
}

// GET /count?to=3: a line at a time; each is on its way before the next is made.
function count(request, url) {
    const to = Number(url.searchParams.get("to") ?? 10);
    const encoder = new TextEncoder();
    let i = 0;
    const body = new ReadableStream({
        pull(controller) {
            if (i < to) controller.enqueue(encoder.encode(`${++i}\n`));
            else controller.close();
        },
    });
    return new Response(body, { headers: TEXT });
}

// GET /relay: what the server named by the variable 'upstream' answers.
async function relay() {
    const url = variable("upstream");
    try {
        const { status, body } = await fetch(url);
        return new Response(body, { status, headers: TEXT });
    } catch (error) {
        console.error(`${url}: ${error}`);
        return new Response(`${url}: ${error}\n`, { status: 502, headers: TEXT });
    }
}

const routes = {
    "/": { GET: welcome },
    "/shout": { POST: shout },
    "/count": { GET: count },
    "/relay": { GET: relay },
};

async function serve(request) {
    const url = new URL(request.url);
    console.log(`${request.method} ${url.pathname}`); // the log shows it with the request's id
    const route = routes[url.pathname];
    if (!route) return new Response(null, { status: 404 });
    const handler = route[request.method];
    return handler ? handler(request, url) : new Response(null, { status: 405 });
}

addEventListener("fetch", (event) => event.respondWith(serve(event.request)));
