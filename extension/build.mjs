// Bundles every widget of src/widgets into one file of its own, the JupyterLab extension, and the unit tests for node.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
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

// What is too large to be sent with every widget: a page asks for it once, and gets it packed.
const libraries = {
  ...widgets,
  entryPoints: entries("src/libraries", /\.ts$/),
  minify: true,
  banner: { js: `/*! plotly.js\n${readFileSync(join(here, "node_modules/plotly.js-cartesian-dist-min/LICENSE"))}*/` },
  write: false,
};

async function buildLibraries() {
  const { outputFiles } = await build(libraries);
  outputFiles.forEach(({ path, contents }) => writeFileSync(`${path}.gz`, gzipSync(contents, { level: 9 })));
}

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
    await buildLibraries();
    const kept = [...built, ...libraries.entryPoints.map(stem)];
    const left = readdirSync(widgets.outdir).filter((name) => !kept.includes(name.replace(/\.(js|css|js\.gz)$/, "")));
    left.forEach((name) => rmSync(join(widgets.outdir, name)));
  }
  console.log(`${built.join(", ")} → darkit_nb/static`);
  if (!named.length) await buildLab();
}
