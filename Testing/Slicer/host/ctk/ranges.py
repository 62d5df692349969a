"""Widgets for an interval: ctkRangeWidget, ctkDoubleRangeSlider."""

from __future__ import annotations

import qt
from qt._standins import StandIn, standIn, stored


class _Interval(StandIn, qt.QWidget):
    """Two spin boxes whose values cannot cross; ranges and values are real numbers."""

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        row = qt.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._low, self._high = qt.QDoubleSpinBox(), qt.QDoubleSpinBox()
        for box in (self._low, self._high):
            box.setRange(0.0, 99.0)
            row.addWidget(box)
        self._high.setValue(99.0)
        self._low.valueChanged.connect(self._lowChanged)
        self._high.valueChanged.connect(self._highChanged)

    def _lowChanged(self, value: float) -> None:
        if value > self._high.value:
            self._high.setValue(value)
        self._emit("valuesChanged(double,double)", self._low.value, self._high.value)

    def _highChanged(self, value: float) -> None:
        if value < self._low.value:
            self._low.setValue(value)
        self._emit("valuesChanged(double,double)", self._low.value, self._high.value)

    def setRange(self, minimum: float, maximum: float) -> None:
        for box in (self._low, self._high):
            box.setRange(float(minimum), float(maximum))

    def setValues(self, low: float, high: float) -> None:
        self._low.setValue(float(low))
        self._high.setValue(float(high))

    def _write(self, name: str, value: float) -> None:
        for box in (self._low, self._high):
            setattr(box, name, value)

    minimum = property(
        lambda self: self._low.minimum, lambda self, value: self._write("minimum", float(value))
    )
    maximum = property(
        lambda self: self._low.maximum, lambda self, value: self._write("maximum", float(value))
    )
    singleStep = property(
        lambda self: self._low.singleStep, lambda self, value: self._write("singleStep", float(value))
    )
    minimumValue = property(
        lambda self: self._low.value, lambda self, value: self._low.setValue(float(value))
    )
    maximumValue = property(
        lambda self: self._high.value, lambda self, value: self._high.setValue(float(value))
    )


@standIn
class ctkRangeWidget(_Interval):
    """Range slider with two spin boxes."""

    SIGNALS = ("valuesChanged(double,double)",)
    decimals = property(
        lambda self: self._low.decimals, lambda self, value: self._write("decimals", int(value))
    )
    prefix = property(lambda self: self._low.prefix, lambda self, value: self._write("prefix", value))
    suffix = property(lambda self: self._low.suffix, lambda self, value: self._write("suffix", value))
    tickInterval = stored("tickInterval", 0.0, float)
    tracking = stored("tracking", True, bool)


@standIn
class ctkDoubleRangeSlider(_Interval):
    """Range slider alone."""

    SIGNALS = ("valuesChanged(double,double)",)
    orientation = stored("orientation", qt.Qt.Horizontal)
    tickInterval = stored("tickInterval", 0.0, float)
    tracking = stored("tracking", True, bool)
