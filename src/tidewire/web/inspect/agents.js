// @ts-check
// A short name for a client, from its User-Agent. Pure.

/** In this order: Chrome says that it is Safari, and Edge that it is Chrome. @type {[RegExp, string][]} */
const BROWSERS = [
  [/\bEdg\/(\d+)/, "Edge"],
  [/\bFirefox\/(\d+)/, "Firefox"],
  [/\bChrom(?:e|ium)\/(\d+)/, "Chrome"],
  [/\bHeadlessChrome\/(\d+)/, "Chrome"],
  [/\bVersion\/(\d+).* Safari\//, "Safari"],
];

/** @param {string | null} agent */
export function client(agent) {
  if (!agent) return "unknown";
  for (const [pattern, name] of BROWSERS) {
    const found = pattern.exec(agent);
    if (found) return `${name} ${found[1]}`;
  }
  // A program: its name and version come first.
  return (agent.split(" ")[0] ?? "").replace("/", " ").slice(0, 40);
}
