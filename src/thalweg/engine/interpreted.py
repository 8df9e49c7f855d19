"""What Triton's interpreter lacks: the functions of libdevice, and 16-bit brain floats rounded as a GPU rounds them.

The interpreter runs a kernel's Python on numpy arrays, so that every kernel can be tested on a machine without a
GPU. It is switched on by ``TRITON_INTERPRET=1`` in the environment, before triton is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from thalweg.extras import require


def words() -> dict[str, Callable[..., Any]]:
    """The words of a printed source that the interpreter needs in another form, by name."""
    tl = require("triton.language", "triton")
    handle = require("triton.runtime.interpreter", "triton").TensorHandle

    def made(like: Any, data: np.ndarray, kind: Any) -> Any:
        shaped = like.type.with_element_ty(kind) if like.type.is_block() else kind
        return tl.tensor(handle(data, kind), shaped)

    def numpys(function: Callable[..., np.ndarray]) -> Callable[..., Any]:
        def word(*args: Any) -> Any:
            like = next((x for x in args if x.type.is_block()), args[0])
            return made(like, function(*(x.handle.data for x in args)), args[0].dtype)

        return word

    def wide(x: Any, real: Any) -> Any:
        if x.dtype != tl.bfloat16:
            return x.to(real)
        return made(x, (x.handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32).to(real)

    def narrow(x: Any, kind: Any) -> Any:
        if kind != tl.bfloat16:
            return x.to(kind)
        return made(x, _rounded_to_bfloat16(x.handle.data.astype(np.float32)), kind)

    return {
        **{"exp": numpys(np.exp), "log": numpys(np.log), "pow": numpys(np.power), "tanh": numpys(np.tanh)},
        **{"wide": wide, "narrow": narrow},
    }


def _rounded_to_bfloat16(x: np.ndarray) -> np.ndarray:
    """The upper 16 bits of the nearest, ties to even; a NaN stays one."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(x), 0x7FC0, nearest).astype(np.uint16)
