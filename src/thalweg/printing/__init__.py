"""How a rule is written down: signatures, tables."""
