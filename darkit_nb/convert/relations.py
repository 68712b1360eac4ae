"""Which layer feeds which: the one table by which scales and rotations are folded into a decoder's weights.

A fold is exact only along a relation that is linear: a norm's gain into the layers behind it, a scale or rotation of
the values of a head from the value layer into the output layer, a scale of hidden features through an activation that
passes positive factors on. Names are relative to one decoder block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from darkit_nb.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class Family:
    """The relations of one family of decoders.

    Attributes:
        name: for messages.
        model_types: `config.model_type` of the models it describes.
        blocks: dotted name of the list of decoder blocks.
        embeddings: dotted names of all modules that write into the residual stream before the first block.
        final_norm, head: dotted names of what follows the last block.
        attention: name of the self-attention.
        attention_norm, attention_inputs: the norm before the attention and the layers that read it.
        value: layer that makes values; the last third of its outputs where it makes queries and keys as well.
        fused: queries, keys and values come from one layer.
        output: layer that reads the heads and writes into the residual stream.
        mlp_norm, mlp_inputs: the norm before the MLP and the layers that read it.
        down: layer that reads the hidden features and writes into the residual stream.
        scaled_by: the layer whose outputs pass positive factors on to `down`; None where the activation does not.
        centred: norms subtract the mean (LayerNorm); centring has to be folded before a rotation.
    """

    name: str
    model_types: tuple[str, ...]
    blocks: str
    embeddings: tuple[str, ...]
    final_norm: str
    head: str = "lm_head"
    attention: str
    attention_norm: str
    attention_inputs: tuple[str, ...]
    value: str
    fused: bool = False
    output: str
    mlp_norm: str
    mlp_inputs: tuple[str, ...]
    down: str
    scaled_by: str | None
    centred: bool = False

    @property
    def norms(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Norm and the layers that read it, in the order of the block."""
        return (self.attention_norm, self.attention_inputs), (self.mlp_norm, self.mlp_inputs)

    @property
    def writers(self) -> tuple[str, str]:
        """Layers that write into the residual stream."""
        return self.output, self.down

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Layers that share an input, in the order of the block: what is coded together."""
        return self.attention_inputs, (self.output,), self.mlp_inputs, (self.down,)

    def group_of(self, name: str) -> str:
        """The first layer of the group a layer is in."""
        return next(group[0] for group in self.groups if name in group)

    @property
    def linears(self) -> tuple[str, ...]:
        """Every linear layer of a block, in order."""
        return tuple(name for group in self.groups for name in group)


_LLAMA: dict[str, Any] = {
    "blocks": "model.layers",
    "embeddings": ("model.embed_tokens",),
    "final_norm": "model.norm",
    "attention": "self_attn",
    "attention_norm": "input_layernorm",
    "attention_inputs": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "value": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp_inputs": ("mlp.gate_proj", "mlp.up_proj"),
    "down": "mlp.down_proj",
    "scaled_by": "mlp.up_proj",
}

FAMILIES: tuple[Family, ...] = (
    Family(name="Llama", model_types=("llama",), **_LLAMA),
    # Norms on queries and keys of Qwen3 lie behind the layers folded here, and stay as they are.
    Family(name="Qwen", model_types=("qwen2", "qwen3"), **_LLAMA),
    Family(name="Mistral", model_types=("mistral",), **_LLAMA),
    Family(
        name="GPT-2",
        model_types=("gpt2",),
        blocks="transformer.h",
        embeddings=("transformer.wte", "transformer.wpe"),
        final_norm="transformer.ln_f",
        attention="attn",
        attention_norm="ln_1",
        attention_inputs=("attn.c_attn",),
        value="attn.c_attn",
        fused=True,
        output="attn.c_proj",
        mlp_norm="ln_2",
        mlp_inputs=("mlp.c_fc",),
        down="mlp.c_proj",
        scaled_by=None,
        centred=True,
    ),
    Family(
        name="OPT",
        model_types=("opt",),
        blocks="model.decoder.layers",
        embeddings=("model.decoder.embed_tokens", "model.decoder.embed_positions"),
        final_norm="model.decoder.final_layer_norm",
        attention="self_attn",
        attention_norm="self_attn_layer_norm",
        attention_inputs=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        value="self_attn.v_proj",
        output="self_attn.out_proj",
        mlp_norm="final_layer_norm",
        mlp_inputs=("fc1",),
        down="fc2",
        scaled_by="fc1",
        centred=True,
    ),
)
"""Every family that can be converted."""


def family_of(config: Any) -> Family:
    """The relations of the model a transformers config describes.

    Raises:
        ModelError: another architecture, or a variant of a known one whose relations differ.
    """
    kind = getattr(config, "model_type", None)
    for family in FAMILIES:
        if kind in family.model_types:
            _check_variant(family, config)
            return family
    names = ", ".join(f"{family.name} ({', '.join(family.model_types)})" for family in FAMILIES)
    raise ModelError(
        "This architecture cannot be converted.",
        expected=names,
        received=f"model_type={kind!r}",
        cause="scales and rotations are folded along a table of relations, and it holds none for this architecture",
        fix="spikify(model) works on any decoder: it rounds without calibration, and can be trained",
    )


def _check_variant(family: Family, config: Any) -> None:
    faults = {
        "do_layer_norm_before=False": family.name == "OPT" and not getattr(config, "do_layer_norm_before", True),
        "_remove_final_layer_norm=True": family.name == "OPT" and getattr(config, "_remove_final_layer_norm", False),
        "word_embed_proj_dim ≠ hidden_size": family.name == "OPT"
        and getattr(config, "word_embed_proj_dim", None) not in (None, config.hidden_size),
        "layer_norm_elementwise_affine=False": family.name == "OPT"
        and not getattr(config, "layer_norm_elementwise_affine", True),
        f"activation_function={getattr(config, 'activation_function', None)!r}": family.name == "OPT"
        and getattr(config, "activation_function", "relu") != "relu",
        "add_cross_attention=True": bool(getattr(config, "add_cross_attention", False)),
        "0 blocks": getattr(config, "num_hidden_layers", 1) < 1,  # as written by hand it may lack what has a default
    }
    found = [fault for fault, present in faults.items() if present]
    if found:
        raise ModelError(
            f"This variant of {family.name} cannot be converted.",
            expected=f"{family.name} with one block at least, norms before attention and MLP, and one width throughout",
            received=", ".join(found),
            cause="the relations between its layers are not those of the table",
        )


def _default(width: int | None, heads: int, hidden: int) -> int:
    return width or hidden // heads


@dataclass(frozen=True)
class Widths:
    """Sizes of a decoder's parts: `hidden` D, `heads`, `kv_heads` and `head` K of the attention, `inner` of the MLP."""

    hidden: int
    heads: int
    kv_heads: int
    head: int
    inner: int
    blocks: int
    vocabulary: int


def widths_of(config: Any) -> Widths:
    """Sizes from a transformers config, whatever the family calls them."""
    heads = config.num_attention_heads
    inner = next(
        (value for name in ("intermediate_size", "n_inner", "ffn_dim") if (value := getattr(config, name, None))),
        4 * config.hidden_size,
    )
    return Widths(
        hidden=config.hidden_size,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head=_default(getattr(config, "head_dim", None), heads, config.hidden_size),
        inner=inner,
        blocks=config.num_hidden_layers,
        vocabulary=config.vocab_size,
    )
