"""A Redis Cluster for readers: the same one that the sink is tested on."""

from tests.consumers.test_sink_cluster import cluster  # noqa: F401
