"""How long a conversion will take: its parts counted in operations of float32 products, and how many a second do.

What is no product is counted as the products that take as long: constants here were measured on the CPU, conversions of
a model of 2.8 M parameters with 8 192 calibration tokens (what goes by token) and layers of 4 096 × 4 096 (what goes by
weight), and hold to about a factor of 1.5 there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from darkit_nb.convert.narrowing import KEPT_SHARES
from darkit_nb.convert.rounding import SHARES
from darkit_nb.convert.sensitivity import FELT_TOKENS, part_width
from darkit_nb.records.conversion import ConversionSpec

PROBE_SIZE, PROBE_SECONDS = 512, 0.03
"""Of the square products that tell how fast this machine is, and how much processor time each measurement takes."""

Shape = tuple[int, int]
"""Outputs and inputs of a linear layer."""

RUNS = 3.5
"""Runs of all tokens through a block: float, coded, and those that errors of layers are measured with."""
STREAM_RUNS = 1.4
"""Runs of one stream that lead to the inputs of all layers, the block cut off behind each."""
TOKEN_FEATURE = 1300.0
"""Attention, activations, codes and statistics of a run, for each token and feature that a linear layer reads."""
NARROWED = 860.0
"""Cutting and coding one hidden feature of a token once."""
WEIGHT = 25_000.0
"""Reading, folding, coding, packing and saving one weight."""
SEARCHED = 2_500.0
"""The search for the range of one weight."""
BINARY = 40_000.0
"""A weight of PB-LLM: sorted, and coded feature by feature without the library."""
ROTATED = 4.3
"""Rotating a weight in float64, for each weight and width of the stream."""
FACTORED, PULLED = 4.0, 1.6
"""Factors of a Hessian in float64, times its features cubed."""
SWEPT, DESCENDED, MOVED = 1.6, 4.3, 5.4
"""A GPTQ sweep, a pass over codes and the move towards the float stream, for each weight and feature."""
GRADIENT_RUNS = 7.0
"""Runs that gradients take: forward, forward and back through all blocks, and again inside of each."""
TRAINED_TOKEN = 3.0
"""A step of training, in runs of its tokens through the block."""
LEARNED = 1.6
"""What learned matrices in front of the layers make of that."""
TRAINED_WEIGHT = 600.0
"""A step of training, for each weight: coded anew and differentiated."""


def block_work(spec: ConversionSpec, groups: Sequence[Sequence[Shape]], hidden: int) -> float:
    """Operations that converting one block takes as long as.

    Args:
        spec: what to do.
        groups: linear layers of a block, those that share an input together.
        hidden: width of the residual stream.
    """
    layers, tokens = [layer for group in groups for layer in group], spec.samples * spec.sample_length
    weights = sum(outputs * inputs for outputs, inputs in layers)
    run = tokens * (2.0 * weights + TOKEN_FEATURE * sum(inputs for _, inputs in layers))
    work = RUNS * run + WEIGHT * weights
    if spec.rotation in ("hadamard", "split"):
        work += ROTATED * weights * hidden
    if spec.rotation == "split":
        work += run
    if spec.weights not in ("rtn", "lwc") or spec.clip_search or spec.float_target:
        work += _compensation(spec, groups, tokens, run)
    if spec.shapes_errors:
        work += _shaping(layers, min(tokens, FELT_TOKENS), run / tokens)
    if spec.hidden_clip:
        work += NARROWED * len(KEPT_SHARES) * tokens * max(inputs for _, inputs in layers)
    if spec.norm_clip:
        work += NARROWED * len(KEPT_SHARES) * tokens * 2 * hidden
    trained_run = run * (LEARNED if spec.rotation == "learned" else 1.0)
    return work + spec.refine_epochs * (TRAINED_TOKEN * trained_run + TRAINED_WEIGHT * spec.samples * weights)


def _shaping(layers: Sequence[Shape], tokens: int, run: float) -> float:
    """Gradients of some tokens behind all blocks and inside of this one, their moments and the factors of these."""
    work = GRADIENT_RUNS * tokens * run
    for outputs, _ in layers:
        width = part_width(outputs)
        work += 2.0 * tokens * outputs * width + FACTORED * outputs * width**2
    return work


def _compensation(spec: ConversionSpec, groups: Sequence[Sequence[Shape]], tokens: int, run: float) -> float:
    """Statistics of all inputs, factors, and everything around GPTQ's sweep."""
    streams = 2 if spec.float_target else 1
    work = streams * STREAM_RUNS * run
    # Two groups of features have scales of their own where there is something to try.
    sweeps = 1 + 2 * len(SHARES) if spec.scale_sweep else 1
    by_feature = SWEPT * sweeps + DESCENDED * spec.code_passes + (MOVED if spec.float_target else 0.0)
    by_weight = (SEARCHED if spec.clip_search else 0.0) + (BINARY if spec.weights == "pb_llm" else 0.0)
    for group in groups:
        inputs = group[0][1]
        factors = (FACTORED if spec.weights != "rtn" else 0.0) + (PULLED if spec.float_target else 0.0)
        work += 2.0 * streams * tokens * inputs**2 + factors * inputs**3
        work += sum(outputs for outputs, _ in group) * inputs * (by_feature * inputs + by_weight)
    return work


def machine_flops() -> float:
    """Floating point operations a second of float32 products on this machine were it idle.

    Counted by processor time of one thread, times threads: neither other programs nor threads that wait for a turn
    change that much. The best of three short measurements.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one, other = torch.randn(PROBE_SIZE, PROBE_SIZE), torch.randn(PROBE_SIZE, PROBE_SIZE)
        torch.mm(one, other)
        return max(_flops_of(one, other) for _ in range(3)) * threads
    finally:
        torch.set_num_threads(threads)


def _flops_of(one: torch.Tensor, other: torch.Tensor) -> float:
    """Operations a second of processor time."""
    begun, count, used = time.thread_time(), 0, 0.0
    while used < PROBE_SECONDS:
        torch.mm(one, other)
        count, used = count + 1, time.thread_time() - begun
    return 2.0 * PROBE_SIZE**3 * count / used
