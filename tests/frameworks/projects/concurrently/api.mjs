// An API on the first free port from 8787 on: below the ephemeral ones, as people choose them.
import { createServer } from 'node:http'
const server = createServer((_, answer) => {
  answer.setHeader('content-type', 'application/json')
  answer.end('{"hello":"api"}')
})
let port = 8787
server.on('error', (error) => {
  if (error.code !== 'EADDRINUSE' || port === 8886) throw error
  server.listen(++port, '127.0.0.1')
})
server.on('listening', () => console.log(`API at http://127.0.0.1:${port}/`))
server.listen(port, '127.0.0.1')
