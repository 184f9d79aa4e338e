"""What every room may use of the process it runs in: its memory, threads, forks and log.

- `memory`   how much memory is at hand; refuses what exceeds it
- `threads`  the package's threads, for work and for waits
- `forks`    what a forked child must begin anew
- `locks`    locks that are free again in a forked child
- `tracing`  the log on stderr

Knows nothing of stores, arrays or files.
"""
