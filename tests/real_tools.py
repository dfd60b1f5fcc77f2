"""Asks the real nsys or ncu, once more where nsys lost its own agent: that is no answer.

In: a command line. Out: how it ended and what it said.
"""

import subprocess

from nsightkit.capture.nsys_agent import LOST


def answered(words, **how):
    """Run `words`, at most three times, and return the last of them with what it said as `stdout`."""
    for _ in range(3):
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **how)
        if not (LOST.search(done.stdout) or done.stdout.strip() == "End of file"):
            break
    return done
