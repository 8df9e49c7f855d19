"""The plateau: almost no slope far from the minimum."""

import torch

from thalweg.landscape import Landscape, of_coordinates


def plateau(width=1.0) -> Landscape:
    """A dip of the given width in a plain."""
    return Landscape(
        name="plateau",
        value=of_coordinates(lambda x, y: 1 - torch.exp(-(x**2 + y**2) / (2 * width**2))),
        start=(-2.6, 1.4),
        domain=((-3.5, 3.5), (-3.5, 3.5)),
        minima=((0.0, 0.0),),
        lowest=0.0,
        formula="1 - exp(-(x² + y²) / (2 width²))",
        summary="A dip in a plain where the gradient is nearly 0.",
        teaches="Steps in units of the gradient's own size cross the plain at full speed; steps in units of the "
        "gradient hardly begin.",
    )
