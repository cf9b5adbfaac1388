"""A front end in Python (python-socketio): client.py PORT TRANSPORT PORT-OF-A-SERVER. Prints what it has met as JSON."""

import json
import sys
import threading
import urllib.request

import socketio

port, transport, served = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
base = f"http://127.0.0.1:{port}"
project = f"python-{transport}"


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(base + path, data=data, method=method, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return json.loads(answer.read() or b"null")


# Every handler is called on a thread of its own: they may come in any order.
client = socketio.Client(reconnection=False)
events = []
output = []  # pairs of sequence and text
stopped, exited = threading.Event(), threading.Event()
news = threading.Condition()
code = None


# The offset of connection state recovery comes last.
@client.on("previewServerStarted")
def started(server, *_):
    with news:
        events.append("previewServerStarted")
        news.notify()


@client.on("previewServerStopped")
def has_stopped(server, *_):
    with news:
        events.append("previewServerStopped")
        news.notify()
    stopped.set()


@client.on("terminalData")
def data(what, *_):
    with news:
        output.append((what["sequence"], what["data"]))
        news.notify()


@client.on("terminalExit")
def has_exited(what, *_):
    global code
    code = what["exitCode"]
    exited.set()


def is_there():
    return "got Ж" in "".join(text for _, text in sorted(output))


client.connect(base, transports=[transport], wait_timeout=20)
joined = client.call("joinProject", {"projectId": project}, timeout=20)
server = call("POST", "/api/servers", {"project": project, "user": "ann", "port": served})
call("DELETE", f"/api/servers/{server['generation']}")
assert stopped.wait(20), "no previewServerStopped"
terminal = client.call("createTerminal", {"projectId": project, "userId": "ann", "command": ["/bin/sh", "-c", "read x; echo got $x; exit 7"]},
                       timeout=20)
client.call("terminalInput", {"terminalId": terminal["terminalId"], "data": "Ж\n"}, timeout=20)
assert exited.wait(20), "no terminalExit"
with news:
    news.wait_for(lambda: is_there() and len(events) >= 2, 20)
used = client.transport()
client.disconnect()
print(json.dumps({"transport": used, "snapshot": joined["ok"] and joined["servers"] == [], "events": sorted(events),
                  "output": is_there(), "code": code}))
