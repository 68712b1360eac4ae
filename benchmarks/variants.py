"""Every specialisation of the CUDA kernels that the host code can ask for, and how to compile many of them at once."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from darkit_nb.ops._gif_kernel import BACKWARD_TEAM, BLOCK, HELD_BYTES, TEAMS
from darkit_nb.ops._launch import kernel_source

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
"""Every generation CUDA 13 compiles for, from T4 to Blackwell."""

DTYPES = {0: "float32", 1: "float16", 2: "bfloat16"}
SIZES = {0: 4, 1: 2, 2: 2}

FUNCTIONS = {
    "gif": "gif_forward",
    "gif_backward": "gif_backward",
    "gif_clip": "gif_clip",
    "neuron_scan": "scan_forward",
    "neuron_scan_backward": "scan_backward",
    "packed_matvec": "packed_matvec",
    "spike_epilogue": "spike_epilogue",
    "spike_linear": "spike_product",
}

Variant = dict[str, int]


def _shapes(x: int, largest: int, *, packed: bool = False) -> Iterator[Variant]:
    """Teams of a GIF kernel: the smallest, one of a warp's size and more, the largest, and the largest that streams."""
    for aligned in (1, 0):
        vec = 16 // SIZES[x] if aligned else 2 if packed else 1
        hold = HELD_BYTES // 16 if aligned else HELD_BYTES // (4 * vec)
        for team in (TEAMS[0], 128, largest, 0):
            threads = max(team or largest, BLOCK)
            shape = {"VEC": vec, "ALIGNED": aligned, "TEAM": team or largest, "HOLD": hold if team else 0}
            yield {**shape, "THREADS": threads}


def _gif() -> Iterator[Variant]:
    unsigned = [*product((0, 2, 3, 4), (1, 5)), (0, 2), (0, 6), *product((1, 2, 3), (15,))]
    signed = [*product((1, 2, 3), (1, 5)), (0, 2), (0, 6), *product((1, 2, 3), (15,))]
    written = [*((0, *each) for each in unsigned), *((1, *each) for each in signed)]
    for x, salient, (sign, q, emit) in product(DTYPES, range(3), written):
        for shape in _shapes(x, TEAMS[-1], packed=q == 4):
            yield {"X": x, "Q": q, "SALIENT": salient, "SIGNED": sign, "EMIT": emit, **shape}


def _gif_backward() -> Iterator[Variant]:
    for x, salient, sign in product(DTYPES, range(3), (0, 1)):
        yield from ({"X": x, "SALIENT": salient, "SIGNED": sign, **shape} for shape in _shapes(x, BACKWARD_TEAM))


def _packs(x: int, vec: int | None = None) -> Iterator[Variant]:
    wide = vec or 16 // SIZES[x]
    return iter(({"VEC": wide, "ALIGNED": 1}, {"VEC": 1, "ALIGNED": 0}))


def _streams() -> Iterator[Variant]:
    yield from ({"X": x, "THREADS": BLOCK, **packs} for x in DTYPES for packs in _packs(x))


NEURONS = ({"INTEGER": 0, "HARD": 0}, {"INTEGER": 0, "HARD": 1}, {"INTEGER": 1, "HARD": 0})


def _neuron_scan() -> Iterator[Variant]:
    for x, neuron, out in product(DTYPES, NEURONS, range(3)):
        if out == 2 and neuron["INTEGER"]:
            continue
        for packs in _packs(x, 8) if out == 2 else _packs(x):
            yield {"X": x, **neuron, "THREADS": 128, "OUT": out, **packs, **({"VEC": 8} if out == 2 else {})}


def _neuron_scan_backward() -> Iterator[Variant]:
    for x, neuron, detach, learn in product(DTYPES, NEURONS, (0, 1), (0, 1)):
        for surrogate in (0,) if neuron["INTEGER"] else range(8):
            for vec, chunk, keep in ((16 // SIZES[x], 4, 0), (4, 8, 0), (4, 8, 1), (4, 8, 2)):
                shape = {"CHUNK": chunk, "KEEP": keep, "SURROGATE": surrogate, "DETACH": detach, "LEARN": learn}
                yield from ({"X": x, **neuron, "THREADS": 128, **shape, **packs} for packs in _packs(x, vec))


def _packed_matvec() -> Iterator[Variant]:
    for x, bits, signed, salient, tokens in product(DTYPES, (1, 2, 4, 8), (0, 1), (0, 1), (1, 4)):
        if signed and bits == 8:
            continue
        for groups, aligned in product((1, 32, 128), (1, 0)):
            numbers = {"GROUPS": groups, "TOKENS": tokens, "OUTS": 2, "ALIGNED": aligned, "THREADS": 128}
            yield {"X": x, "BITS": bits, "SIGNED": signed, "SALIENT": salient, **numbers}


def _spike_linear() -> Iterator[Variant]:
    for q, w, wide in product(range(4), (1, 2), (0, 1)):
        yield {"X": 0, "Q": q, "W": w, "WIDE": wide}


def variants(kernel: str) -> list[Variant]:
    """Settings (without their DK_) of every specialisation of a kernel."""
    makers = {
        "gif": _gif,
        "gif_backward": _gif_backward,
        "gif_clip": _streams,
        "neuron_scan": _neuron_scan,
        "neuron_scan_backward": _neuron_scan_backward,
        "packed_matvec": _packed_matvec,
        "spike_epilogue": _streams,
        "spike_linear": _spike_linear,
    }
    return list(makers[kernel]())


def together(kernel: str, chosen: Iterable[Variant]) -> str:
    """One source with many specialisations, each in a namespace of its own: one start of the compiler for all."""
    source = kernel_source(kernel)
    named = sorted(set(re.findall(r"^\s*#\s*define (\w+)", source, re.MULTILINE)))
    parts: list[str] = []
    for index, variant in enumerate(chosen):
        settings = [f"#define DK_{name} {value}" for name, value in variant.items()]
        undefined = [f"#undef {name}" for name in {*named, *(f"DK_{name}" for name in variant)}]
        function = FUNCTIONS[kernel]
        parts += [*settings, f"#define {function} {function}_{index}", f"namespace variant_{index} {{", source, "}"]
        parts += [*undefined, f"#undef {function}"]
    return "\n".join(parts)


def compiled(nvcc: str, kernel: str, chosen: list[Variant], architecture: int, folder: Path) -> list[tuple[int, int]]:
    """Registers a thread and bytes of spills (loads, stores, stack) of each specialisation.

    Raises:
        RuntimeError: nvcc refused the source, or warned.
    """
    source = folder / f"{kernel}_{architecture}.cu"
    source.write_text(together(kernel, chosen), encoding="utf-8")
    command = [nvcc, "-cubin", "-std=c++17", f"-arch=sm_{architecture}", "-Xptxas", "-v", "-Werror", "all-warnings"]
    done = subprocess.run(
        [*command, str(source), "-o", str(source.with_suffix(".cubin"))], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    found: dict[int, tuple[int, int]] = {}
    for part in done.stderr.split("Compiling entry function '")[1:]:
        index = int(re.match(r"\w+_(\d+)'", part)[1])  # pyright: ignore[reportOptionalSubscript]
        spills = re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", part)
        found[index] = int(re.search(r"Used (\d+) registers", part)[1]), sum(map(int, spills))  # pyright: ignore[reportOptionalSubscript]
    return [found[index] for index in range(len(chosen))]


def covering(chosen: list[Variant]) -> list[Variant]:
    """Few variants in which every value of every setting meets every dtype."""
    facts = [{(variant["X"], name, value) for name, value in variant.items()} for variant in chosen]
    order = sorted(range(len(chosen)), key=lambda index: tuple(chosen[index].values()), reverse=True)
    uncovered, taken = set[tuple[int, str, int]]().union(*facts), list[Variant]()
    while uncovered:
        best = max(order, key=lambda index: len(facts[index] & uncovered))
        taken.append(chosen[best])
        uncovered -= facts[best]
    return taken
