"""Buttons, combo box and message box that differ from Qt's by a few properties."""

from __future__ import annotations

import qt
from qt._standins import StandIn, standIn, stored


class _TextButton(StandIn):
    """Constructor forms of CTK's buttons: (parent) and (text, parent)."""

    def __init__(
        self, textOrParent: str | qt.QWidget | None = None, parent: qt.QWidget | None = None
    ) -> None:
        super().__init__(parent if isinstance(textOrParent, str) else textOrParent)
        if isinstance(textOrParent, str):
            self.setText(textOrParent)


@standIn
class ctkPushButton(_TextButton, qt.QPushButton):
    """QPushButton that can elide and align its text."""

    buttonTextAlignment = stored("buttonTextAlignment", qt.Qt.AlignHCenter | qt.Qt.AlignVCenter)
    iconAlignment = stored("iconAlignment", qt.Qt.AlignLeft | qt.Qt.AlignVCenter)
    elideMode = stored("elideMode", qt.Qt.ElideNone)


@standIn
class ctkCheckablePushButton(ctkPushButton):
    """Push button with a check box in it; `checkBoxUserCheckable` lets the user toggle it."""

    SIGNALS = ("checkStateChanged(Qt::CheckState)",)
    checkState = stored("checkState", qt.Qt.Unchecked, qt.Qt.CheckState, "checkStateChanged(Qt::CheckState)")
    indicatorAlignment = stored("indicatorAlignment", qt.Qt.AlignLeft | qt.Qt.AlignVCenter)
    checkBoxControlsButton = stored("checkBoxControlsButton", False, bool)
    checkBoxControlsButtonToggleState = stored("checkBoxControlsButtonToggleState", False, bool)
    checkBoxUserCheckable = stored("checkBoxUserCheckable", True, bool)


@standIn
class ctkMenuButton(ctkPushButton):
    """Push button with a menu beside it (`setMenu`)."""


@standIn
class ctkCheckBox(StandIn, qt.QCheckBox):
    """QCheckBox that can show an icon instead of the box."""

    indicatorIcon = stored("indicatorIcon", None)


@standIn
class ctkComboBox(StandIn, qt.QComboBox):
    """QComboBox with a text for «nothing selected»."""

    AlwaysScroll, NeverScroll, ScrollWithFocus, ScrollWithNoFocus = range(4)
    forceDefault = stored("forceDefault", False, bool)
    scrollWheelEffect = stored("scrollWheelEffect", AlwaysScroll)

    @property
    def defaultText(self) -> str:
        return self.placeholderText

    @defaultText.setter
    def defaultText(self, value: str) -> None:
        self.setPlaceholderText(value)


@standIn
class ctkColorPickerButton(_TextButton, qt.QPushButton):
    """Button that shows a colour and asks for another one."""

    SIGNALS = ("colorChanged(QColor)",)
    color = stored("color", qt.QColor(0, 0, 0), qt.QColor, "colorChanged(QColor)")
    displayColorName = stored("displayColorName", True, bool)


@standIn
class ctkMessageBox(StandIn, qt.QMessageBox):
    """QMessageBox with a «don't show again» box."""

    dontShowAgain = stored("dontShowAgain", False, bool)
    dontShowAgainVisible = stored("dontShowAgainVisible", False, bool)
    dontShowAgainSettingsKey = stored("dontShowAgainSettingsKey", "", str)


@standIn
class ctkFittedTextBrowser(StandIn, qt.QTextBrowser):
    """Text browser as high as its text."""

    collapsible = stored("collapsible", False, bool)
    collapsed = stored("collapsed", False, bool)

    def heightForWidth(self, width: int) -> int:
        document = self.document.clone()
        document.setTextWidth(width)
        return int(document.size.height())

    def sizeHint(self) -> qt.QSize:
        return qt.QSize(200, self.heightForWidth(400) + 4)
