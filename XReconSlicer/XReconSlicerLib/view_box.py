"""One page of the panel: a radiograph, how it was taken, how the network sees it, its geometry."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from xrecon.volume import InputError, Radiograph

from XReconSlicerLib.intake import GEOMETRY_VALUES
from XReconSlicerLib.jobs import PACKAGE_PARENT
from XReconSlicerLib.looks import Detector, lookAt, warningsText, writePicture
from XReconSlicerLib.node_files import sliceCount
from XReconSlicerLib.radiograph_input import OBLIQUE, RadiographInput, radiographOf, standsFor
from XReconSlicerLib.view_parameters import LENGTHS, ViewParameters

UI_FILE = PACKAGE_PARENT / "Resources" / "UI" / "RadiographView.ui"
PREVIEW_PIXELS = 128


def originText(meta: Mapping[str, str], key: str) -> str:
    """Where a value of a radiograph comes from, for the user; of a guessed view also how sure it is."""
    origin = meta.get(f"{key}.origin", "assumed")
    if origin == "model":
        return _("by the model, {percent:.0f} % sure").format(
            percent=100.0 * float(meta[f"{key}.probability"])
        )
    texts = {
        "argument": _("edited"),
        "sidecar": _("from the file"),
        "file header": _("from the file"),
        "DICOM": _("from DICOM"),
        "scene": _("from the scene"),
        "image": _("from the image"),
        "assumed": _("assumed"),
    }
    return texts.get(origin, origin)


class ViewBox:
    """Widgets of one radiograph. `show` brings them up to its parameters, typing changes the parameters."""

    def __init__(self) -> None:
        self.widget = slicer.util.loadUI(str(UI_FILE))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.radiograph: Radiograph | None = None
        self.problem = ""
        self._parameters: ViewParameters | None = None
        self._shown: object = None
        self._showing = False
        for name in LENGTHS:
            spinBox = self._spinBox(name)
            spinBox.connect("valueChanged(double)", lambda value, name=name: self._onLength(name, value))
        self.ui.resetGeometryButton.connect("clicked(bool)", self._onReset)
        self._clear("")

    def _spinBox(self, name: str) -> qt.QDoubleSpinBox:
        return getattr(self.ui, f"{name.removesuffix('Mm')}SpinBox")

    def _originLabel(self, name: str) -> qt.QLabel:
        return getattr(self.ui, f"{name.removesuffix('Mm')}OriginLabel")

    # -- from the user -------------------------------------------------------------------------
    def _onLength(self, name: str, value: float) -> None:
        if not self._showing and self._parameters is not None:
            setattr(self._parameters, name, value)

    def _onReset(self, _clicked: bool = False) -> None:
        if self._parameters is not None:
            for name in LENGTHS:
                setattr(self._parameters, name, 0.0)

    # -- to the user ---------------------------------------------------------------------------
    def show(self, parameters: ViewParameters, given: RadiographInput, detector: Detector) -> None:
        """Shows what is known of a radiograph; afterwards `radiograph` is it, or `problem` says why not."""
        self._parameters = parameters
        ui = self.ui
        ui.sliceSpinBox.maximum = last = max(sliceCount(given.node) - 1, 0)
        ui.sliceSpinBox.suffix = _(" (0 to {last})").format(last=last)
        ui.sliceSpinBox.visible = ui.sliceSpinBox.maximum > 0
        ui.anglesLabel.visible = ui.anglesWidget.visible = given.view == OBLIQUE
        state = (given.state, detector)
        if state == self._shown:
            return
        self._shown = state
        if given.node is None:
            self._clear(_("Choose a radiograph."))
            return
        try:
            self.radiograph, self.problem = radiographOf(given), ""
        except InputError as error:
            self._clear(str(error))
            return
        self._showGeometry(self.radiograph)
        self._showLook(self.radiograph, detector, state)

    def _clear(self, problem: str) -> None:
        self.radiograph, self.problem = None, problem
        self.ui.previewLabel.clear()
        self.ui.lookLabel.text = problem
        for name in LENGTHS:
            self._spinBox(name).enabled = False
            self._originLabel(name).text = ""
        self.ui.resetGeometryButton.enabled = False

    def _showGeometry(self, radiograph: Radiograph) -> None:
        geometry = radiograph.geometry
        values = (geometry.source_to_detector_mm, geometry.source_to_isocenter_mm, geometry.pixel_spacing[0])
        self._showing = True
        for name, key, value in zip(LENGTHS, GEOMETRY_VALUES, values, strict=True):
            self._spinBox(name).enabled = True
            self._spinBox(name).value = value
            self._originLabel(name).text = originText(radiograph.meta, key)
        self._showing = False
        self.ui.resetGeometryButton.enabled = any(getattr(self._parameters, name) for name in LENGTHS)

    def _showLook(self, radiograph: Radiograph, detector: Detector, state: object) -> None:
        rows, columns = radiograph.array.shape
        origin = originText(radiograph.meta, "view")
        about = _("{view} ({origin}), {columns} x {rows} pixels").format(
            view=self.title, origin=origin, columns=columns, rows=rows
        )
        try:
            picture, warnings = lookAt(radiograph, detector, state)
        except (InputError, ImportError) as error:
            self.ui.previewLabel.clear()
            self.ui.lookLabel.text = f"{about}\n{error}"
            return
        self.ui.previewLabel.setPixmap(pixmapOf(picture))
        self.ui.lookLabel.text = f"{about}\n{warningsText(warnings)}".strip()

    @property
    def isViewAssumed(self) -> bool:
        """Whether nobody has told the view of the radiograph, neither a file nor the model."""
        return self.radiograph is not None and self.radiograph.meta.get("view.origin") == "assumed"

    @property
    def title(self) -> str:
        """What the radiograph is called: its view, or "" when there is none."""
        return standsFor(self.radiograph.view, self.radiograph.geometry) if self.radiograph else ""


def pixmapOf(picture: object) -> qt.QPixmap:
    """Grey values from 0 to 1 as a picture for a label."""
    with tempfile.TemporaryDirectory(prefix="xr", dir=slicer.app.temporaryPath or None) as folder:
        path = Path(folder) / "preview.png"
        writePicture(picture, path, PREVIEW_PIXELS)
        return qt.QPixmap(str(path))
