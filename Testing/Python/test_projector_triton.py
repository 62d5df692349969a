"""The Triton kernels in Triton's interpreter, on the CPU: they must give what torch's operators give.

Whether they are fast, and whether a GPU runs them, only `Testing/Benchmarks/projector.py --device cuda`
tells.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from projector_inputs import DIRECTION, SHAPE, SPACING, two_views, view_from_within
from xrecon.physics.projector import Projector
from xrecon.volume import InputError

HAS_TRITON = importlib.util.find_spec("triton") is not None
INTERPRET = "TRITON_INTERPRET"

if os.environ.get(INTERPRET) == "1":
    if not HAS_TRITON:
        pytest.skip("triton is not installed", allow_module_level=True)

    @pytest.mark.parametrize("dtype,tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
    @pytest.mark.parametrize("beam", ["cone", "parallel", "within"])
    @pytest.mark.parametrize("presum", [1, 3])
    def test_equals_eager_and_its_own_transpose(beam, presum, dtype, tolerance):
        views = [view_from_within()] if beam == "within" else two_views(beam)
        grid = {"direction": DIRECTION, "dtype": dtype, "presum": presum}
        eager = Projector(views, SHAPE, SPACING, backend="eager", **grid)
        kernels = Projector(views, SHAPE, SPACING, backend="triton", **grid)
        x, y = torch.rand(2, 1, *SHAPE, dtype=dtype), torch.rand(2, *eager.output_shape, dtype=dtype)
        forward, back = kernels(x), kernels.adjoint(y)
        assert (forward - eager(x)).norm() <= tolerance * forward.norm()
        assert (back - eager.adjoint(y)).norm() <= tolerance * back.norm()
        assert abs((forward * y).sum() - (x * back).sum()) <= tolerance * (forward * y).sum()

else:

    def test_kernels_in_the_interpreter():
        """Triton reads the variable when it is first imported, so a process of its own is needed."""
        if not HAS_TRITON:
            pytest.skip("triton is not installed")
        command = [sys.executable, "-m", "pytest", __file__, "-q", "-p", "no:cacheprovider"]
        run = subprocess.run(
            command, env={**os.environ, INTERPRET: "1"}, capture_output=True, text=True, timeout=500
        )
        assert run.returncode == 0, run.stdout[-3000:]
        assert "12 passed" in run.stdout

    def test_without_cuda_the_backend_is_refused():
        with pytest.raises(InputError, match="expected a CUDA device and the package triton"):
            Projector(two_views(), SHAPE, SPACING, backend="triton")
