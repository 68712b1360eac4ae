"""ConvertPanel from the kernel's side: real folders, real processes."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from darkit_nb.config.conversions import PRESETS, preset
from darkit_nb.errors import ConfigError, DarkitError, RunError
from darkit_nb.records.conversion_progress import ConversionProgress
from darkit_nb.runs.conversion import Conversion
from darkit_nb.runs.conversion_files import write_rows
from darkit_nb.widgets.convert_layout import BRIEFLY
from darkit_nb.widgets.convert_panel import ConvertPanel
from darkit_nb.widgets.convert_source import look_at
from darkit_nb.widgets.convert_wire import BlockPace, ScoringPace, course_data
from tests.records.conversions import block, plan
from tests.widgets.conversions import written


def panel(folder: Path, *given: str, **named: object) -> ConvertPanel:
    return ConvertPanel(*given, folder=folder / "converted", runs_dir=folder / "runs", **named)


def wait(for_what: Callable[[], object], seconds: float = 240.0) -> None:
    until = time.monotonic() + seconds
    while not for_what():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_it_begins_with_the_bundled_model_and_our_preset(tmp_path: Path):
    shown = panel(tmp_path)
    state = shown.desk.state
    assert (state["source"], state["pipeline"], state["bits"], state["ready"]) == (
        "stdlib-llama",
        "darkit",
        "W4A4",
        True,
    )
    assert state["source_facts"].startswith("Llama · 5 blocks of width 128 · 1.49 M parameters")
    assert shown.spec == preset("darkit").replace(sample_length=256)
    assert {step["title"]: step["on"] for step in state["steps"]}["Rotate"]
    assert not state["steps"][-1]["on"]
    assert "stdlib-llama: darkit W4A4" in shown.text()


def test_the_command_it_shows_gives_the_same_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    shown = ConvertPanel("stdlib-llama", "quarot", "W6A6", windows=8)
    shown.set("spike.num_steps", 3)
    shown.set("group_size", 64)
    recipes = {recipe["name"]: recipe["text"] for recipe in shown.desk.state["recipes"]}
    assert recipes["Shell"] == (
        "darkit-nb convert stdlib-llama converted/stdlib-llama-quarot-w6a6 --pipeline quarot --bits W6A6 "
        "--windows 8 spike.num_steps=3 group_size=64"
    )
    before = recipes["Python"].split("conversion = ")[0]
    names: dict[str, object] = {}
    exec(before, names)  # noqa: S102 - what the panel offers to be run
    request = names["request"]
    assert request.spec.replace(sample_length=256) == shown.spec  # type: ignore[attr-defined]
    assert request.windows == 8  # type: ignore[attr-defined]
    assert json.loads(recipes["Settings"])["group_size"] == 64


def test_what_does_not_fit_is_shown_at_its_field_and_nothing_starts(tmp_path: Path):
    shown = panel(tmp_path)
    shown.desk.do_write([{"key": "samples", "text": "many"}], client="page", edit=3)
    state = shown.desk.state
    assert not state["ready"]
    assert state["errors"]["samples"]["brief"]
    assert state["recipes"] == []
    assert state["seen"] == {"page": 3}
    with pytest.raises(ConfigError):
        shown.start()
    shown.desk.do_reset(["samples"])
    assert shown.desk.state["ready"]
    shown.desk.do_choose("omniquant", "ternary")
    assert "no additive form" in shown.desk.state["bits_error"]["message"]


def test_how_much_text_is_scored_is_set_like_any_setting(tmp_path: Path):
    shown = panel(tmp_path, windows=32)
    group = shown.desk.layout_data["groups"][-1]
    assert [field["key"] for field in (*group["first"], *group["more"])] == ["windows", "window", "text", "dataset"]
    shown.desk.do_write([{"key": "windows", "text": "8"}, {"key": "window", "text": "256"}])
    assert shown.desk.state["changed"] == ["windows", "window"]
    assert "--windows 8 --window 256" in shown.desk.state["recipes"][0]["text"]
    request = shown.desk.request()
    assert (request.windows, request.window, request.text) == (8, 256, None)
    shown.desk.do_write([{"key": "window", "text": "1"}])
    assert "≥ 2" in shown.desk.state["errors"]["window"]["brief"]
    assert not shown.desk.state["ready"]
    assert shown.desk.state["recipes"] == []
    with pytest.raises(ConfigError, match="window cannot be 1"):
        shown.start()
    shown.desk.do_reset(["windows", "window"])
    text = str(tmp_path / "held-out.txt")
    shown.set("text", text)
    assert "There is no text" in shown.desk.state["errors"]["text"]["message"]
    (tmp_path / "held-out.txt").write_text("A text.")
    assert shown.desk.request().text == text
    assert shown.desk.options == {"windows": 32, "text": text}


def test_a_model_that_cannot_be_converted_says_so(tmp_path: Path):
    shown = panel(tmp_path)
    text, codes = tmp_path / "book.txt", tmp_path / "codes"
    text.write_text("A text.")
    codes.mkdir()
    (codes / "q4.gguf").write_bytes(b"GGUF")
    for name, message in (
        ("", "No model is chosen."),
        (str(tmp_path), "No model can be read from"),
        (str(text), "'book.txt' is a file"),
        (str(codes), "'q4.gguf' is a GGUF file"),
        ("a b", "There is no model"),
    ):
        shown.source = name
        assert shown.desk.state["source_error"]["message"].startswith(message)
        assert not shown.desk.state["ready"]
    done = tmp_path / "done"
    done.mkdir()
    (done / "config.json").write_text('{"model_type": "llama", "quantization_config": {"quant_method": "darkit"}}')
    shown.source = str(done)
    assert "converted already" in shown.desk.state["source_error"]["message"]
    (done / "config.json").write_text("{")
    with pytest.raises(DarkitError, match="cannot be read"):
        look_at(str(done), tmp_path)
    (done / "config.json").write_text('{"model_type": "mamba"}')
    shown.source = str(done)
    assert "Llama (llama)" in shown.desk.state["source_error"]["expected"]
    (done / "config.json").write_text('{"model_type": "llama"}')
    shown.source = str(done)
    assert shown.desk.state["source_error"]["message"].startswith("There are no weights")
    shown.source = "org/name"
    assert shown.desk.state["ready"]


def test_conversions_of_a_folder_are_shown_compared_and_chosen(tmp_path: Path):
    folder = tmp_path / "converted"
    for pipeline in ("rtn", "quarot", "darkit"):
        written(folder, pipeline)
    written(folder, "gptq", done=2, state="stopped")
    shown = panel(tmp_path)
    desk = shown.desk
    assert desk.course["name"] == "gptq W4A4"
    assert (desk.course["state"], desk.course["blocks_done"], desk.course["share"]) == ("stopped", 2, 0.4)
    assert desk.choices[0]["id"] == "gptq-w4a4.run"
    names = [(row["name"], row["float"]) for row in desk.results["rows"]]
    expected = [("darkit W4A4", False), ("quarot W4A4", False), ("rtn W4A4", False), ("gptq W4A4", False)]
    assert names == [("stdlib-llama (float)", True), *expected]
    assert [row["ace"] for row in desk.results["rows"]] == [256.0, 18.0, 16.0, 16.0, None]
    desk.do_show("darkit-w4a4.run")
    assert desk.course["reports"][1]["layers"][6]["name"] == "model.layers.1.mlp.down_proj"
    assert desk.course["share"] == 1.0
    assert shown.conversion is not None
    assert shown.conversion.id == "darkit-w4a4.run"
    json.dumps([desk.course, desk.results], allow_nan=False)
    assert "rtn W4A4" in shown.text()
    assert "data:image/svg+xml" in shown.snapshot()
    with pytest.raises(RunError):
        shown.show("nothing")
    shown.close()


def test_all_are_put_beside_one_of_them_and_one_is_deleted(tmp_path: Path):
    for pipeline in ("rtn", "quarot", "darkit"):
        written(tmp_path / "converted", pipeline)
    shown = panel(tmp_path)
    desk = shown.desk
    assert desk.results["against"] == ""
    desk.do_against("quarot-w4a4.run")
    rows = {row["id"]: row for row in desk.results["rows"]}
    assert desk.results["against"] == "quarot-w4a4.run"
    assert rows["float"]["delta"] == pytest.approx(-0.0238)
    assert rows["darkit-w4a4.run"]["delta"] == pytest.approx(0.0163 - 0.0238)
    assert (rows["quarot-w4a4.run"]["delta"], rows["quarot-w4a4.run"]["reference"]) == (None, True)
    assert "against quarot W4A4" in shown.text()
    with pytest.raises(DarkitError, match="No model can be meant"):
        shown.put_beside("nothing")
    shown.show("quarot-w4a4.run")
    desk.do_delete("quarot-w4a4.run")
    wait(lambda: desk.course["id"] != "quarot-w4a4.run" and not desk.going)
    assert not (tmp_path / "converted" / "quarot-w4a4.run").exists()
    assert [desk.results["against"], len(desk.results["rows"]), desk.problem] == ["", 3, None]
    shown.delete()
    shown.delete()
    assert (shown.conversion, desk.course, desk.choices, desk.results["rows"]) == (None, None, [], [])
    with pytest.raises(RunError, match="No conversion is shown"):
        shown.delete()
    shown.close()


def test_it_follows_what_is_written(tmp_path: Path):
    made = written(tmp_path / "converted", "rtn", done=1, state="stopped")
    shown = panel(tmp_path)
    made.directory.append_metrics({"kind": "block", "step": 1, "report": block(1).to_dict()})
    wait(lambda: shown.desk.course["blocks_done"] == 2)
    shown.close()


def test_a_click_starts_once_and_a_tree_is_closed_with_another_conversion(tmp_path: Path):
    folder = tmp_path / "converted"
    for pipeline in ("rtn", "darkit"):
        written(folder, pipeline)
    shown = panel(tmp_path)
    desk = shown.desk
    desk._clicks = ["once"]
    desk.do_start("once")
    assert desk.answered == []
    desk.opened = {"id": "darkit-w4a4.run", "stage": "open", "problem": None}
    desk.do_show("rtn-w4a4.run")
    assert desk.opened is None
    shown.close()


def test_alternatives_are_ticked_and_become_requests(tmp_path: Path):
    shown = panel(tmp_path, "stdlib-llama", "darkit", windows=8)
    shown.set("samples", 16)
    shown.compare = "quarot", "rtn", "darkit"
    assert shown.compare == ("rtn", "quarot")  # in the order of the presets, without the one that is chosen
    first, *others = shown.desk.requests()
    assert [each.name for each in (first, *others)] == ["darkit W4A4", "rtn W4A4", "quarot W4A4"]
    assert {(each.source, each.windows, each.spec.samples) for each in (first, *others)} == {("stdlib-llama", 8, 16)}
    assert len({each.out for each in (first, *others)}) == 3
    recipes = {recipe["name"]: recipe["text"] for recipe in shown.desk.state["recipes"]}
    assert "--compare rtn,quarot samples=16" in recipes["Shell"]
    before = recipes["Python"].split("conversions = ")[0]
    names: dict[str, object] = {}
    exec(before, names)  # noqa: S102 - what the panel offers to be run
    assert [each.name for each in names["others"]] == ["rtn W4A4", "quarot W4A4"]  # type: ignore[attr-defined]
    shown.desk.do_compare("rtn", False)
    assert shown.compare == ("quarot",)
    shown.choose("quarot")
    assert shown.compare == ("darkit",)  # which was named, too
    with pytest.raises(ConfigError, match="no conversion preset"):
        shown.compare = "qarot"


def test_what_has_no_such_bits_is_not_offered(tmp_path: Path):
    shown = panel(tmp_path)
    shown.compare = "omniquant", "gptq"
    shown.choose("spikellm-gptq")
    why = {each["name"]: each["why"] for each in shown.desk.state["compare"]}
    assert "no additive form" in why["omniquant"]
    assert not why["gptq"]
    assert shown.compare == ("gptq",)


def test_alternatives_wait_for_their_turn_and_join_the_table(tmp_path: Path):
    folder = tmp_path / "converted"
    done, other = written(folder, "darkit"), written(folder, "quarot", done=2, state="stopped")
    shown = panel(tmp_path)
    shown.show(done)
    also = {each["name"]: each["on"] for each in shown.desk.results["also"]}
    assert "darkit" not in also
    assert not also["quarot"]  # it was stopped
    other.directory.write_status(state="running")
    (queued,) = shown.convert_too("rtn")  # somebody is at work in the folder
    assert queued.state == "queued"
    assert {each["name"]: each["on"] for each in shown.desk.results["also"]}["rtn"]
    assert ("rtn W4A4", "queued") in [(row["name"], row["state"]) for row in shown.desk.results["rows"]]
    (later,) = shown.convert_too("smoothquant")
    words = {choice["name"]: choice["words"] for choice in shown.desk.choices}
    assert (words["rtn W4A4"], words["smoothquant W4A4"]) == ("next in the queue", "queued, place 2")
    assert later.request.spec.samples == done.request.spec.samples
    assert queued.request.spec.samples == done.request.spec.samples
    shown.show(queued)
    shown.stop()
    wait(lambda: shown.desk.course["state"] == "created")
    assert shown.desk.pending == ""
    shown.close()


def test_scoring_is_timed_from_what_was_seen_of_it():
    def now(done: int, **more: object) -> ConversionProgress:
        fixed = {"id": "a", "name": "a", "source": "s", "out": "o", "state": "running", "windows": 10, "blocks": 2}
        return ConversionProgress(**{**fixed, "stage": "scoring the float model", "windows_done": done, **more})

    pace = ScoringPace()
    assert pace.left(now(2), 100.0) is None
    assert pace.left(now(4), 103.0) == pytest.approx(9.0)
    assert pace.left(now(1, stage="scoring the converted model"), 104.0) is None
    data = course_data(now(2, stage="scoring the converted model", blocks_done=2, eta_s=0.0), 105.0, pace)
    assert (data["eta_s"], data["eta_of"]) == (pytest.approx(8.0), "scoring the converted model")
    data = course_data(now(0, windows=None, windows_done=None, blocks_done=1, eta_s=4.0), 106.0, pace)
    assert (data["eta_s"], data["eta_of"]) == (4.0, "the blocks")
    lost = course_data(now(0, state="lost", reason="it is gone", blocks_done=1, windows=None), 107.0, pace)
    assert lost["problem"]["fix"] == "resume it; it goes on after the 1 blocks that are done"


def test_blocks_are_timed_by_the_plan_and_then_as_they_go():
    def now(done: int, stage: str, **more: object) -> ConversionProgress:
        fixed = {"id": "a", "name": "a", "source": "s", "out": "o", "state": "running", "blocks": 10}
        planned = dataclasses.replace(plan(), seconds_estimate=20.0)
        reports = tuple(dataclasses.replace(block(index), seconds=float(10 * (index + 1))) for index in range(done))
        told = {"stage": stage, "blocks_done": done, "reports": reports, "plan": planned}
        return ConversionProgress(**{**fixed, **told, **more})

    pace = BlockPace()
    assert pace.look(now(0, "reading texts"), 90.0) is None
    first = pace.look(now(0, "block 1 of 10"), 100.0)
    assert first is not None
    assert (first["block_s"], first["since_s"], first["left"], first["measured"]) == (2.0, 0.0, 10, False)
    later = pace.look(now(0, "block 1 of 10"), 107.0)
    assert later is not None
    assert later["since_s"] == 7.0
    sixth = pace.look(now(5, "block 6 of 10"), 150.0)
    assert sixth is not None
    assert (sixth["block_s"], sixth["left"], sixth["measured"]) == (35.0, 5, True)  # the last four
    assert (sixth["planned_s"], sixth["expected_s"]) == (20.0, 350.0)
    assert course_data(now(5, "block 6 of 10"), 151.0, ScoringPace(), pace)["pace"]["since_s"] == 1.0
    assert pace.look(now(0, "block 1 of 10", plan=None), 200.0) is None
    assert pace.look(now(5, "block 6 of 10", state="stopped"), 201.0) is None


def test_a_difference_that_cannot_be_told_says_why(tmp_path: Path):
    folder = tmp_path / "converted"
    for pipeline in ("rtn", "quarot", "darkit"):
        written(folder, pipeline)
    other = Conversion.open(folder / "darkit-w4a4")
    elsewhere = [
        dataclasses.replace(row, losses=dataclasses.replace(row.losses, text="book.txt", text_sha256="cd" * 32))
        for row in other.rows()
    ]
    write_rows(other.root, elsewhere)
    shown = panel(tmp_path)
    desk = shown.desk
    desk.do_against("quarot-w4a4.run")
    rows = {row["id"]: row for row in desk.results["rows"]}
    assert (rows["darkit-w4a4.run"]["delta"], rows["darkit-w4a4.run"]["why"]) == (None, "another text")
    assert rows["rtn-w4a4.run"]["why"] == ""
    assert rows["float"]["delta"] is not None, "of the two texts of the float model, the one of quarot"
    assert "– (another text)" in shown.text()
    desk.do_against("darkit-w4a4.run")
    rows = {row["id"]: row for row in desk.results["rows"]}
    assert rows["float"]["delta"] is not None
    assert rows["quarot-w4a4.run"]["why"] == "another text"
    shown.close()


def test_every_preset_has_a_few_words_and_a_plan_of_other_settings_is_old(tmp_path: Path):
    shown = panel(tmp_path)
    assert set(BRIEFLY) == set(PRESETS)
    assert max(map(len, BRIEFLY.values())) <= 27
    shown.make_plan()
    assert shown.desk.ahead["stage"] == "planning"
    shown.set("samples", 4)
    assert shown.desk.ahead["stage"] == "none"  # nobody waits for the other one any more
    shown.close()


def test_the_kernel_loads_no_model(tmp_path: Path):
    code = (
        "import sys; from darkit_nb.widgets import ConvertPanel; panel = ConvertPanel(); panel.text();"
        "print([name for name in ('torch', 'transformers', 'accelerate', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "[]"
