"""The pure core: wire schema, codecs, border types, pipeline, candidate sources, reranking.

Absent on purpose: network, asyncio and clocks. Those live in ``consumers``.
"""
