"""The shell: Faust app and agents, transport, readers, refresh loop, sink, stores, commands."""
