"""What has to hold of the calibration text, and of what the model makes of it."""

from __future__ import annotations

import psutil
import torch
from torch import Tensor

from darkit_nb.config.launched import launched_here
from darkit_nb.convert.model_source import ModelSource
from darkit_nb.convert.statistics import not_finite
from darkit_nb.errors import DataError
from darkit_nb.records.conversion import ConversionPlan, ConversionSpec
from darkit_nb.train.group import world


def checked_calibration(calibration: Tensor, spec: ConversionSpec, source: ModelSource) -> Tensor:
    """The part of the calibration that is used, `[samples, sample_length]` int64.

    Raises:
        DataError: too few or too short sequences, or tokens the model does not know.
    """
    context = getattr(source.config, "max_position_embeddings", None)
    if context is not None and spec.sample_length > context:
        raise DataError(
            "The calibration sequences are longer than the model's context.",
            expected=f"sample_length ≤ {context}",
            received=str(spec.sample_length),
            fix=f"use sample_length={context}",
        )
    shape = tuple(calibration.shape)
    if len(shape) != 2 or shape[0] < spec.samples or shape[1] < spec.sample_length:
        raise DataError(
            "The calibration text is too short.",
            expected=f"token ids [{spec.samples}, {spec.sample_length}] or more",
            received=str(list(shape)),
            cause="the text holds fewer tokens than samples × sample_length",
            fix="give a longer text, or lower samples and sample_length",
        )
    if calibration.is_floating_point() or calibration.is_complex() or calibration.dtype == torch.bool:
        raise DataError(
            "The calibration text holds no token ids.",
            expected=f"integers 0 … {source.config.vocab_size - 1}",
            received=f"a tensor of {str(calibration.dtype).removeprefix('torch.')}",
            cause="embeddings, logits or a mask were given in place of ids",
            fix="tokenizer(text, return_tensors='pt').input_ids gives ids",
        )
    ids = calibration[: spec.samples, : spec.sample_length].to(torch.int64).contiguous()
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= source.config.vocab_size:
        raise DataError(
            "The calibration text holds tokens this model does not know.",
            expected=f"token ids 0 … {source.config.vocab_size - 1}",
            received=f"{low} … {high}",
            cause="the text was tokenised with another tokenizer than the model was trained with",
            fix="use the tokenizer the model was trained with; files of another one may lie in its folder",
        )
    if world() > len(ids):
        raise DataError(
            "There are more processes than calibration sequences.",
            expected=f"at most {len(ids)} processes",
            received=str(world()),
        )
    return ids


def check_memory(plan: ConversionPlan, spec: ConversionSpec, device: torch.device) -> None:
    """Refuse, before any work, a conversion that the system would have to kill.

    Raises:
        DataError: both streams of activations alone are more than all the memory there is.
    """
    streams = plan.cache_bytes * 2 // 3  # the plan counts a third, which exists for a moment
    if device.type == "cuda":
        where, there = "the device", torch.cuda.get_device_properties(device).total_memory
    else:
        where, there = "this machine", psutil.virtual_memory().total + psutil.swap_memory().total
        there //= min(launched_here(), plan.processes)
    if streams > there:
        fits = max(1, spec.samples * there // (2 * plan.memory_bytes))
        raise DataError(
            "The activations of the calibration text do not fit into memory.",
            expected=f"less than the {there / 1e9:,.1f} GB of {where}"
            + (" for each process" if plan.processes > 1 else ""),
            received=f"{streams / 1e9:,.1f} GB for {spec.samples} × {spec.sample_length} tokens",
            cause="both streams of hidden states are kept from block to block",
            fix=f"use fewer samples, such as samples={fits}, or a shorter sample_length",
        )


def check_finite(stream: list[Tensor], where: str) -> None:
    """Refuse hidden states that are not finite.

    Raises:
        DataError: with the number of sequences concerned.
    """
    faulty = sum(int((~torch.isfinite(hidden)).any(-1).any(-1).sum()) for hidden in stream)
    if faulty:
        raise not_finite(where, faulty, sum(len(hidden) for hidden in stream), "sequences")
