"""The list of cases: which subject, what is put into its CT, how it is scanned. Deterministic, no data.

Every subject gets the same template; sides, positions, places, kernels and noise take turns by the
subject's number, so that each group is spread over people. Held-out subjects were named before anything
was tuned.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

DEVELOPMENT = (
    "lidc_0001", "lidc_0003", "lidc_0006", "lidc_0314", "nsclc_radiogenomics_r01-001", "fourdlung_113",
    "lungdx_a0001", "lungdx_a0002",
)  # fmt: skip
HELD_OUT = ("lidc_0002", "lidc_0023", "acrinflt_013", "cip_ct64")
# Real CTs that were looked through and hold no pneumothorax.
WITHOUT_PNEUMOTHORAX = ("lidc_0001", "lidc_0002", "lidc_0003", "lungdx_a0001")
# Voxels of 4 mm: neither thin nor averaged slices can be made of it.
COARSE = ("cip_ct64",)
SUBSETS = ("development", "held-out", "quick", "all")

SIZES = (0.02, 0.05, 0.08, 0.15, 0.25, 0.4, 0.6, 0.85)
SIDES, POSITIONS, PLACES = ("right", "left"), ("supine", "erect"), ("general", "apical", "basal")
NOISE = (0.0, 10.0, 20.0, 30.0, 40.0, 60.0)
KERNELS = ("", "soft", "sharp")


@dataclass(frozen=True)
class Case:
    """One generated CT. kind: "real" (the CT as it is), "healthy", "emphysema" (none with air) or
    "pneumothorax". noise_hu is added to the CT's own; kernel "" leaves the CT's own; slice_mm 0 keeps the
    slices."""

    subject: str
    kind: str
    side: str = "right"
    fraction: float = 0.0
    position: str = "supine"
    place: str = "general"
    loculated: bool = False
    effusion: float = 0.0
    emphysema: float = 0.0
    noise_hu: float = 0.0
    kernel: str = ""
    slice_mm: float = 0.0
    seed: int = 0

    @property
    def held_out(self) -> bool:
        """Whether nobody may tune on it."""
        return self.subject in HELD_OUT

    @property
    def name(self) -> str:
        """Subject and what differs from the defaults, for the row of a table."""
        parts = [self.subject, self.kind]
        if self.kind == "pneumothorax":
            parts += [self.side, f"{100 * self.fraction:g}%", self.position, self.place]
        parts += [
            word
            for word, said in (
                ("loculated", self.loculated), (f"effusion{self.effusion:g}", self.effusion),
                (f"emphysema{self.emphysema:g}", self.emphysema), (f"noise{self.noise_hu:g}", self.noise_hu),
                (self.kernel, self.kernel), (f"slice{self.slice_mm:g}", self.slice_mm),
            )
            if said
        ]  # fmt: skip
        return " ".join(parts)

    def settings(self) -> dict[str, object]:
        """All fields, for the hash of a row."""
        return asdict(self)


def all_cases() -> list[Case]:
    """Every case, by subject."""
    found = []
    for number, subject in enumerate((*DEVELOPMENT, *HELD_OUT)):
        found += _of_subject(subject, number)
    return found


def chosen(subset: str) -> list[Case]:
    """The cases of "development", "held-out", "all", or "quick": a few of two development subjects."""
    cases = all_cases()
    if subset == "held-out":
        return [c for c in cases if c.held_out]
    if subset == "development":
        return [c for c in cases if not c.held_out]
    if subset == "quick":
        few = [c for c in cases if c.subject in ("lidc_0001", "nsclc_radiogenomics_r01-001")]
        return few[::5]
    return cases


def _of_subject(subject: str, number: int) -> list[Case]:
    cases = [Case(subject, "real")] if subject in WITHOUT_PNEUMOTHORAX else []
    cases += [
        Case(subject, "healthy", noise_hu=noise, kernel=KERNELS[1 + (number + k) % 2], seed=k)
        for k, noise in enumerate((10.0, 20.0, 40.0, 60.0))
        if k != number % 4
    ]
    shares = ((0.05, 0.0), (0.15, 10.0), (0.3, 20.0), (0.5, 0.0))
    for k in range(2):
        share, noise = shares[(number + 2 * k) % len(shares)]
        cases.append(Case(subject, "emphysema", emphysema=share, noise_hu=noise, seed=number + k))
    for k, fraction in enumerate(SIZES):
        turn = number + k
        cases.append(
            Case(
                subject, "pneumothorax", SIDES[turn % 2], fraction, POSITIONS[(turn // 2) % 2],
                PLACES[turn % 3] if fraction <= 0.4 else "general", noise_hu=NOISE[turn % 6],
                kernel=KERNELS[(number + 2 * k) % 3], seed=turn,
            )
        )  # fmt: skip
    return cases + _special(subject, number)


def _special(subject: str, number: int) -> list[Case]:
    """Loculated, with fluid, in emphysema, and in thin and thick slices."""
    side, other = SIDES[number % 2], SIDES[(number + 1) % 2]
    position, noise = POSITIONS[number % 2], NOISE[number % 4]

    def with_air(side: str, fraction: float, seed: int, **more: object) -> Case:
        return Case(subject, "pneumothorax", side, fraction, seed=seed, **more)

    cases = [
        with_air(side, 0.06 + 0.02 * (number % 4), 30, position=position, loculated=True,
                 place=PLACES[number % 3]),
        with_air(other, 0.2, 31, position=position, effusion=0.08 + 0.04 * (number % 3), noise_hu=noise),
        with_air(other, 0.1 + 0.15 * (number % 3), 32, emphysema=0.3, noise_hu=noise),
    ]  # fmt: skip
    if subject in COARSE:
        return cases
    size = (0.1, 0.25, 0.45)[number % 3]
    return cases + [
        with_air(side, size, 33, slice_mm=0.7, noise_hu=20.0, kernel="sharp"),
        with_air(other, size, 34, slice_mm=3.0, position=position, noise_hu=10.0),
        with_air(side, size, 35, slice_mm=5.0, position=position),
    ]
