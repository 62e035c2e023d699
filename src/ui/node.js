// The node that this page came from: its admin API with the token, and its events.
//
// The token is kept here and nowhere else: cookies are shared by all ports of a host, and the
// tenants' apps are on another port of it.

// The token is not known, or no more.
export class Refused extends Error {}

export class ApiNode {
  #token;

  constructor(token) {
    this.#token = token;
  }

  async #fetch(path, signal) {
    const headers = this.#token ? { authorization: `Bearer ${this.#token}` } : {};
    const answer = await fetch(path, {
      headers, signal, cache: "no-store", credentials: "omit", redirect: "error",
    });
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({}));
    const text = said.error || `the node answered ${answer.status}`;
    throw answer.status === 401 ? new Refused(text) : new Error(text);
  }

  async get(path) {
    return (await this.#fetch(path)).json();
  }

  async blob(path) {
    return (await this.#fetch(path)).blob();
  }

  // Each event's data, until the node ends the stream. Server-sent events, one `data:` line each;
  // read by hand because EventSource can't carry a token.
  async follow(path, onData, signal) {
    const reader = (await this.#fetch(path, signal)).body
      .pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
        const event = text.slice(0, end);
        if (event.startsWith("data: ")) onData(JSON.parse(event.slice(6)));
      }
    }
  }
}
