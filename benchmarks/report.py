"""Figures of the README and of the decision about the tree, from the last rows of benchmarks/results.

`python -m benchmarks.report` writes them in.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.conversion_table import grouped, summary
from benchmarks.conversion_table import rows as conversion_rows
from benchmarks.harness import RESULTS, ROOT

BEGIN, END = "<!-- figures: make bench, then python -m benchmarks.report -->", "<!-- end of figures -->"

HANDS = {"reference": "plain PyTorch", "blocked": "PyTorch in cache blocks"}


def rows(name: str) -> list[dict[str, Any]]:
    """All rows of one benchmark, oldest first; none where it never ran."""
    file = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def figures() -> str:
    """Markdown of what was measured last."""
    parts = (_demo(), _gap(), _text(), _kernels(), _conversion(), _monitoring(), _interface(), _charts(), _tree())
    return "\n\n".join(part for part in parts if part)


def _demo() -> str:
    if not (found := rows("demo")):
        return ""
    row = found[-1]
    bits, speed = row["bits_per_byte"], row["tokens_per_s"]["median"]
    return (
        f"The demo on {row['cores']} cores ({row['device']}): validation {bits['before']:.2f} → "
        f"**{bits['after']:.2f} bits per byte** in {row['seconds']:.0f} s, {speed:,.0f} tokens/s, "
        f"{row['memory_mb']} MB. ({_source('demo', row)})"
    )


def _gap() -> str:
    found = rows("spiking_gap")
    last = {row["variant"]: row for row in found}
    if not last:
        return ""
    row = next(iter(last.values()))
    lines = [
        f"Loss against the float model, `{row['preset']}`, same data, {row['steps']} steps of 2 048 bytes, "
        f"{len(row['seeds'])} seeds ({_source('spiking_gap', row)}):",
        "",
        "| Neuron | validation loss (nats) | bits per byte | gap to float, median (10th to 90th percentile) |",
        "|---|---|---|---|",
    ]
    for name, each in last.items():
        gap, losses = each["gap_percent"], each["validation_loss"]
        shown = "" if name == "float" else f"{gap['median']:+.1f} % ({gap['p10']:+.1f} to {gap['p90']:+.1f})"
        shown_losses = ", ".join(f"{loss:.3f}" for loss in losses)
        lines.append(f"| {name} | {shown_losses} | {each['bits_per_byte']['median']:.3f} | {shown} |")
    return "\n".join(lines)


def _text() -> str:
    last = {row["tokenizer"]: row for row in rows("real_text")}
    if not last:
        return ""
    lines = [
        "Real prose: English novels, then the WikiText-2 test text (word-level file, another domain), "
        f"non-overlapping windows ({_source('real_text', next(iter(last.values())))}):",
        "",
        "| Tokenizer | steps of 2 048 tokens | novels, bits per byte | WikiText-2, bits per byte (window, windows) |",
        "|---|---|---|---|",
    ]
    for name, row in last.items():
        novels, wiki = row["novels_bits_per_byte"], row["wikitext2_test"]
        lines.append(
            f"| {name} | {row['steps']} | {novels['before']:.2f} → {novels['after']:.2f} | "
            f"{wiki['bits_per_byte']:.2f} ({wiki['window']}, {wiki['windows']}) |"
        )
    return "\n".join(lines)


def _kernels() -> str:
    """The large shapes of neurons, tokens and products on the CPU, each against its rivals, medians."""
    large = [row for row in rows("kernels_cpu") if row.get("neurons") == 1_000_000 or row.get("rows") == 2048]
    found = {row["operation"]: row for row in large}
    lines = []
    for name in ("LIF forward", "LIF forward and backward", "quantise and fire, S=1"):
        if row := found.get(name):
            times = {rival: each["median"] for rival, each in row["ratio"].items()}
            size = " × ".join(f"{row[key]:,}" for key in ("steps", "neurons", "rows", "features") if key in row)
            ours = times.pop("native")
            rivals = (f"{HANDS.get(rival, rival)} {time / ours:.1f} ×" for rival, time in times.items())
            lines.append(f"| {name}, {size} | {ours:.2f} copies | {', '.join(rivals)} |")
    products = [row for row in rows("linear_cpu") if row["operation"].startswith("spiking linear")]
    for name, row in sorted({row["operation"]: row for row in products}.items()):
        one = row["ratio"]["encode and multiply, one call"]["median"]
        size = f"{row['bits']}, {row['rows']:,} × {row['features']:,} × {row['outputs']:,}"
        rival = f"fp32 product {1 / one:.1f} ×, bf16 product {row['ratio']['bf16 product']['median'] / one:.1f} ×"
        lines.append(f"| {name}, {size} | {one:.2f} fp32 products | {rival} |")
    if not lines:
        return ""
    head = "On a CPU with two threads, checked first, then in turns; a copy reads and writes the tensor once"
    table = ["| | ours | time of others, by ours |", "|---|---|---|", *lines]
    return "\n".join([f"{head} ({_source('kernels_cpu', found['LIF forward'])}):", "", *table])


CONVERTED = {
    "novel-llama": "A Llama of {millions:.1f} M parameters trained on novels",
    "smollm2-135m": "SmolLM2-135M-Instruct, decoded from its 4-bit GGUF file",
}


def _conversion() -> str:
    """What the main pipelines lose, model by model, as far as rows have them."""
    return "\n\n".join(table for model in CONVERTED if (table := _losses(model)))


def _losses(model: str) -> str:
    """The table of one model, from the rows with the most windows."""
    tables = {key[2]: methods for key, methods in grouped(conversion_rows()).items() if key[:2] == (model, "none")}
    methods = tables.get(max(tables, default=0), {})
    names = ("rtn", "gptq", "omniquant", "spikellm-omniquant", "quarot", "flatquant", "darkit")
    shown = {name: f"{name} W4A4" for name in names}
    shown["quarot with scales, 5-bit activations"] = "the same at A5"
    shown["weights as by darkit, 5-bit activations"] = "the same weights at A5"
    found = {name: summary(group) for name, method in shown.items() if (group := methods.get(method))}
    if not found:
        return ""
    row = next(iter(methods.values()))[0]
    long = all(each["wikitext"] is not None for each in found.values())
    head = (
        f"{CONVERTED[model].format(millions=row['parameters'] / 1e6)}, converted at W4A4: bits per byte lost against "
        f"float ({row['float_bits_per_byte']:.3f}) on {max(tables)} windows of {row['settings']['length']} tokens of "
        f"held-out novels, with the 95 % interval{_long_head(row) if long else ''} ({_source('conversion', row)}):"
    )
    headers = ("Pipeline", "steps", "stored bits a weight", "ACE", "loss", "seeds", *(["WikiText-2"] if long else []))
    table = ["| " + " | ".join(headers) + " |", "|" + "---|" * len(headers)]
    for name, each in found.items():
        line = (
            f"| {name} | {each['mean_steps']:.4g} | {each['storage_bits']:.3g} | {each['ace']:.3g} | "
            f"{each['delta']:+.4f} ({each['low']:+.4f} to {each['high']:+.4f}) | {each['seeds']} |"
        )
        table.append(line + (f" {each['wikitext']:.2f} |" if long else ""))
    return "\n".join([head, "", *table])


def _long_head(row: dict[str, Any]) -> str:
    return (
        "; perplexity on WikiText-2's test text (word-level file, windows of 2 048 tokens), float "
        f"{row['wikitext']['float_perplexity']:.2f}"
    )


def _monitoring() -> str:
    if not (found := rows("monitoring")):
        return ""
    row = found[-1]
    ratio = row["ratio"]["darkit-nb run"]
    return (
        f"Watching everything costs {100 * (ratio['median'] - 1):.1f} % of a step against bare `transformers.Trainer` "
        f"(10th to 90th percentile {100 * (ratio['p10'] - 1):.1f} to {100 * (ratio['p90'] - 1):.1f} %; "
        f"{_source('monitoring', row)})."
    )


def _interface() -> str:
    if not (found := rows("interface")):
        return ""
    row = found[-1]
    seconds, share = row["studio_with_round_trip_seconds"]["median"], row["ten_runs_share_of_a_core"]
    memory = {role: f"{size / 1e6:,.0f}" for role, size in row["memory_bytes"].items()}
    return (
        f"In the notebook: `dk.Studio()` stands {seconds:.1f} s after its cell was sent; watching ten growing runs "
        f"takes {100 * share:.1f} % of a core; server, kernel with every page open, supervisor and training use "
        f"{memory['total']} MB together, of which {memory['server']}, {memory['kernel']}, {memory['supervisor']} and "
        f"{memory['trainer']} ({_source('interface', row)})."
    )


def _charts() -> str:
    if not (found := rows("charts")):
        return ""
    row = found[-1]
    seconds, size = row["seconds"]["LiveCharts"], row["bytes_per_push"]
    plain = next(name for name in row["seconds"] if name != "LiveCharts")
    return (
        f"A chart with {row['steps']:,} steps of history is renewed in {1000 * seconds['median']:.1f} ms, "
        f"{size['LiveCharts'] / 1000:.0f} kB on the wire; Plotly's own figure, given lists, takes "
        f"{row['seconds'][plain]['median']:.1f} s and {size[plain] / 1e6:.0f} MB ({_source('charts', row)})."
    )


def _tree() -> str:
    opened = {row["shape"]: row for row in rows("tree") if row["operation"] == "open"}
    browsed = [row for row in rows("tree") if row["operation"] == "browse"]
    parts = []
    for row in (each for shape, each in opened.items() if "spiking" in shape):
        parts.append(
            f"{row['shape'].partition(',')[0]} without weights is traced and shown in "
            f"{row['seconds']['trace and widget']['median']:.1f} s ({row['rows']:,} rows, "
            f"{row['payload_bytes'] / 1000:.0f} kB)"
        )
    for row in browsed[-1:]:
        ms = {name: each["median"] for name, each in row["ms"].items()}
        parts.append(
            f"a tree of {row['rows']:,} rows expands in {ms['expand_all']:.0f} ms "
            f"and answers a key in {ms['key']:.0f} ms"
        )
    return f"The model tree: {'; '.join(parts)} ({_source('tree', rows('tree')[-1])})." if parts else ""


def viewers() -> str:
    """Markdown of the comparison with other viewers of models, for the decision about the tree."""
    last = {row["model"]: row for row in rows("tree_viewers")}
    names = next(iter(last.values()))["viewers"] if last else {}
    lines = ["| Model | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for model, row in last.items():
        lines.append(f"| {model} | " + " | ".join(_viewed(each) for each in row["viewers"].values()) + " |")
    source = "Seconds until a browser shows it, median; boxes or rows that are shown; size of the file"
    return "\n".join([f"{source} ([rows](../../benchmarks/results/tree_viewers.jsonl)).", "", *lines]) if last else ""


def _viewed(each: dict[str, Any]) -> str:
    if "stopped" in each:
        return f"stopped {each['stopped']}"
    if not each["drawn"]:
        return "nothing: it raises"
    size, cut = each["bytes"] / 1000, ", partial: it raises" if "raised" in each else ""
    return f"{each['seconds']['median']:.1f} s, {each['drawn']:,} shown, {size:,.0f} kB{cut}"


def _source(name: str, row: dict[str, Any]) -> str:
    return f"[row](benchmarks/results/{name}.jsonl) of {row['time'][:10]}"


def write(file: Path, block: str) -> None:
    """Put a block between the marks of a document."""
    text = f"{BEGIN}\n{block}\n{END}"
    file.write_text(re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: text, file.read_text(), flags=re.DOTALL))


if __name__ == "__main__":
    write(ROOT / "README.md", figures())
    write(ROOT / "docs" / "decisions" / "2026-11-22-tree.md", viewers())
