"""`convert`: a trained decoder becomes a spiking one; `conversions`: those that were begun."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from darkit_nb.errors import ConfigError

if TYPE_CHECKING:
    from darkit_nb.records.conversion_request import ConversionRequest
    from darkit_nb.records.conversion_spec import ConversionSpec
    from darkit_nb.runs.conversion import Conversion

EXIT_INTERRUPTED = 130
_WIDTH = 100
"""Columns in which the names of pipelines stay whole."""

conversions = App(name="conversions", help="List, show, stop, resume and compare conversions.")


def convert(
    source: str,
    out: str,
    /,
    *settings: Annotated[str, Parameter(metavar="key=value")],
    pipeline: str = "darkit",
    bits: str | None = None,
    dataset: str | None = None,
    text: str | None = None,
    samples: int = 128,
    sample_length: int = 2048,
    seed: int = 0,
    window: int | None = None,
    windows: int = 64,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    runs_dir: str = "runs",
    plan: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    detach: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Make a spiking model of a trained decoder, block by block, and say what that cost.

    The plan is printed first: memory, disk and time. Every finished block is kept in OUT.conversion, so Ctrl-C or a
    crash loses at most one block: the same command goes on. At the end both models are scored on held-out text.

    Try:

        darkit-nb convert stdlib-llama spiking
        darkit-nb convert ./my-llama spiking --pipeline spikellm-omniquant --bits W4A4 --plan
        darkit-nb convert latest spiking --pipeline darkit spike.num_steps=4 group_size=128

    Args:
        source: A folder, a hub id, a bundled model such as stdlib-llama, or a run, whose newest checkpoint is taken.
        out: Folder of the converted model; a new one.
        settings: Settings of the conversion that differ from the pipeline's, such as rotation_seed=1.
        pipeline: rtn, smoothquant, omniquant, gptq, pb-llm, spikellm-omniquant, spikellm-gptq, quarot, flatquant or
            darkit.
        bits: W4A4, W4A8, W2A8, W2A16, W6A6, W4A16 or ternary; the pipeline's own if not given.
        dataset: Text to calibrate on; a run's own, or the standard library's source.
        text: File with held-out text to score; the validation documents of the dataset if not given.
        samples: Calibration sequences.
        sample_length: Tokens of each; never more than the model's context.
        seed: Of the calibration sequences.
        window: Tokens of a scored window; 2048, or the model's context, if not given.
        windows: Windows scored at most; 0 scores nothing.
        device: Where the work is done; auto takes a GPU where there is one.
        runs_dir: Folder of runs.
        plan: Print the plan and stop.
        quiet: Print only the result.
        detach: Convert in the background and return at once; the conversion outlives this terminal.
    """
    spec = _spec(pipeline, bits, settings, samples=samples, sample_length=sample_length, seed=seed)
    request = _request(
        source=source,
        out=out,
        spec=spec,
        dataset=dataset,
        text=text,
        window=window,
        windows=windows,
        device=device,
        runs_dir=runs_dir,
    )
    if plan:
        from darkit_nb.convert.job import plan_of
        from darkit_nb.views.conversion_table import plan_view

        print(plan_view(plan_of(request)))
        return 0
    from darkit_nb.runs.conversion import Conversion

    conversion = Conversion.create(request, command=shlex.join(["darkit-nb", *sys.argv[1:]]))
    conversion.refuse_finished()
    if detach:
        print(conversion.resume())
        return 0
    return _work(conversion, quiet=quiet)


def _spec(pipeline: str, bits: str | None, settings: Sequence[str], **fields: Any) -> ConversionSpec:
    """The pipeline's settings under those given as `key=value`; `spike.` begins those of the neuron."""
    from darkit_nb.config import parse_overrides
    from darkit_nb.config.conversions import preset

    changes: dict[str, Any] = dict(fields)
    for key, value in parse_overrides(settings).items():
        section, dot, name = key.partition(".")
        if dot and section != "spike":
            raise ConfigError(
                f"A conversion has no setting {key!r}.", expected="a setting, or spike.<setting>", received=repr(key)
            )
        if dot:
            changes.setdefault("spike", {})[name] = value
        else:
            changes[key] = value
    return preset(pipeline, bits=bits, **changes)


def _request(**fields: Any) -> ConversionRequest:
    from darkit_nb.records.conversion_request import ConversionRequest

    return ConversionRequest(**fields)


def _work(conversion: Conversion, *, quiet: bool) -> int:
    """Convert in this process, with lines as it goes."""
    from darkit_nb.convert.worker import work_on
    from darkit_nb.runs.launcher import refuse_active

    refuse_active(conversion.directory)
    try:
        work_on(conversion, None if quiet else lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        now = conversion.progress()
        print(f"\nstopped: {now.blocks_done} of {now.blocks or '?'} blocks are kept in {conversion.root}")
        print(f"go on with: darkit-nb conversions resume {shlex.quote(str(conversion.out))}")
        return EXIT_INTERRUPTED
    if rows := conversion.rows():
        from darkit_nb.views.conversion_table import result_view

        print(result_view(rows).to_text(_WIDTH))
    print(f"finished: {conversion.out}")
    return 0


@conversions.default
def list_command(folder: str = ".") -> None:
    """List the conversions whose models lie in a folder.

    Args:
        folder: Where to look.
    """
    from darkit_nb.runs.conversion import list_conversions

    found = list_conversions(folder)
    for each in found:
        print(each)
    if not found:
        print(f"No conversion in {folder}. Begin one: darkit-nb convert stdlib-llama spiking")


@conversions.command(name="show")
def show_command(out: str, /, *, format: Literal["text", "html", "json"] = "text") -> None:
    """Show a conversion: plan, blocks, every layer's error, and the result.

    Args:
        out: Folder of the converted model.
        format: text, html, or json.
    """
    from darkit_nb.runs.conversion import Conversion
    from darkit_nb.views.conversion_card import ConversionCard

    card = ConversionCard(Conversion.open(out).progress())
    print(card.to_text() if format == "text" else card.to_html() if format == "html" else card.to_json())


@conversions.command(name="stop")
def stop_command(out: str, /, *, wait: float = 60.0) -> None:
    """Stop a conversion now; the blocks that are done stay.

    Args:
        out: Folder of the converted model.
        wait: Seconds to wait for its end; 0 only asks.
    """
    from darkit_nb.runs.conversion import Conversion

    found = Conversion.open(out)
    if not found.stop(wait_s=wait):
        print(f"nobody is at work on it: {found}")
    else:
        print(found)


@conversions.command(name="resume")
def resume_command(
    out: str,
    /,
    *,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    detach: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Go on with a conversion after the last block that was finished.

    Args:
        out: Folder of the converted model.
        quiet: Print only the result.
        detach: Convert in the background and return at once.
    """
    from darkit_nb.runs.conversion import Conversion

    found = Conversion.open(out)
    found.refuse_finished()
    if detach:
        print(found.resume())
        return 0
    return _work(found, quiet=quiet)


@conversions.command(name="compare")
def compare_command(*outs: str, by: Literal["ace", "mean_steps", "storage_bits", "energy_pj"] = "ace") -> None:
    """Put conversions of one model side by side: quality, cost, and quality against cost.

    Args:
        outs: Folders of converted models.
        by: What the second table is sorted by.
    """
    from darkit_nb.runs.conversion import Conversion
    from darkit_nb.views.conversion_points import operation_points
    from darkit_nb.views.conversion_table import result_view

    rows = {row.path: row for out in outs for row in Conversion.open(out).rows()}
    shown = sorted(rows.values(), key=lambda row: row.cost is not None)
    print(result_view(shown).to_text(_WIDTH))
    print(operation_points(shown, by))
