"""Load a checkpoint, spiking or float, from a folder or a hub id."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from darkit_nb.errors import DarkitError, ModelError
from darkit_nb.records.bundled import located
from darkit_nb.spikify.quantizer import QUANT_METHOD, trusting  # importing it registers the quantiser with transformers


def load_model(
    path: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None, trust: bool = False
) -> PreTrainedModel:
    """The model saved at `path`, in evaluation mode; spiking when its config says `quant_method = "darkit"`.

    Args:
        path: folder written by `save_pretrained`, name of a bundled model (`stdlib-llama`), or a hub id.
        device: where to put it.
        dtype: floating dtype of the weights; None keeps that of the file.
        trust: agree to run the edits the model was saved with, now and as long as no byte of them changes. Those made
            on this machine are trusted already.

    Raises:
        TrustError: the model has edits from elsewhere; the error shows them.
        PatchError: an edit does not fit the base as it is in this version of transformers.
        ModelError: nothing loadable there. Only safetensors are read, never pickles.
    """
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with trusting(trust):
            model = AutoModelForCausalLM.from_pretrained(located(path), dtype=dtype or "auto", use_safetensors=True)
    except DarkitError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"No model can be loaded from {str(path)!r}.",
            expected=f"a folder with config.json and model.safetensors, spiking ({QUANT_METHOD}) or float, or a hub id",
            received=str(error).strip().splitlines()[0] if str(error) else type(error).__name__,
            cause="the path is wrong, the download is incomplete, or the machine is offline and the id is not cached",
            fix="check the folder, or fetch the model where there is a network and pass its folder",
        ) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    # nn.Module.to by name: transformers wraps its own `to` in a way that hides the argument from type checkers.
    torch.nn.Module.to(model, device)
    return model.eval()
