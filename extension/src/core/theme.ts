/** Whether the page is dark: JupyterLab says so on its body; elsewhere the colour behind the text decides. */
export function isDark(body: HTMLElement): boolean {
  const light = body.getAttribute("data-jp-theme-light");
  if (light !== null) return light === "false";
  if (body.classList.contains("vscode-dark")) return true;
  const colour = typeof getComputedStyle === "function" ? getComputedStyle(body).backgroundColor : "";
  return isDarkColour(colour);
}

/** Whether `rgb(…)` or `rgba(…)` is nearer to black than to white; a transparent or unknown colour is not. */
export function isDarkColour(colour: string): boolean {
  const parts = colour.match(/[\d.]+/g)?.map(Number) ?? [];
  const [red, green, blue, alpha = 1] = parts;
  if (red === undefined || green === undefined || blue === undefined || alpha === 0) return false;
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 128;
}
