"""The radiographs of the panel: a page for each, finding and recognising them, their arrangement in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _
from xrecon.volume import InputError

from XReconSlicerLib.arrangement import hideArrangement, showArrangement
from XReconSlicerLib.install import missingPackages
from XReconSlicerLib.looks import Detector
from XReconSlicerLib.mrml import pictureArray
from XReconSlicerLib.panel import JobPanel
from XReconSlicerLib.radiograph_input import (
    MOST_VIEWS,
    RadiographInput,
    findViews,
    radiographsOf,
    withUsualViews,
)
from XReconSlicerLib.view_box import ViewBox
from XReconSlicerLib.view_guesses import Picture, keepGuesses, recognitionJob
from XReconSlicerLib.view_parameters import ViewParameters, inputOf

FEWEST_VIEWS = 2


class ViewsBox:
    """`ui` has viewTabs, findViewsButton, recogniseButton, addViewButton, removeViewButton and
    arrangementCheckBox; `jobPanel` runs the recognition.

    The parameters it shows have viewCount, view1 to view4 and showArrangement.
    """

    def __init__(self, ui: Any, jobPanel: JobPanel) -> None:
        self.ui, self.jobPanel = ui, jobPanel
        self.boxes = [ViewBox() for _number in range(MOST_VIEWS)]
        self._parameters: Any = None
        self._checked: object = None
        self._conflict = ""
        ui.findViewsButton.connect("clicked(bool)", self._onFind)
        ui.recogniseButton.connect("clicked(bool)", self._onRecognise)
        ui.addViewButton.connect("clicked(bool)", lambda _clicked: self._setCount(1))
        ui.removeViewButton.connect("clicked(bool)", lambda _clicked: self._setCount(-1))

    @property
    def packUis(self) -> dict[str, Any]:
        """Widgets by the name of the parameter pack they show."""
        return {f"view{number}": box.ui for number, box in enumerate(self.boxes, 1)}

    # -- what is chosen ------------------------------------------------------------------------
    def inputs(self, parameters: Any) -> list[RadiographInput]:
        """The radiographs of the pages that are shown."""
        return withUsualViews([inputOf(each) for each in packsOf(parameters)])

    def show(self, parameters: Any, detector: Detector) -> str:
        """Brings all pages up to the parameters; gives the reason why Apply cannot be used, or ""."""
        self._parameters = parameters
        inputs = self.inputs(parameters)
        self._showTabs(len(inputs))
        for box, pack, given in zip(self.boxes, packsOf(parameters), inputs, strict=False):
            box.show(pack, given, detector)
        self._nameTabs(len(inputs))
        self.ui.recogniseButton.enabled = bool(self._pictures()) and not self.jobPanel.isRunning
        self._showArrangement(parameters.showArrangement, len(inputs))
        for number, box in enumerate(self.boxes[: len(inputs)], 1):
            if box.problem:
                return _("View {number}: {problem}").format(number=number, problem=box.problem)
        state = tuple(each.state for each in inputs)
        if state != self._checked:  # comparing large pictures again at each change would be felt
            self._checked, self._conflict = state, conflictOf(inputs)
        return self._conflict

    def _showTabs(self, count: int) -> None:
        tabs = self.ui.viewTabs
        while tabs.count > count:
            tabs.removeTab(tabs.count - 1)
        while tabs.count < count:
            tabs.addTab(self.boxes[tabs.count].widget, "")
        self.ui.addViewButton.enabled = count < MOST_VIEWS
        self.ui.removeViewButton.enabled = count > FEWEST_VIEWS

    def _nameTabs(self, count: int) -> None:
        for index, box in enumerate(self.boxes[:count]):
            self.ui.viewTabs.setTabText(index, f"{index + 1}: {box.title or _('none')}")

    def _showArrangement(self, wanted: bool, count: int) -> None:
        shown = [box for box in self.boxes[:count] if box.radiograph is not None]
        if wanted and shown:
            showArrangement([box.radiograph.geometry for box in shown], [box.title for box in shown])
        else:
            hideArrangement()

    # -- from the user -------------------------------------------------------------------------
    def _setCount(self, change: int) -> None:
        if self._parameters:
            count = self._parameters.viewCount + change
            self._parameters.viewCount = min(max(count, FEWEST_VIEWS), MOST_VIEWS)
            self.ui.viewTabs.currentIndex = self.ui.viewTabs.count - 1

    def _onFind(self, _clicked: bool = False) -> None:
        if not self.find(self._parameters):
            text = _("There is no radiograph in the scene: load DICOM files or pictures first.")
            slicer.util.warningDisplay(text, windowTitle="XRecon")
            return
        shown = self.boxes[: len(packsOf(self._parameters))]
        isUnsure = any(box.isViewAssumed for box in shown)
        if isUnsure and not missingPackages():  # nobody is asked to install anything for a guess
            self._onRecognise()

    def _pictures(self) -> list[tuple[Any, int]]:
        """Node and slice of each radiograph that can be used."""
        chosen = zip(self.inputs(self._parameters), self.boxes, strict=False)
        return [(given.node, given.sliceIndex) for given, box in chosen if box.radiograph is not None]

    def _onRecognise(self, _clicked: bool = False) -> None:
        """Asks the classifier in the background; the pages then show what it says."""
        pictures: list[Picture] = []

        def prepare() -> object:
            pictures[:] = [(node, index, pictureArray(node)[index]) for node, index in self._pictures()]
            return recognitionJob(pictures)

        def keep(result: dict) -> str:
            guesses = keepGuesses(pictures, result["numbers"])
            self._parameters.parameterNode.Modified()  # the pages know nothing of attributes of their nodes
            lines = [f"{number}: {guess.text()}" for number, guess in enumerate(guesses, 1)]
            return _("Seen in the pictures: {lines}.").format(lines="; ".join(lines))

        self.jobPanel.run(prepare, keep)

    def find(self, parameters: Any, onlySure: bool = False) -> bool:
        """Chooses the newest frontal and lateral radiograph of the scene; False when there is none.

        :param onlySure: chooses a pair or nothing.
        """
        with slicer.util.WaitCursor():
            found = findViews(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"), onlySure)
        if not found or (onlySure and len(found) < FEWEST_VIEWS):
            return False
        with slicer.util.NodeModify(parameters.parameterNode):
            for pack, given in zip(packsOf(parameters), found, strict=False):
                reset(pack, given)
        return True


def packsOf(parameters: Any) -> list[ViewParameters]:
    """The parameters of the pages that are shown."""
    return [getattr(parameters, f"view{number}") for number in range(1, parameters.viewCount + 1)]


def conflictOf(inputs: Sequence[RadiographInput]) -> str:
    """Why the radiographs cannot be used together, or ""."""
    try:
        radiographsOf(inputs)
    except InputError as error:
        return str(error)
    return ""


def isEmpty(parameters: Any) -> bool:
    """Whether no radiograph is chosen."""
    return all(pack.volume is None for pack in packsOf(parameters))


def reset(pack: ViewParameters, given: RadiographInput) -> None:
    """Makes the pack one about this node of which the user has said nothing yet."""
    fresh = ViewParameters()
    for name in ("view", "primaryAngleDeg", "secondaryAngleDeg", "invert", "flip", "crop"):
        setattr(pack, name, getattr(fresh, name))
    for name in ("sourceToDetectorMm", "sourceToIsocenterMm", "pixelSpacingMm"):
        setattr(pack, name, 0.0)
    pack.volume, pack.sliceIndex = given.node, given.sliceIndex
