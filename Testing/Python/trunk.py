"""A small elliptic trunk with two lungs: enough anatomy for tests of preparation and training."""

import numpy as np
from xrecon.volume import Volume


def trunk(seed=0, spacing=(9.0, 7.0, 8.0), shape=(33, 37, 43)):
    """A CT in HU, int16: body, right and left lung of unlike size, spine, heart on the left."""
    rng = np.random.default_rng(seed)
    z, y, x = (
        (np.arange(n) - (n - 1) / 2)[tuple(slice(None) if i == a else None for i in range(3))] * spacing[a]
        for a, n in enumerate(shape)
    )
    hu = np.full(shape, -1000.0)
    width, depth = rng.uniform(140, 155), rng.uniform(85, 100)
    hu[np.broadcast_to((x / width) ** 2 + (y / depth) ** 2 < 1, shape)] = 30
    hu[((x + 60) / 42) ** 2 + (y / 54) ** 2 + (z / rng.uniform(95, 115)) ** 2 < 1] = -850
    hu[((x - 62) / 38) ** 2 + (y / 50) ** 2 + ((z - 10) / 95) ** 2 < 1] = -850
    hu[((x - 38) / 50) ** 2 + ((y + 15) / 45) ** 2 + ((z + 45) / 55) ** 2 < 1] = 40
    hu[np.broadcast_to((x / 16) ** 2 + ((y - depth + 25) / 16) ** 2 < 1, shape)] = 400
    hu += rng.normal(0, 8, shape)
    origin = [-(n - 1) / 2 * s for n, s in zip(shape[::-1], spacing[::-1], strict=True)]
    return Volume(np.rint(hu).astype(np.int16), spacing, tuple(origin))
