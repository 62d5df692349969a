"""The mean chest of projected CTs: how it looks, and which line integrals it has.

Made of PA and left lateral projections (source 1500 mm before the middle of the lungs, detector 300 mm
behind it, 70 keV, table removed) of six CTs whose lungs are whole and that are none of the test subjects:
lidc_0001, lidc_0003, lidc_0314, nsclc_radiogenomics_r01-001, lungdx_a0001, lungdx_a0002 of The Cancer
Imaging Archive (CC BY 3.0 and 4.0; attributions in the model cards). Nothing of a person can be told from
the means.
"""

from __future__ import annotations

import base64

import numpy as np

# The pictures show the box around both lungs, made wider on both sides: (rows, columns).
MARGIN = (1.0, 1.2)
_SIDE = 24
# Width of the lungs by their height.
_ASPECT = {"frontal": 1.101, "lateral": 0.787}
# Grey values by rank, 0 to 255: 24 x 24 pixels, row by row from the apices down.
_PICTURES = {
    "frontal": (
        "XnF+jpCUmJB/gperrJyCbXeUnJWNgXBPaX2Nm6StoYFwcY6sqpRrVVhxmaGckXRMa4ieq7CmjXhmcI+xqIhjTEpZgKijj3FK"
        "X4Cer6uRbFpacZC5qYxoQjtJZ5qjhmxFWHqYqJ56WUtQcpXFs5FvRi48UoGhg2pDV3uZoYhjR0BNcprNxJduQyUuQ2qdh2lD"
        "WX6Wjm1OOjhPeqXTy5hoOCAlNlyVi2tEWoCTiGE+KjRWh7PZ0qFwOyAcLE6OkG1DW4KTh1UvIytUj7zd2K5+RCEWKEiIlm1C"
        "W4SWgk0rIS1TksXi27qJTyMVJ0N+mG5AXIiYfkwpIC1Yms/n5MaUWCcUIDx2mm89WomdfkUmHzJanNLp6M6iXTESGDFum3I8"
        "V4ejejshHjhindXt7dq1c0EYFyxlnHE6VIeicjMaIT5jntjy8uXHj1EiFSZZmXE4UYWkaS4aKkdfm9r08+bOqGMvFhhMlWw1"
        "SYWnbjsvPlRrodj09ObRuIRAGxc+jGYyQoCcYUlNU152qdby8+fTvZNKIBc5f2UtNnaMWVZiaGh6rdjy8uLJtpNTKRw0c2Ul"
        "Jmp8WGJ1foWNt+Lz8ty+rJdsQSouZF4ZHFhrXXaNoKSmxOv189y+r5p7WTkrVVMSGElhbo6uvsLCz+739uTLv7GggFw8T1AN"
        "FUVoia/G0dna4PL49+nW2dnTtphrXFELFEV8pMTV3eLl5vT7+e/k5ufh07qXc1MIFUWKs8zb4ubp6fb7+vHt7Ovo3s2shFMF"
    ),
    "lateral": (
        "AwUJHlBznbjd7vX19fX2+fnz4bukkWw/AwUMOVqEpdLk7vDm3t7m7/T069CtmXhNAwYQSWWPu9Te3NbJvcHN3uvy8N+7noBX"
        "BAcgUHSbu728t6+uo6m6zdvm7eTIpYVdBAk0W36elIaNkZKbnaOwv8rT3ePTrIpiBhNBZYiBZ2d0f4WNmJ+rsrvFztzXso9j"
        "CCJMb4FaUFZkcHiDjJajqLS4vMvTuZFjCy5Xf2s5PUlWY3J/h42anqerr73Pw5RjEzlkf0sqMkFRYnN8hoSJjZmdoLLGw5Vj"
        "HUR0bTAmNUVTY3eBhH1veoyRjJuvvJtiJ1KAWScpO01VY3mCfHVpcIGCfYSat59hMF2CQyYvRlRZYm91bmpkbnl2bW+LqZle"
        "Nmd+PCs7UV5kaXBvbm1iZXBxZmWAopdcO213PTVLYW1yd3ZuZnNdWWNnXV92nZhaP3ByRERddICGh3VlXmRHRFFXU1drnJdZ"
        "QXJwU1R0jpqfl4RqVkAzNkZKR1BroZdYQHR1YGmKnKOimpF1RikkLjo/Q09soZZWPHB3cHePoKOfm5B2RSkfJTM7PEluoJFU"
        "L2l9fYORnKSimIdrUzwsJisxNkh3poxNKV2AhoyYpKqmnpF+ZVVINjIwNEt9pIhKKVh+hpGap666w8S6qIt2YVREO0R2loVJ"
        "K1l+jZiktMfV3d3Z0sW2p5R1XFh6lH9HL1uBlKu8ydLc4uTl493X0MGlhG+EkXhDMFl9m7nF0Nfd4+fp6eXi3tjJq4iMjXE+"
    ),
}
# In the lungs' box, nine tenths of its width: the shares of its pixels ...
SHARES = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98)
# ... below these line integrals, the mean of all CTs.
_LINE_INTEGRALS = {
    "frontal": (1.80, 1.97, 2.17, 2.45, 2.85, 3.21, 3.51, 3.81, 4.18, 4.67, 5.13),
    "lateral": (2.32, 3.30, 3.74, 4.02, 4.25, 4.50, 4.81, 5.21, 5.69, 6.35, 7.87),
}


def mean_chest(plane: str) -> tuple[np.ndarray, float]:
    """Ranks of the grey values, 0 to 1, (row, column), and width by height of the lungs in it.

    plane: "frontal" (columns to the patient's left) or "lateral" (columns to posterior).
    """
    grey = np.frombuffer(base64.b64decode("".join(_PICTURES[plane])), np.uint8)
    return grey.reshape(_SIDE, _SIDE).astype(np.float32) / 255.0, _ASPECT[plane]


def line_integrals(plane: str) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the pixels in the box of the lungs, and the line integrals they lie below."""
    return np.array(SHARES), np.array(_LINE_INTEGRALS[plane])
