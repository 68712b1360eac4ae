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
