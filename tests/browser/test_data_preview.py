"""The data preview beside a form, in a real JupyterLab."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.notebook import Notebook, fits

SHOW = """
from pathlib import Path
from darkit_nb.config import RunConfig
from darkit_nb.widgets import ConfigForm, DataPreview
Path("texts").mkdir()
for index in range(30):
    Path(f"texts/{index}.txt").write_text(f"text {index:02}: the café\\n" * 20)
config = RunConfig().replace({"data.dataset": "text:texts", "data.seq_len": 64, "data.cache_dir": "cache"})
form = ConfigForm(config)
preview = DataPreview().follow(form)
display(form, preview)
"""


def test_it_follows_the_form_and_the_kernel_stays_free(notebook: Notebook) -> None:
    output = notebook.run(SHOW)
    form, data = output.locator(".dk-form"), output.locator(".dk-data")
    expect(data.locator(".dk-title")).to_have_text("text:texts in bytes tokens, vocabulary 261, windows of 64")
    expect(data.locator(".dk-token")).to_have_count(64)
    expect(data.locator(".dk-token").nth(16)).to_have_attribute("title", "id 195")
    expect(data.locator(".dk-token").nth(16)).to_have_text("\\xc3")
    form.locator('[data-key="data.seq_len"] input').fill("32")
    expect(data.locator(".dk-token")).to_have_count(32)
    data.get_by_role("tab", name="Document 1").click()
    expect(data.locator("pre")).to_contain_text("the café")
    form.locator('[data-key="data.dataset"] input').fill("text:not-there")
    expect(data.get_by_role("alert")).to_contain_text("no file or folder")
    form.locator('[data-key="data.dataset"] input').fill("org/corpus")
    expect(data.get_by_role("button", name="Look at it")).to_be_visible()
    form.locator('[data-key="data.dataset"] input').fill("text:texts")
    expect(data.locator(".dk-title")).to_contain_text("windows of 32")
    expect(data.get_by_role("alert")).to_have_count(0)
    notebook.theme("dark")
    notebook.size(380, 1200)
    fits(data, slack=1)
    notebook.screenshot("data-preview-dark-380", data)
    loaded = "import sys; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    assert notebook.printed(loaded) == "[]"
