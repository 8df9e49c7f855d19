"""The models by the shapes of their tensors alone."""

from __future__ import annotations


def mlp() -> list[tuple[int, ...]]:
    return [(128, 64), (128,), (128, 128), (128,), (10, 128), (10,)]


def resnet18() -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = [(64, 3, 7, 7), (64,), (64,)]
    inside = 64
    for width in (64, 128, 256, 512):
        for block in range(2):
            first = inside if block == 0 else width
            shapes += [(width, first, 3, 3), (width,), (width,), (width, width, 3, 3), (width,), (width,)]
            if block == 0 and inside != width:
                shapes += [(width, inside, 1, 1), (width,), (width,)]
        inside = width
    return [*shapes, (1000, 512), (1000,)]


def gpt() -> list[tuple[int, ...]]:
    width, layers, words = 512, 6, 16_384
    block = [(width,), (width,), (3 * width, width), (3 * width,), (width, width), (width,), (width,), (width,)]
    block += [(4 * width, width), (4 * width,), (width, 4 * width), (width,)]
    return [(words, width), (512, width), *block * layers, (width,), (width,)]


MODELS = {"mlp": mlp, "resnet18": resnet18, "gpt": gpt}
