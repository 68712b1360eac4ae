"""The doctor's findings, on machines that have and that lack things."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from darkit_nb.doctor import Check, DoctorReport, checks, remedies
from darkit_nb.doctor.checks import (
    cache_check,
    cupy_check,
    disk_check,
    gpu_check,
    memory_check,
    plugin_checks,
    tool_check,
    torch_check,
)
from darkit_nb.doctor.probe import probe

FAKE_CUPY = """
__version__ = "14.0.1"
class _Error(RuntimeError): pass
class _Runtime:
    @staticmethod
    def getDeviceCount():
        raise _Error("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")
class cuda:
    runtime = _Runtime
"""
FAKE_GPU = """
__version__ = "14.0.1"
class cuda:
    class runtime:
        getDeviceCount = staticmethod(lambda: 1)
        getDeviceProperties = staticmethod(lambda index: {"name": b"Toy GPU"})
        runtimeGetVersion = staticmethod(lambda: 13000)
"""


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> None:
    """Put a stand-in package first on the import path of child processes."""
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_cupy_without_a_driver_has_its_own_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "cupy", FAKE_CUPY)
    check = cupy_check(probe("cupy"), driver=None)
    assert check.level == "absent"
    assert check.found.startswith(
        "14.0.1 is installed, but finds no NVIDIA driver it can use (cudaErrorInsufficientDriver"
    )
    assert "on the CPU" in check.found
    assert check.fix == "install the NVIDIA driver for your GPU, or without a GPU: pip uninstall cupy-cuda13x"


def test_a_working_cupy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "cupy", FAKE_GPU)
    assert cupy_check(probe("cupy"), driver="580.1") == Check(name="cupy", level="ok", found="14.0.1 on Toy GPU")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ImportError('libcuda.so.1: cannot open shared object file')", "ImportError: libcuda.so.1"),
        ("import absent_part", "absent_part is missing"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
        ("import os; os._exit(3)", "no answer"),
    ],
)
def test_a_broken_cupy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str) -> None:
    install(tmp_path, monkeypatch, "cupy", source)
    check = cupy_check(probe("cupy"), driver=None)
    assert "does not load" in check.found
    assert reason in check.found


def test_an_absent_cupy_matters_only_with_a_gpu() -> None:
    assert cupy_check({"missing": "cupy"}, driver=None).fix is None
    assert cupy_check({"missing": "cupy"}, driver="580.1").fix == "pip install 'darkit-nb[gpu]'"


def test_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "torch", "raise OSError('libtorch.so: bad')")
    broken = torch_check(probe("torch"))
    assert broken.level == "fault"
    assert "libtorch.so: bad" in broken.found
    missing = torch_check({"missing": "torch"})
    assert (missing.level, missing.fix) == (
        "fault",
        "pip install torch --index-url https://download.pytorch.org/whl/cpu",
    )
    fine = torch_check({"version": "2.13.0", "cpu": "AVX2", "threads": 4, "cuda": None, "gpus": []})
    assert (fine.level, fine.found) == ("ok", "2.13.0, CPU AVX2, 4 threads")


def test_a_gpu_that_torch_cannot_use() -> None:
    assert "built without CUDA" in gpu_check({"cuda": None, "gpus": []}, "580.1").found
    assert "newer NVIDIA driver" in str(gpu_check({"cuda": "13.0", "gpus": []}, "470.1").fix)
    assert gpu_check({"cuda": "13.0", "gpus": ["H100"]}, "580.1").level == "ok"
    assert gpu_check({}, None).fix is None


@pytest.mark.parametrize(
    ("manager", "line"),
    [
        ("apt", "apt install -y graphviz"),
        ("dnf", "dnf install -y graphviz"),
        ("brew", "brew install graphviz"),
        ("conda", "conda install -y -c conda-forge graphviz"),
    ],
)
def test_the_fix_speaks_to_the_package_manager(monkeypatch: pytest.MonkeyPatch, manager: str, line: str) -> None:
    monkeypatch.setattr(remedies.shutil, "which", lambda name: f"/bin/{name}" if name == manager else None)
    monkeypatch.setattr(remedies.os, "geteuid", lambda: 0)
    assert remedies.install_line("dot") == line
    monkeypatch.setattr(remedies.os, "geteuid", lambda: 1000)
    assert remedies.install_line("dot") == (f"sudo {line}" if manager in ("apt", "dnf") else line)


def test_a_machine_without_a_package_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remedies.shutil, "which", lambda name: None)
    assert remedies.install_line("g++") == "conda install -y -c conda-forge cxx-compiler"


def test_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "dot"
    tool.write_text("#!/bin/sh\necho 'dot - graphviz version 9' >&2\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    assert tool_check("dot", ("dot",), "x").found == f"dot - graphviz version 9 ({tool})"
    absent = tool_check("g++", ("no-such-compiler",), "needed for kernels")
    assert (absent.level, absent.found) == ("absent", "not found; needed for kernels")
    assert absent.fix


def test_little_memory_and_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks, "available_memory", lambda: 2**29)
    assert memory_check().level == "fault"
    assert disk_check("disk", tmp_path / "not" / "yet").level == "ok"
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 2**20}))
    assert "1.0 MiB free" in disk_check("disk", tmp_path).found
    assert disk_check("disk", tmp_path).level == "fault"


def test_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKIT_CACHE", str(tmp_path))
    (tmp_path / "x").write_bytes(bytes(2048))
    assert cache_check().found == f"{tmp_path}, 2 KiB used"
    monkeypatch.setenv("DARKIT_CACHE", str(tmp_path / "x" / "under-a-file"))
    assert cache_check().level == "fault"


def test_failed_plugins_are_named_with_their_reason() -> None:
    found = {
        "model": {"count": 3, "failures": {}},
        "neuron": {"count": 1, "failures": {"mine (my.module:register)": "ImportError: no luck"}},
        "metric": {"count": 0, "failures": {"builtin (darkit_nb.x:y)": "ImportError: broken"}},
    }
    summary, theirs, ours = plugin_checks(found)
    assert summary.found == "model 3, neuron 1, metric 0"
    assert (theirs.level, theirs.found) == ("absent", "mine (my.module:register): ImportError: no luck")
    assert ours.level == "fault"


def test_this_machine_as_record_and_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One real examination, in a process of its own, with a plug-in installed that raises at import."""
    info = tmp_path / "bad_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[darkit_nb.block]\nbad = bad_plugin:register\n")
    install(tmp_path, monkeypatch, "bad_plugin", "raise RuntimeError('boom at import')")
    place = tmp_path / "place"
    place.mkdir()
    code = (
        "import sys\nfrom darkit_nb.cli.app import run\nstatus = run(['doctor', '--json'])\n"
        "sys.exit('torch was loaded here' if 'torch' in sys.modules else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=place)
    assert done.stderr == ""
    data = json.loads(done.stdout)
    report = DoctorReport.from_dict(data)
    assert done.returncode == (0 if report.ready else 1)
    assert report.to_dict() == data
    names = {check.name for check in report.checks}
    assert {"python", "torch", "gpu", "cupy", "g++", "nvcc", "dot", "node", "memory", "disk", "cache"} <= names
    assert report["torch"].level == "ok"
    assert report["block plug-in"].found == "bad (bad_plugin:register): RuntimeError: boom at import"
    text = report.to_text()
    assert all(check.name in text for check in report.checks)
    assert all(f"→ {check.fix}" in text for check in report.checks if check.fix)
    assert list(place.iterdir()) == [], "looking changes nothing"


def test_the_verdict_counts_faults() -> None:
    report = DoctorReport(checks=(Check(name="torch", level="fault", found="gone", fix="pip install torch"),))
    assert not report.ready
    assert report.to_text() == "✗ torch  gone\n         → pip install torch\n\n1 to mend before training works."
