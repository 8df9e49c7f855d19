"""Himmelblau's function: four minima, equally good."""

from thalweg.landscape import Landscape, of_coordinates


def himmelblau() -> Landscape:
    """Two squared residuals, both zero at four places."""
    return Landscape(
        name="himmelblau",
        value=of_coordinates(lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2),
        start=(-0.3, -0.9),
        domain=((-5.0, 5.0), (-5.0, 5.0)),
        minima=(
            (3.0, 2.0),
            (-2.805118086952745, 3.131312518250573),
            (-3.779310253377747, -3.283185991286170),
            (3.584428340330492, -1.848126526964404),
        ),
        lowest=0.0,
        formula="(x² + y - 11)² + (x + y² - 7)²",
        summary="Four minima of the same depth around a hill.",
        teaches="From the same start near the hilltop, optimizers end in different minima: a rate per coordinate turns "
        "the first step.",
        source="Himmelblau 1972, Applied Nonlinear Programming",
    )
