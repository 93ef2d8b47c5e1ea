"""Opens the topics between the roles, where they are: files of the data folder, or Kafka's."""

from collections.abc import Callable

from infra.roles.making import Made
from infra.roles.ports import Channels
from infra.roles.sqlite_channels import SqliteChannels


def open_channels(made: Made, is_bulk: Callable[[str], bool] = lambda _: False) -> Channels:
    """is_bulk: whether a sender's messages need no order. Raises Stop, Unavailable."""
    if not made.config.kafka.bootstrap:
        return SqliteChannels.open(made.folder.bus, epoch=made.layout.epoch, is_bulk=is_bulk)
    from infra.kafka_channels import KafkaChannels  # noqa: PLC0415 - embedded, none waits for it
    from infra.outside import kafka_access  # noqa: PLC0415

    access = kafka_access(made.config.kafka)
    return KafkaChannels(access, made.layout.epoch, made.layout.partitions, is_bulk=is_bulk)
