// A whole Rookery client for the browser, without a library or a build.
// Token, outbox and cursor live in memory here; keep yours in IndexedDB.
export class Chat {
  outbox = new Map() // id -> send, in the order made, until its sent
  told = new Set()   // ids sent on this connection
  seen = new Set()   // ids shown
  stored = '0'       // the last seq that we have: 64 bits, so it stays text
  wait = 500

  constructor(server, show) { this.server = server; this.show = show }

  async login(user, password) {
    await this.rest('/v1/users', { user, name: user, password })
    this.token = (await this.rest('/v1/devices', { user, password, deviceName: 'browser' })).token
    this.connect()
  }

  async rest(path, body) {
    const response = await fetch(this.server + path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })
    const answer = await response.json()
    if (!response.ok && response.status !== 409) throw new Error(answer.detail) // 409: registered before
    return answer
  }

  connect() {
    this.ws = new WebSocket(this.server.replace('http', 'ws') + '/v1/ws', ['rookery.v1.json'])
    this.told.clear()
    this.ready = false
    this.ws.onopen = () => this.say({ hello: { token: this.token, client: 'chat.js/1', acked: this.stored } })
    this.ws.onmessage = ({ data }) => data.split('\n').filter(Boolean).forEach((frame) => this.hear(JSON.parse(frame)))
    this.ws.onclose = ({ code }) => {
      clearInterval(this.heart)
      if (code >= 4100 && code < 4200) return this.show(`closed: ${code}`)
      setTimeout(() => this.connect(), this.wait * (0.5 + Math.random() / 2))
      this.wait = Math.min(2 * this.wait, 30000)
    }
  }

  say(frame) { this.ws.send(JSON.stringify(frame)) }

  send(user, text) {
    const id = crypto.randomUUID()
    const payload = btoa(String.fromCharCode(...new TextEncoder().encode(text)))
    this.outbox.set(id, { id, to: { user }, payload })
    this.pump()
  }

  pump() { // the whole outbox, in order, once per connection
    for (const [id, send] of this.outbox) if (this.ready && !this.told.has(id)) { this.told.add(id); this.say({ send }) }
  }

  hear({ welcome, deliver, sent, receipt, deviceEvent, error }) {
    if (welcome) {
      Object.assign(this, { ready: true, wait: 500 })
      this.heart = setInterval(() => this.say({ ping: {} }), 1000 * parseFloat(welcome.heartbeat))
      this.show(`connected as device ${welcome.device}`)
      this.pump()
    }
    if (deliver && !this.seen.has(deliver.id)) {
      this.seen.add(deliver.id)
      this.show(`${deliver.from.user}: ${new TextDecoder().decode(Uint8Array.from(atob(deliver.payload ?? ''), (c) => c.charCodeAt(0)))}`)
    }
    if (sent && this.outbox.delete(sent.id)) this.show(`sent as ${sent.order}`)
    if (receipt) this.show(`${receipt.by}: delivered ${receipt.deliveredUpTo ?? 0}, read ${receipt.readUpTo ?? 0}`)
    if (error) this.show(`error: ${error.code} ${error.message}`)
    if (error?.retryable) setTimeout(() => this.ws.close(), error.retryAfterMs ?? 0)
    else if (error) this.outbox.delete(error.id)
    const seq = (deliver ?? receipt ?? deviceEvent)?.seq
    if (seq) this.say({ ack: { seq: (this.stored = seq) } })
  }
}
