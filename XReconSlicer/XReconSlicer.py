"""XReconSlicer: a synthetic CT from a frontal and a lateral chest radiograph."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin
from XReconSlicerLib.radiograph_input import RadiographInput
from XReconSlicerLib.view_parameters import ViewParameters

FIND_AFTER_MS = 200


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
    """Makes Slicer know pneumothorax and the sample data before any module is opened."""
    from XReconSlicerLib.sample_data import registerSampleData
    from XReconSlicerLib.terminology import loadTerminology

    loadTerminology()
    registerSampleData()


#
# XReconSlicerParameterNode
#
@parameterNodeWrapper
class XReconSlicerParameterNode:
    """What the panel shows; what belongs to this computer (model, device) is kept in the settings."""

    viewCount: Annotated[int, WithinRange(2, 4)] = 2
    view1: ViewParameters
    view2: ViewParameters
    view3: ViewParameters
    view4: ViewParameters
    showArrangement: bool = False
    calibrateGuessed: bool = True
    forceDoubtful: bool = False
    outputVolume: vtkMRMLScalarVolumeNode
    refine: bool = False
    loadTrustMaps: bool = False


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
        self.packUis = {}
        self.viewsBox = self.modelBox = self.deviceBox = self.jobPanel = None
        self._report = None

    def setup(self) -> None:
        """Builds the panel when it is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from XReconSlicerLib.device_box import DeviceBox
        from XReconSlicerLib.model_box import ModelBox
        from XReconSlicerLib.models import RECONSTRUCTION
        from XReconSlicerLib.panel import JobPanel
        from XReconSlicerLib.parameters import observeScene
        from XReconSlicerLib.sample_data import registerSampleData
        from XReconSlicerLib.settings import connectFolderEdit
        from XReconSlicerLib.terminology import loadTerminology
        from XReconSlicerLib.views_box import ViewsBox

        # when the extension was installed into a running Slicer, nothing else does these two
        loadTerminology()
        registerSampleData()
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/XReconSlicer.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = XReconSlicerLogic()

        self.jobPanel = JobPanel(self.ui)
        self.jobPanel.stateChanged.connect(self._update)
        self.viewsBox = ViewsBox(self.ui, self.jobPanel)
        self.packUis = self.viewsBox.packUis
        self.modelBox = ModelBox(self.ui, RECONSTRUCTION, self._update)
        self.deviceBox = DeviceBox(self.ui, lambda: self.modelBox.reference)
        connectFolderEdit(self.ui.wheelsFolderEdit, "wheelsFolder")

        observeScene(self)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self.onNodeAdded)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.reportButton.connect("clicked(bool)", self.onReportButton)
        self.ui.exportButton.connect("clicked(bool)", self.onExportButton)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Ends what still runs when the application closes or the module is reloaded."""
        for box in (self.jobPanel, self.deviceBox):
            if box:  # None when `setup` has failed
                box.close()
        self.setParameterNode(None)  # else its connection would outlive the widgets after a reload
        self.removeObservers()

    def enter(self) -> None:
        """Follows the parameter node, and takes radiographs that were loaded meanwhile."""
        self.initializeParameterNode()
        self._findRadiographs()

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
        self._showReport(None)
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onNodeAdded(self, caller: object, event: str) -> None:
        """Radiographs that are loaded while the panel is open are chosen when none is."""
        if self._parameterNode:
            qt.QTimer.singleShot(FIND_AFTER_MS, self._findRadiographs)  # the reader is not done with it yet

    def _findRadiographs(self) -> None:
        from XReconSlicerLib.views_box import isEmpty

        if self._parameterNode and isEmpty(self._parameterNode):
            self.viewsBox.find(self._parameterNode, onlySure=True)

    def initializeParameterNode(self) -> None:
        """Follows the scene's parameter node."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode: XReconSlicerParameterNode | None) -> None:
        """Connects the panel to a parameter node, so that both always show the same."""
        from XReconSlicerLib.parameters import follow

        follow(self, parameterNode)

    def _update(self, *_arguments: object) -> None:
        """Enables what can be used now; the tooltip of Apply says what is missing."""
        if not self._parameterNode:
            return
        problem = self._problem()
        if self.jobPanel.isRunning:
            problem = _("Something is running: wait, or cancel it.")
        self.ui.applyButton.enabled = not problem
        self.ui.applyButton.toolTip = problem or _("Compute the synthetic CT")
        output = self._parameterNode.outputVolume
        self.ui.exportButton.enabled = output is not None and output.GetImageData() is not None

    def _problem(self) -> str:
        """Shows the radiographs; gives the reason why they, the model or the output cannot be used, or ""."""
        from xrecon.volume import InputError
        from XReconSlicerLib.looks import Detector
        from XReconSlicerLib.reconstruction import outputProblem, viewsProblem

        parameters = self._parameterNode
        try:
            model, modelProblem = self.modelBox.choice(), ""
        except InputError as error:
            model, modelProblem = None, str(error)
        problem = self.viewsBox.show(parameters, model.detector if model else Detector())
        nodes = [each.node for each in self.viewsBox.inputs(parameters)]
        problem = modelProblem or problem or outputProblem(nodes, parameters.outputVolume)
        return problem or viewsProblem(len(nodes), model)

    def onApplyButton(self, _clicked: bool = False) -> None:
        """Starts the reconstruction in the background."""
        from XReconSlicerLib import reconstruction
        from XReconSlicerLib.progress import RECONSTRUCTION_STAGES

        parameters, model, device = self._parameterNode, self.modelBox.reference, self.deviceBox.device
        inputs, sources = self.viewsBox.inputs(parameters), []
        maps = parameters.loadTrustMaps
        self.ui.resultLabel.text = ""
        self._showReport(None)

        def prepare() -> object:
            sources[:] = reconstruction.sourcesOf(inputs)
            return reconstruction.reconstructionJob(
                sources,
                model,
                device,
                refine=parameters.refine,
                force=parameters.forceDoubtful,
                calibrate=parameters.calibrateGuessed,
            )

        def load(result: dict) -> str:
            output = parameters.outputVolume
            if reconstruction.outputProblem([node for node, _found in sources], output):
                output = None  # chosen while the job ran
            parameters.outputVolume = reconstruction.loadReconstruction(result, sources, output, maps)
            self.ui.resultLabel.text = reconstruction.describeResult(result["numbers"])
            name = parameters.outputVolume.GetName()
            self._showReport(reconstruction.keepReport(result, name))
            return _("{name}: done. Not for diagnosis.").format(name=name)

        self.jobPanel.run(prepare, load, stages=RECONSTRUCTION_STAGES)

    def _showReport(self, path: object) -> None:
        self._report = path
        self.ui.reportButton.enabled = path is not None

    def onReportButton(self, _clicked: bool = False) -> None:
        """Opens the report of the last result."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._report)))

    def onExportButton(self, _clicked: bool = False) -> None:
        """Asks for a folder and writes the output volume into it as DICOM."""
        from XReconSlicerLib.dicom_export import exportByDialog

        output, keep = self._parameterNode.outputVolume, self.ui.keepPatientCheckBox.checked
        text = exportByDialog(self.ui.exportButton, output, keep)
        self.ui.statusLabel.text = text or self.ui.statusLabel.text


#
# XReconSlicerLogic
#
class XReconSlicerLogic(ScriptedLoadableModuleLogic):
    """The same for scripts: `XReconSlicerLogic().reconstruct(paNode, lateralNode)`."""

    def getParameterNode(self) -> XReconSlicerParameterNode:
        """The parameters kept in the scene."""
        return XReconSlicerParameterNode(super().getParameterNode())

    def findRadiographs(self) -> list[RadiographInput]:
        """The newest frontal and lateral radiograph of the scene, in this order."""
        from XReconSlicerLib.radiograph_input import findViews

        return findViews(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))

    def reconstruct(
        self,
        *radiographs: RadiographInput | vtkMRMLScalarVolumeNode,
        model: str = "",
        device: str = "auto",
        output: vtkMRMLScalarVolumeNode | None = None,
        refine: bool = False,
        force: bool = False,
        calibrate: bool = True,
    ) -> vtkMRMLScalarVolumeNode:
        """Computes the synthetic CT and waits for it.

        :param radiographs: volume nodes, the frontal one first, or `RadiographInput`s that say more about
            them (slice, view, polarity, geometry).
        :param model: name of a bundled model or a model folder; "" for the default.
        :param device: "auto", "cpu", "cuda", or "cuda:1" for one of several.
        :param output: node to overwrite; a new one when None.
        :param refine: move the volume towards the radiographs where that can be shown to help.
        :param force: go on where a picture surely is not the view that it is said to be.
        :param calibrate: correct a guessed geometry by the pictures.
        :return: volume node in HU.
        :raises xrecon.volume.InputError: when something given cannot be used.
        """
        from XReconSlicerLib.reconstruction import reconstruct

        return reconstruct(radiographs, model, device, output, refine, force, calibrate)

    def exportDicom(
        self,
        ct: vtkMRMLScalarVolumeNode,
        folder: str,
        segmentation: vtkMRMLSegmentationNode | None = None,
        keepPatient: bool = False,
    ) -> list[str]:
        """Writes a CT as a DICOM series and its segmentation as a DICOM segmentation into a new folder.

        :param segmentation: segments on the CT, e.g. of PTXSeg.
        :param keepPatient: take patient and study over from the DICOM files behind the CT; False: a
            placeholder.
        :return: notes, a sentence each.
        :raises xrecon.volume.InputError: when something given cannot be used.
        """
        from XReconSlicerLib.dicom_export import exportDicom

        return exportDicom(ct, folder, segmentation, keepPatient)


#
# XReconSlicerTest
#
class XReconSlicerTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer without packages or weights; the rest is tested under Testing/."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        for test in (self.test_volumeRoundTrip, self.test_radiographPair, self.test_viewParameters):
            self.setUp()
            test()

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

    def test_radiographPair(self) -> None:
        """Two slices of one volume are two radiographs with a geometry of their own."""
        from XReconSlicerLib.radiograph_input import radiographsOf

        node = slicer.util.addVolumeFromArray(np.random.default_rng(0).random((2, 9, 7), dtype=np.float32))
        first, second = radiographsOf([RadiographInput(node, 0), RadiographInput(node, 1, flip=True)])
        self.assertEqual((first.view, second.view), ("PA", "LEFT LATERAL"))
        self.assertTrue(np.array_equal(second.array, slicer.util.arrayFromVolume(node)[1, :, ::-1]))
        self.assertEqual(second.geometry.source_to_detector_mm, 1800.0)

    def test_viewParameters(self) -> None:
        """What is chosen for a view stays in the scene when no radiograph is chosen."""
        XReconSlicerLogic().getParameterNode().view2.flip = True
        self.assertTrue(XReconSlicerLogic().getParameterNode().view2.flip)
