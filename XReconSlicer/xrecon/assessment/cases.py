"""Test CTs as cases on a model's grid: radiographs and truth, made once and stored.

Each CT gives a case as scanned (table removed) and one for each size of a synthetic pneumothorax, on
alternating sides. Training CTs give a case as scanned, for the nearest-subject control. The cases are
those of the benchmark (`benchmark.cases.Case`), on the grid and with the views of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrecon import __version__
from xrecon.benchmark.cases import DETECTOR, SIDES, Case, ptx_labels
from xrecon.benchmark.exact import SUFFIX, exact_air, read_exact, write_exact
from xrecon.benchmark.methods import weights_digest
from xrecon.drr.projection import DEFAULT_VIEWS, DrrOptions, project
from xrecon.evaluation.methods import Cube
from xrecon.nets.card import ModelCard
from xrecon.training.store import open_store, source_digest
from xrecon.training.subjects import Subject
from xrecon.volume import InputError, Quantity, Volume

if TYPE_CHECKING:
    from xrecon.pneumothorax.synthesize import SyntheticPneumothorax

Progress = Callable[[str, float, str], None]
# Sizes of the synthetic pneumothoraces: shares of the side.
FRACTIONS = (0.15, 0.35, 0.6)
CASES = "cases"


@dataclass(frozen=True)
class Grid:
    """Where a model's volumes lie about the isocentre, and the views that it gets."""

    side: int
    spacing_mm: float
    views: tuple[str, ...]

    @property
    def cube(self) -> Cube:
        """The same as the benchmark's methods take it."""
        return Cube(self.side, self.spacing_mm)

    @property
    def name(self) -> str:
        """Of the folder of its cases."""
        views = "_".join(self.views).lower().replace(" ", "-")
        return f"{self.side}x{self.spacing_mm:g}mm-{views}"


def grid_of(card: ModelCard) -> Grid:
    """The grid of a reconstruction model; one that takes any views gets the two of a chest stand."""
    views = DEFAULT_VIEWS if card.input.view_count else tuple(card.input.views)
    return Grid(card.output.side, card.output.spacing_mm, tuple(views))


@dataclass(frozen=True)
class Wanted:
    """A CT and what is made of it: number is the seed of the air and chooses its sides, fractions are the
    sizes of pneumothorax.

    lungs: lung model of PTX-Seg on the truth; "" for a training CT, which needs none.
    """

    subject: Subject
    number: int
    fractions: tuple[float, ...] = ()
    lungs: str = ""

    @property
    def names(self) -> dict[str, float]:
        """The size of the pneumothorax, 0 as scanned, by the name of the case."""
        name = self.subject.name
        return {name: 0.0, **{f"{name}+air{round(100 * f)}": f for f in self.fractions}}

    def settings(self, name: str, grid: Grid) -> dict[str, Any]:
        """What determines the numbers of a case, with the CT."""
        fraction = self.names[name]
        return {
            "fraction": fraction,
            "air_side": self.side(name) if fraction else "",
            **({"seed": self.number} if fraction else {}),
            "patient": self.subject.patient,
            "grid": grid.name,
            "detector": list(DETECTOR),
            "lungs": [self.lungs, weights_digest(self.lungs) if self.lungs else ""],
        }

    def side(self, name: str) -> str:
        """Where the air of a case is."""
        return SIDES[(self.number + list(self.names).index(name)) % 2]


def make_cases(wanted: Wanted, grid: Grid, folder: Path) -> str:
    """Stores the cases of a CT that are not there yet; says why the CT is left out, "" when it is not."""
    store = open_store(folder / CASES / grid.name, create=True)
    subject = wanted.subject
    digest = subject.sha256 or source_digest(subject.path)
    missing = [n for n in wanted.names if not store.holds(n, digest, wanted.settings(n, grid))]
    if not missing:
        return ""
    try:
        for name, volume, made in _volumes(wanted, missing):
            _store(store, wanted, digest, name, volume, made, grid)
    except InputError as error:
        return str(error)
    return ""


def load_cases(wanted: Wanted, grid: Grid, folder: Path) -> Iterator[Case]:
    """The stored cases of a CT, as scanned first."""
    from xrecon.io.image import read_volume

    store = open_store(folder / CASES / grid.name)
    for name, fraction in wanted.names.items():
        if name not in store.cases:
            continue
        stored, beside = store.load(name), store.folder / name
        labels = stored.volume.with_array(np.zeros(stored.volume.shape, np.uint8), Quantity.LABEL)
        if wanted.lungs:
            labels = read_volume(beside.with_name(f"{name}.nrrd"), Quantity.LABEL)
        yield Case(
            name,
            wanted.subject.name,
            wanted.subject.patient,
            fraction > 0,
            stored.volume,
            stored.radiographs,
            labels,
            wanted.lungs,
            read_exact(beside.with_name(name + SUFFIX)) if fraction else None,
        )


def read_ct(subject: Subject) -> Volume:
    """The CT in HU without its table."""
    from xrecon.io.image import read_volume
    from xrecon.preprocess.ct import remove_table

    return remove_table(read_volume(subject.path).require_hounsfield(f"the CT {subject.path}"))


def _volumes(
    wanted: Wanted, names: Sequence[str]
) -> Iterator[tuple[str, Volume, SyntheticPneumothorax | None]]:
    """The CT as each case needs it, and what is known of its air."""
    from xrecon.pneumothorax.lungs import classical_lungs
    from xrecon.pneumothorax.synthesize import synthesize

    volume, lungs = read_ct(wanted.subject), None
    for name in names:
        fraction = wanted.names[name]
        if not fraction:
            yield name, volume, None
            continue
        lungs = lungs or classical_lungs(volume)
        made = synthesize(volume, lungs, wanted.side(name), fraction, seed=wanted.number)
        yield name, made.volume, made


def _store(
    store: Any,
    wanted: Wanted,
    digest: str,
    name: str,
    volume: Volume,
    made: SyntheticPneumothorax | None,
    grid: Grid,
) -> None:
    """Writes what lies beside a case first: a case that the store names is whole."""
    from xrecon.io.image import write_volume
    from xrecon.preprocess.ct import resample

    radiographs, isocenter, _ = project(volume, DrrOptions(views=grid.views, shape=DETECTOR), lambda *_: None)
    truth = resample(volume, (grid.side,) * 3, (grid.spacing_mm,) * 3, isocenter)
    if made is not None:
        write_exact(exact_air(made, truth), store.folder / (name + SUFFIX))
    if wanted.lungs:
        write_volume(ptx_labels(truth, wanted.lungs), store.folder / f"{name}.nrrd")
    subject = wanted.subject
    store.put(
        name,
        truth,
        radiographs,
        source=subject.path.name,
        source_sha256=digest,
        settings=wanted.settings(name, grid),
        patient=subject.patient,
        attribution=subject.attribution,
        licence=subject.licence,
        made_by={"xrecon": __version__},
    )
