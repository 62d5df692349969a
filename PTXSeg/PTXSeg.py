"""PTXSeg: lungs and pneumothorax of a chest CT, in ml."""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from typing import Annotated

import qt
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
class LungsFrom(enum.Enum):
    """Where the lungs come from."""

    MODELS = "models"
    SEGMENTATION = "segmentation"

    def label(self) -> str:
        return {"models": _("Models, united"), "segmentation": _("A segmentation of mine")}[self.value]


class Mode(enum.Enum):
    """How PTX-Seg works."""

    ROBUST = "robust"
    REFERENCE = "reference"

    def label(self) -> str:
        return {"robust": _("Robust"), "reference": _("Reference: Algorithm 1 of the paper")}[self.value]


@parameterNodeWrapper
class PTXSegParameterNode:
    """What the panel shows; the defaults are those of `xrecon.pneumothorax`, see `ptx_settings`."""

    ctVolume: vtkMRMLScalarVolumeNode
    lungsFrom: LungsFrom = LungsFrom.MODELS
    lungModels: str = '["lungs-unet", "lungs-unet-wide"]'  # keys of `XReconSlicerLib.lung_models`, as JSON
    lungSegmentation: vtkMRMLSegmentationNode
    mode: Mode = Mode.ROBUST
    uncertaintyVolume: vtkMRMLScalarVolumeNode
    offeredUncertainty: vtkMRMLScalarVolumeNode  # was chosen with its CT once: what the user made of it stays
    outputSegmentation: vtkMRMLSegmentationNode
    outputTable: vtkMRMLTableNode
    comparedSegmentation: vtkMRMLSegmentationNode
    referenceSegmentation: vtkMRMLSegmentationNode
    # robust mode; the least value of the first three stands for "measured in the CT"
    freeAirHu: Annotated[float, WithinRange(-1201, -850)] = -1201.0
    lungHu: Annotated[float, WithinRange(-1001, -300)] = -1001.0
    robustSmoothMm: Annotated[float, WithinRange(-0.1, 5)] = -0.1
    layerMm: Annotated[float, WithinRange(0, 50)] = 3.0
    robustMinimumAirMl: Annotated[float, WithinRange(0, 1000)] = 10.0
    recover: bool = True
    recoverMl: Annotated[float, WithinRange(0, 1000)] = 20.0
    # reference mode
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
        self.jobPanel = self.lungBox = self.batchBox = self.comparisonBox = None
        self._report = self._ct = None

    def setup(self) -> None:
        """Builds the panel when it is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from XReconSlicerLib.batch_box import BatchBox
        from XReconSlicerLib.comparison_box import ComparisonBox
        from XReconSlicerLib.lung_box import LungBox
        from XReconSlicerLib.panel import JobPanel, connectDeviceCombo, connectFolderEdit
        from XReconSlicerLib.parameters import observeScene
        from XReconSlicerLib.terminology import loadTerminology

        loadTerminology()  # when the extension was installed into a running Slicer, nothing else does
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/PTXSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = PTXSegLogic()
        connectDeviceCombo(self.ui.deviceComboBox)
        connectFolderEdit(self.ui.batchReportsEdit, "ptxseg/batchReports")

        observeScene(self)
        self.ui.segmentationSelector.connect(
            "currentNodeChanged(vtkMRMLNode*)", self.ui.show3DButton.setSegmentationNode
        )
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.defaultsButton.connect("clicked(bool)", self.onDefaultsButton)
        self.ui.reportButton.connect("clicked(bool)", self.onReportButton)
        self.ui.csvButton.connect("clicked(bool)", self.onCsvButton)
        self.ui.plotButton.connect("clicked(bool)", self.onPlotButton)
        # opening a section shows all that is in it: what does not apply is hidden again
        self.ui.advancedCollapsibleButton.connect("contentsCollapsed(bool)", self._update)
        self.ui.batchCollapsibleButton.connect("contentsCollapsed(bool)", self._update)
        self.ui.comparisonCollapsibleButton.connect("contentsCollapsed(bool)", self._update)
        self.jobPanel = JobPanel(self.ui)
        self.lungBox = LungBox(self.ui, self._onLungModels)
        self.batchBox = BatchBox(self.ui, self.jobPanel, self._job)
        self.comparisonBox = ComparisonBox(self.ui, self.jobPanel, lambda: self._parameterNode.ctVolume)
        self.jobPanel.stateChanged.connect(self._update)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Ends what still runs when the application closes or the module is reloaded."""
        if self.batchBox:  # None when `setup` has failed
            self.batchBox.stop()
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
        self.batchBox.stop()
        self.jobPanel.cancel()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: object, event: str) -> None:
        """Starts anew in the empty scene if the panel is open."""
        self.ui.resultLabel.text = ""
        self._showReport(None)
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Follows the scene's parameter node."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode: PTXSegParameterNode | None) -> None:
        """Connects the panel to a parameter node, so that both always show the same."""
        from XReconSlicerLib.parameters import follow

        self._ct = parameterNode.ctVolume if parameterNode else None  # what is stored was chosen for it
        follow(self, parameterNode)

    def _update(self, *_arguments: object) -> None:
        """Enables what can be used now; the tooltip of Apply says what is missing."""
        parameters = self._parameterNode
        if not parameters:
            return
        self._offerUncertainty(parameters)
        ui, isBusy = self.ui, self.jobPanel.isRunning or self.batchBox.isRunning
        needsSegmentation = parameters.lungsFrom is LungsFrom.SEGMENTATION
        ui.lungsSelector.enabled = needsSegmentation
        self.lungBox.show(json.loads(parameters.lungModels), not needsSegmentation)
        ui.robustWidget.visible = parameters.mode is Mode.ROBUST
        ui.referenceWidget.visible = parameters.mode is Mode.REFERENCE
        hasTable = parameters.outputTable is not None and parameters.outputTable.GetNumberOfRows() > 0
        ui.tableView.visible = ui.csvButton.enabled = ui.plotButton.enabled = hasTable
        ui.tableView.setMRMLTableNode(parameters.outputTable)
        problem = _("A segmentation is running.") if isBusy else self._problem()
        ui.applyButton.enabled = not problem
        ui.applyButton.toolTip = problem or _("Segment lungs and pneumothorax")
        self.batchBox.show()
        unusable = _("Each CT has other lungs: choose models.") if needsSegmentation else self._lungProblem()
        ui.batchButton.enabled = not (isBusy or unusable)
        ui.batchButton.toolTip = unusable or _("Segments the CTs one after the other into new segmentations.")
        self.comparisonBox.show(isBusy)

    def _offerUncertainty(self, parameters: PTXSegParameterNode) -> None:
        """Chooses the expected error that belongs to the CT when either is new."""
        from XReconSlicerLib.trust_maps import uncertaintyOf

        ct, own = parameters.ctVolume, uncertaintyOf(parameters.ctVolume)
        isNew = own is not None and own is not parameters.offeredUncertainty  # e.g. made by a later run
        if ct is not self._ct or isNew:
            self._ct = ct
            parameters.offeredUncertainty = own
            parameters.uncertaintyVolume = own  # that of another CT is none

    def _problem(self) -> str:
        """Why the chosen CT cannot be segmented as chosen, or ""."""
        from XReconSlicerLib.pneumothorax import ctProblem
        from XReconSlicerLib.trust_maps import uncertaintyProblem

        parameters = self._parameterNode
        ct = parameters.ctVolume
        if unusable := ctProblem(ct) or uncertaintyProblem(ct, parameters.uncertaintyVolume):
            return unusable
        if parameters.lungsFrom is LungsFrom.MODELS:
            return self._lungProblem()
        if not parameters.lungSegmentation:
            return _("Choose the segmentation that holds the lungs.")
        if parameters.lungSegmentation is parameters.outputSegmentation:
            return _("The lungs would be overwritten: choose another output segmentation.")
        return ""

    def _lungProblem(self) -> str:
        from XReconSlicerLib.lung_models import problemWith

        return problemWith(json.loads(self._parameterNode.lungModels))

    def _onLungModels(self, keys: list[str]) -> None:
        self._parameterNode.lungModels = json.dumps(keys)

    def _job(self, ct: vtkMRMLScalarVolumeNode, withReport: bool = False) -> object:
        """The job for a CT with the settings of the panel."""
        from XReconSlicerLib.lung_models import referencesOf
        from XReconSlicerLib.pneumothorax import segmentationJob
        from XReconSlicerLib.trust_maps import uncertaintyOf

        parameters, lungs, models = self._parameterNode, None, []
        if parameters.lungsFrom is LungsFrom.SEGMENTATION:
            lungs = parameters.lungSegmentation
        else:
            models = referencesOf(json.loads(parameters.lungModels))
        settings, device = self.logic.settingsOf(parameters), self.ui.deviceComboBox.currentData
        error = parameters.uncertaintyVolume if ct is parameters.ctVolume else uncertaintyOf(ct)
        mode = parameters.mode.value
        return segmentationJob(ct, lungs, models, mode, settings, device, withReport, error)

    # -- buttons -------------------------------------------------------------------------------
    def onDefaultsButton(self, _clicked: bool = False) -> None:
        """Puts the values of the chosen mode back, and leaves inputs and outputs alone."""
        from XReconSlicerLib.ptx_settings import restoreDefaults

        restoreDefaults(self._parameterNode, self._parameterNode.mode.value)

    def onApplyButton(self, _clicked: bool = False) -> None:
        """Starts the segmentation in the background."""
        from XReconSlicerLib.pneumothorax import describeQuantities, loadSegmentation
        from XReconSlicerLib.progress import INTERVAL_STAGES, SEGMENTATION_STAGES
        from XReconSlicerLib.reconstruction import keepReport

        parameters = self._parameterNode
        ct, withIntervals = parameters.ctVolume, parameters.uncertaintyVolume is not None
        stages = INTERVAL_STAGES if withIntervals else SEGMENTATION_STAGES
        self.ui.resultLabel.text = ""
        self._showReport(None)

        def load(result: dict) -> str:
            outputs = parameters.outputSegmentation, parameters.outputTable
            segmentation, table = loadSegmentation(result, ct, *outputs)
            parameters.outputSegmentation, parameters.outputTable = segmentation, table
            self.ui.resultLabel.text = describeQuantities(result["numbers"], withIntervals)
            self._showReport(keepReport(result, segmentation.GetName()))
            self._update()
            return _("{name}: done. Check the contours.").format(name=segmentation.GetName())

        self.jobPanel.run(lambda: self._job(ct, withReport=True), load, stages=stages)

    def _showReport(self, path: object) -> None:
        self._report = path
        self.ui.reportButton.enabled = path is not None

    def onReportButton(self, _clicked: bool = False) -> None:
        """Opens the report of the last result."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._report)))

    def onCsvButton(self, _clicked: bool = False) -> None:
        """Writes the table of quantities into a file."""
        from XReconSlicerLib.tables import exportCsv

        text = exportCsv(self.ui.csvButton, self._parameterNode.outputTable)
        self.ui.statusLabel.text = text or self.ui.statusLabel.text

    def onPlotButton(self, _clicked: bool = False) -> None:
        """Shows lung and air of both sides as bars."""
        from XReconSlicerLib.volume_bars import showBars

        chart = showBars(self._parameterNode.outputTable)
        if slicer.app.layoutManager() is None:
            text = _("There is no plot view; the chart is '{name}'.")
            self.ui.statusLabel.text = text.format(name=chart.GetName())


#
# PTXSegLogic
#
class PTXSegLogic(ScriptedLoadableModuleLogic):
    """The same for scripts: `PTXSegLogic().segment(ctNode)`."""

    def getParameterNode(self) -> PTXSegParameterNode:
        """The parameters kept in the scene."""
        return PTXSegParameterNode(super().getParameterNode())

    def settingsOf(self, parameters: PTXSegParameterNode) -> dict:
        """The settings of the chosen mode by the algorithm's names."""
        from XReconSlicerLib.ptx_settings import settingsOf

        return settingsOf(parameters, parameters.mode.value)

    def segment(
        self,
        ct: vtkMRMLScalarVolumeNode,
        lungs: vtkMRMLSegmentationNode | None = None,
        lungModels: Sequence[str] = ("lungs-unet", "lungs-unet-wide"),
        mode: str = "robust",
        device: str = "auto",
        output: vtkMRMLSegmentationNode | None = None,
        outputTable: vtkMRMLTableNode | None = None,
        uncertainty: vtkMRMLScalarVolumeNode | None = None,
        **settings: object,
    ) -> vtkMRMLSegmentationNode:
        """Segments a CT and waits for it.

        :param ct: CT in HU.
        :param lungs: segmentation that holds the lungs; None: the union of `lungModels`.
        :param lungModels: bundled networks, model folders, files of lungmask weights, "classical".
        :param mode: "robust" or "reference" (Algorithm 1 of the paper).
        :param device: "auto", "cpu" or "cuda".
        :param output: node to overwrite; a new one when None. So is `outputTable`.
        :param uncertainty: expected error of a synthetic CT in HU; volumes and shares then have intervals.
        :param settings: of the mode by the algorithm's names, e.g. `layer_mm=2`, or `t_p=-930` in the
            reference mode.
        :return: segmentation node with right lung, left lung, right and left pneumothorax; the table of
            quantities is its node reference "XRecon.table".
        :raises xrecon.volume.InputError: when something given cannot be used.
        """
        from XReconSlicerLib.pneumothorax import segment

        outputs = output, outputTable
        return segment(ct, lungs, lungModels, mode, settings, device, *outputs, uncertainty)[0]


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
        parameters = PTXSegLogic().getParameterNode()
        parameters.mode, parameters.airThresholdHu = Mode.REFERENCE, -930.0
        self.assertEqual(PTXSegLogic().settingsOf(PTXSegLogic().getParameterNode())["t_p"], -930.0)
