"""Build a decoder of transformers from a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from darkit_nb.errors import ModelError
from darkit_nb.plugins import registry


def build_model(
    preset: str,
    *,
    vocab_size: int | None = None,
    seq_len: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
    eos_id: int | None = None,
    pad_id: int | None = None,
) -> PreTrainedModel:
    """A freshly initialised float decoder.

    Args:
        preset: name in the `model` registry.
        vocab_size: of the tokenizer in use; None keeps the preset's.
        seq_len: longest context in tokens; None keeps the preset's.
        overrides: fields of the transformers config; these win over everything else.
        seed: of the initial weights; the global random state is left untouched.
        eos_id: end-of-text token id, also used as beginning of text.
        pad_id: padding token id.

    Raises:
        PluginError: no such preset, or one that says no family and config.
        ModelError: an override this family does not have or cannot take.
    """
    entry = registry("model").get(preset)
    fields = dict(entry.option("config", dict))
    usual = ", ".join(list(fields)[:5])
    if vocab_size is not None:
        fields["vocab_size"] = vocab_size
    if seq_len is not None:
        fields["max_position_embeddings"] = seq_len
    fields |= {"bos_token_id": eos_id, "eos_token_id": eos_id, "pad_token_id": pad_id}
    family = entry.option("family", str)
    known = AutoConfig.for_model(family)
    unknown = [key for key in overrides or {} if not hasattr(known, key)]
    if unknown:
        raise ModelError(
            f"A {family} model has no such setting.",
            expected=f"fields of the transformers config, such as {usual}",
            received=", ".join(unknown),
            fix="see the config class of this family in transformers",
        )
    fields |= overrides or {}
    try:
        config = AutoConfig.for_model(family, **fields)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except (ValueError, TypeError, RuntimeError, StrictDataclassError) as error:
        raise ModelError(
            f"The preset {preset!r} cannot be built with these settings.",
            expected=f"settings a {family} model can take together",
            received=f"{dict(overrides or {})}: {str(error).strip().splitlines()[-1].strip()}",
            cause="a width that the number of heads does not divide is the usual reason",
        ) from error
    return model
