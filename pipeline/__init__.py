"""Stages that turn a corpus into artifacts, and the models they run."""

import os

# Before torch is imported. OpenMP's threads wait for one another at every product of matrices. GNU's, which torch
# brings on Linux, spin for 300,000 rounds before they sleep: as soon as another program wants a core they spin against
# each other, and writing a text takes many times as long. 10,000 were chosen by `make bench BENCH=generate`, alone and
# beside a program that keeps one of two cores busy: far better beside it, hardly slower alone. With none at all
# (OMP_WAIT_POLICY=passive) writing is much slower alone.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
