// Bundles every widget of src/widgets into one file of its own, the JupyterLab extension, and the unit tests for node.
import { execFileSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, context } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const entries = (folder, ending) =>
  readdirSync(join(here, folder))
    .filter((name) => ending.test(name))
    .map((name) => join(here, folder, name));

const stem = (path) => basename(path).replace(/\.tsx?$/, "");
// `npm run build -- run_panel` builds that one only, `npm run build -- --lab` the JupyterLab extension only.
const named = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const widgets = {
  entryPoints: entries("src/widgets", /\.tsx?$/).filter((path) => !named.length || named.includes(stem(path))),
  outdir: join(here, "..", "darkit_nb", "static"),
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: !process.argv.includes("--watch"),
  legalComments: "none",
  logLevel: "warning",
};

const tests = {
  entryPoints: entries("tests", /\.test\.tsx?$/),
  outdir: join(here, "build", "tests"),
  outExtension: { ".js": ".mjs" },
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  logLevel: "warning",
};

// The JupyterLab extension is bundled here and then wrapped by JupyterLab's builder, which shares Lab's own packages.
const lab = {
  entryPoints: [join(here, "src/lab/index.ts")],
  outdir: join(here, "build", "lab"),
  bundle: true,
  format: "esm",
  target: "es2022",
  external: ["@jupyterlab/*", "@lumino/*"],
  loader: { ".ipynb": "text" },
  logLevel: "warning",
};

async function buildLab() {
  await build(lab);
  const [builder, core] = ["@jupyter/builder/lib/build-labextension.js", "@jupyterlab/core-meta/core.package.json"];
  const modules = join(here, "node_modules");
  const options = ["--core-package-file", join(modules, core), here];
  execFileSync(process.execPath, [join(modules, builder), ...options], { stdio: ["ignore", "pipe", "inherit"] });
  console.log("lab → darkit_nb/labextension");
}

if (process.argv.includes("--tests")) {
  rmSync(tests.outdir, { recursive: true, force: true });
  await build(tests);
} else if (process.argv.includes("--lab")) {
  await buildLab();
} else if (process.argv.includes("--watch")) {
  await (await context(widgets)).watch();
} else {
  await build(widgets);
  const built = widgets.entryPoints.map(stem);
  if (!named.length) {
    const left = readdirSync(widgets.outdir).filter((name) => !built.includes(name.replace(/\.(js|css)$/, "")));
    left.forEach((name) => rmSync(join(widgets.outdir, name)));
  }
  console.log(`${built.join(", ")} → darkit_nb/static`);
  if (!named.length) await buildLab();
}
