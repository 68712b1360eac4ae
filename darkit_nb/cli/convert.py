"""`convert`: a trained decoder becomes a spiking one, by one pipeline or by several that are compared."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from darkit_nb.errors import ConfigError

if TYPE_CHECKING:
    from darkit_nb.records.conversion_request import ConversionRequest
    from darkit_nb.records.conversion_spec import ConversionSpec


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
    revision: str | None = None,
    compare: str | None = None,
    plan: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    detach: Annotated[bool, Parameter(negative="")] = False,
    queue: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Make a spiking model of a trained decoder, block by block, and say what that cost.

    The plan is printed first: memory, disk and time. Every finished block is kept in OUT.conversion, so Ctrl-C or a
    crash loses at most one block: the same command goes on. At the end both models are scored on held-out text.

    Several processes share the calibration samples, each on a GPU of its own:
    `accelerate launch --multi_gpu --num_processes 2 -m darkit_nb convert …`, or `torchrun --nproc_per_node 2 -m …`;
    with --device cpu on the processor. The first one writes and speaks; the same number of them goes on after a crash.

    Try:

        darkit-nb convert stdlib-llama spiking
        darkit-nb convert ./my-llama spiking --pipeline spikellm-omniquant --bits W4A4 --plan
        darkit-nb convert latest spiking --pipeline darkit spike.num_steps=4 group_size=128
        darkit-nb convert stdlib-llama spiking --compare rtn,gptq,quarot

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
        revision: Branch, tag or commit of a hub id; the newest one if not given.
        compare: Pipelines whose results are wanted beside this one's, such as rtn,quarot, or all: the same model, texts
            and bits, one after another, in folders with their names behind OUT.
        plan: Print the plan and stop.
        quiet: Print only the result.
        detach: Convert in the background and return at once; the conversion outlives this terminal.
        queue: As --detach, when the conversions before it in the same folder have ended.
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
        revision=revision,
    )
    requests = [request, *_compared(request, compare)]
    if plan:
        return _print_plans(requests)
    from darkit_nb.cli.conversions import refuse_several, work
    from darkit_nb.runs.conversion import Conversion

    for option, wanted in (("--detach", detach), ("--queue", queue), ("--compare", compare is not None)):
        if wanted:
            refuse_several(option)
    command = shlex.join(["darkit-nb", *sys.argv[1:]])
    if compare is not None or queue:
        return _queue(requests, command, quiet=quiet, detach=detach or compare is None)
    if detach:
        conversion = Conversion.create(request, command=command)
        conversion.refuse_finished()
        print(conversion.resume())
        return 0
    return work(lambda: Conversion.create(request, command=command), quiet=quiet)


def _compared(request: ConversionRequest, compare: str | None) -> tuple[ConversionRequest, ...]:
    """The same conversion by other pipelines; of all of them those that exist at these bits."""
    if compare is None:
        return ()
    from darkit_nb.runs.conversion_queue import all_alternatives, alternatives

    names = [name for word in compare.split(",") if (name := word.strip())]
    return all_alternatives(request) if names == ["all"] else alternatives(request, names)


def _print_plans(requests: Sequence[ConversionRequest]) -> int:
    from darkit_nb.config.launched import launched_rank
    from darkit_nb.convert.job import plan_of
    from darkit_nb.views.conversion_table import plan_view

    if launched_rank() > 0:
        return 0  # the first of the processes launched together prints it
    for request in requests:
        if len(requests) > 1:
            print(f"{request.name}: {request.out}")
        print(plan_view(plan_of(request)))
    return 0


def _queue(requests: Sequence[ConversionRequest], command: str, *, quiet: bool, detach: bool) -> int:
    """Queue them; unless they are left alone, watch until all have ended."""
    from darkit_nb.cli.conversions import follow
    from darkit_nb.runs.conversion_queue import log_now, queue_conversions

    logs = [log_now(request) for request in requests]
    made = queue_conversions(requests, command=command)
    if not detach:
        return follow(made, logs, quiet=quiet)
    for each in made:
        print(each)
    return 0


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
