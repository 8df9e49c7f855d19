"""The bumpy hill: a ball rolls down, over dents or into them."""

import torch

from thalweg.landscape import Landscape, of_coordinates


def bumpy_hill(bumps=0.2) -> Landscape:
    """A wide parabola with a wave of the given height."""
    return Landscape(
        name="bumpy_hill",
        value=of_coordinates(lambda x: x**2 / 20 + bumps * (1 - torch.cos(3 * x))),
        start=(-6.3,),
        domain=((-7.5, 7.5),),
        minima=((0.0,),),
        lowest=0.0,
        formula="x²/20 + bumps (1 - cos 3x)",
        summary="A parabola with dents.",
        teaches="Without momentum the ball stops in the first dent; with some it reaches the bottom; with too much it "
        "overshoots, and rolls up the other side.",
        coordinates=("x",),
    )
