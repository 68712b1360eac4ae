"""The quantiser plug-in of transformers: `quantization_config.quant_method = "darkit"`.

Importing this module registers it; from then on `AutoModelForCausalLM.from_pretrained` understands our checkpoints.
Float master weights, salient masks and running statistics lie side by side in the safetensors file.
"""

from __future__ import annotations

from typing import Any, cast

from transformers import PreTrainedModel
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from darkit_nb.errors import ModelError
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify.attention import reset_choices
from darkit_nb.spikify.layers import make_float, make_spiking

QUANT_METHOD = "darkit"
SCHEMA = 1


class DarkitConfig(QuantizationConfigMixin):
    """How a saved model spikes.

    Args:
        spike: `SpikeSpec.to_dict()`.
        schema: version of this layout.

    Raises:
        ModelError: written by a newer version of this package.
        ConfigError: unknown or impossible spike settings.
    """

    def __init__(self, spike: dict[str, Any], schema: int = SCHEMA, **_: Any) -> None:
        if schema > SCHEMA:
            raise ModelError(
                "This checkpoint was written by a newer version of darkit-nb.",
                expected=f"schema {SCHEMA} or older",
                received=f"schema {schema}",
                fix="pip install --upgrade darkit-nb",
            )
        # transformers types this as its own enumeration and accepts the name of a plug-in.
        self.quant_method = QUANT_METHOD  # pyright: ignore[reportAttributeAccessIssue]
        self.schema = schema
        self.spike = SpikeSpec.from_dict(spike).to_dict()

    @property
    def spec(self) -> SpikeSpec:
        """The settings as a `SpikeSpec`."""
        return SpikeSpec.from_dict(self.spike)


class DarkitQuantizer(HfQuantizer):
    """Swaps in spiking layers before weights are loaded."""

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **_: Any) -> None:
        make_spiking(model, cast(DarkitConfig, self.quantization_config).spec)

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_: Any) -> PreTrainedModel:
        if not self.pre_quantized:
            reset_choices(model)
        return model

    def _dequantize(self, model: PreTrainedModel, dtype: Any = None) -> PreTrainedModel:
        make_float(model)
        return model

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


# Not as decorators: those hide the classes from type checkers.
register_quantization_config(QUANT_METHOD)(DarkitConfig)
register_quantizer(QUANT_METHOD)(DarkitQuantizer)
