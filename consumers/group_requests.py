"""A heartbeat that names its instance: how a static member learns that it was fenced.

KIP-345 added the instance id to heartbeats in version 3; aiokafka's own stop at version 1. Only the
answer to one that names it tells "another member has your place" (82) from "I do not know you"
(25). Source: Apache Kafka, ``clients/src/main/resources/common/message/HeartbeatRequest.json``.
"""

from __future__ import annotations

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Int16, Int32, Schema, String

FENCED_INSTANCE_ID = 82


class _HeartbeatResponse(Response):
    API_KEY = 12
    API_VERSION = 3
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16))


class _HeartbeatRequest(RequestStruct):
    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = _HeartbeatResponse
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class StaticHeartbeat(Request[_HeartbeatRequest]):
    """A heartbeat of a static member.

    Args:
        group: Group id.
        generation: Generation that the member was in.
        member_id: As the coordinator gave it.
        instance_id: Of the member.
    """

    API_KEY = 12

    def __init__(self, group: str, generation: int, member_id: str, instance_id: str) -> None:
        self._fields = (group, generation, member_id, instance_id)

    def build(self, request_struct_class: type[_HeartbeatRequest]) -> _HeartbeatRequest:
        """Return the message (aiokafka calls this)."""
        return request_struct_class(*self._fields)
