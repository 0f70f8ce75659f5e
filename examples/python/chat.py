#!/usr/bin/env python3
"""A whole Rookery client: chat.py SERVER USER PASSWORD TO, and lines typed go to TO.
Needs `websockets` (Debian: python3-websockets). Token, outbox and cursor live in memory here; keep yours on disk."""
import asyncio, base64, json, random, sys, urllib.error, urllib.request, uuid, websockets

server, user, password, to = sys.argv[1:5]
outbox = {}                     # id -> send, in the order typed, until its sent
told, typed = set(), asyncio.Event()  # ids sent on this connection; something new to send
stored, seen = 0, set()         # the last seq that we have, the ids that we showed

def rest(path, **body):
    request = urllib.request.Request(server + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        return json.load(urllib.request.urlopen(request))
    except urllib.error.HTTPError as e:
        if e.code != 409:       # 409: registered before
            sys.exit(e.read().decode())

async def pump(ws):             # the whole outbox, in order, once per connection
    while not ws.closed:
        for id in [id for id in outbox if id not in told]:
            told.add(id)
            await ws.send(json.dumps({"send": outbox[id]}))
        typed.clear()
        await typed.wait()

async def hear(ws):             # returns when the connection has to be made again
    global stored
    async for message in ws:
        for frame in message.splitlines():
            name, body = next((k, v) for k, v in json.loads(frame).items() if k != "ref")
            if name == "welcome":
                print("connected as device", body["device"], flush=True)
                asyncio.create_task(pump(ws))
            elif name == "deliver" and body["id"] not in seen:
                seen.add(body["id"])
                print(f'{body["from"]["user"]}: {base64.b64decode(body.get("payload", "")).decode()}', flush=True)
            elif name == "sent" and outbox.pop(body["id"], None):
                print("sent as", body["order"], flush=True)
            elif name == "receipt":
                print(f'{body["by"]}: delivered {body.get("deliveredUpTo", 0)}, read {body.get("readUpTo", 0)}', flush=True)
            elif name == "error":
                print("error:", body["code"], body.get("message", ""), flush=True)
                if body["retryable"]:
                    return await asyncio.sleep(body.get("retryAfterMs", 0) / 1000)
                outbox.pop(body.get("id"), None)
            if name in ("deliver", "receipt", "deviceEvent"):
                stored = int(body["seq"])
                await ws.send(json.dumps({"ack": {"seq": body["seq"]}}))

async def type_lines():
    while line := await asyncio.to_thread(sys.stdin.readline):
        id = str(uuid.uuid4())
        outbox[id] = {"id": id, "to": {"user": to}, "payload": base64.b64encode(line.strip().encode()).decode()}
        typed.set()

async def main():
    rest("/v1/users", user=user, name=user, password=password)
    token = rest("/v1/devices", user=user, password=password, deviceName="chat.py")["token"]
    typing, wait = asyncio.create_task(type_lines()), 0.5
    while True:
        try:
            async with websockets.connect(server.replace("http", "ws", 1) + "/v1/ws", subprotocols=["rookery.v1.json"]) as ws:
                told.clear()
                await ws.send(json.dumps({"hello": {"token": token, "client": "chat.py/1", "acked": str(stored)}}))
                wait = 0.5
                await hear(ws)
        except (OSError, websockets.WebSocketException) as e:
            if 4100 <= (getattr(e, "code", 0) or 0) < 4200:
                sys.exit(f"closed: {e}")
        await asyncio.sleep(wait * random.uniform(0.5, 1))
        wait = min(2 * wait, 30)

asyncio.run(main())
