"""Draw the README's pictures from a finished run: `python docs/pictures.py RUN`."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from darkit_nb.records.activity import SpikeReport
from darkit_nb.records.energy import EnergyReport
from darkit_nb.runs import RunDirectory
from darkit_nb.views import energy_view, spike_view

FOLDER = Path(__file__).parent / "pictures"


def draw(name: str, title: str, picture: object) -> None:
    """Write a rendering as SVG, without the web fonts rich would load from elsewhere."""
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(picture)
    svg = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title=title), flags=re.DOTALL)
    (FOLDER / f"{name}.svg").write_text(svg)


def main() -> None:
    """Take the last spike measurement of the run named on the command line."""
    run = RunDirectory.open(sys.argv[1])
    last = [line for line in run.read_metrics() if line["kind"] == "spikes"][-1]
    FOLDER.mkdir(exist_ok=True)
    draw("spikes", "darkit-nb: how every layer fires", spike_view(SpikeReport.from_dict(last)))
    draw("energy", "darkit-nb: what a token costs", energy_view(EnergyReport.from_dict(last["energy"])))


if __name__ == "__main__":
    main()
