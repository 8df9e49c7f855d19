"""Gradient in, gradient out: what may stand in front of a rule."""
