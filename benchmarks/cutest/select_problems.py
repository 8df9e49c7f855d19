"""Write problems.json: every unconstrained problem of fixed size, 2 to 50 unknowns, that is quick to evaluate.

    python benchmarks/cutest/select_problems.py

and a dozen of free size, at 20 to 50 unknowns. Duplicates under two names stay: it is their list, not ours.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import read

FREE = {
    "ARGLINA": (20, 40), "BROWNAL": (20,), "BROYDN3DLS": (40,), "CHNROSNB": (25,), "DIXON3DQ": (30,),
    "ERRINROS": (25,), "EXTROSNB": (20,), "GENROSE": (30,), "PENALTY1": (30,), "TRIDIA": (40,), "VARDIM": (30,),
    "WATSON": (12,), "WOODS": (5,),
}  # fmt: skip
SLOWEST = 0.003  # seconds for value and gradient


def main() -> None:
    chosen = []
    for path in sorted((read.home() / "python_problems").glob("*.py")):
        size = re.search(r'pbclass\s*=\s*"C-C[A-Z]UR2-\w\w-(\w+)-0"', path.read_text(encoding="utf-8"))
        if path.stem in FREE:
            args = FREE[path.stem]
        elif size and size[1].isdigit() and 2 <= int(size[1]) <= 50:
            args = ()
        else:
            continue
        try:
            problem = read.Problem(path.stem, args)
        except Exception as error:
            print(f"{path.stem}: {error!r}")
            continue
        problem.look(problem.x0)
        start = time.perf_counter()
        problem.look(problem.x0)
        if time.perf_counter() - start < SLOWEST:
            chosen.append({"name": path.stem, "args": list(args), "n": problem.n, "sha256": read.digest(path.stem)})
    Path(__file__).with_name("problems.json").write_text(
        "[\n" + ",\n".join(json.dumps(one) for one in chosen) + "\n]\n", encoding="utf-8"
    )
    print(f"{len(chosen)} problems")


if __name__ == "__main__":
    main()
