"""The change log on Apache Kafka: the only home of aiokafka.

Publishing is idempotent with acks=all. Groups use the classic protocol, and rebalance eagerly: aiokafka 0.14 has neither
cooperative rebalancing nor the consumer protocol of Kafka 4. A member therefore gives all its partitions up for a moment
whenever another comes or goes; it first finishes the batch it has in hand (`consumer`).
"""

from adapters.kafka_log.log import KafkaLog
from adapters.kafka_log.options import KafkaOptions

__all__ = ["KafkaLog", "KafkaOptions"]
