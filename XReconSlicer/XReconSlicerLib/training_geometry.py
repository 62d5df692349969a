"""The box "Geometry and size": the settings of a recipe that say how large a model is and how it sees.

It shows and changes the same settings as the table of all settings; the volume that is projected and the
pixel size follow from what is chosen here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from XReconSlicerLib.events import Signal

# The projected volume has twice the resolution, and a margin: rays also pass beside the model's cube.
FINER, MARGIN_VOXELS = 2, 16


class GeometryBox:
    """Spin boxes over the settings `grid` and `geometry`.

    `changed(changes)` is emitted when the user changes one; `changes` are settings by dotted name as text.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.changed = Signal()
        self._isShowing = False
        ui.volumeSideSpinBox.connect("valueChanged(int)", lambda: self._tell(self._size()))
        ui.voxelSizeSpinBox.connect("valueChanged(double)", lambda: self._tell(self._size()))
        ui.detectorSideSpinBox.connect("valueChanged(int)", lambda: self._tell(self._detector()))
        ui.detectorWidthSpinBox.connect("valueChanged(double)", lambda: self._tell(self._detector()))
        for name, box in self._ranges().items():
            box.connect(
                "valuesChanged(double,double)", lambda low, high, name=name: self._tell({name: [low, high]})
            )
        ui.viewsEdit.connect("editingFinished()", lambda: self._tell(self._views()))

    def show(self, values: Mapping[str, str]) -> None:
        """Shows settings, given as JSON text by dotted name; what is no number leaves its box as it was.

        There are none while packages are missing.
        """
        ui = self.ui
        self._isShowing = True
        try:
            side, spacing = _read(values, "grid.side"), _read(values, "grid.spacing_mm")
            pixels, pixelMm = _read(values, "grid.detector_pixels"), _read(values, "grid.detector_spacing_mm")
            ui.volumeSideSpinBox.value, ui.voxelSizeSpinBox.value = int(side), float(spacing)
            ui.detectorSideSpinBox.value, ui.detectorWidthSpinBox.value = int(pixels), pixels * pixelMm
            for name, box in self._ranges().items():
                box.setValues(*_read(values, name))
            ui.viewsEdit.text = ", ".join(_read(values, "geometry.views"))
            ui.extentLabel.text = _("A cube of {mm:.0f} mm; {voxels:,} voxels").format(
                mm=side * spacing, voxels=int(side) ** 3
            )
        except (KeyError, ValueError, TypeError):  # the table below says what is wrong with a setting
            ui.extentLabel.text = ""
        finally:
            self._isShowing = False

    def _tell(self, changes: Mapping[str, Any]) -> None:
        if not self._isShowing:
            self.changed.emit({name: json.dumps(value) for name, value in changes.items()})

    def _size(self) -> dict[str, Any]:
        side, spacing = self.ui.volumeSideSpinBox.value, round(self.ui.voxelSizeSpinBox.value, 4)
        return {
            "grid.side": side,
            "grid.spacing_mm": spacing,
            "grid.source_side": FINER * side + MARGIN_VOXELS,
            "grid.source_spacing_mm": round(spacing / FINER, 5),
        }

    def _detector(self) -> dict[str, Any]:
        pixels = self.ui.detectorSideSpinBox.value
        spacing = round(self.ui.detectorWidthSpinBox.value / pixels, 4)
        return {"grid.detector_pixels": pixels, "grid.detector_spacing_mm": spacing}

    def _ranges(self) -> dict[str, Any]:
        return {
            "geometry.source_to_detector_mm": self.ui.detectorDistanceRange,
            "geometry.isocenter_to_detector_mm": self.ui.isocenterDistanceRange,
        }

    def _views(self) -> dict[str, Any]:
        views = [view.strip().upper() for view in self.ui.viewsEdit.text.split(",")]
        return {"geometry.views": [view for view in views if view]}


def _read(values: Mapping[str, str], name: str) -> Any:
    return json.loads(values[name])
