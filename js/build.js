// Builds from src: the types, and the one small module that the hub serves. Both are in git, so neither the
// wheel nor a user needs Node.
//
//   npm run build          (or: npm run build -- FOLDER, to write them there)

import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const [folder] = process.argv.slice(2);
const types = folder ?? join(here, "types");
const served = join(folder ?? join(here, "..", "src", "tidewire", "web"), "tidewire.js");

function run(tool, args, input) {
  const [name] = tool.split("@");
  const command = name === "typescript" ? "tsc" : name;
  const npm = ["exec", "--yes", `--package=${tool}`, "--", command, ...args];
  // Use the npm that runs this script.
  const commandLine = [process.env.npm_execpath, ...npm];
  return execFileSync(process.execPath, commandLine, { cwd: here, input, encoding: "utf8", stdio: ["pipe", "pipe", "inherit"] });
}

run("typescript@5.9.3", ["--project", ".", "--outDir", types]);
const bundle = run("esbuild@0.25.12", ["src/tidewire.js", "--bundle", "--minify-syntax", "--minify-whitespace", "--format=esm"]);
// Terser makes the module another tenth smaller. It may shorten these property names: they are internal, and
// tabs talk only to tabs with the same version of the module.
const internal = [
  "allTopics announce back blocks broadcast bye carried check epoch failed fixed follow full hear hide lead leading",
  "leave live opened over requested restart retryNow show start state stepDown stop timeout topicsByTab",
  "topicsChanged urlFor",
];
const names = `builtins=true,regex=/^(${internal.join(" ").replaceAll(" ", "|")})$/`;
const compress = "passes=3,ecma=2022,unsafe_arrows=true";
const shorten = ["--module", "--compress", compress, "--mangle", "--mangle-props", names];
run("terser@5.44.1", [...shorten, "--output", served], bundle);
