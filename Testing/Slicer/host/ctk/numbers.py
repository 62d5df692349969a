"""Sliders and spin boxes for real numbers."""

from __future__ import annotations

import qt
from qt._standins import StandIn, standIn, stored

_STEPS = 10000  # positions of the integer slider inside


def _inner(name: str, convert: type = float) -> property:
    """A property that the spin box inside holds."""

    def read(self: StandIn) -> object:
        return getattr(self._spinBox, name)

    def write(self: StandIn, value: object) -> None:
        setattr(self._spinBox, name, convert(value))

    return property(read, write)


class _Number(StandIn, qt.QWidget):
    """A QWidget around a QDoubleSpinBox: range, decimals and value are the spin box's."""

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        row = qt.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._spinBox = qt.QDoubleSpinBox()
        self._spinBox.setRange(0.0, 99.0)
        self._spinBox.valueChanged.connect(self._changed)
        row.addWidget(self._spinBox)

    def _changed(self, value: float) -> None:
        self._emit("valueChanged(double)", value)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._spinBox.setRange(float(minimum), float(maximum))


@standIn
class ctkDoubleSpinBox(_Number):
    """Spin box for real numbers (in CTK a QWidget, not a QDoubleSpinBox)."""

    SIGNALS = ("valueChanged(double)", "valueChanged(QString)", "editingFinished()", "decimalsChanged(int)")
    value, minimum, maximum, singleStep = (
        _inner("value"),
        _inner("minimum"),
        _inner("maximum"),
        _inner("singleStep"),
    )
    prefix, suffix, decimals = _inner("prefix", str), _inner("suffix", str), _inner("decimals", int)

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self._spinBox.editingFinished.connect(lambda: self._emit("editingFinished()"))

    def _changed(self, value: float) -> None:
        super()._changed(value)
        self._emit("valueChanged(QString)", self._spinBox.text)


class _Slider(_Number):
    """A slider beside the spin box; both show the same value."""

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = qt.QSlider(qt.Qt.Horizontal)
        self._slider.setRange(0, _STEPS)
        self._slider.sliderMoved.connect(self._moved)
        self.layout().insertWidget(0, self._slider)

    def _moved(self, position: int) -> None:
        span = self._spinBox.maximum - self._spinBox.minimum
        self._spinBox.setValue(self._spinBox.minimum + span * position / _STEPS)

    def _showPosition(self) -> None:
        span = self._spinBox.maximum - self._spinBox.minimum
        share = (self._spinBox.value - self._spinBox.minimum) / span if span else 0.0
        self._slider.setValue(round(_STEPS * share))

    def _changed(self, value: float) -> None:
        self._showPosition()
        super()._changed(value)

    def setRange(self, minimum: float, maximum: float) -> None:
        super().setRange(minimum, maximum)
        self._showPosition()


@standIn
class ctkSliderWidget(_Slider):
    """Slider and spin box for one real number; the range is 0 to 99 until it is set."""

    SIGNALS = ("valueChanged(double)", "valueIsChanging(double)", "decimalsChanged(int)")
    value, minimum, maximum, singleStep = (
        _inner("value"),
        _inner("minimum"),
        _inner("maximum"),
        _inner("singleStep"),
    )
    prefix, suffix, decimals = _inner("prefix", str), _inner("suffix", str), _inner("decimals", int)
    pageStep = stored("pageStep", 1.0, float)
    tickInterval = stored("tickInterval", 0.0, float)
    tracking = stored("tracking", True, bool)
    tickPosition = stored("tickPosition", qt.QSlider.NoTicks)
    spinBoxAlignment = stored("spinBoxAlignment", qt.Qt.AlignVCenter)
    synchronizeSiblings = stored("synchronizeSiblings", 0)
    popupSlider = stored("popupSlider", False, bool)

    @property
    def spinBoxVisible(self) -> bool:
        return not self._spinBox.isHidden()

    @spinBoxVisible.setter
    def spinBoxVisible(self, value: bool) -> None:
        self._spinBox.setVisible(value)

    def _changed(self, value: float) -> None:
        self._emit("valueIsChanging(double)", value)
        super()._changed(value)

    def reset(self) -> None:
        self.value = min(max(0.0, self.minimum), self.maximum)


@standIn
class ctkDoubleSlider(_Slider):
    """Slider for a real number, without a spin box."""

    SIGNALS = ("valueChanged(double)", "sliderMoved(double)", "sliderPressed()", "sliderReleased()")
    value, minimum, maximum, singleStep = (
        _inner("value"),
        _inner("minimum"),
        _inner("maximum"),
        _inner("singleStep"),
    )
    pageStep = stored("pageStep", 1.0, float)
    tickInterval = stored("tickInterval", 0.0, float)
    tracking = stored("tracking", True, bool)
    orientation = stored("orientation", qt.Qt.Horizontal)

    def __init__(self, orientationOrParent: object = None, parent: qt.QWidget | None = None) -> None:
        isParent = isinstance(orientationOrParent, qt.QWidget)
        super().__init__(orientationOrParent if isParent else parent)
        self._spinBox.setDecimals(6)
        self._spinBox.hide()
