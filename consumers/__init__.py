"""The shell: Faust app and agents, transport, readers, refresh loop, sink, stores, commands."""

from consumers.kernel_cache import use_kernel_cache

# Before any module with kernels is imported: numba looks at the folder when it decorates.
use_kernel_cache()
