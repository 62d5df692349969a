"""Makes the pictures in Resources/Screenshots: `python Testing/Slicer/make_screenshots.py [module ...]`.

Panel and slice views after a real run with the bundled models on the synthetic chest phantom. The
panels are drawn by the stand-in application, so that colours and fonts differ from Slicer's. The tests
photograph the same states (`photographs.STATES`) after small runs, and tell when a panel has changed since
its pictures were made.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
os.environ["XRECON_TEST_OUTPUT"] = tempfile.mkdtemp()
folders = [HERE, HERE / "host", *(REPOSITORY / name for name in ("XReconSlicer", "PTXSeg", "XReconTrainer"))]
sys.path[:0] = [str(folder) for folder in folders]

import slicerhost  # noqa: E402

slicerhost.create()

import slicer  # noqa: E402
from photographs import SCREENSHOTS, STAMP, STATES, WIDTH, fingerprint, moduleOf  # noqa: E402
from PIL import Image  # noqa: E402
from PIL.PngImagePlugin import PngInfo  # noqa: E402
from slicerhost import models3d, plots, views  # noqa: E402
from xrecon.io.image import write_volume  # noqa: E402
from xrecon.io.segmentation import PTX_SEGMENTS  # noqa: E402
from xrecon.physics.chest_phantom import chest_phantom  # noqa: E402
from xrecon.physics.drr import render_drrs  # noqa: E402
from xrecon.physics.geometry import ViewGeometry  # noqa: E402
from xrecon.preprocess.ct import lung_center, remove_table  # noqa: E402
from XReconSlicerLib.arrangement import arrangementNodes  # noqa: E402
from XReconSlicerLib.mrml import radiographToNode, volumeToNode  # noqa: E402
from XReconSlicerLib.scene import setChestWindow, showInSliceViews  # noqa: E402
from XReconSlicerLib.segments import segmentationToNode  # noqa: E402

VIEW_SIZE = 320
LONGEST_S = 3600  # of a run, on a computer that has other work
COLORS = 96  # enough for panels and grey slices, and files a third as large
PHANTOM = chest_phantom(spacing=(2.5, 2.0, 2.0), pneumothorax_ml=700.0, side="left", seed=3)


def runPanel(widget: object) -> None:
    slicerhost.click(widget.ui.applyButton)
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning, timeout=LONGEST_S)
    if slicerhost.messages:
        raise RuntimeError(slicerhost.messages[-1][1])


def save(widget: object, layout: object | None, name: str) -> None:
    """Panel on the left, the three slice views one above the other on the right."""
    panel = Image.open(slicerhost.screenshot(widget.parent, f"{name}-panel", WIDTH))
    if layout is None:
        store(panel, name)
        return
    strip = Image.open(layout.save(f"{name}-views"))
    count = strip.width // VIEW_SIZE
    size = (panel.width + VIEW_SIZE + 8, max(panel.height, count * VIEW_SIZE))
    picture = Image.new("RGB", size, panel.convert("RGB").getpixel((2, panel.height - 2)))
    picture.paste(panel, (0, 0))
    for number in range(count):
        view = strip.crop((number * VIEW_SIZE, 0, (number + 1) * VIEW_SIZE, VIEW_SIZE))
        picture.paste(view, (panel.width + 8, number * VIEW_SIZE))
    store(picture, name)


def store(picture: Image.Image, name: str) -> None:
    """Keeps a picture, stamped with what its panel looks like now; in few colours where these are enough,
    since each new version stays in the repository's history."""
    if name not in STATES:
        raise ValueError(f"expected one of {STATES}, got {name}")
    stamp = PngInfo()
    stamp.add_text(STAMP, fingerprint(moduleOf(name)))
    path = SCREENSHOTS / f"{name}.png"
    picture = picture.convert("RGB")
    if moduleOf(name) != "XReconTrainer":  # its table tells problems by red and amber
        picture = picture.quantize(COLORS)
    picture.save(path, optimize=True, pnginfo=stamp)
    print(path, flush=True)


def reconstruction() -> None:
    """A picture that looks wrong; the views in 3D; the result with its slice views; a run at work."""
    slicerhost.reset()
    nodes = []
    ct = remove_table(PHANTOM.volume)
    isocenter = tuple(lung_center(ct))
    for view, name in (("PA", "Chest PA"), ("LEFT LATERAL", "Chest lateral")):
        geometry = ViewGeometry.preset(view, shape=(512, 512), isocenter=isocenter)
        nodes.append(radiographToNode(render_drrs(ct, [geometry])[0], name))
    film = slicer.util.arrayFromVolume(nodes[0])
    wrong = slicer.util.addVolumeFromArray((film.max() - film)[:, :, ::-1].copy(), name="Film (PNG)")
    slicer.mrmlScene.RemoveNode(wrong)
    with views.layout(VIEW_SIZE) as layout:
        widget = slicerhost.openModule("XReconSlicer")
        slicerhost.wait_until(lambda: widget.ui.applyButton.enabled)
        slicer.mrmlScene.AddNode(wrong)
        box = widget.viewsBox.boxes[0].ui
        box.volumeSelector.setCurrentNode(wrong)
        save(widget, None, "XReconSlicer-warning")
        box.volumeSelector.setCurrentNode(nodes[0])
        slicer.mrmlScene.RemoveNode(wrong)
        slicerhost.click(widget.ui.arrangementCheckBox)
        store(Image.open(models3d.save(arrangementNodes(), "arrangement")), "XReconSlicer-views")
        slicerhost.click(widget.ui.arrangementCheckBox)
        runPanel(widget)
        save(widget, layout, "XReconSlicer")
        slicerhost.click(widget.ui.testDevicesButton)
        slicerhost.wait_until(lambda: not widget.deviceBox.isTesting, timeout=LONGEST_S)
        slicerhost.click(widget.ui.applyButton)
        slicerhost.wait_until(lambda: widget.ui.progressBar.value >= 10, timeout=LONGEST_S)
        save(widget, None, "XReconSlicer-running")
        slicerhost.closeModule("XReconSlicer")


def segmentation() -> None:
    """The result with its slice views and bars; both modes' settings; all CTs; a comparison."""
    slicerhost.reset()
    ct = volumeToNode(PHANTOM.volume, "Chest phantom")
    setChestWindow(ct)
    with views.layout(VIEW_SIZE) as layout:
        widget = slicerhost.openModule("PTXSeg")
        ui = widget.ui
        ui.ctSelector.setCurrentNode(ct)
        runPanel(widget)
        showInSliceViews(ct)
        save(widget, layout, "PTXSeg")
        slicerhost.click(ui.plotButton)
        selected = slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID()
        picture = plots.savePlot(slicer.mrmlScene.GetNodeByID(selected), "plot-volumes", 440, 300)
        ui.advancedCollapsibleButton.collapsed = False
        for button in (ui.outputsCollapsibleButton, ui.inputsCollapsibleButton):
            button.collapsed = True
        saveBeside(widget, [picture], "PTXSeg-advanced")
        ui.advancedCollapsibleButton.collapsed = True
        compare(widget, ct)
        batch(widget)
        ui.batchCollapsibleButton.collapsed, ui.advancedCollapsibleButton.collapsed = True, False
        ui.modeComboBox.currentIndex = 1
        runPanel(widget)  # the settings beside the result that they made
        save(widget, None, "PTXSeg-reference")
        slicerhost.closeModule("PTXSeg")


def compare(widget: object, ct: object) -> None:
    """What was found against the phantom's truth, below the table of quantities."""
    ui = widget.ui
    truth = segmentationToNode(PHANTOM.labels, PTX_SEGMENTS, "Truth", reference=ct)
    ui.comparedSelector.setCurrentNode(widget._parameterNode.outputSegmentation)
    ui.referenceSelector.setCurrentNode(truth)
    ui.comparisonCollapsibleButton.collapsed = False
    click(widget, ui.compareButton)
    save(widget, None, "PTXSeg-comparison")
    ui.comparisonCollapsibleButton.collapsed = True


def batch(widget: object) -> None:
    """Two CTs more, of other sizes of pneumothorax, and one that cannot be segmented."""
    ui = widget.ui
    for seed, ml in ((4, 0.0), (5, 250.0)):
        other = chest_phantom(spacing=(4.0, 3.0, 3.0), pneumothorax_ml=ml, side="right", seed=seed).volume
        volumeToNode(other, f"Phantom {seed}")
    volumeToNode(PHANTOM.volume.with_array(PHANTOM.volume.array * 0), "Water")
    ui.batchCollapsibleButton.collapsed = False
    slicerhost.click(ui.batchButton)
    slicerhost.wait_until(lambda: not widget.batchBox.isRunning, timeout=LONGEST_S)
    save(widget, None, "PTXSeg-batch")


def training() -> None:
    """A small network on three phantoms: what was found, a training at work, its end."""
    slicerhost.reset()
    os.chdir(tempfile.mkdtemp())
    Path("cts").mkdir()
    for seed, name in enumerate(("anna", "bert", "carl")):
        write_volume(chest_phantom(spacing=(4.0, 4.0, 4.0), seed=seed).volume, Path(f"cts/{name}.nii.gz"))
    thick = chest_phantom(spacing=(8.0, 4.0, 4.0), seed=3).volume
    write_volume(thick, Path("cts/thick.nrrd"))
    write_volume(thick.with_array((thick.array + 1024).clip(0).astype("uint16")), Path("cts/offset.nrrd"))
    widget = slicerhost.openModule("XReconTrainer")
    ui = widget.ui
    ui.dataFolderEdit.currentPath, ui.outputFolderEdit.currentPath = "cts", "run"
    click(widget, ui.scanButton)
    ui.geometryCollapsibleButton.collapsed = False
    ui.volumeSideSpinBox.value, ui.voxelSizeSpinBox.value, ui.detectorSideSpinBox.value = 32, 10.0, 64
    save(widget, None, "XReconTrainer")
    ui.geometryCollapsibleButton.collapsed = True
    settings = json.loads(widget._parameterNode.settings) | TRAINING
    widget._parameterNode.settings = json.dumps(settings)
    slicerhost.click(ui.applyButton)
    slicerhost.wait_until(
        lambda: ui.progressBar.value > 60 and ui.sampleComboBox.count > 0, timeout=LONGEST_S
    )
    with views.layout(VIEW_SIZE):
        charts = [plot(ui, key) for key in ("loss", "psnr", "ssim")]
    saveBeside(widget, charts, "XReconTrainer-training")
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning, timeout=LONGEST_S)
    ui.watchCollapsibleButton.collapsed = True
    click(widget, ui.evaluateButton)
    save(widget, None, "XReconTrainer-evaluated")
    slicerhost.closeModule("XReconTrainer")


# A run of a minute on two cores.
TRAINING = {
    "name": "my-small-model",
    "steps": "60",
    "precision": "float32",
    "device": "cpu",
    "validate_every": "5",
    "checkpoint_every": "20",
    "sample_every_epochs": "5",
    "pneumothorax_variants": "0",
    "options": '{"view_widths": [8, 8, 16], "grid_widths": [8, 16, 16, 16]}',
}


def click(widget: object, button: object) -> None:
    slicerhost.click(button)
    slicerhost.wait_until(lambda: not widget.jobPanel.isRunning, timeout=LONGEST_S)
    if slicerhost.messages:
        raise RuntimeError(slicerhost.messages[-1][1])


def plot(ui: object, key: str) -> Path:
    """The picture of a curve that the panel was asked to show."""
    ui.curveComboBox.currentIndex = ui.curveComboBox.findData(key)
    slicerhost.click(ui.curveButton)
    selected = slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID()
    return plots.savePlot(slicer.mrmlScene.GetNodeByID(selected), f"plot-{key}", 440, 260)


def saveBeside(widget: object, pictures: list[Path], name: str) -> None:
    """Panel on the left, pictures one above the other on the right."""
    panel = Image.open(slicerhost.screenshot(widget.parent, f"{name}-panel", WIDTH))
    images = [Image.open(path) for path in pictures]
    size = (panel.width + 8 + images[0].width, max(panel.height, sum(each.height + 8 for each in images)))
    picture = Image.new("RGB", size, panel.convert("RGB").getpixel((2, panel.height - 2)))
    picture.paste(panel, (0, 0))
    for number, image in enumerate(images):
        picture.paste(image, (panel.width + 8, number * (image.height + 8)))
    store(picture, name)


PARTS = {"XReconSlicer": reconstruction, "PTXSeg": segmentation, "XReconTrainer": training}

if __name__ == "__main__":
    SCREENSHOTS.mkdir(exist_ok=True)
    wanted = sys.argv[1:] or list(PARTS)
    if len(wanted) == 1:
        PARTS[wanted[0]]()
    else:  # each in a process of its own: the stand-in draws segments in slice views only once
        for name in wanted:
            subprocess.run([sys.executable, __file__, name], check=True)
