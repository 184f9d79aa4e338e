"""`python -m atlas`: the command line, also where the folder of its script is not on the PATH."""

from __future__ import annotations

from atlas.cli import main

if __name__ == "__main__":
    main(prog_name="atlas")
