"""Choosing where to compute: what there is, how much memory is free, and what the model needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from XReconSlicerLib.install import missingPackages
from XReconSlicerLib.jobs import CliJob
from XReconSlicerLib.settings import connectDeviceCombo

GIGABYTE = 2.0**30


class DeviceBox:
    """`ui` has deviceComboBox, testDevicesButton and deviceLabel.

    The test runs in a process of its own: a driver that does not fit can take its process down.
    """

    def __init__(self, ui: Any, model: Callable[[], str]) -> None:
        self.ui, self._model, self._job = ui, model, None
        connectDeviceCombo(ui.deviceComboBox)
        ui.testDevicesButton.connect("clicked(bool)", self.test)
        self._tell("")

    @property
    def device(self) -> str:
        """What `--device` takes."""
        return self.ui.deviceComboBox.currentData

    @property
    def isTesting(self) -> bool:
        return self._job is not None

    def test(self, _clicked: bool = False) -> None:
        """Asks `xrecon devices` and shows its answer when it comes."""
        if self.isTesting:
            return
        missing = missingPackages()
        if missing:
            text = _("The test needs packages that Apply offers to install: {names}.")
            self._tell(text.format(names=", ".join(missing)))
            return
        self._tell(_("Testing..."))
        self.ui.testDevicesButton.enabled = False
        self._job = CliJob(["devices", "--model", self._model()])
        self._job.finished.connect(lambda result: self._end(describeDevices(result["numbers"])))
        self._job.finished.connect(lambda result: self._list(result["numbers"]["devices"]))
        self._job.failed.connect(self._end)
        self._job.cancelled.connect(lambda: self._end(""))
        self._job.start()

    def close(self) -> None:
        """Ends a running test."""
        if self._job is not None:
            self._job.cancel()
            self._job.waitForFinished(5000)

    def _end(self, text: str) -> None:
        self._job = None
        self.ui.testDevicesButton.enabled = True
        self._tell(text)

    def _tell(self, text: str) -> None:
        self.ui.deviceLabel.text = text
        self.ui.deviceLabel.visible = bool(text)

    def _list(self, devices: list[dict[str, Any]]) -> None:
        """Adds the single GPUs of several to the choices."""
        gpus = [device for device in devices if device["name"].startswith("cuda")]
        combo = self.ui.deviceComboBox
        for gpu in gpus if len(gpus) > 1 else ():
            if combo.findData(gpu["name"]) < 0:
                combo.addItem(f"{gpu['title']} ({gpu['name']})", gpu["name"])


def describeDevices(numbers: dict[str, Any]) -> str:
    """A line for each device: free memory, what the model needs, how its test went. Last: torch."""
    lines = []
    for device in numbers["devices"]:
        free = device["free_bytes"]
        memory = (
            _("free memory unknown") if free is None else _("{free:.1f} GB free").format(free=free / GIGABYTE)
        )
        need = _("{model} needs about {need:.1f} GB").format(
            model=numbers["model"], need=device["needed_bytes"] / GIGABYTE
        )
        if free is not None and free < device["needed_bytes"]:
            need += _(": too little")
        test = _("passed the test") if not device["fault"] else _("failed the test: ") + device["fault"]
        lines.append(f"{device['title']}: {memory}; {need}; {test}.")
    if len(lines) == 1:
        lines.append(_("No usable GPU (CUDA) was found."))
    if numbers.get("torch"):
        lines.append(_("torch {version}").format(version=numbers["torch"]))
    return "\n".join(lines)
