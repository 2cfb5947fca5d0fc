"""What a laptop or a test needs from pip alone: Apache Kafka, a Redis server, a simulator."""
