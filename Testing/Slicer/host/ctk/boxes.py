"""Sections that fold: ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkExpandButton."""

from __future__ import annotations

import qt
from qt._standins import StandIn, standIn, stored

_HEADER = 26  # pixels of the clickable header
_UNLIMITED = 16777215  # QWIDGETSIZE_MAX


def _foldChildren(box: qt.QWidget, hidden: dict, collapsed: bool) -> None:
    """Hide the children of `box`, or show those that were not hidden before it was folded."""
    for child in box.children():
        if not isinstance(child, qt.QWidget):
            continue
        if collapsed:
            hidden[child] = child.isHidden()
            child.hide()
        elif not hidden.pop(child, False):
            child.show()


@standIn
class ctkCollapsibleButton(StandIn, qt.QAbstractButton):
    """A titled section; checked means open.  It has no layout until one is set."""

    SIGNALS = ("contentsCollapsed(bool)",)
    collapsedHeight = stored("collapsedHeight", 14, int)
    flat = stored("flat", False, bool)
    contentsFrameShape = stored("contentsFrameShape", qt.QFrame.NoFrame)
    contentsFrameShadow = stored("contentsFrameShadow", qt.QFrame.Plain)
    contentsLineWidth = stored("contentsLineWidth", 1, int)
    contentsMidLineWidth = stored("contentsMidLineWidth", 0, int)

    def __init__(
        self, textOrParent: str | qt.QWidget | None = None, parent: qt.QWidget | None = None
    ) -> None:
        isText = isinstance(textOrParent, str)
        super().__init__(parent if isText else textOrParent)
        self._collapsed = False
        self._hidden: dict = {}
        self.setContentsMargins(6, _HEADER + 2, 4, 4)
        self.setText(textOrParent if isText else "")
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._setOpen)
        self.setSizePolicy(qt.QSizePolicy.Preferred, qt.QSizePolicy.Preferred)

    def _setOpen(self, opened: bool) -> None:
        if opened != self._collapsed:
            return
        self._collapsed = not opened
        _foldChildren(self, self._hidden, self._collapsed)
        self.updateGeometry()
        self.update()
        self._emit("contentsCollapsed(bool)", self._collapsed)

    @property
    def collapsed(self) -> bool:
        return self._collapsed

    @collapsed.setter
    def collapsed(self, value: bool) -> None:
        self.setChecked(not value)

    def sizeHint(self) -> qt.QSize:
        return self._contentSize("totalSizeHint", 120)

    def minimumSizeHint(self) -> qt.QSize:
        return self._contentSize("totalMinimumSize", 60)

    def _contentSize(self, measure: str, width: int) -> qt.QSize:
        layout = self.layout()
        if layout is None or self._collapsed:
            return qt.QSize(width, _HEADER)
        content = getattr(layout, measure)()
        return qt.QSize(max(content.width(), width), max(content.height(), _HEADER))

    def hitButton(self, position: qt.QPoint) -> bool:
        return position.y() <= _HEADER

    def paintEvent(self, event: qt.QPaintEvent) -> None:
        painter = qt.QStylePainter(self)
        header = qt.QStyleOptionButton()
        header.initFrom(self)
        header.rect = qt.QRect(0, 0, self.width, _HEADER)
        painter.drawControl(qt.QStyle.CE_PushButton, header)
        text = ("▶  " if self._collapsed else "▼  ") + self.text
        painter.drawText(header.rect.adjusted(8, 0, -8, 0), qt.Qt.AlignVCenter | qt.Qt.AlignLeft, text)
        painter.end()


@standIn
class ctkCollapsibleGroupBox(StandIn, qt.QGroupBox):
    """A group box whose check mark folds it."""

    collapsedHeight = stored("collapsedHeight", 14, int)

    def __init__(
        self, titleOrParent: str | qt.QWidget | None = None, parent: qt.QWidget | None = None
    ) -> None:
        isTitle = isinstance(titleOrParent, str)
        super().__init__(parent if isTitle else titleOrParent)
        self.setTitle(titleOrParent if isTitle else "")
        self._hidden: dict = {}
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._setOpen)

    def _setOpen(self, opened: bool) -> None:
        _foldChildren(self, self._hidden, not opened)
        self.setMaximumHeight(_UNLIMITED if opened else _HEADER)

    @property
    def collapsed(self) -> bool:
        return not self.checked

    @collapsed.setter
    def collapsed(self, value: bool) -> None:
        self.setChecked(not value)


@standIn
class ctkExpandButton(StandIn, qt.QToolButton):
    """A tool button that points the way its section opens."""

    mirrorOnExpand = stored("mirrorOnExpand", False, bool)
    orientation = stored("orientation", qt.Qt.Horizontal)
