"""XReconSlicer: a synthetic CT from a frontal and a lateral chest radiograph."""

from __future__ import annotations

import enum
from typing import Annotated

import numpy as np
import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


#
# XReconSlicer
#
class XReconSlicer(ScriptedLoadableModule):
    """Name, place and description of the module."""

    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "XReconSlicer"
        self.parent.categories = [_("Chest Radiograph to CT")]
        self.parent.dependencies = []
        self.parent.contributors = ["The XRecon developers"]
        self.parent.helpText = _(
            "Computes a CT-like volume from a PA and a lateral chest radiograph. Two projections leave most "
            "of a volume open: the result is a synthetic estimate. Research software, not a medical device; "
            "not for diagnosis."
        )
        self.parent.acknowledgementText = _(
            "After Wang Y. et al., X-Recon: Learning-based Patient-specific High-Resolution CT "
            "Reconstruction from Orthogonal X-Ray Images. The training data are named in each model's "
            "card. Research software, not a medical device."
        )
        slicer.app.connect("startupCompleted()", onStartupCompleted)


def onStartupCompleted() -> None:
    """Makes Slicer know pneumothorax before any module is opened."""
    from XReconSlicerLib.terminology import loadTerminology

    loadTerminology()


#
# XReconSlicerParameterNode
#
class LateralSide(enum.Enum):
    """The side of the patient against the detector."""

    AUTOMATIC = ""
    LEFT = "left"
    RIGHT = "right"

    def label(self) -> str:
        texts = {"": _("As the file says, else left"), "left": _("Left"), "right": _("Right")}
        return texts[self.value]


@parameterNodeWrapper
class XReconSlicerParameterNode:
    """What the panel shows. Lengths of 0 mean: what the file says, else a usual value."""

    paVolume: vtkMRMLScalarVolumeNode
    paSlice: Annotated[int, WithinRange(0, 9999)] = 0
    invertPa: bool = False
    lateralVolume: vtkMRMLScalarVolumeNode
    lateralSlice: Annotated[int, WithinRange(0, 9999)] = 0
    invertLateral: bool = False
    lateralSide: LateralSide = LateralSide.AUTOMATIC
    sourceToDetectorMm: Annotated[float, WithinRange(0, 5000)] = 0.0
    sourceToIsocenterMm: Annotated[float, WithinRange(0, 5000)] = 0.0
    pixelSpacingMm: Annotated[float, WithinRange(0, 10)] = 0.0
    outputVolume: vtkMRMLScalarVolumeNode


#
# XReconSlicerWidget
#
class XReconSlicerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent: object = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)  # needed for parameter node observation
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self.jobPanel = None
        self._noteState = None
        self._inputProblem = ""

    def setup(self) -> None:
        """Builds the panel when it is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from XReconSlicerLib.models import RECONSTRUCTION
        from XReconSlicerLib.panel import JobPanel, connectDeviceCombo, connectFolderEdit, fillModelCombo
        from XReconSlicerLib.terminology import loadTerminology

        loadTerminology()  # when the extension was installed into a running Slicer, nothing else does
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/XReconSlicer.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = XReconSlicerLogic()

        fillModelCombo(self.ui.modelComboBox, RECONSTRUCTION)
        connectFolderEdit(self.ui.modelFolderEdit, "modelFolder")
        connectDeviceCombo(self.ui.deviceComboBox)

        # These connections ensure that we update parameter node when scene is closed
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.modelFolderEdit.connect("currentPathChanged(QString)", self._update)
        self.jobPanel = JobPanel(self.ui)
        self.jobPanel.stateChanged.connect(self._update)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Ends what still runs when the application closes or the module is reloaded."""
        if self.jobPanel:  # None when `setup` has failed
            self.jobPanel.close()
        self.setParameterNode(None)  # else its connection would outlive the widgets after a reload
        self.removeObservers()

    def enter(self) -> None:
        """Makes sure there is a parameter node when the module is opened."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Stops following the parameter node while the module is not shown."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller: object, event: str) -> None:
        """The nodes of a running job vanish with the scene."""
        self.jobPanel.cancel()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: object, event: str) -> None:
        """Starts anew in the empty scene if the panel is open."""
        self.ui.resultLabel.text = ""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Follows the scene's parameter node."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode: XReconSlicerParameterNode | None) -> None:
        """Connects the panel to a parameter node, so that both always show the same."""
        from XReconSlicerLib.parameters import follow

        follow(self, parameterNode)

    def _update(self, *_arguments: object) -> None:
        """Enables what can be used now; the tooltip of Apply says what is missing."""
        parameters = self._parameterNode
        if not parameters:
            return
        from XReconSlicerLib.intake import sliceCount
        from XReconSlicerLib.reconstruction import outputProblem

        for spinBox, node in (
            (self.ui.paSliceSpinBox, parameters.paVolume),
            (self.ui.lateralSliceSpinBox, parameters.lateralVolume),
        ):
            spinBox.maximum = max(sliceCount(node) - 1, 0)
            spinBox.enabled = spinBox.maximum > 0
        self.ui.modelComboBox.enabled = not self.ui.modelFolderEdit.currentPath  # an own model counts more
        inputs = self.logic.inputsOf(parameters)
        problem = self._updateGeometryNote(inputs)
        problem = problem or outputProblem([inputs["pa"], inputs["lateral"]], parameters.outputVolume)
        if not self._model():
            problem = _("There is no model: choose a model folder under Advanced.")
        if self.jobPanel.isRunning:
            problem = _("A reconstruction is running.")
        self.ui.applyButton.enabled = not problem
        self.ui.applyButton.toolTip = problem or _("Compute the synthetic CT")

    def _updateGeometryNote(self, inputs: dict) -> str:
        """Shows the geometry in use; gives the reason why the radiographs cannot be used, or ""."""
        from XReconSlicerLib.reconstruction import describeInputs, inputsState

        state = inputsState(inputs)
        if state != self._noteState:  # reading the files again at each change would be slow
            self._noteState = state
            self.ui.geometryLabel.text, self._inputProblem = describeInputs(inputs)
        return self._inputProblem

    def _model(self) -> str:
        return self.ui.modelFolderEdit.currentPath or self.ui.modelComboBox.currentData or ""

    def onApplyButton(self, _clicked: bool = False) -> None:
        """Starts the reconstruction in the background."""
        from XReconSlicerLib import reconstruction

        parameters, device = self._parameterNode, self.ui.deviceComboBox.currentData
        inputs, model = self.logic.inputsOf(parameters), self._model()
        self.ui.resultLabel.text = ""

        def load(result: dict) -> str:
            nodes = [inputs["pa"], inputs["lateral"]]
            output = parameters.outputVolume
            if reconstruction.outputProblem(nodes, output):  # chosen while the job ran
                output = None
            parameters.outputVolume = reconstruction.loadReconstruction(result, nodes, output)
            self.ui.resultLabel.text = reconstruction.describeResult(result["numbers"])
            name = parameters.outputVolume.GetName()
            return _("{name}: done. Not for diagnosis.").format(name=name)

        self.jobPanel.run(lambda: reconstruction.reconstructionJob(inputs, model, device), load)


#
# XReconSlicerLogic
#
class XReconSlicerLogic(ScriptedLoadableModuleLogic):
    """The same for scripts: `XReconSlicerLogic().reconstruct(paNode, lateralNode)`."""

    def getParameterNode(self) -> XReconSlicerParameterNode:
        """The parameters kept in the scene."""
        return XReconSlicerParameterNode(super().getParameterNode())

    def inputsOf(self, parameters: XReconSlicerParameterNode) -> dict:
        """The keyword arguments of `reconstruct` that describe the radiographs."""
        return {
            "pa": parameters.paVolume,
            "lateral": parameters.lateralVolume,
            "paSlice": parameters.paSlice,
            "lateralSlice": parameters.lateralSlice,
            "lateralSide": parameters.lateralSide.value,
            "invertPa": parameters.invertPa,
            "invertLateral": parameters.invertLateral,
            "sourceToDetectorMm": parameters.sourceToDetectorMm or None,
            "sourceToIsocenterMm": parameters.sourceToIsocenterMm or None,
            "pixelSpacingMm": parameters.pixelSpacingMm or None,
        }

    def reconstruct(
        self,
        pa: vtkMRMLScalarVolumeNode,
        lateral: vtkMRMLScalarVolumeNode,
        model: str = "",
        device: str = "auto",
        output: vtkMRMLScalarVolumeNode | None = None,
        **options: object,
    ) -> vtkMRMLScalarVolumeNode:
        """Computes the synthetic CT and waits for it.

        :param pa: node of the frontal radiograph.
        :param lateral: node of the lateral radiograph.
        :param model: name of a bundled model or a model folder; "" for the default.
        :param device: "auto", "cpu" or "cuda".
        :param output: node to overwrite; a new one when None.
        :param options: see `XReconSlicerLib.reconstruction.radiographsFromNodes`.
        :return: volume node in HU.
        :raises xrecon.volume.InputError: when something given cannot be used.
        """
        from XReconSlicerLib.reconstruction import reconstruct

        return reconstruct(pa, lateral, model, device, output, **options)


#
# XReconSlicerTest
#
class XReconSlicerTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer without packages or weights; the rest is tested under Testing/."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_volumeRoundTrip()

    def test_volumeRoundTrip(self) -> None:
        """A volume node survives the way to LPS and back."""
        from XReconSlicerLib.mrml import volumeFromNode, volumeToNode

        array = np.arange(3 * 5 * 7, dtype=np.int16).reshape(3, 5, 7)
        node = slicer.util.addVolumeFromArray(array)
        node.SetSpacing(0.7, 1.3, 2.5)
        node.SetOrigin(-10.0, 20.0, 30.5)
        copy = volumeToNode(volumeFromNode(node), "Copy")
        self.assertTrue(np.array_equal(slicer.util.arrayFromVolume(copy), array))
        self.assertEqual(copy.GetOrigin(), node.GetOrigin())
        self.assertEqual(copy.GetSpacing(), node.GetSpacing())
