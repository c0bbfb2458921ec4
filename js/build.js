// Writes what is made of src: the types, and the one small module that the hub serves. Both are in git, so that
// neither the wheel nor a user needs Node.
//
//   npm run build          (or: npm run build -- FOLDER, to have them there)

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
  // The npm that runs this, wherever it is.
  return execFileSync(process.execPath, [process.env.npm_execpath, ...npm], { cwd: here, input, encoding: "utf8", stdio: ["pipe", "pipe", "inherit"] });
}

run("typescript@5.9.3", ["--project", ".", "--outDir", types]);
const bundle = run("esbuild@0.25.12", ["src/tidewire.js", "--bundle", "--minify", "--format=esm"]);
// It makes the module a twentieth smaller still.
run("terser@5.44.1", ["--module", "--compress", "passes=3,ecma=2022,unsafe_arrows=true", "--mangle", "--output", served], bundle);
