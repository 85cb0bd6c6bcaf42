"""What is said of a network that failed while it ran, whatever it raised."""

from __future__ import annotations

import torch

from ..errors import FaceRestoreError

OUT_OF_MEMORY = "out of memory"
NOT_NUMBERS = "its output has values that are not numbers"


def are_numbers(*outputs: torch.Tensor) -> bool:
    """Whether a network's outputs are finite. Comparisons with NaN are false, so that nothing would be found in it."""
    return all(bool(output.isfinite().all()) for output in outputs)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means too little memory, for which torch raises a plain RuntimeError on the CPU."""
    said = str(error).lower()
    texts = (OUT_OF_MEMORY, "not enough memory", "can't allocate memory")
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(text in said for text in texts)
    )


def why(error: Exception) -> str:
    """The reason of a failure, as words in brackets: without a full stop, and on one line."""
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    first = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    if isinstance(error, FaceRestoreError):  # it says all that is needed
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
