"""Listen to modules while a model runs, and be gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

Before = Callable[[str, nn.Module, tuple[Any, ...], dict[str, Any]], None]
After = Callable[[str, nn.Module, Any], None]


@contextmanager
def listening(modules: Iterable[tuple[str, nn.Module]], before: Before, after: After) -> Iterator[None]:
    """Call `before` and `after` around every call of some modules, also where it raises: then with None as the output.

    TorchScript takes no hooks from Python. A scripted module is heard through the hooks that all modules share, and
    only where Python calls it: what it calls itself stays unseen.

    Args:
        modules: with the name they go by.
        before: gets the name, the module and its arguments.
        after: gets the name, the module and what it returned.
    """
    scripted: dict[int, str] = {}
    with ExitStack() as stack:
        for path, module in modules:
            if isinstance(module, torch.jit.ScriptModule):
                scripted[id(module)] = path
                continue
            own_before, own_after = partial(_before, before, path), partial(_after, after, path)
            stack.callback(module.register_forward_pre_hook(own_before, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(own_after, always_call=True).remove)
        if scripted:

            def enter(module: nn.Module, args: Any) -> None:
                if id(module) in scripted:
                    before(scripted[id(module)], module, args, {})

            def leave(module: nn.Module, args: Any, output: Any) -> None:
                if id(module) in scripted:
                    after(scripted[id(module)], module, output)

            stack.callback(register_module_forward_pre_hook(enter).remove)
            stack.callback(register_module_forward_hook(leave, always_call=True).remove)
        yield


def _before(before: Before, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    before(path, module, args, kwargs)


def _after(after: After, path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    after(path, module, output)
