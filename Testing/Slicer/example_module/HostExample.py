"""A small scripted module that uses what the stand-in application must offer."""

from __future__ import annotations

import enum
import pathlib
from typing import Annotated

import numpy as np
import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper, parameterPack
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class HostExample(ScriptedLoadableModule):
    """Registration."""

    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Host example")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Examples")]
        self.parent.contributors = ["The XRecon developers"]
        self.parent.helpText = _("Segments what is denser than a threshold.")
        self.parent.acknowledgementText = _("None.")


class Mode(enum.Enum):
    """Which side of the threshold is taken."""

    ABOVE = "above"
    BELOW = "below"

    def label(self) -> str:
        return _("denser") if self is Mode.ABOVE else _("less dense")


@parameterPack
class Smoothing:
    """A pack inside the parameter node."""

    passes: Annotated[int, WithinRange(0, 9)] = 1
    keepEdges: bool = True


@parameterNodeWrapper
class HostExampleParameterNode:
    """Parameters of the panel."""

    inputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: vtkMRMLSegmentationNode
    threshold: Annotated[float, WithinRange(-1000, 1000)] = -300.0
    fill: bool = False
    mode: Mode = Mode.ABOVE
    quality: Annotated[str, Choice(["draft", "fine"])] = "fine"
    comment: str = ""
    outputFolder: pathlib.Path
    smoothing: Smoothing


class HostExampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: HostExampleLogic | None = None
        self._parameterNode: HostExampleParameterNode | None = None
        self._guiTag: int | None = None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/HostExample.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = HostExampleLogic()
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, lambda caller, event: self.setParameterNode(None))
        self.addObserver(scene, scene.EndCloseEvent, lambda caller, event: self.enter())
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.outputSelector.connect(
            "currentNodeChanged(vtkMRMLNode*)", self.ui.segmentsTable.setSegmentationNode
        )
        self.ui.outputSelector.connect(
            "currentNodeChanged(vtkMRMLNode*)", self.ui.show3DButton.setSegmentationNode
        )

    def enter(self) -> None:
        self.setParameterNode(self.logic.getParameterNode())

    def exit(self) -> None:
        self.setParameterNode(None)

    def cleanup(self) -> None:
        self.setParameterNode(None)  # or its connection to the widgets would outlive them after a reload
        self.removeObservers()

    def setParameterNode(self, parameterNode: HostExampleParameterNode | None) -> None:
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._guiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
            self._checkCanApply()

    def _checkCanApply(self, caller: object = None, event: str | None = None) -> None:
        ready = bool(self._parameterNode.inputVolume and self._parameterNode.outputSegmentation)
        self.ui.applyButton.enabled = ready
        self.ui.applyButton.toolTip = _("Segment") if ready else _("Select input and output")

    def onApply(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("Failed to segment."), waitCursor=True):
            self.ui.progressBar.value = 10
            count = self.logic.process(self._parameterNode)
            self.ui.progressBar.value = 100
            self.ui.statusLabel.text = _("{count} voxels").format(count=count)


class HostExampleLogic(ScriptedLoadableModuleLogic):
    """The computation."""

    def getParameterNode(self) -> HostExampleParameterNode:
        return HostExampleParameterNode(super().getParameterNode())

    def process(self, parameters: HostExampleParameterNode) -> int:
        """Segment `parameters.inputVolume`; returns the number of voxels."""
        volume, segmentation = parameters.inputVolume, parameters.outputSegmentation
        if volume is None or segmentation is None:
            raise ValueError("input or output is missing")
        array = slicer.util.arrayFromVolume(volume)
        above = array > parameters.threshold
        mask = above if parameters.mode is Mode.ABOVE else ~above
        segmentation.CreateDefaultDisplayNodes()
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segmentation.GetSegmentation().RemoveAllSegments()
        segmentId = segmentation.GetSegmentation().AddEmptySegment("tissue", "tissue", (0.3, 0.7, 0.9))
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            mask.astype(np.uint8), segmentation, segmentId, volume
        )
        return int(mask.sum())


class HostExampleTest(ScriptedLoadableModuleTest):
    """The module's own test."""

    def runTest(self) -> None:
        slicer.mrmlScene.Clear(False)
        self.test_threshold()

    def test_threshold(self) -> None:
        self.delayDisplay("Segment a ramp")
        ramp = np.arange(3 * 5 * 7, dtype=np.int16).reshape(3, 5, 7)
        logic = HostExampleLogic()
        parameters = logic.getParameterNode()
        parameters.inputVolume = slicer.util.addVolumeFromArray(ramp)
        parameters.outputSegmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        parameters.threshold = 49.5
        self.assertEqual(logic.process(parameters), 55)
