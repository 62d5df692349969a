"""What `xrecon devices`, `phantom` and `recognise` do: where to compute, data to try, what pictures show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from xrecon.io.folder import output_folder
from xrecon.outcome import Outcome, ProgressCallback
from xrecon.physics.geometry import ViewGeometry

# The sample data: coarse enough to be made in seconds, fine enough to look like a chest.
PHANTOM_SPACING_MM, PHANTOM_DETECTOR, PHANTOM_PNEUMOTHORAX_ML = (2.5, 2.0, 2.0), (512, 512), 700.0


def devices(model: str) -> Outcome:
    """What can be computed on, and the memory that one run of a model needs there."""
    import torch

    from xrecon.nets.memory import needed_bytes, places
    from xrecon.nets.registry import load_card

    card = load_card(model)
    rows = [{**asdict(place), "needed_bytes": needed_bytes(card, place.name)} for place in places()]
    text = "\n".join(
        f"{row['name']}: {row['title']}, {_gigabytes(row['free_bytes'])} free, "
        f"{_gigabytes(row['needed_bytes'])} needed by {card.name}, test {row['fault'] or 'passed'}"
        for row in rows
    )
    return Outcome({}, {"devices": rows, "model": card.name, "torch": torch.__version__}, text, [])


def _gigabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**30:.1f} GB"


def phantom(output: Path, progress: ProgressCallback) -> Outcome:
    """A chest phantom with a pneumothorax of the left side: CT, labels, and two radiographs as DICOM."""
    from xrecon.io.image import write_volume
    from xrecon.io.radiograph import write_radiograph
    from xrecon.physics.chest_phantom import chest_phantom
    from xrecon.physics.drr import render_drrs
    from xrecon.preprocess.ct import lung_center

    with output_folder(output) as folder:
        progress("phantom", 0.0, "anatomy")
        made = chest_phantom(PHANTOM_SPACING_MM, pneumothorax_ml=PHANTOM_PNEUMOTHORAX_ML, side="left")
        progress("phantom", 0.6, "radiographs")
        files = {"ct": "phantom_ct.nrrd", "labels": "phantom_labels.nrrd"}
        write_volume(made.volume, folder / files["ct"])
        write_volume(made.labels, folder / files["labels"])
        isocenter = tuple(lung_center(made.volume))
        for view in ("PA", "LEFT LATERAL"):
            geometry = ViewGeometry.preset(view, shape=PHANTOM_DETECTOR, isocenter=isocenter)
            (radiograph,) = render_drrs(made.volume, [geometry])
            name = "pa" if view == "PA" else "lateral"
            files[name] = f"phantom_{name}.dcm"
            write_radiograph(radiograph, folder / files[name])
        progress("phantom", 1.0, "done")
    numbers = {"pneumothorax_ml": PHANTOM_PNEUMOTHORAX_ML, "side": "left"}
    return Outcome({k: output / v for k, v in files.items()}, numbers, "", [])


def recognise(radiographs: Sequence[Path], progress: ProgressCallback) -> Outcome:
    """What each picture seems to show, whatever its file says: view, polarity, turn, and how sure that is."""
    from xrecon.evaluation.view_guess import guess_view
    from xrecon.io.radiograph import read_radiograph

    rows, lines = [], []
    for number, path in enumerate(radiographs):
        progress("recognise", number / len(radiographs), path.name)
        guess = guess_view(read_radiograph(path, usual_view="PA"))
        rows.append({"file": path.name, **guess.to_dict()})
        lines.append(f"{path.name}: {guess.text()}")
    progress("recognise", 1.0, "done")
    return Outcome({}, {"radiographs": rows}, "\n".join(lines), [])
