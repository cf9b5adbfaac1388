#!/usr/bin/python3
"""Terminals as Jupyter has them: terminado, each on a WebSocket of Tornado. `/COMMAND` runs a command in a new terminal. Frames are raw,
where terminado's own are JSON: what that costs it is left out. Prints its port."""

import terminado
import tornado.ioloop
import tornado.netutil
import tornado.web
from tornado.httpserver import HTTPServer


class Terminals(terminado.UniqueTermManager):
    def get_terminal(self, url_component=None):
        terminal = self.new_terminal(shell_command=["/bin/sh", "-c", url_component])
        self.start_reading(terminal)
        return terminal


class RawSocket(terminado.TermSocket):
    def send_json_message(self, content):
        if content[0] == "stdout":
            self.write_message(content[1].encode(), binary=True)

    async def on_message(self, message):
        await self.stdin_to_ptyproc(message.decode())


sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
server = HTTPServer(tornado.web.Application([("/(.+)", RawSocket, {"term_manager": Terminals(shell_command=["/bin/sh"])})]))
server.add_sockets(sockets)
print(sockets[0].getsockname()[1], flush=True)
tornado.ioloop.IOLoop.current().start()
