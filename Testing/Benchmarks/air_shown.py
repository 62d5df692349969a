"""Does a reconstruction show a pneumothorax? CTs with and without one are projected and reconstructed.

    python Testing/Benchmarks/air_shown.py --data ../shared/data --output shown \
        --subjects lidc_0003 lungdx_a0001 acrinflt_013 --models chest-128 any-view-64 lifting-64

The pneumothorax is made as training makes its copies (`xrecon.training.variants`), on cubes of 2.8 mm as the
networks were trained on: a CT of the training split gives a network its best chance. Prepared CTs stay in the
output folder. Prints a table in Markdown; air_shown.md says what it found.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from xrecon.assessment.cases import DETECTOR
from xrecon.drr.projection import DEFAULT_VIEWS, DrrOptions, project
from xrecon.pipelines import reconstruct
from xrecon.preprocess.ct import resample_like
from xrecon.training.config import GridConfig, TrainConfig
from xrecon.training.prepared import prepare_subject
from xrecon.training.subjects import Subject
from xrecon.volume import Quantity, Radiograph, Volume

SPACING_MM, SIDE = 2.8, 144
HEADS = (
    "CT",
    "model",
    "air, share of its side",
    "change in the air, CT (HU)",
    "reconstruction (HU)",
    "shown",
    "radiographs: changed by the air",
    "not explained by the reconstruction",
    "contrast of the sides, CT (HU)",
    "reconstruction (HU)",
)


@dataclass(frozen=True)
class Pair:
    """A CT without and with a pneumothorax, its labels with it, and the radiographs of both."""

    volumes: tuple[Volume, Volume]
    labels: Volume
    radiographs: tuple[Sequence[Radiograph], Sequence[Radiograph]]

    @property
    def air_label(self) -> int:
        """3 or 4: where the air is."""
        return 3 if (self.labels.array == 3).any() else 4


def make_pair(subject: Subject, folder: Path) -> Pair:
    """Both volumes on one cube, projected about one point."""
    grid = GridConfig(side=128, spacing_mm=SPACING_MM, source_side=SIDE, source_spacing_mm=SPACING_MM)
    folder.mkdir(parents=True, exist_ok=True)
    config = TrainConfig(grid=grid, pneumothorax_variants=1)
    variants = prepare_subject(subject, config, folder).variants
    first = (-(SIDE - 1) / 2 * SPACING_MM,) * 3
    hu = [
        Volume(array.astype(np.float32), (SPACING_MM,) * 3, first, quantity=Quantity.HU)
        for array, _ in variants
    ]
    options = DrrOptions(views=DEFAULT_VIEWS, shape=DETECTOR, isocenter=(0.0, 0.0, 0.0))
    made = [project(volume, options, lambda *_: None)[0] for volume in hu]
    return Pair((hu[0], hu[1]), hu[0].with_array(variants[1][1], Quantity.LABEL), (made[0], made[1]))


def measure(pair: Pair, model: str) -> list[float]:
    """The figures of `HEADS` after the model. Of two views the larger change and the larger residual."""
    results = [reconstruct(r, model, "cpu", uncertainty_samples=0) for r in pair.radiographs]
    found = [result.volume for result in results]
    truth = [resample_like(volume, found[0]) for volume in pair.volumes]

    def where(label: int) -> np.ndarray:
        share = pair.labels.with_array((pair.labels.array == label).astype(np.float32), Quantity.LABEL)
        return resample_like(share, found[0], fill=0.0).array >= 0.5

    air, lung = where(pair.air_label), where(pair.air_label - 2)
    true, shown = (float((b.array - a.array)[air].mean()) for a, b in (truth, found))
    changes = [relative(b.array, a.array) for a, b in zip(*pair.radiographs, strict=True)]
    residuals = [of_view["relative_residual"] for of_view in results[1].scores.values()]
    share = (pair.labels.array == pair.air_label).sum() / np.isin(
        pair.labels.array, (pair.air_label, pair.air_label - 2)
    ).sum()
    sides = [contrast(volume.array, air, lung) for volume in (*truth, *found)]
    return [float(share), true, shown, shown / true, max(changes), max(residuals), *sides]


def contrast(hu: np.ndarray, air: np.ndarray, lung: np.ndarray) -> float:
    """Median of the air's place less that of the lung's, less the same on the other side of the middle: what
    an observer who knows the place and compares the sides has to go by."""
    here = np.median(hu[air]) - np.median(hu[lung])
    return float(here - (np.median(hu[air[:, :, ::-1]]) - np.median(hu[lung[:, :, ::-1]])))


def relative(changed: np.ndarray, array: np.ndarray) -> float:
    """Size of the change of line integrals, as a share of theirs."""
    return float(np.linalg.norm(changed - array) / np.linalg.norm(array))


def line(name: str, model: str, figures: list[float]) -> str:
    """A line of the table."""
    size, true, shown, share, change, left, *sides = figures
    ct, made = (f"{a:.0f} -> {b:.0f}" for a, b in (sides[:2], sides[2:]))
    cells = (name, model, f"{size:.0%}", f"{true:.0f}", f"{shown:.1f}", f"{share:.0%}")
    return f"| {' | '.join((*cells, f'{change:.1%}', f'{left:.0%}', ct, made))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the CTs")
    parser.add_argument("--output", type=Path, required=True, help="folder of the prepared CTs")
    parser.add_argument("--subjects", nargs="+", required=True, help="names of CTs, without .nii.gz")
    parser.add_argument("--models", nargs="+", default=["chest-128", "any-view-64", "lifting-64"])
    given = parser.parse_args()
    print(f"| {' | '.join(HEADS)} |\n| {' | '.join(['---'] * len(HEADS))} |")
    for name in given.subjects:
        pair = make_pair(Subject(name, given.data / f"{name}.nii.gz", name), given.output)
        for model in given.models:
            print(line(name, model, measure(pair, model)), flush=True)


if __name__ == "__main__":
    main()
