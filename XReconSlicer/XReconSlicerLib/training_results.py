"""Figures of a training and of an evaluation: as text, and as a table node."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from XReconSlicerLib.scene import tableToNode

# The figures that are told, as the field calls them, with their units; the table of an evaluation has all.
_TITLES = {
    "psnr": ("PSNR", "dB"),
    "ssim": ("SSIM", ""),
    "mae_hu": (_("mean absolute error"), "HU"),
    "dice_right": (_("Dice of the right lung"), ""),
    "dice_left": (_("Dice of the left lung"), ""),
    "dice_air": (_("Dice of pleural air"), ""),
    "air_shown_percent": (_("darkening by pleural air that is shown"), "%"),
}
_CONTROL, _BODY = "_mean_volume", "_body"


def describeMetrics(numbers: Mapping[str, Any]) -> str:
    """Metrics of a training or an evaluation, a line each beside its control's, and warnings."""
    metrics = numbers.get("metrics") or numbers.get("mean") or {}
    lines = [
        _line(name, metrics[name], metrics.get(name + _CONTROL))
        for name in (*_TITLES, *(name + _BODY for name in _TITLES))
        if metrics.get(name) is not None
    ]
    return "\n".join([*lines, *numbers.get("warnings", [])])


def _line(name: str, value: float, control: float | None) -> str:
    title, unit = _TITLES[name.removesuffix(_BODY)]
    if name.endswith(_BODY):
        title = _("{figure} inside the body").format(figure=title)
    text = f"{title}: {value:.4g} {unit}".rstrip()
    if control is None:
        return text
    more = _("the mean training volume has {value}").format(value=f"{control:.4g} {unit}".rstrip())
    return f"{text}; {more}"


def showTrained(ui: Any, model: Path, numbers: Mapping[str, Any]) -> str:
    """The end of a training in the panel's section "Evaluate and use"; gives a line for the status.

    :param model: the folder that a training which was not stopped has exported.
    """
    if "stopped" in numbers:
        return _("Stopped: {message}").format(message=numbers["stopped"])
    ui.modelFolderEdit.currentPath = str(model)
    ui.resultLabel.text = describeMetrics(numbers)
    ui.modelCollapsibleButton.collapsed = False
    return _("Trained: {folder}").format(folder=model)


def loadEvaluation(label: qt.QLabel, result: Mapping[str, Any]) -> str:
    """The result of `xrecon evaluate`: means as text, a table node with a row for each CT.

    Gives a line for the status.

    :raises OSError: when the result's file cannot be read.
    """
    label.text = describeMetrics(result["numbers"])
    file, model = Path(result["files"]["table"]), result["numbers"]["model"]
    header, *rows = csv.reader(file.read_text(encoding="utf-8").splitlines())
    node = tableToNode(header, rows, _("Evaluation of {model}").format(model=model))
    return _("Evaluated: table '{name}', {file}").format(name=node.GetName(), file=file)
