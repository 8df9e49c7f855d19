"""How a rule runs: trace it once, then one engine per way of running it."""
