"""Slow connections between workers; data on the way are lost when a process ends."""

import asyncio
import contextlib
import threading


class Line:
    """Passes on data between its `port` and another one, until its context is left.

    Args:
        port: the other port.
        seconds: function that returns how long data take at present, in either direction.
    """

    def __init__(self, port, seconds):
        self._to, self._seconds = port, seconds
        self._loop, ready = asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._main(ready)))
        self._thread.start()
        ready.wait()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    async def _main(self, ready):
        self._ended = asyncio.Event()
        server = await asyncio.start_server(self._connected, "localhost", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._ended.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader, writer):
        try:
            there, back = await asyncio.open_connection("localhost", self._to)
        except OSError:  # nothing listens at that port yet
            writer.transport.abort()
            return
        ends = writer, back
        await asyncio.gather(self._pass_on(reader, back, ends), self._pass_on(there, writer, ends))

    async def _pass_on(self, reader, writer, ends):
        with contextlib.suppress(OSError):
            while data := await reader.read(2**20):
                self._loop.call_later(self._seconds(), self._write, writer, data)
        for end in ends:
            end.transport.abort()

    @staticmethod
    def _write(writer, data):
        if not writer.transport.is_closing():
            writer.write(data)
