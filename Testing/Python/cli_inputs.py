"""Small inputs for the command line, and how tests run it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models
from xrecon import cli
from xrecon.io.image import write_volume
from xrecon.io.radiograph import write_radiograph
from xrecon.physics.drr import render_drrs
from xrecon.physics.geometry import ViewGeometry
from xrecon.volume import Volume

BACKEND = Path(cli.__file__).resolve().parents[1]


def xrecon(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command run in this process."""
    code = cli.run([str(a) for a in arguments])
    out, err = capfd.readouterr()
    return code, out, err


def error_line(err: str) -> str:
    """The one line that says what went wrong; a traceback is a bug."""
    assert "Traceback" not in err, err
    lines = [line for line in err.splitlines() if line.startswith("xrecon: error: ")]
    assert len(lines) == 1, err
    return lines[0].removeprefix("xrecon: error: ")


def body() -> Volume:
    """A coarse body with lungs of more than 200 ml of air, no symmetry from left to right."""
    z, y, x = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * 8.0 for n in (37, 31, 43)], indexing="ij")
    hu = np.full(z.shape, -1000, dtype=np.int16)
    hu[(y / 95) ** 2 + (x / 140) ** 2 < 1] = 40
    hu[(z / 110) ** 2 + (y / 60) ** 2 + ((x + 65) / 45) ** 2 < 1] = -850
    hu[(z / 95) ** 2 + (y / 55) ** 2 + ((x - 70) / 38) ** 2 < 1] = -850
    return Volume(hu, (8.0, 8.0, 8.0), (-150.0, -135.0, -124.0))


def write_inputs(folder: Path) -> Path:
    """ct.nrrd, pa.dcm, lateral.dcm, pa.png, lateral.png and an untrained model in a folder."""
    write_volume(body(), folder / "ct.nrrd")
    center = tuple(body().center)
    views = [ViewGeometry.preset(v, shape=(40, 36), isocenter=center) for v in tiny_models.VIEWS]
    for name, radiograph in zip(("pa", "lateral"), render_drrs(body(), views), strict=True):
        for suffix in ("dcm", "png"):
            write_radiograph(radiograph, folder / f"{name}.{suffix}")
    tiny_models.save_untrained(folder / "model")
    return folder


def reconstruct_arguments(files: Path, output: Path, **changes: object) -> list[object]:
    """`xrecon reconstruct` on the inputs of `write_inputs`, with other options where given.

    Forced, since a cartoon of a chest is none to the view classifier.
    """
    inputs = {"pa": files / "pa.dcm", "lateral": files / "lateral.dcm", "model": files / "model"}
    options = {**inputs, "output": output, **changes}
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    return ["reconstruct", "--force", *given]
