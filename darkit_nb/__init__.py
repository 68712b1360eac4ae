"""DarKit-NB: the notebook where you can see a language model spike.

Importing this package loads neither torch, transformers, cupy nor ipywidgets; each name loads what it needs when used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "Fork": "darkit_nb.edit.fork",
    "ConversionSpec": "darkit_nb.records.conversion",
    "DataPreview": "darkit_nb.data",
    "Run": "darkit_nb.runs",
    "RunConfig": "darkit_nb.config",
    "RunDirectory": "darkit_nb.runs",
    "Conversion": "darkit_nb.runs.conversion",
    "ConversionRequest": "darkit_nb.records.conversion_request",
    "SpikeCode": "darkit_nb.functional.spike_code",
    "SpikeSpec": "darkit_nb.records.spike_spec",
    "Studio": "darkit_nb.widgets",
    "apply_patch": "darkit_nb.edit",
    "build_model": "darkit_nb.models.build",
    "compare_runs": "darkit_nb.runs",
    "compare_traces": "darkit_nb.records.trace_compare",
    "conversion_plan": "darkit_nb.convert",
    "conversion_preset": "darkit_nb.config.conversions",
    "convert_model": "darkit_nb.convert",
    "draw_model": "darkit_nb.trace.export",
    "energy_report": "darkit_nb.evaluate",
    "energy_table": "darkit_nb.views",
    "evaluate_run": "darkit_nb.evaluate",
    "flow_svg": "darkit_nb.views.flow_svg",
    "generate": "darkit_nb.train.generate",
    "gif_encode": "darkit_nb.ops.gif",
    "import_run": "darkit_nb.runs",
    "list_conversions": "darkit_nb.runs.conversion",
    "list_runs": "darkit_nb.runs",
    "load_config": "darkit_nb.config",
    "load_model": "darkit_nb.spikify",
    "make_patch": "darkit_nb.edit",
    "make_spec_patch": "darkit_nb.edit",
    "measure_spikes": "darkit_nb.evaluate",
    "module_source": "darkit_nb.edit",
    "open_run": "darkit_nb.runs",
    "patch_history": "darkit_nb.edit",
    "prepare": "darkit_nb.data",
    "resume": "darkit_nb.runs",
    "revert_patch": "darkit_nb.edit",
    "spike_table": "darkit_nb.views",
    "spikify": "darkit_nb.spikify",
    "trace_flow": "darkit_nb.trace",
    "trace_model": "darkit_nb.trace",
    "train": "darkit_nb.runs",
    "tree": "darkit_nb.views.tree",
    "unspikify": "darkit_nb.spikify",
    "validate_patch": "darkit_nb.edit",
}

__all__ = ["__version__", *_EXPORTS]

if TYPE_CHECKING:
    from darkit_nb.config import RunConfig as RunConfig
    from darkit_nb.config import load_config as load_config
    from darkit_nb.config.conversions import conversion_preset as conversion_preset
    from darkit_nb.convert import conversion_plan as conversion_plan
    from darkit_nb.convert import convert_model as convert_model
    from darkit_nb.data import DataPreview as DataPreview
    from darkit_nb.data import prepare as prepare
    from darkit_nb.edit import apply_patch as apply_patch
    from darkit_nb.edit import make_patch as make_patch
    from darkit_nb.edit import make_spec_patch as make_spec_patch
    from darkit_nb.edit import module_source as module_source
    from darkit_nb.edit import patch_history as patch_history
    from darkit_nb.edit import revert_patch as revert_patch
    from darkit_nb.edit import validate_patch as validate_patch
    from darkit_nb.edit.fork import Fork as Fork
    from darkit_nb.evaluate import energy_report as energy_report
    from darkit_nb.evaluate import evaluate_run as evaluate_run
    from darkit_nb.evaluate import measure_spikes as measure_spikes
    from darkit_nb.functional.spike_code import SpikeCode as SpikeCode
    from darkit_nb.models.build import build_model as build_model
    from darkit_nb.ops.gif import gif_encode as gif_encode
    from darkit_nb.records.conversion import ConversionSpec as ConversionSpec
    from darkit_nb.records.conversion_request import ConversionRequest as ConversionRequest
    from darkit_nb.records.spike_spec import SpikeSpec as SpikeSpec
    from darkit_nb.records.trace_compare import compare_traces as compare_traces
    from darkit_nb.runs import Run as Run
    from darkit_nb.runs import RunDirectory as RunDirectory
    from darkit_nb.runs import compare_runs as compare_runs
    from darkit_nb.runs import import_run as import_run
    from darkit_nb.runs import list_runs as list_runs
    from darkit_nb.runs import open_run as open_run
    from darkit_nb.runs import resume as resume
    from darkit_nb.runs import train as train
    from darkit_nb.runs.conversion import Conversion as Conversion
    from darkit_nb.runs.conversion import list_conversions as list_conversions
    from darkit_nb.spikify import load_model as load_model
    from darkit_nb.spikify import spikify as spikify
    from darkit_nb.spikify import unspikify as unspikify
    from darkit_nb.trace import trace_flow as trace_flow
    from darkit_nb.trace import trace_model as trace_model
    from darkit_nb.trace.export import draw_model as draw_model
    from darkit_nb.train.generate import generate as generate
    from darkit_nb.views import energy_table as energy_table
    from darkit_nb.views import spike_table as spike_table
    from darkit_nb.views.flow_svg import flow_svg as flow_svg
    from darkit_nb.views.tree import tree as tree
    from darkit_nb.widgets import Studio as Studio


def __getattr__(name: str) -> Any:
    if name == "widgets":  # so that `dk.widgets.SpikeRaster` needs no import of its own
        return import_module("darkit_nb.widgets")
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext darkit_nb` does: `%darkit` and `%%darkit`. Importing the package in a shell does it too."""
    import_module("darkit_nb.magics").load_ipython_extension(shell)


class _Package(ModuleType):
    """Some exported functions share their name with a subpackage: `spikify`, `train`.

    Importing a subpackage binds it to its parent, and would put the module in the function's place, or not, depending
    on what was imported first. Here the name is always the function's; `from darkit_nb.spikify import …` is unaffected.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _EXPORTS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

if "IPython" in sys.modules and (_shell := sys.modules["IPython"].get_ipython()) is not None:
    load_ipython_extension(_shell)
