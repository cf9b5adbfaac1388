export const page = () => new Response('<h1>hello preview</h1>', { headers: { 'content-type': 'text/html' } })
export default { fetch: page }
