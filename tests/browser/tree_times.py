"""How long a model tree takes to answer, for its test and its benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field

from playwright.sync_api import CDPSession, Locator, expect

from tests.browser.notebook import Notebook

# Milliseconds from an action to the first frame that shows what it did.
ACT = """async (root, [selector, action, text]) => {
  const element = root.querySelector(selector);
  const start = performance.now();
  if (action === "type") { element.value = text; element.dispatchEvent(new Event("input", { bubbles: true })); }
  else element.click();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return [performance.now() - start];
}"""
# Milliseconds of each of sixty frames while the rows are scrolled: by a wheel, or dragged from one end to the other.
SCROLL = """async (box, drag) => {
  const frames = [];
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  box.scrollTop = 0;
  await frame();
  const step = drag ? (box.scrollHeight - box.clientHeight) / 60 : 240;
  for (let at = 1; at <= 60; at++) {
    const start = performance.now();
    box.scrollTop = at * step;
    await frame();
    frames.push(performance.now() - start);
  }
  return frames;
}"""
SEARCH = "spikelinear part"


@dataclass
class Times:
    """What one kind of action took, each time it was done.

    Attributes:
        seen_ms: until the next frame had it; other processes of a machine count.
        busy_ms: processor time of the page's main thread, whatever else a machine does; of scrolling, per frame.
    """

    seen_ms: list[float] = field(default_factory=list)
    busy_ms: list[float] = field(default_factory=list)


def measured(notebook: Notebook, output: Locator, rows: int) -> dict[str, Times]:
    """Open rows, type a search, sort, and scroll through the tree in an output; it is closed again at the end.

    Args:
        notebook: where the output is.
        output: of a cell with a tree.
        rows: how many modules it has.

    Returns: Times by expand_all, expand_one, key, sort, wheel and drag.
    """
    session = notebook.page.context.new_cdp_session(notebook.page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    root, box = output.locator(".mt"), output.locator(".mt-scroll")
    times = {kind: Times() for kind in ("expand_all", "expand_one", "key", "sort", "wheel", "drag")}

    def note(kind: str, where: Locator, script: str, argument: object) -> None:
        before = _busy_ms(session)
        seen: list[float] = where.evaluate(script, argument)
        times[kind].seen_ms += seen
        times[kind].busy_ms.append((_busy_ms(session) - before) / len(seen))

    note("expand_all", root, ACT, ['.mt-tools button[title="Open every row"]', "click", ""])
    for _ in range(2):
        note("expand_one", root, ACT, ['.mt-row[data-path="layers.0"] .mt-twist', "click", ""])
    for end in range(1, len(SEARCH) + 1):
        note("key", root, ACT, [".mt-search", "type", SEARCH[:end]])
    note("key", root, ACT, [".mt-search", "type", ""])
    for _ in range(3):
        note("sort", root, ACT, ['[role="columnheader"]:nth-child(2) button', "click", ""])
    note("wheel", box, SCROLL, False)
    note("drag", box, SCROLL, True)
    expect(output.get_by_role("treegrid")).to_have_attribute("aria-rowcount", str(rows + 1))
    expect(output.locator(f'.mt-row[aria-rowindex="{rows + 1}"]')).to_be_visible()
    root.evaluate(ACT, ['.mt-tools button[title="Close every row"]', "click", ""])
    session.detach()
    return times


def _busy_ms(session: CDPSession) -> float:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return 1000 * next(each["value"] for each in metrics if each["name"] == "TaskDuration")
