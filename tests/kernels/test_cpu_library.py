"""The C++ library under sanitisers, and proof that a bound or a mask taken away is noticed."""

from __future__ import annotations

import re

import pytest

from tests.kernels.library import MEMORY, QUICK, THREADS, Builds, Edit, prove

ROW_TOO_FAR = Edit(
    "gif_law.h",
    "for (; j < rows.features; ++j) {\n        float value = seen<float>",
    "for (; j <= rows.features; ++j) {\n        float value = seen<float>",
)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", ["neurons", "products", "attention", "conversion", "memory"])
def test_no_access_out_of_bounds_and_nothing_undefined(builds: Builds, part: str) -> None:
    done = prove(builds.library(MEMORY.flags), part, sanitiser=MEMORY, seconds=7000)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip() == "clean"


# Threads that the library starts itself, for results of any size: those of torch's OpenMP meet in ways the sanitiser of
# threads does not know.
ON_MANY_THREADS = Edit("threads.h", "dk_threads.region ? 32768 : 262144;", "64;")


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", ["neurons", "products", "attention", "conversion", "memory"])
def test_threads_share_nothing_they_write(builds: Builds, part: str) -> None:
    done = prove(builds.library(THREADS.flags, ON_MANY_THREADS), "alone", part, sanitiser=THREADS, seconds=7000)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip() == "clean"


SHARED_SUMS = Edit(
    "clipping.cpp", "in_parts(call->from.outputs, CHUNK, parts_of", "in_parts(call->from.outputs, 1, parts_of"
)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_race_is_caught(builds: Builds) -> None:
    """The proof that the test above can fail."""
    library = builds.library(THREADS.flags, ON_MANY_THREADS, SHARED_SUMS)
    done = prove(library, "alone", "conversion", sanitiser=THREADS, seconds=1100)
    assert done.returncode != 0
    assert "data race" in done.stderr
    assert "clipping.cpp" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_thousands_of_generated_cases_under_sanitisers(builds: Builds) -> None:
    """Counts of the definition bit for bit, all gradients to their tolerance, over poisoned memory."""
    done = prove(builds.library(MEMORY.flags), "2200", sanitiser=MEMORY, seconds=7000)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    found = re.search(r"(\d+) generated cases", done.stdout)
    assert found is not None
    assert int(found[1]) >= 2000


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_row_read_too_far_is_caught(builds: Builds) -> None:
    """The proof that the tests above can fail."""
    done = prove(builds.library(MEMORY.flags, ROW_TOO_FAR), "neurons", sanitiser=MEMORY, seconds=1100)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    assert "gif.cpp" in done.stderr


MUTATIONS = {
    "a row that ends early": Edit(
        "gif.cpp",
        "for (; j < rows.features; ++j) any |=",
        "for (; j + 1 < rows.features; ++j) any |=",
    ),
    "neurons at the end": Edit("neuron_scan.cpp", "for (; n < end; ++n) forward<", "for (; n + 1 < end; ++n) forward<"),
    "the mask of salient features": Edit("gif_law.h", "out.scale = is_salient ? all<V>(b.scale) : out.scale;", ""),
    "the mask of a row": Edit("gif_law.h", "law.salient + r / masks.rows * features", "law.salient"),
    "a NaN in the range": Edit("gif_law.h", "nan[k] |= value != value;", ""),
    "a thread's share": Edit("threads.h", "if (index < work.parts) run_part(work, index);", "work.done[index] = true;"),
    "a half near a quotient": Edit(
        "vector.h", "if (everywhere<V>(off < 0.5f - near * 0x1p-21f)) return whole;", "return whole;"
    ),
    "codes beyond their ends": Edit("gif_law.h", "return lowest >= group.low && highest <= group.cap;", "return true;"),
    "the second count of a byte": Edit("vector.h", "pairs | pairs >> 4", "pairs | pairs >> 8"),
    "the last bits of a row": Edit("vector.h", "(n % 8 ? *row : 0) | bits << n % 8", "bits << n % 8"),
    "a block in use": Edit("memory.cpp", "Block found = remove(place);", "Block found = idle[place];"),
    "the ties of an end": Edit("gif_backward.cpp", "? gs / high :", "? gs :"),
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("edit", MUTATIONS.values(), ids=MUTATIONS)
def test_what_is_taken_away_is_noticed(builds: Builds, edit: Edit) -> None:
    done = prove(builds.library(QUICK, edit), "neurons", "memory", seconds=1100)
    assert done.returncode != 0, "the run did not notice"
    assert "clean" not in done.stdout
