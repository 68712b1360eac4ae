"""The spiking linear layer on the CPU: many tokens, one token of decoding, and the models made of it.

Products are checked bit for bit against the definition first, models against their own float definition. Decoding
rotates over weights, as a model does: with a single one its bytes would stay in the cache.

Two threads where the machine has two: OMP_NUM_THREADS=2 python -m benchmarks linear_cpu
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.harness import compare
from darkit_nb.evaluate import perplexity
from darkit_nb.functional.gif import gif_encode as law
from darkit_nb.functional.spike_linear import spike_product as product_law
from darkit_nb.functional.weight import QuantisedWeight, weight_encode
from darkit_nb.nn.linear import SpikeLinear
from darkit_nb.nn.packed_linear import PackedSpikeLinear
from darkit_nb.ops import _product_native
from darkit_nb.ops._gif_blocked import GifLaw
from darkit_nb.ops.gif import gif_encode
from darkit_nb.ops.native_build import probe_native
from darkit_nb.ops.spike_product import Products, prepare_products
from darkit_nb.ops.weight_only import FloatProducts, prepare_float_products
from darkit_nb.records.spike_spec import SpikeSpec
from darkit_nb.spikify import spikify

Rivals = dict[str, Callable[[], Any]]
NEURONS = {
    "S=1": (GifLaw(16), False),
    "S=2, 10 % salient": (GifLaw(16, 2), True),
    "S=2, 10 % salient, own range": (GifLaw(16, 2, "rate", "own"), True),
    "S=2, 10 % salient, radix": (GifLaw(16, 2, "radix"), True),
}


def _facts(**facts: Any) -> dict[str, Any]:
    return {**facts, "library": probe_native().finding, "threads": torch.get_num_threads()}


def _at_most(products: Products, x: Tensor, way: int) -> Tensor:
    """The product by a slower way of this processor: 0 plain instructions, 1 VNNI."""
    fastest, _product_native.FASTEST = _product_native.FASTEST, way
    try:
        return products.linear(x, torch.float32)
    finally:
        _product_native.FASTEST = fastest


def _many_tokens(rows: int, features: int, outputs: int, rounds: int) -> Iterator[dict[str, Any]]:
    random = torch.Generator().manual_seed(0)
    x, w = torch.randn(rows, features, generator=random), torch.randn(outputs, features, generator=random)
    mask, codes = torch.rand(features, generator=random) < 0.1, weight_encode(w, 4)
    half = x.bfloat16(), w.bfloat16()
    for name, (neuron, salient) in NEURONS.items():
        chosen = mask if salient else None
        products = prepare_products(codes, None, neuron, chosen)
        alone = prepare_products(codes, None, neuron, chosen, backend="blocked")
        spikes = gif_encode(x, salient=chosen, **vars(neuron))
        exact: Rivals = {
            "encode and multiply, one call": lambda p=products: p.linear(x, torch.float32),
            "multiply": lambda p=products, s=spikes: p.product(s),
            "one call without tiles": lambda p=products: _at_most(p, x, 1),
            "PyTorch alone": lambda p=alone: p.linear(x, torch.float32),
        }
        expected = product_law(law(x, salient=chosen, **vars(neuron)), codes)
        for rival, run_ in exact.items():
            torch.testing.assert_close(run_(), expected, rtol=0, atol=0, msg=rival)
        rivals: Rivals = {"fp32 product": lambda: linear(x, w), "bf16 product": lambda: linear(*half), **exact}
        measured = compare(rivals, agree=lambda _: None, rounds=rounds)
        shape = {"rows": rows, "features": features, "outputs": outputs, "bits": "W4A4"}
        yield {"operation": f"spiking linear, {name}", **_facts(**shape), **measured}


def _one_token(features: int, outputs: int, layers: int, rounds: int) -> Iterator[dict[str, Any]]:
    random = torch.Generator().manual_seed(0)
    weights = [torch.randn(outputs, features, generator=random) for _ in range(layers)]
    x, mask = torch.randn(1, features, generator=random), torch.rand(features, generator=random) < 0.1
    half = x.bfloat16()

    def turning(items: list[Any], multiply: Callable[[Any], Tensor]) -> Callable[[], Tensor]:
        turn = cycle(items)
        return lambda: multiply(next(turn))

    def spiking(bits: int, neuron: GifLaw, salient: Tensor | None) -> Callable[[], Tensor]:
        ready = []
        for w in weights:
            codes = weight_encode(w, bits)
            ready.append(prepare_products(codes, None, neuron, salient))
            expected = product_law(law(x, salient=salient, **vars(neuron)), codes)
            torch.testing.assert_close(ready[-1].linear(x, torch.float32), expected, rtol=0, atol=0)
        return turning(ready, lambda products: products.linear(x, torch.float32))

    def floats(w: Tensor) -> FloatProducts:
        codes = weight_encode(w, 4)
        ready = prepare_float_products(codes, None)
        assert ready is not None, "this benchmark needs the CPU library"
        torch.testing.assert_close(ready.linear(x), linear(x, codes.dequantise()), rtol=1e-4, atol=1e-3)
        return ready

    with torch.no_grad():
        rivals: Rivals = {
            "bf16 weights": turning([w.bfloat16() for w in weights], lambda w: linear(half, w)),
            "fp32 weights": turning(weights, lambda w: linear(x, w)),
            "packed int4, spikes S=1": spiking(4, GifLaw(16), None),
            "packed int4, spikes S=2, own range": spiking(4, GifLaw(16, 2, "rate", "own"), mask),
            "packed 2 bits, spikes S=1": spiking(2, GifLaw(16), None),
            "packed int4, float tokens": turning([floats(w) for w in weights], lambda ready: ready.linear(x)),
        }
        measured = compare(rivals, agree=lambda _: None, rounds=rounds, warm_up=layers)
    shape = {"features": features, "outputs": outputs, "weights": layers}
    yield {"operation": "decode one token", **_facts(**shape), **measured}


def _packed(model: nn.Module, spec: SpikeSpec) -> nn.Module:
    """The model with its spiking layers packed, weights rounded to nearest."""
    model = spikify(model, spec).eval()
    for name, layer in list(model.named_modules()):
        if isinstance(layer, SpikeLinear):
            code = QuantisedWeight(
                ((None, weight_encode(layer.matrix.detach(), spec.weight_bits)),), layer.matrix.shape
            )
            packed = PackedSpikeLinear.from_weight(code, layer.bias, spec, layer.salient)
            model.set_submodule(name, packed.eval())
    return model


def _decoder(layers: int, hidden: int, inner: int, heads: int, groups: int, vocabulary: int, window: int) -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        max_position_embeddings=window,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def _models(
    title: str, model: nn.Module, tokens: int, window: int, rounds: int, batch: int
) -> Iterator[dict[str, Any]]:
    ids = torch.randint(0, 2048, (tokens,), generator=torch.Generator().manual_seed(0))
    models = {"float": model}
    for name, spec in (("shared range", SpikeSpec()), ("own range", SpikeSpec(ranges="own"))):
        models[f"spiking, {name}"] = _packed(copy.deepcopy(model), spec)

    def score(one: nn.Module) -> float:
        return perplexity(one, ids, window=window, batch_size=batch).loss

    def agree(_: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for name, one in models.items():
                exact = one(ids[None, :window]).logits
                with torch.enable_grad():
                    defined = one(inputs_embeds=one.get_input_embeddings()(ids[None, :window])).logits
                scale = float(defined.abs().max())
                off = float((exact - defined).abs().mean()) / scale
                assert off < 0.02, f"{name} is {off:.3f} of its largest logit off its float definition"

    measured = compare({name: lambda m=one: score(m) for name, one in models.items()}, agree=agree, rounds=rounds)
    speed = {name: tokens / seconds["median"] for name, seconds in measured["seconds"].items()}
    facts = _facts(tokens=tokens, window=window, batch=batch, bits="W4A4, S=2, 10 % salient")
    yield {"operation": f"perplexity, {title}", **facts, "tokens_per_second": speed, **measured}


def run(quick: bool) -> Iterator[dict[str, Any]]:
    """One row per operation and shape; `quick` takes small ones."""
    rounds = 3 if quick else 21
    yield from _many_tokens(*((40, 256, 256) if quick else (256, 2048, 2048)), rounds)
    yield from _one_token(*((256, 256, 2) if quick else (4096, 4096, 8)), 4 if quick else 64)
    small = _decoder(*((2, 64, 128, 4, 2, 2048, 64) if quick else (6, 192, 512, 6, 3, 2048, 256)))
    window = 64 if quick else 256
    for batch in (1, 4):
        yield from _models("decoder of 2.8 M parameters", small, 4 * window, window, 3 if quick else 15, batch)
    block = _decoder(*((1, 256, 512, 4, 4, 2048, 64) if quick else (1, 4096, 11008, 32, 32, 2048, 512)))
    length = 64 if quick else 512
    yield from _models("one block of 7B shape", block, length, length, 2 if quick else 5, 1)
