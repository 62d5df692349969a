"""What the view classifier finds in pictures of people it has not seen: right, wrong and foreign ones.

    python Testing/Benchmarks/view_recognition.py --data ../shared/data --prepared run/prepared \\
        --split Testing/Benchmarks/open_cts.csv --model run/model --radiographs a.dcm b.dcm --record

Projections of the test CTs as PA, AP and both laterals in random poses, plain and with the looks that the
training gives (two each). Wrong ones: exchanged, turned by quarters, mirrored, inverted. Foreign ones: slices
and projections of the same CTs that are no view, noise, and the photographs that scikit-image brings, where
it is installed. Radiographs given by path are taken for right PA views, each with 16 looks of its own (field,
curve, noise), and in the 15 other layouts. Seeds are fixed: the same pictures for every model.

Counts: agree (seen as what it is), warned (told to be something else), refused, unusual and far (by the gate
on unfamiliar pictures), caught (warned or unusual), blocked (refused or far). `--record` writes them into the
model's card.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from xrecon.assessment.record import require_unseen, write_card_page
from xrecon.assessment.run import Plan
from xrecon.evaluation.view_recognition import CLASSIFIER, recognise
from xrecon.io.radiograph import read_radiograph
from xrecon.nets.registry import load_card, record_quality
from xrecon.nets.view_classifier import LAYOUTS, UPRIGHT, Layout
from xrecon.physics.attenuation import hu_to_attenuation
from xrecon.physics.geometry import ViewGeometry
from xrecon.preprocess.radiograph import canonical_axes
from xrecon.preprocess.views import view_kind
from xrecon.training.config import make_config
from xrecon.training.prepared import prepare_subject
from xrecon.training.subjects import Subject, find_subjects
from xrecon.training.view_bank import PIXEL_MM, PIXELS, coloured_noise, projected, random_view
from xrecon.training.view_looks import seen
from xrecon.volume import Quantity, Radiograph

VIEWS = ("PA", "AP", "LEFT LATERAL", "RIGHT LATERAL")
POSES, LOOKS, ENERGY_KEV, SEED, SIDE = 6, 2, 65.0, 11, 128
NOISES, SLICES, PHOTO_LOOKS, REAL_LOOKS = 40, 24, 3, 16
PHOTOS = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png",
    "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "moon.png", "page.png", "retina.jpg",
    "rocket.jpg", "text.png",
)  # fmt: skip
HOW = (
    "DRRs of the subjects in random poses, PA, AP and both laterals, each with the augmentation of training "
    "(grey-scale curve, noise, shutters, markers, devices, field); caught: warned of as another view or "
    "layout, or as unusual; blocked: refused, or far from the training DRRs. Foreign: photographs and "
    "pictures of scikit-image, noise, axial slices and projections and the abdomen of the subjects' CTs. "
    "Nothing was set on these subjects; that neither view is believed from 0.9 on only was set after the two "
    "real radiographs had been seen, which are no test of it."
)


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture (row, column) with the view that it truly is."""

    picture: np.ndarray
    view: str


def as_radiograph(picture: np.ndarray, view: str) -> Radiograph:
    """The picture as a display radiograph of that view, with a geometry as if nothing were known of it.

    picture: laid out to the patient's left or posterior, as `canonical` leaves it.
    """
    rows, columns = picture.shape
    spacing = (0.85 * PIXELS * PIXEL_MM / rows, 0.85 * PIXELS * PIXEL_MM / columns)
    geometry = ViewGeometry.preset(view, shape=picture.shape, pixel_spacing=spacing)
    geometry = replace(geometry, **canonical_axes(geometry))
    return Radiograph(np.ascontiguousarray(picture), geometry, Quantity.DISPLAY, view)


# -- pictures ------------------------------------------------------------------------------------
def projections(hu: torch.Tensor, spacing_mm: float, number: int) -> list[list[Shown]]:
    """For each view and pose the plain projection and its looks."""
    attenuation = hu_to_attenuation(hu, ENERGY_KEV)[None, None]
    made = []
    for place, view in enumerate(VIEWS):
        for pose in range(POSES):
            rng = np.random.default_rng([SEED, number, place, pose])
            plain = projected(attenuation, random_view(view, PIXELS, rng), spacing_mm)
            looks = [Shown(seen(plain, rng), view) for _ in range(LOOKS)]
            made.append([Shown(plain, view), *looks])
    return made


def changed(picture: np.ndarray, layout: Layout) -> np.ndarray:
    """The picture in another layout; grey values between 0 and 1."""
    low, high = float(picture.min()), float(picture.max())
    unit = torch.as_tensor((picture - low) / max(high - low, 1e-12))
    return layout.of(unit).numpy()


def other_view(view: str) -> str:
    """What an exchanged file is said to be."""
    return "LEFT LATERAL" if view_kind(view) == "frontal" else "PA"


def foreign(volumes: Sequence[torch.Tensor]) -> Iterator[tuple[str, np.ndarray]]:
    """Kinds and pictures of what is no chest radiograph."""
    rng = np.random.default_rng([SEED, 1])
    for hu in volumes:
        above_air = hu + 1024.0
        for part in (4, 5, 6, 7):
            yield "abdomen", seen(above_air[: hu.shape[0] // part].sum(dim=1).flip(0).numpy(), rng)
        for _ in range(2):
            yield "axial projection", seen(above_air.sum(dim=0).numpy(), rng)
        for z in np.linspace(0.2, 0.8, SLICES):
            yield "axial slice", seen(above_air[int(z * hu.shape[0])].numpy(), rng)
    for number in range(NOISES):
        yield "noise", seen(coloured_noise(SIDE, 3.0 * number / NOISES, rng), rng)
    for picture in photographs():
        for _ in range(PHOTO_LOOKS):
            yield "photo", seen(picture, rng)


def photographs() -> Iterator[np.ndarray]:
    """Pictures that scikit-image brings, grey; none without it."""
    try:
        import skimage
    except ImportError:
        return
    from PIL import Image

    for name in PHOTOS:
        path = Path(skimage.__file__).parent / "data" / name
        if path.is_file():
            yield np.asarray(Image.open(path).convert("L"), dtype=np.float32)


# -- counting ------------------------------------------------------------------------------------
class Counts:
    """How often which answer was given, by kind of picture."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.figures: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))

    def add(self, kind: str, picture: np.ndarray, said: str) -> None:
        """One more picture of a kind, said to be a view."""
        self.put(kind, as_radiograph(picture, said))

    def put(self, kind: str, radiograph: Radiograph) -> None:
        """The same for a radiograph."""
        found = recognise(radiograph, self.model)
        warned, unusual = bool(found.problem()), not found.familiarity.is_usual
        refused, far = found.is_contradicted, found.familiarity.far
        answers = {
            "count": True, "agree": found.agrees, "warned": warned, "refused": refused, "unusual": unusual,
            "far": far, "caught": warned or unusual, "blocked": refused or far,
        }  # fmt: skip
        for name, value in answers.items():
            self.figures[kind][name] += int(value)

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Plain numbers for the card."""
        return {kind: dict(values) for kind, values in self.figures.items()}


def count_all(counts: Counts, volumes: Sequence[torch.Tensor], spacing_mm: float) -> None:
    """Everything that is measured on the CTs."""
    for number, hu in enumerate(volumes):
        for plain, *looks in projections(hu, spacing_mm, number):
            counts.add("right pictures, not augmented", plain.picture, plain.view)
            for look in looks:
                counts.add("right pictures", look.picture, look.view)
            first, view = looks[0].picture, plain.view
            counts.add("exchanged", first, other_view(view))
            for quarters in (1, 2, 3):
                counts.add("turned", changed(first, Layout(quarters=quarters)), view)
            mirrored = changed(first, Layout(mirrored=True))
            counts.add("mirrored", mirrored, view)
            if view_kind(view) == "frontal":
                counts.add("mirrored frontal", mirrored, view)
                for look in looks:
                    counts.add("right frontal", look.picture, view)
            counts.add("inverted", changed(first, Layout(inverted=True)), view)
    for number, (kind, picture) in enumerate(foreign(volumes)):
        for name in ("foreign", f"foreign {kind}"):
            counts.add(name, picture, VIEWS[2 * (number % 2)])


def count_real(counts: Counts, paths: Sequence[Path]) -> None:
    """Real PA radiographs: as they are, with looks of their own, and in the other layouts."""
    for path in paths:
        film = read_radiograph(path, usual_view="PA")
        counts.put("real radiographs, as they are", film)
        rng = np.random.default_rng([SEED, 2])
        for _ in range(REAL_LOOKS):
            counts.add("real radiographs", seen(film.array.astype(np.float32), rng), "PA")
        for layout in LAYOUTS:
            if layout != UPRIGHT:
                kind = "real radiographs in the 15 other layouts"
                turned = replace(film, array=changed(film.array, layout), geometry=_geometry(film, layout))
                counts.put(kind, turned)


def _geometry(film: Radiograph, layout: Layout) -> ViewGeometry:
    """That of the picture as it is said to be, with rows for columns where it lies on its side."""
    if layout.quarters % 2 == 0:
        return film.geometry
    shape, spacing = film.geometry.shape[::-1], film.geometry.pixel_spacing[::-1]
    return replace(film.geometry, shape=shape, pixel_spacing=spacing)


def test_subjects(data: Path, table: Path | None, names: Sequence[str]) -> list[Subject]:
    """The chosen CTs, else those of the split "test"."""
    found = find_subjects(data, [], table)
    return [s for s in found if (s.name in names if names else s.split == "test")]


def main() -> None:
    """Measures, prints, and records when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default=CLASSIFIER)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path)
    parser.add_argument("--subjects", nargs="*", default=[])
    parser.add_argument("--prepared", type=Path, required=True, help="folder for the prepared CTs")
    parser.add_argument("--radiographs", type=Path, nargs="*", default=[])
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    subjects = test_subjects(options.data, options.split, options.subjects)
    if options.record:
        require_unseen(load_card(options.model), Plan(subjects))
    config = make_config("view-classifier", None, {})
    prepared = [prepare_subject(s, config, options.prepared).variants[0][0] for s in subjects]
    volumes = [torch.as_tensor(hu.astype(np.float32)) for hu in prepared]
    counts = Counts(options.model)
    count_all(counts, volumes, config.grid.source_spacing_mm)
    count_real(counts, options.radiographs)
    figures = {
        "subjects": [s.name for s in subjects],
        "how": HOW,
        "data": [{"subject": s.name, "attribution": s.attribution, "licence": s.licence} for s in subjects],
        "real": [path.stem for path in options.radiographs],
        **counts.to_dict(),
    }
    print(json.dumps(figures, indent=1))
    if options.record:
        record_quality(options.model, "test", figures)
        write_card_page(options.model)


if __name__ == "__main__":
    main()
