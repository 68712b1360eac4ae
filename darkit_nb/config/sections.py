"""The sections of a run's configuration: every field typed, limited and described where it stands."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from darkit_nb.config.base import PathText, Section
from darkit_nb.config.names import ForkName


class ModelConfig(Section):
    """Which language model is trained."""

    preset: str = Field(
        default="spike-llama-nano", description="Name of a registered model shape, built with fresh weights."
    )
    path: PathText | None = Field(
        default=None,
        description="Folder or hub id of a pretrained model; when given, it is used instead of the preset.",
    )
    overrides: dict[str, int | float | bool | str | None] = Field(
        default_factory=dict,
        description="Fields of the transformers config that differ from the preset, such as hidden_size.",
    )
    fork: ForkName | None = Field(
        default=None,
        description="Name of a fork in the forks folder beside runs_dir; its edited modules are put into the model.",
    )
    fork_replay: bool = Field(
        default=False,
        description="Apply and revert the fork's edits at the steps at which its run did, instead of all at the start.",
    )


class DataConfig(Section):
    """Which text the model reads, and how it is cut."""

    dataset: str = Field(
        default="stdlib",
        min_length=1,
        description="Registered dataset, text:<path or pattern>, or a dataset id of the hub.",
    )
    subset: str | None = Field(
        default=None, description="Configuration name of a hub dataset, such as wikitext-2-raw-v1."
    )
    tokenizer: str = Field(
        default="bytes",
        min_length=1,
        description="bytes, bpe:<size> (trained on this corpus), a folder, or an id of the hub.",
    )
    seq_len: int = Field(default=256, ge=2, le=1_048_576, description="Tokens L in one window.")
    validation_fraction: float = Field(
        default=0.05,
        gt=0.0,
        le=0.5,
        description="Share of the documents kept for validation where the corpus has no split.",
    )
    split_seed: int = Field(
        default=0,
        ge=0,
        le=2**32 - 1,
        description="Decides which documents are kept for validation; apart from `seed`, so that runs stay comparable.",
    )
    text_column: str | None = Field(
        default=None, description="Column that holds the text; found by itself where it is clear."
    )
    streaming: bool = Field(
        default=False, description="Read the corpus as it comes instead of preparing all of it first."
    )
    max_train_tokens: int | None = Field(
        default=None, ge=2, description="Upper limit of training tokens; null takes all."
    )
    max_validation_tokens: int | None = Field(
        default=None, ge=2, description="Upper limit of validation tokens; null takes all."
    )
    cache_dir: PathText | None = Field(
        default=None, description="Folder of prepared corpora; null takes $DARKIT_CACHE, or ~/.cache/darkit-nb."
    )


class TrainConfig(Section):
    """How long, how fast and on what the model is trained."""

    steps: int = Field(default=1000, ge=1, description="Optimizer steps.")
    max_seconds: float | None = Field(
        default=None,
        gt=0.0,
        description="Time limit; training then ends in order, with an evaluation and a checkpoint.",
    )
    batch_size: int = Field(default=16, ge=1, le=65536, description="Windows per process and forward pass.")
    gradient_accumulation: int = Field(default=1, ge=1, le=65536, description="Forward passes summed into one step.")
    learning_rate: float = Field(default=3e-3, gt=0.0, le=10.0, description="Peak learning rate of AdamW.")
    min_learning_rate_ratio: float = Field(
        default=0.1, ge=0.0, le=1.0, description="Learning rate at the last step, as a share of the peak."
    )
    warmup_steps: int = Field(
        default=50, ge=0, description="Steps over which the learning rate rises from 0; at most a tenth of a short run."
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="How the learning rate falls after warm-up."
    )
    weight_decay: float = Field(default=0.1, ge=0.0, le=10.0, description="Decoupled weight decay of AdamW.")
    beta1: float = Field(default=0.9, ge=0.0, lt=1.0, description="AdamW's decay of the mean gradient.")
    beta2: float = Field(default=0.95, ge=0.0, lt=1.0, description="AdamW's decay of the squared gradient.")
    clip_norm: float = Field(default=1.0, ge=0.0, description="Largest gradient norm; 0 does not clip.")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="Arithmetic of the forward and backward pass; weights stay float32."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where to train; auto takes a GPU if it works."
    )
    num_threads: int | None = Field(
        default=None, ge=1, le=4096, description="CPU threads of torch; null takes the cores this process may use."
    )
    tensorboard: bool = Field(default=False, description="Write TensorBoard event files beside the metrics.")

    @property
    def effective_warmup_steps(self) -> int:
        """Warm-up that is really used: `warmup_steps`, or a tenth of the run where that is shorter."""
        return min(self.warmup_steps, self.steps // 10)


class EvaluationConfig(Section):
    """How often and on how much the model is validated during training."""

    every: int = Field(default=100, ge=0, description="Steps between two validations; 0 validates at the end only.")
    windows: int = Field(default=32, ge=0, description="Validation windows used; 0 takes all.")


class MonitorConfig(Section):
    """What a run writes down while it trains."""

    metrics_every: int = Field(default=1, ge=1, description="Steps between two training metrics.")
    spikes_every: int = Field(default=100, ge=0, description="Steps between two spike measurements; 0 takes none.")
    spike_tokens: int = Field(default=512, ge=1, description="Tokens used for one spike measurement.")


class CheckpointConfig(Section):
    """When a run saves what it needs to go on."""

    every: int = Field(default=200, ge=0, description="Steps between two checkpoints; 0 saves at the end only.")
    keep: int = Field(default=3, ge=1, description="Newest checkpoints that are kept.")
