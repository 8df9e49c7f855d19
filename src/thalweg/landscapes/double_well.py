"""The double well: a shallow minimum before the deep one."""

from thalweg.landscape import Landscape, of_coordinates


def double_well(tilt=0.3) -> Landscape:
    """Wells near x = 1 and x = -1; the tilt makes the left one deeper."""
    if not 0 < tilt <= 1:
        raise ValueError(f"tilt is {tilt!r}; it must be above 0 and at most 1: beyond 1.54 there is one well.")
    deepest = -1.0
    for _ in range(60):  # Newton's method on the slope 4x³ - 4x + tilt
        deepest -= (4 * deepest**3 - 4 * deepest + tilt) / (12 * deepest**2 - 4)
    lowest = (deepest**2 - 1) ** 2 + tilt * deepest
    return Landscape(
        name="double_well",
        value=of_coordinates(lambda x: (x**2 - 1) ** 2 + tilt * x),
        start=(1.7,),
        domain=((-1.9, 1.9),),
        minima=((deepest,),),
        lowest=lowest,
        formula="(x² - 1)² + tilt x",
        summary="A shallow and a deep well.",
        teaches="With short steps gradient descent stays in the well it comes to first. Momentum carries the ball over "
        "the ridge; so does one long step, by luck.",
        coordinates=("x",),
    )
