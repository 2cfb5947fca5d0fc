"""Candidate sources: seven ways to propose items for a micro-batch of users, and their merge.

Co-occurrence one way and two ways and item-CF read neighbour lists (``neighbours``), interest is
an exact product with the live catalogue (``interest``), recent is the user's own history
(``recent``), trending and fresh walk lists that all users share (``shared``, ``walk``). Each
candidate keeps which sources proposed it, at which rank and how strongly (``merge``).
"""

from stream.sources.limits import RetrievalLimits
from stream.sources.retrieval import retrieve
from stream.sources.shared import SharedListCache

__all__ = ["RetrievalLimits", "SharedListCache", "retrieve"]
