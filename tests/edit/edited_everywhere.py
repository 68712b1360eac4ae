"""Edit every class of a model at once, unchanged, and see it compile, save, train and come back: `name spiking folder`.

A process of its own, because the shape checks that the tests install cannot be traced by torch.compile.
"""

from __future__ import annotations

import io
import sys

import torch

from darkit_nb.edit.apply import apply, make_patch, revert
from darkit_nb.edit.source import module_source
from tests.edit.zoo import build


def main(name: str, spiking: bool, folder: str) -> None:
    """Raises where anything differs."""
    model, run = build(name, spiking=spiking)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    expected = run(model)
    kinds = {path: type(module) for path, module in model.named_modules()}
    compiled = torch.compile(model, backend="eager")
    assert torch.allclose(run(compiled), expected, atol=1e-5), "compiled before"
    classes = {type(module): path for path, module in reversed(list(model.named_modules()))}
    for path in classes.values():
        source = module_source(model, path)
        apply(model, make_patch(model, path, source.text, targets=source.same_class), folder=folder)
    assert torch.equal(run(model), expected), "edited"
    assert torch.allclose(run(compiled), expected, atol=1e-5), "edited and compiled"
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert torch.equal(run(torch.load(file, weights_only=False)), expected), "saved and loaded"
    for each in (model.train(), compiled):
        run(each).float().square().mean().backward()
        optimizer.step()
    assert len(revert(model, count=None, optimizer=optimizer)) == len(classes)
    assert {path: type(module) for path, module in model.named_modules()} == kinds, "reverted"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "True", sys.argv[3])
