// The part of Plotly that has curves and heat maps, as one module of its own. It is built once and packed, and a page
// gets it from the kernel when the first chart is drawn.
// @ts-expect-error -- the package has no types; src/chart/library.ts says what is used of it
export { default } from "plotly.js-cartesian-dist-min";
