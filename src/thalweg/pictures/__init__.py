"""Drawings of what the lab measured: plain data in, a matplotlib `Figure` out.

Nothing here knows of tasks or runs, and nothing touches pyplot's global state.
"""

from thalweg.extras import require

require("matplotlib")  # every module of this package draws with it: say so once, before the first import
