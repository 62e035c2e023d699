// The kitchen in JavaScript with the Spin SDK's tools; routes in tests/guests/README.md.
import { getEnvironment } from "wasi:cli/environment@0.2.3";
import { getDirectories } from "wasi:filesystem/preopens@0.2.3";
import { getRandomU64 } from "wasi:random/random@0.2.3";
import { get as variableGet } from "fermyon:spin/variables@2.0.0";

let calls = 0;

function answer(status, text, headers = new Headers()) {
    headers.set("content-type", "text/plain");
    headers.set("content-length", String(new TextEncoder().encode(text).length));
    return new Response(text, { status, headers });
}

function fileRead(path) {
    const [[root]] = getDirectories();
    const flags = { read: true };
    const file = root.openAt({ symlinkFollow: true }, path.replace(/^\/+/, ""), {}, flags);
    const size = file.stat().size;
    return file.read(size, 0n)[0];
}

const routes = {
    hello: () =>
        answer(200, `Hello from J! Your number is ${String(getRandomU64()).padStart(20, "0")}.\n`),

    echo: (request) => {
        const headers = new Headers();
        if (request.headers.has("content-type"))
            headers.set("content-type", request.headers.get("content-type"));
        return new Response(request.body ?? "", { headers });
    },

    drain: async (request) => {
        let n = 0;
        if (request.body)
            for (const reader = request.body.getReader(); ; ) {
                const { done, value } = await reader.read();
                if (done) break;
                n += value.length;
            }
        return answer(200, String(n));
    },

    env: (request, name) => {
        const found = getEnvironment().find(([key]) => key === name);
        return found ? answer(200, found[1]) : answer(404, "no such variable");
    },

    variable: (request, name) => {
        try {
            return answer(200, variableGet(name));
        } catch (error) {
            return answer(404, error.payload?.tag ?? String(error));
        }
    },

    file: (request, path) => {
        try {
            return new Response(fileRead(path));
        } catch (error) {
            return answer(404, String(error.payload ?? error));
        }
    },

    log: (request, text) => {
        console.log(`out: ${text}`);
        console.error(`err: ${text}`);
        return answer(200, "logged");
    },

    stream: (request, n) => {
        let i = 0;
        const encoder = new TextEncoder();
        const body = new ReadableStream({
            pull(controller) {
                if (i < Number(n)) controller.enqueue(encoder.encode(`chunk ${i++}\n`));
                else controller.close();
            },
        });
        return new Response(body);
    },

    status: (request, status) => {
        const headers = new Headers({ "x-kitchen": "yes" });
        headers.append("set-cookie", "a=1");
        headers.append("set-cookie", "b=2");
        return answer(Number(status), `status ${status}`, headers);
    },

    request: (request) => {
        const url = new URL(request.url);
        const json = {
            method: request.method,
            path: url.pathname + url.search,
            authority: url.host,
            scheme: url.protocol.replace(":", ""),
            headers: [...request.headers.entries()],
        };
        return answer(200, JSON.stringify(json) + "\n");
    },

    count: () => answer(200, String(calls)),

    sleep: async (request, ms) => {
        await new Promise((resolve) => setTimeout(resolve, Number(ms)));
        return answer(200, "slept");
    },
};

async function serve(request) {
    calls += 1;
    const url = new URL(request.url);
    const route = url.pathname.split("/").pop();
    const argument = decodeURIComponent(url.search.slice(1));
    if (!Object.hasOwn(routes, route)) return answer(404, `no route '${route}'`);
    return routes[route](request, argument);
}

addEventListener("fetch", (event) => event.respondWith(serve(event.request)));
