"""Run campaigns in full and print their figures as a table: `python -m tests.reliability [NAME...]`."""

from __future__ import annotations

import argparse
import importlib
import time

CAMPAIGNS: dict[str, str] = {
    "crashes": "every crash of every operation, with all that a power cut may leave",
    "kills": "processes killed while they write, alone or two at once",
    "ingest_kills": "processes killed while they add files, or those that read for them",
    "faults": "faults of storages and object stores, one and two in a row",
    "faults_local": "faults of the system's calls, full disks, limits of size",
    "faults_s3": "faults before an S3 server",
    "damage": "stores damaged and forged in every part",
    "fuzz": "parsers fed by a fuzzer that sees what they cover",
    "writers": "many writers and readers on one store",
    "longrun": "appending, flushing, reading and compacting for twenty minutes",
}
"""Module of each campaign, in the order they run, and what it does in a few words."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CAMPAIGNS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="as much as the usual tests run")
    parser.add_argument("--scenario", metavar="NAME", help="only this one: of crashes or of faults")
    parser.add_argument("--minutes", metavar="N", type=float, help="of longrun, which takes 20 otherwise")
    parser.add_argument("--kills", metavar="N", type=int, help="of ingest_kills, which kills 1,000 times otherwise")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(CAMPAIGNS)
    if unknown:
        parser.error(f"no campaign {', '.join(sorted(unknown))}; there are {', '.join(CAMPAIGNS)}")
    options = {} if arguments.scenario is None else {"scenario": arguments.scenario}
    if options and (len(arguments.names) != 1 or arguments.names[0] not in {"crashes", "faults"}):
        parser.error("--scenario takes one campaign: crashes or faults")
    if arguments.minutes is not None:
        if arguments.names != ["longrun"]:
            parser.error("--minutes takes one campaign: longrun")
        options["minutes"] = arguments.minutes
    if arguments.kills is not None:
        if arguments.names != ["ingest_kills"]:
            parser.error("--kills takes one campaign: ingest_kills")
        options["kills"] = arguments.kills
    print("| campaign | figures | lost or wrong | seconds |\n|---|---|---|---|", flush=True)
    for name in arguments.names or CAMPAIGNS:
        begun = time.monotonic()
        figures = importlib.import_module(f"tests.reliability.{name}").run(full=not arguments.quick, **options)
        told = ", ".join(f"{count:,} {what}" for what, count in figures.items())
        print(f"| {CAMPAIGNS[name]} | {told} | 0 | {time.monotonic() - begun:.0f} |", flush=True)


if __name__ == "__main__":
    main()
