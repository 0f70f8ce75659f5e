"""Lends Python's websockets to the end-to-end tests; ws.mjs says how."""
import asyncio
import json
import os
import sys
import urllib.error
import urllib.request

import websockets

conns = {}


def say(**event):  # on the event loop's thread only: lines may not mix
    print(json.dumps(event), flush=True)


async def opened(conn, url, protocols):
    try:
        ws = await websockets.connect(url, subprotocols=protocols or None, max_size=None)
    except (OSError, websockets.WebSocketException) as error:
        say(conn=conn, event="close", code=1006, reason=str(error))
        return
    conns[conn] = ws
    say(conn=conn, event="open", protocol=ws.subprotocol or "")
    try:
        async for data in ws:
            binary = isinstance(data, bytes)
            say(conn=conn, event="message", data=data.decode() if binary else data, binary=binary)
    except websockets.ConnectionClosed:
        pass
    say(conn=conn, event="close", code=ws.close_code or 1006, reason=ws.close_reason or "")


def http(method, url, token="", body=""):
    request = urllib.request.Request(url, method=method, data=body.encode() if body else None)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", "Bearer " + token)
    try:
        with urllib.request.urlopen(request) as response:
            return {"status": response.status, "body": response.read().decode()}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode()}
    except OSError as error:
        return {"status": 0, "body": str(error)}


async def called(call, **request):
    say(call=call, **await asyncio.to_thread(http, **request))


async def main():
    tasks = set()
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        match command.pop("do"):
            case "open":
                tasks.add(asyncio.create_task(opened(**command)))
            case "text":
                try:
                    await conns[command["conn"]].send(command["data"])
                except websockets.ConnectionClosed:
                    pass  # its close has been said
            case "close":
                await conns[command["conn"]].close()
            case "http":
                tasks.add(asyncio.create_task(called(**command)))
    os._exit(0)  # without closing handshakes that nobody waits for


asyncio.run(main())
