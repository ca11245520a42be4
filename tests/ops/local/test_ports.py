import socket

from ops.local.ports import candidates, free_ports


def test_free_ports_differ_and_can_be_listened_on() -> None:
    found = free_ports(50)
    assert len(set(found)) == 50
    for port in found:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            listener.listen()


def test_no_outgoing_connection_can_be_given_a_port_that_was_found_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as outgoing:
            assert outgoing.getsockname()[1] not in candidates()
    assert all(port in candidates() for port in free_ports(50))
