"""Number widgets with units: qMRMLSliderWidget, qMRMLSpinBox, qMRMLRangeWidget."""

from __future__ import annotations

from ctk import ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget
from qt._standins import standIn, stored

from .panels import SceneHolder


@standIn
class qMRMLSliderWidget(SceneHolder, ctkSliderWidget):
    """ctkSliderWidget whose suffix can follow the scene's units."""

    quantity = stored("quantity", "", str)
    unitAwareProperties = stored("unitAwareProperties", 0)


@standIn
class qMRMLSpinBox(SceneHolder, ctkDoubleSpinBox):
    """ctkDoubleSpinBox whose suffix can follow the scene's units."""

    quantity = stored("quantity", "", str)
    unitAwareProperties = stored("unitAwareProperties", 0)


@standIn
class qMRMLRangeWidget(SceneHolder, ctkRangeWidget):
    """ctkRangeWidget whose suffix can follow the scene's units."""

    quantity = stored("quantity", "", str)
    unitAwareProperties = stored("unitAwareProperties", 0)
