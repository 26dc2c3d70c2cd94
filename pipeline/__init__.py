"""Stages that turn a corpus into artifacts, and the models they run."""

import os

# Before torch is imported. OpenMP's threads wait for one another at every product of matrices; by default they do so
# by spinning, and as soon as another program wants a core they spin against each other: writing a text then takes ten
# times as long and more. Waiting passively costs next to nothing.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
