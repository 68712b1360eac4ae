"""What an import costs and what it may need, proved in fresh interpreters, and the proofs proved able to fail."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import benchmarks

HEAVY = ["torch", "transformers", "cupy", "ipywidgets", "pydantic"]
FACES = ["pydantic", "datasets", "cyclopts", "ipywidgets", "plotly", "torchview"]
LIMIT_S = 0.150

IMPORT_COST = """
import json, sys, time
sys.path.insert(0, {path!r})
start = time.process_time()
import {module}
seconds = time.process_time() - start
print(json.dumps([seconds, [name for name in {heavy!r} if name in sys.modules]]))
"""

# None in sys.modules is Python's own way of saying that a module is not there: find_spec finds nothing, import raises.
IMPORT_WITHOUT = """
import json, sys
sys.path.insert(0, {path!r})
sys.modules.update(dict.fromkeys({absent!r}))
from importlib import import_module
for name in {modules!r}:
    import_module(name)
print(json.dumps([name for name in {watched!r} if sys.modules.get(name)]))
"""


def fresh_python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=400, check=False)


def import_cost(module: str, path: Path, tries: int = 5) -> tuple[float, list[str]]:
    """Processor seconds of the fastest of several imports, and which heavy modules it loaded."""
    program = IMPORT_COST.format(path=str(path), module=module, heavy=HEAVY)
    answers = [json.loads(fresh_python(program).stdout) for _ in range(tries)]
    return min(seconds for seconds, _ in answers), answers[0][1]


def import_without(
    modules: list[str], *, absent: list[str], watched: list[str], path: Path
) -> tuple[str | None, list[str]]:
    """The last line of the error, if importing `modules` without `absent` fails, and the `watched` ones it loaded."""
    done = fresh_python(IMPORT_WITHOUT.format(path=str(path), absent=absent, modules=modules, watched=watched))
    return (done.stderr.strip().splitlines()[-1], []) if done.returncode else (None, json.loads(done.stdout))


def modules_of(*parts: str) -> list[str]:
    """Dotted names of those parts of the package and of everything inside them."""
    names = []
    for part in parts:
        module = import_module(f"darkit_nb.{part}")
        names.append(module.__name__)
        names += [each.name for each in pkgutil.walk_packages(getattr(module, "__path__", []), f"{module.__name__}.")]
    return names


def test_importing_the_package_is_quick_and_loads_nothing_heavy(tmp_path: Path):
    seconds, loaded = import_cost("darkit_nb", tmp_path)
    assert loaded == []
    assert seconds < LIMIT_S


def test_the_import_cost_is_really_measured(tmp_path: Path):
    (tmp_path / "torch.py").write_text("import time\nwhile time.process_time() < 0.5:\n    pass\n")
    (tmp_path / "greedy.py").write_text("import torch\n")
    seconds, loaded = import_cost("greedy", tmp_path, tries=1)
    assert loaded == ["torch"]
    assert seconds > LIMIT_S


@pytest.mark.parametrize("part", ["config", "data", "runs", "records", "plugins", "errors", "views"])
def test_floors_without_tensors_load_neither_torch_nor_transformers(part: str, tmp_path: Path):
    error, loaded = import_without(modules_of(part), absent=[], watched=["torch", "transformers"], path=tmp_path)
    assert error is None
    assert loaded == []


def test_the_numerical_core_needs_no_forms_data_or_widgets(tmp_path: Path):
    core = modules_of("errors", "plugins", "records", "functional", "ops", "nn", "spikify")
    error, loaded = import_without(core, absent=FACES, watched=["torch"], path=tmp_path)
    assert error is None
    assert loaded == ["torch"]  # so the core was really imported


CONVERTS = """
import tempfile
import torch
from darkit_nb import conversion_preset, convert_model, load_model
from tests.evaluate.models import decoder

with tempfile.TemporaryDirectory() as folder:
    spec = conversion_preset("darkit", samples=2, sample_length=16)
    text = torch.randint(0, 64, (2, 16))
    convert_model(decoder(vocab_size=64), spec, calibration=text, out=folder + "/m")
    assert load_model(folder + "/m")(text).logits.isfinite().all()
"""


def test_models_are_trained_converted_scored_and_measured_without_forms_and_widgets(tmp_path: Path):
    """As on a machine with a GPU and without the rest; benchmarks of the faces themselves are left out."""
    absent = [*(name for name in FACES if name != "pydantic"), "anywidget", "jupyterlab"]
    faces = {"__main__", "charts", "tree", "tree_viewers", "spikingjelly_14"}
    measured = [
        f"benchmarks.{each.name}" for each in pkgutil.iter_modules(benchmarks.__path__) if each.name not in faces
    ]
    (tmp_path / "converts.py").write_text(CONVERTS)
    modules = [*modules_of("models", "evaluate", "train", "convert"), *measured, "converts"]
    error, loaded = import_without(modules, absent=absent, watched=["torch", *absent], path=tmp_path)
    assert error is None
    assert loaded == ["torch"]


def test_absent_modules_are_really_absent(tmp_path: Path):
    (tmp_path / "needy.py").write_text("import pydantic\n")
    error, _ = import_without(["needy"], absent=FACES, watched=[], path=tmp_path)
    assert error is not None
    assert "pydantic" in error
