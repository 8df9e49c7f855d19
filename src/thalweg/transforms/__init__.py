"""Gradient in, gradient out: what may stand in front of a rule.

Each is a pure function ``(p, g, *, ...) -> (p, g)`` in a file of its own. `TRANSFORMS` holds those that every
optimizer class takes as an argument, in the order in which they act; weight decay comes after them.
"""

from __future__ import annotations

from thalweg.signature import Rule
from thalweg.transforms.centralise import centralise
from thalweg.transforms.clip_by_global_norm import clip_by_global_norm
from thalweg.transforms.clip_by_norm import clip_by_norm
from thalweg.transforms.clip_by_value import clip_by_value
from thalweg.transforms.negate import negate

# By the argument that switches each on. The direction comes first, as in torch's step, and then bounds, as people clip
# between backward() and step().
TRANSFORMS: dict[str, Rule] = {
    "maximize": negate,
    "clip_value": clip_by_value,
    "clip_tensor_norm": clip_by_norm,
    "clip_norm": clip_by_global_norm,
    "centralise": centralise,
}
OFF = {"clip_value": None, "clip_tensor_norm": None, "clip_norm": None, "centralise": False}
