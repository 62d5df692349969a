"""The application scene: a real MRML scene with the logics Slicer registers at start."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import slicer
import vtk

_LOGICS = {
    "Volumes": "vtkSlicerVolumesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Data": "vtkSlicerDataModuleLogic",
}
"""Module name -> class of its C++ logic in slicer-core."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """VTK's warnings and errors off."""
    before = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(before)


class Scene:
    """Owns the scene, the application logic and everything that must stay alive beside them."""

    def __init__(self, temporaryPath: str, cachePath: str) -> None:
        self.mrmlScene = slicer.vtkMRMLScene()
        self.applicationLogic = slicer.vtkSlicerApplicationLogic()
        self.moduleLogics: dict[str, vtk.vtkObject] = {}
        self._addCrosshair()
        self._startApplicationLogic(temporaryPath)
        self._startFileLogics(cachePath)
        with (
            _quiet()
        ):  # Slicer's terminologies and presets are not part of slicer-core; their absence is no news
            for name, className in _LOGICS.items():
                self._addModuleLogic(name, getattr(slicer, className)())
        slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(self.mrmlScene)

    def _addCrosshair(self) -> None:
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.mrmlScene.AddNode(crosshair)

    def _startApplicationLogic(self, temporaryPath: str) -> None:
        logic = self.applicationLogic
        logic.SetMRMLScene(self.mrmlScene)
        logic.SetTemporaryPath(temporaryPath)
        logic.GetColorLogic().SetMRMLScene(self.mrmlScene)
        logic.GetColorLogic().AddDefaultColorNodes()
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())
        for factory in (
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
            slicer.vtkMRMLSliceViewDisplayableManagerFactory,
        ):
            factory.GetInstance().SetMRMLApplicationLogic(logic)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.mrmlScene, True)
        self.moduleLogics["Colors"] = logic.GetColorLogic()
        logic.SetModuleLogic("Colors", logic.GetColorLogic())

    def _startFileLogics(self, cachePath: str) -> None:
        """Storage nodes and `.mrb` bundles need a cache and a data manager."""
        Path(cachePath, ".slicer-cache").touch()  # marks a folder as a cache that may be emptied
        self._remote = slicer.vtkMRMLRemoteIOLogic()
        self._remote.SetMRMLScene(self.mrmlScene)
        self._remote.SetMRMLApplicationLogic(self.applicationLogic)
        self._remote.GetCacheManager().SetRemoteCacheDirectory(cachePath)
        self._data = slicer.vtkDataIOManagerLogic()
        self._data.SetMRMLScene(self.mrmlScene)
        self._data.SetMRMLApplicationLogic(self.applicationLogic)
        self._data.SetAndObserveDataIOManager(self._remote.GetDataIOManager())
        self._remote.AddDataIOToScene()

    def _addModuleLogic(self, name: str, logic: vtk.vtkObject) -> None:
        logic.SetMRMLScene(self.mrmlScene)
        logic.SetMRMLApplicationLogic(self.applicationLogic)
        self.applicationLogic.SetModuleLogic(name, logic)
        self.moduleLogics[name] = logic
