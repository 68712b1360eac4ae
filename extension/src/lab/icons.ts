import { LabIcon } from "@jupyterlab/ui-components";

const SPIKES = "M2 16.5h3.2l1.6-9 2 13 2.4-17 2.3 13h3l1.2-6 1.3 6H22";

/** In the side bar: one colour, the theme's. */
export const runsIcon = new LabIcon({
  name: "darkit-nb:runs",
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><path class="jp-icon3 jp-icon-selectable dk-icon-line" fill="none" stroke-width="2" stroke-linejoin="round" stroke-linecap="round" d="${SPIKES}"/></svg>`,
});

/** On the launcher's cards: our own colour, readable on light and dark. */
export const darkitIcon = new LabIcon({
  name: "darkit-nb:darkit",
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><rect width="24" height="24" rx="5" fill="#5b3fd6"/><path fill="none" stroke="#fff" stroke-width="1.9" stroke-linejoin="round" stroke-linecap="round" d="M3 15.5h3l1.4-7 1.8 10 2.2-13 2.1 10h2.7l1.1-5 1.2 5H21"/></svg>`,
});

export const studioIcon = new LabIcon({
  name: "darkit-nb:studio",
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><rect width="24" height="24" rx="5" fill="#d9480f"/><path stroke="#fff" stroke-width="2" stroke-linecap="round" d="M5 7h14M5 12h14M5 17h14"/><g fill="#d9480f" stroke="#fff" stroke-width="1.8"><circle cx="15" cy="7" r="2.1"/><circle cx="9" cy="12" r="2.1"/><circle cx="16" cy="17" r="2.1"/></g></svg>`,
});
