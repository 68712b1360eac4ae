"""Errors that speak the reader's language: expected, received, likely cause, what to do."""

from __future__ import annotations


class DarkitError(Exception):
    """Base of every error raised on purpose by this package.

    Args:
        message: One sentence naming what went wrong.
        expected: What would have been accepted.
        received: What was found instead.
        cause: The most likely reason.
        fix: What to do next, ideally a line that can be typed.
    """

    def __init__(
        self,
        message: str,
        *,
        expected: str | None = None,
        received: str | None = None,
        cause: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.message = message
        self.expected = expected
        self.received = received
        self.cause = cause
        self.fix = fix
        super().__init__(message)

    def __str__(self) -> str:
        details = (
            ("expected", self.expected),
            ("received", self.received),
            ("likely cause", self.cause),
            ("what to do", self.fix),
        )
        return "\n".join([self.message, *(f"  {name}: {text}" for name, text in details if text)])

    def to_dict(self) -> dict[str, str | None]:
        """The parts of the error as plain data, for files and widgets."""
        return {name: getattr(self, name) for name in ("message", "expected", "received", "cause", "fix")}


class ShapeError(DarkitError, ValueError):
    """A tensor has the wrong shape, dtype or device."""


class ConfigError(DarkitError, ValueError):
    """A configuration key or value is not acceptable."""


class DataError(DarkitError):
    """A corpus or tokenizer cannot be used as asked."""


class RunError(DarkitError):
    """A run directory cannot be created, read, resumed or imported."""


class BackendError(DarkitError, RuntimeError):
    """A fast path was demanded and cannot be had on this machine."""


class PluginError(DarkitError):
    """A plug-in could not be imported, or registered something unusable."""


class ModelError(DarkitError):
    """A model cannot be built, made spiking, saved or loaded as asked."""


class TrainingError(DarkitError, RuntimeError):
    """Training cannot start or cannot go on."""


class PatchError(DarkitError):
    """A module's source cannot be read, edited, put into the model or taken back.

    Args:
        message: One sentence naming what went wrong.
        line: Line of the edited text it concerns, from 1; None where it concerns no line.
        details: Expected, received, cause and fix, as in `DarkitError`.
    """

    def __init__(self, message: str, *, line: int | None = None, **details: str | None) -> None:
        super().__init__(message, **details)
        self.line = line


class TrustError(DarkitError):
    """Code that came from elsewhere and nobody here has agreed to run.

    Args:
        message: One sentence naming what holds the code.
        contents: What it holds, in full, to be read before agreeing.
        details: Expected, received, cause and fix, as in `DarkitError`.
    """

    def __init__(self, message: str, *, contents: str = "", **details: str | None) -> None:
        super().__init__(message, **details)
        self.contents = contents

    def __str__(self) -> str:
        return f"{super().__str__()}\n\n{self.contents}" if self.contents else super().__str__()


def problem_of(error: BaseException) -> dict[str, str | None]:
    """Any error in the form of `DarkitError.to_dict`; one that nobody foresaw is named with its type."""
    if isinstance(error, DarkitError):
        return error.to_dict()
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    fix = "the log shows where it happened"
    if "out of memory" in text.lower() or isinstance(error, MemoryError):
        fix = "lower train.batch_size or data.seq_len, or choose a smaller model"
    return {"message": text, "expected": None, "received": None, "cause": None, "fix": fix}
