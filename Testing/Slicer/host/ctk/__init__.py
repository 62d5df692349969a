"""`ctk` stand-ins: the CommonTK widgets scripted modules use, with the names CTK's headers give them.

A class or member that is missing here is either not in CTK or not yet needed; check CTK's header before
adding one.
"""

from .boxes import ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkExpandButton
from .buttons import (
    ctkCheckablePushButton,
    ctkCheckBox,
    ctkColorPickerButton,
    ctkComboBox,
    ctkFittedTextBrowser,
    ctkMenuButton,
    ctkMessageBox,
    ctkPushButton,
)
from .numbers import ctkDoubleSlider, ctkDoubleSpinBox, ctkSliderWidget
from .paths import ctkDirectoryButton, ctkPathLineEdit
from .ranges import ctkDoubleRangeSlider, ctkRangeWidget

__all__ = [
    "ctkCheckBox",
    "ctkCheckablePushButton",
    "ctkCollapsibleButton",
    "ctkCollapsibleGroupBox",
    "ctkColorPickerButton",
    "ctkComboBox",
    "ctkDirectoryButton",
    "ctkDoubleRangeSlider",
    "ctkDoubleSlider",
    "ctkDoubleSpinBox",
    "ctkExpandButton",
    "ctkFittedTextBrowser",
    "ctkMenuButton",
    "ctkMessageBox",
    "ctkPathLineEdit",
    "ctkPushButton",
    "ctkRangeWidget",
    "ctkSliderWidget",
]
