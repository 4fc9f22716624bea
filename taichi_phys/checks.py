"""Checks of arguments at the public boundary: a ValueError names the argument, what came and what
was expected."""

import difflib
import math
import numbers
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch


def is_complex(value: Any) -> bool:
    """Whether a number, array or tensor is of complex type."""
    return value.is_complex() if hasattr(value, "is_complex") else np.iscomplexobj(value)


def finite_vector(name: str, value: Any) -> tuple[float, float, float]:
    """value as a tuple of three finite numbers."""
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
    """value as a float from low (itself only without open_end) to high."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    try:
        number = float(value) if real else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or not low <= number <= high or (open_end and number == low):
        raise ValueError(f"{name}: got {value!r}, expected {expected}")
    return number


def whole_number(name: str, value: Any, expected: str, *, low: int, high: int = 2**53) -> int:
    """value as an int from low to high, by default the largest that a float counts exactly."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)
    if not whole or not low <= value <= high:
        raise ValueError(f"{name}: got {value!r}, expected {expected}")
    return int(value)


def one_of(name: str, value: Any, allowed: Collection[str]) -> str:
    """value, if it is one of the allowed strings."""
    if not isinstance(value, str) or value not in allowed:
        close = difflib.get_close_matches(value, allowed, 1) if isinstance(value, str) else []
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(allowed)}{hint}")
    return value


def path_of(name: str, value: Any) -> Path:
    """value as a Path."""
    try:
        return Path(value)
    except TypeError:
        got = type(value).__name__
        raise ValueError(f"{name}: got {got}, expected the path of a file or folder") from None


def check_tensor(name: str, value: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Refuse what is not a finite floating-point tensor of this shape."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(f"{name}: got {kind}, expected a floating-point tensor")
    if tuple(value.shape) != shape:
        raise ValueError(f"{name}: got shape {tuple(value.shape)}, expected {shape}")
    # The sum is a quick look that misses nothing: NaN and infinity survive it.
    bad = value.numel() - int(torch.isfinite(value).sum()) if not value.sum().isfinite() else 0
    if bad:
        raise ValueError(f"{name}: got {bad} values that are NaN or infinite, expected none")


def refuse_rows(name: str, bad: torch.Tensor, expected: str) -> None:
    """Refuse a tensor if any of its rows is marked in bad (n,); the message counts them."""
    if bad.any():
        first, count = int(bad.nonzero()[0]), int(bad.sum())
        raise ValueError(
            f"{name}: expected {expected}, but {count} of {len(bad)} are not, the first is {first}"
        )


def set_fields(record: Any, **values: Any) -> None:
    """Set fields of a frozen dataclass, for its own __post_init__, which checks and tidies them.

    The one place that goes behind a dataclass' back; afterwards the record does not change.
    """
    for name, value in values.items():
        object.__setattr__(record, name, value)
