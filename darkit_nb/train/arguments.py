"""A run's configuration in the words of transformers' `Trainer`."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainingArguments

from darkit_nb.config import RunConfig, TrainConfig
from darkit_nb.errors import TrainingError


def training_arguments(config: RunConfig, output_dir: Path) -> TrainingArguments:
    """Everything `Trainer` has to be told for this run.

    Raises:
        TrainingError: the configuration asks for a GPU that is not there.
    """
    train = config.train
    use_cpu = resolve_device(train) == "cpu"
    return TrainingArguments(
        output_dir=str(output_dir),
        per_device_train_batch_size=train.batch_size,
        per_device_eval_batch_size=train.batch_size,
        gradient_accumulation_steps=train.gradient_accumulation,
        max_steps=train.steps,
        learning_rate=train.learning_rate,
        warmup_steps=train.effective_warmup_steps,
        weight_decay=train.weight_decay,
        adam_beta1=train.beta1,
        adam_beta2=train.beta2,
        max_grad_norm=train.clip_norm,
        optim="adamw_torch_fused",
        bf16=train.precision == "bfloat16",
        fp16=train.precision == "float16",
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=use_cpu,
        eval_strategy="steps" if config.evaluation.every else "no",
        eval_steps=config.evaluation.every or None,
        eval_on_start=True,
        prediction_loss_only=True,
        logging_steps=config.monitor.metrics_every,
        logging_first_step=True,
        # A NaN must stop the run, not vanish in an average.
        logging_nan_inf_filter=False,
        save_strategy="steps" if config.checkpoint.every else "no",
        save_steps=config.checkpoint.every or train.steps,
        report_to=["tensorboard"] if train.tensorboard else "none",
        disable_tqdm=True,
        log_level="error",
        dataloader_drop_last=True,
        dataloader_pin_memory=not use_cpu,
        remove_unused_columns=False,
        # Running statistics differ between processes until they are merged; rank 0 must not overwrite them.
        ddp_broadcast_buffers=False,
        ddp_find_unused_parameters=False,
    )


def resolve_device(train: TrainConfig) -> str:
    """`cpu` or `cuda`.

    Raises:
        TrainingError: a GPU is demanded and torch sees none.
    """
    if train.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            "train.device=cuda, and torch sees no GPU.",
            expected="a CUDA device",
            received=f"torch {torch.__version__}, CUDA available: False",
            cause="no GPU, no driver, or the CPU build of torch",
            fix="use train.device=auto, or install a CUDA build of torch; `darkit-nb doctor` says what is there",
        )
    if train.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return train.device


def learning_rate_schedule(optimizer: Optimizer, train: TrainConfig) -> LambdaLR:
    """Warm up linearly, then fall to `min_learning_rate_ratio` of the peak at the last step."""
    warmup, low = train.effective_warmup_steps, train.min_learning_rate_ratio

    def ratio(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1, train.steps - warmup))
        shape = {
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
            "linear": 1 - progress,
            "constant": 1.0,
        }[train.schedule]
        return shape if train.schedule == "constant" else low + (1 - low) * shape

    return LambdaLR(optimizer, ratio)
