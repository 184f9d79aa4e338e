"""What every room may use: the process it runs in, with memory, threads, forks, log and environment, and its checks.

- `memory`   how much memory is available; refuses what exceeds it
- `threads`  the package's threads, for work and for waits
- `forks`    what a forked child must begin anew
- `locks`    locks that are free again in a forked child
- `interrupts`  signals that wait until what must not be divided is done
- `cycles`   how often Python looks for reference cycles
- `limits`   the sizes of buffers, caches, blocks and documents, in one frozen value
- `tracing`  the log on stderr
- `notices`  lines on a terminal about what takes long
- `late_names`  names of a package that load their module on first use
- `import_hook`  what is called once a package has been imported
- `arguments`  checks of arguments that many calls have
- `installation`  the line that installs an extra; another package of the same import name

Imports only `errors`. Knows nothing of stores, arrays or keys.
"""
