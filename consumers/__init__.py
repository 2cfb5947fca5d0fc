"""The shell: Faust app and agents, transport, readers, refresh loop, sink, stores, commands."""

import os

# Before NumPy is imported. Partitions are how a worker scales, one process per core; more threads
# would compete with the broker. A gain in the demo was not seen.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from consumers.interrupts import end_quietly, is_command

if is_command():
    end_quietly()  # Until all is imported: ``consumers.cli`` takes it back.

from consumers.kernel_cache import use_kernel_cache

# Before any module with kernels is imported: numba looks at the folder when it decorates.
use_kernel_cache()
