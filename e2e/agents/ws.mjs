// Lends npm's ws (and Node's fetch) to the end-to-end tests: commands come as
// JSON lines on standard input, what happens goes to standard output.
//
//   {"do":"open","conn":"phone","url":"ws://...","protocols":["rookery.v1.json"]}
//   {"do":"text","conn":"phone","data":"..."}     {"do":"close","conn":"phone"}
//   {"do":"http","call":1,"method":"POST","url":"http://...","token":"...","body":"..."}
//   -> {"conn":"phone","event":"open","protocol":"..."}  "message","data"  "close","code","reason"
//   -> {"call":1,"status":201,"body":"..."}
import readline from 'node:readline'
import WebSocket from 'ws'

const conns = new Map()
const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')

function open({ conn, url, protocols }) {
  const ws = new WebSocket(url, protocols ?? [])
  conns.set(conn, ws)
  ws.on('open', () => say({ conn, event: 'open', protocol: ws.protocol }))
  ws.on('message', (data, binary) => say({ conn, event: 'message', data: data.toString(), binary }))
  ws.on('close', (code, reason) => say({ conn, event: 'close', code, reason: reason.toString() }))
  ws.on('error', () => {}) // a close follows
}

async function http({ call, method, url, token, body }) {
  const headers = { 'Content-Type': 'application/json' }
  if (token) headers.Authorization = `Bearer ${token}`
  try {
    const response = await fetch(url, { method, headers, body: body || undefined })
    say({ call, status: response.status, body: await response.text() })
  } catch (error) {
    say({ call, status: 0, body: String(error) })
  }
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line)
  const ws = conns.get(command.conn)
  switch (command.do) {
    case 'open': return open(command)
    case 'text': return ws.send(command.data)
    case 'close': return ws.close()
    case 'http': return http(command)
  }
}).on('close', () => process.exit(0))
