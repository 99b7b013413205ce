"""Messages from workers: each once, in order, and nothing from a mailbox that is lost."""

from __future__ import annotations

import pytest

from pipeline.cluster import Mailbox

pytestmark = pytest.mark.cluster


def test_messages_arrive_once_and_in_order(ray_cluster):
    mailbox = Mailbox()
    assert mailbox.take() == []
    for number in range(50):
        mailbox.put({"number": number}, wait=number == 49)
    assert [message["number"] for message in mailbox.take()] == list(range(50))
    assert mailbox.take() == []


def test_workers_write_into_the_mailbox_they_are_handed(ray_cluster):
    import ray

    def send(box, sender):
        for number in range(20):
            box.put({"sender": sender, "number": number}, wait=number == 19)

    mailbox = Mailbox()
    task = ray.remote(num_cpus=1)(send)
    ray.get([task.remote(mailbox, sender) for sender in "ab"])
    messages = mailbox.take()
    for sender in "ab":
        assert [m["number"] for m in messages if m["sender"] == sender] == list(range(20))


def test_a_mailbox_that_is_lost_takes_and_gives_nothing(ray_cluster):
    import ray

    mailbox = Mailbox()
    mailbox.put({"number": 1}, wait=True)
    ray.kill(mailbox._actor)
    mailbox.put({"number": 2}, wait=True)
    assert mailbox.take() == []
