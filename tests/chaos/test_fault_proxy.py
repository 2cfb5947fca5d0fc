"""Each fault of the proxy, seen from a plain socket on either side of it."""

import socket
import threading
from contextlib import contextmanager

import pytest
from redis import Redis

from local.ports import LOOPBACK
from tests.chaos.fault_proxy import BLACK_HOLE, REFUSED, Fault, FaultProxy, proxied_listener

pytestmark = pytest.mark.timeout(60)


@contextmanager
def answering_server():
    """Give the port of a server that sends back what it receives, until its clients leave."""
    listener = socket.create_server((LOOPBACK, 0))
    threads = []

    def answer(connection):
        with connection:
            try:
                while data := connection.recv(65_536):
                    connection.sendall(data)
            except ConnectionError:
                return

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # Closed: the test is over.
            threads.append(threading.Thread(target=answer, args=(connection,)))
            threads[-1].start()

    threads.append(threading.Thread(target=accept))
    threads[0].start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(10)


@pytest.fixture
def echo():
    with answering_server() as port:
        yield port


def connect(proxy, timeout_s=20.0):
    return socket.create_connection((LOOPBACK, proxy.port), timeout_s)


def expect_reset(proxy):
    """Expect a new connection to be reset, at the latest at its first read."""
    with pytest.raises(ConnectionResetError), connect(proxy) as connection:
        connection.recv(1)


def read_to_end(connection):
    received = b""
    while data := connection.recv(65_536):
        received += data
    return received


def echoed(connection, data):
    """Send, and return as many bytes as were sent."""
    sender = threading.Thread(target=connection.sendall, args=(data,))
    sender.start()
    received = b""
    while len(received) < len(data):
        received += connection.recv(65_536)
    sender.join()
    return received


def test_without_a_fault_every_byte_passes_both_ways_and_ends_are_passed_on(echo):
    data = bytes(range(256)) * 20_000  # 5 MB: more than all buffers on the way.
    with FaultProxy(echo) as proxy, connect(proxy) as one, connect(proxy) as other:
        assert echoed(one, data) == data
        assert echoed(other, b"second") == b"second"
        assert proxy.num_bytes == {"requests": len(data) + 6, "answers": len(data) + 6}
        one.shutdown(socket.SHUT_WR)
        assert one.recv(1) == b""


def test_refused_connections_find_nobody_and_standing_ones_go_on(echo):
    with FaultProxy(echo) as proxy, connect(proxy) as standing:
        assert echoed(standing, b"here") == b"here"
        proxy.set(REFUSED)
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        assert echoed(standing, b"still here") == b"still here"
        proxy.heal()
        with connect(proxy) as later:
            assert echoed(later, b"back") == b"back"


def test_a_refusal_from_the_start_and_a_target_that_is_not_there(free_port):
    with FaultProxy(free_port(), fault=REFUSED) as proxy:
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        proxy.heal()
        expect_reset(proxy)


def test_new_connections_are_reset_and_standing_ones_on_demand(echo):
    with FaultProxy(echo) as proxy, connect(proxy) as standing:
        assert echoed(standing, b"a") == b"a"
        proxy.set(Fault(reset=True))
        expect_reset(proxy)
        assert echoed(standing, b"b") == b"b"
        assert proxy.reset_all() == 1
        with pytest.raises(ConnectionResetError):
            standing.recv(1)
        assert proxy.num_open == 0


@pytest.mark.parametrize("direction", ["requests", "answers"])
def test_a_black_hole_holds_bytes_until_it_is_healed(echo, direction):
    with FaultProxy(echo, fault=Fault(black_hole=frozenset({direction}))) as proxy:
        with connect(proxy, timeout_s=0.05) as connection:
            connection.sendall(b"hello")
            with pytest.raises(TimeoutError):
                connection.recv(5)
            assert proxy.num_bytes["answers"] == 0
            proxy.heal()
            connection.settimeout(20.0)
            assert connection.recv(5) == b"hello"


def test_a_black_hole_opens_under_a_connection_that_stands(echo):
    with FaultProxy(echo) as proxy, connect(proxy) as connection:
        assert echoed(connection, b"a") == b"a"
        proxy.set(BLACK_HOLE)
        connection.sendall(b"b")
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_delays_add_up_over_both_ways_and_end_when_healed(echo):
    with FaultProxy(echo, fault=Fault(delay_ms=30.0, jitter_ms=5.0)) as proxy:
        with connect(proxy) as connection:
            connection.settimeout(0.05)  # Less than both ways.
            connection.sendall(b"a")
            with pytest.raises(TimeoutError):
                connection.recv(1)
            connection.settimeout(20.0)
            assert connection.recv(1) == b"a"
            proxy.set(Fault(delay_ms=3_600_000.0))
            connection.sendall(b"b")
            proxy.heal()
            assert connection.recv(1) == b"b"


def test_a_slow_line_passes_little_at_a_time_until_healed(echo):
    data = bytes(100_000)
    with FaultProxy(echo, fault=Fault(bytes_per_s=50)) as proxy, connect(proxy) as connection:
        connection.sendall(data)
        assert connection.recv(65_536) == b"\0"  # A step of a fiftieth of a second.
        assert proxy.num_bytes["requests"] < 1_000
        proxy.heal()
        rest = len(data) - 1
        while rest:
            rest -= len(connection.recv(65_536))


@pytest.mark.parametrize("after_bytes", [0, 1, 7, 1_000])
def test_a_line_is_cut_after_exactly_so_many_bytes(echo, after_bytes):
    fault = Fault(cut_after_bytes=after_bytes, num_cuts=1)
    with FaultProxy(echo, fault=fault) as proxy:
        with connect(proxy) as connection:
            connection.sendall(bytes(1_000))
            assert len(read_to_end(connection)) == after_bytes
        assert proxy.num_cut == 1
        with connect(proxy) as later:  # The bound on cuts is reached.
            assert len(echoed(later, bytes(2_000))) == 2_000


def cuts(echo, seed):
    fault = Fault(cut_after_bytes=(1, 1_000), cut_direction="answers")
    lengths = []
    with FaultProxy(echo, seed=seed, fault=fault) as proxy:
        for _ in range(5):
            with connect(proxy) as connection:
                connection.sendall(bytes(1_000))
                lengths.append(len(read_to_end(connection)))
    return lengths


def test_a_seed_draws_the_same_cuts_again(echo):
    assert cuts(echo, 7) == cuts(echo, 7) != cuts(echo, 8)


def test_requests_are_cut_too(echo):
    fault = Fault(cut_after_bytes=10, cut_direction="requests")
    with FaultProxy(echo, fault=fault) as proxy, connect(proxy) as connection:
        connection.sendall(bytes(100))
        try:
            read_to_end(connection)
        except ConnectionResetError:
            pass
        assert proxy.num_bytes["requests"] == 10


def test_there_is_a_bound_on_connections(echo):
    with FaultProxy(echo, max_connections=1) as proxy, connect(proxy) as first:
        assert echoed(first, b"a") == b"a"
        expect_reset(proxy)


def test_a_fail_over_leads_elsewhere(echo):
    with answering_server() as other, FaultProxy(echo) as proxy, connect(proxy) as first:
        assert echoed(first, b"a") == b"a"
        proxy.redirect(other)
        with pytest.raises(ConnectionResetError):
            first.recv(1)
        with connect(proxy) as second:
            assert echoed(second, b"b") == b"b"


@pytest.mark.redis
def test_redis_answers_through_it(redis_server):
    with FaultProxy(redis_server().port) as proxy, Redis.from_url(proxy.redis_url) as client:
        assert client.ping()
        proxy.reset_all()
        assert client.ping()


@pytest.mark.kafka
def test_kafka_leads_clients_back_to_the_proxy_and_others_past_it(kafka_server, free_port):
    from kafka import KafkaConsumer

    ports = {name: free_port() for name in ("port", "behind_port", "controller_port")}
    with FaultProxy(ports["behind_port"]) as proxy:
        listeners = proxied_listener(**ports, proxy_port=proxy.port)
        server = kafka_server(port=ports["port"], properties=listeners)
        passed = []
        for bootstrap in (server.bootstrap, proxy.bootstrap):
            consumer = KafkaConsumer(bootstrap_servers=bootstrap)
            before = proxy.num_accepted
            consumer.partitions_for_topic("nothing")
            passed.append(proxy.num_accepted - before + proxy.num_open > 0)
            consumer.close()
        assert passed == [False, True]


def test_connections_that_were_only_just_accepted_are_reset_too(echo):
    with FaultProxy(echo) as proxy:
        for _ in range(50):
            with connect(proxy) as connection:
                proxy.reset_all()
                connection.close()
        with connect(proxy) as later:
            assert echoed(later, b"a") == b"a"
