"""Files that are written whole or not at all, and folders that do not stay empty."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    os.replace(unfinished, path)


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """A folder, with those above it that are missing; of those that it makes none is left empty."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for each in missing:
            with suppress(OSError):  # something is in it
                each.rmdir()
