"""How near two results are, in shares of how large they are: the only measure that holds on every machine.

Sums in float32 come out in another order where a CPU has other instructions, and what that moves grows with the numbers: an
absolute 1e-5 that holds on values near 1 fails on values near 5. `ATEN_CPU_CAPABILITY=default` and `=avx2` show it here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

ROUNDING = 2.0**-23
"""The step between float32 numbers next to 1."""

NEAR = 1e-5
"""The same mathematics done twice in float32, in another order: about 80 roundings of the largest value."""


def relative_error(found: Any, expected: Any) -> float:
    """The largest difference, as a share of the largest expected value; of 1 where all that is expected is zero."""
    found, expected = _wide(found), _wide(expected)
    assert found.shape == expected.shape, f"{found.shape} where {expected.shape} is expected"
    if not found.size:
        return 0.0
    return float(np.abs(found - expected).max() / (np.abs(expected).max() or 1.0))


def assert_near(found: Any, expected: Any, most: float = NEAR) -> None:
    """The two are equal but for rounding; a value that is no number is never near."""
    error = relative_error(found, expected)
    assert error <= most, f"apart by {error:.2e} of the largest value, at most {most:.0e} is rounding"


def _wide(values: Any) -> np.ndarray:
    """Tensor or array in double precision."""
    if isinstance(values, torch.Tensor):
        return values.detach().double().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
