"""PTXSeg: lungs and pneumothorax of a chest CT, in ml."""

from __future__ import annotations

import enum
from typing import Annotated

import slicer
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


#
# PTXSeg
#
class PTXSeg(ScriptedLoadableModule):
    """Name, place and description of the module."""

    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "PTXSeg"
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["XReconSlicer"]
        self.parent.contributors = ["The XRecon developers"]
        self.parent.helpText = _(
            "Segments both lungs and the air of a pneumothorax in a chest CT and measures them in ml. Noise "
            "and emphysema can be mistaken for pneumothorax: check the contours. Research software, not a "
            "medical device; not for diagnosis."
        )
        self.parent.acknowledgementText = _(
            "Algorithm 1 (PTX-Seg) of Wang Y. et al., X-Recon: Learning-based Patient-specific "
            "High-Resolution CT Reconstruction from Orthogonal X-Ray Images. Research software, not a "
            "medical device."
        )


#
# PTXSegParameterNode
#
class LungSource(enum.Enum):
    """Where the lungs come from."""

    NETWORK = "network"
    CLASSICAL = "classical"
    SEGMENTATION = "segmentation"

    def label(self) -> str:
        texts = {
            "network": _("Lung network"),
            "classical": _("Thresholds (no network)"),
            "segmentation": _("A segmentation of mine"),
        }
        return texts[self.value]


@parameterNodeWrapper
class PTXSegParameterNode:
    """What the panel shows; the defaults are those of `xrecon.pneumothorax.parameters.PtxParameters`."""

    ctVolume: vtkMRMLScalarVolumeNode
    lungSource: LungSource = LungSource.NETWORK
    lungSegmentation: vtkMRMLSegmentationNode
    outputSegmentation: vtkMRMLSegmentationNode
    outputTable: vtkMRMLTableNode
    lungClosingMm: Annotated[float, WithinRange(0, 100)] = 5.0
    bodyThresholdHu: Annotated[float, WithinRange(-2000, 4000)] = -500.0
    bodyClosingMm: Annotated[float, WithinRange(0, 100)] = 10.0
    seeds: Annotated[str, Choice(["two corners", "eight corners"])] = "two corners"
    connectivity: Annotated[int, Choice([6, 18, 26])] = 6
    airThresholdHu: Annotated[float, WithinRange(-2000, 4000)] = -950.0
    airClosingMm: Annotated[float, WithinRange(0, 100)] = 2.0
    minimumAirMl: Annotated[float, WithinRange(0, 1000)] = 10.0
    stayInside: bool = False
    smoothMm: Annotated[float, WithinRange(0, 20)] = 0.0


# The paper's names, by those of the parameter node.
PAPER_NAMES = {
    "lungClosingMm": "k_l",
    "bodyThresholdHu": "t_b",
    "bodyClosingMm": "k_b",
    "seeds": "seeds",
    "connectivity": "connectivity",
    "airThresholdHu": "t_p",
    "airClosingMm": "k_p",
    "minimumAirMl": "v_t",
    "stayInside": "stay_inside",
    "smoothMm": "smooth_mm",
}


#
# PTXSegWidget
#
class PTXSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent: object = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)  # needed for parameter node observation
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self.jobPanel = None

    def setup(self) -> None:
        """Builds the panel when it is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from XReconSlicerLib.panel import JobPanel, connectDeviceCombo
        from XReconSlicerLib.terminology import loadTerminology

        loadTerminology()  # when the extension was installed into a running Slicer, nothing else does
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/PTXSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = PTXSegLogic()
        connectDeviceCombo(self.ui.deviceComboBox)
        self.ui.tableView.visible = False

        # These connections ensure that we update parameter node when scene is closed
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.segmentationSelector.connect(
            "currentNodeChanged(vtkMRMLNode*)", self.ui.show3DButton.setSegmentationNode
        )
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.defaultsButton.connect("clicked(bool)", self.onDefaultsButton)
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

    def setParameterNode(self, parameterNode: PTXSegParameterNode | None) -> None:
        """Connects the panel to a parameter node, so that both always show the same."""
        from XReconSlicerLib.parameters import follow

        follow(self, parameterNode)

    def _update(self, *_arguments: object) -> None:
        """Enables what can be used now; the tooltip of Apply says what is missing."""
        parameters = self._parameterNode
        if not parameters:
            return
        from XReconSlicerLib.pneumothorax import ctProblem

        needsSegmentation = parameters.lungSource is LungSource.SEGMENTATION
        self.ui.lungsSelector.enabled = needsSegmentation
        self.ui.tableView.visible = parameters.outputTable is not None
        self.ui.tableView.setMRMLTableNode(parameters.outputTable)
        problem = ""
        if self.jobPanel.isRunning:
            problem = _("A segmentation is running.")
        elif unusable := ctProblem(parameters.ctVolume):
            problem = unusable
        elif needsSegmentation and not parameters.lungSegmentation:
            problem = _("Choose the segmentation that holds the lungs.")
        elif needsSegmentation and parameters.lungSegmentation is parameters.outputSegmentation:
            problem = _("The lungs would be overwritten: choose another output segmentation.")
        self.ui.applyButton.enabled = not problem
        self.ui.applyButton.toolTip = problem or _("Segment lungs and pneumothorax")

    def onDefaultsButton(self, _clicked: bool = False) -> None:
        """Puts the values of the algorithm back, and leaves inputs and outputs alone."""
        defaults = PTXSegParameterNode(slicer.vtkMRMLScriptedModuleNode())
        with slicer.util.NodeModify(self._parameterNode):
            for name in PAPER_NAMES:
                setattr(self._parameterNode, name, getattr(defaults, name))

    def onApplyButton(self, _clicked: bool = False) -> None:
        """Starts the segmentation in the background."""
        from XReconSlicerLib.pneumothorax import describeQuantities, loadSegmentation, segmentationJob

        parameters, device = self._parameterNode, self.ui.deviceComboBox.currentData
        ct = parameters.ctVolume
        self.ui.resultLabel.text = ""

        def load(result: dict) -> str:
            outputs = parameters.outputSegmentation, parameters.outputTable
            segmentation, table = loadSegmentation(result, ct, *outputs)
            parameters.outputSegmentation, parameters.outputTable = segmentation, table
            self.ui.resultLabel.text = describeQuantities(result["numbers"])
            self._update()
            return _("{name}: done. Check the contours.").format(name=segmentation.GetName())

        self.jobPanel.run(
            lambda: segmentationJob(
                ct,
                parameters.lungSource.value,
                parameters.lungSegmentation,
                self.logic.settingsOf(parameters),
                device,
            ),
            load,
        )


#
# PTXSegLogic
#
class PTXSegLogic(ScriptedLoadableModuleLogic):
    """The same for scripts: `PTXSegLogic().segment(ctNode)`."""

    def getParameterNode(self) -> PTXSegParameterNode:
        """The parameters kept in the scene."""
        return PTXSegParameterNode(super().getParameterNode())

    def settingsOf(self, parameters: PTXSegParameterNode) -> dict:
        """The settings of the algorithm by the paper's names."""
        return {paper: getattr(parameters, name) for name, paper in PAPER_NAMES.items()}

    def segment(
        self,
        ct: vtkMRMLScalarVolumeNode,
        lungSource: str = "network",
        lungs: vtkMRMLSegmentationNode | None = None,
        device: str = "auto",
        output: vtkMRMLSegmentationNode | None = None,
        outputTable: vtkMRMLTableNode | None = None,
        **settings: object,
    ) -> vtkMRMLSegmentationNode:
        """Segments a CT and waits for it.

        :param ct: CT in HU.
        :param lungSource: "network", "classical" or "segmentation"; the last takes `lungs`.
        :param device: "auto", "cpu" or "cuda".
        :param output: node to overwrite; a new one when None. So is `outputTable`.
        :param settings: of the algorithm by the paper's names, e.g. `t_p=-930`.
        :return: segmentation node with right lung, left lung, right and left pneumothorax; the table of
            volumes is its node reference "XRecon.table".
        :raises xrecon.volume.InputError: when something given cannot be used.
        """
        from XReconSlicerLib.pneumothorax import segment

        segmentation, _table = segment(ct, lungSource, lungs, settings, device, output, outputTable)
        return segmentation


#
# PTXSegTest
#
class PTXSegTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer without packages or weights; the rest is tested under Testing/."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_parametersAreKeptInTheScene()

    def test_parametersAreKeptInTheScene(self) -> None:
        """A changed setting is found again by the next user of the scene."""
        PTXSegLogic().getParameterNode().airThresholdHu = -930.0
        self.assertEqual(PTXSegLogic().settingsOf(PTXSegLogic().getParameterNode())["t_p"], -930.0)
