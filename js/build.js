// Builds from src: the types, the one small module that the hub serves, and the single files of the npm package: that
// module, and one for require(). All are in git, so neither the wheel nor a user needs Node.
//
//   npm run build          (or: npm run build -- FOLDER, to write them there)

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const [folder] = process.argv.slice(2);
const types = join(folder ?? here, "types");
const bundle = join(folder ?? here, "bundle");
const web = folder ?? join(here, "..", "src", "tidewire", "web");

function run(tool, args, input) {
  const [name] = tool.split("@");
  const command = name === "typescript" ? "tsc" : name;
  const npm = ["exec", "--yes", `--package=${tool}`, "--", command, ...args];
  // Use the npm that runs this script.
  const commandLine = [process.env.npm_execpath, ...npm];
  return execFileSync(process.execPath, commandLine, { cwd: here, input, encoding: "utf8", stdio: ["pipe", "pipe", "inherit"] });
}

const esbuild = (...options) => run("esbuild@0.25.12", ["src/tidewire.js", "--bundle", ...options]);

run("typescript@5.9.3", ["--project", ".", "--outDir", types]);
mkdirSync(bundle, { recursive: true });
const one = esbuild("--minify-syntax", "--minify-whitespace", "--format=esm");
// Terser makes the module another tenth smaller. It may shorten these property names: they are internal, and
// tabs talk only to tabs with the same version of the module.
const internal = [
  "allTopics announce back blocks broadcast bye carried check epoch failed fixed follow full hear hide idByQuery lead",
  "leading leave live opened over requested restart retryNow show start state stepDown stop timeout topicsByTab",
  "topicsChanged urlFor complete renews",
];
const names = `builtins=true,regex=/^(${internal.join(" ").replaceAll(" ", "|")})$/`;
const compress = "passes=3,ecma=2022,unsafe_arrows=true";
const shorten = ["--module", "--compress", compress, "--mangle", "--mangle-props", names];
const served = join(web, "tidewire.js");
run("terser@5.44.1", [...shorten, "--output", served], one);
copyFileSync(served, join(bundle, "tidewire.js"));

// For require(). With platform=node the exports are listed where Node finds them.
writeFileSync(join(bundle, "tidewire.cjs"), esbuild("--format=cjs", "--platform=node", "--target=es2022"));
writeFileSync(join(bundle, "tidewire.d.cts"), oneDeclaration());

/** Return the types in one file: those of a CommonJS module cannot refer to those of ES modules. */
function oneDeclaration() {
  const read = (name) => readFileSync(join(types, name), "utf8");
  const entry = "tidewire.d.ts";
  const hooks = ["react.d.ts", "vue.d.ts", "watch.d.ts"];
  const exported = [...read(entry).matchAll(/^export (?:\{ |type )(\w+)/gm)].map(([, name]) => name);
  const imports = /^(import|export \{).* from ".*";\n/gm;
  const parts = readdirSync(types).filter((name) => name !== entry && !hooks.includes(name)).sort().map((name) => read(name).replaceAll(imports, ""));
  return `${parts.join("").replaceAll(/^export (?=const|function|class|type)/gm, "declare ")}export { ${exported.join(", ")} };\n`;
}
