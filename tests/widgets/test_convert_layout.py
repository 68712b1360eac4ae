"""Where the settings of a conversion stand in its form."""

from __future__ import annotations

from pathlib import Path

from darkit_nb.config.conversion_draft import SPEC_FIELDS, SpecDraft
from darkit_nb.widgets.convert_layout import convert_layout, groups


def test_every_setting_stands_once_and_in_its_group():
    found = groups(SpecDraft("darkit"))
    placed = {group["section"]: [field["key"] for field in (*group["first"], *group["more"])] for group in found}
    everywhere = [key for keys in placed.values() for key in keys]
    assert sorted(everywhere) == sorted(SPEC_FIELDS)
    assert {"hidden_clip", "online_rotation", "rotation_seed"} <= set(placed["outliers"])
    assert {"float_target", "damping", "code_passes"} <= set(placed["coding"])
    assert "steps_budget" in placed["spike"]


def test_a_field_shows_its_label_its_limits_with_their_unit_and_the_presets_value(tmp_path: Path):
    layout = convert_layout(SpecDraft("darkit", "W4A4"), tmp_path)
    fields = {field["key"]: field for group in layout["groups"] for field in (*group["first"], *group["more"])}
    assert fields["group_size"]["range"] == "≥ 1 features"
    assert fields["hidden_clip"]["label"] == "Cut hidden ranges"
    assert fields["hidden_clip"]["default"] == "true"
    labels = [field["label"] for field in fields.values()]
    assert len(labels) == len(set(labels))
