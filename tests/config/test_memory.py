"""The memory estimate: exact in weights, honest in activations, and it refuses what cannot fit."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from darkit_nb.config import RunConfig, load_config
from darkit_nb.config.memory import DecoderShape, available_memory, check_memory, estimate_memory, readable
from darkit_nb.errors import ConfigError
from darkit_nb.plugins import registry

GIB = 2**30
LLAMA_7B = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "intermediate_size": 11008, "vocab_size": 32000, "tie_word_embeddings": False,
}  # fmt: skip
NANO = LLAMA_7B | {
    "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 512, "vocab_size": 264, "tie_word_embeddings": True,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "llama": NANO,
    "llama untied": NANO | {"tie_word_embeddings": False, "head_dim": 48},
    "qwen2": NANO | {"model_type": "qwen2"},
    "qwen3": NANO | {"model_type": "qwen3", "head_dim": 32},
    "qwen3 default head": NANO | {"model_type": "qwen3"},
    "mistral": NANO | {"model_type": "mistral", "head_dim": 32},
    "gpt2": {"model_type": "gpt2", "n_embd": 96, "n_layer": 3, "n_head": 4, "vocab_size": 500, "n_positions": 64},
    "gpt2 inner": {"model_type": "gpt2", "n_embd": 96, "n_layer": 2, "n_head": 4, "vocab_size": 500, "n_inner": 100},
    "opt": {
        "model_type": "opt", "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_dim": 200,
        "vocab_size": 500, "max_position_embeddings": 64, "word_embed_proj_dim": 96,
    },
    "opt projected": {
        "model_type": "opt", "hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 200,
        "vocab_size": 500, "max_position_embeddings": 64, "word_embed_proj_dim": 48,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_weights_are_counted_as_transformers_counts_them(name: str) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = SHAPES[name]
    fields = {key: value for key, value in shape.items() if key != "model_type"}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(shape["model_type"], **fields))
    assert DecoderShape.read(shape).num_parameters == model.num_parameters()


def test_llama_7b() -> None:
    estimate = estimate_memory(RunConfig(), LLAMA_7B)
    assert estimate.num_parameters == 6_738_415_616
    assert estimate.parameters == estimate.gradients == 4 * estimate.num_parameters
    assert estimate.optimizer == 2 * estimate.parameters
    assert estimate.total_bytes > 100 * GIB


def test_every_preset_can_be_estimated() -> None:
    models = list(registry("model"))
    assert models
    for entry in models:
        estimate = estimate_memory(RunConfig(), {"model_type": entry.options["family"], **entry.options["config"]})
        assert estimate.total_bytes > estimate.runtime
    assert "spike-llama-nano" in registry("model")


def test_the_vocabulary_follows_the_tokenizer_where_the_shape_names_none() -> None:
    shape = {key: value for key, value in NANO.items() if key != "vocab_size"}
    sizes = [
        estimate_memory(load_config(None, [f"data.tokenizer={name}"]), shape).num_parameters
        for name in ("bytes", "bpe:2048", "gpt2")
    ]
    assert [size - sizes[0] for size in sizes[1:]] == [128 * (2048 - 264), 128 * (50304 - 264)]


def test_what_makes_activations_grow() -> None:
    def activations(*overrides: str) -> int:
        return estimate_memory(load_config(None, overrides), NANO).activations

    assert activations("train.batch_size=32") > 1.8 * activations("train.batch_size=16")
    assert activations("data.seq_len=512") > 1.8 * activations()
    assert activations("train.precision=bfloat16") < activations()
    assert activations("spike=null") < activations()
    assert activations("spike.weight_bits=16") < activations()
    assert activations("spike.num_levels=256") > activations()


def test_a_run_that_fits_is_let_through() -> None:
    assert check_memory(RunConfig(), NANO, available_bytes=8 * GIB).runtime == 0
    assert check_memory(RunConfig(), NANO).total_bytes < available_memory()


def test_a_preset_that_cannot_fit_is_refused_with_the_estimate() -> None:
    with pytest.raises(ConfigError, match="does not fit in memory") as caught:
        check_memory(RunConfig(), LLAMA_7B, available_bytes=24 * GIB)
    assert "22.8 GiB" in str(caught.value.expected)
    assert "6,738.4 M parameters" in str(caught.value.received)
    assert "optimizer 50.2 GiB" in str(caught.value.received)
    assert "smaller model.preset" in str(caught.value.fix)


@pytest.mark.parametrize("gib", [0.3, 0.1, 0.03])
def test_the_advice_really_fits(gib: float) -> None:
    config = load_config(None, ["train.batch_size=64", "data.seq_len=1024"])
    with pytest.raises(ConfigError) as caught:
        check_memory(config, NANO, available_bytes=int(gib * GIB))
    advice = str(caught.value.fix).split()
    assert advice[0].startswith("train.batch_size=")
    lowered = load_config(None, ["train.batch_size=64", "data.seq_len=1024", *advice])
    check_memory(lowered, NANO, available_bytes=int(gib * GIB))
    assert lowered.train.batch_size * lowered.train.gradient_accumulation >= 64


def test_a_shape_without_a_width_is_refused() -> None:
    with pytest.raises(ConfigError, match="no usable hidden_size"):
        estimate_memory(RunConfig(), {"model_type": "mamba"})
    with pytest.raises(ConfigError, match="no usable num_attention_heads"):
        estimate_memory(RunConfig(), NANO | {"num_attention_heads": 0})


def test_sizes_are_readable() -> None:
    assert [readable(size) for size in (5, 2048, 3 * 2**20, 1.5 * 2**40)] == ["5 B", "2 KiB", "3.0 MiB", "1.5 TiB"]


def test_an_estimate_needs_no_torch() -> None:
    code = (
        "import sys\nfrom darkit_nb.config.memory import *\nfrom darkit_nb.config import RunConfig\n"
        f"check_memory(RunConfig(), {NANO!r}, available_bytes=2**33)\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
