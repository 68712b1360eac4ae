"""The plan of a conversion, known before a weight is read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig

from darkit_nb.config.conversions import PRESETS, preset
from darkit_nb.convert import conversion_plan, convert_model
from darkit_nb.convert.plan_time import block_work, machine_flops
from darkit_nb.errors import ModelError
from tests.convert.decoders import CONFIGS, decoder

LLAMA_7B = LlamaConfig(dtype=torch.float16)
LLAMA_70B = LlamaConfig(
    hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64, num_key_value_heads=8,
    dtype=torch.float16,
)  # fmt: skip


def test_seven_and_seventy_billion_parameters_need_one_block_at_a_time():
    small, large = (conversion_plan(config, preset("darkit")) for config in (LLAMA_7B, LLAMA_70B))
    assert (small.parameters, small.blocks) == (6_738_415_616, 32)
    assert (large.parameters, large.blocks) == (68_976_648_192, 80)
    # Four bits a weight, embeddings and head in 16: about a quarter of the model.
    assert 3.5e9 < small.disk_bytes < 4.6e9
    # A block of the large one is 0.86 G parameters; the whole would be 276 GB in float32.
    assert large.resident_bytes < 55e9
    # Three streams of the text, and what shaped rounding keeps of 4096 tokens behind every block.
    assert large.cache_bytes == (3 * 128 * 2048 + 81 * 4096) * 8192 * 4
    unshaped = conversion_plan(LLAMA_70B, preset("darkit", shaped_rounding=False))
    assert unshaped.cache_bytes == 3 * 128 * 2048 * 8192 * 4
    assert "80 blocks, 68,976.6 M parameters" in large.lines[0]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_plan(name):
    plan = conversion_plan(decoder("llama"), preset(name, samples=4, sample_length=16))
    assert plan.seconds_estimate is not None
    assert plan.seconds_estimate > 0
    assert len(plan.lines) == 6


SMALL = [[(192, 192), (96, 192), (96, 192)], [(192, 192)], [(512, 192)] * 2, [(192, 512)]]
MEASURED = {
    **{"rtn": 3.0, "smoothquant": 3.3, "gptq": 4.1, "pb-llm": 5.8},
    **{"spikellm-gptq": 4.7, "quarot": 4.3, "darkit": 13.4},
}
"""Seconds of one thread that reached 180 GFLOP a second, for six such blocks and 32 × 256 tokens."""


@pytest.mark.parametrize("name", MEASURED)
def test_what_was_measured_once_is_what_is_estimated(name):
    work = 6 * block_work(preset(name, samples=32, sample_length=256), SMALL, 192)
    assert 1 / 1.5 < work / 180e9 / MEASURED[name] < 1.5


def test_the_speed_of_the_machine_is_found_while_it_is_busy():
    threads = torch.get_num_threads()
    quiet = machine_flops()
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(6 * (os.cpu_count() or 1))]
    try:
        busy = machine_flops()
    finally:
        for each in others:
            each.kill()
            each.wait()
    assert 0.2 < busy / quiet < 5  # by the clock it would be a seventh
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_family_is_counted_whole(kind):
    model = decoder(kind)
    plan = conversion_plan(model, preset("rtn", samples=4, sample_length=16))
    assert plan.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_a_rotation_adds_a_head_on_disk_where_there_was_none():
    table = 97 * decoder("llama").config.hidden_size * 8
    bytes_of = {
        (tied, name): conversion_plan(decoder("llama", tie_word_embeddings=tied), preset(name)).disk_bytes
        for tied in (True, False)
        for name in ("gptq", "quarot")
    }
    assert bytes_of[False, "gptq"] - bytes_of[True, "gptq"] == table
    assert bytes_of[False, "quarot"] == bytes_of[True, "quarot"]


def test_the_disk_that_is_planned_is_the_disk_that_is_used(tmp_path: Path):
    model = decoder("llama", dtype=torch.float32, hidden_size=64, intermediate_size=192)
    spec = preset("quarot", samples=4, sample_length=16)
    plan = conversion_plan(model, spec, out=tmp_path / "deep" / "out")
    report = convert_model(model, spec, calibration=torch.randint(0, 97, (4, 16)), out=tmp_path / "out")
    # Scales, zero points and statistics of neurons are a large share of so small a model.
    assert 0.5 < plan.disk_bytes / report.saved_bytes < 1.5
    assert "free" in plan.lines[4]
    shutil.rmtree(tmp_path / "out")


def test_a_config_alone_cannot_be_converted(tmp_path: Path):
    spec = preset("rtn", samples=1, sample_length=16)
    tiny = LlamaConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
    with pytest.raises(ModelError, match="holds no weights"):
        convert_model(tiny, spec, calibration=torch.zeros(1, 16, dtype=torch.int64), out=tmp_path / "out")  # pyright: ignore[reportArgumentType]


PEAK = """
import re, sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, LlamaConfig
from darkit_nb.config.conversions import preset
from darkit_nb.convert import conversion_plan, convert_model

def memory(name):
    return 1024 * int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))

name, tied, folder = sys.argv[1], sys.argv[2] == "True", Path(sys.argv[3])

def convert(vocabulary, folder):
    config = LlamaConfig(
        hidden_size=128, intermediate_size=256, num_hidden_layers=1, num_attention_heads=2, vocab_size=vocabulary,
        tie_word_embeddings=tied, dtype=torch.float32,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "float")
    spec = preset(name, samples=1, sample_length=64)
    ids = torch.randint(0, vocabulary, (1, 64))
    plan = conversion_plan(folder / "float", spec)
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    convert_model(folder / "float", spec, calibration=ids, out=folder / "out")
    return memory("VmHWM") - before, plan.memory_bytes

convert(100, folder / "small")  # libraries are loaded now
print(*convert(400_000, folder / "large"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system has to tell the peak of memory, and begin it anew")
@pytest.mark.parametrize(("name", "tied"), [("rtn", True), ("quarot", True), ("quarot", False)])
def test_the_memory_that_is_planned_for_a_large_vocabulary_is_what_is_held(name: str, tied: bool, tmp_path: Path):
    command = [sys.executable, "-c", PEAK, name, str(tied), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    held, planned = map(int, done.stdout.split()[-2:])
    assert 0.8 < planned / held < 1.25
