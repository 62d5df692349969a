"""Which synthetic pneumothorax the copies of a training subject have.

Sizes are spread evenly from small to large, sides and positions alternate, and every fourth copy has an
effusion, loculated air, or emphysema, so that a network meets the air in all its forms. What a copy is
follows from the subject's name and the copy's number alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

# Air / (air + lung) of the side: smallest and largest; loculated air is smaller.
FRACTIONS, LOCULATED_FRACTIONS = (0.04, 0.72), (0.04, 0.30)
_KINDS: Sequence[Mapping[str, Any]] = (
    {},
    {"effusion": 0.1},
    {"loculated": True},
    {"emphysema": 0.12},
)


def planned(name: str, sides: Sequence[str], count: int) -> list[dict[str, Any]]:
    """Arguments of `add_pneumothorax` for `count` copies of the subject `name`.

    sides: those with enough lung, "right" or "left"; [] gives no copy.
    """
    first = zlib.crc32(name.encode())
    return [_plan(number, first, sides, count) for number in range(count if sides else 0)]


def _plan(number: int, first: int, sides: Sequence[str], count: int) -> dict[str, Any]:
    kind = (number + number // 4 + first) % len(_KINDS)
    options = dict(_KINDS[kind])
    if options.get("loculated"):
        options["place"] = ("apical", "general", "basal")[(number + first) % 3]
    low, high = LOCULATED_FRACTIONS if options.get("loculated") else FRACTIONS
    return {
        "side": sides[(number + first) % len(sides)],
        "fraction": low + (high - low) * (number + 0.5) / count,
        "position": ("supine", "erect")[(number // 2) % 2],
        "seed": number,
        **options,
    }
