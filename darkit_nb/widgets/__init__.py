"""Faces of a run in a notebook. Each loads when used; none of them imports torch or transformers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "CodeEditor": "darkit_nb.widgets.code_editor",
    "ConfigForm": "darkit_nb.widgets.config_form",
    "ConvertPanel": "darkit_nb.widgets.convert_panel",
    "DataPreview": "darkit_nb.widgets.data_preview",
    "GenerateBox": "darkit_nb.widgets.generate_box",
    "LiveCharts": "darkit_nb.widgets.live_charts",
    "ModelTree": "darkit_nb.widgets.model_tree",
    "RunPanel": "darkit_nb.widgets.run_panel",
    "RunsTable": "darkit_nb.widgets.runs_table",
    "SpikeRaster": "darkit_nb.widgets.spike_raster",
    "Studio": "darkit_nb.widgets.studio",
}

__all__ = [*_EXPORTS]


if TYPE_CHECKING:
    from darkit_nb.widgets.code_editor import CodeEditor as CodeEditor
    from darkit_nb.widgets.config_form import ConfigForm as ConfigForm
    from darkit_nb.widgets.convert_panel import ConvertPanel as ConvertPanel
    from darkit_nb.widgets.data_preview import DataPreview as DataPreview
    from darkit_nb.widgets.generate_box import GenerateBox as GenerateBox
    from darkit_nb.widgets.live_charts import LiveCharts as LiveCharts
    from darkit_nb.widgets.model_tree import ModelTree as ModelTree
    from darkit_nb.widgets.run_panel import RunPanel as RunPanel
    from darkit_nb.widgets.runs_table import RunsTable as RunsTable
    from darkit_nb.widgets.spike_raster import SpikeRaster as SpikeRaster
    from darkit_nb.widgets.studio import Studio as Studio


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
