"""Runs `pinion bench` against two servers and reports the difference."""
