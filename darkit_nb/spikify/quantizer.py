"""The quantiser plug-in of transformers: `quantization_config.quant_method = "darkit"`.

Importing this module registers it; from then on `AutoModelForCausalLM.from_pretrained` understands our checkpoints.
Of a spikified model float master weights, salient masks and running statistics lie side by side in the safetensors
file; of a converted one packed codes, scales, masks and rotations, and the config says what each layer is made of
(`spikify.converted`). Edits of modules lie in the config, so that weights and the code they were trained with never
part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from darkit_nb.errors import ModelError
from darkit_nb.plugins import registry
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify.attention import reset_choices
from darkit_nb.spikify.converted import make_converted
from darkit_nb.spikify.layers import make_float, make_spiking

QUANT_METHOD = "darkit"
SCHEMA = 3
"""Of a converted model. One with edits is written as 2 and any other as 1, which older versions read."""

_trusting: ContextVar[bool] = ContextVar("_trusting", default=False)


@contextmanager
def trusting(trust: bool) -> Iterator[None]:
    """Whether edits in models that are loaded in this block may be run, and remembered as trusted."""
    token = _trusting.set(trust)
    try:
        yield
    finally:
        _trusting.reset(token)


class DarkitConfig(QuantizationConfigMixin):
    """How a saved model spikes.

    Args:
        spike: `SpikeSpec.to_dict()`; None for a float model that has edits.
        schema: version of this layout.
        patches: edits in effect, `Patch.to_dict()` of each.
        conversion: what a converted model is made of (`spikify.converted`); None for a spikified one.

    Raises:
        ModelError: written by a newer version of this package.
        ConfigError: unknown or impossible spike settings.
    """

    def __init__(
        self,
        spike: dict[str, Any] | None,
        schema: int = SCHEMA,
        patches: Sequence[Mapping[str, Any]] = (),
        conversion: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if schema > SCHEMA:
            raise ModelError(
                "This checkpoint was written by a newer version of darkit-nb.",
                expected=f"schema {SCHEMA} or older",
                received=f"schema {schema}",
                fix="pip install --upgrade darkit-nb",
            )
        # transformers types this as its own enumeration and accepts the name of a plug-in.
        self.quant_method = QUANT_METHOD  # pyright: ignore[reportAttributeAccessIssue]
        self.spike = None if spike is None else SpikeSpec.from_dict(spike).to_dict()
        if conversion is not None:
            self.conversion = dict(conversion)
        self.take(patches)

    def take(self, patches: Sequence[Mapping[str, Any]]) -> None:
        """Carry these edits, and no others."""
        vars(self).pop("patches", None)
        self.schema = 3 if hasattr(self, "conversion") else 2 if patches else 1
        if patches:
            self.patches = [dict(patch) for patch in patches]

    @property
    def spec(self) -> SpikeSpec | None:
        """The settings as a `SpikeSpec`; None for a float model."""
        return None if self.spike is None else SpikeSpec.from_dict(self.spike)

    @property
    def parts(self) -> dict[str, Any] | None:
        """What a converted model is made of, None for any other."""
        return getattr(self, "conversion", None)


class DarkitQuantizer(HfQuantizer):
    """Swaps in spiking layers and edited modules before weights are loaded."""

    @property
    def _config(self) -> DarkitConfig:
        return cast(DarkitConfig, self.quantization_config)

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **_: Any) -> None:
        if self._config.parts is not None:
            make_converted(model, self._config.parts, self._config.spec)
        elif self._config.spec is not None:
            make_spiking(model, self._config.spec)
        if patches := getattr(self._config, "patches", None):
            registry("edit").get("load").load()(model, patches, trust=_trusting.get())

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_: Any) -> PreTrainedModel:
        if not self.pre_quantized:
            reset_choices(model)
        if getattr(self._config, "patches", None):
            registry("edit").get("loaded").load()(model)
        return model

    def _dequantize(self, model: PreTrainedModel, dtype: Any = None) -> PreTrainedModel:
        refuse_converted(model)
        make_float(model)
        return model

    def get_state_dict_and_metadata(self, model: PreTrainedModel) -> tuple[None, dict[str, Any]]:
        """Called by `save_pretrained` before it writes anything: the config is to carry the edits there are now."""
        patches = registry("edit").get("save").load()(model)
        self._config.take(patches)
        model.config.quantization_config = self._config
        if self._config.spec is None and self._config.parts is None and not patches:
            self.remove_quantization_config(model)
        return None, {}

    def is_serializable(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride] - no type there
        """Always: everything is an ordinary tensor."""
        return True

    @property
    def is_trainable(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride] - no type there
        """Straight-through training works on the float masters."""
        return True

    @property
    def is_qat_trainable(self) -> bool:
        """Training sees the quantised values."""
        return True


def refuse_converted(model: nn.Module) -> None:
    """A converted model has no way back.

    Raises:
        ModelError: it is one.
    """
    config = getattr(getattr(model, "config", None), "quantization_config", None)
    if isinstance(config, DarkitConfig) and config.parts is not None:
        raise ModelError(
            "A converted model has no float weights to go back to.",
            expected="a model made spiking by spikify(model), which keeps its float weights",
            received=f"a model converted by {config.parts['spec']['pipeline']!r}",
            cause="conversion rounds weights and folds scales and rotations into them for good",
            fix="load the float model it was converted from",
        )


def mark_quantized(model: PreTrainedModel, spec: SpikeSpec | None) -> None:
    """Tell transformers that this model is quantised by us, so that saving writes how into its config."""
    config = DarkitConfig(spike=None if spec is None else spec.to_dict())
    marks: dict[str, Any] = {
        "hf_quantizer": DarkitQuantizer(config, pre_quantized=True),
        "is_quantized": True,
        "quantization_method": config.quant_method,
    }
    model.config.quantization_config = config
    for name, value in marks.items():
        setattr(model, name, value)


def carry_edits(model: nn.Module) -> None:
    """See to it that `save_pretrained` writes the edits of a model, also where nothing spikes in it."""
    if isinstance(model, PreTrainedModel) and getattr(model, "hf_quantizer", None) is None:
        mark_quantized(model, None)


# Not as decorators: those hide the classes from type checkers.
register_quantization_config(QUANT_METHOD)(DarkitConfig)
register_quantizer(QUANT_METHOD)(DarkitQuantizer)
