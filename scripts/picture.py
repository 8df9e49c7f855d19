"""Draw the README's picture: final metric against learning rate, from a comparison's result.json.

python scripts/picture.py runs/digits-2026-11-22/result.json docs/pictures/digits-lr.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from thalweg.lab.report.drawings import pictures


def main() -> int:
    source, target = map(Path, sys.argv[1:3])
    data = json.loads(source.read_text())
    target.parent.mkdir(parents=True, exist_ok=True)
    drawing = pictures(data)["lr"].svg
    # Inside the report the page gives the colour; a picture of its own must know day and night by itself.
    ink = "<style>svg{color:#1f2328}@media(prefers-color-scheme:dark){svg{color:#e6edf3}}</style>"
    head, _, rest = drawing.partition(">")
    target.write_text(f"{head}>{ink}{rest}")
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
