"""Faults seen while somebody types: each with its line, none in what is right."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

import pytest

from darkit_nb.edit.static_check import static_problems

BASE = textwrap.dedent(
    """
    class Block(nn.Module):
        limit = 3

        def __init__(self, width):
            super().__init__()
            self.width = width
            self.up = nn.Linear(width, width)
            self.down = nn.Linear(width, 2 * width)

        def forward(self, x: Tensor, mask: Mask = None, *, scale=1.0):
            return self.down(F.relu(self.up(x)))
    """
).strip()
KNOWN = {"nn", "F", "Tensor", "torch"}
ATTRIBUTES = {"up", "down", "width", "limit", "forward", "training", "register_buffer"}
PARAMETERS = ("up.weight", "up.bias", "down.weight", "down.bias")
FORWARD = "def forward(self, x: Tensor, mask: Mask = None, *, scale=1.0):"


def problems(source: str):
    return static_problems(textwrap.dedent(source).strip(), BASE, KNOWN, attributes=ATTRIBUTES, parameters=PARAMETERS)


def edited(old: str, new: str) -> str:
    assert old in BASE
    return BASE.replace(old, new)


@pytest.mark.parametrize(
    ("source", "check", "line", "words"),
    [
        ("class Block(nn.Module)\n    pass", "syntax", 1, "expected ':'"),
        ("class Block(nn.Module):\n    limit = 1\n    return 2", "syntax", 3, "outside function"),
        ("class Block(nn.Module):\n    x = '\0'", "syntax", None, "null bytes"),
        (edited("F.relu", "F.relu(gain * "), "syntax", 11, "was never closed"),
        (edited("F.relu(", "Fn.relu("), "names", 11, "'Fn' is not defined"),
        (edited("limit = 3", "limit = top"), "names", 2, "'top' is not defined"),
        (edited("self.up(x)", "self.upp(x)"), "attributes", 11, "no 'upp'"),
        (edited("self.up = nn.Linear(width, width)", "pass"), "attributes", 11, "no 'up'"),
        (edited("self.up = nn", "self.rise = nn").replace("self.up(", "self.rise("), "parameters", 7, "'up' is now"),
        (edited(FORWARD, "def forward(self, y, mask=None, *, scale=1.0):").replace("(x)", "(y)"), "signature", 10, "x"),
        (edited(FORWARD, "def forward(self, mask, x, *, scale=1.0):"), "signature", 10, "'mask' has no default"),
        (edited(FORWARD, "def forward(self, x, mask=None):"), "signature", 10, "'scale' is gone"),
        (edited(FORWARD, "def forward(self, x, *, mask=None, scale=1.0):"), "signature", 10, "by position"),
        (edited(FORWARD, "def forward(self, x, /, mask=None, *, scale=1):"), "signature", 10, "by name"),
        (edited(FORWARD, "def forward(self, x, mask=None, *, scale, gain):"), "signature", 10, "'gain' has no"),
        ("def forward(x):\n    return x", "class", 1, "no class"),
        ("", "class", 1, "no class"),
        ("x = 1\nclass Brick(nn.Module):\n    pass", "class", 2, "takes the place of Block"),
    ],
)
def test_names_the_fault_and_its_line(source: str, check: str, line: int | None, words: str):
    first = problems(source)[0]
    assert (first.check, first.line) == (check, line)
    assert words in first.message
    assert first.expected


@pytest.mark.parametrize(
    "source",
    [
        BASE,
        edited("F.relu", "F.silu"),
        edited(FORWARD, "def forward(self, *args, **kwargs):").replace("(x)", "(args[0])"),
        edited(FORWARD, "def forward(self, x, mask=None, gain=2, *, scale=1, more=None, **rest):"),
        "class Gated(Block):\n    def forward(self, x, *a, **k):\n        return super().forward(x, *a, **k)",
        """
        import math

        def halved(x):
            return x / math.tau

        class Helper(nn.Module):
            def forward(self, y):
                return y

        class Gated(Block):
            top: float = 2.0

            def __init__(self, width):
                super().__init__(width)
                self.gate = nn.Parameter(torch.ones(width))
                self.register_buffer("seen", torch.zeros(1))
                setattr(self, "late", Helper())

            @property
            def half(self):
                return halved(self.gate)

            @staticmethod
            def twice(other):
                return other.anything * 2

            def forward(self, x, mask=None, *, scale=1.0):
                self.kept = x
                return self.late(self.up(self.kept)) * self.half + self.seen * self.top
        """,
        edited("self.down = nn.Linear(width, 2 * width)", "self.out = nn.Linear(width, width)").replace(
            "self.down(", "self.out("
        ),
        "class Block(nn.Module):\n    def __getattr__(self, name):\n        return super().__getattr__(name)\n"
        "    def forward(self, x, mask=None, *, scale=1.0):\n        return self.whatever",
    ],
)
def test_says_nothing_about_what_is_right(source: str):
    assert problems(source) == []


def test_every_fault_is_told_once_and_in_order():
    found = problems(edited("F.relu(self.up(x))", "Fn.relu(self.upp(x)) + Fn.relu(self.upp(gain))"))
    assert [(each.check, each.line) for each in found] == [("names", 11), ("names", 11), ("attributes", 11)]
    found = problems(edited("limit = 3", "limit = top").replace(FORWARD, "def forward(self, x):"))
    assert [(each.check, each.line) for each in found] == [("names", 2), ("signature", 10)]


def test_the_nearest_name_is_proposed():
    assert problems(edited("Tensor", "Tensr"))[0].cause == "did you mean 'Tensor'?"
    assert problems(edited("self.up(x)", "self.dwon(x)"))[0].cause == "did you mean self.down?"


def test_is_quick_enough_for_every_key():
    from transformers.models.llama import modeling_llama

    text = open(modeling_llama.__file__).read()  # noqa: SIM115, PTH123
    start = text.index("class LlamaAttention(")
    source = text[start : text.index("\nclass ", start + 1)]
    source = source[: source.rindex("\n@")] if "\n@" in source[50:] else source
    static_problems(source, source, vars(modeling_llama))
    took = []
    for _ in range(10):
        began = time.process_time()
        assert static_problems(source, source, vars(modeling_llama)) == []
        took.append(time.process_time() - began)
    assert min(took) < 0.05


def test_loads_no_torch():
    code = "import sys, darkit_nb.edit.static_check; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
