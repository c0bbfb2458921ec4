// @ts-check
// The requests to this hub. Their answers are described in docs/reference/inspector.md.

/** The hub's mount point, which ends with a slash. */
export const ROOT = new URL("../", import.meta.url).href;

/** A request that the hub refused. `message` is for people. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} detail
   */
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/** The admin's token, which is kept in this page only. */
let token = "";

/** The process that the page shows, if the hub has several. */
let node = "";

/** How many times to ask until that process answers. Each attempt opens a connection, which any of them may accept. */
const TRIES = 20;

export const api = {
  /**
   * Let only this process answer from now on: numbers of streams mean something else in another one.
   * Returns whether it is another one than before.
   *
   * @param {string} name empty if there is one process
   */
  useNode(name) {
    const changed = node !== name;
    node = name;
    return changed;
  },

  /** Use a token from now on. @param {string} value */
  useToken(value) {
    token = value.trim();
  },

  /** @returns {Record<string, string>} */
  headers: () => (token ? { Authorization: `Bearer ${token}` } : {}),

  /**
   * The URL of a path below the mount point.
   *
   * @param {string} path
   * @param {Record<string, string | number | undefined>} [query]
   */
  url(path, query = {}) {
    const url = new URL(path, ROOT);
    for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, String(value));
    return url.href;
  },

  /**
   * @param {string} path
   * @param {Record<string, string | number | undefined>} [query]
   * @returns {Promise<any>}
   */
  get: (path, query) => send("GET", api.url(path, { ...query, node })),

  /** The URL of the stream of a topic or pattern. @param {string} topic */
  eventsUrl: (topic) => `${ROOT}events?topic=${encodeURIComponent(topic)}`,

  /** Publish an event. Returns its receipt. @type {(topic: string, type: string, data: string) => Promise<{ id: string }>} */
  publish: (topic, type, data) => send("POST", publishUrl(topic, type), data),

  /** @param {string} topic */
  end: (topic) => send("DELETE", publishUrl(topic)),

  /** @param {number} stream */
  kick: (stream) => send("DELETE", api.url(`inspect/streams/${stream}`, { node })),

  /** The command that publishes an event. @type {(topic: string, type: string, data: string) => string} */
  curl(topic, type, data) {
    // curl reads a file where the data begins with @, but not with --data-raw.
    const option = data.startsWith("@") ? "--data-raw" : "-d";
    const auth = token ? ' -H "Authorization: Bearer $TOKEN"' : "";
    return `curl ${option} ${quoted(data)}${auth} ${quoted(publishUrl(topic, type))}`;
  },
};

/** @type {(topic: string, type?: string) => string} */
function publishUrl(topic, type = "") {
  const levels = topic.split("/");
  // Programs on the way rewrite paths with empty levels and dots.
  const plain = levels.every((level) => level && level !== "." && level !== "..");
  const url = plain ? `${ROOT}events/${levels.map(encodeURIComponent).join("/")}` : api.eventsUrl(topic);
  return type ? `${url}${plain ? "?" : "&"}event=${encodeURIComponent(type)}` : url;
}

/** A word for a shell. @param {string} text */
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** @type {(method: string, url: string, body?: string) => Promise<any>} */
async function send(method, url, body) {
  for (let tries = 1; ; tries++) {
    const [response, answer] = await exchange(method, url, body);
    if (response.ok) return answer;
    if (answer?.code === "another_process" && tries < TRIES) continue;
    throw new Refused(response.status, answer?.code ?? "", answer?.detail ?? `${response.status} ${response.statusText}`);
  }
}

/** Returns the response, and its body if that is JSON. @type {(method: string, url: string, body?: string) => Promise<[Response, any]>} */
async function exchange(method, url, body) {
  const response = await fetch(url, { method, headers: api.headers(), cache: "no-store", ...(body !== undefined && { body }) });
  const text = await response.text();
  try {
    return [response, text && JSON.parse(text)];
  } catch {
    return [response, null]; // A proxy may answer with a page of its own.
  }
}

/** What a failed request says to people. @param {unknown} error */
export function reason(error) {
  if (!(error instanceof Refused)) return "The hub does not answer.";
  const { message, code } = error;
  return `${message.charAt(0).toUpperCase()}${message.slice(1)}${code && ` (${code})`}`;
}
