"""What comes from elsewhere is checked to the last byte before it becomes a run."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from darkit_nb.config import RunConfig
from darkit_nb.errors import ConfigError, RunError
from darkit_nb.runs import RunDirectory, archive, import_run, list_runs
from darkit_nb.runs.safetensors_header import read_header


def tensor_file(values: int = 6, **changes) -> bytes:
    """A safetensors file of one float32 vector."""
    entry = {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]} | changes
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": entry}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * values)


MODEL: dict[str, bytes] = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": tensor_file(),
    "tokenizer.json": b"{}",
}


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def tar_of(path: Path, files: dict[str, bytes], *links: tuple[str, bytes, str]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
        for name, kind, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            packed.addfile(info)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "place" / "runs"


def refused(source: Path, runs: Path, says: str, **options) -> RunError:
    """Import, expecting a refusal that leaves nothing behind."""
    with pytest.raises(RunError) as caught:
        import_run(source, runs, **options)
    assert says in str(caught.value)
    assert list_runs(runs) == []
    left = [path.name for path in runs.iterdir()] if runs.exists() else []
    assert set(left) <= {".lock"}
    assert {path.name for path in runs.parent.iterdir()} <= {"runs"}
    return caught.value


SOURCES: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "folder": lambda path, files: folder_of(path / "My Model", files),
    "zip": lambda path, files: zip_of(path / "My Model.zip", files),
    "tar": lambda path, files: tar_of(path / "My Model.tar", files),
    "tar.gz": lambda path, files: tar_of(path / "My Model.tar.gz", files),
    "wrapped zip": lambda path, files: zip_of(
        path / "My Model.zip", {f"a/b/{name}": content for name, content in files.items()}
    ),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_model_becomes_a_run(tmp_path: Path, runs: Path, kind: str) -> None:
    source = SOURCES[kind](tmp_path, MODEL | {"README.md": b"hi", "image.png": b"\x89PNG", ".git/config": b"x"})
    run = import_run(source, runs)
    assert run.name == "My-Model"
    checkpoint = run.require_checkpoint()
    assert checkpoint.step == 0
    assert (checkpoint.path / "model.safetensors").read_bytes() == MODEL["model.safetensors"]
    assert not (checkpoint.path / "image.png").exists()
    assert run.read_status().state == "finished"
    config = run.read_config()
    assert config.model.path == config.data.tokenizer == str(checkpoint.path)
    event = run.read_events()[-1]
    assert event["kind"] == "imported"
    assert {Path(name).name for name in event["left_out"]} == {"image.png", "config"}
    assert {path.name for path in runs.iterdir()} == {run.id, ".lock"}


def test_a_run_travels_as_an_archive(tmp_path: Path, runs: Path) -> None:
    original = RunDirectory.create(RunConfig(name="mine", runs_dir=str(tmp_path / "old"), seed=5), command="x")
    original.begin_attempt()
    original.append_metrics({"kind": "train", "step": 7, "loss": 1.0})
    with original.new_checkpoint(7) as draft:
        folder_of(draft, MODEL)
    packed = tmp_path / "run.tar.gz"
    with tarfile.open(packed, "w:gz") as stream:
        stream.add(original.root, arcname=original.id)
    run = import_run(packed, runs)
    assert (run.name, run.read_config().seed, run.read_config().runs_dir) == ("mine", 5, str(runs))
    assert run.read_metrics() == original.read_metrics()
    assert run.require_checkpoint().step == 7
    assert (run.read_status().state, run.read_status().step) == ("finished", 7)
    assert run.begin_attempt() == 2


def test_names(tmp_path: Path, runs: Path) -> None:
    source = folder_of(tmp_path / "model", MODEL)
    assert import_run(source, runs, name="chosen").name == "chosen"
    assert [import_run(source, runs).name for _ in range(3)] == ["model", "model-2", "model-3"]
    with pytest.raises(RunError, match="already a run called 'chosen'"):
        import_run(source, runs, name="chosen")
    with pytest.raises(ConfigError, match="cannot be called"):
        import_run(source, runs, name="../../x")
    assert len(list_runs(runs)) == 4


@pytest.mark.parametrize(
    "name", ["../evil.json", "a/../../evil.json", "/evil.json", "C:/evil.json", "..\\evil.json", "\\evil.json"]
)
@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_members_that_climb_out_are_refused(tmp_path: Path, runs: Path, name: str, make) -> None:
    suffix = ".zip" if make is zip_of else ".tar"
    error = refused(make(tmp_path / f"m{suffix}", MODEL | {name: b"{}"}), runs, "outside its folder")
    assert error.received == repr(name)
    assert not list(tmp_path.rglob("evil.json"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar_are_refused(tmp_path: Path, runs: Path, kind: bytes) -> None:
    refused(tar_of(tmp_path / "m.tar", MODEL, ("extra.json", kind, "/etc/passwd")), runs, "holds a link")


def test_devices_in_a_tar_are_refused(tmp_path: Path, runs: Path) -> None:
    refused(tar_of(tmp_path / "m.tar", MODEL, ("pipe.json", tarfile.FIFOTYPE, "")), runs, "a device or pipe")


def test_links_in_a_zip_are_refused(tmp_path: Path, runs: Path) -> None:
    path = zip_of(tmp_path / "m.zip", MODEL)
    with zipfile.ZipFile(path, "a") as packed:
        info = zipfile.ZipInfo("extra.json")
        info.external_attr = 0o120777 << 16
        packed.writestr(info, "/etc/passwd")
    refused(path, runs, "holds a link")


def test_links_and_pipes_in_a_folder_are_refused(tmp_path: Path, runs: Path) -> None:
    folder = folder_of(tmp_path / "model", MODEL)
    (folder / "extra.json").symlink_to("/etc/passwd")
    assert "cp -rL" in str(refused(folder, runs, "holds a link").fix)
    (folder / "extra.json").unlink()
    os.mkfifo(folder / "pipe.json")
    refused(folder, runs, "a device or pipe")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "optimizer.pt", "sub/x.PKL", "rng_state.pth", "m.ckpt"])
@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_pickles_are_refused_or_left_out(tmp_path: Path, runs: Path, name: str, kind: str) -> None:
    source = SOURCES[kind](tmp_path, MODEL | {name: b"\x80\x04."})
    error = refused(source, runs, "runs whatever code its author put in")
    assert error.received == name
    assert "--drop-pickles" in str(error.fix)
    run = import_run(source, runs, drop_pickles=True)
    assert not list(run.root.rglob(Path(name).name))
    assert run.read_events()[-1]["left_out"] == [name]


def test_only_pickled_weights_are_no_model(tmp_path: Path, runs: Path) -> None:
    files = {"config.json": MODEL["config.json"], "pytorch_model.bin": b"\x80\x04."}
    refused(folder_of(tmp_path / "model", files), runs, "no safetensors weights", drop_pickles=True)


def test_too_much_is_refused_before_it_is_unpacked(tmp_path: Path, runs: Path) -> None:
    source = zip_of(tmp_path / "m.zip", MODEL | {"big.txt": bytes(3_000_000)})
    refused(source, runs, "GiB once unpacked", max_bytes=2_000_000)


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_bombs_are_stopped(tmp_path: Path, runs: Path, make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_FREE_BYTES", 1_000_000)
    name = "m.zip" if make is zip_of else "m.tar.gz"
    source = make(tmp_path / name, MODEL | {"bomb.txt": bytes(8_000_000)})
    assert source.stat().st_size < 20_000
    refused(source, runs, "100-fold")


def test_too_many_members_are_refused(tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 10)
    many = MODEL | {f"{index}.txt": b"" for index in range(20)}
    refused(zip_of(tmp_path / "m.zip", many), runs, "at most 10 files")
    refused(tar_of(tmp_path / "m.tar", many), runs, "at most 10 files")
    refused(folder_of(tmp_path / "m", many), runs, "at most 10 files")


def test_two_members_of_one_name_are_refused(tmp_path: Path, runs: Path) -> None:
    refused(zip_of(tmp_path / "m.zip", MODEL | {"CONFIG.json": b"{}"}), runs, "two members of one name")


@pytest.mark.parametrize("cut", [0, 4, 30, 110, -1])
def test_truncated_weights_are_refused(tmp_path: Path, runs: Path, cut: int) -> None:
    whole = tensor_file(64)
    refused(folder_of(tmp_path / "m", MODEL | {"model.safetensors": whole[:cut]}), runs, "not a whole safetensors file")


@pytest.mark.parametrize(
    "content",
    [
        tensor_file() + b"x",
        tensor_file(data_offsets=[4, 28]),
        tensor_file(shape=[7]),
        tensor_file(shape=[-6]),
        tensor_file(shape=[True]),
        tensor_file(dtype="F99"),
        tensor_file(data_offsets=[0]),
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"\xff\xff\xff\xff",
        b"\x80\x04\x95" + bytes(40),
    ],
)
def test_files_that_only_claim_to_be_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError, match="not a whole safetensors file"):
        read_header(path)


def test_headers_of_real_files_are_read(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    save_file = pytest.importorskip("safetensors.numpy").save_file
    tensors = {"a": numpy.zeros((3, 5), numpy.float16), "b": numpy.zeros((), numpy.int64), "c": numpy.zeros((0, 4))}
    save_file(tensors, tmp_path / "m.safetensors")
    header = read_header(tmp_path / "m.safetensors")
    assert {name: entry["shape"] for name, entry in header.items()} == {"a": [3, 5], "b": [], "c": [0, 4]}


def test_missing_parts_are_named(tmp_path: Path, runs: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    files = {
        "config.json": MODEL["config.json"],
        "model-1.safetensors": tensor_file(),
        "model.safetensors.index.json": json.dumps(index).encode(),
    }
    assert "model-2.safetensors" in str(refused(folder_of(tmp_path / "m", files), runs, "Parts of the model").received)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"notes.txt": b"x"}, "neither a model nor a run"),
        ({}, "neither a model nor a run"),
        ({"config.json": b"{", "model.safetensors": tensor_file()}, "does not describe a transformers model"),
        ({"config.json": b'{"a": 1}', "model.safetensors": tensor_file()}, "does not describe a transformers model"),
        ({"config.json": b'{"model_type": "x"}'}, "no safetensors weights"),
    ],
)
def test_what_is_no_model(tmp_path: Path, runs: Path, files: dict[str, bytes], says: str) -> None:
    (tmp_path / "m").mkdir()
    refused(folder_of(tmp_path / "m", files), runs, says)


def test_what_is_no_archive(tmp_path: Path, runs: Path) -> None:
    refused(tmp_path / "absent.zip", runs, "nothing at that path")
    (tmp_path / "text.zip").write_text("hello")
    refused(tmp_path / "text.zip", runs, "a file of another kind")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_cut_archive_is_damaged(tmp_path: Path, runs: Path, kind: str) -> None:
    source = SOURCES[kind](tmp_path, MODEL | {"random.txt": os.urandom(50_000)})
    content = bytearray(source.read_bytes())
    if kind == "zip":
        content[20_000:20_100] = bytes(100)
    else:
        del content[20_000:]
    source.write_bytes(content)
    refused(source, runs, "is damaged")


def test_a_damaged_run_is_refused(tmp_path: Path, runs: Path) -> None:
    with pytest.raises(ConfigError, match="no setting"):
        import_run(folder_of(tmp_path / "m", {"config.yaml": b"stepz: 1"}), runs)
    files = {"config.yaml": b"seed: 1", "checkpoints/step-00000001/config.json": b"{"}
    refused(folder_of(tmp_path / "n", files), runs, "does not describe a transformers model")


def test_a_real_model_folder(test_data: Path, runs: Path) -> None:
    source = test_data.parent / "models" / "novel-llama"
    run = import_run(source, runs)
    weights = run.require_checkpoint().path / "model.safetensors"
    assert weights.read_bytes() == (source / "model.safetensors").read_bytes()


def test_no_room(tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    refused(folder_of(tmp_path / "m", MODEL), runs, "not enough disk space")
