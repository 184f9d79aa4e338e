"""Fuzzes one parser, guided by what it covers: `python -m tests.reliability.hostile.fuzzing PARSER SECONDS FOLDER`.

It tells at its end how many inputs were tried, and ends with an error at the first that the parser does not return for.
Needs atheris.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

try:
    import atheris
except ImportError as error:
    message = "fuzzing needs atheris, which has wheels for Linux: pip install atheris"
    raise SystemExit(message) from error

# Not the kernels: their bytecode is compiled by Numba, which does not know what is put in between.
_KERNELS = [f"atlas.kernels.{path.stem}" for path in (Path(__file__).parents[3] / "atlas" / "kernels").glob("*.py")]
with atheris.instrument_imports(include=["atlas"], exclude=[*_KERNELS, "atlas.kernels"]):
    from tests.reliability.hostile.parsers import PARSERS

_DICTIONARY = Path(__file__).parent / "words.dict"


def main() -> None:
    name, seconds, folder = sys.argv[1:]
    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        "-print_final_stats=1",
        "-timeout=20",
        "-rss_limit_mb=3000",
        "-max_len=20000",
        "-verbosity=1",
        f"-dict={_DICTIONARY}",
        f"-artifact_prefix={folder}/",
        str(Path(folder) / "found"),
        str(Path(folder) / "seeds"),
    ]
    warnings.simplefilter("error")
    atheris.Setup(arguments, PARSERS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
