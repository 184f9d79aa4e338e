"""Damaged and hostile stores: the stores they are made of, how they are made, how they are read, and who watches."""
