// The front of a mixed app, in JavaScript: what a browser sees first. Its back is in Rust.
import { getDirectories } from "wasi:filesystem/preopens@0.2.3";
import { get as variable } from "fermyon:spin/variables@2.0.0";

const TEXT = { "content-type": "text/plain; charset=utf-8" };

// GET /: a file that came with the app.
function welcome() {
    const [[root]] = getDirectories();
    const file = root.openAt({}, "assets/welcome.txt", {}, { read: true });
    const [bytes] = file.read(file.stat().size, 0n);
    return new Response(bytes, { headers: TEXT });
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

const routes = { "/": welcome, "/relay": relay };

async function serve(request) {
    const { pathname } = new URL(request.url);
    console.log(`${request.method} ${pathname}`); // the log shows it with the request's id
    if (!Object.hasOwn(routes, pathname)) return new Response(null, { status: 404 });
    if (request.method !== "GET") return new Response(null, { status: 405 });
    return routes[pathname]();
}

addEventListener("fetch", (event) => event.respondWith(serve(event.request)));
