"""`darkit-nb demo`: train, then say what was learnt, how it fired, what it would cost, and where the run lies."""

from __future__ import annotations

import sys
from statistics import median

from darkit_nb.records.activity import SpikeReport
from darkit_nb.records.energy import EnergyReport
from darkit_nb.runs import RunDirectory
from darkit_nb.views import energy_table, spike_table

PROMPT = "def "


def demo(*, runs_dir: str = "runs", seed: int = 0, steps: int | None = None) -> RunDirectory:
    """The main job in two minutes: a spiking language model learns Python from the standard library's own source.

    Args:
        runs_dir: folder of runs.
        seed: of weights and data order.
        steps: None takes as many as fit into two minutes here.
    """
    from darkit_nb.train.demo import affordable_steps, demo_config
    from darkit_nb.train.launch import train

    config = demo_config(steps or affordable_steps(), seed=seed, runs_dir=runs_dir)
    train_settings, spec = config.train, config.spike
    _say(
        f"A spiking Llama of 1 M parameters learns Python: {train_settings.steps} steps of "
        f"{train_settings.batch_size} × {config.data.seq_len} bytes of the standard library's source."
    )
    if spec is not None:
        _say(
            f"Every linear layer of its decoder spikes: {spec.num_levels} levels, {spec.salient_fraction:.0%} of the "
            f"features at {spec.num_steps} steps, {spec.weight_bits}-bit weights.\n"
        )
    run = train(config)
    _summary(run)
    return run


def _summary(run: RunDirectory) -> None:
    metrics = run.read_metrics()
    validation = [line for line in metrics if line["kind"] == "evaluation"]
    steps = [line for line in metrics if line["kind"] == "train"]
    spikes = [line for line in metrics if line["kind"] == "spikes"][-1]
    _say("\nValidation, bits per byte: " + " → ".join(f"{line['bits_per_byte']:.2f}" for line in validation))
    memory = max(line["memory_bytes"] for line in steps)
    speed = median(line["tokens_per_s"] for line in steps)
    _say(f"{speed:,.0f} tokens/s, {memory / 1e6:.0f} MB of memory at most\n")
    _say(f"What it writes after {PROMPT!r}:\n")
    from darkit_nb.train.generate import Sampling, generate

    for piece in generate(run, PROMPT, Sampling(max_new_tokens=200, temperature=0.7, seed=1)):
        sys.stdout.write(piece)
    _say("\n\n" + spike_table(SpikeReport.from_dict(spikes)))
    _say("\n" + energy_table(EnergyReport.from_dict(spikes["energy"])))
    _say(f"\nThe run lies in {run.root}. Go on with it:")
    _say(f"  darkit-nb resume {run.id} train.steps=2000 train.max_seconds=null")
    _say(f"  darkit-nb generate {run.id} --prompt 'class '")


def _say(text: str) -> None:
    print(text, flush=True)
