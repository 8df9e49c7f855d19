"""Booth's function: a tilted valley, and nothing else."""

from thalweg.landscape import Landscape, of_coordinates


def booth() -> Landscape:
    """Two squared linear residuals."""
    return Landscape(
        name="booth",
        value=of_coordinates(lambda x, y: (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2),
        start=(-3.0, -1.0),
        domain=((-5.0, 7.0), (-4.5, 7.5)),
        minima=((1.0, 3.0),),
        lowest=0.0,
        formula="(x + 2y - 7)² + (2x + y - 5)²",
        summary="A quadratic of condition 9 whose axes lie at 45 degrees.",
        teaches="A rate per coordinate cannot straighten a valley that lies across the coordinates.",
    )
