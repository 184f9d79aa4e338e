"""Pure functions from a request to a plan: nothing here reads, writes or starts a thread.

- `regions`   what a caller asked for -> a checked box, and the chunks of the grid that meet it
- `pieces`    rows of a chunk table -> the pieces of blocks to copy, in batches that bound memory
- `packing`   chunks to write -> the blocks they share
- `schedule`  when the checkpoint is rewritten and rows move to pages
"""
