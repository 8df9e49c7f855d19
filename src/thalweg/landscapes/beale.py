"""Beale's function: flat in the middle, steep at the corners."""

from thalweg.landscape import Landscape, of_coordinates


def beale() -> Landscape:
    """Three squared residuals in x (1 - y^k)."""
    return Landscape(
        name="beale",
        value=of_coordinates(
            lambda x, y: (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2
        ),
        start=(0.8, 1.6),
        domain=((-0.5, 4.0), (-2.0, 2.5)),
        minima=((3.0, 0.5),),
        lowest=0.0,
        formula="(1.5 - x + xy)² + (2.25 - x + xy²)² + (2.625 - x + xy³)²",
        summary="A flat bent valley under steep walls.",
        teaches="The gradient changes by orders of magnitude on the way: an lr for the start is too small for the end.",
        source="Beale 1958; More, Garbow and Hillstrom 1981, problem 5",
    )
