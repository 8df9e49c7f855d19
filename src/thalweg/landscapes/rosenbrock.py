"""Rosenbrock's banana: easy to find the valley, hard to follow it."""

from thalweg.landscape import Landscape, of_coordinates


def rosenbrock(a=1.0, b=100.0) -> Landscape:
    """A narrow curved valley to the minimum at (a, a²)."""
    return Landscape(
        name="rosenbrock",
        value=of_coordinates(lambda x, y: (a - x) ** 2 + b * (y - x**2) ** 2),
        start=(-1.2, 1.0),
        domain=((-2.0, 2.0), (-1.0, 3.0)),
        minima=((float(a), float(a) ** 2),),
        lowest=0.0,
        formula="(a - x)² + b (y - x²)²",
        summary="A narrow curved valley; at its minimum the condition number is about 2500.",
        teaches="The floor of the valley turns: memory of past gradients helps along it and throws one out of its "
        "bend.",
        source="Rosenbrock 1960, Computer Journal 3:175; start of More, Garbow and Hillstrom 1981",
    )
