"""The settings of a conversion while somebody chooses them: a preset, and what was changed of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from darkit_nb.config.conversions import BITS, preset
from darkit_nb.config.field_text import text_of, value_of
from darkit_nb.errors import ConfigError
from darkit_nb.records.conversion_spec import ConversionSpec
from darkit_nb.records.problem import Problem, SettingsError, settings_error, shown
from darkit_nb.records.setting import Setting, record_settings
from darkit_nb.records.spike_spec import SpikeSpec

_NOT_OF_CONVERSIONS = ("spike.weight_bits", "spike.reselect_every", "spike.gradient")
_ALL = {**record_settings(SpikeSpec, "spike."), **record_settings(ConversionSpec)}
SPEC_FIELDS: dict[str, Setting] = {
    key: setting for key, setting in _ALL.items() if key not in ("pipeline", "spike", *_NOT_OF_CONVERSIONS)
}
"""The settings of a conversion that a form has a field for; those of training alone are left out."""

_OF_THE_TEXT = ("samples", "sample_length", "seed")


@dataclass(frozen=True)
class CheckedSpec:
    """What validation says about a draft.

    Attributes:
        spec: what would be done, or None while something is wrong.
        problems: what is wrong, by the key of its field; `bits` or "" where no field is meant.
    """

    spec: ConversionSpec | None
    problems: dict[str, Problem]


class SpecDraft:
    """A preset at some bits, and the fields that differ from it, acceptable or not.

    Args:
        pipeline: name of the preset.
        bits: such as `W4A4`; None takes the preset's own.
        longest: tokens the model can read at once, beyond which calibration sequences are not asked for.
    """

    def __init__(self, pipeline: str = "darkit", bits: str | None = None, *, longest: int | None = None) -> None:
        self.pipeline, self.bits, self.longest = pipeline, bits, longest
        self._values: dict[str, Any] = {}
        self._texts: dict[str, str] = {}
        self._refused: Problem | None = None
        self._base = _flat(preset("rtn"))
        self.choose(pipeline, bits)

    # -- what is chosen ----------------------------------------------------------------------------------------------

    def choose(self, pipeline: str, bits: str | None = None) -> None:
        """Take another preset; of what was changed, only what concerns the calibration text stays.

        Raises:
            ConfigError: there is no such preset. Bits a preset does not have are kept, and a problem.
        """
        try:
            base = preset(pipeline, bits=bits)
            self._refused = None
        except ConfigError as error:
            base = preset(pipeline)  # the name was wrong, if this is refused too
            self._refused = _problem("bits", error)
        self.pipeline, self.bits = pipeline, bits
        self._base = _flat(base)
        if self.longest is not None:
            self._base["sample_length"] = min(self._base["sample_length"], self.longest)
        kept = {key: value for key, value in self._values.items() if key in _OF_THE_TEXT}
        self._values, self._texts = kept, {key: text for key, text in self._texts.items() if key in kept}

    def fit(self, longest: int | None) -> None:
        """Another model is chosen, which can read so many tokens at once."""
        self.longest = longest
        usual = _flat(preset(self.pipeline))["sample_length"]
        self._base["sample_length"] = usual if longest is None else min(usual, longest)

    @property
    def off(self) -> tuple[str, ...]:
        """`spike` where activations stay in float."""
        return ("spike",) if self._value("spike") is None else ()

    def text(self, key: str) -> str:
        """What the field of a setting shows."""
        return self._texts[key] if key in self._texts else text_of(SPEC_FIELDS[key], self._value(key))

    def usual(self, key: str) -> Any:
        """What the preset says."""
        if key in self._base:
            return self._base[key]
        return SPEC_FIELDS[key].default  # of spikes that the preset does not have

    # -- what is changed ---------------------------------------------------------------------------------------------

    def set(self, key: str, value: Any) -> None:
        """Give one setting a value; `spike` takes None for float activations, or True.

        Raises:
            ConfigError: there is no such setting.
        """
        if key == "spike" and (value is None or isinstance(value, bool)):
            self._put("spike", value or None)
            return
        self._require(key, value)
        self._texts.pop(key, None)
        self._put(key, value)

    def write(self, key: str, text: str) -> None:
        """Give one setting the text of its field, which stays as it was typed.

        Raises:
            ConfigError: there is no such setting.
        """
        self._require(key, text)
        self._texts[key] = text
        self._put(key, value_of(SPEC_FIELDS[key], text))

    def reset(self, key: str) -> None:
        """Give one setting the preset's value again."""
        self._values.pop(key, None)
        self._texts.pop(key, None)

    @property
    def changed(self) -> dict[str, Any]:
        """What differs from the preset: dotted key → value; `spike` is None where it was switched off."""
        if "spike" in self._values and self._values["spike"] is None:
            return {key: value for key, value in self._values.items() if not key.startswith("spike.")}
        return dict(self._values)

    def check(self) -> CheckedSpec:
        """What it comes to, or what is wrong."""
        found: tuple[Problem, ...] = ()
        try:
            spec = self._spec()
        except SettingsError as error:
            spec, found = None, error.problems
        problems: dict[str, Problem] = {}
        for problem in found:
            for key in _fields_of(problem):
                problems.setdefault(key, problem)
        if self._refused is not None:
            problems["bits"] = self._refused
        return CheckedSpec(None if problems else spec, problems)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _spec(self) -> ConversionSpec:
        fields = {key: self._value(key) for key in SPEC_FIELDS if "." not in key}
        spike = None
        if not self.off:
            own = {key.partition(".")[2]: self._value(key) for key in SPEC_FIELDS if key.startswith("spike.")}
            spike = {**SpikeSpec().to_dict(), **own}
        return ConversionSpec.from_dict({**fields, "pipeline": self.pipeline, "spike": spike})

    def _value(self, key: str) -> Any:
        return self._values[key] if key in self._values else self.usual(key)

    def _put(self, key: str, value: Any) -> None:
        usual = self._base.get(key)
        if value == usual and isinstance(value, bool) is isinstance(usual, bool) and key in self._base:
            self.reset(key)
        else:
            self._values[key] = value

    def _require(self, key: str, value: Any) -> None:
        if key not in SPEC_FIELDS:
            raise settings_error([_unknown(key, value)])


def usual_bits(pipeline: str) -> str:
    """The bits a preset takes where none are named, as `BITS` writes them."""
    spec = preset(pipeline)
    return next((bits for bits in BITS if _same(pipeline, bits, spec)), BITS[0])


def _same(pipeline: str, bits: str, spec: ConversionSpec) -> bool:
    try:
        return preset(pipeline, bits=bits) == spec
    except ConfigError:
        return False


def _flat(spec: ConversionSpec) -> dict[str, Any]:
    """Dotted keys of a spec; `spike` is True or None."""
    data = spec.to_dict()
    spike = data.pop("spike")
    own = {f"spike.{key}": value for key, value in (spike or {}).items()}
    return {**data, **own, "spike": None if spike is None else True}


def _unknown(key: str, value: Any) -> Problem:
    return Problem(
        key=key,
        message=f"There is no setting {key!r} of a conversion.",
        expected=", ".join(SPEC_FIELDS),
        received=f"{key!r} = {shown(value)}",
    )


def _problem(key: str, error: ConfigError) -> Problem:
    return Problem(key=key, message=error.message, expected=error.expected, received=error.received, fix=error.fix)


def _fields_of(problem: Problem) -> list[str]:
    """The field a problem belongs to and those it names, as in `num_levels=6, num_steps=2`; "" where there are none."""
    words = re.findall(r"\b((?:spike\.)?\w+)=", problem.received or "")
    found = [key for word in words for key in (word, f"spike.{word}") if key in SPEC_FIELDS]
    own = [problem.key] if problem.key in SPEC_FIELDS else []
    return list(dict.fromkeys([*own, *found])) or [""]
