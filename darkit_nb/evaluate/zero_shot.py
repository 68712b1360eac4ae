"""Zero-shot accuracy through lm-evaluation-harness, the extra `eval`, from local files.

Task data is a folder with `<task>.jsonl`, one question a line in the columns of the task's own dataset; the prompts and
metrics are those the harness has for that task. A folder may also hold task files of its own (`*.yaml`).

The published tables do not all say which accuracy they show. `PUBLISHED` is what their float figures fit: `acc_norm`,
accuracy with answers weighed by their length in bytes, for PIQA, ARC and HellaSwag; plain `acc` for BoolQ and
WinoGrande. Every score here names its metric.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from importlib import import_module, util
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from transformers import AutoTokenizer, PreTrainedModel

from darkit_nb.errors import BackendError, DataError
from darkit_nb.records.evaluation import ZeroShotScore
from darkit_nb.spikify import load_model

PUBLISHED: Mapping[str, str] = {
    "piqa": "acc_norm",
    "arc_easy": "acc_norm",
    "arc_challenge": "acc_norm",
    "hellaswag": "acc_norm",
    "boolq": "acc",
    "winogrande": "acc",
}
"""Metric of each task in the tables of OmniQuant and SpikeLLM."""

LOCAL = "_local"


def zero_shot(
    folder: str | Path,
    tasks: Sequence[str],
    *,
    data: str | Path,
    limit: int | None = None,
    batch_size: int = 8,
    device: str = "cpu",
    model: PreTrainedModel | None = None,
) -> tuple[ZeroShotScore, ...]:
    """Accuracy on multiple-choice tasks without examples in the prompt.

    Args:
        folder: of a model, float or spiking, with its tokenizer.
        tasks: names of the harness, such as `piqa`, or of task files in `data`.
        data: folder with `<task>.jsonl` or task files.
        limit: questions of each task at most.
        batch_size: answers per forward.
        device: where the model runs.
        model: the model, where it is loaded already.

    Raises:
        BackendError: the extra `eval` is not installed.
        DataError: there is no data for a task.
    """
    if util.find_spec("lm_eval") is None:
        raise BackendError(
            "Zero-shot tasks need lm-evaluation-harness, which is not installed.",
            expected="the extra eval",
            received="no module lm_eval",
            fix='pip install "darkit-nb[eval]"',
        )
    loaded = model if model is not None else load_model(folder, device=device)
    with tempfile.TemporaryDirectory() as written:
        names = {task: _task_file(task, Path(data), Path(written)) for task in tasks}
        found = _run(
            loaded,
            AutoTokenizer.from_pretrained(folder),
            list(names.values()),
            (Path(data), Path(written)),
            limit,
            batch_size,
        )
    return tuple(score for task, name in names.items() for score in _scores(task, found, name))


def _task_file(task: str, data: Path, written: Path) -> str:
    """The name under which the harness finds a task; a file for it is written where there is only data."""
    if (data / f"{task}.yaml").is_file():
        return task
    questions = data / f"{task}.jsonl"
    stock = _stock_file(task)
    if not questions.is_file() or stock is None:
        raise DataError(
            f"There is no data for the task {task!r}.",
            expected=f"{task}.jsonl for a task of the harness, or {task}.yaml, in {data}",
            received=", ".join(sorted(path.name for path in data.glob("*"))[:8]) or "an empty or absent folder",
            cause=None if stock is not None else f"the harness has no task {task!r}",
        )
    local = {
        "include": str(stock),
        "task": task + LOCAL,
        "tag": None,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"validation": str(questions.absolute())}},
        "training_split": None,
        "validation_split": "validation",
        "test_split": None,
        "fewshot_split": "validation",
    }
    (written / f"{task}{LOCAL}.yaml").write_text(yaml.safe_dump(local), encoding="utf-8")
    return task + LOCAL


def _stock_file(task: str) -> Path | None:
    """The harness's own definition of a task."""
    folder = Path(str(import_module("lm_eval").__file__)).parent / "tasks"
    for path in sorted(folder.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if f"\ntask: {task}\n" in f"\n{text}\n":
            return path
    return None


def _run(
    model: PreTrainedModel,
    tokenizer: Any,
    names: list[str],
    folders: Sequence[Path],
    limit: int | None,
    size: int,
) -> dict[str, Any]:
    harness, tasks = import_module("lm_eval"), import_module("lm_eval.tasks")
    wrapped = import_module("lm_eval.models.huggingface").HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=size,
        max_length=getattr(model.config, "max_position_embeddings", None),
        device=str(next(iter((*model.parameters(), *model.buffers()))).device),
    )
    manager = tasks.TaskManager(include_path=[str(folder) for folder in folders], include_defaults=False)
    with redirect_stderr(StringIO()):  # its progress bars
        return harness.simple_evaluate(
            model=wrapped,
            tasks=names,
            num_fewshot=0,
            limit=limit,
            task_manager=manager,
            bootstrap_iters=0,
            log_samples=False,
            verbosity="ERROR",
        )


def _scores(task: str, found: Mapping[str, Any], name: str) -> list[ZeroShotScore]:
    """Every accuracy of a task; the standard error is that of a share, √(p(1 − p) / n)."""
    measured, questions = found["results"][name], int(found["n-samples"][name]["effective"])
    scores = []
    for key, value in measured.items():
        metric, _, kind = key.partition(",")
        if kind != "none" or metric.endswith("_stderr") or not isinstance(value, float | int):
            continue
        error = (max(0.0, value * (1 - value)) / questions) ** 0.5
        scores.append(
            ZeroShotScore(
                task=task,
                metric=metric,
                value=float(value),
                standard_error=error,
                questions=questions,
                published=PUBLISHED.get(task) == metric,
            )
        )
    return scores
