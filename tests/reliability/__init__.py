"""Campaigns against the promises of docs/durability.md: crashes, kills, faults, concurrent writers, damage.

Each module has one campaign: a function `run(full)` that raises at the first broken promise and returns its figures by
name. Tests call it with `full=False`, a minute's worth at most; `python -m tests.reliability` runs them in full and
prints what docs/reliability.md shows.
"""
