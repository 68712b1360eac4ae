"""Conversions that wait for one another: the same in all but the pipeline, in the order asked for, one at a time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.config.conversions import PRESETS, preset
from darkit_nb.errors import ConfigError, RunError
from darkit_nb.records.conversion_request import ConversionRequest
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.runs import RunDirectory
from darkit_nb.runs.conversion import Conversion, list_conversions
from darkit_nb.runs.conversion_queue import all_alternatives, alternatives, queue_conversions, queued_conversions
from darkit_nb.runs.queue import advance_queue, queued_runs


def request(out: Path, name: str = "darkit", **changes) -> ConversionRequest:
    spec = preset(name, **{"samples": 8, "seed": 5, "group_size": 64, "spike": {"attention": True}, **changes})
    return ConversionRequest(source="nothing-there", out=str(out), spec=spec, windows=3)


@pytest.fixture
def busy(tmp_path: Path) -> RunDirectory:
    """A run in the same folder, which this process trains: whoever is queued waits."""
    run = RunDirectory.create(RunConfig(runs_dir=str(tmp_path), name="busy"), command="x")
    run.begin_attempt()
    return run


def test_alternatives_differ_in_the_pipeline_alone(tmp_path: Path) -> None:
    chosen = request(tmp_path / "m", bits="W4A8")
    found = alternatives(chosen, ["rtn", "darkit", "quarot", "rtn"])
    assert [each.name for each in found] == ["rtn W4A8", "quarot W4A8"]
    assert [Path(each.out).name for each in found] == ["m-rtn", "m-quarot"]
    for each in found:
        assert dataclasses.replace(each, out=chosen.out, spec=chosen.spec) == chosen
        assert each.spec.spike is not None
        assert (each.spec.samples, each.spec.seed, each.spec.group_size) == (8, 5, 64)
        assert each.spec.spike.attention
    assert found[0].spec.rotation == "none"
    assert found[0].spec.spike == SpikeSpec(num_levels=256, num_steps=1, salient_fraction=0.0, attention=True)


def test_what_does_not_exist_at_these_bits_is_refused_by_name_and_left_out_of_all(tmp_path: Path) -> None:
    ternary = request(tmp_path / "m", bits="ternary", group_size=None, spike=None)
    with pytest.raises(ConfigError, match="no additive form"):
        alternatives(ternary, ["omniquant"])
    with pytest.raises(ConfigError, match="did you mean 'rtn'"):
        alternatives(ternary, ["rtnn"])
    found = {each.spec.pipeline for each in all_alternatives(ternary)}
    assert found == set(PRESETS) - {"darkit", "omniquant", "flatquant", "spikellm-omniquant"}
    assert {each.spec.pipeline for each in all_alternatives(request(tmp_path / "m"))} == set(PRESETS) - {"darkit"}


def test_they_wait_in_their_order_among_runs_of_the_same_folder(tmp_path: Path, busy: RunDirectory) -> None:
    chosen = request(tmp_path / "m")
    made = queue_conversions([chosen, *alternatives(chosen, ["rtn", "gptq"])], command="darkit-nb convert …")
    assert [each.state for each in made] == ["queued"] * 3
    assert queued_conversions(tmp_path) == made
    assert [run.id for run in queued_runs(tmp_path)] == ["m.run", "m-rtn.run", "m-gptq.run"]
    assert not made[0].progress().active
    assert queue_conversions([made[1].request]) == [made[1]]
    assert queued_conversions(tmp_path) == made, "one that waits already keeps its place"
    assert advance_queue(tmp_path) == []
    assert made[1].stop() == ""
    assert [each.state for each in made] == ["queued", "created", "queued"]
    made[1].queue()
    assert queued_conversions(tmp_path) == [made[0], made[2], made[1]]


def test_a_place_becomes_free_and_the_next_one_is_started_and_says_why_it_failed(
    tmp_path: Path, busy: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = queue_conversions([request(tmp_path / name) for name in ("a", "b")])
    busy.write_status(state="finished")
    for each in made:
        with pytest.raises(RunError, match="failed: There is no model 'nothing-there'"):
            each.wait(400)  # the supervisor of the first one starts the second
    assert [each.status.attempt for each in made] == [1, 1]
    assert queued_conversions(tmp_path) == []


def test_nothing_is_queued_where_one_folder_is_taken(tmp_path: Path, busy: RunDirectory) -> None:
    (tmp_path / "b").write_text("mine")
    with pytest.raises(RunError, match="there already"):
        queue_conversions([request(tmp_path / "a"), request(tmp_path / "b")])
    with pytest.raises(RunError, match="cannot have one folder"):
        queue_conversions([request(tmp_path / "c"), request(tmp_path / "x" / ".." / "c")])
    assert queued_conversions(tmp_path) == []
    assert {each.state for each in list_conversions(tmp_path)} <= {"created"}


def test_what_a_terminal_takes_on_waits_no_more(tmp_path: Path, busy: RunDirectory) -> None:
    made = Conversion.create(request(tmp_path / "m")).queue()
    made.directory.begin_attempt()
    made.directory.write_status(state="finished")
    assert made.state == "finished"
    assert not (made.root / "queued.json").exists()


def test_a_folder_of_models_in_which_nothing_waits_is_left_as_it_is(tmp_path: Path) -> None:
    Conversion.create(request(tmp_path / "m"))
    assert advance_queue(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["m.run"]
