from __future__ import annotations

import pytest

from darkit_nb.edit.init_change import changes_init, derives

BASE = '''class A(Base):
    """About A."""

    width = 4
    spare = 1

    def __init__(self, config):
        """Build it."""
        super().__init__()
        self.size = self.width
        self.reset(config)

    def reset(self, config):
        self.table = make(config)

    def forward(self, x):
        return x * self.spare
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x * self.spare", "x + self.spare"),
        ("spare = 1", "spare = 2"),
        ('"""Build it."""', '"""Build it anew."""'),
        ("        self.reset(config)", "        # a comment\n        self.reset( config )"),
        ("    def forward", "    def other(self):\n        return 1\n\n    def forward"),
        ("class A", "import math\n\ndef helper(x):\n    return x\n\nclass A"),
    ],
)
def test_edits_that_leave_the_building_alone(old: str, new: str):
    assert not changes_init(BASE, BASE.replace(old, new), "A")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.size = self.width", "self.size = 2 * self.width"),
        ("width = 4", "width = 5"),
        ("self.table = make(config)", "self.table = make(config, 2)"),
        ("class A", "def make(config):\n    return 3\n\nclass A"),
        ("class A(Base)", "class A(Other)"),
        ("def __init__(self, config)", "def __init__(self, config, more=1)"),
    ],
)
def test_edits_that_change_what_is_built(old: str, new: str):
    assert changes_init(BASE, BASE.replace(old, new), "A")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("def forward(self, x):\n        return super().forward(x)", False),
        ("def __init__(self, config):\n        super().__init__(config)", True),
        ("width = 5", True),
        ("spare = 5", False),
        ("def reset(self, config):\n        self.table = 1", True),
    ],
)
def test_an_edit_that_derives(body: str, expected: bool):
    text = f"class B(A):\n    {body}\n"
    assert changes_init(BASE, text, "A") is expected
    assert not changes_init(text, text.replace("(x)", "(x) * 2"), "A")
    assert changes_init(text, BASE, "A")
    assert derives(text, "A")
    assert derives(f"class Between(A):\n    pass\n\n{text.replace('(A)', '(Between)')}", "A")
    assert not derives(BASE, "A")
