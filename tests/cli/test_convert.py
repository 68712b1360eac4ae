"""`convert` and `conversions` as commands: the plan first, the result last, and nothing overwritten."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from darkit_nb.cli.app import run
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.runs.conversion import Conversion

SMALL = ["--samples", "2", "--sample-length", "64", "--windows", "2", "--window", "64"]


def converted(tmp_path: Path, *more: str) -> tuple[int, Path]:
    out = tmp_path / "spiking"
    return run(["convert", "stdlib-llama", str(out), *SMALL, *more]), out


def test_a_bundled_model_is_converted_with_its_plan_first_and_the_result_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    code, out = converted(tmp_path, "--pipeline", "quarot", "group_size=64")
    said = capsys.readouterr().out
    assert code == 0
    order = [said.index(part) for part in ("LlamaForCausalLM", "block 1 of", "quarot W4A4: perplexity", "finished: ")]
    assert order == sorted(order)
    assert Conversion.open(out).request.spec.group_size == 64
    assert run(["conversions", str(tmp_path)]) == 0
    assert run(["conversions", "show", str(out), "--format", "json"]) == 0
    listed, _, shown = capsys.readouterr().out.partition("\n")
    assert "finished" in listed
    assert json.loads(shown)["points"]["points"][0]["name"] == "quarot W4A4"
    assert run(["conversions", "compare", str(out)]) == 0
    assert "Perplexity against" in capsys.readouterr().out
    assert run(["conversions", "resume", str(out)]) == 2
    assert "is done" in capsys.readouterr().err


def test_the_plan_alone_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert converted(tmp_path, "--plan")[0] == 0
    assert "memory for weights" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--pipeline", "darkitt"], "did you mean 'darkit'"),
        (["--bits", "W9A9"], "not understood"),
        (["colour=red"], "colour"),
        (["neuron.steps=3"], "no setting"),
        (["--dataset", "text:/nowhere"], "no file or folder"),
        (["--revision", "v2"], "A folder has no revisions"),
    ],
)
def test_mistakes_are_told_with_what_is_possible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], complaint: str
):
    assert converted(tmp_path, *more)[0] == 2
    assert complaint in capsys.readouterr().err


def test_a_conversion_that_was_begun_is_shown_and_not_stopped_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from darkit_nb.config.conversions import preset

    Conversion.create(ConversionRequest(source="stdlib-llama", out=str(tmp_path / "m"), spec=preset("rtn")))
    assert run(["conversions", "stop", str(tmp_path / "m")]) == 0
    assert "nobody is at work" in capsys.readouterr().out
    assert run(["conversions", "show", str(tmp_path / "m")]) == 0
    assert "rtn W4A4: created" in capsys.readouterr().out
    assert run(["conversions", str(tmp_path / "empty")]) == 0
    assert "No conversion" in capsys.readouterr().out


def test_a_conversion_is_deleted_when_somebody_agrees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from darkit_nb.config.conversions import preset

    out = tmp_path / "a model"
    Conversion.create(ConversionRequest(source="stdlib-llama", out=str(out), spec=preset("rtn")))
    assert run(["conversions", "delete", str(out)]) == 2
    assert f"darkit-nb conversions delete '{out}' --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert run(["conversions", "delete", str(out)]) == 1
    assert "created, 0 blocks, a model.run" in capsys.readouterr().out
    assert run(["conversions", "delete", str(out), "--yes"]) == 0
    assert run(["conversions", "delete", str(out), "--yes"]) == 2
    assert "no conversion at" in capsys.readouterr().err


@pytest.mark.slow
def test_pipelines_are_compared_one_after_another_in_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code, out = converted(tmp_path, "--pipeline", "quarot", "--compare", "rtn,smoothquant")
    said = capsys.readouterr().out
    assert code == 0
    order = [said.index(f"{name}: perplexity") for name in ("quarot W4A4", "rtn W4A4", "smoothquant W4A4")]
    assert order == sorted(order)
    table = said[said.index("4 models on") :].splitlines()
    names = ("float", "quarot W4A4", "rtn W4A4", "smoothquant W4A4")
    lines = [next(line for line in table if line.strip().startswith(name)) for name in names]
    assert all("±" in line for line in lines[1:])
    assert Conversion.open(f"{out}-rtn").state == "finished"
    assert converted(tmp_path, "--pipeline", "quarot", "--compare", "rtn,smoothquant")[0] == 0
    assert "block 1" not in capsys.readouterr().out, "what is done is not done again"
    assert run(["conversions", "compare", str(tmp_path)]) == 0
    compared = capsys.readouterr().out
    assert all(name in compared for name in names), compared
    assert run(["conversions", "compare", str(tmp_path), "--against", "rtn"]) == 0
    assert "against rtn W4A4" in capsys.readouterr().out
    assert run(["conversions", "compare", str(tmp_path), "--against", "gptq"]) == 2
    assert run(["conversions", "export", f"{out}-rtn", str(tmp_path / "exported")]) == 0
    assert (tmp_path / "exported" / "model.safetensors").is_file()
    assert run(["conversions", "export", str(out), str(tmp_path / "refused")]) == 2
    assert "rotation while the model runs" in capsys.readouterr().err


def test_plans_of_alternatives_write_nothing_and_a_wrong_name_converts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert converted(tmp_path, "--plan", "--compare", "all")[0] == 0
    assert capsys.readouterr().out.count("memory for weights") == 10
    assert converted(tmp_path, "--compare", "rtn,quaro")[0] == 2
    assert "did you mean 'quarot'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_keeps_the_blocks_and_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = [sys.executable, "-m", "darkit_nb", "convert", "stdlib-llama", str(tmp_path / "m"), "--windows", "0"]
    with subprocess.Popen(
        [*command, "--samples", "16", "--sample-length", "256"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith("block 1 of 5") for line in lines)
        process.send_signal(signal.SIGINT)
        rest = "".join(lines)
    assert process.returncode == 130
    kept = next(line for line in rest.splitlines() if line.startswith("stopped: ")).partition(" are kept in ")[2]
    assert (Path(kept) / "block-0000.safetensors").is_file()
    go_on = next(line for line in rest.splitlines() if line.startswith("go on with: ")).removeprefix("go on with: ")
    assert run(shlex.split(go_on)[1:]) == 0
    said = capsys.readouterr().out
    assert "block 1 of 5: error" in said
    assert "taken over" in said
    assert Conversion.open(tmp_path / "m").state == "finished"
