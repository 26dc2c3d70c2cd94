"""Stages that turn a corpus into artifacts, and the models they run."""

import os

# Before torch is imported. OpenMP's threads wait for one another at every product of matrices. GNU's, which torch
# brings on Linux, spin for 300,000 rounds before they sleep: as soon as another program wants a core they spin against
# each other, and writing a text takes ten times as long. After 10,000 rounds it takes about three times as long, and a
# machine of our own hardly notices; with none at all, writing is half as fast on any machine.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
