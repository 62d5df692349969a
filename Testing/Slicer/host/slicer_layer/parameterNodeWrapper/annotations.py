"""What may stand in `Annotated[type, ...]`: validators, defaults and hints for widgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable

_UNSET = object()


class Validator:
    """Base of validators; `validate` raises when the value is not acceptable."""

    def validate(self, value: object) -> None:
        """Raise ValueError when `value` is not acceptable."""
        raise ValueError(f"{type(self).__name__} does not override validate()")


class NotNone(Validator):
    """The value is not None."""

    def validate(self, value: object) -> None:
        if value is None:
            raise ValueError("the value must not be None")


class IsInstance(Validator):
    """The value is an instance of a type, or of one of several."""

    def __init__(self, classtype: type | tuple[type, ...]) -> None:
        self.classtype = classtype

    def validate(self, value: object) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise ValueError(f"the value must be {self.classtype}, it is {type(value).__name__}: {value!r}")


class Minimum(Validator):
    """The value is not below `minimum`."""

    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: float) -> None:
        if value < self.minimum:
            raise ValueError(f"the value must be at least {self.minimum}, it is {value}")


class Maximum(Validator):
    """The value is not above `maximum`."""

    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: float) -> None:
        if value > self.maximum:
            raise ValueError(f"the value must be at most {self.maximum}, it is {value}")


class WithinRange(Validator):
    """The value lies between two limits, both included."""

    def __init__(self, minimum: float, maximum: float) -> None:
        if minimum > maximum:
            raise ValueError(f"the range from {minimum} to {maximum} is empty")
        self.minimum = minimum
        self.maximum = maximum

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"the value must lie within [{self.minimum}, {self.maximum}], it is {value}")


class Choice(Validator):
    """The value is one of several."""

    def __init__(self, choices: Iterable[object]) -> None:
        self.choices = list(choices)

    def validate(self, value: object) -> None:
        if value not in self.choices:
            raise ValueError(f"the value must be one of {self.choices}, it is {value!r}")


class Exclude(Validator):
    """The value is none of several."""

    def __init__(self, excludes: Iterable[object]) -> None:
        self.excludes = list(excludes)

    def validate(self, value: object) -> None:
        if value in self.excludes:
            raise ValueError(f"the value must be none of {self.excludes}, it is {value!r}")


class Default:
    """The value of a parameter that was never set: given, or made by `generator()`."""

    def __init__(self, value: object = _UNSET, *, generator: Callable[[], object] | None = None) -> None:
        if (value is _UNSET) == (generator is None):
            raise ValueError("Default takes either a value or a generator")
        self.generator = generator or (lambda: value)


class Decimals:
    """Number of decimals a widget shows."""

    def __init__(self, value: int) -> None:
        self.value = value


class SingleStep:
    """Step of a widget's arrows."""

    def __init__(self, value: float) -> None:
        self.value = value


def limits(annotations: Iterable[object]) -> tuple[float | None, float | None]:
    """Smallest and largest value the validators allow; None where there is no limit."""
    low: list[float] = []
    high: list[float] = []
    for annotation in annotations:
        if isinstance(annotation, (Minimum, WithinRange)):
            low.append(annotation.minimum)
        if isinstance(annotation, (Maximum, WithinRange)):
            high.append(annotation.maximum)
    return max(low, default=None), min(high, default=None)
