"""Checks of arguments at the public boundary.

Each raises a ValueError that names the argument, the value it got and the value it expects.
"""

import difflib
import math
import numbers
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


def is_complex(value: Any) -> bool:
    """Whether a number, array or tensor is of complex type."""
    return value.is_complex() if hasattr(value, "is_complex") else np.iscomplexobj(value)


def finite_vector(name: str, value: Any) -> tuple[float, float, float]:
    """Return value as a tuple of three finite numbers. Raises ValueError."""
    try:
        vector = np.asarray(value)
        vector = np.full(0, np.nan) if vector.dtype.kind == "c" else vector.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        vector = np.full(0, np.nan)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise ValueError(f"{name}: got {value!r}, expected 3 finite numbers")
    return tuple(vector.tolist())


def finite_number(
    name: str,
    value: Any,
    expected: str = "a finite number",
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_end: bool = False,
) -> float:
    """Return value as a float from low to high; open_end excludes low itself. Raises ValueError."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    try:
        number = float(value) if real else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or not low <= number <= high or (open_end and number == low):
        raise ValueError(f"{name}: got {value!r}, expected {expected}")
    return number


def whole_number(name: str, value: Any, expected: str, *, low: int, high: int = 2**53) -> int:
    """Return value as an int from low to high. Raises ValueError.

    The default of high is 2^53, up to which a float holds every integer exactly.
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)
    if not whole or not low <= value <= high:
        raise ValueError(f"{name}: got {value!r}, expected {expected}")
    return int(value)


def one_of(name: str, value: Any, allowed: Collection[str]) -> str:
    """Return value if it is one of the allowed strings. Raises ValueError."""
    if not isinstance(value, str) or value not in allowed:
        close = difflib.get_close_matches(value, allowed, 1) if isinstance(value, str) else []
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(allowed)}{hint}")
    return value


def path_of(name: str, value: Any) -> Path:
    """Return value as a Path. Raises ValueError."""
    try:
        return Path(value)
    except TypeError:
        got = type(value).__name__
        raise ValueError(f"{name}: got {got}, expected the path of a file or folder") from None


def check_tensor(name: str, value: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless value is a finite floating-point tensor of the given shape."""
    check_tensors({name: (value, shape)})


def check_tensors(named: Mapping[str, tuple[torch.Tensor, tuple[int, ...]]]) -> None:
    """Raise ValueError unless these are finite floating-point tensors of the shapes beside them."""
    for name, (value, shape) in named.items():
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            raise ValueError(f"{name}: got {kind}, expected a floating-point tensor")
        if tuple(value.shape) != shape:
            raise ValueError(f"{name}: got shape {tuple(value.shape)}, expected {shape}")
    # NaN and infinity survive a sum, so the sum is a quick test that misses neither. All sums are
    # looked at together, since each look waits for a GPU.
    sums = [value.detach().sum() for value, _ in named.values()]
    if not sums or torch.stack([s.to(sums[0]) for s in sums]).isfinite().all():
        return
    for name, (value, _) in named.items():
        if bad := value.numel() - int(torch.isfinite(value).sum()):
            raise ValueError(
                f"{name}: got {bad} values that are NaN or infinite, expected finite ones"
            )


def refuse_rows(name: str, bad: torch.Tensor, expected: str) -> None:
    """Raise ValueError if any row is marked in bad (n,); the message counts the marked rows."""
    if bad.any():
        first, count = int(bad.nonzero()[0]), int(bad.sum())
        raise ValueError(
            f"{name}: expected {expected}, but {count} of {len(bad)} rows are not; the first is "
            f"row {first}"
        )


def set_fields(record: Any, **values: Any) -> None:
    """Set fields of a frozen dataclass from its own __post_init__, which checks and converts them.

    Only this function bypasses the freezing; after __post_init__ a record does not change.
    """
    for name, value in values.items():
        object.__setattr__(record, name, value)
