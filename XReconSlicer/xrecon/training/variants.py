"""Which synthetic pneumothorax the copies of a training subject have.

Sizes are spread evenly from small to large, sides and positions alternate, and of four copies one is plain,
one has an effusion (where fluid is asked for), one loculated air and one emphysema, so that a network meets
the air in all its forms. What a copy is follows from the subject's name and the copy's number alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

# Loculated air is at most this share of a side; emphysema is this share of both lungs.
LOCULATED_MOST, EMPHYSEMA = 0.3, 0.12


def planned(
    name: str, sides: Sequence[str], count: int, sizes: tuple[float, float], effusion: float
) -> list[dict[str, Any]]:
    """Arguments of `add_pneumothorax` for `count` copies of the subject `name`.

    sides: those with enough lung, "right" or "left"; [] gives no copy. sizes: smallest and largest share of
    air in its side. effusion: share of fluid in the copies that have some; 0 for none in any.
    """
    first = zlib.crc32(name.encode())
    kinds = ({}, {"effusion": effusion} if effusion else {}, {"loculated": True}, {"emphysema": EMPHYSEMA})
    plans = []
    for number in range(count if sides else 0):
        options = dict(kinds[(number + number // 4 + first) % len(kinds)])
        low, high = sizes
        if options.get("loculated"):
            options["place"] = ("apical", "general", "basal")[(number + first) % 3]
            low, high = min(low, LOCULATED_MOST), min(high, LOCULATED_MOST)
        plans.append(
            {
                "side": sides[(number + first) % len(sides)],
                "fraction": low + (high - low) * (number + 0.5) / count,
                "position": ("supine", "erect")[(number // 2) % 2],
                "seed": number,
                **options,
            }
        )
    return plans
