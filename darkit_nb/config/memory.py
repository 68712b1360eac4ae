"""How much memory a training will need, from plain numbers, before anything is built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from darkit_nb.config.run_config import RunConfig
from darkit_nb.config.sections import TrainConfig
from darkit_nb.errors import ConfigError

RUNTIME_BYTES = 450 * 2**20
"""What a process holds before it has a model: Python, torch, transformers (measured resident: 444 MB)."""

_USABLE = 0.95
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class DecoderShape:
    """The numbers of a decoder that memory depends on, in one vocabulary for all families.

    Attributes:
        vocab: V, rows of the embedding.
        positions: Rows of a learned position table; 0 where positions are computed.
        embedding: Width of the embedding, where a projection makes it differ from `width`.
        width: D, features of the residual stream.
        layers: Decoder layers.
        query: Features of all query heads.
        key: Features of all key heads, and of all value heads.
        hidden: Features inside the feed-forward part.
        gated: Whether that part has a gate (three linears) or not (two).
        attention_bias: Biases of query, key and value; the other linears have one only in `plain` families.
        plain: GPT-2 and OPT: biases everywhere and LayerNorm with a bias.
        head_norm: Features of the norms on query and key heads; 0 where there are none.
        tied: Whether the output layer shares the embedding.
    """

    vocab: int
    positions: int
    embedding: int
    width: int
    layers: int
    query: int
    key: int
    hidden: int
    gated: bool
    attention_bias: bool
    plain: bool
    head_norm: int
    tied: bool

    @classmethod
    def read(cls, shape: Mapping[str, Any], default_vocab: int = 32000) -> DecoderShape:
        """Read a transformers-style config of Llama, Qwen, Mistral, GPT-2, OPT or a relative of Llama.

        Args:
            shape: Its fields, `model_type` among them where known.
            default_vocab: Vocabulary where the shape names none.

        Raises:
            ConfigError: width or layers are missing or no positive numbers.
        """
        family = str(shape.get("model_type") or ("gpt2" if "n_embd" in shape else "llama"))
        width = _number(shape, "hidden_size", "n_embd")
        layers = _number(shape, "num_hidden_layers", "n_layer")
        heads = _number(shape, "num_attention_heads", "n_head")
        plain = family in ("gpt2", "opt")
        head = shape.get("head_dim") or (128 if family == "qwen3" else width // heads)
        key_heads = heads if plain else shape.get("num_key_value_heads") or heads
        hidden = _number(shape, "intermediate_size", "ffn_dim", "n_inner", default=4 * width)
        positions = _number(shape, "n_positions", "max_position_embeddings", default=1024)
        return cls(
            vocab=_number(shape, "vocab_size", default=default_vocab),
            positions=0 if not plain else positions + (2 if family == "opt" else 0),
            embedding=_number(shape, "word_embed_proj_dim", default=width) if family == "opt" else width,
            width=width,
            layers=layers,
            query=heads * head,
            key=key_heads * head,
            hidden=hidden,
            gated=not plain,
            attention_bias=plain or family == "qwen2" or bool(shape.get("attention_bias")),
            plain=plain,
            head_norm=2 * head if family == "qwen3" else 0,
            tied=bool(shape.get("tie_word_embeddings", plain)),
        )

    @property
    def linear_weights(self) -> int:
        """Weights of the linears of one layer, without biases."""
        return self.width * (2 * self.query + 2 * self.key + (3 if self.gated else 2) * self.hidden)

    @property
    def num_parameters(self) -> int:
        """Trained numbers, as `model.num_parameters()` counts them."""
        biases = self.query + 2 * self.key if self.attention_bias else 0
        biases += 2 * self.width + self.hidden if self.plain else 0
        norm = 2 * self.width if self.plain else self.width
        layer = self.linear_weights + biases + 2 * norm + self.head_norm
        tables = self.vocab * self.embedding * (1 if self.tied else 2) + self.positions * self.width
        projections = 2 * self.embedding * self.width if self.embedding != self.width else 0
        return tables + projections + self.layers * layer + norm


def _number(shape: Mapping[str, Any], *names: str, default: int | None = None) -> int:
    value = next((shape[name] for name in names if shape.get(name) is not None), default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(
            f"The shape of the model has no usable {names[0]}.",
            expected=f"a positive integer {' or '.join(names)}",
            received=repr(value),
            fix=f"set model.overrides.{names[0]}",
        )
    return value


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes one training process will need.

    Attributes:
        parameters: Weights in float32.
        gradients: One number per weight.
        optimizer: AdamW's two means per weight.
        activations: What the backward pass needs of the forward pass, spike counts, quantised weights and logits.
        runtime: Python and the libraries themselves; 0 on a GPU.
        num_parameters: Number of weights.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    runtime: int
    num_parameters: int

    @property
    def total_bytes(self) -> int:
        """All together."""
        return self.parameters + self.gradients + self.optimizer + self.activations + self.runtime

    def __str__(self) -> str:
        names = ("parameters", "gradients", "optimizer", "activations", "runtime")
        parts = ", ".join(f"{name} {readable(getattr(self, name))}" for name in names)
        return f"{readable(self.total_bytes)} for {self.num_parameters / 1e6:,.1f} M parameters ({parts})"


def readable(size: float) -> str:
    """A number of bytes for people, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit in ("B", "KiB") else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def estimate_memory(config: RunConfig, shape: Mapping[str, Any], *, on_gpu: bool = False) -> MemoryEstimate:
    """Estimate the memory of one training process.

    Weights, gradients and optimizer state are exact; activations are a model of what torch keeps per layer, and agree
    with measured peaks of the nano and micro presets on a CPU within a third.

    Args:
        config: The run.
        shape: Fields of the transformers config, `model_type` included; a missing vocab_size follows the tokenizer.
        on_gpu: Whether the memory meant is a GPU's, which holds no Python.

    Raises:
        ConfigError: the shape lacks what an estimate needs.
    """
    decoder = DecoderShape.read(shape, default_vocab=_vocab_of(config.data.tokenizer))
    weights = decoder.num_parameters * _FLOAT_BYTES
    return MemoryEstimate(
        parameters=weights,
        gradients=weights,
        optimizer=2 * weights,
        activations=_activations(config, decoder),
        runtime=0 if on_gpu else RUNTIME_BYTES,
        num_parameters=decoder.num_parameters,
    )


def _activations(config: RunConfig, decoder: DecoderShape) -> int:
    tokens = config.train.batch_size * config.data.seq_len
    size = _FLOAT_BYTES if config.train.precision == "float32" else 2
    # Residuals and norms; query, key and value before and after rotation and repetition, the attention output; the
    # feed-forward part: gate, value, activation and product, or the chain of terms of an activation without a gate.
    floats = 6 * decoder.width + 5 * decoder.query + 3 * decoder.key + (4 if decoder.gated else 8) * decoder.hidden
    per_layer = tokens * floats * size
    if config.spike is not None:
        inputs = 4 * decoder.width + (2 if decoder.gated else 1) * decoder.width + decoder.hidden
        # Counts and the mask of what was clipped, per input of each linear; the quantised copy of its weights.
        per_layer += tokens * inputs * (2 if config.spike.cap < 256 else 3)
        per_layer += decoder.linear_weights * _FLOAT_BYTES if config.spike.weight_bits < 16 else 0
    # Logits in the compute type, their float32 copy, the softmax and its gradient.
    return decoder.layers * per_layer + tokens * decoder.vocab * (size + 3 * _FLOAT_BYTES)


def _vocab_of(tokenizer: str) -> int:
    """Vocabulary to expect of a tokenizer by its name alone; large where nothing is known."""
    trained = re.fullmatch(r"bpe:(\d+)", tokenizer)
    if trained:
        return max(int(trained[1]), 1)
    return 264 if tokenizer == "bytes" else 50304


def available_memory() -> int:
    """Bytes this process may still use: free memory of the machine, or what its container leaves."""
    free = psutil.virtual_memory().available
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            left = int(Path(limit).read_text()) - int(Path(used).read_text())
        except (OSError, ValueError):
            continue
        # The container's page cache counts as used, but is given back when needed.
        free = min(free, max(left, 0) + _reclaimable(Path(limit).parent))
    return free


def _reclaimable(group: Path) -> int:
    try:
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int(stat.get("inactive_file", 0))
    except (OSError, ValueError):
        return 0


def check_memory(config: RunConfig, shape: Mapping[str, Any], *, available_bytes: int | None = None) -> MemoryEstimate:
    """Refuse a run that cannot fit, with the estimate and what to lower.

    Args:
        config: The run.
        shape: Fields of the transformers config, `model_type` included.
        available_bytes: Free memory of the GPU to be used; None asks this machine for its own.

    Returns: The estimate, when it fits.

    Raises:
        ConfigError: it does not fit.
    """
    on_gpu = available_bytes is not None
    estimate = estimate_memory(config, shape, on_gpu=on_gpu)
    free = available_bytes if available_bytes is not None else available_memory()
    if estimate.total_bytes <= _USABLE * free:
        return estimate
    raise ConfigError(
        "This run does not fit in memory.",
        expected=f"at most {readable(_USABLE * free)}, what is free {'on the GPU' if on_gpu else 'on this machine'}",
        received=f"about {estimate}",
        cause=f"{config.model.path or config.model.preset} with {config.train.batch_size} windows of "
        f"{config.data.seq_len} tokens at once",
        fix=_what_to_lower(config, shape, _USABLE * free, on_gpu),
    )


def _what_to_lower(config: RunConfig, shape: Mapping[str, Any], budget: float, on_gpu: bool) -> str:
    """The gentlest change that fits: fewer windows at once and as many per step, then shorter windows as well."""
    train, length = config.train, config.data.seq_len
    windows = [count for count in (train.batch_size >> shift for shift in range(1, 17)) if count >= 1]
    lengths = [short for short in (length >> shift for shift in range(1, 17)) if short >= 16]
    for count, short in [*((count, length) for count in windows), *((1, short) for short in lengths)]:
        changes = {"train.batch_size": count, "train.gradient_accumulation": _accumulation(train, count)}
        changes |= {"data.seq_len": short} if short != length else {}
        try:
            fits = estimate_memory(config.replace(changes), shape, on_gpu=on_gpu).total_bytes <= budget
        except ConfigError:  # more accumulation than the limit
            continue
        if fits:
            return " ".join(f"{key}={value}" for key, value in changes.items())
    return "choose a smaller model.preset, or a machine with more memory; no batch size is small enough"


def _accumulation(train: TrainConfig, windows: int) -> int:
    """Forward passes per step that keep the number of windows per step."""
    return -(-train.batch_size * train.gradient_accumulation // windows)
