"""The grid and regions of chunks: pure functions from a request to a frozen plan.

- `regions`  a box that a caller names -> a checked box and the chunks of the grid that meet it
- `packing`  lengths of chunks to write -> the blocks that they share
- `batches`  items of some bytes each -> batches of about a limit; neighbours of equal value
- `pieces`   chunks found -> the blocks that a read needs of each, and their pieces

Never reads, writes or starts a thread.
"""
