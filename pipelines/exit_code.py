"""What the command returns to the shell."""

DONE = 0
BUG = 1  # Python's own, with a traceback
FULL_STOP = 1  # something that the run cannot go on without is gone, such as room on the disk
WRONG_USE = 2  # before any work
ROWS_FAILED = 3  # finished, but some rows have no result
INTERRUPTED = 130
