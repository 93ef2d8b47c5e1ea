"""The collector's queue of receipts: in order, bounded, and nothing forgotten with a connection."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.mosquitto_receipts import MosquittoLimits, Receipts

LIMITS = MosquittoLimits(
    receipts_in_flight_max=3, receipts_waiting_max=10, receipts_waiting_bytes_max=1000
)


class Wire:
    """What was published, by packet id."""

    def __init__(self):
        self.ids, self.sent = count(1), {}

    def publish(self, topic, payload):
        self.sent[next(self.ids)] = payload
        return list(self.sent)[-1]


def test_the_window_is_kept_and_the_order():
    wire, receipts = Wire(), Receipts(LIMITS)
    for n in range(5):
        assert receipts.put("receipts/a", b"%d" % n)
    assert receipts.send(wire.publish) == 0
    assert list(wire.sent.values()) == [b"0", b"1", b"2"]
    receipts.acknowledge(2)
    receipts.acknowledge(99)  # nobody's
    receipts.send(wire.publish)
    assert list(wire.sent.values()) == [b"0", b"1", b"2", b"3"]
    assert len(receipts) == 4


def test_what_was_under_way_goes_again_before_the_others():
    wire, receipts = Wire(), Receipts(LIMITS)
    for n in range(5):
        receipts.put("receipts/a", b"%d" % n)
    receipts.send(wire.publish)
    receipts.acknowledge(1)
    receipts.connection_lost()
    again = Wire()
    receipts.send(again.publish)
    assert list(again.sent.values()) == [b"1", b"2", b"3"]


def test_it_is_full_by_number_and_by_bytes():
    receipts = Receipts(LIMITS)
    assert receipts.room.is_set()
    assert all(receipts.put("receipts/a", b"x") for _ in range(10))
    assert not receipts.put("receipts/a", b"x")
    assert not receipts.room.is_set()
    assert receipts.drop("receipts/b") == 0
    assert receipts.drop("receipts/a") == 10
    assert receipts.room.is_set()
    assert not receipts.put("receipts/a", b"x" * 1001)
    assert receipts.put("receipts/a", b"x" * 600)
    assert not receipts.room.is_set()
    assert not receipts.put("receipts/a", b"x" * 600)


def test_one_that_the_broker_would_not_take_is_left_out():
    """MQTT 5 §3.2.2.3.6: no packet is larger than the broker takes."""
    wire, receipts = Wire(), Receipts(LIMITS)
    receipts.payload_bytes_max = 100
    receipts.put("receipts/a", b"x" * 100)
    receipts.put("receipts/a", b"y")
    assert receipts.send(wire.publish) == 1
    assert list(wire.sent.values()) == [b"y"]


@pytest.mark.parametrize("number", [0, 65_536])
def test_a_receive_maximum_that_mqtt_cannot_say(number):
    """MQTT 5 §3.1.2.11.3: two bytes, and not 0."""
    with pytest.raises(ValueError, match="1 to 65535"):
        MosquittoLimits(in_flight_max=number)


@given(st.lists(st.sampled_from(["put", "send", "acknowledge", "lost"]), max_size=60))
def test_whatever_happens_each_is_answered_or_still_there(steps):
    wire, receipts, numbers = Wire(), Receipts(LIMITS), count()
    taken, answered = set(), set()
    for step in steps:
        if step == "put":
            payload = b"%d" % next(numbers)
            if receipts.put("receipts/a", payload):
                taken.add(payload)
        elif step == "send":
            receipts.send(wire.publish)
        elif step == "acknowledge" and wire.sent:
            packet_id = min(wire.sent)
            answered.add(wire.sent.pop(packet_id))
            receipts.acknowledge(packet_id)
        elif step == "lost":
            receipts.connection_lost()
            wire.sent.clear()
        assert len(wire.sent) <= 3
        assert len(receipts) == len(taken - answered)
