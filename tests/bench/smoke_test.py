#!/usr/bin/env python3
"""Every load of previewd-bench, tiny and without a proxy, and what it says when something is wrong.

    tests/bench/smoke_test.py build/dev/bench/previewd-bench
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import unittest

BENCH = sys.argv.pop(1)


@contextlib.contextmanager
def upstream():
    """The server behind the proxies, and its port."""
    with subprocess.Popen([BENCH, "upstream"], stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server, int(re.search(r":(\d+)/", server.stdout.readline())[1])
        finally:
            server.terminate()


def run(*arguments):
    return subprocess.run([BENCH, *map(str, arguments)], capture_output=True, text=True, timeout=60)


class Loads(unittest.TestCase):
    def check(self, *arguments):
        done = run(*arguments, "--json")
        result = json.loads(done.stdout)
        self.assertEqual((result["failed"], result["firstError"], done.returncode), (0, "", 0), done.stdout)
        self.assertGreater(result["completed"], 0)
        return result

    def test_every_load_counts_what_it_did_and_no_failure(self):
        with upstream() as (_, port):
            for load in (
                ["http", "--clients", 3],
                ["churn", "--clients", 3],
                ["churn", "--clients", 3, "--websocket"],
                ["tunnels", "--tunnels", 5],
                ["tunnels", "--tunnels", 5, "--size", 100],
            ):
                with self.subTest(load=load):
                    result = self.check(*load, "--port", port, "--seconds", 1)
                    self.assertGreaterEqual(result["total"], result["completed"])
                    self.assertGreaterEqual(result["p99"], result["p50"])

    def test_bodies_are_counted_in_bytes_and_in_whole(self):
        with upstream() as (_, port):
            for load in ("download", "upload"):
                with self.subTest(load=load):
                    result = self.check(load, "--clients", 1, "--bytes", 300_001, "--port", port, "--seconds", 1)
                    self.assertGreaterEqual(result["bytes"], (result["completed"] - 1) * 300_001)

    def test_idle_tunnels_are_held_and_the_observed_process_measured(self):
        with upstream() as (server, port):
            result = self.check("tunnels", "--idle", "--tunnels", 50, "--port", port, "--seconds", 0.2, "--pid", server.pid)
        self.assertEqual(result["completed"], 50)
        self.assertGreater(result["memoryBefore"], 0)
        # So few of them may take less than what the process gives back meanwhile.
        self.assertGreater(result["memoryWith"], 0)
        self.assertGreaterEqual(result["processorSeconds"], 0)

    def test_stop_kills_the_server_and_sees_every_tunnel_end(self):
        with upstream() as (server, port):
            result = self.check("stop", "--tunnels", 50, "--kill", server.pid, "--port", port)
            self.assertEqual(result["completed"], 50)
            self.assertEqual(server.wait(10), -9)

    def test_a_target_that_refuses_is_a_failure_and_does_not_take_the_whole_time(self):
        with socket.socket() as closed:  # bound, and nobody listens
            closed.bind(("127.0.0.1", 0))
            done = run("http", "--clients", 2, "--port", closed.getsockname()[1], "--seconds", 30, "--json")
        result = json.loads(done.stdout)
        self.assertEqual((result["completed"], done.returncode), (0, 1))
        self.assertGreater(result["failed"], 0)
        self.assertIn("refused", result["firstError"])

    def test_a_target_that_never_answers_is_a_failure(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(16)
            for load in (["http"], ["churn"], ["tunnels", "--patience", 1]):
                with self.subTest(load=load):
                    done = run(*load, "--clients" if load[0] != "tunnels" else "--tunnels", 2, "--seconds", 0.2,
                               "--port", silent.getsockname()[1], "--json")
                    self.assertEqual((json.loads(done.stdout)["failed"], done.returncode), (2, 1), done.stdout)

    def test_text_says_what_came_of_it(self):
        with upstream() as (server, port):
            done = run("http", "--clients", 3, "--port", port, "--seconds", 1, "--pid", server.pid)
        self.assertRegex(done.stdout, r"^\d+ a second \(\d+\), p50 \d+ us, p99 \d+ us; 0 failed\nobserved process: ")

    def test_wrong_options_are_refused_before_anything_is_done(self):
        for wrong in (["http"], ["http", "--port", 0], ["stop", "--port", 1], ["tunnels", "--port", 1, "--size", 0], ["nothing"]):
            with self.subTest(wrong=wrong):
                done = run(*wrong)
                self.assertNotIn(done.returncode, (0, 1))
                self.assertTrue(done.stderr)


class Events(unittest.TestCase):
    """A server that speaks as much of Socket.IO as the clients need, and registers what it is asked to."""

    def serve(self, tells):
        listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        members = []

        def frame(text):
            return bytes([0x81, len(text)]) + text.encode()

        def client(connection):
            with connection, contextlib.suppress(OSError):
                stream = connection.makefile("rb")
                while head := stream.readline():
                    length, upgrade = 0, False
                    while (line := stream.readline()) not in (b"\r\n", b""):
                        name, _, value = line.decode().partition(":")
                        length = int(value) if name == "Content-Length" else length
                        upgrade = upgrade or name == "Upgrade"
                    if not upgrade:
                        stream.read(length)
                        for member in members:
                            member.sendall(frame('42["event",{}]') * tells)
                        body = b'{"generation":1}'
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                        continue
                    self.assertEqual(head, b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n")
                    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + frame("0{}") + frame("2"))
                    expected = ["40", "3", '420["joinProject",{"projectId":"bench"}]']
                    while expected:
                        first, size = stream.read(2)
                        self.assertEqual((first, size & 0x80, stream.read(4)), (0x81, 0x80, bytes(4)))
                        text = stream.read(size & 0x7F).decode()
                        self.assertEqual(text, expected.pop(0))
                        if text == "40":
                            connection.sendall(frame('40{"sid":"s"}'))
                    members.append(connection)
                    connection.sendall(frame('430[{"ok":true}]'))
                    stream.read(1)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=client, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        self.addCleanup(listening.close)
        return listening.getsockname()[1]

    def bench(self, tells):
        return run("events", "--port", self.serve(tells), "--pid", os.getpid(), "--clients", 3, "--events", 2)

    def test_events_are_counted_once_they_are_with_everybody(self):
        done = self.bench(1)
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        self.assertEqual((result["clients"], result["events"]), (3, 4))
        self.assertGreater(result["p50"], 0)

    def test_an_event_that_comes_twice_is_a_failure(self):
        done = self.bench(2)
        self.assertEqual((done.returncode, done.stdout), (1, ""))


if __name__ == "__main__":
    unittest.main()
