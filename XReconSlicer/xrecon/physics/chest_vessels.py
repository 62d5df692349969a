"""Pulmonary vessels of the chest phantom: trees that fill a lung and thin by Murray's law.

The tree is the minimum spanning tree with a cost for path length (Cuntz et al., PLoS Comput Biol
2010): every new point joins the node that minimises distance + balance x path length to the hilum.
Radii follow Murray's law (J Gen Physiol 1926): the cube of a parent's radius is the sum of the
cubes of its children's.
"""

from __future__ import annotations

import numpy as np

from xrecon.physics.chest_canvas import Canvas

BALANCE = 0.35
TWIG_RADIUS_MM = 0.7
MAX_RADIUS_MM = 6.5


def grow_tree(root: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (n + 1, 3) and each node's parent (-1 for the root) that reach all targets (n, 3) in mm."""
    targets = targets[np.argsort(np.linalg.norm(targets - root, axis=1))]
    nodes = np.vstack([root, targets])
    parents = np.full(len(nodes), -1)
    path = np.zeros(len(nodes))
    for i in range(1, len(nodes)):
        away = np.linalg.norm(nodes[:i] - nodes[i], axis=1)
        parents[i] = int(np.argmin(away + BALANCE * path[:i]))
        path[i] = path[parents[i]] + away[parents[i]]
    return nodes, parents


def murray_radii(parents: np.ndarray) -> np.ndarray:
    """Radius in mm at each node; parents come before their children."""
    cubes = np.zeros(len(parents))
    has_child = np.zeros(len(parents), dtype=bool)
    has_child[parents[1:]] = True
    cubes[~has_child] = TWIG_RADIUS_MM**3
    for i in range(len(parents) - 1, 0, -1):
        cubes[parents[i]] += cubes[i]
    return np.minimum(np.cbrt(cubes), MAX_RADIUS_MM)


def paint_tree(
    canvas: Canvas,
    root: np.ndarray,
    targets: np.ndarray,
    hu: float,
    random: np.random.Generator,
    where: np.ndarray,
) -> None:
    """Paints a tree from `root` (LPS mm) to all `targets`; its branches are bent a little.

    where: cover (0..1) on the whole grid that limits the tree (the lung).
    """
    nodes, parents = grow_tree(np.asarray(root, dtype=np.float64), targets)
    radii = murray_radii(parents)
    for i in range(1, len(nodes)):
        start, end = nodes[parents[i]], nodes[i]
        bend = random.normal(0.0, 0.06 * np.linalg.norm(end - start), 3)
        middle = (start + end) / 2 + bend
        first = min(radii[i] * 1.15, radii[parents[i]])
        canvas.add_segment(start, middle, first, radii[i])
        canvas.add_segment(middle, end, radii[i], radii[i])
    canvas.flush(hu, where=where)
